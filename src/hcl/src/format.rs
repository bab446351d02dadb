//! The canonical layout of a text, as `packer fmt` and `terraform fmt` have it, byte for byte.
//!
//! Only whitespace between tokens changes, never where lines end; so what a text means stays the same. A text that cannot
//! be read is laid out as well as its tokens allow. Three passes go over the lines: indentation by open brackets, single
//! spaces between tokens, and the columns of `=` and of comments, which neighbouring lines share.

use unicode_segmentation::UnicodeSegmentation;

use crate::syntax::{MAX_DEPTH, Start, TokenKind as T, tokens};

/// A token and the spaces before it.
struct Piece<'a> {
    kind: T,
    text: &'a str,
    spaces: usize,
}

/// The pieces of a line, by index: `lead` up to `assign`, the `=` of an attribute that is whole on the line; that up to
/// `comment`, a comment after something else; that up to `end`.
#[derive(Clone, Copy)]
struct Line {
    lead: usize,
    assign: usize,
    comment: usize,
    end: usize,
}

/// Lays out a text.
#[must_use]
pub fn format(text: &str) -> String {
    let mut pieces = pieces(text);
    let lines = lines(&pieces);
    indent(&mut pieces, &lines);
    for line in &lines {
        space(&mut pieces[line.lead..line.assign]);
        space(&mut pieces[line.assign..line.comment]);
    }
    align(&mut pieces, &lines, |line| (line.assign < line.comment).then_some(line.assign));
    align(&mut pieces, &lines, |line| (line.comment < line.end).then_some(line.comment));
    let mut result = String::with_capacity(text.len() + text.len() / 8);
    for piece in &pieces {
        result.extend(std::iter::repeat_n(' ', piece.spaces));
        result.push_str(piece.text);
    }
    result
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut before = 0;
    tokens(text, Start::Main)
        .into_iter()
        .map(|token| {
            let (start, end) = (token.span.start as usize, token.span.end as usize);
            let spaces = start - before;
            before = end;
            Piece { kind: token.kind, text: &text[start..end], spaces }
        })
        .collect()
}

fn ends_line(piece: &Piece<'_>) -> bool {
    piece.kind == T::Newline || piece.kind == T::Comment && piece.text.ends_with('\n')
}

