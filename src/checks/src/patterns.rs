//! Patterns that are looked for in the lines of a text: `word`, `!word`, `/regexp/`, `!/regexp/`.

use regex::Regex;

use crate::datum::Datum;
use crate::matcher::compiled;

struct Pattern<'a> {
    written: &'a Datum,
    inverse: bool,
    empty: bool,
    what: What,
}

enum What {
    Part(String),
    Regexp(Regex),
}

impl<'a> Pattern<'a> {
    fn parse(written: &'a Datum) -> Result<Self, String> {
        let Datum::Text(text) = written else {
            return Err(format!("a pattern is a text, not {written}; write it in quotes"));
        };
        let inverse = text.starts_with('!');
        let bare = text.strip_prefix('!').unwrap_or(text);
        let what = match bare.strip_prefix('/').filter(|_| text.ends_with('/')) {
            Some(rest) => What::Regexp(compiled(rest.strip_suffix('/').unwrap_or(rest))?),
            // `\` says that what follows stands for itself.
            None => What::Part(text.trim_start_matches(['\\', '/', '!']).to_owned()),
        };
        Ok(Self { written, inverse, empty: text.is_empty(), what })
    }

    fn is_in(&self, line: &str) -> bool {
        match &self.what {
            What::Part(part) => line.contains(part),
            What::Regexp(regex) => regex.is_match(line),
        }
    }
}

/// The patterns that do not hold; `None` if all do.
pub(crate) fn check(text: &str, patterns: &[Datum]) -> Result<Option<Vec<Datum>>, String> {
    let patterns: Vec<Pattern<'_>> = patterns.iter().map(Pattern::parse).collect::<Result<_, _>>()?;
    let failing: Vec<Datum> = patterns
        .iter()
        .filter(|pattern| {
            let found = text.lines().any(|line| pattern.is_in(line)) || pattern.empty;
            found == pattern.inverse
        })
        .map(|pattern| pattern.written.clone())
        .collect();
    Ok(if failing.is_empty() { None } else { Some(failing) })
}
