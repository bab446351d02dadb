//! Types of rules' attributes: what they take, and how what is written becomes data.

use std::fmt;
use std::sync::Arc;

use allocative::Allocative;
use imgbuild_model::{
    AttributeValue, KindClass, Label, Platform, ProviderId, SelectBranch, Value as Data, WorkspacePath,
};
use starlark::starlark_simple_value;
use starlark::values::{
    NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, Value, starlark_value,
};

use crate::context::Context;
use crate::error::Problem;
use crate::values::convert::to_data;
use crate::values::select::{DEFAULT, Part, SelectValue};

/// What values an attribute takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AttributeKind {
    String,
    Int,
    Bool,
    List(Box<AttributeKind>),
    Dict(Box<AttributeKind>),
    Label(Arc<[ProviderId]>),
    Source,
    /// A flat list of files: each label stands for all files of its target.
    Sources,
    Output,
    Step(Option<KindClass>),
    Steps(Option<KindClass>),
    Chain,
    Platforms,
    Conditions,
    Any,
}

/// An attribute of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Attribute {
    pub(crate) kind: AttributeKind,
    pub(crate) default: Data,
    pub(crate) mandatory: bool,
    pub(crate) selectable: bool,
    pub(crate) doc: String,
}

/// What `attrs.string(…)` and its like give.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct AttributeSpec(#[allocative(skip)] pub(crate) Attribute);
starlark_simple_value!(AttributeSpec);

#[starlark_value(type = "attribute")]
impl<'v> StarlarkValue<'v> for AttributeSpec {}

impl fmt::Display for AttributeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<attribute {}>", self.0.kind)
    }
}

impl fmt::Display for AttributeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |class: &Option<KindClass>| class.map_or("step", KindClass::word);
        match self {
            Self::String => f.write_str("string"),
            Self::Int => f.write_str("int"),
            Self::Bool => f.write_str("bool"),
            Self::List(inner) => write!(f, "list of {inner}"),
            Self::Dict(inner) => write!(f, "dict of {inner}"),
            Self::Label(_) => f.write_str("label"),
            Self::Source => f.write_str("label of a file"),
            Self::Sources => f.write_str("list of labels of files"),
            Self::Output => f.write_str("name of an output"),
            Self::Step(class) => f.write_str(of(class)),
            Self::Steps(class) => write!(f, "list of {}s", of(class)),
            Self::Chain => f.write_str("source"),
            Self::Platforms => f.write_str("list of platforms"),
            Self::Conditions => f.write_str("dict of strings"),
            Self::Any => f.write_str("any data"),
        }
    }
}

impl AttributeKind {
    /// What the attribute is if neither the target nor the rule says.
    pub(crate) fn implicit_default(&self) -> Data {
        match self {
            Self::String => Data::string(""),
            Self::Int => Data::Int(0),
            Self::Bool => Data::Bool(false),
            Self::List(_) | Self::Sources | Self::Steps(_) | Self::Platforms => Data::list([]),
            Self::Dict(_) | Self::Conditions => Data::Dict(Arc::from([])),
            Self::Label(_) | Self::Source | Self::Output | Self::Step(_) | Self::Chain | Self::Any => {
                Data::None
            }
        }
    }

    /// Whether two values of this type can be joined by `+`.
    fn can_be_summed(&self) -> bool {
        matches!(
            self,
            Self::String
                | Self::List(_)
                | Self::Dict(_)
                | Self::Sources
                | Self::Steps(_)
                | Self::Conditions
                | Self::Any
        )
    }

