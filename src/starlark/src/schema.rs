//! Steps and sources against the schemas of their kinds.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use imgbuild_model::{
    Artifact, AttributeSchema, AttributeType, Attributes, Default, KindClass, KindId, KindSchema,
    SecretReference, Value as Data, is_secret_name,
};
use starlark::values::dict::DictRef;
use starlark::values::list::ListRef;
use starlark::values::{UnpackValue, Value};

use crate::context::Context;
use crate::error::{Problem, did_you_mean};
use crate::values::convert::to_data;
use crate::values::plain::{ArtifactValue, LabelValue, LayerValue, StepValue};
use crate::values::select::SelectValue;

/// A kind with its names shared, so that no step allocates them.
pub(crate) struct Kind {
    pub(crate) schema: &'static KindSchema,
    pub(crate) id: KindId,
    attributes: Vec<(&'static AttributeSchema, Arc<str>)>,
}

static KINDS: LazyLock<HashMap<&'static str, Kind>> = LazyLock::new(|| {
    imgbuild_kinds::all()
        .iter()
        .map(|schema| {
            let attributes = schema.table().all_attributes().filter(|attribute| is_writable(attribute.type_));
            let attributes = attributes.map(|attribute| (attribute, Arc::from(attribute.name))).collect();
            (schema.id, Kind { schema, id: KindId::new(schema.id), attributes })
        })
        .collect()
});

/// Whether a workspace can write values of a type: some are of kinds that only templates name, or set by builders.
pub(crate) fn is_writable(type_: AttributeType) -> bool {
    !matches!(
        type_,
        AttributeType::Bytes | AttributeType::Number | AttributeType::Trilean | AttributeType::Dict(_)
    )
}

/// The kind of that name.
pub(crate) fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.get(name)
}

/// The kind of that name, of one of these classes.
pub(crate) fn expect_kind(name: &str, wanted: &[KindClass]) -> Result<&'static Kind, Problem> {
    let of_class = |kind: &Kind| wanted.contains(&kind.schema.class);
    let known = || KINDS.values().filter(|kind| of_class(kind)).map(|kind| kind.schema.id);
    let noun = wanted[0].word();
    match kind(name) {
        Some(kind) if of_class(kind) => Ok(kind),
        Some(kind) => {
            Err(Problem::new(format!("`{name}` is a kind of {}, not of {noun}", kind.schema.class.word())))
        }
        None => Err(Problem::new(format!("there is no kind of {noun} called `{name}`"))
            .maybe_hint(did_you_mean(name, known()))),
    }
}

impl Kind {
    /// The names of its attributes, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.attributes.iter().map(|(_, name)| name.to_string()).collect();
        names.sort();
        names
    }

    /// The attributes of a step of this kind, from what was written. `None` counts as not written.
    pub(crate) fn attributes<'v, 'a>(
        &self,
        written: impl Iterator<Item = (&'a str, Value<'v>)>,
        context: &Context<'_>,
    ) -> Result<Attributes, Problem> {
        let schema = self.schema;
        let mut values: Vec<Option<Data>> = vec![None; self.attributes.len()];
        for (name, value) in written {
            let Some(index) = self.attributes.iter().position(|(attribute, _)| attribute.name == name) else {
                let known = self.attributes.iter().map(|(attribute, _)| attribute.name);
                return Err(Problem::new(format!("`{}` has no attribute `{name}`", schema.id)).maybe_hint(
                    did_you_mean(name, known.clone()).or_else(|| {
                        let known = known.map(|name| format!("`{name}`")).collect::<Vec<_>>();
                        (!known.is_empty()).then(|| format!("it has {}", known.join(", ")))
                    }),
                ));
            };
            if value.is_none() {
                continue;
            }
            let data = coerce(self.attributes[index].0.type_, value, context)
                .map_err(|problem| problem.within(&format!("attribute `{name}` of `{}`", schema.id)))?;
            values[index] = Some(data);
        }
        let written = values.iter().flatten().count();
        let mut attributes = Vec::with_capacity(written);
        for ((attribute, name), value) in self.attributes.iter().zip(values) {
            match value {
                Some(value) => attributes.push((name.clone(), value)),
                None if attribute.default == Default::Required => {
                    return Err(Problem::new(format!(
                        "`{}` needs the attribute `{}`",
                        schema.id, attribute.name
                    ))
                    .hint(format!(
                        "`{}` is of type {}: {}",
                        attribute.name,
                        attribute.type_,
                        sentence(attribute.doc)
                    )));
                }
                None => {}
            }
        }
        Ok(attributes.into_iter().collect())
    }
}

