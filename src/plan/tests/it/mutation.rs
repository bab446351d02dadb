//! Each input of a key in turn: what can change the bytes changes the key, and nothing else does.

use imgbuild_cache::ActionKey;
use imgbuild_digest::{Digest, Hash};
use imgbuild_model::{
    AttributeType, Default, Effect, KindClass, KindSchema, LayerRef, Role, StateUse, Value,
};
use imgbuild_plan::testing::{
    Declared, answer, context, dict, file, label, locked, made, step, texts, with_state,
};
use imgbuild_plan::{
    Builders, InputDigest, InputDigests, KeyContext, LockFile, Reference, Tools, changes, fingerprint,
};

use crate::samples::{Change, Given, Sample, digests, sample, values, written_out};
use crate::support::{Keys, keys};

fn all() -> impl Iterator<Item = &'static KindSchema> {
    imgbuild_kinds::all().iter().copied()
}

fn kind(name: &str) -> &'static KindSchema {
    imgbuild_kinds::find(name).unwrap()
}

fn keys_of(sample: &Sample) -> Keys {
    keys(context(&sample.graph, &sample.lock, &sample.digests), sample.place)
}

fn with(name: &'static str, value: Value) -> Change {
    Change { given: Given::from([(name, value)]), ..Change::default() }
}

/// Whether the planner gives a kind an action of its own that runs commands of the user's or writes files.
fn is_pinned(schema: &KindSchema, change: &Change) -> bool {
    matches!(schema.id, "debian" | "ubuntu")
        || (schema.id == "oci_base" && change.given.contains_key("image"))
}

