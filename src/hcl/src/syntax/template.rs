//! Templates: literal text, interpolations and directives, with what `~` and `<<-` take away.

use super::Span;
use super::ast::{Conditional, For, Node, NodeKind};
use super::lexer::{Token, TokenKind as T};
use super::parser::{Parsed, Parser};
use crate::value::Value;

/// A flat part of a template, before directives are matched.
enum Part {
    Literal { text: String, span: Span },
    Interpolation { node: Node },
    If { condition: Node, span: Span },
    Else { span: Span },
    EndIf { span: Span },
    For { names: (Option<std::sync::Arc<str>>, std::sync::Arc<str>), collection: Node, span: Span },
    EndFor { span: Span },
}

/// What ended a run of parts.
enum Stop {
    Text,
    Else,
    If,
    For,
}

impl Parser<'_> {
    pub(super) fn quoted(&mut self, open: Token) -> Parsed<Node> {
        let parts = self.parts(open, T::CloseQuote)?;
        let span = self.span_since(open);
        self.template(parts, span)
    }

    pub(super) fn heredoc(&mut self, open: Token) -> Parsed<Node> {
        self.newlines.push(true);
        let parts = self.parts(open, T::CloseHeredoc);
        self.newlines.pop();
        let mut parts = parts?;
        if self.slice(open.span).starts_with("<<-") {
            dedent(&mut parts);
        }
        let span = self.span_since(open);
        self.template(parts, span)
    }

    /// A whole text as a template.
    pub(super) fn bare_template(&mut self) -> Parsed<Node> {
        let open = Token { kind: T::HeredocText, span: Span::default() };
        let parts = self.parts(open, T::Eof)?;
        let end = self.tokens.last().map_or(0, |token| token.span.end);
        let span = self.place(Span { start: 0, end });
        self.template(parts, span)
    }

    fn template(&mut self, parts: Vec<Part>, span: Span) -> Parsed<Node> {
        if let [Part::Interpolation { .. }] = parts.as_slice() {
            let Some(Part::Interpolation { node }) = parts.into_iter().next() else {
                return self.fail(span, "an interpolation is missing", "");
            };
            return Ok(Node { kind: NodeKind::Wrap(Box::new(node)), span });
        }
        let mut parts = parts.into_iter();
        let mut opened = Vec::new();
        let (nodes, _) = self.run(&mut parts, &mut opened)?;
        Ok(Node { kind: NodeKind::Template(nodes), span })
    }

    /// Reads the tokens of a template, applies `~`.
    fn parts(&mut self, open: Token, close: T) -> Parsed<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        let mut trim_next = false;
        loop {
            let token = self.tokens[self.at.min(self.tokens.len() - 1)];
            if token.kind == close {
                self.at += usize::from(close != T::Eof);
                return Ok(parts);
            }
            self.at += 1;
            match token.kind {
                T::QuotedText | T::HeredocText => {
                    let mut text = self.literal(token)?;
                    if trim_next {
                        text = text.trim_start().to_owned();
                    }
                    trim_next = false;
                    parts.push(Part::Literal { text, span: self.place(token.span) });
                }
                T::OpenInterpolation | T::OpenDirective => {
                    if self.slice(token.span).ends_with('~')
                        && let Some(Part::Literal { text, .. }) = parts.last_mut()
                    {
                        text.truncate(text.trim_end().len());
                    }
                    let part = self.deeper(|parser| parser.sequence(token))?;
                    let closed = self.tokens[self.at - 1];
                    trim_next = self.slice(closed.span).starts_with('~');
                    parts.push(part);
                }
                T::QuotedNewline => {
                    return self.fail(
                        open.span.to(token.span),
                        "a quoted string cannot go over several lines",
                        "write `\\n` for a line break, or use a heredoc, `<<EOT`",
                    );
                }
                _ if close == T::CloseHeredoc => {
                    let marker = self.slice(open.span).trim().trim_start_matches(['<', '-']);
                    let hint = format!("`{marker}` must stand on a line of its own, which ends");
                    return self.fail(open.span, "this heredoc has no end", &hint);
                }
                _ => return self.fail(open.span, "this string has no end", ""),
            }
        }
    }

    fn sequence(&mut self, open: Token) -> Parsed<Part> {
        self.newlines.push(false);
        let part = if open.kind == T::OpenInterpolation {
            self.expression().map(|node| Part::Interpolation { node })?
        } else {
            self.directive(open)?
        };
        let Some(_) = self.eat(T::CloseSequence) else {
            let token = self.peek();
            if matches!(token.kind, T::OpenQuote | T::Eof) {
                let name = self.slice(open.span).trim_end_matches('~');
                let hint = format!("a `}}` is missing; for a literal `{name}` write `{}{name}`", &name[..1]);
                return self.fail(open.span, format!("this `{name}` is never closed"), &hint);
            }
            let found = self.describe(token);
            return self.fail(
                token.span,
                format!("expected `}}` at the end of a template sequence, found {found}"),
                "if this is the syntax of another language, write `$${` or `%%{` for a literal `${` or `%{`",
            );
        };
        self.newlines.pop();
        Ok(part)
    }

    fn directive(&mut self, open: Token) -> Parsed<Part> {
        let Some(keyword) = self.eat(T::Ident) else {
            return self.unexpected("a keyword after `%{`");
        };
        let span = self.place(open.span.to(keyword.span));
        Ok(match self.slice(keyword.span) {
            "if" => Part::If { condition: self.expression()?, span },
            "else" => Part::Else { span },
            "endif" => Part::EndIf { span },
            "for" => {
                let names = self.for_names()?;
                Part::For { names, collection: self.expression()?, span }
            }
            "endfor" => Part::EndFor { span },
            other => {
                let message = format!("`{other}` is not a directive of templates");
                return self.fail(
                    keyword.span,
                    message,
                    "the directives are `if`, `else`, `endif`, `for`, `endfor`; a literal `%{` is written `%%{`",
                );
            }
        })
    }

    /// Matches directives. `opened` holds the place and name of what is open, the innermost last.
    fn run(
        &mut self,
        parts: &mut std::vec::IntoIter<Part>,
        opened: &mut Vec<(Span, &'static str)>,
    ) -> Parsed<(Vec<Node>, Stop)> {
        let mut nodes = Vec::new();
        while let Some(part) = parts.next() {
            match part {
                Part::Literal { text, span } => {
                    nodes.push(Node { kind: NodeKind::Literal(Value::string(text)), span });
                }
                Part::Interpolation { node } => nodes.push(node),
                Part::If { condition, span } => {
                    nodes.push(self.if_directive(condition, span, parts, opened)?);
                }
                Part::For { names: (key_name, value_name), collection, span } => {
                    opened.push((span, "for"));
                    let (body, _) = self.deeper(|parser| parser.run(parts, opened))?;
                    opened.pop();
                    let value = Node { kind: NodeKind::Template(body), span };
                    let parts = For {
                        key_name,
                        value_name,
                        collection,
                        key: None,
                        value,
                        condition: None,
                        group: false,
                    };
                    let inner = Node { kind: NodeKind::For(Box::new(parts)), span };
                    nodes.push(Node { kind: NodeKind::Join(Box::new(inner)), span });
                }
                Part::Else { span } if opened.last().is_some_and(|open| open.1 == "if") => {
                    let _ = span;
                    return Ok((nodes, Stop::Else));
                }
                Part::EndIf { .. } if opened.last().is_some_and(|open| open.1 != "for") => {
                    return Ok((nodes, Stop::If));
                }
                Part::EndFor { .. } if opened.last().is_some_and(|open| open.1 == "for") => {
                    return Ok((nodes, Stop::For));
                }
                Part::Else { span } => return self.unbalanced(span, "else"),
                Part::EndIf { span } => return self.unbalanced(span, "endif"),
                Part::EndFor { span } => return self.unbalanced(span, "endfor"),
            }
        }
        match opened.last() {
            None => Ok((nodes, Stop::Text)),
            Some((span, name)) => {
                let (what, end) = if *name == "for" { ("for", "endfor") } else { ("if", "endif") };
                let error = self.source.error(*span, format!("`%{{{what}}}` has no `%{{{end}}}`"));
                self.errors.push(error);
                Err(super::parser::Reported)
            }
        }
    }

    fn unbalanced<X>(&mut self, span: Span, name: &str) -> Parsed<X> {
        self.errors.push(self.source.error(span, format!("`%{{{name}}}` belongs to nothing that is open")));
        Err(super::parser::Reported)
    }

    fn if_directive(
        &mut self,
        condition: Node,
        span: Span,
        parts: &mut std::vec::IntoIter<Part>,
        opened: &mut Vec<(Span, &'static str)>,
    ) -> Parsed<Node> {
        opened.push((span, "if"));
        let (then, end) = self.deeper(|parser| parser.run(parts, opened))?;
        opened.pop();
        let mut otherwise = Vec::new();
        if matches!(end, Stop::Else) {
            opened.push((span, "else"));
            otherwise = self.deeper(|parser| parser.run(parts, opened))?.0;
            opened.pop();
        }
        let then = Node { kind: NodeKind::Template(then), span };
        let otherwise = Node { kind: NodeKind::Template(otherwise), span };
        let kind = NodeKind::Conditional(Box::new(Conditional { condition, then, otherwise }));
        Ok(Node { kind, span })
    }

    /// The text of a literal token without its escapes.
    fn literal(&mut self, token: Token) -> Parsed<String> {
        let raw = self.slice(token.span);
        if raw == "$${" || raw == "%%{" {
            return Ok(raw[1..].to_owned());
        }
        if token.kind != T::QuotedText || !raw.contains('\\') {
            return Ok(raw.to_owned());
        }
        let mut text = String::with_capacity(raw.len());
        let mut at = 0;
        while let Some(c) = raw[at..].chars().next() {
            if c != '\\' {
                text.push(c);
                at += c.len_utf8();
                continue;
            }
            match unescape(&raw[at..]) {
                Ok((c, length)) => {
                    text.push(c);
                    at += length;
                }
                Err((message, length)) => {
                    let start = token.span.start + at as u32;
                    let span = Span { start, end: start + length as u32 };
                    return self.fail(
                        span,
                        message,
                        "the escapes are `\\n`, `\\r`, `\\t`, `\\\"`, `\\\\`, `\\uNNNN` and `\\UNNNNNNNN`",
                    );
                }
            }
        }
        Ok(text)
    }
}

/// The character of an escape and the bytes it takes, or what is wrong with how many bytes.
fn unescape(text: &str) -> Result<(char, usize), (String, usize)> {
    let letter = text[1..].chars().next();
    let digits = match letter {
        Some('n') => return Ok(('\n', 2)),
        Some('r') => return Ok(('\r', 2)),
        Some('t') => return Ok(('\t', 2)),
        Some(c @ ('"' | '\\')) => return Ok((c, 2)),
        Some('u') => 4,
        Some('U') => 8,
        Some(c) => return Err((format!("`\\{c}` is no escape"), 1 + c.len_utf8())),
        None => return Err(("a backslash stands alone".to_owned(), 1)),
    };
    let hex: String = text[2..].chars().take(digits).take_while(char::is_ascii_hexdigit).collect();
    if hex.len() < digits {
        return Err((format!("{digits} hexadecimal digits are needed after this escape"), 2 + hex.len()));
    }
    u32::from_str_radix(&hex, 16)
        .ok()
        .and_then(char::from_u32)
        .map(|c| (c, 2 + digits))
        .ok_or_else(|| (format!("`{hex}` is not a character of Unicode"), 2 + digits))
}

/// Takes away the indentation that all lines have in common. Blank lines do not count and stay as they are; a line that
/// starts with a sequence has none.
fn dedent(parts: &mut [Part]) {
    let indent = |text: &str| text.chars().take_while(|c| c.is_whitespace()).count();
    let mut starts = Vec::new();
    let mut least = usize::MAX;
    let mut line_start = true;
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Literal { text, .. } => {
                if line_start && !(text.ends_with('\n') && text.trim().is_empty()) {
                    least = least.min(indent(text));
                    starts.push(index);
                }
                line_start = text.ends_with('\n');
            }
            _ => {
                if line_start {
                    least = 0;
                }
                line_start = false;
            }
        }
    }
    for index in starts {
        if let Part::Literal { text, .. } = &mut parts[index] {
            *text = text.chars().skip(least).collect();
        }
    }
}
