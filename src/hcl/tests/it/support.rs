//! What the tests share: a scope with a value of every kind, and a rendering of values that shows their types.

use std::cell::RefCell;
use std::sync::Arc;

use imgbuild_hcl::eval::{CallError, Function, Functions, Parameter, Scope, special_functions};
use imgbuild_hcl::format;
use imgbuild_hcl::syntax::{self, Source};
use imgbuild_hcl::value::{Mark, Number, Type, Value, from_json, to_json, unify};

/// Functions that stand for those of a front end.
pub fn functions() -> Arc<Functions> {
    let mut all = special_functions();
    let text = || Parameter::new("str", Type::String);
    for name in ["upper", "a::upper", "a::b::upper"] {
        let upper = Function::new("").parameter(text()).returns(Type::String);
        all.add(name, upper.runs(|a| Ok(Value::string(a.str(0).to_uppercase()))));
    }
    let max =
        Function::new("").variadic(Parameter::new("numbers", Type::Number)).returns(Type::Number).runs(|a| {
            let numbers: Vec<&Number> = a.all().iter().filter_map(Value::as_number).collect();
            let largest =
                numbers.into_iter().max().ok_or_else(|| CallError::new("it needs at least one number"))?;
            Ok(Value::number(largest.clone()))
        });
    all.add("max", max);
    let any = || Parameter::new("value", Type::Dynamic);
    all.add(
        "length",
        Function::new("").parameter(any().allow_dynamic()).returns(Type::Number).runs(|a| {
            let count = a.get(0).len().ok_or_else(|| CallError::argument(0, "a collection is required"))?;
            Ok(Value::int(count as i64))
        }),
    );
    all.add(
        "jsonencode",
        Function::new("").parameter(any().allow_null().wholly_known()).returns(Type::String).runs(|a| {
            to_json(&a.get(0)).map(Value::string).map_err(|error| CallError::argument(0, error.to_string()))
        }),
    );
    all.add(
        "jsondecode",
        Function::new("")
            .parameter(text())
            .runs(|a| from_json(a.str(0)).map_err(|error| CallError::argument(0, error.to_string()))),
    );
    all.add(
        "floor",
        Function::new("")
            .parameter(Parameter::new("num", Type::Number))
            .returns(Type::Number)
            .runs(|a| Ok(Value::number(a.number(0)?.floor()))),
    );
    all.add(
        "concat",
        Function::new("").variadic(Parameter::new("seqs", Type::Dynamic)).runs(|a| {
            let elements: Vec<Value> =
                a.all().iter().flat_map(|v| v.elements().unwrap_or_default().to_vec()).collect();
            let types: Vec<Type> = a.all().iter().map(|value| value.ty().clone()).collect();
            Ok(match unify(&types).and_then(|ty| ty.element().cloned()) {
                Some(element) => Value::list(element, elements),
                None => Value::tuple(elements),
            })
        }),
    );
    Arc::new(all)
}

