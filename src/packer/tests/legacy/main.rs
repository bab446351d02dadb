//! Templates in JSON, the functions inside of templates, and the verbs for old templates.

mod fix;
mod interpolate;
mod json;
mod support;
mod templates;
mod upgrade;
mod variables;
mod verbs;
