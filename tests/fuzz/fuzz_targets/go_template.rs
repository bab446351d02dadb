//! Go's template language: what can be parsed is rendered, in part and as a whole.
#![no_main]

use imgbuild_gotemplate::{Function, Functions, Limits, Options, Param, Rendered, Template, Value};
use libfuzzer_sys::fuzz_target;

fn functions() -> Functions {
    let upper = |arguments: &[Value]| {
        let text = arguments.first().and_then(Value::as_str).unwrap_or_default();
        Ok(Value::from(text.to_uppercase()))
    };
    Functions::new()
        .with("upper", Function::new([Param::String], upper))
        .with("fails", Function::new([], |_| Err("no".to_owned())).variadic(Param::Any))
        .with("build", Function::late([Param::String]))
}

fn data() -> Value {
    Value::record([
        ("Name", Value::from("web")),
        ("N", Value::Int(3)),
        ("List", Value::list(["a", "b"])),
        ("Map", Value::map([("k", Value::Float(1.5)), ("late", Value::Late)])),
        ("Late", Value::Late),
        ("Nil", Value::Nil),
    ])
}

fuzz_target!(|text: &str| {
    if let Ok(template) = Template::parse_any(text) {
        let _ = template.uses();
    }
    let functions = functions();
    let Ok(template) = Template::parse(text, &functions) else { return };
    let options =
        Options { limits: Limits { steps: 20_000, output: 1 << 20, depth: 200 }, ..Options::default() };
    let data = data();
    if let Err(error) = template.render(&functions, &data, &options) {
        let _ = error.to_string();
    }
    if let Ok(Rendered::Template(rest)) = template.render_partial(&functions, &data, &options) {
        let rest = Template::parse(&rest, &functions).expect("what is left is a template");
        let _ = rest.render(&functions, &data, &options);
    }
});
