//! A reader of the Starlark that is written: constants, calls, lists, maps and texts.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Value>),
    Dict(Vec<(String, Value)>),
    Call(Call),
}

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub function: String,
    pub given: Vec<Value>,
    pub named: Vec<(String, Value)>,
}

impl Call {
    pub fn argument(&self, name: &str) -> Option<&Value> {
        self.named.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }
}

/// The calls at the left edge of a file.
pub fn read(text: &str) -> Vec<Call> {
    let mut reader = Reader { rest: text.chars().peekable(), constants: BTreeMap::new() };
    let mut calls = Vec::new();
    while reader.peek().is_some() {
        let name = reader.word();
        if reader.eat('=') {
            let value = reader.value();
            reader.constants.insert(name, value);
        } else {
            assert!(reader.eat('('), "`(` after `{name}`");
            calls.push(reader.call(name));
        }
    }
    calls
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    constants: BTreeMap<String, Value>,
}

impl Reader<'_> {
    /// The next character that is neither space nor in a comment.
    fn peek(&mut self) -> Option<char> {
        loop {
            match self.rest.peek() {
                Some('#') => while self.rest.next().is_some_and(|c| c != '\n') {},
                Some(c) if c.is_whitespace() => drop(self.rest.next()),
                other => return other.copied(),
            }
        }
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.rest.next();
        }
        found
    }

    fn word(&mut self) -> String {
        self.peek();
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            word.push(c);
        }
        assert!(!word.is_empty(), "a word before {:?}", self.rest.clone().take(30).collect::<String>());
        word
    }

    fn value(&mut self) -> Value {
        let first = self.one();
        if !self.eat('|') {
            return first;
        }
        match (first, self.one()) {
            (Value::Dict(mut one), Value::Dict(other)) => {
                one.extend(other);
                Value::Dict(one)
            }
            other => panic!("{other:?}"),
        }
    }

    fn one(&mut self) -> Value {
        match self.peek().expect("a value") {
            '"' => Value::Text(self.text()),
            '[' => {
                self.rest.next();
                Value::List(self.until(']', Self::value))
            }
            '{' => {
                self.rest.next();
                Value::Dict(self.until('}', |reader| {
                    let key = reader.text();
                    assert!(reader.eat(':'));
                    (key, reader.value())
                }))
            }
            _ => {
                let word = self.word();
                match word.as_str() {
                    "True" => Value::Bool(true),
                    "False" => Value::Bool(false),
                    _ if self.eat('(') => Value::Call(self.call(word)),
                    _ => match word.parse() {
                        Ok(number) => Value::Int(number),
                        Err(_) => self.constants.get(&word).unwrap_or_else(|| panic!("`{word}`")).clone(),
                    },
                }
            }
        }
    }

    fn until<T>(&mut self, close: char, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(read(self));
            if !self.eat(',') {
                assert!(self.eat(close), "`{close}` after {} items", items.len());
                break;
            }
        }
        items
    }

    fn call(&mut self, function: String) -> Call {
        let mut call = Call { function, given: Vec::new(), named: Vec::new() };
        let arguments = self.until(')', |reader| {
            let before = reader.rest.clone();
            let is_name = reader.peek().is_some_and(|c| c.is_ascii_alphabetic());
            if is_name {
                let name = reader.word();
                if reader.eat('=') {
                    return (Some(name), reader.value());
                }
                reader.rest = before;
            }
            (None, reader.value())
        });
        for (name, value) in arguments {
            match name {
                Some(name) => call.named.push((name, value)),
                None if call.named.is_empty() => call.given.push(value),
                None => panic!("{value:?} follows a named argument"),
            }
        }
        call
    }

    fn text(&mut self) -> String {
        assert!(self.eat('"'));
        let mut ahead = self.rest.clone();
        let long = ahead.next() == Some('"') && ahead.next() == Some('"');
        if long {
            self.rest = ahead;
        }
        let mut text = String::new();
        loop {
            match self.rest.next().expect("the end of a text") {
                '\\' => text.push(self.escape()),
                '"' if !long => return text,
                '"' => {
                    let mut ahead = self.rest.clone();
                    if ahead.next() == Some('"') && ahead.next() == Some('"') {
                        self.rest = ahead;
                        return text;
                    }
                    text.push('"');
                }
                '\n' if !long => panic!("a text that is not closed: {text}"),
                other => text.push(other),
            }
        }
    }

    fn escape(&mut self) -> char {
        match self.rest.next().expect("an escape") {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'u' => {
                let digits: String = self.rest.by_ref().take(4).collect();
                u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).expect("a character")
            }
            other => other,
        }
    }
}

#[test]
fn what_is_written_is_read() {
    let text = "# c\nA = {\"x\": \"1\"}\n\nimage(\n    # c\n    \"a\\n\\u0001\",\n    b = [1, True, f()],\n    c = A | {\n        \"y\": \"\"\"l\n\\\\\"m\"\"\",\n    },\n)\n";
    let calls = read(text);
    let [image] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(image.given, [Value::Text("a\n\u{1}".to_owned())]);
    let empty = Call { function: "f".to_owned(), given: Vec::new(), named: Vec::new() };
    let expected = Value::List(vec![Value::Int(1), Value::Bool(true), Value::Call(empty)]);
    assert_eq!(image.argument("b"), Some(&expected));
    let entry = |name: &str, text: &str| (name.to_owned(), Value::Text(text.to_owned()));
    assert_eq!(image.argument("c"), Some(&Value::Dict(vec![entry("x", "1"), entry("y", "l\n\\\"m")])));
}