    /// Checks data and gives it its form: labels are read, platforms and modes spelt in one way.
    pub(crate) fn coerce(&self, data: Data, context: &Context<'_>) -> Result<Data, Problem> {
        let items = |items: &Arc<[Data]>, kind: &Self| {
            items
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    kind.coerce(item.clone(), context)
                        .map_err(|problem| problem.within(&format!("item {}", index + 1)))
                })
                .collect::<Result<_, _>>()
                .map(Data::List)
        };
        match (self, &data) {
            (Self::Any, _)
            | (Self::String, Data::String(_))
            | (Self::Int, Data::Int(_))
            | (Self::Bool, Data::Bool(_))
            | (Self::Chain, Data::Source(_))
            | (Self::Label(_) | Self::Source, Data::Label(_)) => Ok(data),
            (Self::List(inner), Data::List(list)) => items(list, inner),
            (Self::Dict(inner), Data::Dict(entries)) => entries
                .iter()
                .map(|(key, value)| {
                    let value = inner
                        .coerce(value.clone(), context)
                        .map_err(|problem| problem.within(&format!("entry `{key}`")))?;
                    Ok((key.clone(), value))
                })
                .collect::<Result<_, _>>()
                .map(Data::Dict),
            (Self::Label(_) | Self::Source, Data::String(text)) => context.label(text).map(Data::Label),
            (Self::Sources, Data::List(list)) => items(list, &Self::Source),
            (Self::Output, Data::String(text)) => {
                if text.is_empty() || WorkspacePath::new(text).is_err() {
                    return Err(Problem::new(format!("`{text}` is not the name of an output"))
                        .hint("write a relative path without `..`, for example `bin/tool`"));
                }
                Ok(data)
            }
            (Self::Step(class), Data::Step(step)) => {
                let found = crate::schema::kind(step.kind.as_str()).map(|kind| kind.schema.class);
                match (class, found) {
                    (Some(class), Some(found)) if *class != found => Err(Problem::new(format!(
                        "`{}` is no {} but {}",
                        step.kind,
                        class.word(),
                        with_article(found.word())
                    ))),
                    _ => Ok(data),
                }
            }
            (Self::Steps(class), Data::List(list)) => {
                let step = Self::Step(*class);
                for (index, item) in list.iter().enumerate() {
                    step.coerce(item.clone(), context)
                        .map_err(|problem| problem.within(&format!("item {}", index + 1)))?;
                }
                Ok(data)
            }
            (Self::Step(_), Data::List(_)) => {
                Err(self.wrong(&data).hint("join lists with `+`: `steps = COMMON + [shell(\"...\")]`"))
            }
            (Self::Platforms, Data::List(list)) => list
                .iter()
                .map(|item| match item {
                    Data::String(text) => platform(text).map(|platform| Data::string(&platform.to_string())),
                    other => Err(Self::String.wrong(other)),
                })
                .collect::<Result<_, _>>()
                .map(Data::List),
            (Self::Conditions, Data::Dict(entries)) => entries
                .iter()
                .map(|(key, value)| {
                    let text = value
                        .as_str()
                        .ok_or_else(|| Self::String.wrong(value).within(&format!("entry `{key}`")))?;
                    let value = match &**key {
                        "platform" => Data::string(&platform(text)?.to_string()),
                        "arch" => Data::string(platform(text)?.architecture.oci_name()),
                        _ => value.clone(),
                    };
                    Ok((key.clone(), value))
                })
                .collect::<Result<_, _>>()
                .map(Data::Dict),
            (Self::List(_) | Self::Sources, Data::String(text)) => {
                Err(self.wrong(&data).hint(format!("write `[\"{text}\"]`")))
            }
            (Self::Steps(_), Data::Step(step)) => {
                Err(self.wrong(&data).hint(format!("put it in a list: `[{}(...)]`", step.kind)))
            }
            _ => Err(self.wrong(&data)),
        }
    }

    fn wrong(&self, data: &Data) -> Problem {
        Problem::new(format!("expected {self}, got {}", data.type_name()))
    }
}

pub(crate) fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

fn platform(text: &str) -> Result<Platform, Problem> {
    text.parse::<Platform>().map_err(|error| Problem::new(error.to_string()))
}

impl Attribute {
    /// What a target's declaration says of this attribute.
    ///
    /// # Errors
    /// If the value does not fit; every branch of a `select()` is checked.
    pub(crate) fn coerce(&self, value: Value<'_>, context: &Context<'_>) -> Result<AttributeValue, Problem> {
        let Some(select) = SelectValue::from_value(value) else {
            return self.concrete(to_data(value)?, context).map(AttributeValue::Concrete);
        };
        if !self.selectable {
            return Err(Problem::new("`select()` cannot be used here")
                .hint("this attribute is read before choices are made"));
        }
        if select.0.len() > 1 && !self.kind.can_be_summed() {
            return Err(Problem::new(format!("values of type {} cannot be joined by `+`", self.kind)));
        }
        let mut parts = select.0.iter().map(|part| self.part(part, context));
        if select.0.len() == 1 {
            return parts.next().expect("there is one");
        }
        parts.collect::<Result<_, _>>().map(AttributeValue::Sum)
    }

    fn part(&self, part: &Part, context: &Context<'_>) -> Result<AttributeValue, Problem> {
        match part {
            Part::Value(data) => self.concrete(data.clone(), context).map(AttributeValue::Concrete),
            Part::Select(branches) => branches
                .iter()
                .map(|(condition, data)| {
                    let branch = || -> Result<_, Problem> {
                        Ok(SelectBranch {
                            condition: condition_label(condition, context)?,
                            value: self.concrete(data.clone(), context)?,
                        })
                    };
                    branch().map_err(|problem| problem.within(&format!("branch `{condition}`")))
                })
                .collect::<Result<_, _>>()
                .map(AttributeValue::Select),
        }
    }

    fn concrete(&self, data: Data, context: &Context<'_>) -> Result<Data, Problem> {
        if data == Data::None && !matches!(self.kind, AttributeKind::Any) {
            if self.mandatory {
                return Err(Problem::new(format!("expected {}, got None", self.kind)));
            }
            return Ok(self.default.clone());
        }
        self.kind.coerce(data, context)
    }
}

fn condition_label(text: &str, context: &Context<'_>) -> Result<Option<Label>, Problem> {
    if text == DEFAULT { Ok(None) } else { context.label(text).map(Some) }
}
