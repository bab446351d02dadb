//! The text of a template into its parts.

use std::time::Duration;

use imgbuild_gotemplate::Span;
use imgbuild_model::{Diagnostic, Diagnostics, did_you_mean};

use super::{Builder, Override, PostProcessor, Provisioner, Selection, Template, Text, Variable};
use crate::go_time;
use crate::json::{Document, MOST_ERRORS, Member, Node, Source, Value};

/// What can stand at the top.
const SECTIONS: [&str; 10] = [
    "min_packer_version",
    "description",
    "builders",
    "comments",
    "push",
    "post-processors",
    "provisioners",
    "error-cleanup-provisioner",
    "variables",
    "sensitive-variables",
];

impl Template {
    /// Reads a template. `file` is its name in diagnostics.
    ///
    /// # Errors
    /// Everything that is wrong with its form; of text that is no JSON, the first place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Diagnostics> {
        let (document, duplicates) = Document::parse(file, text)?;
        let mut parser = Parser { source: document.source(), diagnostics: duplicates };
        let template = parser.template(&document.root);
        let mut diagnostics = parser.diagnostics;
        diagnostics.sort_by_key(|diagnostic| diagnostic.location.clone());
        if diagnostics.is_empty() { Ok(template) } else { Err(Diagnostics(diagnostics)) }
    }
}

struct Parser<'a> {
    source: &'a Source,
    diagnostics: Vec<Diagnostic>,
}

