//! Both syntaxes of HCL, expressions, templates, types and the layout of texts.
#![no_main]

use imgbuild_hcl::format::format;
use imgbuild_hcl::syntax::{Source, parse_expression, parse_json, parse_source, parse_template, parse_type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let source = Source::new("x", text);
    let file = parse_source(&source);
    let _ = parse_json("x.json", text);
    let _ = parse_template(&source);
    if let Ok(expression) = parse_expression(&source) {
        let _ = parse_type(&expression);
    }
    let formatted = format(text);
    if file.errors.is_empty() {
        assert_eq!(format(&formatted), formatted, "a second layout changes the first");
        assert!(parse_source(&Source::new("x", formatted)).errors.is_empty(), "the layout cannot be read");
    }
});
