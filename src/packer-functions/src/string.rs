//! Functions of texts. Lengths and positions count what a reader takes for one character (grapheme clusters).

use imgbuild_hcl::eval::{Arguments, Function, Functions};
use imgbuild_hcl::value::{Type, Value};
use unicode_segmentation::UnicodeSegmentation;

use crate::{Returned, bounded, number, text, wrong};

/// The most spaces that `indent` puts in front of a line.
const MOST_SPACES: usize = 1 << 16;

pub(crate) fn add(functions: &mut Functions) {
    functions.add(
        "chomp",
        of_one("The text without line breaks at its end.", |s| s.trim_end_matches(['\r', '\n']).into()),
    );
    functions.add("lower", of_one("The text in small letters.", |s| s.chars().map(lower).collect()));
    functions.add("upper", of_one("The text in capital letters.", |s| s.chars().map(upper).collect()));
    functions.add("title", of_one("The text with a capital at the start of each word.", title));
    functions.add("strrev", of_one("The text backwards.", |s| s.graphemes(true).rev().collect()));
    functions.add("trimspace", of_one("The text without white space at both ends.", |s| s.trim().into()));
    let trim = of_two("The text without some characters at both ends.", ["str", "cutset"], |s, set| {
        s.trim_matches(|c| set.contains(c)).into()
    });
    functions.add("trim", trim);
    let trimprefix = of_two("The text without a prefix.", ["str", "prefix"], |s, prefix| {
        s.strip_prefix(prefix).unwrap_or(s).into()
    });
    functions.add("trimprefix", trimprefix);
    let trimsuffix = of_two("The text without a suffix.", ["str", "suffix"], |s, suffix| {
        s.strip_suffix(suffix).unwrap_or(s).into()
    });
    functions.add("trimsuffix", trimsuffix);
    functions
        .add("startswith", test("Whether a text starts with another.", "prefix", |s, p| s.starts_with(p)));
    functions.add("endswith", test("Whether a text ends with another.", "suffix", |s, p| s.ends_with(p)));
    functions.add("strcontains", test("Whether a text contains another.", "substr", |s, p| s.contains(p)));
    let replace = Function::new("The text with each occurrence of another text replaced.")
        .parameter(text("str"))
        .parameter(text("substr"))
        .parameter(text("replace"))
        .returns(Type::String)
        .runs(replace);
    functions.add("replace", replace);
    let indent = Function::new("The text with spaces put in front of each line but the first.")
        .parameter(number("spaces"))
        .parameter(text("str"))
        .returns(Type::String)
        .runs(indent);
    functions.add("indent", indent);
    let join = Function::new("The elements of lists as one text, with a separator between them.")
        .parameter(text("separator"))
        .variadic(crate::Parameter::new("lists", Type::list(Type::String)).wholly_known())
        .returns(Type::String)
        .runs(join);
    functions.add("join", join);
    let split = Function::new("The parts of a text between separators.")
        .parameter(text("separator"))
        .parameter(text("str"))
        .returns(Type::list(Type::String))
        .runs(|a| Ok(split(a.str(0), a.str(1))));
    functions.add("split", split);
    let substr = Function::new("A part of a text.")
        .parameter(text("str"))
        .parameter(number("offset"))
        .parameter(number("length"))
        .returns(Type::String)
        .runs(|a| Ok(Value::string(substr(a.str(0), a.int(1)?, a.int(2)?))));
    functions.add("substr", substr);
}

fn replace(arguments: &Arguments<'_>) -> Returned {
    let (text, old, new) = (arguments.str(0), arguments.str(1), arguments.str(2));
    if new.len() > old.len() {
        let more = text.matches(old).count().saturating_mul(new.len() - old.len());
        bounded(more.saturating_add(text.len()))?;
    }
    Ok(Value::string(text.replace(old, new)))
}