/// A schema's doc as part of a hint.
fn sentence(doc: &str) -> String {
    let doc = doc.trim_end_matches('.');
    let mut chars = doc.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn coerce(type_: AttributeType, value: Value<'_>, context: &Context<'_>) -> Result<Data, Problem> {
    let wrong = || {
        if SelectValue::from_value(value).is_some() {
            return Problem::new("`select()` cannot stand inside a step")
                .hint("choose between whole steps: `steps = [...] + select({...})`");
        }
        Problem::new(format!("expected {type_}, got {}", value.get_type()))
    };
    match type_ {
        AttributeType::String => match value.unpack_str() {
            Some(text) => Ok(Data::string(text)),
            None if value.unpack_i32().is_some() => Err(wrong().hint(format!("write `\"{value}\"`"))),
            None => Err(wrong()),
        },
        AttributeType::Int => match i64::unpack_value(value) {
            Ok(Some(number)) => Ok(Data::Int(number)),
            _ => Err(wrong()),
        },
        AttributeType::Bool => value.unpack_bool().map(Data::Bool).ok_or_else(wrong),
        AttributeType::StringList => {
            let items = ListRef::from_value(value).ok_or_else(|| match value.unpack_str() {
                Some(text) => wrong().hint(format!("write `[\"{text}\"]`")),
                None => wrong(),
            })?;
            items
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    item.unpack_str().map(Data::string).ok_or_else(|| {
                        Problem::new(format!("item {}: expected string, got {}", index + 1, item.get_type()))
                    })
                })
                .collect::<Result<_, _>>()
                .map(Data::List)
        }
        AttributeType::List(AttributeType::Int) => ListRef::from_value(value)
            .ok_or_else(wrong)?
            .iter()
            .enumerate()
            .map(|(index, item)| match i64::unpack_value(item) {
                Ok(Some(number)) => Ok(Data::Int(number)),
                _ => Err(Problem::new(format!("item {}: expected int, got {}", index + 1, item.get_type()))),
            })
            .collect::<Result<_, _>>()
            .map(Data::List),
        AttributeType::StringDict => string_dict(value, wrong),
        AttributeType::Secrets => {
            let secrets = string_dict(value, wrong)?;
            secrets.as_dict().unwrap_or_default().iter().try_for_each(secret)?;
            Ok(secrets)
        }
        AttributeType::Mode => match (value.unpack_str(), value.unpack_i32()) {
            (Some(text), _) => mode_of_text(text),
            (None, Some(number)) => mode_of_number(number),
            (None, None) => Err(wrong()),
        },
        AttributeType::Duration => match (value.unpack_str(), i64::unpack_value(value)) {
            (Some(text), _) => duration(text).map(Data::Int),
            (None, Ok(Some(seconds))) if seconds >= 0 => Ok(Data::Int(seconds)),
            _ => Err(wrong()),
        },
        // As templates have it: in milliseconds.
        AttributeType::GoDuration => match (value.unpack_str(), i64::unpack_value(value)) {
            (Some(text), _) => milliseconds(text).map(Data::Int),
            (None, Ok(Some(milliseconds))) if milliseconds >= 0 => Ok(Data::Int(milliseconds)),
            _ => Err(wrong()),
        },
        AttributeType::List(AttributeType::StringList) => ListRef::from_value(value)
            .ok_or_else(wrong)?
            .iter()
            .map(|row| coerce(AttributeType::StringList, row, context))
            .collect::<Result<_, _>>()
            .map(Data::List),
        AttributeType::Enum(words) | AttributeType::EnumAnyCase(words) => match value.unpack_str() {
            Some(word) if words.contains(&word) => Ok(Data::string(word)),
            Some(word) => Err(Problem::new(format!("expected {type_}, got \"{word}\""))
                .maybe_hint(did_you_mean(word, words.iter().copied()))),
            None => Err(wrong()),
        },
        AttributeType::File => file(value, context)?.ok_or_else(wrong),
        AttributeType::Files => {
            if let Some(file) = file(value, context)? {
                return Ok(Data::list([file]));
            }
            ListRef::from_value(value)
                .ok_or_else(wrong)?
                .iter()
                .map(|item| {
                    file(item, context)?.ok_or_else(|| {
                        Problem::new(format!("expected label of a file, got {}", item.get_type()))
                    })
                })
                .collect::<Result<_, _>>()
                .map(Data::List)
        }
        AttributeType::Image => {
            if let Some(layer) = LayerValue::from_value(value) {
                return Ok(Data::Layer(layer.0.clone()));
            }
            label(value, context)?.ok_or_else(wrong)
        }
        AttributeType::Steps => ListRef::from_value(value)
            .ok_or_else(wrong)?
            .iter()
            .map(|item| {
                StepValue::from_value(item).map(|step| Data::Step(step.0.clone())).ok_or_else(|| {
                    Problem::new(format!("expected list of steps, got an item of type {}", item.get_type()))
                })
            })
            .collect::<Result<_, _>>()
            .map(Data::List),
        AttributeType::Any => to_data(value),
        // Of kinds that only templates name, which are not looked up here.
        AttributeType::Number
        | AttributeType::Trilean
        | AttributeType::List(_)
        | AttributeType::Dict(_)
        | AttributeType::Bytes => Err(wrong()),
    }
}