impl Parser<'_> {
    fn error(&mut self, span: Span, message: String, hint: Option<String>) {
        if self.diagnostics.len() >= MOST_ERRORS {
            return;
        }
        let location = self.source.location(span);
        self.diagnostics.push(Diagnostic::error(message).at(location).maybe_hint(hint));
    }

    fn wrong(&mut self, what: &str, wanted: &str, node: &Node) {
        self.error(node.span, format!("{what} must be {wanted}, not {}", node.kind()), None);
    }

    fn template(&mut self, root: &Node) -> Template {
        let mut template = empty(self.source);
        let members = match &root.value {
            Value::Object(members) => members.as_slice(),
            Value::Null => &[],
            _ => {
                self.wrong("a template", "an object", root);
                &[]
            }
        };
        for member in members {
            match section(members, member) {
                Some(section) => self.section(&mut template, section, member),
                None if member.name.starts_with('_') => self.comment(&mut template, member),
                None => self.unknown_section(member),
            }
        }
        template
    }

    fn unknown_section(&mut self, member: &Member) {
        let hint = match did_you_mean(&member.name, SECTIONS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a name that begins with `_` makes it a comment".to_owned(),
        };
        let message = format!("a template has no section `{}`", member.name);
        self.error(member.name_span, message, Some(hint));
    }

    fn comment(&mut self, template: &mut Template, member: &Member) {
        if let Some(text) = self.string(&member.value, "a comment") {
            template.comments.push((name_of(member), text));
        }
    }

    fn section(&mut self, template: &mut Template, section: &str, member: &Member) {
        let node = &member.value;
        let quoted = format!("`{section}`");
        match section {
            _ if node.value == Value::Null => {}
            "min_packer_version" => template.min_packer_version = self.string(node, &quoted),
            "description" => template.description = self.string(node, &quoted),
            "builders" => {
                for node in self.list(node, &quoted) {
                    self.builder(template, node);
                }
            }
            "provisioners" => {
                for node in self.list(node, &quoted) {
                    let provisioner = self.provisioner(node, "a provisioner");
                    template.provisioners.extend(provisioner);
                }
            }
            "error-cleanup-provisioner" => template.error_cleanup = self.provisioner(node, &quoted),
            "post-processors" => {
                for node in self.list(node, &quoted) {
                    let sequence = self.sequence(node);
                    template.post_processors.push(sequence);
                }
            }
            "variables" => {
                for member in self.object(node, &quoted) {
                    let variable = self.variable(member);
                    template.variables.extend(variable);
                }
            }
            "sensitive-variables" => {
                template.sensitive = self.strings(node, &quoted, "the name of a variable");
            }
            "push" => drop(self.object(node, &quoted)),
            _ => {
                for node in self.list(node, &quoted) {
                    for member in self.object(node, "a comment") {
                        self.comment(template, member);
                    }
                }
            }
        }
    }

    fn variable(&mut self, member: &Member) -> Option<Variable> {
        let name = name_of(member);
        if member.value.value == Value::Null {
            return Some(Variable { name, default: None });
        }
        if let Value::Bool(_) | Value::Number(_) = member.value.value {
            let written = self.source.text_of(member.value.span);
            let message = format!(
                "the variable `{}` must be a string or null, not {}",
                member.name,
                member.value.kind()
            );
            self.error(member.value.span, message, Some(format!("write `\"{written}\"`")));
            return None;
        }
        let what = format!("the variable `{}`", member.name);
        let default = self.string_or(&member.value, &what, "a string or null")?;
        Some(Variable { name, default: Some(default) })
    }

    fn builder(&mut self, template: &mut Template, node: &Node) {
        let Some(members) = self.component(node, "a builder") else { return };
        let Some(kind) = self.kind(members, node, "a builder") else { return };
        let name = get(members, "name").and_then(|node| self.weak_string(node, "`name`"));
        let name = name.filter(|name| !name.text.is_empty()).unwrap_or_else(|| kind.clone());
        if let Some(first) = template.builders.iter().find(|other| other.name.text == name.text) {
            let diagnostic = Diagnostic::error(format!("there are two builders `{}`", name.text))
                .at(self.source.location(name.span))
                .note("the first is here", Some(self.source.location(first.name.span)))
                .hint("give each its own `name`");
            self.diagnostics.push(diagnostic);
            return;
        }
        let config = without(members, &["name", "type"]);
        template.builders.push(Builder { name, kind, config, span: node.span });
    }

    fn provisioner(&mut self, node: &Node, what: &str) -> Option<Provisioner> {
        let members = self.component(node, what)?;
        let kind = self.kind(members, node, what)?;
        let pause_before =
            get(members, "pause_before").and_then(|node| self.duration(node, "`pause_before`"));
        Some(Provisioner {
            kind,
            selection: self.selection(members, true),
            overrides: self.overrides(members),
            pause_before: pause_before.unwrap_or_default(),
            timeout: get(members, "timeout")
                .and_then(|node| self.duration(node, "`timeout`"))
                .filter(|timeout| !timeout.is_zero()),
            max_retries: get(members, "max_retries")
                .and_then(|node| self.weak_string(node, "`max_retries`"))
                .filter(|text| !text.text.is_empty()),
            config: without(
                members,
                &["type", "only", "except", "override", "pause_before", "timeout", "max_retries"],
            ),
            span: node.span,
        })
    }

    fn overrides(&mut self, members: &[Member]) -> Vec<Override> {
        let Some(node) = get(members, "override") else { return Vec::new() };
        let mut overrides = Vec::new();
        for member in self.object(node, "`override`") {
            let what = format!("the override for `{}`", member.name);
            let config = self.object(&member.value, &what).to_vec();
            overrides.push(Override { builder: name_of(member), config });
        }
        overrides
    }

    fn sequence(&mut self, node: &Node) -> Vec<PostProcessor> {
        let Value::Array(elements) = &node.value else {
            return self.post_processor(node).into_iter().collect();
        };
        let mut sequence = Vec::new();
        for element in elements {
            if let Value::Array(_) = element.value {
                let hint = "a sequence holds post-processors; write this one beside it".to_owned();
                self.error(element.span, "a sequence cannot stand in a sequence".to_owned(), Some(hint));
            } else {
                sequence.extend(self.post_processor(element));
            }
        }
        sequence
    }

    fn post_processor(&mut self, node: &Node) -> Option<PostProcessor> {
        if let Value::String(kind) = &node.value {
            let kind = Text { text: kind.as_str().into(), span: node.span };
            if kind.text.is_empty() {
                self.error(node.span, "a post-processor has no type".to_owned(), None);
                return None;
            }
            let selection = Selection::default();
            let name = kind.clone();
            let (config, span) = (Vec::new(), node.span);
            return Some(PostProcessor { name, kind, selection, keep_input_artifact: None, config, span });
        }
        let Value::Object(members) = &node.value else {
            self.wrong("a post-processor", "a string, an object or a list", node);
            return None;
        };
        let kind = self.kind(members, node, "a post-processor")?;
        let name = get(members, "name").and_then(|node| self.string(node, "`name`"));
        let keep_input_artifact = get(members, "keep_input_artifact").and_then(|node| match node.value {
            Value::Bool(keep) => Some(keep),
            _ => {
                self.wrong("`keep_input_artifact`", "`true` or `false`", node);
                None
            }
        });
        Some(PostProcessor {
            name: name.filter(|name| !name.text.is_empty()).unwrap_or_else(|| kind.clone()),
            kind,
            selection: self.selection(members, false),
            keep_input_artifact,
            config: without(members, &["type", "name", "only", "except", "keep_input_artifact"]),
            span: node.span,
        })
    }

    /// `lenient`: one name alone is a list of one.
    fn selection(&mut self, members: &[Member], lenient: bool) -> Selection {
        let mut names = |key: &str| {
            let Some(node) = get(members, key) else { return Vec::new() };
            match &node.value {
                Value::String(text) if lenient => vec![Text { text: text.as_str().into(), span: node.span }],
                _ => self.strings(node, &format!("`{key}`"), "the name of a builder"),
            }
        };
        Selection { only: names("only"), except: names("except") }
    }

    fn component<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Member]> {
        match &node.value {
            Value::Object(members) => Some(members),
            _ => {
                self.wrong(what, "an object", node);
                None
            }
        }
    }

    fn kind(&mut self, members: &[Member], node: &Node, what: &str) -> Option<Text> {
        let kind = match get(members, "type") {
            Some(node) => self.weak_string(node, "`type`")?,
            None => Text { text: "".into(), span: node.span },
        };
        if !kind.text.is_empty() {
            return Some(kind);
        }
        let start = Span { start: kind.span.start, end: kind.span.start + 1 };
        let hint = "write `\"type\": \"…\"` in it".to_owned();
        self.error(start, format!("{what} has no type"), Some(hint));
        None
    }

    fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::Array(elements) => elements,
            Value::Null => &[],
            _ => {
                self.wrong(what, "a list", node);
                &[]
            }
        }
    }

    fn object<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Member] {
        match &node.value {
            Value::Object(members) => members,
            Value::Null => &[],
            _ => {
                self.wrong(what, "an object", node);
                &[]
            }
        }
    }

    fn string(&mut self, node: &Node, what: &str) -> Option<Text> {
        self.string_or(node, what, "a string")
    }

    fn string_or(&mut self, node: &Node, what: &str, wanted: &str) -> Option<Text> {
        match &node.value {
            Value::String(text) => Some(Text { text: text.as_str().into(), span: node.span }),
            _ => {
                self.wrong(what, wanted, node);
                None
            }
        }
    }

    fn strings(&mut self, node: &Node, what: &str, element: &str) -> Vec<Text> {
        self.list(node, what)
            .iter()
            .filter_map(|node| self.string_or(node, &format!("{element} in {what}"), "a string"))
            .collect()
    }

    /// A number or a truth value is taken for its text where Packer does so.
    fn weak_string(&mut self, node: &Node, what: &str) -> Option<Text> {
        let text = match &node.value {
            Value::Number(written) => go_number(written),
            Value::Bool(value) => u8::from(*value).to_string(),
            _ => return self.string(node, what),
        };
        Some(Text { text: text.into(), span: node.span })
    }

    /// `1m30s`, or a number of nanoseconds.
    fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let found = match &node.value {
            Value::String(text) => go_time::duration(text),
            Value::Number(text) => {
                text.parse::<f64>().ok().and_then(|count| Duration::try_from_secs_f64(count / 1e9).ok())
            }
            _ => {
                self.wrong(what, "a duration", node);
                return None;
            }
        };
        if found.is_none() {
            let written = self.source.text_of(node.span).trim_matches('"');
            let message = format!("{what} must be a duration, not `{written}`");
            let hint = "write a number and a unit: `30s`, `5m`, `1h30m`".to_owned();
            self.error(node.span, message, Some(hint));
        }
        found
    }
}

