//! Starlark as it is laid out: calls, lists and dicts on one line where they fit, else one element a line with a comma
//! behind each.

use std::fmt::Write as _;

/// As many characters as a line has at most, where it can be broken.
const WIDTH: usize = 100;
const STEP: usize = 4;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    /// A text.
    Text(String),
    /// A name, a number, a truth value: written as it is.
    Word(String),
    /// A list.
    List(Vec<Item>),
    /// A map from text.
    Dict(Vec<(String, Item)>),
    /// A call.
    Call(Call),
    /// `name | {…}`
    With(String, Vec<(String, Item)>),
    /// Nothing, in a list that ends with comments.
    Nothing,
}

/// A call of a function.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Call {
    pub(super) function: String,
    pub(super) arguments: Vec<Argument>,
    /// Whether each argument has its own line even if all fit on one.
    pub(super) open: bool,
}

/// What stands in a list or map, below its comments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) comments: Vec<String>,
    pub(super) value: Expr,
}

/// An argument, with its name if it is not told by its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Argument {
    pub(super) name: Option<String>,
    pub(super) item: Item,
}

impl From<Expr> for Item {
    fn from(value: Expr) -> Self {
        Self { comments: Vec::new(), value }
    }
}

impl Expr {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// On one line, if it can stand there.
    fn flat(&self) -> Option<String> {
        match self {
            Self::Text(text) if is_long(text) => None,
            Self::Text(text) => Some(quoted(text)),
            Self::Word(word) => Some(word.clone()),
            Self::List(items) => Some(format!("[{}]", joined(items.iter().map(Item::flat))?)),
            Self::Dict(entries) => Some(format!("{{{}}}", joined(entries.iter().map(flat_entry))?)),
            Self::Call(call) if call.open && !call.arguments.is_empty() => None,
            Self::Call(call) => {
                Some(format!("{}({})", call.function, joined(call.arguments.iter().map(Argument::flat))?))
            }
            Self::With(name, entries) => {
                Some(format!("{name} | {{{}}}", joined(entries.iter().map(flat_entry))?))
            }
            Self::Nothing => None,
        }
    }

    /// Writes it, where the line so far is `used` characters long and the next ones begin at `indent`.
    fn write(&self, indent: usize, used: usize, out: &mut String) {
        // A comma follows.
        if let Some(flat) = self.flat().filter(|flat| used + flat.chars().count() < WIDTH) {
            return out.push_str(&flat);
        }
        match self {
            Self::Text(text) if is_long(text) => out.push_str(&long(text)),
            Self::Text(_) | Self::Word(_) => out.push_str(&self.flat().unwrap_or_default()),
            Self::List(items) => block(
                out,
                "[",
                "]",
                indent,
                items,
                |item| &item.comments,
                |item, inner, out| {
                    item.value.write(inner, inner, out);
                    item.value != Self::Nothing
                },
            ),
            Self::Dict(entries) => entries_block(entries, indent, out),
            Self::With(name, entries) => {
                let _ = write!(out, "{name} | ");
                entries_block(entries, indent, out);
            }
            Self::Call(call) => call.write(indent, out),
            Self::Nothing => {}
        }
    }
}

impl Call {
    pub(super) fn new(function: &str) -> Self {
        Self { function: function.to_owned(), ..Self::default() }
    }

    pub(super) fn given(&mut self, item: impl Into<Item>) {
        self.arguments.push(Argument { name: None, item: item.into() });
    }

    pub(super) fn named(&mut self, name: &str, item: impl Into<Item>) {
        self.arguments.push(Argument { name: Some(name.to_owned()), item: item.into() });
    }

    /// A call whose one argument brings its own brackets keeps them on its own lines.
    fn write(&self, indent: usize, out: &mut String) {
        if let [Argument { name: None, item }] = self.arguments.as_slice()
            && item.comments.is_empty()
            && matches!(item.value, Expr::List(_) | Expr::Dict(_) | Expr::Text(_))
        {
            let _ = write!(out, "{}(", self.function);
            // Its bracket and the comma are behind whatever comes.
            item.value.write(indent, WIDTH, out);
            return out.push(')');
        }
        let open = format!("{}(", self.function);
        block(
            out,
            &open,
            ")",
            indent,
            &self.arguments,
            |one| &one.item.comments,
            |one, inner, out| {
                let mut used = inner;
                if let Some(name) = &one.name {
                    let _ = write!(out, "{name} = ");
                    used += name.chars().count() + 3;
                }
                one.item.value.write(inner, used, out);
                true
            },
        );
    }
}

impl Item {
    fn flat(&self) -> Option<String> {
        if self.comments.is_empty() { self.value.flat() } else { None }
    }
}

impl Argument {
    fn flat(&self) -> Option<String> {
        let value = self.item.flat()?;
        Some(match &self.name {
            Some(name) => format!("{name} = {value}"),
            None => value,
        })
    }
}

