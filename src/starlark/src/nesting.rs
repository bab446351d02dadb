//! A look at a file before it is parsed: one whose expressions nest without end would overflow the thread's stack.

use imgbuild_model::{Diagnostic, Diagnostics, Location};

/// Brackets in brackets, or blocks in blocks, deeper than this are refused.
const DEEPEST: usize = 60;
/// Operators in one row, as in `a + b + c`, more than this are refused.
const LONGEST: usize = 150;

/// What is too deep, where, and what to do.
struct TooDeep {
    line: u32,
    column: u32,
    message: &'static str,
    hint: &'static str,
}

/// Refuses what nests too deeply.
pub(crate) fn check(file: &str, text: &str) -> Result<(), Diagnostics> {
    scan(text).map_err(|TooDeep { line, column, message, hint }| {
        let place = Location { file: file.into(), line, column, end_line: line, end_column: column + 1 };
        Diagnostic::error(message).at(place).hint(hint).into()
    })
}

fn scan(text: &str) -> Result<(), TooDeep> {
    let mut scan = Scan { line: 1, column: 0, brackets: vec![0], indents: vec![0], branches: 0 };
    let mut chars = text.chars().peekable();
    let mut at_start = true;
    let mut indent = 0;
    while let Some(c) = chars.next() {
        scan.column += 1;
        if at_start && scan.brackets.len() == 1 {
            match c {
                ' ' => {
                    indent += 1;
                    continue;
                }
                '\t' => {
                    indent += 8;
                    continue;
                }
                '\n' | '\r' | '#' => {}
                _ => {
                    at_start = false;
                    scan.statement(indent)?;
                }
            }
        }
        match c {
            '\n' => {
                scan.line += 1;
                scan.column = 0;
                at_start = true;
                indent = 0;
            }
            '#' => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            '"' | '\'' => scan.string(c, &mut chars),
            '(' | '[' | '{' => {
                scan.brackets.push(0);
                if scan.brackets.len() > DEEPEST {
                    return Err(scan
                        .error("brackets are nested too deeply", "give the inner parts names of their own"));
                }
            }
            ')' | ']' | '}' if scan.brackets.len() > 1 => {
                scan.brackets.pop();
            }
            ',' | ';' => *scan.operators() = 0,
            '+' | '-' | '*' | '/' | '%' | '|' | '&' | '^' | '~' | '.' | '<' | '>' => scan.operator()?,
            'a'..='z' | 'A'..='Z' | '_' => scan.word(c, &mut chars)?,
            _ => {}
        }
    }
    Ok(())
}

struct Scan {
    line: u32,
    column: u32,
    /// For each open bracket, and for what is outside of all, the operators in the expression so far.
    brackets: Vec<usize>,
    indents: Vec<usize>,
    /// The `elif`s since the last `if`.
    branches: usize,
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

impl Scan {
    fn statement(&mut self, indent: usize) -> Result<(), TooDeep> {
        *self.operators() = 0;
        while self.indents.last().is_some_and(|last| *last > indent) {
            self.indents.pop();
        }
        if self.indents.last().is_none_or(|last| *last < indent) {
            self.indents.push(indent);
        }
        if self.indents.len() > DEEPEST {
            return Err(self.error("blocks are nested too deeply", "move the inner blocks into functions"));
        }
        Ok(())
    }

    fn operators(&mut self) -> &mut usize {
        self.brackets.last_mut().expect("what is outside of all brackets is never popped")
    }

    fn operator(&mut self) -> Result<(), TooDeep> {
        *self.operators() += 1;
        if *self.operators() > LONGEST {
            return Err(self.error(
                "an expression has too many operators in a row",
                "write the parts as a list and join them: `\"\".join([...])`, `sum`, or a loop",
            ));
        }
        Ok(())
    }

    fn word(&mut self, first: char, chars: &mut Chars<'_>) -> Result<(), TooDeep> {
        let mut word = String::from(first);
        while let Some(c) = chars.peek().copied().filter(|c| c.is_alphanumeric() || *c == '_') {
            word.push(c);
            chars.next();
            self.column += 1;
        }
        if word == "elif" {
            self.branches += 1;
            if self.branches > LONGEST {
                return Err(self.error("an `if` has too many branches", "look the answer up in a dict"));
            }
        } else if word == "if" {
            self.branches = 0;
        }
        if matches!(&*word, "not" | "and" | "or" | "if" | "in" | "lambda" | "for") {
            self.operator()
        } else {
            Ok(())
        }
    }

    /// Skips the rest of a string.
    fn string(&mut self, quote: char, chars: &mut Chars<'_>) {
        let mut triple = false;
        if chars.peek() == Some(&quote) {
            chars.next();
            self.column += 1;
            if chars.peek() != Some(&quote) {
                return;
            }
            chars.next();
            self.column += 1;
            triple = true;
        }
        let mut quotes = 0;
        while let Some(c) = chars.next() {
            self.column += 1;
            match c {
                '\\' => {
                    self.column += 1;
                    let escaped = chars.next();
                    if escaped == Some('\n') {
                        self.newline();
                    }
                }
                '\n' if triple => self.newline(),
                // The parser tells what is wrong.
                '\n' => {
                    self.newline();
                    return;
                }
                _ => {}
            }
            quotes = if c == quote { quotes + 1 } else { 0 };
            if quotes == if triple { 3 } else { 1 } {
                return;
            }
        }
    }

    fn newline(&mut self) {
        self.line += 1;
        self.column = 0;
    }

    fn error(&self, message: &'static str, hint: &'static str) -> TooDeep {
        TooDeep { line: self.line, column: self.column, message, hint }
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    fn message(text: &str) -> Option<String> {
        check("f", text).err().map(|diagnostic| diagnostic.to_string())
    }

    #[test]
    fn ordinary_text_passes() {
        let many = (0..2000).map(|n| format!("x{n} = [\"a(((\" + 'b', {n}] # ((((\n")).collect::<String>();
        assert_eq!(message(&many), None);
        assert_eq!(message("def f(x):\n    \"\"\"((( ' \" \n\\\"\"\"\"\n    return x\n"), None);
        let calls = format!("f({})", vec!["a + b"; 3000].join(", "));
        assert_eq!(message(&calls), None);
    }

    #[test]
    fn what_nests_without_end_is_refused() {
        let brackets = "x = ".to_owned() + &"[".repeat(1000);
        assert!(message(&brackets).unwrap().starts_with("f:1:64: brackets are nested too deeply"));
        let blocks = (0..1000).map(|n| format!("{}if x:\n", " ".repeat(n))).collect::<String>();
        assert!(message(&blocks).unwrap().contains("blocks are nested too deeply"));
        for operator in ["+", "not ", "-", ".x", " and ", " if "] {
            let row = format!("x = {}", format!("y{operator}").repeat(1000));
            let row = if operator == "not " || operator == "-" {
                format!("x = {}y", operator.repeat(1000))
            } else {
                row
            };
            assert!(message(&row).unwrap().contains("too many operators"), "{operator}");
        }
    }
}
