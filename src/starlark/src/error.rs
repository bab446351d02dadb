//! From what the evaluator raises to what the user is told.
//!
//! The place of a diagnostic is the innermost one that the user wrote: an error raised inside the prelude points to
//! the line that called it.

use std::fmt;
use std::sync::Arc;

use imgbuild_model::{Class, Diagnostic, LabelError, Location};
use starlark::ErrorKind;
use starlark::codemap::FileSpan;

use crate::module_id::PRELUDE;

/// What a native function raises: a message with a hint, whose place is found from the call stack.
#[derive(Debug)]
pub(crate) struct Problem {
    message: String,
    hint: Option<String>,
    notes: Vec<(String, Option<Location>)>,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, notes: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    pub(crate) fn note(mut self, text: impl Into<String>, location: Option<Location>) -> Self {
        self.notes.push((text.into(), location));
        self
    }

    /// The same problem, of a part: `prefix` says which.
    pub(crate) fn within(mut self, prefix: &str) -> Self {
        self.message = format!("{prefix}: {}", self.message);
        self
    }

    /// As a diagnostic at a place that is known already.
    pub(crate) fn at(self, location: Location) -> Diagnostic {
        self.diagnostic(Some(location))
    }

    fn diagnostic(self, location: Option<Location>) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(self.message).maybe_hint(self.hint);
        diagnostic.location = location;
        for (text, location) in self.notes {
            diagnostic = diagnostic.note(text, location);
        }
        diagnostic
    }

    fn copy(&self) -> Self {
        Self { message: self.message.clone(), hint: self.hint.clone(), notes: self.notes.clone() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl From<Problem> for starlark::Error {
    fn from(problem: Problem) -> Self {
        Self::new_other(problem)
    }
}

impl From<LabelError> for Problem {
    fn from(error: LabelError) -> Self {
        Self::new(error.to_string())
    }
}

/// The hint for a name that is unknown.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    imgbuild_model::did_you_mean(name, known).map(|near| format!("did you mean `{near}`?"))
}

/// A span as a place.
pub(crate) fn location(span: &FileSpan) -> Location {
    location_in(span, span.filename().into())
}

/// A span as a place, in a file whose name is shared already.
pub(crate) fn location_in(span: &FileSpan, file: Arc<str>) -> Location {
    let resolved = span.resolve_span();
    let number = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
    Location {
        file,
        line: number(resolved.begin.line),
        column: number(resolved.begin.column),
        end_line: number(resolved.end.line),
        end_column: number(resolved.end.column),
    }
}

/// How many calls of the chain are shown.
const SHOWN_CALLS: usize = 8;

/// What the evaluator raised while it was in a file. A limit has no place of its own: the file stands in for it.
pub(crate) fn diagnostic_in(file: &str, error: &starlark::Error) -> Diagnostic {
    let mut diagnostic = diagnostic(error);
    diagnostic.location.get_or_insert_with(|| Location::file(file));
    diagnostic
}

/// What the evaluator raised, as a diagnostic.
pub(crate) fn diagnostic(error: &starlark::Error) -> Diagnostic {
    // The places of the chain, outermost first: the call of each function, then the place itself.
    let mut places: Vec<&FileSpan> = error
        .call_stack()
        .frames
        .iter()
        .filter_map(|frame| frame.location.as_ref())
        .chain(error.span())
        .collect();
    places.dedup();
    let is_ours = |span: &FileSpan| span.filename().starts_with(PRELUDE);
    let primary = places.iter().rposition(|span| !is_ours(span)).or_else(|| places.len().checked_sub(1));
    let mut diagnostic = message(error);
    if let Some(primary) = primary {
        diagnostic.location = Some(location(places[primary]));
        for span in places[..primary].iter().rev().filter(|span| !is_ours(span)).take(SHOWN_CALLS) {
            diagnostic = diagnostic.note("called from here", Some(location(span)));
        }
        let designed = matches!(error.kind(), ErrorKind::Fail(_)) || problem_of(error).is_some();
        if !designed && let Some(inner) = places[primary + 1..].last() {
            diagnostic = diagnostic.note("raised here", Some(location(inner)));
        }
    }
    diagnostic
}

fn problem_of(error: &starlark::Error) -> Option<&Problem> {
    match error.kind() {
        ErrorKind::Other(inner) | ErrorKind::Native(inner) => inner.downcast_ref::<Problem>(),
        _ => None,
    }
}

fn message(error: &starlark::Error) -> Diagnostic {
    if let Some(problem) = problem_of(error) {
        return problem.copy().diagnostic(None);
    }
    match error.kind() {
        ErrorKind::Fail(inner) => Diagnostic::error(inner.to_string().trim().to_owned()),
        ErrorKind::StackOverflow(_) => Diagnostic::error("calls are nested too deeply")
            .hint("a function that calls itself has to end; write a loop instead"),
        ErrorKind::Internal(inner) => {
            Diagnostic::error(format!("the evaluator failed: {inner}")).class(Class::Bug)
        }
        other => {
            let text = other.to_string();
            limit(&text).unwrap_or_else(|| plain(&text))
        }
    }
}

/// The evaluator's words for a limit; they have no type of their own.
fn limit(text: &str) -> Option<Diagnostic> {
    let number_after = |prefix: &str| {
        let rest = text.split_once(prefix)?.1;
        rest.split(' ').next()?.parse::<u64>().ok()
    };
    if let Some(ticks) = number_after("Execution duration limit of ") {
        return Some(
            Diagnostic::error(format!("this takes too long: more than {ticks} calls and turns of loops"))
                .hint("is there a loop that does not end, or one over too much?"),
        );
    }
    number_after("Heap memory limit of ").map(|bytes| {
        Diagnostic::error(format!("this takes too much memory: more than {} MiB", bytes >> 20))
            .hint("is there a list or a text that grows without end?")
    })
}

/// A message of the evaluator, in our form: lower case, no full stop, the suggestion as a hint.
fn plain(text: &str) -> Diagnostic {
    let text = text.strip_prefix("Parse error: ").unwrap_or(text);
    let (text, hint) = match text.split_once(", did you mean ") {
        Some((text, near)) => (text, Some(format!("did you mean {}", near.trim()))),
        None => (text, None),
    };
    let joined =
        text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let joined = without_files(&joined);
    let mut chars = joined.trim_end_matches('.').chars();
    let message = match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::from("the evaluator failed"),
    };
    Diagnostic::error(message).maybe_hint(hint)
}

/// The evaluator calls a function `file.star.name`; its place says the file already.
fn without_files(text: &str) -> String {
    let name_alone = |word: &str| match word.rsplit_once(".star.") {
        Some((file, name)) if file.starts_with('`') => format!("`{name}"),
        Some((_, name)) => format!("`{name}`"),
        None => word.to_owned(),
    };
    text.split(' ').map(name_alone).collect::<Vec<_>>().join(" ")
}
