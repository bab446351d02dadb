//! Values as `cty` has them: typed, and each either known, null or unknown; with marks that follow what is made of them.
//!
//! A clone is cheap. Elements of a list, set or map have one type; those of a tuple or an object a type each. Strings are
//! in Unicode normalization form C. The accessors (`as_str`, `elements`, …) look through marks: whoever makes a new value
//! of what they return carries the marks over ([`Value::with_marks_of`]); functions have it done for them.

mod convert;
mod json;
mod marks;
mod number;
mod order;
mod path;
mod render;
mod size;
mod types;
mod unify;

use std::collections::BTreeMap;
use std::sync::Arc;

use unicode_normalization::{UnicodeNormalization, is_nfc_quick};

pub use convert::{ConvertError, convert, convertible, convertible_safely};
pub use json::{JsonError, from_json, implied_type, to_json};
pub use marks::{Mark, Marks, PathMarks};
pub use number::{Number, NumberError, PRECISION};
pub use path::{Path, PathStep};
pub use render::quote;
use size::Size;
pub use types::{ObjectType, Type};
pub use unify::{unify, unify_safely};

/// Elements by key or name, in the order of their names.
pub type Entries = BTreeMap<Arc<str>, Value>;

/// A value.
#[derive(Clone, Debug)]
pub struct Value {
    ty: Type,
    data: Data,
    marks: Marks,
    size: Size,
}

#[derive(Clone, Debug)]
enum Data {
    Unknown,
    Null,
    Bool(bool),
    Number(Arc<Number>),
    String(Arc<str>),
    Sequence(Arc<[Value]>),
    Mapping(Arc<Entries>),
}

/// Text in normalization form C.
#[must_use]
pub fn normalize(text: &str) -> Arc<str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == unicode_normalization::IsNormalized::Yes {
        text.into()
    } else {
        text.nfc().collect::<String>().into()
    }
}

/// Constructors.
impl Value {
    fn new(ty: Type, data: Data) -> Self {
        let size = Size::of(&ty, &data);
        Self { ty, data, marks: Marks::default(), size }
    }

    /// A string, normalized.
    #[must_use]
    pub fn string(text: impl AsRef<str>) -> Self {
        Self::new(Type::String, Data::String(normalize(text.as_ref())))
    }

    /// A number.
    #[must_use]
    pub fn number(number: Number) -> Self {
        Self::new(Type::Number, Data::Number(Arc::new(number)))
    }

    /// A whole number.
    #[must_use]
    pub fn int(number: i64) -> Self {
        Self::number(number.into())
    }

    /// A truth value.
    #[must_use]
    pub fn bool(value: bool) -> Self {
        Self::new(Type::Bool, Data::Bool(value))
    }

    /// Nothing, of a type.
    #[must_use]
    pub fn null(ty: Type) -> Self {
        Self::new(ty, Data::Null)
    }

    /// Something of a type that is not known yet.
    #[must_use]
    pub fn unknown(ty: Type) -> Self {
        Self::new(ty, Data::Unknown)
    }

    /// Something of which not even the type is known yet.
    #[must_use]
    pub fn dynamic() -> Self {
        Self::unknown(Type::Dynamic)
    }

    /// A list of elements that have the type `element` each.
    #[must_use]
    pub fn list(element: Type, elements: impl Into<Arc<[Self]>>) -> Self {
        Self::new(Type::list(element), Data::Sequence(elements.into()))
    }

    /// A list of strings.
    #[must_use]
    pub fn strings<S: AsRef<str>>(elements: impl IntoIterator<Item = S>) -> Self {
        Self::list(Type::String, elements.into_iter().map(Self::string).collect::<Vec<_>>())
    }

    /// A set: sorted, each element once. Marks of elements become marks of the set.
    #[must_use]
    pub fn set(element: Type, elements: Vec<Self>) -> Self {
        let mut marks = Marks::default();
        let mut elements: Vec<Self> = elements
            .into_iter()
            .map(|element| {
                let (element, inner) = element.unmark_deep();
                marks.extend(&inner);
                element
            })
            .collect();
        order::sort(&mut elements);
        elements.dedup_by(|a, b| a.is_wholly_known() && a == b);
        Self { marks, ..Self::new(Type::set(element), Data::Sequence(elements.into())) }
    }

    /// A map of elements that have the type `element` each.
    #[must_use]
    pub fn map(element: Type, entries: Entries) -> Self {
        Self::new(Type::map(element), Data::Mapping(Arc::new(entries)))
    }

