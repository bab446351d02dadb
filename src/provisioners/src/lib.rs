//! The code behind sources, steps, commands and checks: one file a group of kinds.
//!
//! Each reads its attributes from the action's context and works through the builder's session; none of them knows
//! how a machine is made. [`windows`] is for builders of Windows machines: it says what provisioners do there and does
//! none of it. What is not here: exports, and anything that decides whether an action runs.

mod ansible;
mod audits;
mod base;
mod checks;
mod debian;
mod download;
mod execute_command;
mod fetch;
mod files;
mod genrule;
mod goss;
mod guest;
mod host;
mod image_diff;
mod local;
mod packer_build;
mod reboot;
mod resolve;
mod running;
mod shell;
mod ssh_files;
mod step;
mod testinfra;
pub mod windows;
mod write_file;

use std::collections::HashMap;
use std::sync::Arc;

use imgbuild_engine::SharedExecutor;

pub use base::base_executors;
pub use debian::debian_executors;
pub use resolve::{ArchiveConfig, Proxies, Resolver, keep_unchanged};
pub use step::{Provisioner, StepExecutor};

/// The code behind each kind of this crate that needs no configuration. `withheld` names variables of the environment that Ansible is
/// not given: those that change what it does, and are in no key.
#[must_use]
pub fn executors(withheld: Vec<String>) -> HashMap<&'static str, SharedExecutor> {
    fn step(provisioner: impl Provisioner + 'static) -> SharedExecutor {
        Arc::new(StepExecutor::new(provisioner))
    }
    HashMap::from([
        ("shell", step(shell::Shell)),
        ("shell_local", Arc::new(local::ShellLocal) as SharedExecutor),
        ("sleep", Arc::new(local::Sleep)),
        ("breakpoint", Arc::new(local::Breakpoint)),
        ("reboot", step(reboot::Restart)),
        ("ansible", step(ansible::Ansible::new(withheld))),
        ("ansible_local", step(guest::AnsibleLocal)),
        ("puppet_masterless", step(guest::Puppet)),
        ("salt_masterless", step(guest::Salt)),
        ("goss_validate", Arc::new(goss::GossValidate)),
        ("download", Arc::new(download::Download)),
        ("file", step(files::File)),
        ("user", step(files::User)),
        ("group", step(files::Group)),
        ("symlink", step(files::Symlink)),
        ("mkdir", step(files::MakeDirectory)),
        ("remove", step(files::Remove)),
        ("copy_from", step(files::CopyFrom)),
        ("systemd_unit", step(files::SystemdUnit)),
        ("seal", step(files::Seal)),
        ("power_off", step(files::PowerOff)),
        ("genrule", Arc::new(genrule::Genrule) as SharedExecutor),
        ("packer_build", Arc::new(packer_build::PackerBuild)),
        ("write_file", Arc::new(write_file::WriteFile)),
        ("image_test", Arc::new(checks::ImageTest)),
        ("image_diff", Arc::new(image_diff::ImageDiff)),
    ])
}

/// The code behind the kinds that reach archives and registries, or start a chain.
#[must_use]
pub fn source_executors(config: Arc<ArchiveConfig>) -> HashMap<&'static str, SharedExecutor> {
    let mut all = debian_executors(config.clone());
    all.extend(base_executors(config));
    all
}
