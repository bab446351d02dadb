//! Templates as the `BUILD.star` that builds the same images.

mod cases;
mod reader;
mod same;
mod support;
