//! A graph around an action of each kind, and values of each type: driven by the schemas, so that what is added there is
//! tested here.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_model::{
    ActionRef, AttributeSchema, AttributeType, Default, Effect, KindClass, KindSchema, LayerRef, Value,
};
use imgbuild_plan::testing::{Declared, dict, file, locked, step, texts};
use imgbuild_plan::{ActionGraph, InputDigests, LockFile};

/// Values by attribute.
pub type Given = BTreeMap<&'static str, Value>;

/// A graph with the action that is looked at.
pub struct Sample {
    pub graph: ActionGraph,
    pub place: usize,
    pub lock: LockFile,
    pub digests: InputDigests,
}

/// The files that values of samples name.
pub fn digests() -> InputDigests {
    imgbuild_plan::testing::digests(&[("one/a", "a", false), ("two/b", "b", false), ("three/c", "c", false)])
}

/// What an attribute must at least be for its kind to make sense.
fn needed(schema: &KindSchema) -> Given {
    schema
        .attributes
        .iter()
        .filter(|attribute| attribute.default == Default::Required)
        .filter_map(|attribute| Some((attribute.name, values(attribute).first()?.clone())))
        .collect()
}

/// Three values of an attribute's type, none of them its default, no two alike. A layer is not among them: it needs a
/// graph.
pub fn values(attribute: &AttributeSchema) -> Vec<Value> {
    let candidates = match attribute.type_ {
        AttributeType::String | AttributeType::Any => {
            ["/one", "/two", "/three", "/four"].map(Value::string).to_vec()
        }
        AttributeType::Int | AttributeType::Duration | AttributeType::GoDuration => {
            [7, 8, 9, 10].map(Value::Int).to_vec()
        }
        AttributeType::Bool => [true, false].map(Value::Bool).to_vec(),
        AttributeType::StringList => {
            vec![texts(&["one"]), texts(&["one", "two"]), texts(&["onetwo"]), texts(&["two", "one"])]
        }
        AttributeType::List(AttributeType::Int) => [vec![7], vec![7, 8], vec![8, 7], vec![78]]
            .map(|numbers| Value::list(numbers.into_iter().map(Value::Int)))
            .to_vec(),
        AttributeType::StringDict => {
            vec![
                dict(&[("A", "1")]),
                dict(&[("A", "2")]),
                dict(&[("B", "1")]),
                dict(&[("A", "1"), ("B", "2")]),
            ]
        }
        AttributeType::Secrets => {
            vec![
                dict(&[("a", "env:A")]),
                dict(&[("a", "env:B")]),
                dict(&[("b", "env:A")]),
                dict(&[("a", "env:A#field")]),
            ]
        }
        AttributeType::Mode => ["0600", "0640", "0755", "4755"].map(Value::string).to_vec(),
        AttributeType::Enum(words) | AttributeType::EnumAnyCase(words) => {
            words.iter().map(|word| Value::string(word)).collect()
        }
        AttributeType::File => vec![file("one/a"), file("two/b"), file("three/c")],
        AttributeType::Files => vec![
            Value::list([file("one/a")]),
            Value::list([file("one/a"), file("two/b")]),
            Value::list([file("two/b"), file("one/a")]),
        ],
        AttributeType::Steps => vec![
            Value::list([step("file_exists", &[("path", Value::string("/a"))])]),
            Value::list([step("file_absent", &[("path", Value::string("/a"))])]),
            Value::list([step("file_exists", &[("path", Value::string("/b"))])]),
        ],
        AttributeType::Image => Vec::new(),
        AttributeType::List(AttributeType::StringList) => {
            vec![
                Value::list([texts(&["one"])]),
                Value::list([texts(&["one", "two"])]),
                Value::list([texts(&["one"]), texts(&["two"])]),
            ]
        }
        AttributeType::Bytes => {
            [vec![7], vec![7, 8]].map(|numbers| Value::list(numbers.into_iter().map(Value::Int))).to_vec()
        }
        AttributeType::Number | AttributeType::Trilean | AttributeType::List(_) | AttributeType::Dict(_) => {
            unreachable!("kinds of `BUILD.star` have no such attributes")
        }
    };
    candidates.into_iter().filter(|value| !is_default(attribute.default, value)).take(3).collect()
}

