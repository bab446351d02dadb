//! Regular expressions: `regex`, `regexall` and `regex_replace`.
//!
//! The language is that of RE2 as Go has it. The `regex` crate differs in a few places (`\w` and its like know only
//! ASCII there, a `{` that starts no repetition is itself, a class has no operators, `\Q…\E` quotes), so a pattern is
//! rewritten before it is compiled. Some patterns that Go refuses are taken, for example `a++`.

use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions};
use imgbuild_hcl::value::{Entries, Type, Value, normalize};
use regex::{Captures, Regex, RegexBuilder};

use crate::{Returned, bounded, text, wrong};

pub(crate) fn add(functions: &mut Functions) {
    let pattern =
        |description| Function::new(description).parameter(text("pattern")).parameter(text("string"));
    let regex =
        pattern("The first match of a pattern: its text, or its groups.").returns_by(result_type).runs(|a| {
            let regex = compiled(a, 0)?;
            let found = regex.captures(a.str(1)).ok_or_else(|| {
                CallError::new("the pattern does not match any part of the text")
                    .hint("`try(regex(…), null)` gives null instead, `can(regex(…))` a bool")
            })?;
            Ok(matched(&regex, &found, a.result_type()))
        });
    functions.add("regex", regex);
    let regexall = pattern("All matches of a pattern, in order.")
        .returns_by(|a| {
            if a.get(0).is_known() { result_type(a).map(Type::list) } else { Ok(Type::list(Type::Dynamic)) }
        })
        .runs(|a| {
            let regex = compiled(a, 0)?;
            let element = a.result_type().element().cloned().unwrap_or(Type::Dynamic);
            let all: Vec<Value> =
                regex.captures_iter(a.str(1)).map(|found| matched(&regex, &found, &element)).collect();
            Ok(Value::list(element, all))
        });
    functions.add("regexall", regexall);
    let replace =
        Function::new("The text with each match of a pattern replaced; `$1` and `${name}` mean groups.")
            .parameter(text("str"))
            .parameter(text("pattern"))
            .parameter(text("replace"))
            .returns(Type::String)
            .runs(replaced);
    functions.add("regex_replace", replace);
}

fn replaced(arguments: &Arguments<'_>) -> Returned {
    let regex = compiled(arguments, 1)?;
    let text = arguments.str(0);
    let mut out = String::new();
    let mut end = 0;
    for found in regex.captures_iter(text) {
        let whole = found.get_match();
        out.push_str(&text[end..whole.start()]);
        found.expand(arguments.str(2), &mut out);
        bounded(out.len())?;
        end = whole.end();
    }
    out.push_str(&text[end..]);
    Ok(Value::string(out))
}

fn compiled(arguments: &Arguments<'_>, index: usize) -> Result<Regex, CallError> {
    let pattern = rewritten(arguments.str(index));
    RegexBuilder::new(&pattern).octal(true).build().map_err(|error| {
        if matches!(error, regex::Error::CompiledTooBig(_)) {
            return wrong(index, "the pattern takes too much memory");
        }
        let message = error.to_string();
        let reason = message.rsplit("error: ").next().unwrap_or_default().trim().to_owned();
        wrong(index, format!("the pattern is not valid: {reason}"))
    })
}

fn result_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    if !arguments.get(0).is_known() {
        return Ok(Type::Dynamic);
    }
    let regex = compiled(arguments, 0)?;
    let names: Vec<Option<&str>> = regex.capture_names().skip(1).collect();
    let named = names.iter().flatten().count();
    match (names.len(), named) {
        (0, _) => Ok(Type::String),
        (all, 0) => Ok(Type::tuple(vec![Type::String; all])),
        (all, named) if all == named => {
            Ok(Type::object(names.iter().flatten().map(|name| (*name, Type::String))))
        }
        _ => Err(wrong(0, "some groups of the pattern have a name and some have none")
            .hint("name all of them with `(?P<name>…)`, or make groups without a result with `(?:…)`")),
    }
}

fn matched(regex: &Regex, found: &Captures<'_>, ty: &Type) -> Value {
    let group = |index| {
        found.get(index).map_or_else(|| Value::null(Type::String), |part| Value::string(part.as_str()))
    };
    match ty {
        Type::Tuple(_) => Value::tuple((1..found.len()).map(group).collect::<Vec<_>>()),
        Type::Object(_) => {
            let names = regex.capture_names().enumerate().filter_map(|(index, name)| Some((index, name?)));
            Value::object(names.map(|(index, name)| (normalize(name), group(index))).collect::<Entries>())
        }
        _ => group(0),
    }
}

/// A pattern of Go's in the language of the `regex` crate.
fn rewritten(pattern: &str) -> String {
    let mut rest = pattern;
    let mut out = String::with_capacity(pattern.len());
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '\\' => escape(rest, &mut out, false),
            '[' => class(rest, &mut out),
            '{' if !is_repetition(rest) => {
                out.push_str("\\{");
                &rest[1..]
            }
            c => {
                out.push(c);
                &rest[c.len_utf8()..]
            }
        };
    }
    out
}

fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest[1..].split_once('}') else { return false };
    let (from, to) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !from.is_empty() && digits(from) && digits(to)
}

/// Copies one escape, and gives what comes after it.
fn escape<'a>(rest: &'a str, out: &mut String, in_class: bool) -> &'a str {
    let Some(c) = rest[1..].chars().next() else {
        out.push('\\');
        return "";
    };
    let after = &rest[1 + c.len_utf8()..];
    if c == 'Q' {
        let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
        out.push_str(&regex::escape(quoted));
        return after;
    }
    let classes = match c {
        'd' => "0-9",
        's' => "\\t\\n\\x0c\\r ",
        'w' => "0-9A-Za-z_",
        'D' => "^0-9",
        'S' => "^\\t\\n\\x0c\\r ",
        'W' => "^0-9A-Za-z_",
        'b' if !in_class => {
            out.push_str("(?-u:\\b)");
            return after;
        }
        '<' | '>' => {
            out.push(c);
            return after;
        }
        'p' | 'P' | 'x' if after.starts_with('{') => {
            let (named, after) = after.split_at(after.find('}').map_or(after.len(), |end| end + 1));
            out.extend(['\\', c]);
            out.push_str(named);
            return after;
        }
        c => {
            out.extend(['\\', c]);
            return after;
        }
    };
    out.push('[');
    out.push_str(classes);
    out.push(']');
    after
}

/// Copies one class with all that is no operator in Go escaped, and gives what comes after it.
fn class<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let mut rest = &rest[1..];
    out.push('[');
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let (mut first, mut single) = (true, false);
    loop {
        let Some(c) = rest.chars().next() else { return "" };
        let after = &rest[c.len_utf8()..];
        let is_last = after.starts_with(']') || after.is_empty();
        (rest, single) = match c {
            ']' if !first => {
                out.push(']');
                return after;
            }
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |at| at + 2);
                out.push_str(&rest[..end]);
                (&rest[end..], false)
            }
            '\\' => {
                let is_set = after.starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P']);
                (escape(rest, out, true), !is_set)
            }
            '-' if single && !is_last => {
                out.push('-');
                (literal(after, out), false)
            }
            _ => (literal(rest, out), true),
        };
        first = false;
    }
}

/// Copies one character of a class that stands for itself, or an escape.
fn literal<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let Some(c) = rest.chars().next() else { return "" };
    if c == '\\' {
        return escape(rest, out, true);
    }
    if matches!(c, '[' | ']' | '&' | '~' | '-' | '^') {
        out.push('\\');
    }
    out.push(c);
    &rest[c.len_utf8()..]
}
