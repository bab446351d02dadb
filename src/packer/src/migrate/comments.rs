//! The comments of templates in HCL, by the line of what they are said of: those on the lines before it and the one
//! behind it. Templates in JSON have some for the whole.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imgbuild_hcl::syntax::{Source, Start, TokenKind, tokens};
use imgbuild_model::Location;

use crate::legacy::Text;
use crate::load::AnyTemplate;

/// The comments of a template.
#[derive(Debug, Default)]
pub(super) struct Comments {
    /// Those of the whole.
    whole: Vec<Vec<String>>,
    files: BTreeMap<Arc<str>, FileComments>,
}

#[derive(Debug, Default)]
struct FileComments {
    /// Those that the file begins with, apart from what follows.
    head: Vec<String>,
    /// By the line of what follows them, or that they are at the end of.
    lines: BTreeMap<u32, Vec<String>>,
    /// For each line on which a brace is opened, the line on which it is closed.
    blocks: BTreeMap<u32, u32>,
}

impl Comments {
    pub(super) fn of(template: &AnyTemplate) -> Self {
        match template {
            AnyTemplate::Hcl(template) => Self::of_sources(&template.sources),
            AnyTemplate::Legacy(template) => {
                let texts = template.description.iter().chain(template.comments.iter().map(|(_, text)| text));
                let lines = |text: &Text| text.text.lines().map(hash).collect();
                Self { whole: texts.map(lines).collect(), files: BTreeMap::new() }
            }
        }
    }

    fn of_sources(sources: &[Arc<Source>]) -> Self {
        let native = sources.iter().filter(|source| !source.name().ends_with(".json"));
        let files = native.map(|source| (source.name().into(), FileComments::of(source))).collect();
        Self { whole: Vec::new(), files }
    }

    /// What the file begins with.
    pub(super) fn head(&self) -> Vec<String> {
        let files = self.files.values().map(|file| &file.head);
        let all: Vec<&[String]> =
            self.whole.iter().chain(files).filter(|head| !head.is_empty()).map(Vec::as_slice).collect();
        all.join(&"#".to_owned())
    }
}

impl FileComments {
    fn of(source: &Source) -> Self {
        let mut found = Self::default();
        let mut waiting: Vec<String> = Vec::new();
        let mut open: Vec<u32> = Vec::new();
        // The last line that has anything but comments on it, and the last on which a comment ends.
        let (mut code, mut ended) = (0, 0);
        for token in tokens(source.text(), Start::Main) {
            let place = source.location(token.span);
            match token.kind {
                TokenKind::Newline => {}
                TokenKind::Comment => {
                    let text = source.slice(token.span);
                    let lines = lines_of(text);
                    if place.line == code {
                        found.lines.entry(code).or_default().extend(lines);
                        continue;
                    }
                    if code == 0 && !waiting.is_empty() && place.line > ended + 1 {
                        found.take_head(&mut waiting);
                    }
                    ended = if text.starts_with("/*") { place.end_line } else { place.line };
                    waiting.extend(lines);
                }
                kind => {
                    if code == 0 && !waiting.is_empty() && place.line > ended + 1 {
                        found.take_head(&mut waiting);
                    }
                    if !waiting.is_empty() {
                        found.lines.entry(place.line).or_default().append(&mut waiting);
                    }
                    code = place.end_line;
                    match kind {
                        TokenKind::OpenBrace => open.push(place.line),
                        TokenKind::CloseBrace => {
                            if let Some(start) = open.pop() {
                                found.blocks.insert(start, place.line);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        found
    }

    fn take_head(&mut self, waiting: &mut Vec<String>) {
        if !self.head.is_empty() {
            self.head.push("#".to_owned());
        }
        self.head.append(waiting);
    }
}

/// A line as a comment.
fn hash(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() { "#".to_owned() } else { format!("# {text}") }
}

/// The lines of a comment, each behind a `#`.
fn lines_of(comment: &str) -> Vec<String> {
    let comment = comment.trim_end();
    let strip = |text: &str| hash(text.strip_prefix(' ').unwrap_or(text));
    if let Some(text) = comment.strip_prefix('#').or_else(|| comment.strip_prefix("//")) {
        // A line of signs stays one.
        return vec![if text.starts_with('#') { format!("#{text}") } else { strip(text) }];
    }
    let text = comment.strip_prefix("/*").unwrap_or(comment);
    let text = text.strip_suffix("*/").unwrap_or(text);
    let lines: Vec<&str> =
        text.lines().map(|line| line.trim().trim_start_matches('*').trim_start()).collect();
    let first = lines.iter().position(|line| !line.is_empty());
    let last = lines.iter().rposition(|line| !line.is_empty());
    match (first, last) {
        (Some(first), Some(last)) => lines[first..=last].iter().map(|line| hash(line)).collect(),
        _ => Vec::new(),
    }
}

/// The comments that one image has not got yet.
pub(super) struct Pending<'a> {
    comments: &'a Comments,
    taken: RefCell<BTreeSet<(Arc<str>, u32)>>,
}

impl<'a> Pending<'a> {
    pub(super) fn new(comments: &'a Comments) -> Self {
        Self { comments, taken: RefCell::default() }
    }

    /// What is said of what begins on a line.
    pub(super) fn at(&self, place: &Location) -> Vec<String> {
        let Some(file) = self.comments.files.get(&place.file) else { return Vec::new() };
        let first = self.taken.borrow_mut().insert((place.file.clone(), place.line));
        if first { file.lines.get(&place.line).cloned().unwrap_or_default() } else { Vec::new() }
    }

    /// What else is said in the block that begins on a line.
    pub(super) fn rest(&self, place: &Location) -> Vec<String> {
        let lines = self.comments.files.get(&place.file).and_then(|file| {
            let end = file.blocks.get(&place.line).filter(|end| **end > place.line)?;
            Some(file.lines.range(place.line + 1..=*end).map(|(line, _)| *line).collect::<Vec<_>>())
        });
        let at = |line| self.at(&Location { line, ..place.clone() });
        lines.unwrap_or_default().into_iter().flat_map(at).collect()
    }

    /// What is said before the end of the block that begins on a line.
    pub(super) fn end(&self, place: &Location) -> Vec<String> {
        let end = self.comments.files.get(&place.file).and_then(|file| file.blocks.get(&place.line));
        end.map(|line| self.at(&Location { line: *line, ..place.clone() })).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_belong_to_what_follows_them() {
        let text = "# licence\n\n/*\n * two\n   lines\n */\n\n// of it\nsource \"null\" \"a\" { # behind\n  #\n  x = 1 // x\n  y = <<E\n# no\nE\n  ## end\n}\n";
        let source = Source::new("a.pkr.hcl", text);
        let comments = Comments::of_sources(&[source]);
        assert_eq!(comments.head(), ["# licence", "#", "# two", "# lines"]);
        let pending = Pending::new(&comments);
        let at = |line| Location { line, ..Location::file("a.pkr.hcl") };
        assert_eq!(pending.at(&at(9)), ["# of it", "# behind"]);
        assert!(pending.at(&at(9)).is_empty(), "they are given once");
        assert_eq!(pending.rest(&at(9)), ["#", "# x", "## end"]);
        assert!(pending.at(&at(13)).is_empty());
    }
}