/// What an attribute is when it is not given, as a value that can be written.
pub fn written_out(default: Default) -> Option<Value> {
    Some(match default {
        Default::Required | Default::None => return None,
        Default::Bool(value) => Value::Bool(value),
        Default::Int(number) => Value::Int(number),
        Default::String(text) => Value::string(text),
        Default::Strings(words) => texts(words),
        Default::EmptyList => Value::list([]),
        Default::EmptyDict => dict(&[]),
    })
}

fn is_default(default: Default, value: &Value) -> bool {
    written_out(default).as_ref() == Some(value)
}

/// How a sample is to differ from the plain one.
#[derive(Clone, Default)]
pub struct Change {
    /// Attributes given besides those that are needed, or in place of them.
    pub given: Given,
    /// The platform; `amd64` if absent.
    pub platform: Option<&'static str>,
    /// What a step below the action writes, so that the parent is another.
    pub below: Option<&'static str>,
    /// The state that the action sees.
    pub state: Option<(&'static str, Vec<(&'static str, Value)>)>,
    /// The file in the program where things are said to stand.
    pub location: Option<&'static str>,
    /// The names of the outputs.
    pub outputs: Option<Vec<&'static str>>,
    /// What the other image of a `copy_from` writes.
    pub other_image: Option<&'static str>,
}

/// A graph whose last action is of this kind.
pub fn sample(schema: &'static KindSchema, change: &Change) -> Sample {
    let mut declared = Declared::default();
    declared.on(change.platform.unwrap_or("amd64"));
    declared.location.file = change.location.unwrap_or("BUILD.star").into();
    let mut given = needed(schema);
    given.extend(change.given.clone());
    for attribute in schema.attributes.iter().filter(|attribute| attribute.type_ == AttributeType::Image) {
        let below = declared.at("//:other").source("scratch", &[]);
        let inline = texts(&[change.other_image.unwrap_or("true")]);
        given.insert(attribute.name, Value::Layer(declared.step(&below, "shell", &[("inline", inline)])));
    }
    let given: Vec<(&str, Value)> = given.into_iter().collect();
    declared.at("//:image");
    let layer = |declared: &mut Declared| -> LayerRef {
        let mut layer = declared.source("debian", &[]);
        if let Some(text) = change.below {
            layer = declared.step(&layer, "mkdir", &[("path", Value::string(text))]);
        }
        if let Some((kind, given)) = &change.state {
            layer = declared.step(&layer, kind, given);
        }
        layer
    };
    let outputs = change.outputs.clone().unwrap_or_else(|| vec!["out"]);
    let wanted: Arc<ActionRef> = match schema.class {
        KindClass::Source => declared.source(schema.id, &given).action,
        KindClass::Step if schema.effect == Effect::State => {
            let parent = layer(&mut declared);
            let parent = declared.step(&parent, schema.id, &given);
            declared.output(Some(&parent), "oci", &[], &outputs)
        }
        KindClass::Step => {
            let parent = layer(&mut declared);
            declared.step(&parent, schema.id, &given).action
        }
        // Made by the planner, in front of an `apt_install` whose packages it does not know.
        KindClass::Command if schema.id == "apt_resolve" => {
            let parent = layer(&mut declared);
            let parent = declared.step(&parent, "shell", &[("inline", texts(&["true"]))]);
            declared.step(&parent, "apt_install", &given).action
        }
        KindClass::Export if schema.id == "index" => {
            let parent = layer(&mut declared);
            let export = declared.output(Some(&parent), "oci", &[], &["image"]);
            let joined = declared.join(&[&export], outputs[0]);
            declared.change(&joined, |action| action.attributes = imgbuild_plan::testing::attributes(&given));
            joined
        }
        KindClass::Test if !matches!(schema.id, "image_test" | "image_diff") => {
            let parent = layer(&mut declared);
            let checks = Value::list([step(schema.id, &given)]);
            declared.output(Some(&parent), "image_test", &[("checks", checks)], &outputs)
        }
        KindClass::Export | KindClass::Command | KindClass::Test => {
            let parent = layer(&mut declared);
            declared.output(Some(&parent), schema.id, &given, &outputs)
        }
        _ => unreachable!("`BUILD.star` names no {}", schema.class.word()),
    };
    let (graph, places) = declared.graph(&[&wanted]);
    let place = match schema.id {
        "apt_resolve" => graph.nodes[places[0]].resolve.unwrap(),
        _ => places[0],
    };
    let lock = locked(&graph);
    Sample { graph, place, lock, digests: digests() }
}
