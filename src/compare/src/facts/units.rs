//! Units of systemd and whether they are enabled, as `systemctl --root is-enabled` says it: from files and links alone.
//!
//! Not looked at: presets, which a first boot may apply; generators; the units of users.

use std::collections::BTreeMap;

use crate::report::{Unit, UnitState};
use crate::tree::{Contents, name_of, parent_of};

const OWN: &str = "etc/systemd/system";

/// Where packages put units; those that come first win.
const VENDOR: [&str; 3] = ["usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

const KINDS: [&str; 11] = [
    "service",
    "socket",
    "target",
    "timer",
    "mount",
    "automount",
    "swap",
    "path",
    "slice",
    "scope",
    "device",
];

/// Folders beside a unit whose links start others with it.
const STARTS: [&str; 3] = [".wants", ".requires", ".upholds"];

pub(super) fn is_read(path: &[u8]) -> bool {
    is_unit(name_of(path)) && folders().any(|folder| parent_of(path) == folder.as_bytes())
}

/// Whether a link at this path says something of units.
pub(super) fn may_be_link(path: &[u8]) -> bool {
    folders().any(|folder| path.starts_with(folder.as_bytes()))
}

fn folders() -> impl Iterator<Item = &'static str> {
    std::iter::once(OWN).chain(VENDOR)
}

fn is_unit(name: &[u8]) -> bool {
    let ending = name.iter().rposition(|byte| *byte == b'.').map(|dot| &name[dot + 1..]);
    ending.is_some_and(|ending| KINDS.iter().any(|kind| kind.as_bytes() == ending))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `files` has the unit files, `links` each link that may say something of units.
pub(super) fn read(files: &Contents, links: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<String, Unit> {
    let mut units: BTreeMap<String, Unit> = BTreeMap::new();
    // The lowest first, so that those that win come last.
    for folder in VENDOR.iter().rev().chain([&OWN]) {
        let in_folder = |path: &[u8]| parent_of(path) == folder.as_bytes() && is_unit(name_of(path));
        for (path, bytes) in files.iter().filter(|(path, _)| in_folder(path)) {
            units.insert(text(name_of(path)), Unit { state: of_file(bytes), wanted_by: Vec::new() });
        }
        for (path, target) in links.iter().filter(|(path, _)| in_folder(path)) {
            let name = name_of(path);
            let state = if target == b"/dev/null" {
                UnitState::Masked
            } else if name_of(target) == name {
                UnitState::Linked
            } else {
                UnitState::Alias
            };
            units.insert(text(name), Unit { state, wanted_by: Vec::new() });
        }
    }
    for (path, target) in links {
        let (name, folder) = (text(name_of(path)), parent_of(path));
        if folder == OWN.as_bytes() {
            // An alias is a link that enabling makes.
            let other = name_of(target);
            if is_unit(other) && other != name.as_bytes() && target != b"/dev/null" {
                enable(&mut units, text(other), None);
            }
        } else if parent_of(folder) == OWN.as_bytes() {
            let beside = text(name_of(folder));
            if let Some(starter) = STARTS.iter().find_map(|ending| beside.strip_suffix(ending)) {
                enable(&mut units, name, Some(starter.to_owned()));
            }
        }
    }
    units
}

fn enable(units: &mut BTreeMap<String, Unit>, name: String, by: Option<String>) {
    let unit = units.entry(name).or_insert(Unit { state: UnitState::Enabled, wanted_by: Vec::new() });
    if unit.state != UnitState::Masked {
        unit.state = UnitState::Enabled;
    }
    if let Some(by) = by
        && !unit.wanted_by.contains(&by)
    {
        unit.wanted_by.push(by);
        unit.wanted_by.sort();
    }
}

/// What a unit file alone says: whether it can be enabled.
fn of_file(bytes: &[u8]) -> UnitState {
    if bytes.is_empty() {
        return UnitState::Masked;
    }
    let text = String::from_utf8_lossy(bytes);
    let mut in_install = false;
    let mut state = UnitState::Static;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_install = line == "[Install]";
        } else if in_install && let Some((key, value)) = line.split_once('=') {
            match key.trim() {
                _ if value.trim().is_empty() => {}
                "WantedBy" | "RequiredBy" | "UpheldBy" | "Alias" => return UnitState::Disabled,
                "Also" => state = UnitState::Indirect,
                _ => {}
            }
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_from_files_and_links() {
        let install = b"[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n".to_vec();
        let file = |path: &str, text: &[u8]| (path.as_bytes().to_vec(), text.to_vec());
        let files = Contents::from([
            file("usr/lib/systemd/system/on.service", &install),
            file("usr/lib/systemd/system/off.service", &install),
            file("usr/lib/systemd/system/plain.service", b"[Service]\nExecStart=/x\n"),
            file("usr/lib/systemd/system/also.service", b"[Install]\nAlso=on.service\n"),
            file("usr/lib/systemd/system/gone.service", &install),
            file("usr/lib/systemd/system/both.service", &install),
            file("usr/lib/systemd/system/named.service", b"[Install]\nAlias=other.service\n"),
            file("etc/systemd/system/empty.timer", b""),
            file("usr/lib/systemd/system/tty@.service", &install),
        ]);
        let link = |path: &str, target: &str| {
            (format!("etc/systemd/system/{path}").into_bytes(), target.as_bytes().to_vec())
        };
        let links = BTreeMap::from([
            link("multi-user.target.wants/on.service", "/usr/lib/systemd/system/on.service"),
            link("getty.target.wants/tty@1.service", "/usr/lib/systemd/system/tty@.service"),
            link("gone.service", "/dev/null"),
            link("both.service", "/dev/null"),
            link("multi-user.target.wants/both.service", "/usr/lib/systemd/system/both.service"),
            link("other.service", "/usr/lib/systemd/system/named.service"),
            link("out.service", "/opt/out.service"),
        ]);
        let found: Vec<String> = read(&files, &links)
            .iter()
            .map(|(name, unit)| format!("{name} {:?} {}", unit.state, unit.wanted_by.join(",")))
            .collect();
        assert_eq!(
            found,
            [
                "also.service Indirect ",
                "both.service Masked multi-user.target",
                "empty.timer Masked ",
                "gone.service Masked ",
                "named.service Enabled ",
                "off.service Disabled ",
                "on.service Enabled multi-user.target",
                "other.service Alias ",
                "out.service Linked ",
                "plain.service Static ",
                "tty@.service Disabled ",
                "tty@1.service Enabled getty.target",
            ]
        );
    }

    #[test]
    fn only_units_are_read() {
        assert!(is_read(b"usr/lib/systemd/system/a.service") && is_read(b"etc/systemd/system/a.mount"));
        assert!(!is_read(b"usr/lib/systemd/system/a.service.d/x.conf"));
        assert!(!is_read(b"usr/lib/systemd/system/README") && !is_read(b"a.service"));
    }
}
