//! Functions that a template may call.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::value::Value;

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// Anything.
    Any,
    /// A text.
    String,
    /// An integer.
    Int,
    /// A truth value.
    Bool,
}

type Body = dyn Fn(&[Value]) -> Result<Value, String> + Send + Sync;

/// A function: what it takes and what it does. The message of a failure stands behind the function's name in the error.
#[derive(Clone)]
pub struct Function {
    pub(crate) params: Vec<Param>,
    pub(crate) rest: Option<Param>,
    /// `None`: its result will be known later.
    pub(crate) body: Option<Arc<Body>>,
}

/// A table of functions by name. Go's own (`printf`, `eq`, …) need not be in it; one of the same name hides Go's.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    by_name: BTreeMap<Arc<str>, Function>,
}

impl Param {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::String => "a string",
            Self::Int => "an integer",
            Self::Bool => "a truth value",
        }
    }
}

impl Function {
    /// A function of exactly these arguments.
    pub fn new(
        params: impl Into<Vec<Param>>,
        body: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        Self { params: params.into(), rest: None, body: Some(Arc::new(body)) }
    }

    /// A function of these arguments whose result will be known later: see [`crate::Template::render_partial`].
    pub fn late(params: impl Into<Vec<Param>>) -> Self {
        Self { params: params.into(), rest: None, body: None }
    }

    /// The same, with any number of further arguments.
    #[must_use]
    pub fn variadic(mut self, rest: Param) -> Self {
        self.rest = Some(rest);
        self
    }
}

impl Functions {
    /// No functions but Go's own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with one more.
    #[must_use]
    pub fn with(mut self, name: &str, function: Function) -> Self {
        self.insert(name, function);
        self
    }

    /// Adds or replaces one.
    pub fn insert(&mut self, name: &str, function: Function) {
        self.by_name.insert(name.into(), function);
    }

    /// The names, in order, without Go's own.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(AsRef::as_ref)
    }

    /// The names of Go's own, in order.
    #[must_use]
    pub fn builtin_names() -> &'static [&'static str] {
        &crate::builtin::NAMES
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Function> {
        self.by_name.get(name)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.body.is_some() { "Function" } else { "LateFunction" };
        f.debug_struct(name).field("params", &self.params).field("rest", &self.rest).finish_non_exhaustive()
    }
}
