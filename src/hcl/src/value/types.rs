//! Types of values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The type of a value, or a constraint on one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    /// Not known yet; as a constraint, any type.
    Dynamic,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// Unicode text.
    String,
    /// Elements of one type, in order.
    List(Arc<Type>),
    /// Elements of one type, each once.
    Set(Arc<Type>),
    /// Elements of one type, by key.
    Map(Arc<Type>),
    /// Elements of a type each, in order.
    Tuple(Arc<[Type]>),
    /// Elements of a type each, by name.
    Object(Arc<ObjectType>),
}

/// The attributes of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectType {
    /// Their types.
    pub attributes: BTreeMap<Arc<str>, Type>,
    /// Those that a conversion to this type may find missing. Types of values have none.
    pub optional: BTreeSet<Arc<str>>,
}

impl Type {
    /// `list(element)`
    #[must_use]
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    /// `set(element)`
    #[must_use]
    pub fn set(element: Self) -> Self {
        Self::Set(Arc::new(element))
    }

    /// `map(element)`
    #[must_use]
    pub fn map(element: Self) -> Self {
        Self::Map(Arc::new(element))
    }

    /// `tuple([…])`
    #[must_use]
    pub fn tuple(elements: impl IntoIterator<Item = Self>) -> Self {
        Self::Tuple(elements.into_iter().collect())
    }

    /// `object({…})`
    #[must_use]
    pub fn object<K: Into<Arc<str>>>(attributes: impl IntoIterator<Item = (K, Self)>) -> Self {
        let attributes = attributes.into_iter().map(|(name, ty)| (name.into(), ty)).collect();
        Self::Object(Arc::new(ObjectType { attributes, optional: BTreeSet::new() }))
    }

    /// Whether it is `string`, `number` or `bool`.
    #[must_use]
    pub fn is_primitive(&self) -> bool {
        matches!(self, Self::Bool | Self::Number | Self::String)
    }

    /// Whether a value of it has elements in an order: list, set, tuple.
    #[must_use]
    pub fn is_sequence(&self) -> bool {
        matches!(self, Self::List(_) | Self::Set(_) | Self::Tuple(_))
    }

    /// Whether a value of it has elements by name: map, object.
    #[must_use]
    pub fn is_mapping(&self) -> bool {
        matches!(self, Self::Map(_) | Self::Object(_))
    }

    /// The one type of all elements of a list, set or map.
    #[must_use]
    pub fn element(&self) -> Option<&Self> {
        match self {
            Self::List(element) | Self::Set(element) | Self::Map(element) => Some(element),
            _ => None,
        }
    }

    /// The attributes of an object.
    #[must_use]
    pub fn attributes(&self) -> Option<&BTreeMap<Arc<str>, Self>> {
        match self {
            Self::Object(object) => Some(&object.attributes),
            _ => None,
        }
    }

    /// Whether `Dynamic` stands anywhere in it.
    #[must_use]
    pub fn has_dynamic(&self) -> bool {
        match self {
            Self::Dynamic => true,
            Self::Bool | Self::Number | Self::String => false,
            Self::List(element) | Self::Set(element) | Self::Map(element) => element.has_dynamic(),
            Self::Tuple(elements) => elements.iter().any(Self::has_dynamic),
            Self::Object(object) => object.attributes.values().any(Self::has_dynamic),
        }
    }

    /// The same without optional attributes, as the type of a value is.
    #[must_use]
    pub fn without_optional(&self) -> Self {
        match self {
            Self::List(element) => Self::list(element.without_optional()),
            Self::Set(element) => Self::set(element.without_optional()),
            Self::Map(element) => Self::map(element.without_optional()),
            Self::Tuple(elements) => Self::tuple(elements.iter().map(Self::without_optional)),
            Self::Object(object) => Self::object(
                object.attributes.iter().map(|(name, ty)| (Arc::clone(name), ty.without_optional())),
            ),
            _ => self.clone(),
        }
    }

    /// The name for a sentence: `list of string`, `object`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Dynamic => "dynamic".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Number => "number".to_owned(),
            Self::String => "string".to_owned(),
            Self::List(element) => format!("list of {}", element.name()),
            Self::Set(element) => format!("set of {}", element.name()),
            Self::Map(element) => format!("map of {}", element.name()),
            Self::Tuple(_) => "tuple".to_owned(),
            Self::Object(_) => "object".to_owned(),
        }
    }

    /// The name with its article: `an object`.
    #[must_use]
    pub fn article_name(&self) -> String {
        format!("{} {}", if matches!(self, Self::Object(_)) { "an" } else { "a" }, self.name())
    }

    /// The name for a sentence that says what is needed: `any single type`, `list of any single type`.
    #[must_use]
    pub fn constraint_name(&self) -> String {
        match self {
            Self::Dynamic => "any type".to_owned(),
            Self::List(element) => format!("list of {}", element.constraint_name()),
            Self::Set(element) => format!("set of {}", element.constraint_name()),
            Self::Map(element) => format!("map of {}", element.constraint_name()),
            _ => self.name(),
        }
    }
}

impl fmt::Display for Type {
    /// As it is written in a template: `object({a=string})`; attributes of a name that is no identifier are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dynamic => f.write_str("any"),
            Self::Bool => f.write_str("bool"),
            Self::Number => f.write_str("number"),
            Self::String => f.write_str("string"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Set(element) => write!(f, "set({element})"),
            Self::Map(element) => write!(f, "map({element})"),
            Self::Tuple(elements) => {
                f.write_str("tuple([")?;
                for (index, element) in elements.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{element}")?;
                }
                f.write_str("])")
            }
            Self::Object(object) => {
                f.write_str("object({")?;
                for (index, (name, ty)) in object.attributes.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    if crate::syntax::is_identifier(name) {
                        write!(f, "{comma}{name}=")?;
                    } else {
                        write!(f, "{comma}{}=", super::quote(name))?;
                    }
                    if object.optional.contains(name) {
                        write!(f, "optional({ty})")?;
                    } else {
                        write!(f, "{ty}")?;
                    }
                }
                f.write_str("})")
            }
        }
    }
}
