//! The values of the variables.
//!
//! A default, or a value that is given, is a template that may use other variables. Packer renders all of them a
//! hundred times; here each is rendered once those are known that it asks for, which gives the same values.

use std::collections::BTreeMap;

use imgbuild_gotemplate::{Error, Rendered};
use imgbuild_model::{Diagnostic, Diagnostics, Location, did_you_mean};
use imgbuild_packer_functions::SecretRequest;

use super::{Given, Template, Text, Values};
use crate::interpolate::{Context, Output, Place, Renderer, Run};
use crate::json::{Document, Value};

/// Reads a file of variables: one object of strings.
///
/// # Errors
/// Everything that is wrong with it. A name given twice is a warning, since the last counts.
pub(super) fn read_file(file: &str, text: &str) -> Result<(Vec<Given>, Vec<Diagnostic>), Diagnostics> {
    let (document, duplicates) = Document::parse(file, text)?;
    let source = document.source();
    let Value::Object(members) = &document.root.value else {
        let message = format!("a file of variables must be an object, not {}", document.root.kind());
        return Err(Diagnostic::error(message).at(source.location(document.root.span)).into());
    };
    let warnings = duplicates
        .into_iter()
        .map(|duplicate| Diagnostic { severity: imgbuild_model::Severity::Warning, ..duplicate })
        .collect();
    let mut given = Vec::new();
    let mut errors = Vec::new();
    for member in members {
        let location = source.location(member.value.span);
        let name = member.name.clone();
        match &member.value.value {
            Value::String(value) => {
                given.push(Given { name, value: value.clone(), location: Some(location) })
            }
            Value::Null => given.push(Given { name, value: String::new(), location: Some(location) }),
            _ => errors.push(
                Diagnostic::error(format!(
                    "the variable `{name}` must be a string, not {}",
                    member.value.kind()
                ))
                .at(location)
                .hint("templates in JSON have strings as variables only; put it in double quotes"),
            ),
        }
    }
    if errors.is_empty() { Ok((given, warnings)) } else { Err(Diagnostics(errors)) }
}

impl Given {
    /// Reads a file of variables, and what the user should know of it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read_file(file: &str, text: &str) -> Result<(Vec<Self>, Vec<Diagnostic>), Diagnostics> {
        read_file(file, text)
    }
}

impl Template {
    /// Gives the variables their values. Of values given for one variable the last counts: files first, then what is
    /// given on the command line.
    ///
    /// # Errors
    /// Variables without a value, that use one that does not exist or themselves, and all that is wrong in templates.
    pub fn resolve(&self, run: &Run, given: &[Given]) -> Result<Values, Diagnostics> {
        let context = Context::new(run.clone(), Place::Variables, Some(BTreeMap::new()));
        let mut solver = Solver {
            template: self,
            entries: self.entries(given),
            renderer: Renderer::new(context),
            values: Values::default(),
            errors: self.without_value(given),
        };
        solver.solve();
        let mut errors = solver.errors;
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.location.clone());
            return Err(Diagnostics(errors));
        }
        let mut values = solver.values;
        values.values = solver.renderer.into_user();
        self.mark_sensitive(&mut values);
        Ok(values)
    }

    fn without_value(&self, given: &[Given]) -> Vec<Diagnostic> {
        let lacks = |name: &str| given.iter().all(|given| given.name != name);
        self.variables
            .iter()
            .filter(|variable| variable.default.is_none() && lacks(&variable.name.text))
            .map(|variable| {
                let name = &variable.name.text;
                Diagnostic::error(format!("the variable `{name}` has no value"))
                    .at(variable.name.location(&self.source))
                    .hint(format!(
                        "give one with `-var {name}=…` or in a file, or a default in place of `null`"
                    ))
            })
            .collect()
    }

    fn entries<'a>(&'a self, given: &'a [Given]) -> BTreeMap<&'a str, Entry<'a>> {
        let defaults = self.variables.iter().filter_map(|variable| {
            let default = variable.default.as_ref()?;
            Some((&*variable.name.text, Entry::Default(default)))
        });
        let given = given.iter().map(|given| (given.name.as_str(), Entry::Given(given)));
        defaults.chain(given).collect()
    }

    /// Sensitivity follows values into the variables that are made of them.
    fn mark_sensitive(&self, values: &mut Values) {
        let secret = |request: &SecretRequest| !matches!(request, SecretRequest::Consul { .. });
        values.sensitive = self.sensitive.iter().map(|name| name.text.to_string()).collect();
        loop {
            let more: Vec<String> = values
                .reads
                .iter()
                .filter(|(name, reads)| {
                    !values.sensitive.contains(*name)
                        && (reads.secrets.iter().any(secret) || !reads.user.is_disjoint(&values.sensitive))
                })
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() {
                break;
            }
            values.sensitive.extend(more);
        }
        for name in self.sensitive.iter().filter(|name| !values.values.contains_key(&*name.text)) {
            let message = format!("`sensitive-variables` names `{}`, which is no variable", name.text);
            let near = did_you_mean(&name.text, values.values.keys().map(String::as_str));
            let hint = near.map(|near| format!("did you mean `{near}`?"));
            let warning = Diagnostic::warning(message).at(name.location(&self.source)).maybe_hint(hint);
            values.warnings.push(warning);
        }
    }
}

