//! How large and how deep a value is, counted when it is made. What a value shares with others, or with itself, counts
//! each time: whoever walks it meets it as often.

use super::{Data, Type, Value};

/// How many bytes of a text weigh as much as a value.
const BYTES: usize = 64;

/// The size of a value with its type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    weight: u32,
    depth: u16,
}

impl Size {
    const ONE: Self = Self { weight: 1, depth: 1 };
    const MOST: Self = Self { weight: u32::MAX, depth: u16::MAX };

    pub(super) fn of(ty: &Type, data: &Data) -> Self {
        match data {
            Data::Bool(_) | Data::Number(_) => Self::ONE,
            Data::String(text) => {
                Self { weight: u32::try_from(1 + text.len() / BYTES).unwrap_or(u32::MAX), depth: 1 }
            }
            Data::Unknown | Data::Null => Self::of_type(ty),
            Data::Sequence(elements) => Self::around(ty, elements.iter()),
            Data::Mapping(entries) => Self::around(ty, entries.values()),
        }
    }

    /// An empty list may be of a large type.
    fn around<'v>(ty: &Type, children: impl Iterator<Item = &'v Value>) -> Self {
        let element = ty.element().map_or(Self::ONE, Self::of_type);
        children.fold(element.inside(), |all, child| all.with(child.size.inside()))
    }

    fn of_type(ty: &Type) -> Self {
        match ty {
            Type::Dynamic | Type::Bool | Type::Number | Type::String => Self::ONE,
            _ => Self::counted(ty, &mut 0, 1),
        }
    }

    /// Counting ends where there is too much of it.
    fn counted(ty: &Type, seen: &mut u32, depth: u16) -> Self {
        *seen += 1;
        if *seen > Value::MOST_WEIGHT || depth > Value::MOST_DEPTH {
            return Self::MOST;
        }
        let mut all = Self::ONE;
        let mut add = |inner: &Type| all = all.with(Self::counted(inner, seen, depth + 1).inside());
        match ty {
            Type::Dynamic | Type::Bool | Type::Number | Type::String => {}
            Type::List(element) | Type::Set(element) | Type::Map(element) => add(element),
            Type::Tuple(elements) => elements.iter().for_each(add),
            Type::Object(object) => object.attributes.values().for_each(add),
        }
        all
    }

    fn inside(self) -> Self {
        Self { depth: self.depth.saturating_add(1), ..self }
    }

    fn with(self, other: Self) -> Self {
        Self { weight: self.weight.saturating_add(other.weight), depth: self.depth.max(other.depth) }
    }
}

impl Value {
    /// The most that an evaluation makes: so many values, each counted as often as it is met, or 64 MiB of text.
    pub const MOST_WEIGHT: u32 = 1 << 20;

    /// The most bytes of one text.
    pub(crate) const MOST_TEXT: usize = BYTES << 20;

    /// How deep values may be nested. Values are walked recursively, so this bounds the stack.
    pub const MOST_DEPTH: u16 = 384;

    /// How many values it is made of; a text counts for its length.
    pub(crate) fn weight(&self) -> u32 {
        self.size.weight
    }

    /// Why it is more than a program should keep, if it is.
    pub(crate) fn excess(&self) -> Option<String> {
        if self.size.depth > Self::MOST_DEPTH {
            return Some(format!("this value is nested more than {} deep", Self::MOST_DEPTH));
        }
        (self.size.weight > Self::MOST_WEIGHT).then(|| "this value is too large".to_owned())
    }
}
