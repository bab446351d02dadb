//! What two images differ in: files, packages, users and groups, units of systemd, sizes, configuration.
//!
//! Trees go in ([`Tree`]), a typed report comes out ([`Report`]); [`open`] makes trees of what lies on the host: folders,
//! tarballs, OCI layouts, disk images. Nothing is mounted and nothing of an image is run. Trees are gone through side by
//! side in order of path; what is held of them is metadata, and contents are read only where nothing else tells whether
//! they are equal. What is not here: the cache, targets, and how a report is shown.

mod archive;
mod compare;
mod facts;
mod files;
mod folder;
mod index;
mod open;
mod report;
mod rules;
mod text;
mod tree;
mod view;

pub use archive::ArchiveError;
pub use compare::{CompareError, Options, Side, compare, configuration};
pub use facts::FactsError;
pub use open::{OpenError, Opened, is_there, open};
pub use report::{
    Account, Aspect, Capabilities, Change, Changed, Counts, FileChange, FileFacts, FolderGrowth, Group, Kind,
    Package, Password, Privilege, Report, SCHEMA_VERSION, Sizes, Summary, Unit, UnitState, shown_path,
};
pub use rules::{Growth, GrowthError, Rules, Verdict, check};
pub use tree::{Entry, Node, Tree};
pub use view::LayerTree;