/// What a variable's value is made of.
#[derive(Clone, Copy)]
enum Entry<'a> {
    Default(&'a Text),
    Given(&'a Given),
}

impl Entry<'_> {
    fn template(&self) -> &str {
        match self {
            Self::Default(text) => &text.text,
            Self::Given(given) => &given.value,
        }
    }
}

struct Solver<'a> {
    template: &'a Template,
    entries: BTreeMap<&'a str, Entry<'a>>,
    renderer: Renderer,
    values: Values,
    errors: Vec<Diagnostic>,
}

impl<'a> Solver<'a> {
    fn solve(&mut self) {
        let mut waiting: Vec<&str> = self.entries.keys().copied().rev().collect();
        let mut chain: Vec<&'a str> = Vec::new();
        while let Some(name) = chain.last().copied().or_else(|| waiting.pop()) {
            if chain.is_empty() {
                if self.is_done(name) {
                    continue;
                }
                chain.push(name);
            }
            match self.attempt(name, &chain) {
                Some(next) => chain.push(next),
                None => drop(chain.pop()),
            }
        }
    }

    fn is_done(&self, name: &str) -> bool {
        self.values.reads.contains_key(name)
    }

    /// Renders a variable, or says which one must be rendered before. One that fails gets an empty value, so that
    /// each error is told once.
    fn attempt(&mut self, name: &'a str, chain: &[&'a str]) -> Option<&'a str> {
        let entry = self.entries[name];
        let hidden = Hidden::of(entry.template());
        let (value, reads) = match self.renderer.render(&hidden.text) {
            Ok(Output { text: Rendered::Text(text) | Rendered::Template(text), reads, .. }) => {
                (hidden.restore(text), reads)
            }
            Err(error) => {
                let missing = self.renderer.missing();
                let next = missing.as_ref().and_then(|missing| self.entries.get_key_value(missing.as_str()));
                match next {
                    Some((next, _)) if !chain.contains(next) => return Some(next),
                    Some((next, _)) => {
                        let from = chain.iter().position(|link| link == next).unwrap_or_default();
                        self.cycle(name, &chain[from..], next);
                    }
                    None => self.fail(name, entry, &error, missing.as_deref()),
                }
                Default::default()
            }
        };
        self.renderer.define(name, value);
        self.values.reads.insert(name.to_owned(), reads);
        None
    }

    fn cycle(&mut self, name: &str, links: &[&str], first: &str) {
        let way: Vec<String> = links.iter().chain([&first]).map(|name| format!("`{name}`")).collect();
        let message = format!("the variable `{first}` is made of itself: {}", way.join(" → "));
        let location = self.place(self.entries[name]);
        self.errors.push(Diagnostic { location, ..Diagnostic::error(message) });
    }

    fn fail(&mut self, name: &str, entry: Entry<'_>, error: &Error, missing: Option<&str>) {
        let declared =
            |missing: &str| self.template.variables.iter().any(|variable| &*variable.name.text == missing);
        let (message, hint) = match missing {
            // It is told already that it has no value.
            Some(missing) if declared(missing) => return,
            Some(missing) => {
                let near = did_you_mean(missing, self.entries.keys().copied());
                let hint = near.map_or_else(
                    || format!("declare it: `\"variables\": {{\"{missing}\": \"…\"}}`"),
                    |near| format!("did you mean `{near}`?"),
                );
                (format!("there is no variable `{missing}`"), Some(hint))
            }
            None => (error.kind.to_string(), self.renderer.hint(error)),
        };
        let location = match entry {
            Entry::Default(text) => Some(self.template.source.inside_string(text.span, error.span)),
            Entry::Given(given) => given.location.clone(),
        };
        let message = match entry {
            Entry::Default(_) => message,
            Entry::Given(_) => format!("the value given for `{name}`: {message}"),
        };
        self.errors.push(Diagnostic { location, ..Diagnostic::error(message) }.maybe_hint(hint));
    }

    fn place(&self, entry: Entry<'_>) -> Option<Location> {
        match entry {
            Entry::Default(text) => Some(text.location(&self.template.source)),
            Entry::Given(given) => given.location.clone(),
        }
    }
}

