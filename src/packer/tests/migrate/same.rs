//! What is written, read back as the prelude reads it, declares the same actions as the template, attribute by
//! attribute, the defaults written out: so it has the same keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_kinds::find;
use imgbuild_model::{
    Action, Artifact, AttributeType, Attributes, ChainState, Default as Unsaid, Effect, KindId, Location,
    Role, Step, Value as Data,
};
use imgbuild_packer::lower::{Lowered, Makes};
use proptest::prelude::*;

use crate::cases::all;
use crate::reader::{Call, Value, read};
use crate::support::{Case, WORK, outcome};

/// The parameters of a function of the prelude that are given by place, and those that take one text for a list.
fn parameters(function: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match function {
        "shell" | "shell_local" => (&["inline", "script"], &["inline"]),
        "file" => (&["src", "dest", "content"], &["src"]),
        "download" => (&["src", "dest"], &[]),
        "sleep" => (&["duration"], &[]),
        "breakpoint" => (&["note"], &[]),
        "ansible_local" => (&["playbook_files"], &["playbook_files", "role_paths"]),
        "puppet_masterless" => (&["manifest_file"], &["module_paths"]),
        "salt_masterless" => (&["local_state_tree"], &[]),
        "debian" | "ubuntu" => (&["suite", "packages"], &["packages"]),
        "oci_base" => (&["image", "layout"], &[]),
        "rootfs_tar" => (&["src"], &[]),
        "env" => (&["variables"], &[]),
        "run_as" => (&["user"], &[]),
        "workdir" => (&["path"], &[]),
        "default_shell" | "entrypoint" | "cmd" => (&["command"], &[]),
        "label" => (&["labels"], &[]),
        _ => (&[], &[]),
    }
}

fn seconds(text: &str) -> i64 {
    let mut all = 0;
    let mut number = 0;
    for c in text.chars() {
        match (c.to_digit(10), c) {
            (Some(digit), _) => number = number * 10 + i64::from(digit),
            (None, unit) => {
                all += number
                    * match unit {
                        'h' => 3600,
                        'm' => 60,
                        _ => 1,
                    };
                number = 0;
            }
        }
    }
    all
}

/// A value under the type of its attribute.
fn data(value: &Value, type_: Option<AttributeType>) -> Data {
    match (value, type_) {
        (Value::Text(text), Some(AttributeType::Duration)) => Data::Int(seconds(text)),
        (Value::Text(text), _) => Data::string(text),
        (Value::Bool(value), _) => Data::Bool(*value),
        (Value::Int(number), _) => Data::Int(*number),
        (Value::List(items), _) => Data::list(items.iter().map(|item| data(item, None))),
        (Value::Dict(entries), _) => {
            Data::Dict(entries.iter().map(|(key, value)| (key.as_str().into(), data(value, None))).collect())
        }
        (Value::Call(call), _) => panic!("a call of `{}` as a value", call.function),
    }
}

/// The attributes that a call of the prelude gives its kind.
fn attributes(call: &Call) -> Attributes {
    let (places, lists) = parameters(&call.function);
    let schema = find(&call.function).unwrap_or_else(|| panic!("no kind is called `{}`", call.function));
    match call.function.as_str() {
        "expose" => {
            let port = |value: &Value| match value {
                Value::Int(number) => format!("{number}/tcp"),
                Value::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            };
            let ports = call.given.iter().map(|value| Data::string(&port(value)));
            return [(Arc::from("ports"), Data::list(ports))].into_iter().collect();
        }
        "volume" => {
            let paths = call.given.iter().map(|value| data(value, None));
            return [(Arc::from("paths"), Data::list(paths))].into_iter().collect();
        }
        _ => {}
    }
    let given = places.iter().map(|name| (*name).to_owned()).zip(call.given.iter().cloned());
    assert!(call.given.len() <= places.len(), "too many arguments of `{}`", call.function);
    let mut found = Attributes::default();
    for (name, value) in given.chain(call.named.iter().cloned()) {
        let attribute = schema.attribute(&name).unwrap_or_else(|| panic!("`{}.{name}`", call.function));
        assert!(found.get(&name).is_none(), "`{name}` twice");
        let value = data(&value, Some(attribute.type_));
        let is_one = value.as_str().is_some() && lists.contains(&name.as_str());
        found.set(&name, if is_one { Data::list([value]) } else { value });
    }
    found
}

