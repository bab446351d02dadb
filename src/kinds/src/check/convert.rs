//! Whether a value can become what an attribute takes.

use imgbuild_model::{AttributeSchema, AttributeType, Node, NodeData, Severity, did_you_mean};

use super::{Checker, Dialect, PathStep, ProblemKind};

impl Checker {
    pub(super) fn value(&mut self, type_: AttributeType, node: &Node, secret: bool) {
        if matches!(node.data, NodeData::Unknown | NodeData::Null) || self.is_template(type_, node) {
            return;
        }
        match type_ {
            AttributeType::Any => {}
            AttributeType::StringList | AttributeType::Files | AttributeType::Steps => {
                self.list(type_, AttributeType::String, node, secret);
            }
            AttributeType::Bytes => self.list(type_, AttributeType::Int, node, secret),
            AttributeType::List(element) => self.list(type_, *element, node, secret),
            AttributeType::StringDict | AttributeType::Secrets => {
                self.dict(type_, AttributeType::String, node, secret);
            }
            AttributeType::Dict(element) => self.dict(type_, *element, node, secret),
            _ => self.scalar(type_, node, secret),
        }
    }

    /// Whether it is the text of a template that is rendered later and becomes anything then. In HCL the conversion comes
    /// before the rendering, so that only texts are free.
    fn is_template(&self, type_: AttributeType, node: &Node) -> bool {
        let free = match self.dialect {
            Dialect::Legacy => true,
            Dialect::Hcl => matches!(
                type_,
                AttributeType::Enum(_) | AttributeType::EnumAnyCase(_) | AttributeType::GoDuration
            ),
        };
        free && holds_template(node)
    }

    fn list(&mut self, type_: AttributeType, element: AttributeType, node: &Node, secret: bool) {
        match (&node.data, self.dialect) {
            (NodeData::List(items), _) => {
                for (index, item) in items.iter().enumerate() {
                    self.within(PathStep::Index(index), |checker| checker.value(element, item, secret));
                }
            }
            // A text is cut at commas.
            (NodeData::String(text), Dialect::Legacy) => {
                for part in text.split(',') {
                    let part = Node { data: NodeData::String(part.into()), ..node.clone() };
                    self.value(element, &part, secret);
                }
            }
            (NodeData::Object(fields), Dialect::Legacy) if fields.is_empty() => {}
            (NodeData::Bool(_) | NodeData::Number(_), Dialect::Legacy) => self.value(element, node, secret),
            (NodeData::String(text), Dialect::Hcl) if !secret && !node.secret => {
                let inner = match text.parse::<i64>() {
                    Ok(number) if element == AttributeType::Int => number.to_string(),
                    _ => shown(node, secret),
                };
                self.wrong(type_, node, secret, Some(format!("write `[{inner}]`")));
            }
            _ => self.wrong(type_, node, secret, None),
        }
    }

    fn dict(&mut self, type_: AttributeType, element: AttributeType, node: &Node, secret: bool) {
        match (&node.data, self.dialect) {
            (NodeData::Object(fields), _) => {
                for field in fields {
                    self.within(PathStep::Name(field.name.clone()), |checker| {
                        checker.value(element, &field.value, secret);
                    });
                }
            }
            // Several maps are one.
            (NodeData::List(items), Dialect::Legacy) => {
                for item in items {
                    match item.data {
                        NodeData::Object(_) => self.dict(type_, element, item, secret),
                        NodeData::Unknown => {}
                        _ => self.wrong(type_, item, secret, None),
                    }
                }
            }
            _ => self.wrong(type_, node, secret, None),
        }
    }

    fn scalar(&mut self, type_: AttributeType, node: &Node, secret: bool) {
        let fits = match type_ {
            AttributeType::Int | AttributeType::Number => match self.number(node) {
                Some(number) if type_ == AttributeType::Int && number.fract() != 0.0 => {
                    let kind = ProblemKind::Fraction { found: visible(number, node, secret) };
                    return self.report(Severity::Warning, &node.location, kind);
                }
                number => number.is_some(),
            },
            AttributeType::Bool | AttributeType::Trilean => self.is_bool(node),
            AttributeType::GoDuration => return self.duration(node, secret),
            AttributeType::Enum(words) => return self.word(type_, words, node, secret, |a, b| a == b),
            AttributeType::EnumAnyCase(words) => {
                return self.word(type_, words, node, secret, str::eq_ignore_ascii_case);
            }
            _ => is_text(node),
        };
        if !fits {
            self.wrong(type_, node, secret, None);
        }
    }

    fn duration(&mut self, node: &Node, secret: bool) {
        match &node.data {
            NodeData::String(text) if text.is_empty() || is_go_duration(text) => {}
            // As nanoseconds.
            NodeData::Number(_) if self.dialect == Dialect::Legacy => {}
            NodeData::Number(0.0) => {}
            _ => {
                let hint = match &node.data {
                    NodeData::Number(number) if !secret => Some(format!("write a unit: `\"{number}s\"`")),
                    NodeData::String(text) if !secret && text.parse::<f64>().is_ok() => {
                        Some(format!("write a unit: `\"{text}s\"`"))
                    }
                    _ => None,
                };
                self.wrong(AttributeType::GoDuration, node, secret, hint);
            }
        }
    }