/// A text in which fields such as `{{ .HTTPIP }}` stand aside, since only the component that uses the variable knows
/// them. What stands for one is as long as it, so that places stay true.
struct Hidden {
    text: String,
    fields: Vec<(String, String)>,
}

impl Hidden {
    fn of(source: &str) -> Self {
        let mut hidden = Self { text: String::with_capacity(source.len()), fields: Vec::new() };
        let mut rest = source;
        while let Some(start) = rest.find("{{") {
            hidden.text.push_str(&rest[..start]);
            rest = &rest[start..];
            if let Some(length) = field_length(rest) {
                let stand_in = stand_in(hidden.fields.len(), length);
                hidden.text.push_str(&stand_in);
                hidden.fields.push((stand_in, rest[..length].to_owned()));
                rest = &rest[length..];
            } else {
                hidden.text.push('{');
                rest = &rest[1..];
            }
        }
        hidden.text.push_str(rest);
        hidden
    }

    fn restore(&self, mut text: String) -> String {
        for (stand_in, field) in &self.fields {
            text = text.replace(stand_in, field);
        }
        text
    }
}

/// Control characters that no template has reason to hold; five bytes at least, since `{{.}}` is that long.
fn stand_in(index: usize, length: usize) -> String {
    let digit =
        |place: u32| char::from(b'0' + u8::try_from(index / 64usize.pow(place) % 64).unwrap_or_default());
    let mut text = String::from('\u{1}');
    text.extend([digit(2), digit(1), digit(0)]);
    text.extend(std::iter::repeat_n('\u{2}', length - text.len()));
    text
}

/// The length of `{{`, perhaps a space, `.` and so on up to `}}` on the same line.
fn field_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("{{")?;
    let inside = inside.strip_prefix([' ', '\t', '\n', '\r', '\x0c']).unwrap_or(inside);
    let inside = inside.strip_prefix('.')?;
    let length = inside.find("}}")?;
    let name = &inside[..length];
    let name = name.strip_suffix('\n').unwrap_or(name);
    (!name.contains('\n')).then(|| text.len() - inside.len() + length + 2)
}

#[cfg(test)]
mod tests {
    use super::Hidden;

    #[test]
    fn fields_stand_aside_at_the_same_length() {
        for (source, fields) in [
            ("a", 0),
            ("{{ .X }}", 1),
            ("{{.}}{{.}}", 2),
            ("{{{ .X | upper }}}", 1),
            ("{{- .X }} {{if .X}}", 0),
            ("{{ .X\n}}{{ .X\n\n}}", 1),
            ("{{ .X", 0),
        ] {
            let hidden = Hidden::of(source);
            assert_eq!(hidden.fields.len(), fields, "{source}");
            assert_eq!(hidden.text.len(), source.len());
            assert_eq!(hidden.restore(hidden.text.clone()), source);
        }
        let many = "{{.A}}".repeat(5000);
        let hidden = Hidden::of(&many);
        assert_eq!(hidden.restore(hidden.text.clone()), many);
    }
}
