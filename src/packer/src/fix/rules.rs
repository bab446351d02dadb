//! The fixers that do more than rename or remove. Each gets one component, or the whole template.

use std::collections::BTreeSet;

use imgbuild_gotemplate::Span;
use imgbuild_model::Diagnostic;

use super::{
    Existing, Only, get, get_mut, members, objects, post_processors, provisioners, rename, section, set,
    take, type_of, wrong,
};
use crate::json::{Node, Source, Value};

type Done = Result<(), Box<Diagnostic>>;

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn string_of(component: &Node, name: &str) -> Option<String> {
    get(component, name)?.as_str().map(str::to_owned)
}

pub(super) fn iso_md5(builder: &mut Node, _: &Source) -> Done {
    if let Some(sum) = string_of(builder, "iso_md5") {
        take(builder, "iso_md5");
        set(builder, "iso_checksum", Value::String(sum));
        set(builder, "iso_checksum_type", text("md5"));
    }
    Ok(())
}

pub(super) fn create_time(builder: &mut Node, _: &Source) -> Done {
    for name in ["ami_name", "bundle_prefix", "snapshot_name"] {
        if let Some(value) = get_mut(builder, name)
            && let Value::String(text) = &mut value.value
        {
            *text = with_timestamp(text);
        }
    }
    Ok(())
}

fn with_timestamp(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let (before, action) = rest.split_at(start);
        out.push_str(before);
        let space = [' ', '\t', '\n', '\x0c', '\r'];
        let inside = action[2..].trim_start_matches(space).strip_prefix(".CreateTime");
        match inside.and_then(|inside| inside.trim_start_matches(space).strip_prefix("}}")) {
            Some(after) => {
                out.push_str("{{timestamp}}");
                rest = after;
            }
            None => {
                out.push('{');
                rest = &action[1..];
            }
        }
    }
    out + rest
}

pub(super) fn guest_additions(builder: &mut Node, _: &Source) -> Done {
    if let Some(&Value::Bool(attach)) = get(builder, "guest_additions_attach").map(|node| &node.value) {
        take(builder, "guest_additions_attach");
        set(builder, "guest_additions_mode", text(if attach { "attach" } else { "upload" }));
    }
    Ok(())
}

pub(super) fn vagrant_override(post_processor: &mut Node, _: &Source) -> Done {
    let mut overrides = Node { value: Value::Object(Vec::new()), span: post_processor.span };
    for provider in ["aws", "digitalocean", "virtualbox", "vmware"] {
        if let Some(settings) = take(post_processor, provider) {
            set(&mut overrides, provider, settings.value);
        }
    }
    if members(&mut overrides).is_some_and(|members| !members.is_empty()) {
        set(post_processor, "override", overrides.value);
    }
    Ok(())
}

pub(super) fn virtualbox_iso(template: &mut Node, source: &Source) -> Done {
    for builder in objects(template, "builders", source)? {
        if type_of(builder) == Some("virtualbox") {
            set(builder, "type", text("virtualbox-iso"));
        }
    }
    for provisioner in provisioners(template) {
        let Some(overrides) = get_mut(provisioner, "override") else { continue };
        match overrides.value {
            Value::Object(_) | Value::Null => {
                rename(overrides, "virtualbox", "virtualbox-iso", Only::Any, Existing::Replaced);
            }
            _ => return Err(wrong(source, overrides, "`override`", "an object")),
        }
    }
    Ok(())
}

pub(super) fn private_ip(builder: &mut Node, source: &Source) -> Done {
    let Some(value) = get(builder, "ssh_private_ip") else { return Ok(()) };
    if get(builder, "ssh_interface").is_some() {
        return Ok(());
    }
    let private = match &value.value {
        Value::Bool(private) => Some(*private),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    };
    let Some(private) = private else {
        return Err(Box::new(
            Diagnostic::error("`ssh_private_ip` must be `true` or `false`")
                .at(source.location(value.span))
                .hint("write `\"ssh_interface\": \"private_ip\"` or `\"public_ip\"` in its place"),
        ));
    };
    take(builder, "ssh_private_ip");
    set(builder, "ssh_interface", text(if private { "private_ip" } else { "public_ip" }));
    Ok(())
}

pub(super) fn source_cidrs(builder: &mut Node, _: &Source) -> Done {
    let old = "temporary_security_group_source_cidr";
    if let Some(Value::String(_)) = get(builder, old).map(|node| &node.value)
        && let Some(cidr) = take(builder, old)
    {
        set(builder, "temporary_security_group_source_cidrs", Value::Array(vec![cidr]));
    }
    Ok(())
}

/// A template without post-processors is left, as in Packer.
pub(super) fn login_email(template: &mut Node, source: &Source) -> Done {
    if section(template, "post-processors").is_none_or(|section| section.value == Value::Null) {
        return Ok(());
    }
    for builder in objects(template, "builders", source)? {
        take(builder, "login_email");
    }
    for post_processor in post_processors(template, source)? {
        take(post_processor, "login_email");
    }
    Ok(())
}

pub(super) fn docker_tags(post_processor: &mut Node, source: &Source) -> Done {
    let mut seen = BTreeSet::new();
    let mut tags = Vec::new();
    for name in ["tag", "tags"] {
        let Some(node) = take(post_processor, name) else { continue };
        for tag in tags_of(&node, source)? {
            if seen.insert(tag.clone()) {
                tags.push(Node { value: Value::String(tag), span: node.span });
            }
        }
    }
    set(post_processor, "tags", Value::Array(tags));
    Ok(())
}