/// Variables of all kinds.
pub fn scope() -> Scope<'static> {
    let mut scope = Scope::with_functions(functions());
    let strings = |all: &[&str]| Value::strings(all);
    let object = |all: Vec<(&str, Value)>| Value::object_of(all);
    let secret = || Value::string("secret").mark(Mark::SENSITIVE);
    let pairs = |all: &[(&str, &str)]| {
        Value::map(Type::String, all.iter().map(|(k, v)| ((*k).into(), Value::string(v))).collect())
    };
    let tagged = |id, tags: &[&str]| object(vec![("id", Value::int(id)), ("tags", strings(tags))]);
    let ids: Vec<Value> = [1, 2].map(|id| object(vec![("id", Value::int(id))])).to_vec();
    let all = [
        ("t", Value::bool(true)),
        ("f", Value::bool(false)),
        ("n", Value::int(3)),
        ("s", Value::string("str")),
        ("e", Value::string("")),
        ("l", strings(&["a", "b", "c"])),
        ("nums", Value::list(Type::Number, [1, 2, 3].map(Value::int).to_vec())),
        ("m", pairs(&[("z", "1"), ("a", "2"), ("m", "3")])),
        ("st", Value::set(Type::String, vec![Value::string("y"), Value::string("x")])),
        (
            "o",
            object(vec![
                ("k", Value::string("v")),
                ("n", Value::int(1)),
                ("l", strings(&["p", "q"])),
                ("o", object(vec![("x", Value::bool(true))])),
            ]),
        ),
        ("a", Value::tuple(vec![tagged(1, &["t1", "t2"]), tagged(2, &["t3", "t4"])])),
        ("la", Value::list(ids[0].ty().clone(), ids)),
        ("nul", Value::null(Type::Dynamic)),
        ("nuls", Value::null(Type::String)),
        ("null_list", Value::null(Type::list(Type::String))),
        ("u", Value::dynamic()),
        ("us", Value::unknown(Type::String)),
        ("un", Value::unknown(Type::Number)),
        ("ub", Value::unknown(Type::Bool)),
        ("ul", Value::unknown(Type::list(Type::String))),
        ("um", Value::unknown(Type::map(Type::String))),
        ("el", Value::list(Type::String, Vec::new())),
        ("em", Value::map(Type::String, Default::default())),
        ("et", Value::tuple(Vec::new())),
        ("eo", Value::object(Default::default())),
        ("sec", secret()),
        ("seco", object(vec![("p", secret()), ("q", Value::string("q"))])),
        ("secl", strings(&["a", "b"]).mark(Mark::SENSITIVE)),
        ("secb", Value::bool(true).mark(Mark::SENSITIVE)),
        ("secn", Value::int(5).mark(Mark::SENSITIVE)),
    ];
    for (name, value) in all {
        scope.set(name, value);
    }
    scope
}

/// A value with its kinds of collections: `list["a"]`, `map{"a"=1}`, `unknown(string)`, `sensitive("x")`.
pub fn render(value: &Value) -> String {
    let (inner, marks) = value.clone().unmark();
    let text = if !inner.is_known() {
        format!("unknown({})", inner.ty().name())
    } else if inner.is_null() {
        format!("null({})", inner.ty().name())
    } else if let Some(text) = inner.as_str() {
        to_json(&Value::string(text))
            .unwrap()
            .replace("\\u003c", "<")
            .replace("\\u003e", ">")
            .replace("\\u0026", "&")
    } else if let Some(elements) = inner.elements() {
        let prefix = match inner.ty() {
            Type::List(_) => "list",
            Type::Set(_) => "set",
            _ => "",
        };
        format!("{prefix}[{}]", elements.iter().map(render).collect::<Vec<_>>().join(","))
    } else if let Some(entries) = inner.entries() {
        let prefix = if matches!(inner.ty(), Type::Map(_)) { "map" } else { "" };
        let parts =
            entries.iter().map(|(name, value)| format!("{}={}", render(&Value::string(name)), render(value)));
        format!("{prefix}{{{}}}", parts.collect::<Vec<_>>().join(","))
    } else {
        inner.to_string()
    };
    if marks.is_empty() { text } else { format!("sensitive({text})") }
}

const KINDS: [(&str, usize); 4] = [("b", 0), ("l", 1), ("m", 2), ("dynamic", 1)];

fn blocks(blocks: &[syntax::Block], inner: impl Fn(&syntax::Body) -> String) -> Vec<String> {
    let block = |block: &syntax::Block| {
        let labels: String = block.labels.iter().map(|label| format!(" {:?}", label.text)).collect();
        format!("{}{labels}{{{}}}", block.kind, inner(&block.body))
    };
    blocks.iter().map(block).collect()
}

