//! The schema of a kind: what both front ends, the planner, the reference and the editor know about it.

mod attribute;
mod table;

use std::fmt;
use std::sync::Arc;

pub use attribute::{AttributeSchema, AttributeType, Bounds, Default, Deprecation, Role};
pub use table::{BlockSchema, Rule, Table};

/// The name of a kind, for example `shell`. It is unique within its class; the kinds of `BUILD.star` share one name
/// space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(Arc<str>);

/// A kind as data.
#[derive(Debug)]
pub struct KindSchema {
    /// Its name.
    pub id: &'static str,
    /// What it is.
    pub class: KindClass,
    /// Raised by hand when the same attributes come to mean other bytes.
    pub key_version: u32,
    /// What it changes.
    pub effect: Effect,
    /// One sentence for the reference.
    pub doc: &'static str,
    /// Its own attributes; [`KindSchema::table`] has those of shared tables too.
    pub attributes: &'static [AttributeSchema],
    /// Its own nested blocks.
    pub blocks: &'static [BlockSchema],
    /// What is asked of several attributes and blocks together.
    pub rules: &'static [Rule],
    /// Attributes, blocks and rules that it shares with other kinds.
    pub includes: &'static [&'static Table],
    /// What it makes known: the values of a data source, what a builder adds to `build`.
    pub outputs: &'static [OutputSchema],
    /// Whether there is code for it.
    pub availability: Availability,
    /// Whether the whole kind should no longer be used.
    pub deprecated: Option<Deprecation>,
    /// Whether it leaves the image's package database as the planner knows it, so that a later `apt_install` can be
    /// locked without running anything.
    pub keeps_packages: bool,
    /// What it sees of the state that earlier steps left, and so what of it enters its key.
    pub state: StateUse,
    /// For a source: the builder that makes the layers of its chain, without its version.
    pub builder: &'static str,
    /// For a source: whether its machine is there already and goes on when the chain is done. What is done to it is done
    /// each time, and nothing of it is kept.
    pub live: bool,
    /// For a step: whether it needs a machine that runs, which an image's tree is not.
    pub needs_machine: bool,
    /// The attribute that names a program of this host which carries it out, so that the program's version is in the key;
    /// empty if there is none.
    pub tool: &'static str,
    /// Programs of the host that it runs: their versions enter its key.
    pub tools: &'static [&'static str],
}

/// What a kind sees of a chain's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateUse {
    /// Nothing.
    None,
    /// Environment, user, working folder and shell: it runs commands.
    Commands,
    /// All of it: it writes the image's configuration.
    Image,
}

/// What a kind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindClass {
    /// Where a chain starts.
    Source,
    /// A provisioning action.
    Step,
    /// Makes artifacts from a layer.
    Export,
    /// Makes files in the tree of a layer, or on the host.
    Command,
    /// Checks a layer.
    Test,
    /// Makes machines, in a template.
    Builder,
    /// A provisioning action, in a template.
    Provisioner,
    /// What happens to artifacts, in a template.
    PostProcessor,
    /// Finds out something that a template needs.
    DataSource,
    /// How a machine is reached.
    Communicator,
}

/// Whether there is code for a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// This program carries it out.
    Native,
    /// This program knows its schema only: a real `packer` may carry it out.
    Unavailable,
}

/// A value that a kind makes known.
#[derive(Clone, Copy, Debug)]
pub struct OutputSchema {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub type_: AttributeType,
    /// Whether nobody may see it.
    pub secret: bool,
    /// One sentence for the reference.
    pub doc: &'static str,
}

/// What a kind changes, and so what a hit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Only the machine: skipped on a hit.
    Guest,
    /// Files come out: kept with the result and written again on a hit.
    Output,
    /// The host: runs when the run gets there; on a hit one line says that it was skipped.
    Host,
    /// Nothing but what later steps and the image's configuration start from: makes no layer.
    State,
}

impl KindSchema {
    /// A step that takes nothing and says nothing, for tables to start from.
    pub const BLANK: Self = Self {
        id: "",
        class: KindClass::Step,
        key_version: 1,
        effect: Effect::Guest,
        doc: "",
        attributes: &[],
        blocks: &[],
        rules: &[],
        includes: &[],
        outputs: &[],
        availability: Availability::Native,
        deprecated: None,
        keeps_packages: false,
        state: StateUse::None,
        builder: "rootfs",
        live: false,
        needs_machine: false,
        tool: "",
        tools: &[],
    };

    /// What stands in its body.
    #[must_use]
    pub const fn table(&self) -> Table {
        Table { attributes: self.attributes, blocks: self.blocks, rules: self.rules, includes: self.includes }
    }

    /// The attribute of that name, its own or of a shared table.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&'static AttributeSchema> {
        self.table().attribute(name)
    }
}

impl KindClass {
    /// The word for one of the class.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Step => "step",
            Self::Export => "export",
            Self::Command => "command",
            Self::Test => "check",
            Self::Builder => "builder",
            Self::Provisioner => "provisioner",
            Self::PostProcessor => "post-processor",
            Self::DataSource => "data source",
            Self::Communicator => "communicator",
        }
    }
}

impl KindId {
    /// A kind by name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KindId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
