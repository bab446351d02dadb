//! Text in HCL, laid out as the formatter would do it.

use std::collections::BTreeMap;

use imgbuild_hcl::syntax::is_identifier;

/// Before each bracket that opens or closes something, until lines are indented.
const OPENS: char = '\u{e010}';
const CLOSES: char = '\u{e011}';

/// The inside of a file or block.
#[derive(Clone, Debug, Default)]
pub(super) struct Body(Vec<Item>);

#[derive(Clone, Debug)]
enum Item {
    Blank,
    Line(String),
    Attribute(String, Written),
    Block(String, Body),
}

/// A value that has been converted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Written {
    Scalar(Scalar),
    List(Vec<Written>),
    /// By names, which may be templates: see [`Written::text`].
    Object(BTreeMap<String, Written>),
}

/// The text of a string, number, truth value or null.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scalar(String);

impl Scalar {
    pub fn raw(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The list that templates in JSON mean by a string with commas.
    pub fn split(&self) -> Written {
        let text = &self.0;
        let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
            return Written::Scalar(self.clone());
        };
        if inner.contains("${") || inner.contains("{{") {
            return Written::Scalar(Self(format!("compact(split(\",\", {text}))")));
        }
        let parts = inner.split(',').filter(|part| !part.is_empty());
        Written::List(parts.map(|part| Written::Scalar(Self(format!("\"{part}\"")))).collect())
    }
}

impl Written {
    /// A string that is no template.
    pub fn text(text: &str) -> Self {
        Self::Scalar(Scalar(format!("\"{}\"", escaped(text))))
    }

    pub fn bool(value: bool) -> Self {
        Self::Scalar(Scalar(value.to_string()))
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Scalar(Scalar(text)) => out.push_str(text),
            Self::List(elements) => {
                out.extend([OPENS, '[']);
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    element.write(out);
                }
                out.extend([CLOSES, ']']);
            }
            Self::Object(members) if members.is_empty() => out.push_str("{}"),
            Self::Object(members) => {
                let key = |name: &str| match is_identifier(name) {
                    true => name.to_owned(),
                    false => format!("\"{name}\""),
                };
                let item = |(name, value): (&String, &Written)| Item::Attribute(key(name), value.clone());
                out.extend([OPENS, '{', '\n']);
                Body(members.iter().map(item).collect()).write_to(out);
                out.extend([CLOSES, '}']);
            }
        }
    }
}

impl Body {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn blank(&mut self) {
        self.0.push(Item::Blank);
    }

    pub fn line(&mut self, text: &str) {
        self.0.push(Item::Line(text.replace([OPENS, CLOSES], "")));
    }

    pub fn comment(&mut self, text: &str) {
        self.line(&format!("# {text}"));
    }

    pub fn attribute(&mut self, name: &str, value: &Written) {
        self.0.push(Item::Attribute(name.to_owned(), value.clone()));
    }

    pub fn block(&mut self, keyword: &str, labels: &[&str], body: Body) {
        let labels: String = labels.iter().map(|label| format!("\"{}\" ", escaped(label))).collect();
        self.0.push(Item::Block(format!("{keyword} {labels}"), body));
    }

    pub fn append(&mut self, mut other: Body) {
        self.0.append(&mut other.0);
    }

    pub fn without_first_blank(mut self) -> Self {
        if let Some(Item::Blank) = self.0.first() {
            self.0.remove(0);
        }
        self
    }

    pub fn write(&self) -> String {
        let mut out = String::new();
        self.write_to(&mut out);
        indented(&out)
    }

    fn write_to(&self, out: &mut String) {
        let mut rest = self.0.as_slice();
        while let Some((item, after)) = rest.split_first() {
            match item {
                Item::Blank => out.push('\n'),
                Item::Line(text) => out.push_str(&format!("{text}\n")),
                Item::Block(head, body) => {
                    out.push_str(&format!("{head}{OPENS}{{\n"));
                    body.write_to(out);
                    out.push_str(&format!("{CLOSES}}}\n"));
                }
                Item::Attribute(..) => {
                    let count = write_attributes(out, rest);
                    rest = &rest[count..];
                    continue;
                }
            }
            rest = after;
        }
    }
}

/// Writes the attributes at the beginning whose `=` stand below each other, and says how many they are. One of several
/// lines stands alone.
fn write_attributes(out: &mut String, items: &[Item]) -> usize {
    let mut lines: Vec<(&str, String)> = Vec::new();
    for item in items {
        let Item::Attribute(name, value) = item else { break };
        let mut text = String::new();
        value.write(&mut text);
        let is_long = text.contains('\n');
        if is_long && !lines.is_empty() {
            break;
        }
        lines.push((name, text));
        if is_long {
            break;
        }
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    for (name, text) in &lines {
        let spaces = " ".repeat(width - name.chars().count());
        out.push_str(&format!("{name}{spaces} = {text}\n"));
    }
    lines.len()
}

/// Indents lines by the marked brackets, as the formatter does: a line that opens more than it closes indents what
/// follows once, however many it opens, until as many are closed.
fn indented(text: &str) -> String {
    let mut out = String::new();
    let mut open: Vec<usize> = Vec::new();
    for line in text.lines() {
        let (opens, mut closes) = (line.matches(OPENS).count(), line.matches(CLOSES).count());
        let more = opens.saturating_sub(closes);
        closes = closes.saturating_sub(opens);
        while let Some(top) = open.last_mut().filter(|_| closes > 0) {
            let closed = closes.min(*top);
            *top -= closed;
            closes -= closed;
            if *top == 0 {
                open.pop();
            }
        }
        if !line.is_empty() {
            out.push_str(&"  ".repeat(open.len()));
            out.extend(line.chars().filter(|c| !matches!(*c, OPENS | CLOSES)));
        }
        out.push('\n');
        if more > 0 {
            open.push(more);
        }
    }
    out
}

/// The text as it stands between the quotes of a string.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' | '%' if characters.peek() == Some(&'{') => out.extend([c, c]),
            c if c.is_control() || matches!(c, OPENS | CLOSES) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
            c => out.push(c),
        }
    }
    out
}

/// The nearest identifier.
pub(super) fn identifier(text: &str) -> String {
    let good = |c: char| if is_identifier(&format!("_{c}")) { c } else { '_' };
    let name: String = text.chars().map(good).collect();
    if is_identifier(&name) { name } else { format!("_{name}") }
}
