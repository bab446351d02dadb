//! Values of JSON as attributes and blocks.

use std::collections::{BTreeMap, BTreeSet};

use imgbuild_hcl::syntax::is_identifier;
use imgbuild_kinds::component;
use imgbuild_model::{AttributeType, KindClass, Table};

use super::calls::Calls;
use super::hcl::{Body, Scalar, Written, identifier};
use crate::json::{Member, Node, Value};
use crate::legacy::Template;

/// Objects of these names are blocks whatever is in them.
const BLOCKS: [&str; 3] = ["linux_options", "network_interface", "shared_image_gallery"];

pub(super) fn object(members: &[Member], calls: &mut Calls) -> BTreeMap<String, Written> {
    members.iter().map(|member| (calls.key(&member.name), value(&member.value, calls))).collect()
}

pub(super) fn value(node: &Node, calls: &mut Calls) -> Written {
    match &node.value {
        Value::Null => Written::Scalar(Scalar::raw("null")),
        Value::Bool(value) => Written::bool(*value),
        Value::Number(text) => {
            let number = text.parse::<f64>().map_or_else(|_| text.clone(), |number| number.to_string());
            Written::Scalar(Scalar::raw(&number))
        }
        Value::String(text) => calls.text(text),
        Value::Array(elements) => {
            Written::List(elements.iter().map(|element| value(element, calls)).collect())
        }
        Value::Object(members) => Written::Object(object(members, calls)),
    }
}

/// The body of a component. Empty lists are left out, as in Packer.
pub(super) fn component_body(class: KindClass, kind: &str, config: &Written) -> Body {
    body(component(class, kind).map(|schema| schema.table()).as_ref(), config)
}

/// The body of a block with these members. What is a block and what an attribute is taken from the table, as far as it says.
fn body(table: Option<&Table>, config: &Written) -> Body {
    let mut out = Body::default();
    let Written::Object(members) = config else { return out };
    let mut taken = BTreeSet::new();
    for (name, value) in members {
        let block = table.and_then(|table| table.block(name));
        let inner = block.map(|block| &block.table);
        let attribute = table.and_then(|table| table.attribute(name));
        if let (Some(attribute), None) = (attribute, block) {
            let is_list = matches!(attribute.type_, AttributeType::StringList | AttributeType::List(_));
            match value {
                Written::List(elements) if elements.is_empty() => {}
                Written::Scalar(scalar) if is_list => out.attribute(name, &scalar.split()),
                _ => out.attribute(name, value),
            }
            continue;
        }
        match value {
            Written::List(elements) if elements.is_empty() => {}
            Written::List(elements) if is_identifier(name) && elements.iter().all(can_be_block) => {
                for element in elements {
                    out.block(name, &[], body(inner, element));
                }
            }
            Written::Object(_) if is_identifier(name) && (block.is_some() || is_block(name, value)) => {
                out.block(name, &[], body(inner, value))
            }
            _ if is_identifier(name) => out.attribute(name, value),
            _ => {
                // No component has such an attribute, but what is written must be HCL.
                let mut name = identifier(name);
                while members.contains_key(&name) || !taken.insert(name.clone()) {
                    name.push('_');
                }
                out.attribute(&name, value);
            }
        }
    }
    out
}

/// A map of texts and numbers is an attribute. What holds more is most likely a block.
fn is_block(name: &str, value: &Written) -> bool {
    let Written::Object(members) = value else { return false };
    let is_map = !members.is_empty() && members.values().all(|member| matches!(member, Written::Scalar(_)));
    can_be_block(value) && (!is_map || BLOCKS.contains(&name))
}

fn can_be_block(value: &Written) -> bool {
    matches!(value, Written::Object(members) if members.keys().all(|name| is_identifier(name)))
}

/// All strings of a template that may be templates.
pub(super) fn each_string(template: &Template, visit: &mut impl FnMut(&str)) {
    for variable in &template.variables {
        variable.default.iter().for_each(|default| visit(&default.text));
    }
    let mut configs: Vec<&[Member]> = template.builders.iter().map(|one| one.config.as_slice()).collect();
    for provisioner in template.provisioners.iter().chain(&template.error_cleanup) {
        configs.push(&provisioner.config);
        configs.extend(provisioner.overrides.iter().map(|one| one.config.as_slice()));
        provisioner.max_retries.iter().for_each(|text| visit(&text.text));
    }
    configs.extend(template.post_processors.iter().flatten().map(|one| one.config.as_slice()));
    for members in configs {
        members.iter().for_each(|member| strings(&member.value, visit));
    }
}

fn strings(node: &Node, visit: &mut impl FnMut(&str)) {
    match &node.value {
        Value::String(text) => visit(text),
        Value::Array(elements) => elements.iter().for_each(|element| strings(element, visit)),
        Value::Object(members) => {
            for member in members {
                visit(&member.name);
                strings(&member.value, visit);
            }
        }
        _ => {}
    }
}