/// A body whose kinds of blocks are known, with `dynamic` blocks expanded.
fn expanded(body: &syntax::Body, scope: &Scope<'_>, errors: &RefCell<Vec<String>>) -> String {
    let failed = |found: Vec<_>| errors.borrow_mut().extend(found.iter().map(ToString::to_string));
    let content = body.content(&KINDS);
    failed(content.errors);
    let body = content.body.expand(scope);
    failed(body.errors);
    let mut parts = Vec::new();
    for attribute in &body.body.attributes {
        match attribute.expr.evaluate(scope) {
            Ok(value) => parts.push(format!("{}={}", attribute.name, render(&value))),
            Err(found) => failed(found.0),
        }
    }
    parts.extend(blocks(&body.body.blocks, |body| expanded(body, scope, errors)));
    parts.join(";")
}

fn body(body: &syntax::Body, scope: &Scope<'_>, errors: &mut Vec<String>) -> String {
    let mut parts = Vec::new();
    for attribute in &body.attributes {
        match attribute.expr.evaluate(scope) {
            Ok(value) => parts.push(format!("{}={}", attribute.name, render(&value))),
            Err(found) => errors.push(found.to_string()),
        }
    }
    for block in &body.blocks {
        let labels: String = block.labels.iter().map(|label| format!(" {:?}", label.text)).collect();
        parts.push(format!("{}{labels}{{{}}}", block.kind, self::body(&block.body, scope, errors)));
    }
    parts.join(";")
}

/// What a text evaluates to, or the errors.
pub fn run(kind: &str, text: &str) -> Result<String, String> {
    let scope = scope();
    let source = Source::new("x", text);
    match kind {
        "fmt" => return Ok(serde_json::to_string(&format::format(text)).unwrap()),
        "expr" => syntax::parse_expression(&source),
        "template" => syntax::parse_template(&source),
        "file" => {
            let file = syntax::parse_source(&source).into_result().map_err(|errors| errors.to_string())?;
            let mut errors = Vec::new();
            let text = body(&file.body, &scope, &mut errors);
            return if errors.is_empty() { Ok(text) } else { Err(errors.join("\n")) };
        }
        "body" | "jsonbody" => {
            let file =
                if kind == "body" { syntax::parse_source(&source) } else { syntax::parse_json("x", text) };
            let file = file.into_result().map_err(|errors| errors.to_string())?;
            let errors = RefCell::default();
            let text = expanded(&file.body, &scope, &errors);
            let errors = errors.into_inner();
            return if errors.is_empty() { Ok(text) } else { Err(errors.join("\n")) };
        }
        "json" => {
            let file = syntax::parse_json("x", text).into_result().map_err(|errors| errors.to_string())?;
            let file = file.body.content(&[]).into_result().map_err(|errors| errors.to_string())?;
            let mut errors = Vec::new();
            let text = body(&file.body, &scope, &mut errors);
            return if errors.is_empty() { Ok(text) } else { Err(errors.join("\n")) };
        }
        "jsontype" => {
            let file = syntax::parse_json("x", text).into_result().map_err(|errors| errors.to_string())?;
            return syntax::parse_type(&file.body.attributes[0].expr)
                .map(|constraint| constraint.ty.without_optional().to_string())
                .map_err(|errors| errors.to_string());
        }
        "default" => {
            let (ty, value) = text.split_once(" <- ").expect("a type, ` <- ` and a value");
            let read = |text: &str| {
                syntax::parse_expression(&Source::new("x", text)).map_err(|errors| errors.to_string())
            };
            let constraint = syntax::parse_type(&read(ty)?).map_err(|errors| errors.to_string())?;
            let value = read(value)?.evaluate(&scope).map_err(|errors| errors.to_string())?;
            return constraint.apply(&value).map(|value| render(&value)).map_err(|error| error.to_string());
        }
        "type" => {
            return syntax::parse_expression(&source)
                .and_then(|expression| syntax::parse_type(&expression))
                .map(|constraint| constraint.ty.without_optional().to_string())
                .map_err(|errors| errors.to_string());
        }
        other => panic!("there is no kind `{other}` of programs"),
    }
    .and_then(|expression| expression.evaluate(&scope))
    .map(|value| render(&value))
    .map_err(|errors| errors.to_string())
}
