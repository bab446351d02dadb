//! Variables and functions that an expression can use.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Function, Functions};
use crate::value::{Value, normalize};

/// Variables, perhaps functions, and what is around.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    parent: Option<&'a Scope<'a>>,
    variables: BTreeMap<Arc<str>, Value>,
    functions: Option<Arc<Functions>>,
}

impl<'a> Scope<'a> {
    /// Without anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With functions.
    #[must_use]
    pub fn with_functions(functions: Arc<Functions>) -> Self {
        Self { functions: Some(functions), ..Self::default() }
    }

    /// A scope inside this one; its own names hide those outside.
    #[must_use]
    pub fn child(&'a self) -> Self {
        Self { parent: Some(self), variables: BTreeMap::new(), functions: None }
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: Value) {
        self.variables.insert(normalize(name), value);
    }

    pub(super) fn set_shared(&mut self, name: &Arc<str>, value: Value) {
        self.variables.insert(Arc::clone(name), value);
    }

    /// Sets the functions of this scope; those around it can still be called.
    pub fn set_functions(&mut self, functions: Arc<Functions>) {
        self.functions = Some(functions);
    }

    /// This scope, then those around it.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |scope| scope.parent)
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.chain().find_map(|scope| scope.variables.get(name))
    }

    /// A function.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.chain().filter_map(|scope| scope.functions.as_deref()).find_map(|functions| functions.get(name))
    }

    /// All names of variables.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.chain().flat_map(|scope| scope.variables.keys().map(Arc::as_ref)).collect()
    }

    pub(super) fn has_function(&self, name: &str) -> bool {
        self.function(name).is_some()
    }

    /// All names of functions.
    #[must_use]
    pub fn function_names(&self) -> Vec<&str> {
        self.chain().filter_map(|scope| scope.functions.as_deref()).flat_map(Functions::names).collect()
    }
}
