//! Recording an unpacking in dpkg's database: control files, file lists, the status file, triggers.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::database::{Database, INFO, STATUS};
use super::extract::{Extracted, Extraction};
use super::root::{Metadata, Root};
use super::{RootContext, UnpackError};
use crate::Version;
use crate::control::Paragraph;
use crate::deb::TriggerDirective;
use crate::status::{InstalledPackage, PackageStatus};

const PLAIN: Metadata = Metadata { mode: 0o644, uid: 0, gid: 0, mtime: 0 };

/// The order in which dpkg writes the fields that it knows; others follow in the package's order.
const FIELD_ORDER: &[&str] = &[
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Config-Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
    "Description",
    "Triggers-Pending",
    "Triggers-Awaited",
];

pub(super) fn apply(
    root: &Root,
    database: &mut Database,
    extraction: &Extraction,
) -> Result<(), UnpackError> {
    let mut changed_lists: BTreeSet<String> = BTreeSet::new();
    let mut fired: Vec<String> = Vec::new();
    for package in &extraction.packages {
        for (path, loser) in &package.taken {
            if let Some(list) = database.lists.get_mut(loser) {
                list.retain(|listed| listed != path);
                changed_lists.insert(loser.clone());
            }
        }
    }
    for package in &extraction.packages {
        let id = package.control.id();
        write_info(root, package)?;
        database.lists.insert(id.clone(), package.list.clone());
        changed_lists.insert(id.clone());
        let directives = package.control.triggers();
        database.triggers.set(&id, &directives);
        for directive in directives {
            if let TriggerDirective::Activate { trigger, .. } = directive {
                fired.push(trigger);
            }
        }
        fired.extend(package.list.iter().map(|path| format!("/{}", path.display())));
        // What was purged may have left a paragraph that says so.
        database
            .state
            .packages
            .retain(|other| other.name != package.control.name() || other.status.is_unpacked());
        database.state.packages.push(record(package));
    }
    for id in &changed_lists {
        if let Some(list) = database.lists.get(id) {
            write_list(root, id, list)?;
        }
    }
    activate(database, &fired);
    database.triggers.write(root)?;
    database.state.packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    root.write(Path::new(STATUS), database.state.to_text().as_bytes(), PLAIN).at("write", STATUS)
}

fn write_info(root: &Root, package: &Extracted) -> Result<(), UnpackError> {
    let id = package.control.id();
    root.make_folders(Path::new(INFO)).at("create", INFO)?;
    for (name, file) in &package.control.files {
        let path = Path::new(INFO).join(format!("{id}.{name}"));
        let metadata = Metadata { mode: file.mode, uid: 0, gid: 0, mtime: file.mtime };
        root.write(&path, &file.bytes, metadata).at("write", &path)?;
    }
    Ok(())
}

fn write_list(root: &Root, id: &str, list: &[PathBuf]) -> Result<(), UnpackError> {
    let mut text = Vec::new();
    for path in list {
        text.push(b'/');
        if path.as_os_str().is_empty() {
            text.push(b'.');
        } else {
            text.extend_from_slice(path.as_os_str().as_bytes());
        }
        text.push(b'\n');
    }
    let path = Path::new(INFO).join(format!("{id}.list"));
    root.write(&path, &text, PLAIN).at("write", &path)
}

fn record(package: &Extracted) -> InstalledPackage {
    let control = &package.control;
    let mut fields = control.fields.clone();
    fields.set("Status", "install ok unpacked");
    let lines: String = package
        .conffiles
        .iter()
        .filter(|conffile| !conffile.remove_on_upgrade)
        .map(|conffile| format!("\n {} newconffile", conffile.path))
        .collect();
    if !lines.is_empty() {
        fields.set("Conffiles", lines);
    }
    let mut paragraph = Paragraph::default();
    for name in FIELD_ORDER {
        if let Some(value) = fields.get(name) {
            paragraph.set(name, value);
        }
    }
    for (name, value) in fields.fields() {
        if !FIELD_ORDER.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            paragraph.set(name, value);
        }
    }
    InstalledPackage {
        name: control.name().to_owned(),
        version: Version::new(control.version()),
        architecture: control.architecture().to_owned(),
        multi_arch: control.multi_arch(),
        status: PackageStatus::Unpacked,
        paragraph,
    }
}

/// Notes triggers for packages that are configured; those that are only unpacked do everything when they are configured.
fn activate(database: &mut Database, fired: &[String]) {
    let mut pending: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for trigger in fired {
        for (package, name) in database.triggers.activated(trigger) {
            pending.entry(package.to_owned()).or_default().insert(name.to_owned());
        }
    }
    for package in &mut database.state.packages {
        if !package.status.is_configured() {
            continue;
        }
        let names = pending.get(&package.id()).or_else(|| pending.get(&package.name));
        let Some(names) = names else { continue };
        let mut all: BTreeSet<String> = names.clone();
        let before = package.paragraph.get("Triggers-Pending").unwrap_or_default();
        all.extend(before.split_whitespace().map(str::to_owned));
        package.paragraph.set("Triggers-Pending", all.into_iter().collect::<Vec<_>>().join(" "));
        if package.status == PackageStatus::Installed {
            package.status = PackageStatus::TriggersPending;
            package.paragraph.set("Status", "install ok triggers-pending");
        }
    }
}
