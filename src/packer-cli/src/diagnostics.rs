//! What is wrong, in Packer's shape: `Error: …`, the file and line, the source line with a mark under the place, and what
//! to do. Not here: finding anything wrong, and reading files: the caller gives the text of a file by its name.

use std::fmt::Write as _;

use imgbuild_model::{Diagnostic, Diagnostics, Location, Severity};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Gives the text of a file by the name in a [`Location`], if it can be read.
pub type SourceText<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// How diagnostics are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// With colours.
    pub color: bool,
    /// Sentences are broken at so many columns: 80 on a terminal, and not at all elsewhere, so that a search finds them.
    pub width: Option<usize>,
}

/// So many lines of a place are shown at most.
const SHOWN_LINES: usize = 6;

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// All of them in their order. Each ends with an empty line, as Packer's do.
#[must_use]
pub fn render(diagnostics: &Diagnostics, source: &SourceText<'_>, style: Style) -> String {
    diagnostics.0.iter().map(|diagnostic| render_one(diagnostic, source, style)).collect()
}

/// One of them for programs: severity, file, line, column, message, hint; empty where there is none, and 0 where a line or
/// column is not known.
#[must_use]
pub fn fields(diagnostic: &Diagnostic) -> [String; 6] {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = diagnostic.location.clone().unwrap_or_default();
    [
        severity.to_owned(),
        place.file.to_string(),
        place.line.to_string(),
        place.column.to_string(),
        diagnostic.message.clone(),
        diagnostic.hint.clone().unwrap_or_default(),
    ]
}

fn render_one(diagnostic: &Diagnostic, source: &SourceText<'_>, style: Style) -> String {
    let (word, color) = match diagnostic.severity {
        Severity::Error => ("Error", RED),
        Severity::Warning => ("Warning", YELLOW),
    };
    let word = if style.color { format!("{color}{word}{RESET}") } else { word.to_owned() };
    let mut text = format!("{word}: {}\n\n", diagnostic.message);
    match &diagnostic.location {
        Some(location) => place(&mut text, location, diagnostic.label.as_deref(), source, style),
        None => {
            if let Some(label) = &diagnostic.label {
                let _ = writeln!(text, "{}\n", wrapped(label, style.width));
            }
        }
    }
    for note in &diagnostic.notes {
        let at = note.location.as_ref().map(|location| format!(" ({location})")).unwrap_or_default();
        let _ = writeln!(text, "{}", wrapped(&format!("{}{at}", note.text), style.width));
    }
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(text, "{}", wrapped(hint, style.width));
    }
    if !diagnostic.notes.is_empty() || diagnostic.hint.is_some() {
        text.push('\n');
    }
    text
}

/// The file, the line, and what stands there.
fn place(text: &mut String, at: &Location, label: Option<&str>, source: &SourceText<'_>, style: Style) {
    let label = label.map(|label| format!("  {label}\n")).unwrap_or_default();
    if at.line == 0 {
        let _ = writeln!(text, "  on {}:\n{label}", at.file);
        return;
    }
    let _ = writeln!(text, "  on {} line {}:", at.file, at.line);
    let known = source(&at.file);
    let first = at.line as usize;
    let last = (at.end_line as usize).max(first);
    let wanted = (last - first + 1).min(SHOWN_LINES + 1);
    let lines: Vec<&str> = known
        .as_deref()
        .map(|known| known.lines().skip(first - 1).take(wanted).collect())
        .unwrap_or_default();
    if lines.is_empty() {
        let _ = writeln!(text, "  (source code not available)\n{label}");
        return;
    }
    for (index, line) in lines.iter().take(SHOWN_LINES).enumerate() {
        let number = format!("{:4}: ", first + index);
        let _ = writeln!(text, "{number}{}", line.trim_end());
        if index == 0 && at.column > 0 {
            mark(text, number.len(), line, at, label.trim(), style);
        }
    }
    if lines.len() > SHOWN_LINES {
        text.push_str("   …\n");
    }
    if at.column == 0 {
        text.push_str(&label);
    }
    text.push('\n');
}

