//! The configuration of a component, rendered.

use imgbuild_gotemplate::{Error, Rendered, Span};
use imgbuild_model::{Diagnostic, Diagnostics, did_you_mean};

use crate::interpolate::{Output, Reads, Renderer};
use crate::json::{MOST_ERRORS, Member, Node, Source, Value};

/// A configuration that has been rendered.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its attributes, with the places where they were written.
    pub members: Vec<Member>,
    /// The places of strings that are still templates, because a running build must be asked, and of those that were
    /// to be left.
    pub late: Vec<Span>,
    /// What was asked for.
    pub reads: Reads,
    /// What the user should know.
    pub warnings: Vec<Diagnostic>,
}

/// Renders all strings of a configuration, keys of inner objects too, but for the attributes named in `later`, which
/// the component renders itself: these are checked and left.
///
/// # Errors
/// All templates in it that are wrong.
pub fn render(
    source: &Source,
    members: &[Member],
    renderer: &mut Renderer,
    later: &[&str],
) -> Result<Config, Diagnostics> {
    let config =
        Config { members: Vec::new(), late: Vec::new(), reads: Reads::default(), warnings: Vec::new() };
    let mut walk = Walk { source, renderer, config, errors: Vec::new() };
    for member in members {
        let is_later = later.iter().any(|name| name.eq_ignore_ascii_case(&member.name));
        let value = if is_later { walk.leave(&member.value) } else { walk.node(&member.value) };
        walk.config.members.push(Member { value, ..member.clone() });
    }
    if walk.errors.is_empty() { Ok(walk.config) } else { Err(Diagnostics(walk.errors)) }
}

struct Walk<'a> {
    source: &'a Source,
    renderer: &'a mut Renderer,
    config: Config,
    errors: Vec<Diagnostic>,
}

impl Walk<'_> {
    fn leave(&mut self, node: &Node) -> Node {
        match &node.value {
            Value::String(text) => {
                if text.contains("{{") {
                    self.config.late.push(node.span);
                }
                if let Err(error) = self.renderer.check(text) {
                    self.fail(node.span, &error);
                }
            }
            Value::Array(elements) => elements.iter().for_each(|element| drop(self.leave(element))),
            Value::Object(members) => members.iter().for_each(|member| drop(self.leave(&member.value))),
            _ => {}
        }
        node.clone()
    }

    fn node(&mut self, node: &Node) -> Node {
        let value = match &node.value {
            Value::String(text) => Value::String(self.text(text, node.span)),
            Value::Array(elements) => {
                Value::Array(elements.iter().map(|element| self.node(element)).collect())
            }
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|member| Member {
                        name: self.text(&member.name, member.name_span),
                        name_span: member.name_span,
                        value: self.node(&member.value),
                    })
                    .collect(),
            ),
            plain => plain.clone(),
        };
        Node { value, span: node.span }
    }

    fn text(&mut self, text: &str, span: Span) -> String {
        let Output { text, reads, unknown_fields } = match self.renderer.render(text) {
            Ok(output) => output,
            Err(error) => {
                self.fail(span, &error);
                return text.to_owned();
            }
        };
        for (field, inner) in unknown_fields {
            let warning = Diagnostic::warning(format!("nothing gives `{field}` here, so it is `<no value>`"));
            self.config.warnings.push(warning.at(self.source.inside_string(span, inner)));
        }
        let unknown: Vec<_> = reads.user.iter().filter(|name| !self.renderer.has_user(name)).collect();
        for name in unknown {
            let near = did_you_mean(name, self.renderer.user_names());
            self.config.warnings.push(
                Diagnostic::warning(format!("there is no variable `{name}`, so this is empty"))
                    .at(self.source.location(span))
                    .maybe_hint(near.map(|near| format!("did you mean `{near}`?"))),
            );
        }
        self.config.reads.merge(reads);
        match text {
            Rendered::Text(text) => text,
            Rendered::Template(text) => {
                self.config.late.push(span);
                text
            }
        }
    }

    fn fail(&mut self, span: Span, error: &Error) {
        if self.errors.len() >= MOST_ERRORS {
            return;
        }
        let location = self.source.inside_string(span, error.span);
        let hint = self.renderer.hint(error);
        self.errors.push(Diagnostic::error(error.kind.to_string()).at(location).maybe_hint(hint));
    }
}
