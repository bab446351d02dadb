//! Expressions and templates of HCL with all functions of Packer's.
#![no_main]

use std::sync::{Arc, LazyLock};

use imgbuild_fuzz::Nowhere;
use imgbuild_hcl::eval::{Function, Functions, Scope, references};
use imgbuild_hcl::syntax::{Source, parse_expression, parse_template};
use imgbuild_hcl::value::{Mark, Marks, Type, Value, to_json};
use imgbuild_packer_functions::{Host, functions};
use libfuzzer_sys::fuzz_target;

static FUNCTIONS: LazyLock<Arc<Functions>> = LazyLock::new(|| {
    let host: Arc<dyn Host> = Arc::new(Nowhere);
    let mut all = functions(&host);
    // It takes as long as its caller asks for.
    all.add("bcrypt", Function::new("").returns(Type::String));
    Arc::new(all)
});

fn scope() -> Scope<'static> {
    let mut scope = Scope::with_functions(Arc::clone(&FUNCTIONS));
    let values = [
        ("n", Value::int(3)),
        ("s", Value::string("été\n")),
        ("list", Value::strings(["a", "b"].map(String::from))),
        ("object", Value::object_of([("a", Value::int(1)), ("b", Value::string("x"))])),
        ("secret", Value::string("hidden").with_marks(&Marks::one(Mark::SENSITIVE))),
        ("late", Value::unknown(Type::String)),
        ("any", Value::dynamic()),
        ("nothing", Value::null(Type::Dynamic)),
    ];
    values.into_iter().for_each(|(name, value)| scope.set(name, value));
    scope
}

fuzz_target!(|text: &str| {
    let source = Source::new("x", text);
    let scope = scope();
    for expression in [parse_expression(&source), parse_template(&source)].into_iter().flatten() {
        let _ = references(&expression);
        match expression.evaluate(&scope) {
            Ok(value) => {
                let _ = (value.to_string(), to_json(&value));
            }
            Err(errors) => {
                let _ = errors.to_string();
            }
        }
    }
});