/// The line under the first line of the place. Tabs stay tabs, so that the mark stands where the terminal puts the text.
fn mark(text: &mut String, indent: usize, line: &str, at: &Location, label: &str, style: Style) {
    let line = line.trim_end();
    let start = at.column as usize - 1;
    let end = if at.end_line == at.line && at.end_column > at.column {
        at.end_column as usize - 1
    } else if at.end_line > at.line {
        line.chars().count()
    } else {
        start + 1
    };
    let before: String = line
        .chars()
        .take(start)
        .flat_map(|c| if c == '\t' { vec!['\t'] } else { vec![' '; c.width().unwrap_or(0)] })
        .collect();
    let within: String = line.chars().skip(start).take(end.saturating_sub(start)).collect();
    let carets = "^".repeat(within.width().max(1));
    let (bold, reset) = if style.color { (BOLD, RESET) } else { ("", "") };
    let marked = format!("{:indent$}{before}{bold}{carets}{reset} {label}", "");
    let _ = writeln!(text, "{}", marked.trim_end());
}

/// A text in lines of at most so many columns, broken at spaces; a word that is longer stands alone.
fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let lines = text.lines().map(|line| {
        let mut columns = 0;
        let mut broken = String::new();
        for word in line.split(' ') {
            if !broken.is_empty() {
                let fits = columns + 1 + word.width() <= width;
                broken.push(if fits { ' ' } else { '\n' });
                columns = if fits { columns + 1 } else { 0 };
            }
            broken.push_str(word);
            columns += word.width();
        }
        broken
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "source \"null\" \"x\" {\n\tcommunicator = nöne\n}\nbuild {\n  prov \"漢\" { a = 1 }\n}\n";

    fn at(line: u32, column: u32, end_line: u32, end_column: u32) -> Location {
        Location { file: "a.pkr.hcl".into(), line, column, end_line, end_column }
    }

    fn shown(diagnostic: Diagnostic) -> String {
        render(&diagnostic.into(), &|file| (file == "a.pkr.hcl").then(|| FILE.to_owned()), Style::default())
    }

    #[test]
    fn an_error_shows_its_place_and_what_to_do() {
        let error = Diagnostic::error("`prov` is not a block of `build`")
            .at(at(5, 3, 5, 7))
            .hint("did you mean `provisioner`?");
        let expected = "\
Error: `prov` is not a block of `build`

  on a.pkr.hcl line 5:
   5:   prov \"漢\" { a = 1 }
        ^^^^

did you mean `provisioner`?

";
        assert_eq!(shown(error), expected);
    }

    #[test]
    fn a_warning_may_have_a_label_and_notes() {
        let other = Location { file: "b.pkr.hcl".into(), line: 3, column: 1, end_line: 3, end_column: 2 };
        let warning = Diagnostic::warning("`nöne` is odd")
            .at(at(2, 17, 2, 21))
            .label("here")
            .note("it was set first", Some(other))
            .note("it is set twice", None);
        let expected = "\
Warning: `nöne` is odd

  on a.pkr.hcl line 2:
   2: \tcommunicator = nöne
      \t               ^^^^ here

it was set first (b.pkr.hcl:3:1)
it is set twice

";
        assert_eq!(shown(warning), expected);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let text = shown(Diagnostic::error("x").at(at(5, 8, 5, 13)));
        assert!(text.contains("\n   5:   prov \"漢\" { a = 1 }\n             ^^^^^^\n"), "{text}");
        let text = shown(Diagnostic::error("x").at(at(5, 12, 5, 13)));
        assert!(text.contains("\n                  ^\n"), "{text}");
    }

    #[test]
    fn a_place_of_several_lines_is_marked_in_its_first() {
        let text = shown(Diagnostic::error("x").at(at(1, 1, 3, 2)));
        let expected = "   1: source \"null\" \"x\" {\n      ^^^^^^^^^^^^^^^^^^^\n   2: \tcommunicator = nöne\n   3: }\n\n";
        assert!(text.ends_with(expected), "{text}");
        let long = "a\n".repeat(20);
        let text = render(
            &Diagnostic::error("x").at(at(2, 1, 19, 1)).into(),
            &|_| Some(long.clone()),
            Style::default(),
        );
        assert!(text.contains("   7: a\n   …\n\n") && !text.contains("8:"), "{text}");
    }

    #[test]
    fn less_is_shown_where_less_is_known() {
        assert_eq!(shown(Diagnostic::error("x")), "Error: x\n\n");
        assert_eq!(shown(Diagnostic::error("x").label("y").hint("z")), "Error: x\n\ny\n\nz\n\n");
        let elsewhere = Location { file: "b".into(), ..at(3, 1, 3, 2) };
        let expected = "Error: x\n\n  on b line 3:\n  (source code not available)\n\n";
        assert_eq!(shown(Diagnostic::error("x").at(elsewhere)), expected);
        assert_eq!(
            shown(Diagnostic::error("x").at(Location::file("b")).label("y")),
            "Error: x\n\n  on b:\n  y\n\n"
        );
        // The file has changed since: such a line is no longer there.
        assert!(shown(Diagnostic::error("x").at(at(99, 1, 99, 2))).contains("(source code not available)"));
        assert_eq!(
            shown(Diagnostic::error("x").at(at(6, 0, 6, 0)).label("y")),
            "Error: x\n\n  on a.pkr.hcl line 6:\n   6: }\n  y\n\n"
        );
        // A place behind the end of a line, where something is missing.
        assert!(shown(Diagnostic::error("x").at(at(6, 2, 6, 2))).contains("   6: }\n       ^\n"));
    }

    #[test]
    fn any_place_is_shown_without_a_panic() {
        for line in 0..9 {
            for column in 0..30 {
                for (end_line, end_column) in
                    [(0, 0), (line, column), (line, column + 40), (line + 1, 1), (u32::MAX, u32::MAX)]
                {
                    assert!(
                        shown(Diagnostic::error("x").at(at(line, column, end_line, end_column)))
                            .starts_with("Error: x")
                    );
                }
            }
        }
    }

    #[test]
    fn sentences_are_broken_on_terminals_only() {
        let error = Diagnostic::error("x").hint("one two three four").note("a-very-long-word-here b", None);
        let narrow = Style { color: false, width: Some(9) };
        let text = render(&error.clone().into(), &|_| None, narrow);
        assert_eq!(text, "Error: x\n\na-very-long-word-here\nb\none two\nthree\nfour\n\n");
        assert_eq!(shown(error), "Error: x\n\na-very-long-word-here b\none two three four\n\n");
    }

    #[test]
    fn colours_are_used_where_they_are_wanted() {
        let style = Style { color: true, width: None };
        let error = Diagnostic::error("x").at(at(3, 1, 3, 2));
        let text = render(&error.into(), &|_| Some(FILE.to_owned()), style);
        assert_eq!(
            text,
            "\x1b[31mError\x1b[0m: x\n\n  on a.pkr.hcl line 3:\n   3: }\n      \x1b[1m^\x1b[0m\n\n"
        );
        assert!(
            render(&Diagnostic::warning("x").into(), &|_| None, style)
                .starts_with("\x1b[33mWarning\x1b[0m: x")
        );
    }

    #[test]
    fn programs_get_fields() {
        let warning = Diagnostic::warning("a, b").at(at(2, 3, 2, 4)).hint("c");
        assert_eq!(fields(&warning), ["warning", "a.pkr.hcl", "2", "3", "a, b", "c"]);
        assert_eq!(fields(&Diagnostic::error("a")), ["error", "", "0", "0", "a", ""]);
    }
}
