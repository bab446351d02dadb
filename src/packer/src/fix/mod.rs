//! `fix`: old templates in JSON into what Packer reads today.
//!
//! The fixers are a `table`, in the order in which they run; those that do more than rename or remove are functions in
//! `rules`. Each does what Packer's of the same name does, except that one which would crash there is an error here.

mod rules;
mod table;

use imgbuild_gotemplate::Span;
use imgbuild_model::{Diagnostic, Diagnostics, Severity};

pub use table::FIXERS;

use crate::go_json;
use crate::json::{Document, Member, Node, Source, Value};

/// One fixer.
pub struct Fixer {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    target: Target,
    changes: &'static [Change],
}

/// What a fixer looks at.
#[derive(Clone, Copy)]
enum Target {
    /// Builders whose type is one of these.
    Builders(&'static [Kind]),
    /// Provisioners of this type.
    Provisioners(&'static str),
    /// Post-processors of this type.
    PostProcessors(&'static str),
    /// The whole template.
    Template,
}

#[derive(Clone, Copy)]
enum Kind {
    Any,
    Is(&'static str),
    Begins(&'static str),
}

#[derive(Clone, Copy)]
enum Change {
    Rename { from: &'static str, to: &'static str, only: Only, existing: Existing },
    Remove(&'static str),
    Type(&'static str),
    Call(fn(&mut Node, &Source) -> Result<(), Box<Diagnostic>>),
}

/// Which values are moved; others stay under the old name.
#[derive(Clone, Copy, PartialEq)]
enum Only {
    Any,
    Strings,
    Bools,
}

/// What becomes of a value that the new name has already.
#[derive(Clone, Copy, PartialEq)]
enum Existing {
    Replaced,
    /// It stays, and an old value that could have been moved goes.
    Kept,
    /// It stays, and the old value goes whatever it is.
    Final,
}

/// A template that has been fixed.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// Its text, with a line break at the end.
    pub text: String,
    /// What the user should know.
    pub warnings: Vec<Diagnostic>,
}

/// Runs all fixers.
///
/// # Errors
/// Text that is no JSON, and values that a fixer must understand but cannot.
pub fn fix(file: &str, text: &str) -> Result<Fixed, Diagnostics> {
    let (document, duplicates) = Document::parse(file, text)?;
    let source = document.source().clone();
    let mut root = document.root;
    keep_last(&mut root);
    if !matches!(root.value, Value::Object(_)) {
        let message = format!("a template must be an object, not {}", root.kind());
        return Err(Diagnostic::error(message).at(source.location(root.span)).into());
    }
    for fixer in &FIXERS {
        fixer.run(&mut root, &source).map_err(|error| Diagnostics::from(*error))?;
    }
    if section(&mut root, "builders").is_none() {
        set(&mut root, "builders", Value::Null);
    }
    let warnings = duplicates
        .into_iter()
        .map(|duplicate| Diagnostic { severity: Severity::Warning, ..duplicate })
        .collect();
    Ok(Fixed { text: go_json::write(&root), warnings })
}

impl Fixer {
    fn run(&self, root: &mut Node, source: &Source) -> Result<(), Box<Diagnostic>> {
        let components = match self.target {
            Target::Template => vec![root],
            Target::Builders(kinds) => {
                let builders = objects(root, "builders", source)?;
                builders
                    .into_iter()
                    .filter(|builder| kinds.iter().any(|kind| kind.matches(builder)))
                    .collect()
            }
            Target::Provisioners(kind) => {
                let provisioners = provisioners(root);
                provisioners.into_iter().filter(|one| type_of(one) == Some(kind)).collect()
            }
            Target::PostProcessors(kind) => {
                let post_processors = post_processors(root, source)?;
                post_processors.into_iter().filter(|one| type_of(one) == Some(kind)).collect()
            }
        };
        for component in components {
            for change in self.changes {
                change.apply(component, source)?;
            }
        }
        Ok(())
    }
}

impl Kind {
    fn matches(self, builder: &Node) -> bool {
        match self {
            Self::Any => true,
            Self::Is(kind) => type_of(builder) == Some(kind),
            Self::Begins(prefix) => type_of(builder).is_some_and(|kind| kind.starts_with(prefix)),
        }
    }
}

impl Change {
    fn apply(self, component: &mut Node, source: &Source) -> Result<(), Box<Diagnostic>> {
        match self {
            Self::Rename { from, to, only, existing } => rename(component, from, to, only, existing),
            Self::Remove(name) => drop(take(component, name)),
            Self::Type(kind) => set(component, "type", Value::String(kind.to_owned())),
            Self::Call(rule) => rule(component, source)?,
        }
        Ok(())
    }
}

fn rename(component: &mut Node, from: &str, to: &str, only: Only, existing: Existing) {
    let Some(value) = get(component, from) else { return };
    let is_there = get(component, to).is_some();
    let moves = match only {
        Only::Any => true,
        Only::Strings => matches!(value.value, Value::String(_)),
        Only::Bools => matches!(value.value, Value::Bool(_)),
    };
    if is_there && (existing == Existing::Final || moves && existing == Existing::Kept) {
        take(component, from);
    } else if moves && let Some(value) = take(component, from) {
        set(component, to, value.value);
    }
}

/// Of members of one name the last counts.
fn keep_last(node: &mut Node) {
    match &mut node.value {
        Value::Array(elements) => elements.iter_mut().for_each(keep_last),
        Value::Object(members) => {
            let mut seen = std::collections::BTreeSet::new();
            members.reverse();
            members.retain(|member| seen.insert(member.name.clone()));
            members.reverse();
            members.iter_mut().for_each(|member| keep_last(&mut member.value));
        }
        _ => {}
    }
}

fn members(node: &mut Node) -> Option<&mut Vec<Member>> {
    match &mut node.value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

fn get<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Object(members) => {
            members.iter().find(|member| member.name == name).map(|member| &member.value)
        }
        _ => None,
    }
}

fn get_mut<'n>(node: &'n mut Node, name: &str) -> Option<&'n mut Node> {
    members(node)?.iter_mut().find(|member| member.name == name).map(|member| &mut member.value)
}

fn take(node: &mut Node, name: &str) -> Option<Node> {
    let members = members(node)?;
    let position = members.iter().position(|member| member.name == name)?;
    Some(members.remove(position).value)
}

fn set(node: &mut Node, name: &str, value: Value) {
    let span = Span { start: node.span.start, end: node.span.start };
    take(node, name);
    if let Some(members) = members(node) {
        let value = Node { value, span };
        members.push(Member { name: name.to_owned(), name_span: span, value });
    }
}

fn type_of(component: &Node) -> Option<&str> {
    get(component, "type")?.as_str()
}

/// A section, whatever the case of its letters.
fn section<'n>(root: &'n mut Node, name: &str) -> Option<&'n mut Node> {
    let members = members(root)?;
    let exact = members.iter().position(|member| member.name == name);
    let position =
        exact.or_else(|| members.iter().position(|member| member.name.eq_ignore_ascii_case(name)))?;
    Some(&mut members[position].value)
}

fn wrong(source: &Source, node: &Node, what: &str, wanted: &str) -> Box<Diagnostic> {
    let message = format!("{what} must be {wanted}, not {}", node.kind());
    Box::new(Diagnostic::error(message).at(source.location(node.span)))
}

/// The elements of a section that must be a list of objects.
fn objects<'n>(
    root: &'n mut Node,
    name: &str,
    source: &Source,
) -> Result<Vec<&'n mut Node>, Box<Diagnostic>> {
    let elements = list(root, name, source)?;
    for element in &*elements {
        if !matches!(element.value, Value::Object(_) | Value::Null) {
            return Err(wrong(source, element, "a builder", "an object"));
        }
    }
    Ok(elements)
}

