//! What a tree says of itself: its packages, accounts, units of systemd, kernels, its system.
//!
//! Read from the files that the tools of the image keep, none of which are run. Which files are theirs is the same for
//! both images, so an image without such a file has none of what stands there.

mod accounts;
mod packages;
mod system;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use imgbuild_formats::packages::PackagesError;

use crate::report::{Account, Group, Package, Unit};
use crate::tree::{Node, Tree};

pub(crate) use packages::{Owners, is_of_package_database};

/// No file that facts are read from is larger, in bytes.
pub(crate) const LARGEST: u64 = 64 << 20;

/// What a tree says of itself.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// By name and architecture.
    pub(crate) packages: BTreeMap<(String, String), Package>,
    pub(crate) users: BTreeMap<String, Account>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) units: BTreeMap<String, Unit>,
    /// The distribution, kernels, boot loaders, each by what it is.
    pub(crate) system: BTreeMap<String, String>,
    /// A package database that is there and not read.
    pub(crate) unread: Option<&'static str>,
}

/// Whether facts are read from the file at a path.
pub(crate) fn is_read(path: &[u8]) -> bool {
    packages::is_read(path) || accounts::is_read(path) || units::is_read(path) || system::is_read(path)
}

/// Why facts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A package database is damaged.
    #[error(transparent)]
    Packages(#[from] PackagesError),
}

impl Facts {
    pub(crate) fn of(tree: &dyn Tree) -> Result<Self, FactsError> {
        let mut wanted = BTreeSet::new();
        let mut links = BTreeMap::new();
        let mut facts = Self::default();
        for entry in tree.entries() {
            match entry.node {
                Node::File { .. } => {
                    system::note_kernel(entry.path, &mut facts.system);
                    if packages::is_of_rpm(entry.path) {
                        facts.unread = Some("rpm");
                    }
                    if is_read(entry.path) {
                        wanted.insert(entry.path.to_vec());
                    }
                }
                Node::SymbolicLink { target } if units::may_be_link(entry.path) => {
                    links.insert(entry.path.to_vec(), target.to_vec());
                }
                _ => {}
            }
        }
        let contents = tree.read(&wanted, LARGEST)?;
        facts.packages = packages::read(&contents)?;
        (facts.users, facts.groups) = accounts::read(&contents);
        facts.units = units::read(&contents, &links);
        system::read(&contents, &mut facts.system);
        Ok(facts)
    }
}
