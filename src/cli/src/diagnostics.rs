//! Renders diagnostics with the source lines that they speak of, as compilers do. The type itself is the model's.

use std::fmt::Write as _;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use imgbuild_model::{Diagnostic, Diagnostics, Location, Severity};

use crate::ui::{Shell, json_diagnostic};

/// How diagnostics are rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appearance {
    /// With colours.
    pub color: bool,
    /// With signs beyond ASCII.
    pub unicode: bool,
    /// For so many columns.
    pub width: usize,
}

/// Gives the text of a file by the name in a [`Location`], if it can be read.
pub type SourceText<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Writes diagnostics to standard error, and as JSON lines to standard output where those are asked for. Warnings are
/// left out where the shell is quiet.
pub fn report(diagnostics: &Diagnostics, source: &SourceText<'_>, shell: &Shell) {
    let settings = shell.settings();
    let quiet = shell.verbosity() == crate::ui::Verbosity::Quiet;
    let shown: Vec<&Diagnostic> =
        sorted(diagnostics).into_iter().filter(|one| !quiet || one.severity == Severity::Error).collect();
    if settings.json {
        for diagnostic in sorted(diagnostics) {
            shell.line(&json_diagnostic(diagnostic));
        }
        for diagnostic in shown {
            shell.say(&one_line(diagnostic));
        }
        return;
    }
    let appearance =
        Appearance { color: settings.stderr_color, unicode: settings.unicode, width: shell.size().columns };
    for (index, diagnostic) in shown.into_iter().enumerate() {
        if index > 0 {
            shell.say("");
        }
        shell.say(&render_one(diagnostic, source, appearance));
    }
}

/// All diagnostics as text, by place, with an empty line between them.
#[must_use]
pub fn render(diagnostics: &Diagnostics, source: &SourceText<'_>, appearance: Appearance) -> String {
    let rendered: Vec<String> = sorted(diagnostics)
        .into_iter()
        .map(|diagnostic| render_one(diagnostic, source, appearance))
        .collect();
    rendered.join("\n\n")
}

/// A diagnostic in one line, for logs and programs.
#[must_use]
pub fn one_line(diagnostic: &Diagnostic) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let text = match &diagnostic.location {
        Some(_) => {
            let text = diagnostic.to_string();
            let (place, rest) = text.split_once(": ").unwrap_or(("", &text));
            format!("{place}: {severity}: {rest}")
        }
        None => format!("{severity}: {diagnostic}"),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// By place; those without one come last, in the order in which they were found.
fn sorted(diagnostics: &Diagnostics) -> Vec<&Diagnostic> {
    let mut sorted: Vec<&Diagnostic> = diagnostics.0.iter().collect();
    sorted.sort_by(|one, other| {
        let place = |diagnostic: &Diagnostic| (diagnostic.location.is_none(), diagnostic.location.clone());
        place(one).cmp(&place(other))
    });
    sorted
}

fn render_one(diagnostic: &Diagnostic, source: &SourceText<'_>, appearance: Appearance) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut first = Group::with_title(level.primary_title(diagnostic.message.as_str()));
    if let Some(location) = &diagnostic.location {
        first = first.element(place(location, AnnotationKind::Primary, diagnostic.label.as_deref(), source));
    }
    let mut groups = vec![first];
    for note in &diagnostic.notes {
        match &note.location {
            Some(location) => groups.push(
                Group::with_title(Level::NOTE.secondary_title(note.text.as_str())).element(place(
                    location,
                    AnnotationKind::Primary,
                    None,
                    source,
                )),
            ),
            // Without a place there is no margin to hang on.
            None if diagnostic.location.is_none() => {
                groups.push(Group::with_title(Level::NOTE.secondary_title(note.text.as_str())));
            }
            None => append(&mut groups, Level::NOTE.message(note.text.as_str())),
        }
    }
    if let Some(hint) = &diagnostic.hint {
        if diagnostic.location.is_none() {
            groups.push(Group::with_title(Level::HELP.secondary_title(hint.as_str())));
        } else {
            append(&mut groups, Level::HELP.message(hint.as_str()));
        }
    }
    let renderer = if appearance.color { Renderer::styled() } else { Renderer::plain() };
    let decor = if appearance.unicode { DecorStyle::Unicode } else { DecorStyle::Ascii };
    let renderer = renderer.decor_style(decor).term_width(appearance.width.max(40));
    if diagnostic.location.is_some() {
        return renderer.render(&groups);
    }
    // Together they would get a margin that nothing hangs on.
    let parts: Vec<String> =
        groups.iter().map(|group| renderer.render(std::slice::from_ref(group))).collect();
    parts.join("\n")
}

/// Adds to the last group.
fn append<'a>(groups: &mut Vec<Group<'a>>, element: impl Into<Element<'a>>) {
    if let Some(last) = groups.pop() {
        groups.push(last.element(element));
    }
}

