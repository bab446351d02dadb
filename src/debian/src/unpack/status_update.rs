//! Recording an unpacking in dpkg's database: control files, file lists, the status file, triggers.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

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
        let old = remove_old(root, database, extraction, package, &mut fired)?;
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
        let record = record(package, old.as_ref());
        database.state.packages.retain(|p| !(p.name == record.name && is_same_arch(p, &record)));
        database.state.packages.push(record);
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

/// A package that becomes, or ceases to be, architecture-independent still replaces itself.
fn is_same_arch(old: &InstalledPackage, new: &InstalledPackage) -> bool {
    old.architecture == new.architecture || old.architecture == "all" || new.architecture == "all"
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

/// Removes what the replaced version had and the new one has not: files, emptied folders, control files. Configuration
/// files stay, as the user's property.
fn remove_old(
    root: &Root,
    database: &Database,
    extraction: &Extraction,
    package: &Extracted,
    fired: &mut Vec<String>,
) -> Result<Option<InstalledPackage>, UnpackError> {
    let control = &package.control;
    let old = database.state.packages.iter().find(|p| {
        p.name == control.name()
            && (p.architecture == control.architecture()
                || p.architecture == "all"
                || control.architecture() == "all")
    });
    let Some(old) = old.cloned() else { return Ok(None) };
    let old_id = old.id();
    for name in root.list(Path::new(INFO)).at("list", INFO)? {
        let name = name.to_string_lossy().into_owned();
        let is_stale =
            name.strip_prefix(&old_id).and_then(|rest| rest.strip_prefix('.')).is_some_and(|kind| {
                old_id != control.id() || (kind != "list" && !control.files.contains_key(kind))
            });
        // `a.b.list` belongs to package `a.b`, not to `a`.
        if is_stale && !database.lists.keys().any(|id| *id != old_id && name.starts_with(&format!("{id}."))) {
            let path = Path::new(INFO).join(name);
            root.remove_file(&path).at("remove", &path)?;
        }
    }
    let kept: HashSet<PathBuf> =
        extraction.packages.iter().flat_map(|p| &p.list).map(|path| database.canonical(path)).collect();
    let conffiles: HashSet<PathBuf> = conffile_lines(&old.paragraph)
        .into_iter()
        .map(|(path, _)| PathBuf::from(path.trim_start_matches('/')))
        .collect();
    let superseded: HashSet<String> = extraction.packages.iter().map(|p| p.control.id()).collect();
    let mut gone: Vec<&PathBuf> = database.lists.get(&old_id).into_iter().flatten().collect();
    gone.sort_by(|a, b| b.cmp(a));
    for path in gone {
        let canonical = database.canonical(path);
        let elsewhere = database
            .owners
            .get(&canonical)
            .is_some_and(|owners| owners.iter().any(|owner| *owner != old_id && !superseded.contains(owner)));
        if path.as_os_str().is_empty() || kept.contains(&canonical) || conffiles.contains(path) || elsewhere {
            continue;
        }
        let place = database.place(path, control.name());
        match root.stat(&place).at("look at", &place)? {
            None => {}
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                root.remove_empty_folder(&place).at("remove", &place)?;
            }
            Some(_) => {
                root.remove_file(&place).at("remove", &place)?;
                fired.push(format!("/{}", path.display()));
            }
        }
    }
    Ok(Some(old))
}

/// Paths and the rest of each line of a `Conffiles` field.
fn conffile_lines(paragraph: &Paragraph) -> Vec<(String, String)> {
    let text = paragraph.get("Conffiles").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(path, rest)| (path.to_owned(), rest.to_owned()))
        .collect()
}

fn record(package: &Extracted, old: Option<&InstalledPackage>) -> InstalledPackage {
    let control = &package.control;
    let mut fields = control.fields.clone();
    fields.set("Status", "install ok unpacked");
    if let Some(old) = old {
        let configured = match old.status {
            PackageStatus::Unpacked | PackageStatus::HalfConfigured => old.paragraph.get("Config-Version"),
            _ => Some(old.version.as_str()),
        };
        if let Some(version) = configured {
            fields.set("Config-Version", version);
        }
    }
    let before: Vec<(String, String)> = old.map(|old| conffile_lines(&old.paragraph)).unwrap_or_default();
    let mut lines = String::new();
    for conffile in &package.conffiles {
        let known = before.iter().find(|(path, _)| *path == conffile.path);
        let hash = known.and_then(|(_, rest)| rest.split(' ').next()).unwrap_or("newconffile");
        let flag = if conffile.remove_on_upgrade { " remove-on-upgrade" } else { "" };
        if !conffile.remove_on_upgrade || known.is_some() {
            lines.push_str(&format!("\n {} {hash}{flag}", conffile.path));
        }
    }
    for (path, rest) in before.iter().filter(|(path, _)| !package.conffiles.iter().any(|c| c.path == *path)) {
        let hash = rest.split(' ').next().unwrap_or_default();
        lines.push_str(&format!("\n {path} {hash} obsolete"));
    }
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
