//! The functions that Packer templates can call, with the results that Packer 1.16 gives.
//!
//! All but a few only compute. What comes from outside (the clock, random bytes, files, the environment, stores of
//! secrets) is asked of one [`Host`], so that whoever evaluates a template knows all that a result depends on.
//! `can`, `try` and `convert` are those of `imgbuild-hcl`. Nothing here knows blocks, variables or builds.
//!
//! ```
//! use std::sync::Arc;
//! use imgbuild_hcl::{eval::Scope, syntax, value::Value};
//! use imgbuild_packer_functions::{functions, Host, LocalHost};
//!
//! let host: Arc<dyn Host> = Arc::new(LocalHost::new("/templates"));
//! let scope = Scope::with_functions(Arc::new(functions(&host)));
//! let source = syntax::Source::new("example", r#"join("-", ["web", lower("EU")])"#);
//! let value = syntax::parse_expression(&source).unwrap().evaluate(&scope).unwrap();
//! assert_eq!(value, Value::string("web-eu"));
//! ```

mod collection;
mod crypto;
mod datetime;
mod encoding;
mod filesystem;
mod format;
mod host;
mod network;
mod numeric;
mod outside;
mod pattern;
mod string;
mod yaml;

use std::sync::Arc;

use imgbuild_hcl::eval::{CallError, Functions, Parameter, special_functions};
use imgbuild_hcl::value::{Type, Value};

pub use datetime::layout::go_layout;
pub use filesystem::joined;
pub use host::{FileKind, Host, LocalHost, Observation, SecretError, SecretRequest, Stores};

/// All functions that an expression of a template can call.
///
/// `env` is among them: Packer has it only in the defaults of variables, for which there is [`default_functions`]; a
/// front end warns where it meets it elsewhere.
#[must_use]
pub fn functions(host: &Arc<dyn Host>) -> Functions {
    let mut all = special_functions();
    numeric::add(&mut all);
    string::add(&mut all);
    pattern::add(&mut all);
    format::add(&mut all);
    collection::add(&mut all);
    encoding::add(&mut all);
    yaml::add(&mut all);
    crypto::add(&mut all, host);
    datetime::add(&mut all, host);
    network::add(&mut all);
    outside::add(&mut all, host);
    filesystem::add(&mut all, host);
    all
}

/// The functions that the default of a variable can call: only `env`.
#[must_use]
pub fn default_functions(host: &Arc<dyn Host>) -> Functions {
    let mut all = Functions::new();
    all.add("env", outside::env(host));
    all
}

type Returned = Result<Value, CallError>;

fn text(name: &'static str) -> Parameter {
    Parameter::new(name, Type::String)
}

fn number(name: &'static str) -> Parameter {
    Parameter::new(name, Type::Number)
}

fn any(name: &'static str) -> Parameter {
    Parameter::new(name, Type::Dynamic)
}

/// A type for a sentence: `an object`, `a list of string`. Only null has no type.
fn described(ty: &Type) -> String {
    match ty {
        Type::Dynamic => "null".to_owned(),
        Type::Object(_) => "an object".to_owned(),
        ty => format!("a {}", ty.name()),
    }
}

/// The longest text that a function makes of shorter ones, in bytes.
const LONGEST: usize = 64 << 20;

/// Refuses to make a text of so many bytes.
fn bounded(bytes: usize) -> Result<(), CallError> {
    if bytes <= LONGEST {
        return Ok(());
    }
    Err(CallError::new(format!("the result would have more than {} MiB", LONGEST >> 20)))
}

fn wrong(index: usize, message: impl Into<String>) -> CallError {
    CallError::argument(index, message)
}