/// The source line with a mark under the place; only the name of the place if the text is not there.
fn place<'a>(
    location: &'a Location,
    kind: AnnotationKind,
    label: Option<&'a str>,
    source: &SourceText<'_>,
) -> Element<'a> {
    let text = if location.line == 0 { None } else { source(&location.file) };
    let Some((excerpt, span)) = text.as_deref().and_then(|text| excerpt(text, location)) else {
        let mut origin = Origin::path(&*location.file);
        if location.line > 0 {
            origin = origin.line(location.line as usize);
            if location.column > 0 {
                origin = origin.char_column(location.column as usize);
            }
        }
        return origin.into();
    };
    let mut annotation = kind.span(span);
    if let Some(label) = label {
        annotation = annotation.label(label);
    }
    Snippet::source(excerpt)
        .line_start(location.line as usize)
        .path(&*location.file)
        .annotation(annotation)
        .into()
}

/// The lines of the place, and the bytes of the place within them. Nothing if the text has no such line, as when the
/// file has changed in between.
fn excerpt(text: &str, location: &Location) -> Option<(String, std::ops::Range<usize>)> {
    let first = location.line as usize;
    let last = (location.end_line as usize).max(first);
    let mut excerpt = String::new();
    let (mut start, mut end) = (0, 0);
    for (index, line) in text.lines().enumerate().skip(first - 1).take(last - first + 1) {
        let byte = |column: u32| {
            let characters = (column as usize).saturating_sub(1);
            line.char_indices().nth(characters).map_or(line.len(), |(byte, _)| byte)
        };
        if index + 1 == first {
            start = excerpt.len() + byte(location.column.max(1));
        }
        // Without an end column, the whole rest of the line is meant.
        end = excerpt.len()
            + if index + 1 == last && location.end_column > 0 {
                byte(location.end_column)
            } else {
                line.len()
            };
        let _ = writeln!(excerpt, "{line}");
    }
    if excerpt.is_empty() {
        return None;
    }
    excerpt.pop();
    Some((excerpt, start..end.max(start)))
}

#[cfg(test)]
mod tests {
    use imgbuild_model::Class;

    use super::*;

    const BUILD: &str = "image(\n    name = \"web\",\n    soruce = \":base\",\n    steps = [\n        shell(\"ä\", x),\n    ],\n)\n";
    const PLAIN: Appearance = Appearance { color: false, unicode: false, width: 100 };

    fn source(file: &str) -> Option<String> {
        match file {
            "a/BUILD.star" => Some(BUILD.to_owned()),
            "lib/x.star" => Some("load(\"//a:y.star\", \"y\")\n".to_owned()),
            _ => None,
        }
    }

    fn at(file: &str, line: u32, column: u32, end_line: u32, end_column: u32) -> Location {
        Location { file: file.into(), line, column, end_line, end_column }
    }

    fn rendered(diagnostic: Diagnostic) -> String {
        render(&diagnostic.into(), &source, PLAIN)
    }

    #[test]
    fn a_place_is_marked_and_the_hint_follows() {
        let diagnostic = Diagnostic::error("`image` has no attribute `soruce`")
            .at(at("a/BUILD.star", 3, 5, 3, 11))
            .label("not an attribute")
            .hint("did you mean `source`?");
        assert_eq!(
            rendered(diagnostic),
            "\
error: `image` has no attribute `soruce`
 --> a/BUILD.star:3:5
  |
3 |     soruce = \":base\",
  |     ^^^^^^ not an attribute
  |
  = help: did you mean `source`?"
        );
    }

