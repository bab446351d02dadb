//! HCL2 as a language: values ([`value`]), syntax ([`syntax`]), evaluation ([`eval`]) and layout ([`mod@format`]).
//!
//! It knows nothing of Packer, of images, or of input and output; a front end brings variables and functions and walks
//! the bodies. The usual way:
//!
//! ```
//! use imgbuild_hcl::{eval::Scope, syntax, value::Value};
//!
//! let file = syntax::parse("site.pkr.hcl", "name = \"web-${n + 1}\"\n").into_result().unwrap();
//! let mut scope = Scope::new();
//! scope.set("n", Value::int(41));
//! let name = file.body.attribute("name").unwrap().expr.evaluate(&scope).unwrap();
//! assert_eq!(name, Value::string("web-42"));
//! ```

pub mod eval;
pub mod format;
pub mod json;
pub mod syntax;
pub mod value;
