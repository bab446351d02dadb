//! The values that Starlark code holds: thin wrappers of the model's types, without behaviour of their own beyond
//! attributes and printing. What rules and providers are is in `rule` and `provider`.

pub(crate) mod convert;
pub(crate) mod dependency;
pub(crate) mod plain;
pub(crate) mod provider;
pub(crate) mod rule;
pub(crate) mod select;
