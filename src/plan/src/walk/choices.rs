//! The choices of a target's attributes: `select()` and sums of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_model::{
    AttributeValue, Attributes, Configuration, Diagnostic, Diagnostics, Label, Platform, SelectBranch,
    Target, Value,
};

use super::Walk;

/// What a `config_setting` asks for.
type Conditions = BTreeMap<Arc<str>, Arc<str>>;

impl Walk<'_> {
    /// Makes the choices of a target's attributes.
    pub(super) fn resolve(
        &self,
        target: &Target,
        configuration: &Configuration,
    ) -> Result<Attributes, Diagnostics> {
        target
            .attributes
            .iter()
            .map(|(name, value)| Ok((name.clone(), self.choose(value, name, target, configuration)?)))
            .collect()
    }

    fn choose(
        &self,
        value: &AttributeValue,
        name: &str,
        target: &Target,
        configuration: &Configuration,
    ) -> Result<Value, Diagnostics> {
        match value {
            AttributeValue::Concrete(value) => Ok(value.clone()),
            AttributeValue::Select(branches) => self.branch(branches, name, target, configuration),
            AttributeValue::Sum(parts) => {
                let mut sum = Value::None;
                for part in parts {
                    let part = self.choose(part, name, target, configuration)?;
                    sum = add(sum, part).map_err(|(one, other)| {
                        Diagnostic::error(format!(
                            "cannot join {one} and {other} in attribute `{name}` of `{}`",
                            target.label
                        ))
                        .at(target.location.clone())
                    })?;
                }
                Ok(sum)
            }
        }
    }

    fn branch(
        &self,
        branches: &[SelectBranch],
        name: &str,
        target: &Target,
        configuration: &Configuration,
    ) -> Result<Value, Diagnostics> {
        let mut holding: Vec<(&SelectBranch, &Label, Conditions)> = Vec::new();
        for branch in branches {
            let Some(condition) = &branch.condition else { continue };
            let Some(setting) = self.target(condition).filter(|setting| is_config_setting(setting)) else {
                return Err(Diagnostic::error(format!("`{condition}` is no `config_setting`"))
                    .at(target.location.clone())
                    .hint("declare it with `config_setting(name = …, values = {…})`")
                    .note(format!("in `select()` of attribute `{name}`"), None)
                    .into());
            };
            let values = setting_values(setting);
            if values.iter().all(|(key, value)| condition_holds(key, value, configuration)) {
                holding.push((branch, condition, values));
            }
        }
        // One condition is more special than another if it asks for all that the other does, and for more.
        let special: Vec<_> = holding
            .iter()
            .filter(|(_, _, values)| {
                !holding.iter().any(|(_, _, other)| {
                    other.len() > values.len()
                        && values.iter().all(|(key, value)| other.get(key) == Some(value))
                })
            })
            .collect();
        if let [(first, one, _), rest @ ..] = special.as_slice()
            && let Some((_, other, _)) = rest.iter().find(|(branch, _, _)| branch.value != first.value)
        {
            return Err(Diagnostic::error(format!(
                "attribute `{name}` of `{}` is ambiguous: `{one}` and `{other}` both hold",
                target.label,
            ))
            .at(target.location.clone())
            .hint("make one `config_setting` ask for all that the other does, and for more")
            .into());
        }
        let chosen = special
            .first()
            .map(|(branch, _, _)| *branch)
            .or_else(|| branches.iter().find(|branch| branch.condition.is_none()));
        chosen.map(|branch| branch.value.clone()).ok_or_else(|| {
            let conditions: Vec<_> = branches
                .iter()
                .filter_map(|branch| branch.condition.as_ref())
                .map(|label| format!("`{label}`"))
                .collect();
            Diagnostic::error(format!(
                "attribute `{name}` of `{}` has no value for {}: none of {} holds",
                target.label,
                configuration.platform,
                conditions.join(", "),
            ))
            .at(target.location.clone())
            .hint("add a branch `\"//conditions:default\"`")
            .into()
        })
    }
}

pub(super) fn is_config_setting(target: &Target) -> bool {
    &*target.rule.name == "config_setting"
}

fn setting_values(setting: &Target) -> Conditions {
    let Some(AttributeValue::Concrete(values)) = setting.attribute("values") else {
        return Conditions::new();
    };
    values
        .as_dict()
        .unwrap_or_default()
        .iter()
        .filter_map(|(key, value)| match value {
            Value::String(text) => Some((key.clone(), text.clone())),
            _ => None,
        })
        .collect()
}

fn condition_holds(key: &str, value: &str, configuration: &Configuration) -> bool {
    let platform = configuration.platform;
    match key {
        "platform" => value.parse::<Platform>() == Ok(platform),
        "arch" => value.parse::<Platform>() == Ok(platform),
        "os" => value == "linux",
        _ => configuration.flags.get(key).is_some_and(|flag| flag == value),
    }
}

pub(super) fn visit_conditions(value: &AttributeValue, visit: &mut dyn FnMut(&Label)) {
    match value {
        AttributeValue::Concrete(_) => {}
        AttributeValue::Sum(parts) => parts.iter().for_each(|part| visit_conditions(part, visit)),
        AttributeValue::Select(branches) => {
            branches.iter().filter_map(|branch| branch.condition.as_ref()).for_each(visit);
        }
    }
}

fn add(one: Value, other: Value) -> Result<Value, (&'static str, &'static str)> {
    Ok(match (one, other) {
        (Value::None, value) | (value, Value::None) => value,
        (Value::List(one), Value::List(other)) => Value::List(one.iter().chain(&*other).cloned().collect()),
        (Value::String(one), Value::String(other)) => Value::String(format!("{one}{other}").into()),
        (Value::Dict(one), Value::Dict(other)) => {
            let mut entries: Vec<_> = one.to_vec();
            for (key, value) in &*other {
                match entries.iter_mut().find(|(existing, _)| existing == key) {
                    Some((_, old)) => *old = value.clone(),
                    None => entries.push((key.clone(), value.clone())),
                }
            }
            Value::Dict(entries.into())
        }
        (one, other) => return Err((one.type_name(), other.type_name())),
    })
}
