//! A value as YAML, byte for byte as `go-cty-yaml` 1.0.1 writes it.
//!
//! The rules are those of libyaml's emitter: block style with indents of two, sequences in mappings not indented, lines
//! broken at the first space after column 80, keys of more than 128 bytes marked with `?`. Strings are in double quotes,
//! those of several lines literal where that can be.

use imgbuild_hcl::value::Value;

/// After this column a quoted text may be broken.
const WIDTH: usize = 80;
/// The longest key, in bytes, that needs no mark.
const LONGEST_KEY: usize = 128;

pub(super) fn encoded(value: &Value) -> String {
    let mut emitter = Emitter { out: String::new(), column: 0, indent: None, blank: true, indention: true };
    emitter.node(value, Place::Root);
    emitter.write_indent();
    // A bare scalar as the whole document is left open, and so its end is marked.
    if value.is_null() || value.as_number().is_some() || value.as_bool().is_some() {
        emitter.out.push_str("...\n");
    }
    emitter.out
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Item,
    /// A key that fits on a line.
    Key,
    /// A value, or a long key.
    Mapped,
}

struct Emitter {
    out: String,
    column: usize,
    /// The indent of the block; none before the first.
    indent: Option<usize>,
    /// Whether the last thing written was white space.
    blank: bool,
    /// Whether there is only indentation on the line so far.
    indention: bool,
}

impl Emitter {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn line_break(&mut self, c: char) {
        self.out.push(c);
        self.column = 0;
    }

    fn write_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.blank) {
            self.line_break('\n');
        }
        while self.column < indent {
            self.put(" ");
        }
        self.blank = true;
        self.indention = true;
    }

    /// Punctuation; `starts` says that what follows on the line can still be the start of a block.
    fn indicator(&mut self, text: &str, spaced: bool, starts: bool) {
        if spaced && !self.blank {
            self.put(" ");
        }
        self.put(text);
        self.blank = false;
        self.indention &= starts;
    }

    fn node(&mut self, value: &Value, place: Place) {
        if let Some(text) = value.as_str() {
            self.text(text, place);
        } else if let Some(elements) = value.elements() {
            self.sequence(elements, place);
        } else if let Some(entries) = value.entries() {
            if entries.is_empty() {
                return self.indicator("{}", true, false);
            }
            let outer = self.deeper(false);
            for (key, value) in entries {
                self.entry(key, value);
            }
            self.indent = outer;
        } else {
            self.plain(value);
        }
    }

    fn deeper(&mut self, indentless: bool) -> Option<usize> {
        let outer = self.indent;
        self.indent = Some(match outer {
            None => 0,
            Some(indent) if indentless => indent,
            Some(indent) => indent + 2,
        });
        outer
    }

    fn sequence(&mut self, elements: &[Value], place: Place) {
        if elements.is_empty() {
            return self.indicator("[]", true, false);
        }
        let outer = self.deeper(place == Place::Mapped && !self.indention);
        for element in elements {
            self.write_indent();
            self.indicator("-", true, true);
            self.node(element, Place::Item);
        }
        self.indent = outer;
    }

    fn entry(&mut self, key: &str, value: &Value) {
        self.write_indent();
        let simple = key.len() <= LONGEST_KEY && !key.contains(is_break);
        if simple {
            self.text(key, Place::Key);
            self.indicator(":", false, false);
        } else {
            self.indicator("?", true, true);
            self.text(key, Place::Mapped);
            self.write_indent();
            self.indicator(":", true, true);
        }
        self.node(value, Place::Mapped);
    }

    fn plain(&mut self, value: &Value) {
        let text = match (value.as_number(), value.as_bool()) {
            (Some(number), _) => number.to_string(),
            (_, Some(flag)) => flag.to_string(),
            _ => "null".to_owned(),
        };
        self.indicator(&text, true, false);
    }

    fn text(&mut self, text: &str, place: Place) {
        let outer = self.indent;
        self.indent = Some(outer.map_or(2, |indent| indent + 2));
        if text.contains('\n') && place != Place::Key && can_be_literal(text) {
            self.literal(text);
        } else {
            self.quoted(text, place != Place::Key);
        }
        self.indent = outer;
    }

    fn literal(&mut self, text: &str) {
        self.indicator("|", true, false);
        if text.starts_with(|c| c == ' ' || is_break(c)) {
            self.indicator("2", false, false);
        }
        let mut from_end = text.chars().rev();
        match (from_end.next().is_some_and(is_break), from_end.next()) {
            (false, _) => self.indicator("-", false, false),
            (true, before) if before.is_none_or(is_break) => self.indicator("+", false, false),
            _ => {}
        }
        self.line_break('\n');
        self.indention = true;
        self.blank = true;
        let mut at_start = true;
        for c in text.chars() {
            if is_break(c) {
                self.line_break(c);
                self.indention = true;
            } else {
                if at_start {
                    self.write_indent();
                }
                self.put(c.encode_utf8(&mut [0; 4]));
                self.indention = false;
            }
            at_start = is_break(c);
        }
    }

    fn quoted(&mut self, text: &str, breaks: bool) {
        self.indicator("\"", true, false);
        let mut after_space = false;
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            if c == ' ' {
                let inside = at > 0 && next.is_some();
                if breaks && !after_space && self.column > WIDTH && inside {
                    self.write_indent();
                    if next == Some(' ') {
                        self.put("\\");
                    }
                } else {
                    self.put(" ");
                }
            } else if !is_printable(c) || is_break(c) || matches!(c, '"' | '\\') {
                let escape = escape(c);
                self.put(&escape);
            } else {
                self.put(c.encode_utf8(&mut [0; 4]));
            }
            after_space = c == ' ';
        }
        self.put("\"");
        self.blank = false;
        self.indention = false;
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What YAML 1.1 prints as it is; this writer knows nothing beyond the first 65536 characters.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

fn can_be_literal(text: &str) -> bool {
    let space_before_break = text.chars().zip(text.chars().skip(1)).any(|(a, b)| a == ' ' && is_break(b));
    text.chars().all(is_printable) && !space_before_break && !text.ends_with(' ')
}

fn escape(c: char) -> String {
    let letter = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' | '\\' => c,
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            return match u32::from(c) {
                code @ 0..=0xff => format!("\\x{code:02X}"),
                code @ 0x100..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{letter}")
}
