//! What can be wrong with a template, and where.

use std::fmt;

/// A range of a template's text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// Something wrong with a template, at a place of its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What.
    pub kind: ErrorKind,
    /// The bytes that it is about.
    pub span: Span,
    /// The line of `span.start`, from 1.
    pub line: usize,
    /// The column of `span.start` in characters, from 1.
    pub column: usize,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum ErrorKind {
    // The text into tokens.
    #[error("the action is not closed: `}}}}` is missing")]
    UnclosedAction,
    #[error("the comment is not closed: `*/` is missing")]
    UnclosedComment,
    #[error("a comment must fill its action: `}}}}` is expected right after `*/`")]
    CommentNotAlone,
    #[error("`(` is not closed in this action")]
    UnclosedParenthesis,
    #[error("`)` has no `(` before it in this action")]
    StrayParenthesis,
    #[error("`:` must be followed by `=`")]
    LoneColon,
    #[error("the character `{}` means nothing inside an action", .0.escape_debug())]
    UnknownCharacter(char),
    #[error("the character `{}` cannot stand here: a name ends with a space, `.`, `,`, `|`, `:` or a parenthesis", .0.escape_debug())]
    BadCharacter(char),
    #[error("the string is not closed: `\"` is missing on this line")]
    UnclosedString,
    #[error("the raw string is not closed: a back quote is missing")]
    UnclosedRawString,
    #[error("the character constant is not closed: `'` is missing")]
    UnclosedCharacter,
    #[error("`{0}` is not a number")]
    BadNumber(String),
    #[error("`{0}` does not fit in an integer of 64 bits")]
    IntegerOverflow(String),
    #[error("complex numbers such as `{0}` are not supported")]
    Complex(String),
    #[error("the string `{0}` has an escape sequence that does not exist")]
    BadEscape(String),
    #[error("the string `{0}` does not stand for UTF-8 text")]
    NotUtf8(String),
    #[error("`{0}` is not one character")]
    BadCharacterConstant(String),

    // Tokens into a tree.
    #[error("unexpected {found} in {context}")]
    Unexpected { found: String, context: String },
    #[error("the template ends before `{{{{end}}}}` of `{{{{{0}}}}}`")]
    MissingEnd(String),
    #[error("`{{{{{0}}}}}` has nothing to end or to continue")]
    StrayKeyword(String),
    #[error("after `{{{{else}}}}` only `{{{{end}}}}` can come, not `{{{{{0}}}}}`")]
    AfterElse(String),
    #[error("`{{{{{0}}}}}` outside of `{{{{range}}}}`")]
    OutsideRange(String),
    #[error("`{{{{define}}}}` can only stand at the top of a template")]
    NestedDefine,
    #[error("the value of {0} is missing")]
    MissingValue(String),
    #[error("nothing stands between the bars of this pipeline")]
    EmptyCommand,
    #[error("stage {0} of the pipeline is not a function, so nothing can be passed to it")]
    NotExecutable(usize),
    #[error("{0} takes fewer variables than this")]
    TooManyVariables(String),
    #[error("`range` can only declare a second variable, not use something else")]
    RangeVariable,
    #[error("`.` cannot follow `{0}`: it has no fields")]
    NoFieldsAfter(String),
    #[error("there is no function `{name}`")]
    UnknownFunction { name: String },
    #[error("the variable `{0}` is not declared here")]
    UndefinedVariable(String),
    #[error("the template `{0}` is defined twice")]
    DuplicateTemplate(String),
    #[error("the template is nested more than {0} deep")]
    TooDeep(usize),

    // Rendering.
    #[error("there is no template `{0}`")]
    UnknownTemplate(String),
    #[error("`{0}` is not a function, so it takes no arguments")]
    NotAFunction(String),
    #[error("the field `{0}` is not a function, so it takes no arguments")]
    FieldWithArguments(String),
    #[error("`nil` alone is not a command")]
    NilCommand,
    #[error("`nil` has no fields")]
    NilFields,
    #[error("there is no field `{field}` in {type_name}")]
    NoField { field: String, type_name: String },
    #[error("there is no key `{0}`")]
    MissingKey(String),
    #[error("the field `{0}` was asked of nothing")]
    NilField(String),
    #[error("`range` cannot go over {0}")]
    CannotRange(&'static str),
    #[error("`range` over a number declares at most one variable")]
    RangeNumberVariables,
    #[error(
        "`{function}` takes {} {expected} argument{}, not {found}",
        if *.at_least { "at least" } else { "exactly" },
        if *.expected == 1 { "" } else { "s" }
    )]
    ArgumentCount { function: String, expected: usize, found: usize, at_least: bool },
    #[error("an argument of `{function}` must be {expected}, not {found}")]
    ArgumentType { function: String, expected: &'static str, found: String },
    #[error("`{function}`: {message}")]
    Call { function: String, message: String },
    #[error("`{0}` is not known yet")]
    Late(String),
    #[error("templates call each other more than {0} deep")]
    CallDepth(usize),
    #[error("rendering takes more than {0} steps")]
    Steps(u64),
    #[error("the text that is rendered, or a value on the way, is larger than {0} bytes")]
    Output(usize),
}

impl Span {
    /// From the start of one to the end of another.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end.max(self.start) }
    }
}

impl Error {
    /// An error at a place of `source`.
    #[must_use]
    pub fn new(kind: ErrorKind, span: Span, source: &str) -> Self {
        let start = source.floor_char_boundary(span.start.min(source.len()));
        let before = &source[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { kind, span, line, column }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.kind)
    }
}

impl std::error::Error for Error {}
