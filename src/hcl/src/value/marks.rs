//! Marks: what is said of a value, and of all that is made of it; above all that it is sensitive.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Data, Path, PathStep, Value};

/// What is said of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(Cow<'static, str>);

impl Mark {
    /// The value must not be shown.
    pub const SENSITIVE: Self = Self(Cow::Borrowed("sensitive"));

    /// Some other mark.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// The marks of one value. Empty costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(Option<Arc<BTreeSet<Mark>>>);

/// The marks of the values inside a value, by path.
pub type PathMarks = Vec<(Path, Marks)>;

impl Marks {
    /// One mark.
    #[must_use]
    pub fn one(mark: Mark) -> Self {
        Self(Some(Arc::new(BTreeSet::from([mark]))))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether this mark is among them.
    #[must_use]
    pub fn contains(&self, mark: &Mark) -> bool {
        self.iter().any(|own| own == mark)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Mark> {
        self.0.iter().flat_map(|set| set.iter())
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, None) => {}
            (None, Some(_)) => self.0.clone_from(&other.0),
            (Some(own), Some(other)) => {
                if !Arc::ptr_eq(own, other) && !other.is_subset(own) {
                    Arc::make_mut(own).extend(other.iter().cloned());
                }
            }
        }
    }
}

impl Value {
    /// The marks of the value itself, not of what is in it.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Whether it has a mark itself.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Whether it, or anything in it, has this mark.
    #[must_use]
    pub fn contains_mark(&self, mark: &Mark) -> bool {
        self.marks.contains(mark) || self.children().any(|child| child.contains_mark(mark))
    }

    /// Whether it, or anything in it, is sensitive.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.contains_mark(&Mark::SENSITIVE)
    }

    fn children(&self) -> impl Iterator<Item = &Self> {
        self.elements().into_iter().flatten().chain(self.entries().into_iter().flat_map(|map| map.values()))
    }

    /// The same with one mark more.
    #[must_use]
    pub fn mark(self, mark: Mark) -> Self {
        self.with_marks(&Marks::one(mark))
    }

    /// The same with these marks too.
    #[must_use]
    pub fn with_marks(mut self, marks: &Marks) -> Self {
        self.marks.extend(marks);
        self
    }

    /// The same with the marks of other values too.
    #[must_use]
    pub fn with_marks_of<'a>(self, others: impl IntoIterator<Item = &'a Self>) -> Self {
        others.into_iter().fold(self, |value, other| value.with_marks(&other.marks))
    }

    /// The value and its own marks apart.
    #[must_use]
    pub fn unmark(mut self) -> (Self, Marks) {
        let marks = std::mem::take(&mut self.marks);
        (self, marks)
    }

    /// The value without any mark in it, and all of the marks.
    #[must_use]
    pub fn unmark_deep(self) -> (Self, Marks) {
        let mut marks = Marks::default();
        if !self.has_marks() {
            return (self, marks);
        }
        let (value, by_path) = self.unmark_with_paths();
        for (_, more) in &by_path {
            marks.extend(more);
        }
        (value, marks)
    }

    /// The marks of it and of everything in it.
    #[must_use]
    pub fn marks_deep(&self) -> Marks {
        let mut marks = self.marks.clone();
        for child in self.children() {
            marks.extend(&child.marks_deep());
        }
        marks
    }

    fn has_marks(&self) -> bool {
        self.is_marked() || self.children().any(Self::has_marks)
    }

    /// The value without any mark in it, and where the marks were.
    #[must_use]
    pub fn unmark_with_paths(self) -> (Self, PathMarks) {
        let mut found = PathMarks::new();
        let value = strip(&self, &mut Path::root(), &mut found);
        (value, found)
    }

    /// The marks put back where they were. A path that leads nowhere marks the last value on its way.
    #[must_use]
    pub fn mark_with_paths(self, marks: &PathMarks) -> Self {
        marks.iter().fold(self, |value, (path, marks)| mark_at(&value, &path.0, marks))
    }
}

fn strip(value: &Value, path: &mut Path, found: &mut PathMarks) -> Value {
    if !value.marks.is_empty() {
        found.push((path.clone(), value.marks.clone()));
    }
    let data = match &value.data {
        Data::Sequence(elements) => Data::Sequence(
            elements
                .iter()
                .enumerate()
                .map(|(index, element)| {
                    path.0.push(PathStep::Index(index));
                    let element = strip(element, path, found);
                    path.0.pop();
                    element
                })
                .collect(),
        ),
        Data::Mapping(entries) => {
            let is_map = value.ty.element().is_some();
            let strip_entry = |(name, element): (&Arc<str>, &Value)| {
                let name = Arc::clone(name);
                let step = if is_map { PathStep::Key } else { PathStep::Attribute };
                path.0.push(step(Arc::clone(&name)));
                let element = strip(element, path, found);
                path.0.pop();
                (name, element)
            };
            Data::Mapping(Arc::new(entries.iter().map(strip_entry).collect()))
        }
        other => other.clone(),
    };
    Value { ty: value.ty.clone(), data, marks: Marks::default(), size: value.size }
}

fn mark_at(value: &Value, path: &[PathStep], marks: &Marks) -> Value {
    let mut value = value.clone();
    let found = match (path.split_first(), &mut value.data) {
        (Some((PathStep::Index(index), rest)), Data::Sequence(elements)) => {
            let mut all = elements.to_vec();
            let found = all.get_mut(*index).map(|element| *element = mark_at(element, rest, marks)).is_some();
            *elements = all.into();
            found
        }
        (Some((PathStep::Key(name) | PathStep::Attribute(name), rest)), Data::Mapping(entries)) => {
            Arc::make_mut(entries)
                .get_mut(name)
                .map(|element| *element = mark_at(element, rest, marks))
                .is_some()
        }
        _ => false,
    };
    if found { value } else { value.with_marks(marks) }
}