fn tags_of(node: &Node, source: &Source) -> Result<Vec<String>, Box<Diagnostic>> {
    match &node.value {
        Value::String(text) => Ok(text.split(',').map(|tag| tag.trim().to_owned()).collect()),
        Value::Array(elements) => elements
            .iter()
            .map(|tag| tag.as_str().map(str::to_owned).ok_or_else(|| wrong(source, tag, "a tag", "a string")))
            .collect(),
        _ => Ok(Vec::new()),
    }
}

pub(super) fn powershell(provisioner: &mut Node, source: &Source) -> Done {
    let variables = match get(provisioner, "environment_vars").map(|node| &node.value) {
        Some(Value::Array(elements)) => {
            let plain = |node: &Node| match &node.value {
                Value::String(text) => Some(Node { value: Value::String(unescaped(text)), span: node.span }),
                Value::Null => Some(Node { value: text(""), span: node.span }),
                _ => None,
            };
            Some(elements.iter().map(plain).collect::<Option<Vec<_>>>())
        }
        Some(Value::Null) => Some(Some(Vec::new())),
        Some(_) => Some(None),
        None => None,
    };
    for name in ["elevated_user", "elevated_password"] {
        let Some(node) = get_mut(provisioner, name) else { continue };
        let Value::String(text) = &mut node.value else {
            return Err(wrong(source, node, &format!("`{name}`"), "a string"));
        };
        // One whose variables are no list of strings is left as a whole.
        if variables != Some(None) {
            *text = unescaped(text);
        }
    }
    if let Some(Some(variables)) = variables {
        set(provisioner, "environment_vars", Value::Array(variables));
    }
    Ok(())
}

/// Without the back quotes that escape `$`, `"`, `'` and themselves.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let escaped =
            (c == '`').then(|| characters.next_if(|next| matches!(next, '$' | '"' | '`' | '\''))).flatten();
        out.push(escaped.unwrap_or(c));
    }
    out
}

pub(super) fn compaction(builder: &mut Node, _: &Source) -> Done {
    if string_of(builder, "remote_type").as_deref() != Some("esx5") {
        return Ok(());
    }
    match get(builder, "disk_type_id").map(Node::as_str) {
        None => set(builder, "disk_type_id", text("zeroedthick")),
        Some(None | Some("thin")) => return Ok(()),
        Some(Some(_)) => {}
    }
    if matches!(get(builder, "skip_compaction").map(|node| &node.value), None | Some(Value::Bool(_))) {
        set(builder, "skip_compaction", Value::Bool(true));
    }
    Ok(())
}

/// In strings of the builder, and in those of objects directly in it.
pub(super) fn clean_resource_name(builder: &mut Node, _: &Source) -> Done {
    let replace = |node: &mut Node| {
        if let Value::String(text) = &mut node.value {
            *text = text
                .replace("clean_ami_name", "clean_resource_name")
                .replace("clean_image_name", "clean_resource_name");
        }
    };
    for member in members(builder).into_iter().flatten() {
        replace(&mut member.value);
        members(&mut member.value).into_iter().flatten().for_each(|inner| replace(&mut inner.value));
    }
    Ok(())
}

pub(super) fn disk_size(builder: &mut Node, _: &Source) -> Done {
    if let Some(Value::Number(size)) = get(builder, "disk_size").map(|node| &node.value)
        && let Ok(size) = size.parse::<f64>()
    {
        set(builder, "disk_size", Value::String(format!("{}M", size as i64)));
    }
    Ok(())
}

pub(super) fn adapters(builder: &mut Node, source: &Source) -> Done {
    let names = [("network", "network"), ("networkCard", "network_card"), ("network_card", "network_card")];
    gather(builder, &names, "network_adapters", source)
}

pub(super) fn storage(builder: &mut Node, source: &Source) -> Done {
    let names = ["disk_size", "disk_thin_provisioned", "disk_eagerly_scrub"].map(|name| (name, name));
    gather(builder, &names, "storage", source)
}

/// Moves attributes of the builder into one object, which becomes the first of a list.
fn gather(builder: &mut Node, names: &[(&str, &str)], list: &str, source: &Source) -> Done {
    let start = builder.span.start;
    let mut one = Node { value: Value::Object(Vec::new()), span: Span { start, end: start } };
    for (from, to) in names {
        if let Some(value) = take(builder, from) {
            set(&mut one, to, value.value);
        }
    }
    if members(&mut one).is_none_or(|members| members.is_empty()) {
        return Ok(());
    }
    let mut all = vec![one];
    if let Some(mut others) = take(builder, list) {
        match &mut others.value {
            Value::Array(elements) => all.append(elements),
            _ => return Err(wrong(source, &others, &format!("`{list}`"), "a list")),
        }
    }
    set(builder, list, Value::Array(all));
    Ok(())
}

pub(super) fn checksum(builder: &mut Node, _: &Source) -> Done {
    let of = |builder: &Node, name| string_of(builder, name).unwrap_or_default();
    let [url, kind, sum] =
        ["iso_checksum_url", "iso_checksum_type", "iso_checksum"].map(|name| of(builder, name));
    take(builder, "iso_checksum_url");
    take(builder, "iso_checksum_type");
    let sum = match (&*url, &*kind, &*sum) {
        ("", _, "") => return Ok(()),
        ("", "", _) => sum,
        ("", _, _) => format!("{kind}:{sum}"),
        _ => format!("file:{url}"),
    };
    set(builder, "iso_checksum", Value::String(sum));
    Ok(())
}

pub(super) fn exclude_from_latest(builder: &mut Node, _: &Source) -> Done {
    if let Some(destination) = get_mut(builder, "shared_image_destination") {
        rename(destination, "exlude_from_latest", "exclude_from_latest", Only::Any, Existing::Replaced);
    }
    Ok(())
}
