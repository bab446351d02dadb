//! Maintainer scripts around an unpacking: where they are put and how they are called. They are run by the caller.

use std::path::{Path, PathBuf};

use super::commands::script_environment;
use super::database::{Database, INFO, read_state};
use super::extract::Extraction;
use super::root::{Metadata, Root};
use super::{Batch, RootContext, UnpackError};
use crate::deb::{self, Control};
use crate::status::{InstalledPackage, PackageStatus, State};

const STAGE: &str = "var/lib/dpkg/tmp.ci";

/// A maintainer script to be run in the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptCall {
    /// dpkg's name of the package.
    pub package: String,
    /// The script's path in the root, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
}

fn call(package: &Control, name: &str, path: &Path, arguments: &[&str]) -> ScriptCall {
    let mut env = script_environment();
    let variables = [
        ("DPKG_MAINTSCRIPT_PACKAGE", package.name()),
        ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
        ("DPKG_MAINTSCRIPT_ARCH", package.architecture()),
        ("DPKG_MAINTSCRIPT_NAME", name),
        ("DPKG_RUNNING_VERSION", "1.21.22"),
        ("DPKG_ADMINDIR", "/var/lib/dpkg"),
        ("DPKG_ROOT", ""),
        // debconf guesses the package from the name of a script, which it does not know for staged ones.
        ("DEBCONF_PACKAGE", package.name()),
    ];
    env.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let program = format!("/{}", path.display());
    let argv =
        std::iter::once(program.as_str()).chain(arguments.iter().copied()).map(str::to_owned).collect();
    ScriptCall { package: package.id(), argv, env }
}

fn previous<'s>(state: &'s State, control: &Control) -> Option<&'s InstalledPackage> {
    let is_same = |p: &&InstalledPackage| {
        p.name == control.name()
            && (p.architecture == control.architecture()
                || p.architecture == "all"
                || control.architecture() == "all")
    };
    state
        .packages
        .iter()
        .filter(is_same)
        .find(|p| p.status.is_configured() || p.status == PackageStatus::ConfigFiles)
}

pub(super) fn stage(root: &Root, batch: &Batch) -> Result<Vec<ScriptCall>, UnpackError> {
    let state = read_state(root)?;
    let mut calls = Vec::new();
    for package in &batch.packages {
        let control = deb::read_control_of(&package.path)?;
        let old = previous(&state, &control);
        let new_version = control.version();
        if let Some(old) = old.filter(|old| old.status.is_configured()) {
            let prerm = Path::new(INFO).join(format!("{}.prerm", old.id()));
            if root.exists(&prerm).at("look at", &prerm)? {
                calls.push(call(&control, "prerm", &prerm, &["upgrade", new_version]));
            }
        }
        if !control.files.contains_key("preinst") {
            continue;
        }
        let folder = Path::new(STAGE).join(control.id());
        write_control(root, &folder, &control)?;
        let path = folder.join("preinst");
        calls.push(match old {
            None => call(&control, "preinst", &path, &["install"]),
            Some(old) if old.status == PackageStatus::ConfigFiles => {
                call(&control, "preinst", &path, &["install", old.version.as_str(), new_version])
            }
            Some(old) => call(&control, "preinst", &path, &["upgrade", old.version.as_str(), new_version]),
        });
    }
    Ok(calls)
}

fn write_control(root: &Root, folder: &Path, control: &Control) -> Result<(), UnpackError> {
    root.make_folders(folder).at("create", folder)?;
    let mut text = String::new();
    control.fields.write(&mut text);
    let plain = Metadata { mode: 0o644, uid: 0, gid: 0, mtime: 0 };
    let path = folder.join("control");
    root.write(&path, text.as_bytes(), plain).at("write", &path)?;
    for (name, file) in &control.files {
        let path = folder.join(name);
        let metadata = Metadata { mode: file.mode, uid: 0, gid: 0, mtime: file.mtime };
        root.write(&path, &file.bytes, metadata).at("write", &path)?;
    }
    Ok(())
}

pub(super) fn unstage(root: &Root) -> Result<(), UnpackError> {
    root.remove_all(Path::new(STAGE)).at("remove", STAGE)
}

/// The `postrm` scripts of replaced versions, saved before the new version's control files take their place.
pub(super) fn after(
    root: &Root,
    database: &Database,
    extraction: &Extraction,
) -> Result<Vec<ScriptCall>, UnpackError> {
    let mut calls = Vec::new();
    for package in &extraction.packages {
        let control = &package.control;
        let Some(old) = previous(&database.state, control).filter(|old| old.status.is_configured()) else {
            continue;
        };
        let postrm = Path::new(INFO).join(format!("{}.postrm", old.id()));
        let Some(bytes) = root.read(&postrm).at("read", &postrm)? else { continue };
        let folder = PathBuf::from(format!("{STAGE}/{}.old", control.id()));
        root.make_folders(&folder).at("create", &folder)?;
        let path = folder.join("postrm");
        root.write(&path, &bytes, Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0 }).at("write", &path)?;
        calls.push(call(control, "postrm", &path, &["upgrade", control.version()]));
    }
    Ok(calls)
}