/// A number as Go writes it without an exponent.
fn go_number(written: &str) -> String {
    written.parse::<f64>().map_or_else(|_| written.to_owned(), |number| number.to_string())
}

/// The section that a member is: like Packer, letters may be of any case where the exact name is not there too.
fn section(members: &[Member], member: &Member) -> Option<&'static str> {
    let section = SECTIONS.into_iter().find(|section| section.eq_ignore_ascii_case(&member.name))?;
    let exact = member.name == section || members.iter().all(|other| other.name != section);
    exact.then_some(section)
}

fn empty(source: &Source) -> Template {
    Template {
        source: source.clone(),
        min_packer_version: None,
        description: None,
        comments: Vec::new(),
        variables: Vec::new(),
        sensitive: Vec::new(),
        builders: Vec::new(),
        provisioners: Vec::new(),
        error_cleanup: None,
        post_processors: Vec::new(),
    }
}

fn get<'n>(members: &'n [Member], name: &str) -> Option<&'n Node> {
    let member = members.iter().find(|member| member.name == name)?;
    (member.value.value != Value::Null).then_some(&member.value)
}

fn without(members: &[Member], names: &[&str]) -> Vec<Member> {
    members.iter().filter(|member| !names.contains(&member.name.as_str())).cloned().collect()
}

fn name_of(member: &Member) -> Text {
    Text { text: member.name.as_str().into(), span: member.name_span }
}
