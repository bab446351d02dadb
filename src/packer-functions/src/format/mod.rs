//! `format` and `formatlist`: texts after a pattern of verbs (`%-10s`, `%05.2f`, `%[2]q`).

mod numbers;
mod verb;

use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions};
use imgbuild_hcl::value::{Type, Value, convert, to_json};
use unicode_segmentation::UnicodeSegmentation;

use crate::{Returned, any, bounded, text, wrong};
use verb::{Part, Verb, parts};

pub(crate) fn add(functions: &mut Functions) {
    let with_args = |description| {
        Function::new(description)
            .parameter(text("format"))
            .variadic(any("args").allow_null().allow_unknown())
    };
    let format = with_args("A text after a pattern, with values put in for its verbs.")
        .returns(Type::String)
        .runs(|a| formatted(a.str(0), &a.all()[1..]));
    functions.add("format", format);
    let formatlist = with_args("A text after a pattern for each element of the lists among the values.")
        .returns(Type::list(Type::String))
        .runs(formatlist);
    functions.add("formatlist", formatlist);
}

/// How many rows the lists among the arguments make; the index of the first list that says so.
fn rows(arguments: &Arguments<'_>) -> Result<Option<usize>, CallError> {
    let mut decided: Option<(usize, usize)> = None;
    for (index, value) in arguments.all().iter().enumerate().skip(1) {
        let count = match value.ty() {
            _ if value.is_null() => continue,
            Type::Tuple(elements) => elements.len(),
            ty if ty.is_sequence() => match value.len() {
                Some(count) => count,
                None => continue,
            },
            _ => continue,
        };
        match decided {
            Some((first, other)) if other != count => {
                let message = format!("it has {count} elements, but argument {first} has {other}");
                return Err(wrong(index, message).hint("lists must be of one length to be put together"));
            }
            Some(_) => {}
            None => decided = Some((index, count)),
        }
    }
    Ok(decided.map(|(_, count)| count))
}

fn formatlist(arguments: &Arguments<'_>) -> Returned {
    let values = &arguments.all()[1..];
    let count = rows(arguments)?;
    let open = |value: &Value| value.ty().is_sequence() && !value.is_known();
    if values.iter().any(open) {
        return Ok(Value::unknown(Type::list(Type::String)));
    }
    let (mut texts, mut bytes) = (Vec::new(), 0);
    for row in 0..count.unwrap_or(1) {
        let row: Vec<Value> = values
            .iter()
            .map(|value| match value.elements() {
                Some(elements) if value.ty().is_sequence() => elements[row].clone(),
                _ => value.clone(),
            })
            .collect();
        let text = formatted(arguments.str(0), &row)?;
        bytes += text.as_str().map_or(0, str::len);
        bounded(bytes)?;
        texts.push(text);
    }
    Ok(Value::list(Type::String, texts))
}

fn formatted(pattern: &str, values: &[Value]) -> Returned {
    if !values.iter().all(Value::is_wholly_known) {
        return Ok(Value::unknown(Type::String));
    }
    let mut out = String::new();
    let mut used = 0;
    for part in parts(pattern)? {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Verb(verb) => {
                used = used.max(verb.argument);
                out.push_str(&one(&verb, values)?);
                bounded(out.len())?;
            }
        }
    }
    match (used, values.len()) {
        (0, 1..) => Err(wrong(1, "there are values, but no verbs in the pattern")),
        (used, all) if used < all => {
            Err(wrong(used + 1, format!("the pattern uses only {used} of {all} values")))
        }
        _ => Ok(Value::string(out)),
    }
}

fn one(verb: &Verb<'_>, values: &[Value]) -> Result<String, CallError> {
    let place = format!("`{}` at {}", verb.text, verb.offset);
    let Some(value) = values.get(verb.argument - 1) else {
        let message = format!("{place} takes value {}, but there are {}", verb.argument, values.len());
        return Err(wrong(0, message));
    };
    let fails = |reason: String| wrong(verb.argument, format!("{place} does not take it: {reason}"));
    if verb.mode != 'v' && value.is_null() {
        return Err(fails("it is null".to_owned()));
    }
    let converted = |ty| convert(value, &ty).map_err(|error| fails(error.to_string()));
    match verb.mode {
        'v' => as_is(verb, value).map_err(fails),
        't' => Ok(converted(Type::Bool)?.as_bool().unwrap_or_default().to_string()),
        's' => Ok(padded(verb, cut(verb, converted(Type::String)?.as_str().unwrap_or_default()))),
        'q' => {
            let value = converted(Type::String)?;
            let quoted = to_json(&Value::string(cut(verb, value.as_str().unwrap_or_default())));
            Ok(padded(verb, &quoted.unwrap_or_default()))
        }
        _ => {
            let value = converted(Type::Number)?;
            let Some(number) = value.as_number() else { return Ok(String::new()) };
            numbers::written(verb, number).ok_or_else(|| fails("a whole number is required".to_owned()))
        }
    }
}

/// Strings and numbers as they are, all else as JSON.
fn as_is(verb: &Verb<'_>, value: &Value) -> Result<String, String> {
    if !verb.sharp {
        if let Some(text) = value.as_str() {
            return Ok(padded(verb, text));
        }
        if let Some(number) = value.as_number() {
            return Ok(padded(verb, &numbers::shortest(number)));
        }
    }
    to_json(value).map(|json| padded(verb, &json)).map_err(|error| error.to_string())
}

/// At most as many characters as the precision says; a precision of 0 says nothing.
fn cut<'a>(verb: &Verb<'_>, text: &'a str) -> &'a str {
    match verb.precision {
        Some(most) if most > 0 => text.grapheme_indices(true).nth(most).map_or(text, |(end, _)| &text[..end]),
        _ => text,
    }
}

fn padded(verb: &Verb<'_>, text: &str) -> String {
    let missing = verb.width.unwrap_or(0).saturating_sub(text.graphemes(true).count());
    let padding = if verb.zero { "0" } else { " " }.repeat(missing);
    if verb.minus { format!("{text}{padding}") } else { format!("{padding}{text}") }
}
