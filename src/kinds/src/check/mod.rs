//! Whether a body fits the schema of its kind: names, types under the conversions that Packer makes, what is required,
//! blocks, and rules between attributes.
//!
//! The checks are pure and look at what was written alone: no file is opened, nothing is resolved. What is unknown fits
//! everywhere. All problems of a body are found at once. What is null, empty, zero or false counts as not given, as it
//! does in Packer, whose plugins cannot tell it from absent.

mod convert;
mod problem;
mod rules;

use imgbuild_model::{
    AttributeSchema, BlockSchema, Default, Field, Form, KindClass, KindSchema, Location, Node, NodeData,
    Severity, Table, did_you_mean,
};

pub use problem::{PathStep, Problem, ProblemKind, Subject};

use crate::packer;

/// Whose conversions hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// HCL's, in native syntax or in JSON: numbers and truth values become texts and back, nothing else.
    Hcl,
    /// Those of legacy JSON templates, which are weaker: also one element for a list, a text with commas for several,
    /// numbers for truth values.
    Legacy,
}

/// What is wrong with the body of a component or step of this kind. Meta-arguments, the names that Packer's core fills in
/// (`packer_…`) and the `type` of legacy templates may stand in it or not.
#[must_use]
pub fn check(schema: &KindSchema, body: &Node, dialect: Dialect) -> Vec<Problem> {
    let mut checker = Checker { dialect, path: Vec::new(), problems: Vec::new() };
    if let Some(deprecation) = schema.deprecated {
        let kind = ProblemKind::DeprecatedKind { class: schema.class, id: schema.id, deprecation };
        checker.report(Severity::Warning, &body.location, kind);
    }
    checker.body(Subject::Kind(schema.class, schema.id), &schema.table(), body, meta(schema.class));
    checker.problems
}

/// What the core of Packer takes out of a body before the component sees it.
fn meta(class: KindClass) -> &'static Table {
    match class {
        KindClass::Provisioner => &packer::PROVISIONER_META,
        KindClass::PostProcessor => &packer::POST_PROCESSOR_META,
        _ => &Table::EMPTY,
    }
}

struct Checker {
    dialect: Dialect,
    path: Vec<PathStep>,
    problems: Vec<Problem>,
}

