//! The template language from outside: what Go makes of the same templates, errors, analysis, any input.

mod errors;
mod go;
mod late;
mod properties;