/// What is compared: an attribute that enters keys, as text, its default written out.
fn keyed(kind: &str, attributes: &Attributes, package: &str) -> BTreeMap<String, String> {
    let schema = find(kind).unwrap_or_else(|| panic!("no kind is called `{kind}`"));
    for (name, _) in attributes.iter() {
        assert!(schema.attribute(name).is_some(), "`{kind}` has no attribute `{name}`");
    }
    let shown = |attribute: &imgbuild_model::AttributeSchema| {
        let default = match attribute.default {
            Unsaid::Required | Unsaid::None => Data::None,
            Unsaid::Bool(value) => Data::Bool(value),
            Unsaid::Int(number) => Data::Int(number),
            Unsaid::String(text) => Data::string(text),
            Unsaid::Strings(texts) => Data::list(texts.iter().map(|text| Data::string(text))),
            Unsaid::EmptyList => Data::list([]),
            Unsaid::EmptyDict => Data::Dict(Arc::default()),
        };
        let value = attributes.get(attribute.name).cloned().unwrap_or(default);
        (attribute.name.to_owned(), show(&value, package))
    };
    let policy = |name: &str| !matches!(name, "workdir" | "dest" | "generated");
    let all = schema
        .attributes
        .iter()
        .filter(|attribute| attribute.role == Role::Content || policy(attribute.name));
    all.map(shown).collect()
}

fn show(value: &Data, package: &str) -> String {
    match value {
        Data::Artifact(Artifact::Source(file)) => {
            let folder =
                format!("{}/", [WORK.trim_start_matches('/'), package].join("/").trim_end_matches('/'));
            let path = file.path.as_str();
            // What is outside is to be copied: only its base name is in keys.
            format!(
                "{:?}",
                path.strip_prefix(&folder).unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path))
            )
        }
        Data::List(items) => {
            let items: Vec<_> = items.iter().map(|item| show(item, package)).collect();
            format!("[{}]", items.join(", "))
        }
        Data::Dict(entries) => {
            let entries: BTreeMap<_, _> =
                entries.iter().map(|(key, value)| (key, show(value, package))).collect();
            format!("{entries:?}")
        }
        Data::String(text) => format!("{text:?}"),
        other => format!("{other:?}"),
    }
}

type Declared = (String, BTreeMap<String, String>, ChainState, Vec<String>);

/// The actions that an `image` declares, as its rule does it.
fn of_image(image: &Call, package: &str) -> Vec<Declared> {
    let calls = |name: &str| match image.argument(name) {
        Some(Value::List(items)) => items.iter().map(call).collect(),
        None => Vec::new(),
        other => panic!("{other:?}"),
    };
    let Some(Value::Text(name)) = image.argument("name") else { panic!("an image has a name") };
    let source = call(image.argument("source").expect("an image has a source"));
    let mut state = ChainState::default();
    let mut declared = vec![(
        source.function.clone(),
        keyed(&source.function, &attributes(source), package),
        state.clone(),
        vec![],
    )];
    for step in calls("steps") {
        let (kind, attributes) = (step.function.as_str(), attributes(step));
        let schema = find(kind).expect("a kind");
        if schema.effect == Effect::State {
            let step = Step { kind: KindId::new(kind), attributes, location: Location::default() };
            state = state.after(&step);
            continue;
        }
        let outputs = if schema.effect == Effect::Output { vec!["files".to_owned()] } else { vec![] };
        declared.push((kind.to_owned(), keyed(kind, &attributes, package), state.clone(), outputs));
    }
    declared.push(("seal".to_owned(), BTreeMap::new(), state.clone(), vec![]));
    for export in calls("exports") {
        let kind = export.function.as_str();
        let mut attributes = attributes(export);
        let ending = match (kind, attributes.str("compression").unwrap_or("zstd")) {
            ("oci", _) => "oci",
            ("docker_archive", _) => "docker.tar",
            (_, "gzip") => "tar.gz",
            (_, "none") => "tar",
            _ => "tar.zst",
        };
        if kind != "tarball" && attributes.get("ref").is_none() {
            attributes.set("ref", Data::string(&format!("{name}:latest")));
        }
        declared.push((
            kind.to_owned(),
            keyed(kind, &attributes, package),
            state.clone(),
            vec![format!("{name}.{ending}")],
        ));
    }
    declared
}