#[test]
fn each_attribute_that_changes_bytes_changes_the_key_and_no_other_does() {
    let mut looked_at = 0;
    for schema in all() {
        let plain = sample(schema, &Change::default());
        let plain_keys = keys_of(&plain);
        for attribute in schema.table().all_attributes() {
            let name = format!("`{}.{}`", schema.id, attribute.name);
            let given = values(attribute);
            if attribute.type_ == AttributeType::Image {
                let other = sample(schema, &Change { other_image: Some("false"), ..Change::default() });
                assert_ne!(plain_keys.fixed, keys_of(&other).fixed, "{name}: another image");
                looked_at += 1;
                continue;
            }
            assert!(!given.is_empty(), "{name}: there is no value to try");
            let mut seen = vec![plain_keys];
            for value in given {
                if plain.graph.nodes[plain.place].attributes().get(attribute.name) == Some(&value)
                    || attribute.default == Default::Required && value == values(attribute)[0]
                {
                    continue;
                }
                let change = with(attribute.name, value);
                let other = sample(schema, &change);
                if is_pinned(schema, &change) {
                    // Its meaning is in the pin, so what must change is what the pin is looked up by.
                    let pins = |sample: &Sample| sample.graph.nodes[sample.place].pins();
                    assert_ne!(pins(&plain), pins(&other), "{name} asks for another pin");
                    looked_at += 1;
                    continue;
                }
                let found = keys_of(&other);
                let first_of_chain = other.graph.nodes[other.place].parent.is_none();
                if attribute.role.is_keyed(first_of_chain) {
                    if other.graph.nodes[other.place].impure().is_none() {
                        let fixed: Vec<_> = seen.iter().map(|keys| keys.fixed).collect();
                        assert!(
                            found.fixed.is_some() && !fixed.contains(&found.fixed),
                            "{name} changes the key"
                        );
                    } else {
                        assert_eq!(found.fixed, None, "{name}: what is impure has no key");
                    }
                    let content: Vec<_> = seen.iter().map(|keys| keys.content).collect();
                    // Kinds of state are seen through an export, and `apt_resolve` through what follows from it.
                    assert!(!content.contains(&found.content), "{name} changes the content key");
                    seen.push(found);
                } else if other.graph.nodes[other.place].impure().is_none() {
                    assert_eq!(found, plain_keys, "{name} changes no key");
                } else {
                    assert_eq!((found.fixed, found.content), (None, plain_keys.content), "{name} is policy");
                }
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 150, "only {looked_at} changes were looked at");
}

#[test]
fn a_default_written_out_is_the_default() {
    let mut looked_at = 0;
    for schema in all() {
        let plain = keys_of(&sample(schema, &Change::default()));
        for attribute in schema.table().all_attributes() {
            for value in [
                written_out(attribute.default),
                (attribute.default != Default::Required).then_some(Value::None),
            ]
            .into_iter()
            .flatten()
            {
                let other = keys_of(&sample(schema, &with(attribute.name, value)));
                assert_eq!(plain, other, "`{}.{}`", schema.id, attribute.name);
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 50, "only {looked_at} defaults were looked at");
}

#[test]
fn absent_differs_from_empty_where_a_kind_may_tell_them_apart() {
    for schema in kept() {
        let plain = keys_of(&sample(schema, &Change::default()));
        for attribute in
            schema.table().all_attributes().filter(|attribute| attribute.default == Default::None)
        {
            let empty = match attribute.type_ {
                AttributeType::String => Value::string(""),
                AttributeType::StringList | AttributeType::List(_) | AttributeType::Files => Value::list([]),
                _ => continue,
            };
            let change = with(attribute.name, empty);
            if attribute.role == Role::Content && !is_pinned(schema, &change) {
                let other = keys_of(&sample(schema, &change));
                assert_ne!(plain.fixed, other.fixed, "`{}.{}`", schema.id, attribute.name);
            }
        }
    }
}

/// The kinds whose results are kept: what is done to a machine that is there already has no key.
fn kept() -> impl Iterator<Item = &'static KindSchema> {
    all().filter(|schema| !schema.live)
}

#[test]
fn every_kind_is_keyed_by_platform_parent_and_itself() {
    let mut seen: Vec<(String, ActionKey)> = Vec::new();
    for schema in kept() {
        let plain = sample(schema, &Change::default());
        let key = keys_of(&plain);
        let arm = keys_of(&sample(schema, &Change { platform: Some("arm64"), ..Change::default() }));
        assert_ne!(key.fixed, arm.fixed, "`{}`: the platform", schema.id);
        assert_ne!(key.content, arm.content, "`{}`: the platform", schema.id);
        if schema.class != KindClass::Source {
            let below = keys_of(&sample(schema, &Change { below: Some("/below"), ..Change::default() }));
            assert_ne!(key.fixed, below.fixed, "`{}`: the parent", schema.id);
        }
        let key = key.fixed.unwrap();
        for (other, found) in &seen {
            assert_ne!(*found, key, "`{}` and `{other}` have one key", schema.id);
        }
        seen.push((schema.id.to_owned(), key));
    }
}

#[test]
fn builder_salt_and_the_outputs_of_prerequisites_are_in_every_key() {
    for schema in kept() {
        let Sample { graph, place, lock, digests } = sample(schema, &Change::default());
        let plain = context(&graph, &lock, &digests);
        let key = keys(plain, place);
        for other in [
            KeyContext { builders: &Builders::new(["rootfs/2", "qemu/2"]), ..plain },
            KeyContext { salt: "pepper", ..plain },
        ] {
            let found = keys(other, place);
            assert_ne!((key.fixed, key.content), (found.fixed, found.content), "`{}`", schema.id);
            assert_ne!(key.fixed, found.fixed, "`{}`", schema.id);
            assert_ne!(key.content, found.content, "`{}`", schema.id);
        }
        for tool in graph.nodes[place].tools() {
            let tools = |version: &str| Tools::of(&graph, |name| format!("{name} {version}"));
            let with = |version: &str| keys(KeyContext { tools: &tools(version), ..plain }, place);
            assert_eq!(with("1").fixed, with("1").fixed, "`{tool}`");
            assert_ne!(with("1").fixed, with("2").fixed, "`{tool}`");
            assert_ne!(with("1").content, with("2").content, "`{tool}`");
        }
        for needed in &graph.nodes[place].prerequisites {
            let output = |place: usize| Hash::of(if place == *needed { b"new" } else { b"old" });
            let one = imgbuild_plan::content_key(plain, place, &output);
            let other = imgbuild_plan::content_key(plain, place, &|_| Hash::of(b"old"));
            assert_ne!(one, other, "`{}`: what `{}` made", schema.id, graph.nodes[*needed].describe());
        }
    }
}

#[test]
fn a_static_reference_is_never_taken_for_an_output() {
    let Sample { graph, place, lock, digests } = sample(kind("mkdir"), &Change::default());
    let context = context(&graph, &lock, &digests);
    let hash = Hash::of(b"one");
    let one = fingerprint(context, place, &|_| Reference::Static(hash));
    let other = fingerprint(context, place, &|_| Reference::Output(hash));
    let moved: Vec<_> = changes(&one, &other).into_iter().map(|change| change.component).collect();
    assert_eq!(moved, ["parent"]);
}

#[test]
fn the_state_is_keyed_as_far_as_a_kind_sees_it() {
    /// A kind of state, what it is given, whether commands see it.
    type State = (&'static str, Vec<(&'static str, Value)>, bool);
    let states: [State; 10] = [
        ("env", vec![("variables", dict(&[("A", "1")]))], true),
        ("run_as", vec![("user", Value::string("app"))], true),
        ("workdir", vec![("path", Value::string("/srv"))], true),
        ("default_shell", vec![("command", texts(&["/bin/bash"]))], true),
        ("entrypoint", vec![("command", texts(&["/app"]))], false),
        ("cmd", vec![("command", texts(&["--help"]))], false),
        ("label", vec![("labels", dict(&[("a", "b")]))], false),
        ("expose", vec![("ports", texts(&["80/tcp"]))], false),
        ("volume", vec![("paths", texts(&["/data"]))], false),
        ("stop_signal", vec![("signal", Value::string("SIGINT"))], false),
    ];
    let kinds_of_state = all().filter(|schema| schema.effect == Effect::State).count();
    assert_eq!(states.len(), kinds_of_state, "a kind of state is not tested");
    for schema in all().filter(|schema| schema.class != KindClass::Source && schema.effect != Effect::State) {
        // What joins exports, or is made of several actions, sees the state through them.
        if matches!(schema.id, "index" | "apt_resolve") {
            continue;
        }
        let plain = keys_of(&sample(schema, &Change::default()));
        for (name, given, for_commands) in &states {
            let state = given.iter().map(|(name, value)| (*name, value.clone())).collect();
            let change = Change { state: Some((name, state)), ..Change::default() };
            let seen = match schema.state {
                StateUse::None => false,
                StateUse::Commands => *for_commands,
                StateUse::Image => true,
            };
            let found = keys_of(&sample(schema, &change));
            assert_eq!(found.fixed != plain.fixed, seen, "`{}` after `{name}`", schema.id);
            assert_eq!(found.content != plain.content, seen, "`{}` after `{name}`", schema.id);
        }
    }
}

#[test]
fn a_variable_is_not_taken_for_another_with_a_longer_name() {
    let key = |pairs: &[(&str, &str)]| {
        let mut declared = Declared::default();
        let source = declared.source("scratch", &[]);
        let layer = with_state(&source, |state| {
            state.env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        });
        let step = declared.step(&layer, "shell", &[]);
        let (graph, places) = declared.graph(&[&step.action]);
        keys(context(&graph, &LockFile::default(), &InputDigests::default()), places[0]).fixed
    };
    let all =
        [key(&[("A", "B=C")]), key(&[("A=B", "C")]), key(&[("A", "1"), ("B", "2")]), key(&[("A", "1 B 2")])];
    for (place, one) in all.iter().enumerate() {
        assert!(!all[..place].contains(one), "environment {place}");
    }
}

/// The keys of a kind that reads one file, with the file and what is known of it.
fn reading(
    schema: &'static KindSchema,
    attribute: &'static str,
    value: Value,
    digests: InputDigests,
) -> Keys {
    let sample = Sample { digests, ..sample(schema, &with(attribute, value)) };
    keys_of(&sample)
}

#[test]
fn a_file_is_keyed_by_name_contents_and_execute_bit_but_not_by_where_it_lies() {
    let mut looked_at = 0;
    for schema in all() {
        for attribute in schema.table().all_attributes() {
            let wrap = |value: Value| match attribute.type_ {
                AttributeType::File => Some(value),
                AttributeType::Files => Some(Value::list([value])),
                _ => None,
            };
            let Some(value) = wrap(file("here/a")) else { continue };
            let name = format!("`{}.{}`", schema.id, attribute.name);
            let known = |path: &str, contents: &str, executable: bool| {
                // Beside it is what other attributes of the kind are given.
                imgbuild_plan::testing::digests(&[(path, contents, executable), ("one/a", "other", false)])
            };
            let plain = reading(schema, attribute.name, value.clone(), known("here/a", "a", false));
            let contents = reading(schema, attribute.name, value.clone(), known("here/a", "b", false));
            let executable = reading(schema, attribute.name, value.clone(), known("here/a", "a", true));
            let renamed =
                reading(schema, attribute.name, wrap(file("here/b")).unwrap(), known("here/b", "a", false));
            let moved =
                reading(schema, attribute.name, wrap(file("there/a")).unwrap(), known("there/a", "a", false));
            let path = imgbuild_model::WorkspacePath::new("here/a").unwrap();
            let other = imgbuild_model::WorkspacePath::new("one/a").unwrap();
            let file = InputDigest::File { digest: Digest::of(b"other"), executable: false };
            let tree = InputDigest::Tree(Hash(Digest::of(b"a").bytes));
            let tree = [(path, tree), (other, file)].into_iter().collect();
            let folder = reading(schema, attribute.name, value, tree);
            for (what, other) in
                [("contents", contents), ("execute bit", executable), ("name", renamed), ("a folder", folder)]
            {
                assert_ne!(plain.fixed, other.fixed, "{name}: {what}");
                assert_ne!(plain.content, other.content, "{name}: {what}");
            }
            assert_eq!(plain, moved, "{name}: where it lies");
            looked_at += 1;
        }
    }
    assert!(looked_at >= 6, "only {looked_at} attributes take files");
}

#[test]
fn a_file_that_another_action_makes_is_keyed_by_that_action_in_every_attribute() {
    for schema in all() {
        for attribute in schema.table().all_attributes() {
            if !matches!(attribute.type_, AttributeType::File | AttributeType::Files) {
                continue;
            }
            let key = |command: &str, output: &str| {
                let mut declared = Declared::default();
                let rule = declared.at("//:made").output(
                    None,
                    "genrule",
                    &[("cmd", Value::string(command))],
                    &["x", "y"],
                );
                let value = match attribute.type_ {
                    AttributeType::File => made(&rule, output),
                    _ => Value::list([made(&rule, output)]),
                };
                declared.at("//:image");
                let given = [(attribute.name, value)];
                let wanted = match schema.class {
                    KindClass::Source => declared.source(schema.id, &given).action,
                    KindClass::Step => {
                        let source = declared.source("scratch", &[]);
                        declared.step(&source, schema.id, &given).action
                    }
                    _ => declared.output(None, schema.id, &given, &["out"]),
                };
                let (graph, places) = declared.graph(&[&wanted]);
                let digests = InputDigests::default();
                keys(context(&graph, &LockFile::default(), &digests), places[0]).fixed.unwrap()
            };
            let name = format!("`{}.{}`", schema.id, attribute.name);
            assert_eq!(key("true", "x"), key("true", "x"), "{name}");
            assert_ne!(key("true", "x"), key("false", "x"), "{name}: the action");
            assert_ne!(key("true", "x"), key("true", "y"), "{name}: which of its files");
        }
    }
}

#[test]
fn joined_exports_are_keyed_with_their_order_and_platforms() {
    let key = |platforms: &[&str], text: &str| {
        let mut declared = Declared::default();
        let mut exports = Vec::new();
        for name in platforms {
            let source = declared.on(name).source("scratch", &[]);
            let step = declared.step(&source, "mkdir", &[("path", Value::string(text))]);
            exports.push(declared.output(Some(&step), "oci", &[], &["image"]));
        }
        let joined = declared.on("amd64").join(&exports.iter().collect::<Vec<_>>(), "index");
        let (graph, places) = declared.graph(&[&joined]);
        keys(context(&graph, &LockFile::default(), &InputDigests::default()), places[0]).fixed.unwrap()
    };
    let all = [
        key(&["amd64", "arm64"], "/a"),
        key(&["arm64", "amd64"], "/a"),
        key(&["amd64"], "/a"),
        key(&["amd64", "riscv64"], "/a"),
        key(&["amd64", "arm64"], "/b"),
    ];
    for (place, one) in all.iter().enumerate() {
        assert!(!all[..place].contains(one), "join {place}");
    }
}

#[test]
fn pins_and_epochs_are_keyed_by_what_they_say() {
    let mut declared = Declared::default();
    let debian = declared.at("//:debian").source("debian", &[]);
    let known = declared.step(&debian, "apt_install", &[("packages", texts(&["curl"]))]);
    let changed = declared.step(&known, "shell", &[("inline", texts(&["true"]))]);
    let unknown = declared.step(&changed, "apt_install", &[("packages", texts(&["vim"]))]);
    let image = declared.at("//:oci").source("oci_base", &[("image", Value::string("a/b:1"))]);
    let network = declared.at("//:net").step(&debian, "shell", &[("network", Value::Bool(true))]);
    let wanted = [&debian, &known, &unknown, &image, &network].map(|layer: &LayerRef| &layer.action);
    let (graph, _) = declared.graph(&wanted);
    let digests = InputDigests::default();
    let lock = locked(&graph);
    let mut seen = 0;
    for (place, node) in graph.nodes.iter().enumerate() {
        for request in node.pins() {
            let mut other = lock.clone();
            answer(&mut other, std::slice::from_ref(&request), "2");
            let one = keys(context(&graph, &lock, &digests), place);
            let two = keys(context(&graph, &other, &digests), place);
            assert_ne!(one.fixed, two.fixed, "{request}");
            assert_ne!(one.content, two.content, "{request}");
            seen += 1;
        }
    }
    assert_eq!(seen, 5, "debian, its first list, the indexes, the image, the epoch");
}

#[test]
fn a_networked_step_above_another_goes_out_again_when_the_epoch_moves_even_if_the_lower_one_finds_the_same() {
    let mut declared = Declared::default();
    let source = declared.source("scratch", &[]);
    let first = declared.step(&source, "shell", &[("network", Value::Bool(true))]);
    let second = declared.at("//:child").step(
        &first,
        "shell",
        &[("network", Value::Bool(true)), ("inline", texts(&["get"]))],
    );
    let third = declared.step(&second, "shell", &[("inline", texts(&["true"]))]);
    let (graph, places) = declared.graph(&[&third.action, &second.action]);
    let epochs: Vec<_> = graph.nodes.iter().map(|node| node.epoch.clone()).collect();
    let chain = Some("//:image linux/amd64".to_owned());
    assert_eq!(epochs, [None, chain.clone(), chain, None]);
    let lock = locked(&graph);
    let mut other = lock.clone();
    answer(&mut other, &graph.nodes[places[1]].pins(), "2");
    let digests = InputDigests::default();
    let key = |lock, place| keys(context(&graph, lock, &digests), place).content;
    assert_ne!(key(&lock, places[1]), key(&other, places[1]));
    assert_eq!(
        key(&lock, places[0]),
        key(&other, places[0]),
        "what does not look is spared if nothing moved"
    );
}

#[test]
fn what_cannot_change_the_bytes_changes_no_key() {
    for schema in all() {
        let plain = sample(schema, &Change::default());
        let key = keys_of(&plain);
        let elsewhere =
            keys_of(&sample(schema, &Change { location: Some("other/BUILD.star"), ..Change::default() }));
        assert_eq!(key, elsewhere, "`{}`: where it was written", schema.id);
        // The digests of files that it does not read, pins that it does not look up.
        let mut lock = plain.lock.clone();
        lock.set_epoch("//:nobody linux/amd64", "x");
        let digests: InputDigests = imgbuild_plan::testing::digests(&[
            ("one/a", "a", false),
            ("two/b", "b", false),
            ("three/c", "c", false),
            ("unread", "x", true),
        ]);
        assert_eq!(
            key,
            keys(context(&plain.graph, &lock, &digests), plain.place),
            "`{}`: what it does not read",
            schema.id
        );
        for attribute in
            schema.attributes.iter().filter(|attribute| attribute.type_ == AttributeType::StringDict)
        {
            let one = keys_of(&sample(schema, &with(attribute.name, dict(&[("A", "1"), ("B", "2")]))));
            let other = keys_of(&sample(schema, &with(attribute.name, dict(&[("B", "2"), ("A", "1")]))));
            assert_eq!(one, other, "`{}.{}`: the order of keys", schema.id, attribute.name);
        }
    }
}

#[test]
fn the_targets_name_is_in_no_key_but_an_exports_reference_and_what_runs_on_the_host() {
    for schema in
        all().filter(|schema| matches!(schema.class, KindClass::Step) && schema.effect != Effect::State)
    {
        let key = |target: &str| {
            let mut declared = Declared::default();
            let debian = declared.at(target).source("debian", &[]);
            let given: Vec<_> = schema
                .attributes
                .iter()
                .filter(|attribute| {
                    attribute.default == Default::Required && attribute.type_ != AttributeType::Image
                })
                .map(|attribute| (attribute.name, values(attribute)[0].clone()))
                .collect();
            let step = declared.step(&debian, schema.id, &given);
            let (graph, places) = declared.graph(&[&step.action]);
            let changes_host = graph.nodes[places[0]].changes_host();
            (keys(context(&graph, &locked(&graph), &digests()), places[0]), changes_host)
        };
        let ((one, changes_host), (two, _)) = (key("//:one"), key("//other:two"));
        // What one target's command does to the host has not been done for another.
        assert_eq!(one == two, !changes_host, "`{}`", schema.id);
    }
    let export = |target: &str| {
        let mut declared = Declared::default();
        let source = declared.at(target).source("scratch", &[]);
        let export = declared.output(Some(&source), "oci", &[], &["image"]);
        let (graph, places) = declared.graph(&[&export]);
        keys(context(&graph, &LockFile::default(), &digests()), places[0])
    };
    assert_ne!(export("//:one").fixed, export("//:two").fixed, "the name is written into the layout");
}

#[test]
fn the_name_of_a_copied_image_is_not_in_the_key() {
    let key = |target: &str| {
        let mut declared = Declared::default();
        let other = declared.at(target).source("scratch", &[]);
        let source = declared.at("//:image").source("scratch", &[]);
        let given =
            [("image", Value::Layer(other)), ("src", Value::string("/a")), ("dest", Value::string("/b"))];
        let step = declared.step(&source, "copy_from", &given);
        let (graph, places) = declared.graph(&[&step.action]);
        keys(context(&graph, &LockFile::default(), &digests()), places[0])
    };
    assert_eq!(key("//:one"), key("//:two"));
}

#[test]
fn what_the_steps_of_an_image_say_is_in_the_key_of_what_writes_its_history() {
    let key = |kind: &str, command: &str| {
        let mut declared = Declared::default();
        let source = declared.source("scratch", &[]);
        let layer = declared.step(&source, "shell", &[("inline", texts(&[command]))]);
        let export = declared.output(Some(&layer), kind, &[], &["out"]);
        let (graph, places) = declared.graph(&[&export]);
        keys(context(&graph, &LockFile::default(), &digests()), places[0]).content
    };
    // Equal bytes of the layers, as the content keys show, and yet another history.
    assert_ne!(key("oci", "true"), key("oci", "true # again"));
    assert_ne!(key("docker_archive", "true"), key("docker_archive", "true # again"));
    assert_eq!(key("tarball", "true"), key("tarball", "true # again"), "a tarball has none");
}

#[test]
fn checks_are_keyed_by_kind_order_and_number() {
    let check = |kind: &str, path: &str| step(kind, &[("path", Value::string(path))]);
    let key = |checks: Vec<Value>| {
        keys_of(&sample(kind("image_test"), &with("checks", Value::list(checks)))).fixed.unwrap()
    };
    let all = [
        key(vec![check("file_exists", "/a")]),
        key(vec![check("file_absent", "/a")]),
        key(vec![check("file_exists", "/a"), check("file_exists", "/b")]),
        key(vec![check("file_exists", "/b"), check("file_exists", "/a")]),
        key(vec![check("file_exists", "/a"), check("file_exists", "/a")]),
        key(vec![]),
    ];
    for (place, one) in all.iter().enumerate() {
        assert!(!all[..place].contains(one), "checks {place}");
    }
}

#[test]
fn outputs_are_keyed_by_name_and_order() {
    let key = |outputs: &[&'static str]| {
        let change = Change { outputs: Some(outputs.to_vec()), ..Change::default() };
        keys_of(&sample(kind("genrule"), &change)).fixed.unwrap()
    };
    let all = [key(&["a"]), key(&["b"]), key(&["a", "b"]), key(&["b", "a"]), key(&["ab"])];
    for (place, one) in all.iter().enumerate() {
        assert!(!all[..place].contains(one), "outputs {place}");
    }
}

#[test]
fn what_is_never_kept_and_all_above_it_has_no_static_key() {
    let mut declared = Declared::default();
    let source = declared.source("scratch", &[]);
    let impure = declared.step(&source, "shell", &[("cache", Value::Bool(false))]);
    let above = declared.step(&impure, "mkdir", &[("path", Value::string("/a"))]);
    let other = declared.at("//:other").source("scratch", &[]);
    let given =
        [("image", Value::Layer(above.clone())), ("src", Value::string("/a")), ("dest", Value::string("/b"))];
    let copied = declared.step(&other, "copy_from", &given);
    let host = declared.output(
        None,
        "genrule",
        &[("cmd", Value::string("true")), ("host", Value::Bool(true))],
        &["x"],
    );
    let read = declared.step(
        &other,
        "file",
        &[("src", Value::list([made(&host, "x")])), ("dest", Value::string("/x"))],
    );
    let (graph, places) =
        declared.graph(&[&impure.action, &above.action, &copied.action, &host, &read.action]);
    let digests = InputDigests::default();
    for place in places {
        let found = keys(context(&graph, &LockFile::default(), &digests), place);
        assert_eq!(found.fixed, None, "{}", graph.nodes[place].describe());
    }
    let label = label("//:other");
    assert!(graph.nodes.iter().any(|node| *node.label() == label));
}

#[test]
fn a_test_knows_the_machine_that_is_started_for_it_and_not_only_its_disk() {
    let key = |given: &[(&str, Value)]| {
        let mut declared = Declared::default();
        let disk = [("disk", file("one/a"))];
        let layer = declared.source("boot", &[&disk, given].concat());
        let checks = [("checks", Value::list([]))];
        let test = declared.output(Some(&layer), "image_test", &checks, &["test.json"]);
        let (graph, places) = declared.graph(&[&test]);
        keys(context(&graph, &LockFile::default(), &digests()), places[0])
    };
    let plain = key(&[]);
    for given in [
        [("console", Value::string("up"))],
        [("seed", Value::string("nocloud"))],
        [("machine_type", Value::string("q35"))],
    ] {
        let other = key(&given);
        assert_ne!(plain.fixed, other.fixed, "{given:?}");
        assert_ne!(plain.content, other.content, "{given:?}");
    }
    // What is its default may be said, and what no result depends on may be anything.
    for given in [[("seed", Value::string("none"))], [("memory", Value::Int(4096))]] {
        assert_eq!(plain.content, key(&given).content, "{given:?}");
    }
}