/// A map of texts, as it was written.
fn string_dict(value: Value<'_>, wrong: impl Fn() -> Problem) -> Result<Data, Problem> {
    DictRef::from_value(value)
        .ok_or_else(wrong)?
        .iter()
        .map(|(key, value)| match (key.unpack_str(), value.unpack_str()) {
            (Some(key), Some(value)) => Ok((Arc::from(key), Data::string(value))),
            (Some(key), None) => {
                let problem =
                    Problem::new(format!("entry `{key}`: expected string, got {}", value.get_type()));
                Err(if value.unpack_i32().is_some() {
                    problem.hint(format!("write `\"{value}\"`"))
                } else {
                    problem
                })
            }
            (None, _) => Err(Problem::new(format!("the keys must be strings, one is `{}`", key.get_type()))),
        })
        .collect::<Result<_, _>>()
        .map(Data::Dict)
}

/// Checks one entry of `secrets`.
fn secret((name, reference): &(Arc<str>, Data)) -> Result<(), Problem> {
    if !is_secret_name(name) {
        return Err(Problem::new(format!("`{name}` is not the name of a secret"))
            .hint("write letters, digits, `.`, `_` and `-`: the step finds it in `/run/secrets/<name>`"));
    }
    match reference.as_str().unwrap_or_default().parse::<SecretReference>() {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::new(format!("entry `{name}`: {error}")).hint(error.hint())),
    }
}

/// A file: a label while targets are declared, an artifact in an implementation.
fn file(value: Value<'_>, context: &Context<'_>) -> Result<Option<Data>, Problem> {
    if let Some(artifact) = ArtifactValue::from_value(value) {
        let artifact: &Artifact = &artifact.0;
        return Ok(Some(Data::Artifact(artifact.clone())));
    }
    label(value, context)
}

fn label(value: Value<'_>, context: &Context<'_>) -> Result<Option<Data>, Problem> {
    if let Some(label) = LabelValue::from_value(value) {
        return declared(context).map(|()| Some(Data::Label(label.0.clone())));
    }
    match value.unpack_str() {
        Some(text) => {
            declared(context)?;
            context.label(text).map(|label| Some(Data::Label(label)))
        }
        None => Ok(None),
    }
}