    fn word(
        &mut self,
        type_: AttributeType,
        words: &[&'static str],
        node: &Node,
        secret: bool,
        same: impl Fn(&str, &str) -> bool,
    ) {
        let text = match &node.data {
            NodeData::String(text) => text.to_string(),
            NodeData::Number(number) => number.to_string(),
            NodeData::Bool(value) => value.to_string(),
            _ => return self.wrong(type_, node, secret, None),
        };
        if !text.is_empty() && !words.iter().any(|word| same(word, &text)) {
            let nearest = did_you_mean(&text, words.iter().copied()).filter(|_| text.len() > 1);
            self.wrong(type_, node, secret, nearest.map(|word| format!("did you mean `\"{word}\"`?")));
        }
    }

    fn number(&self, node: &Node) -> Option<f64> {
        match (&node.data, self.dialect) {
            (NodeData::Number(number), _) => Some(*number),
            (NodeData::String(text), Dialect::Hcl) => {
                text.parse().ok().filter(|number: &f64| number.is_finite())
            }
            (NodeData::String(text), Dialect::Legacy) if text.is_empty() => Some(0.0),
            (NodeData::String(text), Dialect::Legacy) => go_number(text),
            (NodeData::Bool(value), Dialect::Legacy) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    fn is_bool(&self, node: &Node) -> bool {
        const GO: &[&str] =
            &["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False", ""];
        match (&node.data, self.dialect) {
            (NodeData::Bool(_), _) | (NodeData::Number(_), Dialect::Legacy) => true,
            (NodeData::String(text), Dialect::Hcl) => ["true", "false", "1", "0"].contains(&&**text),
            (NodeData::String(text), Dialect::Legacy) => GO.contains(&&**text),
            _ => false,
        }
    }

    /// Whether a number, the length of a text or the count of a list is within bounds. What counts as not given is not
    /// held to them.
    pub(super) fn bounds(&mut self, attribute: &AttributeSchema, node: &Node) {
        let Some(bounds) = attribute.bounds else { return };
        let (what, found) = match (&node.data, attribute.type_) {
            _ if node.is_zero() || holds_template(node) => return,
            (_, AttributeType::Int | AttributeType::Number) => match self.number(node) {
                Some(number) => ("the number", number),
                None => return,
            },
            (NodeData::String(text), _) => ("the number of characters", text.chars().count() as f64),
            (NodeData::List(items), _) => ("the number of items", items.len() as f64),
            (NodeData::Object(fields), _) => ("the number of entries", fields.len() as f64),
            _ => return,
        };
        if !bounds.hold(found) {
            let found = visible(found, node, attribute.secret);
            self.error(&node.location, ProblemKind::OutOfBounds { what, bounds, found });
        }
    }

    /// Whether each text is an assignment. One that holds a template may become anything.
    pub(super) fn assignments(&mut self, attribute: &'static AttributeSchema, node: &Node) {
        if !attribute.assignments || holds_template(node) {
            return;
        }
        let is_assignment = |text: &str| text.find('=').is_some_and(|place| place > 0);
        let parts_are = match (&node.data, self.dialect) {
            (NodeData::List(items), _) => {
                for (index, item) in items.iter().enumerate() {
                    self.within(PathStep::Index(index), |checker| checker.assignments(attribute, item));
                }
                return;
            }
            (NodeData::String(text), Dialect::Legacy) if self.path.len() == 1 => {
                text.is_empty() || text.split(',').all(is_assignment)
            }
            (NodeData::String(text), _) => is_assignment(text),
            (NodeData::Bool(_) | NodeData::Number(_), _) => false,
            _ => true,
        };
        if !parts_are {
            let text = match &node.data {
                NodeData::String(text) if !attribute.secret && !node.secret => Some(text.clone()),
                _ => None,
            };
            let kind = ProblemKind::NotAnAssignment { name: attribute.name, found: text };
            self.error(&node.location, kind);
        }
    }

    fn wrong(&mut self, type_: AttributeType, node: &Node, secret: bool, hint: Option<String>) {
        let hint = hint.filter(|_| !secret && !node.secret);
        let found = shown(node, secret);
        self.error(&node.location, ProblemKind::WrongType { expected: type_.to_string(), found, hint });
    }
}

fn holds_template(node: &Node) -> bool {
    matches!(&node.data, NodeData::String(text) if text.contains("{{"))
}

fn is_text(node: &Node) -> bool {
    matches!(node.data, NodeData::String(_) | NodeData::Number(_) | NodeData::Bool(_))
}

/// What is known of a value by a number, if it may be told.
fn visible(number: f64, node: &Node, secret: bool) -> Option<f64> {
    (!secret && !node.secret).then_some(number)
}

/// A value in a message, or its type if it is long, compound or secret.
fn shown(node: &Node, secret: bool) -> String {
    match &node.data {
        _ if secret || node.secret => node.type_name().to_owned(),
        NodeData::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
        NodeData::Number(number) => number.to_string(),
        NodeData::Bool(value) => value.to_string(),
        _ => node.type_name().to_owned(),
    }
}

/// Whether Go reads it as a duration: a sign, then numbers with units; or zero.
fn is_go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    loop {
        let unit_on = rest.trim_start_matches(|it: char| it.is_ascii_digit() || it == '.');
        let number = &rest[..rest.len() - unit_on.len()];
        if number.matches('.').count() > 1 || number.trim_matches('.').is_empty() {
            return false;
        }
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let fitting = units.iter().filter(|unit| unit_on.starts_with(**unit));
        let Some(unit) = fitting.max_by_key(|unit| unit.len()) else { return false };
        rest = &unit_on[unit.len()..];
        if rest.is_empty() {
            return true;
        }
    }
}

/// A number as Go's `strconv` reads it with base 0, or a decimal one.
fn go_number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let based = |prefixes: [&str; 2], base| {
        let rest = prefixes.iter().find_map(|prefix| digits.strip_prefix(prefix))?;
        i64::from_str_radix(rest, base).ok()
    };
    let whole = based(["0x", "0X"], 16).or_else(|| based(["0o", "0O"], 8)).or_else(|| based(["0b", "0B"], 2));
    match whole {
        Some(number) => Some(sign * number as f64),
        None => digits.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| sign * number),
    }
}
