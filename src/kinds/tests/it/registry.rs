//! What holds for each component's tables.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use imgbuild_kinds::{POST_PROCESSOR_META, PROVISIONER_META, classes_of, component, components, suggest};
use imgbuild_model::{AttributeSchema, AttributeType, Availability, Default, KindClass, Rule, Table};

/// Each table with what it belongs to: bodies of components, of their blocks, meta-arguments.
fn tables() -> Vec<(String, Table)> {
    let mut tables: Vec<_> = components()
        .map(|schema| (format!("{} {}", schema.class.word(), schema.id), schema.table()))
        .chain([
            ("provisioners".to_owned(), PROVISIONER_META),
            ("post-processors".to_owned(), POST_PROCESSOR_META),
        ])
        .collect();
    let mut next = 0;
    while let Some((name, table)) = tables.get(next).cloned() {
        tables.extend(table.all_blocks().map(|block| (format!("{name}.{}", block.name), block.table)));
        next += 1;
    }
    tables
}

#[test]
fn ids_are_unique_within_a_class_and_documented() {
    let mut seen = HashSet::new();
    for schema in components() {
        assert!(
            seen.insert((schema.class.word(), schema.id)),
            "{} `{}` twice",
            schema.class.word(),
            schema.id
        );
        assert!(schema.doc.ends_with('.'), "`{}`: {:?}", schema.id, schema.doc);
        let mut outputs = HashSet::new();
        for output in schema.outputs {
            assert!(outputs.insert(output.name), "`{}`: output `{}` twice", schema.id, output.name);
            assert!(output.doc.ends_with('.'), "`{}.{}`", schema.id, output.name);
        }
    }
}

#[test]
fn names_are_unique_within_a_body_and_documented() {
    for (place, table) in tables() {
        let mut names = HashSet::new();
        for name in table.names() {
            assert!(!name.is_empty() && names.insert(name), "`{name}` twice in {place}");
        }
        for attribute in table.all_attributes() {
            assert!(attribute.doc.ends_with('.'), "{place}.{}: {:?}", attribute.name, attribute.doc);
        }
        for block in table.all_blocks() {
            assert!(block.doc.ends_with('.'), "{place}.{}: {:?}", block.name, block.doc);
            assert!(block.max.is_none_or(|max| max >= block.min && max > 0), "{place}.{}", block.name);
        }
    }
}

/// Whether a default is a value of the type.
fn fits(default: Default, type_: AttributeType) -> bool {
    use AttributeType as Type;
    match (default, type_) {
        (Default::Required | Default::None, _) => true,
        (Default::Bool(_), type_) => type_ == Type::Bool,
        (Default::Int(_), type_) => matches!(type_, Type::Int | Type::Number),
        (Default::String(text), Type::Enum(words) | Type::EnumAnyCase(words)) => words.contains(&text),
        (Default::String(text), Type::GoDuration) => text.ends_with(['s', 'm', 'h']),
        (Default::String(_), type_) => type_ == Type::String,
        (Default::Strings(texts), Type::List(Type::Enum(words))) => {
            texts.iter().all(|text| words.contains(text))
        }
        (Default::Strings(_), type_) => type_ == Type::StringList,
        (Default::EmptyList, type_) => matches!(type_, Type::StringList | Type::List(_) | Type::Bytes),
        (Default::EmptyDict, type_) => matches!(type_, Type::StringDict | Type::Dict(_)),
    }
}

#[test]
fn defaults_fit_types_and_bounds() {
    for (place, table) in tables() {
        for AttributeSchema { name, type_, default, bounds, .. } in table.all_attributes() {
            assert!(fits(*default, *type_), "{place}.{name}: {default:?} for {type_}");
            if let (Default::Int(number), Some(bounds)) = (default, bounds) {
                assert!(*number == 0 || bounds.hold(*number as f64), "{place}.{name}");
            }
        }
    }
}

#[test]
fn rules_speak_of_what_is_there() {
    for (place, table) in tables() {
        let names: BTreeSet<_> = table.names().collect();
        for rule in table.all_rules() {
            for name in rule.names() {
                let known = match name.split_once('.') {
                    Some((block, inner)) => {
                        table.block(block).is_some_and(|block| block.table.attribute(inner).is_some())
                    }
                    None => names.contains(name),
                };
                assert!(known, "{place}: {rule:?} names `{name}`");
            }
            let count = rule.names().count();
            match rule {
                Rule::When { attribute, then, .. } => {
                    assert!(names.contains(attribute), "{place}: {rule:?}");
                    assert!(!matches!(then, Rule::When { .. }), "{place}: {rule:?}");
                }
                Rule::All(_) | Rule::AtLeastOne(_) => assert!(count > 0, "{place}: {rule:?}"),
                _ => assert!(count > 1, "{place}: {rule:?}"),
            }
        }
    }
}

