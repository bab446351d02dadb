//! Functions of lists, sets, maps, tuples and objects.
//!
//! Those that only move elements around keep the marks of the elements on the elements; only the marks of the
//! container go to the result as a whole.

mod mappings;
mod search;
mod sequences;
mod sets;

use imgbuild_hcl::eval::Functions;
use imgbuild_hcl::value::{Marks, Value};

pub(crate) fn add(functions: &mut Functions) {
    sequences::add(functions);
    search::add(functions);
    mappings::add(functions);
    sets::add(functions);
}

/// The marks of some values themselves.
fn marks_of<'a>(values: impl IntoIterator<Item = &'a Value>) -> Marks {
    let mut marks = Marks::default();
    for value in values {
        marks.extend(value.marks());
    }
    marks
}
