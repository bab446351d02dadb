//! CSV after RFC 4180, as Go's `encoding/csv` reads it.
//!
//! The `csv` crate takes quotes wherever they are; here a stray one is an error, and so is a row that is too long or
//! too short.

use std::collections::BTreeSet;
use std::sync::Arc;

use imgbuild_hcl::eval::CallError;
use imgbuild_hcl::value::{Entries, Type, Value, normalize};

use crate::{Returned, wrong};

/// A list of objects, one a row; the first row has the names.
pub(super) fn decode(text: &str) -> Returned {
    let mut reader = Reader { rest: text, line: 1 };
    let (_, header) =
        reader.row()?.ok_or_else(|| wrong(0, "there is no row with the names of the columns"))?;
    let names: Vec<Arc<str>> = header.iter().map(|name| normalize(name)).collect();
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(Arc::clone(name))) {
        return Err(wrong(0, format!("two columns are named `{twice}`")));
    }
    let mut rows = Vec::new();
    while let Some((line, fields)) = reader.row()? {
        if fields.len() != names.len() {
            let message =
                format!("line {line} has {} fields, but there are {} columns", fields.len(), names.len());
            return Err(wrong(0, message));
        }
        let entries: Entries = names.iter().cloned().zip(fields.iter().map(Value::string)).collect();
        rows.push(Value::object(entries));
    }
    Ok(Value::list(Type::object(names.into_iter().map(|name| (name, Type::String))), rows))
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    /// The next line with its end as `\n`.
    fn take_line(&mut self) -> Option<String> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = match self.rest.split_once('\n') {
            Some((line, rest)) => (format!("{}\n", line.strip_suffix('\r').unwrap_or(line)), rest),
            None => (self.rest.strip_suffix('\r').unwrap_or(self.rest).to_owned(), ""),
        };
        self.rest = rest;
        self.line += 1;
        Some(line)
    }

    fn error(&self, reason: &str) -> CallError {
        wrong(0, format!("line {}: {reason}", self.line - 1))
    }

    /// The next row and the line on which it starts; empty lines are none.
    fn row(&mut self) -> Result<Option<(usize, Vec<String>)>, CallError> {
        let mut line = loop {
            match self.take_line() {
                None => return Ok(None),
                Some(line) if line == "\n" => {}
                Some(line) => break line,
            }
        };
        let start = self.line - 1;
        let mut fields = Vec::new();
        let mut at = 0;
        loop {
            if line[at..].starts_with('"') {
                at += 1;
                fields.push(self.quoted(&mut line, &mut at)?);
            } else {
                let length = line[at..].find([',', '\n']).unwrap_or(line.len() - at);
                let field = &line[at..at + length];
                if field.contains('"') {
                    return Err(self.error("a quote stands in a field that does not start with one"));
                }
                fields.push(field.to_owned());
                at += length;
            }
            if !line[at..].starts_with(',') {
                return Ok(Some((start, fields)));
            }
            at += 1;
        }
    }

    /// A field from after its first quote; moves on to what comes after its last, perhaps some lines further.
    fn quoted(&mut self, line: &mut String, at: &mut usize) -> Result<String, CallError> {
        let mut field = String::new();
        loop {
            let rest = &line[*at..];
            let Some(end) = rest.find('"') else {
                field.push_str(rest);
                *line = self.take_line().ok_or_else(|| self.error("a quoted field does not end"))?;
                *at = 0;
                continue;
            };
            field.push_str(&rest[..end]);
            *at += end + 1;
            match line[*at..].chars().next() {
                Some('"') => {
                    field.push('"');
                    *at += 1;
                }
                None | Some(',' | '\n') => return Ok(field),
                Some(_) => return Err(self.error("after the quote that ends a field there is more of it")),
            }
        }
    }
}