fn lines(pieces: &[Piece<'_>]) -> Vec<Line> {
    let count = pieces.iter().position(|piece| piece.kind == T::Eof).unwrap_or(pieces.len());
    let mut lines = Vec::new();
    let mut start = 0;
    for at in 0..count {
        if ends_line(&pieces[at]) || at + 1 == count {
            lines.push(cells(pieces, start, at + 1));
            start = at + 1;
        }
    }
    lines
}

/// A line with its attribute and comment set apart.
fn cells(pieces: &[Piece<'_>], start: usize, end: usize) -> Line {
    let has_comment = end - start > 1 && pieces[end - 1].kind == T::Comment;
    let comment = if has_comment { end - 1 } else { end };
    let rest = start + 1..comment;
    // An expression that goes on in the next line has no column of its own.
    let assign = rest
        .clone()
        .find(|at| pieces[*at].kind == T::Equal)
        .filter(|at| pieces[*at..comment].iter().map(|piece| bracket(piece.kind)).sum::<isize>() == 0)
        .unwrap_or(comment);
    Line { lead: start, assign, comment, end }
}

/// How many brackets a token opens.
fn bracket(kind: T) -> isize {
    match kind {
        T::OpenBrace | T::OpenBracket | T::OpenParen | T::OpenDirective | T::OpenInterpolation => 1,
        T::CloseBrace | T::CloseBracket | T::CloseParen | T::CloseSequence => -1,
        _ => 0,
    }
}

/// How deep lines are indented. No text that can be read is deeper, and the spaces of one that cannot would grow with the
/// square of its length.
const MAX_LEVELS: usize = 2 * MAX_DEPTH;

/// Sets the spaces at the start of each line. A line indents what follows by one level however many brackets it opens;
/// the level ends when as many are closed.
fn indent(pieces: &mut [Piece<'_>], lines: &[Line]) {
    let mut levels: Vec<isize> = Vec::new();
    for line in lines {
        if pieces[line.lead].kind == T::Newline {
            pieces[line.lead].spaces = 0;
            continue;
        }
        let lead = &pieces[line.lead..line.assign];
        let heredoc = lead.iter().position(|piece| piece.kind == T::OpenHeredoc).unwrap_or(lead.len());
        let assign = &pieces[line.assign..line.comment];
        let net: isize = lead[..heredoc].iter().chain(assign).map(|piece| bracket(piece.kind)).sum();
        let level = levels.len();
        if net > 0 {
            levels.push(net);
        }
        close(&mut levels, -net);
        let depth = if net > 0 { level } else { levels.len() };
        pieces[line.lead].spaces = 2 * depth.min(MAX_LEVELS);
    }
}

/// Closes brackets, and with them levels.
fn close(levels: &mut Vec<isize>, mut count: isize) {
    while count > 0
        && let Some(level) = levels.last_mut()
    {
        let closed = count.min(*level);
        *level -= closed;
        count -= closed;
        if *level == 0 {
            levels.pop();
        }
    }
}

/// Sets the spaces between the pieces of a cell.
fn space(cell: &mut [Piece<'_>]) {
    for at in 1..cell.len() {
        let before = at.checked_sub(2).map(|before| cell[before].kind);
        cell[at].spaces = usize::from(is_apart(before, &cell[at - 1], cell[at].kind));
    }
}

/// Whether there is a space between a piece and the next. `before` is what stands before both.
fn is_apart(before: Option<T>, piece: &Piece<'_>, next: T) -> bool {
    match (piece.kind, next) {
        (_, T::Newline | T::Comma | T::Ellipsis | T::Dot) | (T::Dot, _) => false,
        (T::Ident, T::OpenParen | T::DoubleColon) | (T::DoubleColon, T::Ident) => false,
        (T::Comma, _) => true,
        (T::QuotedText | T::HeredocText | T::OpenQuote | T::OpenHeredoc, _)
        | (_, T::QuotedText | T::HeredocText | T::CloseQuote | T::CloseHeredoc) => false,
        // `[for x in [y] : x]`
        (T::Ident, _) if piece.text == "in" && before == Some(T::Ident) => true,
        (T::Ident | T::Number, T::OpenBracket) => false,
        (kind, T::OpenBracket) if bracket(kind) < 0 => false,
        (T::Bang, _) => false,
        (T::Minus, _) => before.is_some_and(|before| !precedes_operand(before)),
        (T::OpenBrace, T::CloseBrace) => false,
        (T::OpenBrace, _) | (_, T::CloseBrace) => true,
        (T::OpenInterpolation | T::OpenDirective, T::OpenBrace) | (T::CloseBrace, T::CloseSequence) => true,
        (T::CloseSequence, T::OpenInterpolation | T::OpenDirective) => false,
        (kind, next) => bracket(kind) <= 0 && bracket(next) >= 0,
    }
}

/// Whether a minus after this is a sign and no subtraction.
fn precedes_operand(kind: T) -> bool {
    matches!(
        kind,
        T::OpenParen
            | T::OpenBrace
            | T::OpenBracket
            | T::Equal
            | T::Colon
            | T::Comma
            | T::Question
            | T::Plus
            | T::Star
            | T::Slash
            | T::Percent
            | T::Minus
            | T::EqualEqual
            | T::NotEqual
            | T::Greater
            | T::GreaterEqual
            | T::Less
            | T::LessEqual
            | T::And
            | T::Or
            | T::Bang
    )
}

/// Puts a cell of neighbouring lines into one column. `cell` says where it starts, if the line has one.
fn align(pieces: &mut [Piece<'_>], lines: &[Line], cell: impl Fn(&Line) -> Option<usize>) {
    for chain in lines.chunk_by(|a, b| cell(a).is_some() == cell(b).is_some()) {
        let widths: Vec<(usize, usize)> = chain
            .iter()
            .filter_map(|line| cell(line).map(|start| (start, width(&pieces[line.lead..start]))))
            .collect();
        let widest = widths.iter().map(|(_, width)| *width).max().unwrap_or_default();
        for (start, width) in widths {
            pieces[start].spaces = widest - width + 1;
        }
    }
}

fn width(pieces: &[Piece<'_>]) -> usize {
    pieces.iter().map(|piece| piece.spaces + graphemes(piece.text)).sum()
}

fn graphemes(text: &str) -> usize {
    if text.is_ascii() && !text.contains('\r') { text.len() } else { text.graphemes(true).count() }
}