    #[test]
    fn columns_count_characters() {
        let diagnostic = Diagnostic::error("`x` is not defined").at(at("a/BUILD.star", 5, 20, 5, 21));
        assert_eq!(
            rendered(diagnostic),
            "\
error: `x` is not defined
 --> a/BUILD.star:5:20
  |
5 |         shell(\"ä\", x),
  |                    ^"
        );
    }

    #[test]
    fn a_place_may_have_many_lines() {
        let diagnostic = Diagnostic::error("`image` fails").at(at("a/BUILD.star", 4, 13, 6, 6));
        assert_eq!(
            rendered(diagnostic),
            "\
error: `image` fails
 --> a/BUILD.star:4:13
  |
4 |       steps = [
  |  _____________^
5 | |         shell(\"ä\", x),
6 | |     ],
  | |_____^"
        );
    }

    #[test]
    fn notes_have_places_of_their_own() {
        let diagnostic = Diagnostic::error("cycle in `load`")
            .at(at("a/BUILD.star", 1, 1, 1, 6))
            .note("loaded here", Some(at("lib/x.star", 1, 1, 1, 5)))
            .note("and here", Some(at("gone.star", 7, 2, 7, 3)))
            .note("three files in all", None)
            .hint("move what both need into a third file");
        assert_eq!(
            rendered(diagnostic),
            "\
error: cycle in `load`
 --> a/BUILD.star:1:1
  |
1 | image(
  | ^^^^^
  |
note: loaded here
 --> lib/x.star:1:1
  |
1 | load(\"//a:y.star\", \"y\")
  | ^^^^
note: and here
 --> gone.star:7:2
  = note: three files in all
  = help: move what both need into a third file"
        );
    }

    #[test]
    fn without_a_text_the_place_is_named() {
        for (location, place) in [
            (Location::file("imgbuild.toml"), "--> imgbuild.toml"),
            (at("a/BUILD.star", 99, 1, 99, 2), "--> a/BUILD.star:99:1"),
            (at("gone", 3, 0, 0, 0), "--> gone:3"),
        ] {
            assert_eq!(rendered(Diagnostic::error("m").at(location)), format!("error: m\n{place}"));
        }
        let diagnostic = Diagnostic::warning("no place").class(Class::Environment).hint("h");
        assert_eq!(rendered(diagnostic), "warning: no place\nhelp: h");
    }

    #[test]
    fn several_come_by_their_places() {
        let diagnostics = Diagnostics(vec![
            Diagnostic::error("last"),
            Diagnostic::error("third").at(at("b", 1, 0, 0, 0)),
            Diagnostic::error("second").at(at("a/BUILD.star", 3, 5, 3, 11)),
            Diagnostic::warning("first").at(at("a/BUILD.star", 1, 1, 1, 6)),
        ]);
        let rendered = render(&diagnostics, &source, PLAIN);
        let titles: Vec<&str> = rendered
            .lines()
            .filter(|line| line.starts_with("error") || line.starts_with("warning"))
            .collect();
        assert_eq!(titles, ["warning: first", "error: second", "error: third", "error: last"]);
    }

    #[test]
    fn escape_sequences_in_a_source_do_not_reach_the_terminal() {
        let hostile = |_: &str| Some("x = \"\u{1b}]0;title\u{7}\"\n".to_owned());
        let diagnostic = Diagnostic::error("bad \u{1b}[2J").at(at("x", 1, 1, 1, 2));
        let text = render(&diagnostic.into(), &hostile, PLAIN);
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    }

    #[test]
    fn colours_on_request() {
        let diagnostic = || Diagnostics::from(Diagnostic::error("m").at(at("a/BUILD.star", 1, 1, 1, 6)));
        assert!(render(&diagnostic(), &source, Appearance { color: true, ..PLAIN }).contains('\u{1b}'));
        assert!(!render(&diagnostic(), &source, PLAIN).contains('\u{1b}'));
    }

    #[test]
    fn one_line_has_all_of_it() {
        let diagnostic = Diagnostic::error("a is\nwrong").at(at("a/BUILD.star", 3, 5, 3, 11)).hint("mend it");
        assert_eq!(one_line(&diagnostic), "a/BUILD.star:3:5: error: a is wrong; hint: mend it");
        assert_eq!(one_line(&Diagnostic::warning("b")), "warning: b");
    }
}