/// A whole file: statements with their comments, an empty line between each two.
pub(super) fn file(head: &[String], statements: &[(Vec<String>, Statement)]) -> String {
    let mut parts = Vec::new();
    if !head.is_empty() {
        parts.push(head.iter().map(|line| format!("{line}\n")).collect::<String>());
    }
    for (comments, statement) in statements {
        let mut out = String::new();
        comments.iter().for_each(|line| push_line(&mut out, 0, line));
        match statement {
            Statement::Assign(name, value) => {
                let _ = write!(out, "{name} = ");
                value.write(0, name.chars().count() + 3, &mut out);
            }
            Statement::Call(call) => Expr::Call(call.clone()).write(0, 0, &mut out),
        }
        out.push('\n');
        parts.push(out);
    }
    parts.join("\n")
}

/// What stands at the left edge of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    /// `NAME = value`
    Assign(String, Expr),
    /// A target.
    Call(Call),
}

fn push_line(out: &mut String, indent: usize, line: &str) {
    let _ = writeln!(out, "{:indent$}{line}", "");
}

/// Elements on lines of their own; `write` gives whether there is something to write.
fn block<T>(
    out: &mut String,
    open: &str,
    close: &str,
    indent: usize,
    items: &[T],
    comments: impl Fn(&T) -> &[String],
    write: impl Fn(&T, usize, &mut String) -> bool,
) {
    let inner = indent + STEP;
    out.push_str(open);
    out.push('\n');
    for item in items {
        comments(item).iter().for_each(|line| push_line(out, inner, line));
        let start = out.len();
        let _ = write!(out, "{:inner$}", "");
        if write(item, inner, out) { out.push_str(",\n") } else { out.truncate(start) }
    }
    let _ = write!(out, "{:indent$}{close}", "");
}

fn entries_block(entries: &[(String, Item)], indent: usize, out: &mut String) {
    block(
        out,
        "{",
        "}",
        indent,
        entries,
        |entry| &entry.1.comments,
        |(key, item), inner, out| {
            let key = quoted(key);
            let _ = write!(out, "{key}: ");
            item.value.write(inner, inner + key.chars().count() + 2, out);
            true
        },
    );
}

fn flat_entry((key, item): &(String, Item)) -> Option<String> {
    Some(format!("{}: {}", quoted(key), item.flat()?))
}

fn joined(parts: impl Iterator<Item = Option<String>>) -> Option<String> {
    Some(parts.collect::<Option<Vec<_>>>()?.join(", "))
}

/// Whether a text reads better on several lines.
fn is_long(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
}

/// A text in quotes on one line.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '"' => out.push_str("\\\""),
            other => escaped(other, &mut out),
        }
    }
    out.push('"');
    out
}

/// A text in three quotes, its lines as they are.
fn long(text: &str) -> String {
    let mut out = String::from("\"\"\"");
    let mut quotes = 0;
    let last = text.chars().count().saturating_sub(1);
    for (place, c) in text.chars().enumerate() {
        quotes = if c == '"' { quotes + 1 } else { 0 };
        match c {
            '\n' | '\t' => out.push(c),
            '"' if quotes == 3 || place == last => {
                out.push_str("\\\"");
                quotes = 0;
            }
            other => escaped(other, &mut out),
        }
    }
    out.push_str("\"\"\"");
    out
}

/// A character as both kinds of quotes hold it, but for quotes and ends of lines.
fn escaped(c: char, out: &mut String) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\r' => out.push_str("\\r"),
        other if other.is_control() => {
            let _ = write!(out, "\\u{:04x}", u32::from(other));
        }
        other => out.push(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(expr: &Expr) -> String {
        let mut out = String::new();
        expr.write(0, 0, &mut out);
        out
    }

    #[test]
    fn texts_are_escaped() {
        for (text, expected) in [
            ("a \"b\" \\", r#""a \"b\" \\""#),
            ("one\n", r#""one\n""#),
            ("\u{1}\r\t{{ é }}", r#""\u0001\r\t{{ é }}""#),
            ("a\nb\n", "\"\"\"a\nb\n\"\"\""),
            ("a\n\"\"\"\"b\\\"", "\"\"\"a\n\"\"\\\"\"b\\\\\\\"\"\"\""),
        ] {
            assert_eq!(laid_out(&Expr::text(text)), expected);
        }
    }

    #[test]
    fn what_fits_is_on_one_line() {
        let mut call = Call::new("shell");
        call.given(Expr::List(vec![Expr::text("a").into(), Expr::text("b").into()]));
        assert_eq!(laid_out(&Expr::Call(call.clone())), r#"shell(["a", "b"])"#);
        call.arguments[0].item = Expr::List(vec![Expr::text("a".repeat(120)).into()]).into();
        let long = "a".repeat(120);
        assert_eq!(laid_out(&Expr::Call(call.clone())), format!("shell([\n    \"{long}\",\n])"));
        call.arguments[0].item.comments.push("# why".to_owned());
        call.named("network", Expr::Word("True".to_owned()));
        let expected =
            format!("shell(\n    # why\n    [\n        \"{long}\",\n    ],\n    network = True,\n)");
        assert_eq!(laid_out(&Expr::Call(call)), expected);
    }
}
