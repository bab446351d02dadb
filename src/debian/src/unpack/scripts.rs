//! The scripts that run before new packages are unpacked: where they are put and how they are called. The caller runs them.
//! Those of an upgrade are called by dpkg: see `upgrade`.

use std::path::Path;

use super::commands::script_environment;
use super::database::read_state;
use super::root::{Metadata, Root};
use super::{Batch, RootContext, UnpackError};
use crate::deb::{self, Control};

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

/// `running` is the version of the root's dpkg.
fn preinst(package: &Control, path: &Path, running: &str) -> ScriptCall {
    let mut env = script_environment();
    let variables = [
        ("DPKG_MAINTSCRIPT_PACKAGE", package.name()),
        ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
        ("DPKG_MAINTSCRIPT_ARCH", package.architecture()),
        ("DPKG_MAINTSCRIPT_NAME", "preinst"),
        ("DPKG_RUNNING_VERSION", running),
        ("DPKG_ADMINDIR", "/var/lib/dpkg"),
        ("DPKG_ROOT", ""),
        // debconf guesses the package from the name of a script, which it does not know for staged ones.
        ("DEBCONF_PACKAGE", package.name()),
    ];
    env.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let argv = vec![format!("/{}", path.display()), "install".to_owned()];
    ScriptCall { package: package.id(), argv, env }
}

pub(super) fn stage(root: &Root, batch: &Batch) -> Result<Vec<ScriptCall>, UnpackError> {
    let state = read_state(root)?;
    let dpkg = state.packages.iter().find(|package| package.name == "dpkg");
    let running = dpkg.map_or_else(String::new, |package| package.version.to_string());
    let mut calls = Vec::new();
    for package in &batch.packages {
        let control = deb::read_control_of(&package.path)?;
        if control.files.contains_key("preinst") {
            let folder = Path::new(STAGE).join(control.id());
            write_control(root, &folder, &control)?;
            calls.push(preinst(&control, &folder.join("preinst"), &running));
        }
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