    /// A tuple.
    #[must_use]
    pub fn tuple(elements: impl Into<Arc<[Self]>>) -> Self {
        let elements = elements.into();
        Self::new(Type::tuple(elements.iter().map(|value| value.ty.clone())), Data::Sequence(elements))
    }

    /// An object.
    #[must_use]
    pub fn object(entries: Entries) -> Self {
        let ty = Type::object(entries.iter().map(|(name, value)| (Arc::clone(name), value.ty.clone())));
        Self::new(ty, Data::Mapping(Arc::new(entries)))
    }

    /// An object of pairs; a later one of the same name wins.
    #[must_use]
    pub fn object_of<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::object(entries.into_iter().map(|(name, value)| (normalize(name.as_ref()), value)).collect())
    }

    /// The elements again in the collection that they came from: the same kind, the types as the elements now have them
    /// (for a list, set or map the type of the first, or the old one if there is none).
    fn rebuild_sequence(&self, elements: Vec<Self>) -> Self {
        let one = || elements.first().map_or_else(|| self.element_type(), |first| first.ty.clone());
        let mut value = match &self.ty {
            Type::Set(_) => Self::set(one(), elements),
            Type::List(_) => Self::list(one(), elements),
            _ => Self::tuple(elements),
        };
        value.marks.extend(&self.marks);
        value
    }

    fn rebuild_mapping(&self, entries: Entries) -> Self {
        let one = || entries.values().next().map_or_else(|| self.element_type(), |first| first.ty.clone());
        let mut value = match &self.ty {
            Type::Map(_) => Self::map(one(), entries),
            _ => Self::object(entries),
        };
        value.marks.extend(&self.marks);
        value
    }

    fn element_type(&self) -> Type {
        self.ty.element().cloned().unwrap_or(Type::Dynamic)
    }

    /// Each value inside, replaced; leaves first, containers rebuilt of what came out.
    #[must_use]
    pub fn map_leaves(&self, replace: &mut dyn FnMut(&Self) -> Self) -> Self {
        match &self.data {
            Data::Sequence(elements) => {
                self.rebuild_sequence(elements.iter().map(|element| element.map_leaves(replace)).collect())
            }
            Data::Mapping(entries) => self.rebuild_mapping(
                entries.iter().map(|(name, value)| (Arc::clone(name), value.map_leaves(replace))).collect(),
            ),
            _ => replace(self),
        }
    }
}

/// Looking in.
impl Value {
    /// Its type.
    #[must_use]
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    /// Whether it is known itself; elements may be unknown.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self.data, Data::Unknown)
    }

    /// Whether it is known with all that is in it.
    #[must_use]
    pub fn is_wholly_known(&self) -> bool {
        match &self.data {
            Data::Unknown => false,
            Data::Sequence(elements) => elements.iter().all(Self::is_wholly_known),
            Data::Mapping(entries) => entries.values().all(Self::is_wholly_known),
            _ => true,
        }
    }

    /// Whether nothing in it may still turn out to be of another type.
    fn has_known_type(&self) -> bool {
        match &self.data {
            Data::Unknown => !self.ty.has_dynamic(),
            Data::Sequence(elements) => elements.iter().all(Self::has_known_type),
            Data::Mapping(entries) => entries.values().all(Self::has_known_type),
            _ => true,
        }
    }

    /// The text of a known string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::String(text) => Some(text),
            _ => None,
        }
    }

    /// The shared text of a known string.
    #[must_use]
    pub fn as_shared_str(&self) -> Option<Arc<str>> {
        match &self.data {
            Data::String(text) => Some(Arc::clone(text)),
            _ => None,
        }
    }

    /// A known number.
    #[must_use]
    pub fn as_number(&self) -> Option<&Number> {
        match &self.data {
            Data::Number(number) => Some(number),
            _ => None,
        }
    }

    /// A known truth value.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match &self.data {
            Data::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of a known list, set or tuple.
    #[must_use]
    pub fn elements(&self) -> Option<&[Self]> {
        match &self.data {
            Data::Sequence(elements) => Some(elements),
            _ => None,
        }
    }

    /// The elements of a known map or object.
    #[must_use]
    pub fn entries(&self) -> Option<&Entries> {
        match &self.data {
            Data::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// An attribute of a known object, or an element of a known map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entries()?.get(name)
    }

    /// How many elements a known container has.
    #[must_use]
    pub fn len(&self) -> Option<usize> {
        self.elements().map(<[Self]>::len).or_else(|| self.entries().map(BTreeMap::len))
    }

    /// Whether it is a known container without elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Whether both are the same by the language's `==`: unknown when that depends on something unknown; marks of both
    /// follow.
    #[must_use]
    pub fn equals(&self, other: &Self) -> Self {
        let (left, mut marks) = self.clone().unmark_deep();
        let (right, more) = other.clone().unmark_deep();
        marks.extend(&more);
        let equal = match equality(&left, &right) {
            Some(equal) => Self::bool(equal),
            None => Self::unknown(Type::Bool),
        };
        equal.with_marks(&marks)
    }
}

