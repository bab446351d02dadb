//! What the caller runs in the root: commands, their environment, and guards against services that packages would start.

use std::path::Path;

use super::root::{Metadata, Root};
use super::{RootContext, UnpackError};

/// Where the answer "no service may be started" is put.
pub const POLICY_RC_D: &str = "usr/sbin/policy-rc.d";
/// A tool of upstart that old packages still ask; a guard answers if there is one.
pub const INITCTL: &str = "sbin/initctl";

/// What stood in the place of the guards; to be given back to [`super::Unpacker::remove_guards`].
#[derive(Debug, Default)]
#[must_use = "guards must be removed again"]
pub struct ScriptGuard {
    policy: Option<Vec<u8>>,
    initctl_moved: bool,
}

/// `dpkg --configure -a`, with the choices that need nobody at a terminal: the maintainer's version of a configuration file
/// where the user changed nothing, the user's where he did. Nothing is synced: a root that is half done is thrown away.
#[must_use]
pub fn configure_command() -> Vec<String> {
    dpkg(&["--force-confdef", "--force-confold", "--configure", "--pending"])
}

/// `dpkg --unpack` of package files in the root, called as apt calls it: triggers wait for the configuration, and dependents
/// of what changes are deconfigured where they must be.
#[must_use]
pub fn unpack_command(files: &[String]) -> Vec<String> {
    let mut command =
        dpkg(&["--force-confdef", "--force-confold", "--no-triggers", "--auto-deconfigure", "--unpack"]);
    command.extend_from_slice(files);
    command
}

/// `dpkg --remove` of packages that make room for others. Their dependents are replaced in the same run.
#[must_use]
pub fn remove_command(packages: &[String]) -> Vec<String> {
    let mut command = dpkg(&["--force-depends", "--force-remove-essential", "--remove"]);
    command.extend_from_slice(packages);
    command
}

fn dpkg(options: &[&str]) -> Vec<String> {
    let fixed = ["dpkg", "--no-pager", "--force-unsafe-io"];
    fixed.iter().chain(options).map(|word| (*word).to_owned()).collect()
}

/// The environment of dpkg and of every script; nothing else is to be set, except what the caller declares.
#[must_use]
pub fn script_environment() -> Vec<(String, String)> {
    [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("DEBCONF_NOWARNINGS", "yes"),
        ("PERL_DL_NONLAZY", "1"),
        ("DPKG_COLORS", "never"),
        ("UCF_FORCE_CONFFOLD", "1"),
        ("SYSTEMD_OFFLINE", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

const EXECUTABLE: Metadata = Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0 };

pub(super) fn add_guards(root: &Root) -> Result<ScriptGuard, UnpackError> {
    let policy_path = Path::new(POLICY_RC_D);
    let policy = root.read(policy_path).at("read", policy_path)?;
    root.make_folders(Path::new("usr/sbin")).at("create", "usr/sbin")?;
    root.write(policy_path, b"#!/bin/sh\nexit 101\n", EXECUTABLE).at("write", policy_path)?;
    let initctl = Path::new(INITCTL);
    let initctl_moved = root.exists(initctl).at("look at", initctl)?;
    if initctl_moved {
        root.rename(initctl, Path::new("sbin/initctl.imgbuild")).at("move", initctl)?;
        root.write(initctl, b"#!/bin/sh\nexit 0\n", EXECUTABLE).at("write", initctl)?;
    }
    Ok(ScriptGuard { policy, initctl_moved })
}

pub(super) fn remove_guards(root: &Root, guard: ScriptGuard) -> Result<(), UnpackError> {
    let policy_path = Path::new(POLICY_RC_D);
    match guard.policy {
        Some(content) => root.write(policy_path, &content, EXECUTABLE).at("write", policy_path)?,
        None => root.remove_file(policy_path).at("remove", policy_path)?,
    }
    if guard.initctl_moved {
        root.rename(Path::new("sbin/initctl.imgbuild"), Path::new(INITCTL)).at("move", INITCTL)?;
    }
    Ok(())
}