/// What a name stands for.
enum Named {
    Attribute(&'static AttributeSchema),
    Block(&'static BlockSchema),
}

impl Checker {
    fn report(&mut self, severity: Severity, location: &Location, kind: ProblemKind) {
        self.problems.push(Problem { severity, path: self.path.clone(), location: location.clone(), kind });
    }

    fn error(&mut self, location: &Location, kind: ProblemKind) {
        self.report(Severity::Error, location, kind);
    }

    fn within(&mut self, step: PathStep, check: impl FnOnce(&mut Self)) {
        self.path.push(step);
        check(self);
        self.path.pop();
    }

    fn body(&mut self, subject: Subject, table: &Table, body: &Node, meta: &Table) {
        let fields = match &body.data {
            NodeData::Unknown | NodeData::Null => return,
            NodeData::Object(fields) => fields,
            _ => {
                return self
                    .error(&body.location, ProblemKind::NotABody { subject, found: body.type_name() });
            }
        };
        for field in fields {
            self.within(PathStep::Name(field.name.clone()), |checker| {
                match checker.find(table, &field.name).or_else(|| checker.find(meta, &field.name)) {
                    Some(Named::Attribute(attribute)) => checker.attribute(attribute, field),
                    Some(Named::Block(block)) => checker.block(block, field),
                    None if matches!(subject, Subject::Kind(..)) && is_of_the_core(&field.name) => {}
                    None => checker.unknown(subject, table, meta, field),
                }
            });
        }
        self.required(subject, table, body, fields);
        self.rules(table, body, fields);
        self.rules(meta, body, fields);
    }

    /// What the name stands for. Legacy templates are not particular about upper and lower case.
    fn find(&self, table: &Table, name: &str) -> Option<Named> {
        let exact = |name: &str| {
            let attribute = table.attribute(name).map(Named::Attribute);
            attribute.or_else(|| table.block(name).map(Named::Block))
        };
        exact(name).or_else(|| {
            let any_case = self.dialect == Dialect::Legacy;
            any_case
                .then(|| table.names().find(|known| known.eq_ignore_ascii_case(name)))
                .flatten()
                .and_then(exact)
        })
    }

    fn unknown(&mut self, subject: Subject, table: &Table, meta: &Table, field: &Field) {
        let known: Vec<_> = table.names().chain(meta.names()).collect();
        let nearest = nearest(&field.name, &known);
        let inside = table.all_blocks().find(|block| block.table.names().any(|name| *name == *field.name));
        let kind = ProblemKind::UnknownName {
            subject,
            name: field.name.clone(),
            nearest: if inside.is_some() { None } else { nearest },
            inside: inside.map(|block| block.name),
        };
        self.error(&field.location, kind);
    }

    fn attribute(&mut self, attribute: &'static AttributeSchema, field: &Field) {
        if field.form == Form::Block {
            return self.error(&field.location, ProblemKind::NotABlock { name: attribute.name });
        }
        if field.value.data == NodeData::Null {
            return;
        }
        if let Some(deprecation) = attribute.deprecated {
            let kind = ProblemKind::Deprecated { name: attribute.name, deprecation };
            self.report(Severity::Warning, &field.location, kind);
        }
        self.value(attribute.type_, &field.value, attribute.secret);
        self.bounds(attribute, &field.value);
        self.assignments(attribute, &field.value);
    }

    fn block(&mut self, block: &'static BlockSchema, field: &Field) {
        if field.form == Form::Attribute && !block.also_attribute {
            return self.error(&field.location, ProblemKind::NotAnAttribute { name: block.name });
        }
        let subject = Subject::Block(block.name);
        match &field.value.data {
            NodeData::List(bodies) => {
                for (index, body) in bodies.iter().enumerate() {
                    self.within(PathStep::Index(index), |checker| {
                        checker.body(subject, &block.table, body, &Table::EMPTY);
                    });
                }
            }
            _ => self.body(subject, &block.table, &field.value, &Table::EMPTY),
        }
    }

    /// What must be given and is not, and blocks of which there are too many.
    fn required(&mut self, subject: Subject, table: &Table, body: &Node, fields: &[Field]) {
        for attribute in table.all_attributes().filter(|it| it.default == Default::Required) {
            match self.first(fields, attribute.name).filter(|field| field.value.data != NodeData::Null) {
                None => {
                    let kind = ProblemKind::Missing { subject, name: attribute.name, block: false };
                    self.within(PathStep::name(attribute.name), |checker| {
                        checker.error(&body.location, kind)
                    });
                }
                Some(field) if is_blank(&field.value) => {
                    let kind = ProblemKind::Blank { name: attribute.name };
                    self.within(PathStep::name(attribute.name), |checker| {
                        checker.error(&field.value.location, kind);
                    });
                }
                Some(_) => {}
            }
        }
        for block in table.all_blocks() {
            self.count(subject, block, body, fields);
        }
    }

    fn count(&mut self, subject: Subject, block: &'static BlockSchema, body: &Node, fields: &[Field]) {
        let mut count = 0;
        let mut last = None;
        for field in fields.iter().filter(|field| self.same(&field.name, block.name)) {
            count += match &field.value.data {
                NodeData::Unknown => return,
                NodeData::Null => 0,
                NodeData::List(bodies) => bodies.len(),
                _ => 1,
            };
            last = Some(field);
        }
        let (location, kind) = if count < block.min as usize {
            (&body.location, ProblemKind::Missing { subject, name: block.name, block: true })
        } else if block.max.is_some_and(|max| count > max as usize) {
            let location = last.map_or(&body.location, |field| &field.location);
            (location, ProblemKind::TooManyBlocks { name: block.name, max: block.max.unwrap_or(1) })
        } else {
            return;
        };
        self.within(PathStep::name(block.name), |checker| checker.error(location, kind));
    }

    fn same(&self, written: &str, known: &str) -> bool {
        match self.dialect {
            Dialect::Hcl => written == known,
            Dialect::Legacy => written.eq_ignore_ascii_case(known),
        }
    }

    fn first<'a>(&self, fields: &'a [Field], name: &str) -> Option<&'a Field> {
        fields.iter().find(|field| self.same(&field.name, name))
    }
}

/// The name that may have been meant: the same in another spelling (`kmsKeyName`), a slip of the finger, or what a former
/// name starts with (`iso_checksum_type` became part of `iso_checksum`).
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let letters = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let known = || known.iter().copied();
    let start = |known: &&str| known.contains('_') && name.starts_with(*known);
    known()
        .find(|known| letters(known) == letters(name))
        .or_else(|| did_you_mean(name, known()))
        .or_else(|| known().filter(start).max_by_key(|known| known.len()))
}

/// Names that Packer's core adds to each body, or that legacy templates leave in it.
fn is_of_the_core(name: &str) -> bool {
    const CORE: &[&str] = &[
        "type",
        "packer_build_name",
        "packer_builder_type",
        "packer_core_version",
        "packer_debug",
        "packer_force",
        "packer_on_error",
        "packer_user_variables",
        "packer_sensitive_variables",
    ];
    CORE.contains(&name)
}

/// Whether something that is required says nothing.
fn is_blank(value: &Node) -> bool {
    !matches!(value.data, NodeData::Bool(_) | NodeData::Number(_)) && value.is_zero()
}
