//! Go's `text/template` language, as Packer's templates use it.
//!
//! A [`Template`] is parsed once and rendered with data and a table of [`Functions`]. Beside rendering there is
//! [`Template::uses`], which says what a template refers to, and [`Template::render_partial`], which renders what is
//! known now and leaves the rest as a template.
//!
//! What is not here: any function of Packer's, any input or output, any clock.
//!
//! What Go reports is reported here too, in other words. Differences from Go, each because the data has no such thing:
//! strings are UTF-8 (slicing a character in two is an error), there are no complex numbers, methods, channels or
//! functions as values, and `call` therefore always fails. The work that a template can cause is bounded by [`Limits`].

mod analyze;
mod ast;
mod builtin;
mod compare;
mod error;
mod escape;
mod eval;
mod float;
mod function;
mod lex;
mod literal;
mod parse;
mod partial;
mod printf;
mod value;
mod write;

pub use analyze::{FieldUse, FunctionUse, Uses};
pub use ast::Template;
pub use error::{Error, ErrorKind, Span};
pub use eval::{Limits, MissingKey, Options};
pub use function::{Function, Functions, Param};
pub use literal::quote;
pub use partial::Rendered;
pub use value::Value;