/// Labels are followed between loading and analysis: one that appears in an implementation comes too late.
fn declared(context: &Context<'_>) -> Result<(), Problem> {
    match context {
        Context::Analysis(_) => Err(Problem::new("an implementation cannot name files by label")
            .hint("give the rule an attribute for it: `attrs.source()`, then use `ctx.attrs.<name>`")),
        Context::Module(_) | Context::Package(_) => Ok(()),
    }
}

fn mode_of_text(text: &str) -> Result<Data, Problem> {
    match u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8) {
        Ok(bits) if bits <= 0o7777 && !text.starts_with('+') => Ok(Data::string(&format!("{bits:04o}"))),
        _ => Err(Problem::new(format!("`{text}` is no mode"))
            .hint("write permission bits in octal, for example \"0644\"")),
    }
}

/// Numbers that are taken for the usual modes written without their quotes.
const LOOK_OCTAL: [i32; 18] =
    [400, 440, 444, 500, 550, 555, 600, 640, 644, 660, 664, 666, 700, 711, 750, 755, 775, 777];

fn mode_of_number(number: i32) -> Result<Data, Problem> {
    if LOOK_OCTAL.contains(&number) {
        return Err(Problem::new(format!(
            "the decimal number {number} is probably not the mode that was meant"
        ))
        .hint(format!("write `\"0{number}\"` or `0o{number}`")));
    }
    match u32::try_from(number) {
        Ok(bits) if bits <= 0o7777 => Ok(Data::string(&format!("{bits:04o}"))),
        _ => Err(Problem::new(format!("{number} is no mode"))
            .hint("write permission bits in octal, for example \"0644\"")),
    }
}

fn no_duration(text: &str) -> Problem {
    Problem::new(format!("`{text}` is no duration")).hint("write for example \"90s\", \"10m\" or \"1h30m\"")
}

/// The same as [`duration`] in milliseconds, of which there may be some alone: `100ms`.
fn milliseconds(text: &str) -> Result<i64, Problem> {
    match text.strip_suffix("ms") {
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            number.parse().map_err(|_| no_duration(text))
        }
        _ => duration(text).map(|seconds| seconds.saturating_mul(1000)),
    }
}

/// `90s`, `10m`, `1h30m`, `2d` in seconds.
fn duration(text: &str) -> Result<i64, Problem> {
    let fail = || no_duration(text);
    let (mut total, mut number, mut any) = (0_i64, None::<i64>, false);
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            let so_far = number.unwrap_or(0);
            number = Some(so_far.checked_mul(10).and_then(|n| n.checked_add(digit.into())).ok_or_else(fail)?);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(fail()),
        };
        let seconds = number.take().and_then(|n| n.checked_mul(unit)).ok_or_else(fail)?;
        total = total.checked_add(seconds).ok_or_else(fail)?;
        any = true;
    }
    if any && number.is_none() { Ok(total) } else { Err(fail()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1h0m5s", 3605)]
        {
            assert_eq!(duration(text).unwrap(), seconds, "{text}");
        }
        for text in ["", "90", "s", "1x", "1h30", "-5s", "99999999999999999999s"] {
            assert!(duration(text).is_err() && milliseconds(text).is_err(), "{text}");
        }
        assert_eq!((milliseconds("20ms").unwrap(), milliseconds("2s").unwrap()), (20, 2000));
        assert!(duration("20ms").is_err() && milliseconds("ms").is_err() && milliseconds("-1ms").is_err());
    }

    #[test]
    fn modes_have_one_spelling() {
        for text in ["644", "0644", "0o644", "00644"] {
            assert_eq!(mode_of_text(text).unwrap().as_str(), Some("0644"), "{text}");
        }
        assert_eq!(mode_of_number(0o1777).unwrap().as_str(), Some("1777"));
        for text in ["", "rwx", "0888", "77777", "+644", "-644"] {
            assert!(mode_of_text(text).is_err(), "{text}");
        }
        assert!(mode_of_number(644).is_err());
        assert!(mode_of_number(-1).is_err());
    }
}