#[test]
fn replacements_are_there() {
    for (place, table) in tables() {
        let names: BTreeSet<_> = table.names().collect();
        for attribute in table.all_attributes() {
            if let Some(replacement) = attribute.deprecated.and_then(|it| it.replacement) {
                assert!(names.contains(replacement), "{place}.{}: `{replacement}`", attribute.name);
                assert_ne!(attribute.default, Default::Required, "{place}.{}", attribute.name);
            }
        }
    }
    for schema in components() {
        if let Some(replacement) = schema.deprecated.and_then(|it| it.replacement) {
            assert!(component(schema.class, replacement).is_some(), "`{replacement}`");
        }
    }
}

#[test]
fn what_never_changes_bytes_is_not_keyed() {
    for (place, table) in tables() {
        for AttributeSchema { name, role, type_, .. } in table.all_attributes() {
            let tags = *type_ == AttributeType::StringDict && name.ends_with("tags");
            let never = tags
                || name.starts_with("ssh_")
                || name.starts_with("winrm_")
                || name.ends_with("_timeout")
                || ["timeout", "max_retries", "pause_before", "region", "tags", "labels", "communicator"]
                    .contains(name);
            let who = ["ssh_username", "ssh_clear_authorized_keys", "winrm_username"].contains(name);
            // The region and tags of what is looked for.
            let other = place.starts_with("data source") || place.ends_with("filters");
            // Labels of a container image are part of it.
            let inside = place == "builder rootfs" && *name == "labels";
            assert!(!never || who || other || inside || !role.is_keyed(true), "{place}.{name} is {role:?}");
        }
    }
}

#[test]
fn passwords_are_secrets() {
    for (place, table) in tables() {
        for attribute in table.all_attributes().filter(|it| it.type_ == AttributeType::String) {
            let name = attribute.name;
            let says =
                name.ends_with("password") || name.ends_with("_secret") || name.ends_with("secret_key");
            assert!(!says || attribute.secret, "{place}.{name}");
        }
    }
}

#[test]
fn a_kind_of_templates_is_unavailable_until_there_is_code() {
    // The program's own tests look whether each of these has code.
    let native: Vec<String> = components()
        .filter(|schema| schema.availability == Availability::Native)
        .map(|schema| format!("{} {}", schema.class.word(), schema.id))
        .collect();
    let expected = [
        "builder null",
        "builder file",
        "builder rootfs",
        "provisioner shell",
        "provisioner shell-local",
        "provisioner file",
        "provisioner breakpoint",
        "provisioner sleep",
        "post-processor manifest",
        "post-processor checksum",
        "post-processor compress",
        "post-processor artifice",
        "post-processor shell-local",
        "data source http",
        "data source null",
        "provisioner ansible",
        "provisioner ansible-local",
        "provisioner puppet-masterless",
        "provisioner salt-masterless",
        "provisioner goss",
        "data source external",
        "data source external-json",
        "data source external-raw",
    ];
    assert_eq!(native, expected);
}

#[test]
fn names_are_found_by_class() {
    let file = component(KindClass::Builder, "file").unwrap();
    assert!(file.attribute("target").is_some());
    let file = component(KindClass::Provisioner, "file").unwrap();
    assert!(file.attribute("destination").is_some());
    assert!(component(KindClass::PostProcessor, "file").is_none());
    assert_eq!(suggest(KindClass::Provisioner, "shel"), Some("shell"));
    assert_eq!(suggest(KindClass::PostProcessor, "checksums"), Some("checksum"));
    assert_eq!(suggest(KindClass::Builder, "frobnicator"), None);
    assert_eq!(
        classes_of("shell-local").collect::<Vec<_>>(),
        [KindClass::Provisioner, KindClass::PostProcessor]
    );
}

#[test]
fn each_class_has_components() {
    let mut count = BTreeMap::<_, usize>::new();
    for schema in components() {
        *count.entry(schema.class.word()).or_default() += 1;
    }
    let classes = ["builder", "communicator", "data source", "post-processor", "provisioner"];
    assert!(count.keys().copied().eq(classes), "{count:?}");
}
