//! `select({…})` and sums of it: branches are data already, their types are not checked yet.

use std::fmt;

use allocative::Allocative;
use imgbuild_model::Value as Data;
use starlark::starlark_simple_value;
use starlark::values::dict::DictRef;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, Value, starlark_value,
};

use crate::error::Problem;
use crate::values::convert::to_data;

/// The key of the branch that is taken when no other is.
pub(crate) const DEFAULT: &str = "//conditions:default";

/// One summand.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// A value without choice.
    Value(Data),
    /// One `select({…})`: conditions as written.
    Select(Vec<(String, Data)>),
}

/// `select({…})`, or a sum with one in it.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct SelectValue(#[allocative(skip)] pub(crate) Vec<Part>);
starlark_simple_value!(SelectValue);

impl SelectValue {
    /// What `select()` makes of its dict.
    pub(crate) fn new(branches: &DictRef<'_>) -> Result<Self, Problem> {
        if branches.is_empty() {
            return Err(Problem::new("`select()` has no branches")
                .hint(format!("write `select({{\"//config:arm64\": ..., \"{DEFAULT}\": ...}})`")));
        }
        branches
            .iter()
            .map(|(condition, value)| {
                let condition = condition.unpack_str().ok_or_else(|| {
                    Problem::new(format!(
                        "the conditions of `select()` are labels, one is `{}`",
                        condition.get_type()
                    ))
                })?;
                let value =
                    to_data(value).map_err(|problem| problem.within(&format!("branch `{condition}`")))?;
                Ok((condition.to_owned(), value))
            })
            .collect::<Result<_, Problem>>()
            .map(|branches| Self(vec![Part::Select(branches)]))
    }
}

fn sum<'v>(heap: Heap<'v>, left: Value<'v>, right: Value<'v>) -> starlark::Result<Value<'v>> {
    let mut parts = Vec::new();
    for side in [left, right] {
        match SelectValue::from_value(side) {
            Some(select) => parts.extend(select.0.iter().cloned()),
            None => parts.push(Part::Value(to_data(side)?)),
        }
    }
    Ok(heap.alloc(SelectValue(parts)))
}

#[starlark_value(type = "select")]
impl<'v> StarlarkValue<'v> for SelectValue {
    fn add(&self, rhs: Value<'v>, heap: Heap<'v>) -> Option<starlark::Result<Value<'v>>> {
        let left = heap.alloc(Self(self.0.clone()));
        Some(sum(heap, left, rhs))
    }

    fn radd(&self, lhs: Value<'v>, heap: Heap<'v>) -> Option<starlark::Result<Value<'v>>> {
        let right = heap.alloc(Self(self.0.clone()));
        Some(sum(heap, lhs, right))
    }
}

impl fmt::Display for SelectValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("select({...})")
    }
}