fn call(value: &Value) -> &Call {
    match value {
        Value::Call(call) => call,
        other => panic!("{other:?} where a call is wanted"),
    }
}

/// The actions of a template's build.
fn of_lowered(lowered: &Lowered, package: &str) -> Vec<Declared> {
    let declared = |action: &Arc<Action>| {
        let attributes = action.source.as_ref().map_or(&action.attributes, |source| &source.attributes);
        let state = action.parent.as_ref().map(|parent| (*parent.state).clone()).unwrap_or_default();
        let kind = action.kind.as_str().to_owned();
        let outputs = action.outputs.iter().map(ToString::to_string).collect();
        (kind.clone(), keyed(&kind, attributes, package), state, outputs)
    };
    lowered.actions.iter().map(declared).collect()
}

fn check(case: &Case) -> usize {
    let outcome = outcome(case);
    let images = read(&outcome.migration.text);
    let native: Vec<&Lowered> = outcome.lowered.iter().filter_map(|one| one.as_ref().ok()).collect();
    let native: Vec<_> = native.into_iter().filter(|one| !matches!(one.makes, Makes::File { .. })).collect();
    assert_eq!(images.len(), native.len(), "{}", case.title);
    assert_eq!(outcome.migration.targets.len(), native.len(), "{}", case.title);
    if case.holes {
        return 0;
    }
    for (image, lowered) in images.iter().zip(&native) {
        assert_eq!(image.function, "image");
        let mut written = of_image(image, &case.package);
        // Nothing is sealed where there is no machine.
        written.retain(|one| one.0 != "seal" || matches!(lowered.makes, Makes::Exports(_)));
        assert_eq!(written, of_lowered(lowered, &case.package), "{}", case.title);
        let platforms = image.argument("platforms").map(|value| show(&data(value, None), ""));
        let platform = lowered.configuration.platform.to_string();
        assert!(platforms.is_none_or(|list| list == format!("[{platform:?}]")), "{}", case.title);
    }
    native.len()
}

#[test]
fn what_is_written_declares_the_same_actions() {
    let compared: usize = all().iter().map(check).sum();
    assert!(compared >= 12, "only {compared} builds were compared");
}

proptest! {
    #[test]
    fn any_text_is_written_as_it_is(text in r#"([ -~]|["\\\n\r\t]|\PC){1,40}"#) {
        // A template of Go's is rendered, and what looks like a mark is one.
        prop_assume!(!text.contains("{{") && !text.contains(['\u{27e8}', '\u{27e9}']));
        let step = serde_json::json!({ "type": "file", "destination": "/x", "content": text });
        let builder = serde_json::json!({ "type": "rootfs", "name": "web" });
        let template = serde_json::json!({ "builders": [builder], "provisioners": [step] });
        let files = vec![("web.json".to_owned(), template.to_string())];
        let written = outcome(&Case { title: "any text".to_owned(), files, ..Case::default() }).migration.text;
        let images = read(&written);
        let Some(Value::List(steps)) = images[0].argument("steps") else { panic!("{written}") };
        let found = steps.iter().map(call).find(|step| step.function == "file").and_then(|step| step.argument("content"));
        prop_assert_eq!(found, Some(&Value::Text(text)));
    }
}