fn list<'n>(root: &'n mut Node, name: &str, source: &Source) -> Result<Vec<&'n mut Node>, Box<Diagnostic>> {
    let Some(section) = section(root, name) else { return Ok(Vec::new()) };
    if !matches!(section.value, Value::Array(_) | Value::Null) {
        return Err(wrong(source, section, &format!("`{name}`"), "a list"));
    }
    match &mut section.value {
        Value::Array(elements) => Ok(elements.iter_mut().collect()),
        _ => Ok(Vec::new()),
    }
}

/// The provisioners. One that stands alone becomes a list.
fn provisioners(root: &mut Node) -> Vec<&mut Node> {
    let Some(section) = section(root, "provisioners") else { return Vec::new() };
    let alone = match &section.value {
        Value::Array(_) | Value::Null => false,
        Value::Object(members) => !members.is_empty(),
        _ => true,
    };
    if alone {
        let span = section.span;
        let one = std::mem::replace(section, Node { value: Value::Null, span });
        section.value = Value::Array(vec![one]);
    }
    match &mut section.value {
        Value::Array(elements) => elements.iter_mut().collect(),
        _ => Vec::new(),
    }
}

/// The post-processors that are objects, those in sequences too.
fn post_processors<'n>(root: &'n mut Node, source: &Source) -> Result<Vec<&'n mut Node>, Box<Diagnostic>> {
    let mut found = Vec::new();
    for element in list(root, "post-processors", source)? {
        if matches!(element.value, Value::Object(_)) {
            found.push(element);
        } else if let Value::Array(inner) = &mut element.value {
            found.extend(inner.iter_mut().filter(|one| matches!(one.value, Value::Object(_))));
        }
    }
    Ok(found)
}
