//! What stands in a body: attributes, nested blocks, rules between them, and tables that are shared.

use crate::AttributeSchema;

/// What may stand in a body. Names are unique within a table and all that it includes.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its attributes.
    pub attributes: &'static [AttributeSchema],
    /// Its blocks.
    pub blocks: &'static [BlockSchema],
    /// What is asked of several of them together. A rule may name what a table beside this one has.
    pub rules: &'static [Rule],
    /// What it shares with others.
    pub includes: &'static [&'static Table],
}

/// A nested block.
#[derive(Clone, Copy, Debug)]
pub struct BlockSchema {
    /// Its name.
    pub name: &'static str,
    /// How many there must be.
    pub min: u32,
    /// How many there may be; any number if `None`.
    pub max: Option<u32>,
    /// Whether `name = { … }` or `name = [{ … }]` means the same in native syntax.
    pub also_attribute: bool,
    /// One sentence for the reference.
    pub doc: &'static str,
    /// What stands in it.
    pub table: Table,
}

/// What is asked of several attributes and blocks together; `block.attribute` is an attribute in a block. What is null, empty, zero or false counts as not given: in
/// Packer none of these differs from absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One of them and no more.
    ExactlyOne(&'static [&'static str]),
    /// One of them or several.
    AtLeastOne(&'static [&'static str]),
    /// None or one of them.
    AtMostOne(&'static [&'static str]),
    /// All of them or none.
    Together(&'static [&'static str]),
    /// Who gives the first also gives the others.
    Needs(&'static str, &'static [&'static str]),
    /// Who gives the first gives none of the others.
    Excludes(&'static str, &'static [&'static str]),
    /// All of them.
    All(&'static [&'static str]),
    /// A rule that holds if `attribute`, or its default, is one of `values`.
    When {
        /// The attribute that decides.
        attribute: &'static str,
        /// Its values for which the rule holds.
        values: &'static [&'static str],
        /// The rule.
        then: &'static Rule,
    },
}

impl Table {
    /// Nothing may stand in it.
    pub const EMPTY: Self = Self { attributes: &[], blocks: &[], rules: &[], includes: &[] };

    /// Attributes alone.
    #[must_use]
    pub const fn of(attributes: &'static [AttributeSchema]) -> Self {
        Self { attributes, ..Self::EMPTY }
    }

    /// The same with these blocks.
    #[must_use]
    pub const fn blocks(mut self, blocks: &'static [BlockSchema]) -> Self {
        self.blocks = blocks;
        self
    }

    /// The same with these rules.
    #[must_use]
    pub const fn rules(mut self, rules: &'static [Rule]) -> Self {
        self.rules = rules;
        self
    }

    /// The same with all that stands in these tables.
    #[must_use]
    pub const fn includes(mut self, tables: &'static [&'static Table]) -> Self {
        self.includes = tables;
        self
    }

    /// This table and all that it includes, itself first.
    #[must_use]
    pub fn flat(self) -> Vec<Self> {
        let mut tables = vec![self];
        let mut next = 0;
        while let Some(table) = tables.get(next) {
            tables.extend(table.includes.iter().map(|table| **table));
            next += 1;
        }
        tables
    }

    /// The attribute of that name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&'static AttributeSchema> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name)
            .or_else(|| self.includes.iter().find_map(|table| table.attribute(name)))
    }

    /// The block of that name.
    #[must_use]
    pub fn block(&self, name: &str) -> Option<&'static BlockSchema> {
        self.blocks
            .iter()
            .find(|block| block.name == name)
            .or_else(|| self.includes.iter().find_map(|table| table.block(name)))
    }

    /// All attributes, its own first.
    pub fn all_attributes(self) -> impl Iterator<Item = &'static AttributeSchema> {
        self.flat().into_iter().flat_map(|table| table.attributes)
    }

    /// All blocks, its own first.
    pub fn all_blocks(self) -> impl Iterator<Item = &'static BlockSchema> {
        self.flat().into_iter().flat_map(|table| table.blocks)
    }

    /// All rules, its own first.
    pub fn all_rules(self) -> impl Iterator<Item = &'static Rule> {
        self.flat().into_iter().flat_map(|table| table.rules)
    }

    /// The names of all attributes and blocks.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.all_attributes().map(|attribute| attribute.name).chain(self.all_blocks().map(|block| block.name))
    }
}

impl BlockSchema {
    /// A block that may stand there once.
    #[must_use]
    pub const fn one(name: &'static str, doc: &'static str, table: Table) -> Self {
        Self { name, min: 0, max: Some(1), also_attribute: false, doc, table }
    }

    /// A block that may stand there any number of times.
    #[must_use]
    pub const fn many(name: &'static str, doc: &'static str, table: Table) -> Self {
        Self { max: None, ..Self::one(name, doc, table) }
    }

    /// The same, and there must be one.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.min = 1;
        self
    }
}

impl Rule {
    /// The names of what must or must not be given, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let (first, others) = match *self {
            Self::ExactlyOne(names)
            | Self::AtLeastOne(names)
            | Self::AtMostOne(names)
            | Self::Together(names)
            | Self::All(names) => (None, names),
            Self::Needs(first, others) | Self::Excludes(first, others) => (Some(first), others),
            Self::When { then, .. } => return then.names().collect::<Vec<_>>().into_iter(),
        };
        first.into_iter().chain(others.iter().copied()).collect::<Vec<_>>().into_iter()
    }
}