fn of_one(description: &'static str, run: fn(&str) -> String) -> Function {
    Function::new(description)
        .parameter(text("str"))
        .returns(Type::String)
        .runs(move |arguments| Ok(Value::string(run(arguments.str(0)))))
}

fn of_two(description: &'static str, names: [&'static str; 2], run: fn(&str, &str) -> String) -> Function {
    Function::new(description)
        .parameter(text(names[0]))
        .parameter(text(names[1]))
        .returns(Type::String)
        .runs(move |arguments| Ok(Value::string(run(arguments.str(0), arguments.str(1)))))
}

fn test(description: &'static str, other: &'static str, run: fn(&str, &str) -> bool) -> Function {
    Function::new(description)
        .parameter(text("str"))
        .parameter(text(other))
        .returns(Type::Bool)
        .runs(move |arguments| Ok(Value::bool(run(arguments.str(0), arguments.str(1)))))
}

/// The only character that a mapping gives; one character for one, as Go maps them.
fn only(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    mapped.next().filter(|_| mapped.next().is_none())
}

fn upper(c: char) -> char {
    only(c.to_uppercase()).unwrap_or(match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            char::from_u32(u32::from(c) + 8).unwrap_or(c)
        }
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(u32::from(c) + 9).unwrap_or(c),
        c => c,
    })
}

fn lower(c: char) -> char {
    only(c.to_lowercase()).unwrap_or(if c == 'İ' { 'i' } else { c })
}

/// A capital at the start of a word; some digraphs have a form of their own there.
fn title_case(c: char) -> char {
    match c {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        '\u{10d0}'..='\u{10ff}' => c,
        c => upper(c),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let titled = if start { title_case(c) } else { c };
            start = if c.is_ascii() {
                !c.is_ascii_alphanumeric() && c != '_'
            } else {
                !c.is_alphanumeric() && c.is_whitespace()
            };
            titled
        })
        .collect()
}

fn indent(arguments: &Arguments<'_>) -> Returned {
    let spaces = arguments.usize(0)?;
    if spaces > MOST_SPACES {
        return Err(wrong(0, format!("{spaces} spaces are more than {MOST_SPACES}")));
    }
    let lines = arguments.str(1).matches('\n').count();
    bounded(lines.saturating_mul(spaces).saturating_add(arguments.str(1).len()))?;
    let broken = format!("\n{}", " ".repeat(spaces));
    Ok(Value::string(arguments.str(1).replace('\n', &broken)))
}

fn join(arguments: &Arguments<'_>) -> Returned {
    if arguments.len() < 2 {
        return Err(imgbuild_hcl::eval::CallError::new("at least one list is required"));
    }
    let mut parts = Vec::new();
    for list in 1..arguments.len() {
        for (index, element) in arguments.elements(list).iter().enumerate() {
            parts.push(element.as_str().ok_or_else(|| wrong(list, format!("element {index} is null")))?);
        }
    }
    let separators = parts.len().saturating_mul(arguments.str(0).len());
    bounded(parts.iter().map(|part| part.len()).fold(separators, usize::saturating_add))?;
    Ok(Value::string(parts.join(arguments.str(0))))
}

fn split(separator: &str, text: &str) -> Value {
    if separator.is_empty() {
        return Value::strings(text.chars().map(String::from));
    }
    Value::strings(text.split(separator))
}

/// A negative offset counts from the end, a negative length means all the rest; and so does, as in Packer, a length of
/// zero after a negative offset.
fn substr(text: &str, offset: i64, length: i64) -> String {
    if offset >= 0 && length == 0 {
        return String::new();
    }
    let count = text.graphemes(true).count();
    let from = if offset < 0 {
        count.saturating_sub(usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX))
    } else {
        usize::try_from(offset).unwrap_or(usize::MAX)
    };
    let length = if length <= 0 { usize::MAX } else { usize::try_from(length).unwrap_or(usize::MAX) };
    text.graphemes(true).skip(from).take(length).collect()
}
