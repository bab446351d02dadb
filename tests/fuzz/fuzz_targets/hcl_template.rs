//! Whole templates in HCL, in either syntax: a line `---` ends the template and begins a file of variables.
#![no_main]

use std::sync::Arc;

use imgbuild_fuzz::{Memory, Nowhere};
use imgbuild_packer::template::{Components, Console, Inputs, inspect, read};
use imgbuild_packer_functions::Host;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (template, variables) = text.split_once("\n---\n").unwrap_or((text, ""));
    let file = |name: &str, text: &str| {
        let syntax = if text.trim_start().starts_with('{') { "json" } else { "hcl" };
        (format!("{name}.{syntax}"), text.to_owned())
    };
    let files = Memory([file("t.pkr", template), file("v.auto.pkrvars", variables)].into());
    let catalog = Components(|_: &str| -> Arc<dyn Host> { Arc::new(Nowhere) });
    let loaded = read(&[".".to_owned()], &Inputs::default(), &files, &catalog);
    let _ = (loaded.diagnostics.to_string(), inspect(&loaded.template));
    let _ = Console::new(&loaded.template).answer("variables");
});