/// Whether two values without marks are equal; `None` when it is not known.
fn equality(left: &Value, right: &Value) -> Option<bool> {
    if let (Data::Null, Data::Null) = (&left.data, &right.data) {
        return Some(true);
    }
    if !left.is_known() || !right.is_known() {
        let open = |value: &Value| value.ty.has_dynamic();
        // A null of any type equals a null, and what is unknown may be one.
        let never_null = |value: &Value| value.is_known() && !value.is_null();
        let apart = left.ty != right.ty && !open(left) && !open(right);
        return (apart && (never_null(left) || never_null(right))).then_some(false);
    }
    if left.is_null() || right.is_null() {
        return Some(false);
    }
    if !left.has_known_type() || !right.has_known_type() {
        return (!may_be_same(&left.ty, &right.ty)).then_some(false);
    }
    if left.ty != right.ty {
        return Some(false);
    }
    match (&left.data, &right.data) {
        (Data::Bool(a), Data::Bool(b)) => Some(a == b),
        (Data::Number(a), Data::Number(b)) => Some(a == b),
        (Data::String(a), Data::String(b)) => Some(a == b),
        (Data::Sequence(a), Data::Sequence(b)) if matches!(left.ty, Type::Set(_)) => {
            if !left.is_wholly_known() || !right.is_wholly_known() {
                return None;
            }
            Some(a == b)
        }
        (Data::Sequence(a), Data::Sequence(b)) => {
            if a.len() != b.len() {
                return Some(false);
            }
            all_equal(a.iter().zip(b.iter()))
        }
        (Data::Mapping(a), Data::Mapping(b)) => {
            if !a.keys().eq(b.keys()) {
                return Some(false);
            }
            all_equal(a.values().zip(b.values()))
        }
        _ => Some(false),
    }
}

/// Whether two types can turn out to be the same once all of both is known.
fn may_be_same(left: &Type, right: &Type) -> bool {
    match (left, right) {
        (Type::Dynamic, _) | (_, Type::Dynamic) => true,
        (Type::List(a), Type::List(b)) | (Type::Set(a), Type::Set(b)) | (Type::Map(a), Type::Map(b)) => {
            may_be_same(a, b)
        }
        (Type::Tuple(a), Type::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| may_be_same(a, b))
        }
        (Type::Object(a), Type::Object(b)) => {
            let pairs = || a.attributes.values().zip(b.attributes.values());
            a.attributes.keys().eq(b.attributes.keys()) && pairs().all(|(a, b)| may_be_same(a, b))
        }
        (a, b) => a == b,
    }
}

fn all_equal<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>) -> Option<bool> {
    let mut all = Some(true);
    for (a, b) in pairs {
        match equality(a, b) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => all = None,
        }
    }
    all
}

impl PartialEq for Value {
    /// The very same value: type, content and marks; unknowns of one type are the same.
    fn eq(&self, other: &Self) -> bool {
        self.ty == other.ty
            && self.marks == other.marks
            && match (&self.data, &other.data) {
                (Data::Unknown, Data::Unknown) | (Data::Null, Data::Null) => true,
                (Data::Bool(a), Data::Bool(b)) => a == b,
                (Data::Number(a), Data::Number(b)) => a == b,
                (Data::String(a), Data::String(b)) => a == b,
                (Data::Sequence(a), Data::Sequence(b)) => a == b,
                (Data::Mapping(a), Data::Mapping(b)) => a == b,
                _ => false,
            }
    }
}

impl Eq for Value {}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::int(value)
    }
}

impl From<Number> for Value {
    fn from(value: Number) -> Self {
        Self::number(value)
    }
}
