//! Objects and `for` expressions.

use std::sync::Arc;

use super::{Evaluation, Scope};
use crate::syntax::ExprRef;
use crate::syntax::ast::{For, ObjectItem};
use crate::value::{Entries, Mark, Marks, Type, Value, convert};

/// What became of a key.
enum Key {
    Known(Arc<str>),
    Unknown,
    Wrong,
}

impl Evaluation {
    pub(super) fn object(&mut self, expr: ExprRef<'_>, items: &[ObjectItem], scope: &Scope<'_>) -> Value {
        let mut entries = Entries::new();
        let mut marks = Marks::default();
        let mut known = true;
        for item in items {
            let key = match item.bare_key() {
                Some(name) => Key::Known(name.into()),
                None => self.key(expr.at(&item.key), scope, &mut marks),
            };
            let value = self.value(expr.at(&item.value), scope);
            match key {
                Key::Known(name) => {
                    entries.insert(name, value);
                }
                Key::Unknown | Key::Wrong => known = false,
            }
        }
        let object = if known { Value::object(entries) } else { Value::dynamic() };
        object.with_marks(&marks)
    }

    fn key(&mut self, expr: ExprRef<'_>, scope: &Scope<'_>, marks: &mut Marks) -> Key {
        let (key, more) = self.value(expr, scope).unmark_deep();
        marks.extend(&more);
        if key.is_null() {
            self.fail(expr.error("a key is null"));
            return Key::Wrong;
        }
        match convert(&key, &Type::String) {
            Ok(key) => key.as_shared_str().map_or(Key::Unknown, Key::Known),
            Err(_) => {
                self.fail(expr.error(format!("a key is a string, but this is {}", key.ty().article_name())));
                Key::Wrong
            }
        }
    }

    pub(super) fn for_expression(&mut self, expr: ExprRef<'_>, parts: &For, scope: &Scope<'_>) -> Value {
        let over = expr.at(&parts.collection);
        let (collection, mut marks) = self.value(over, scope).unmark();
        if collection.is_null() {
            return self.fail(over.error("`for` cannot walk over null"));
        }
        if *collection.ty() == Type::Dynamic {
            return Value::dynamic().with_marks(&marks);
        }
        let pairs = pairs(&collection);
        // What is wrong with the condition whatever the element does not wait for one.
        if parts.condition.is_some() {
            let any = bound(scope, parts, Value::dynamic(), Value::dynamic());
            let mut its_marks = Marks::default();
            self.included(expr, parts, &any, &mut its_marks);
            if pairs.is_none() {
                marks.extend(&its_marks);
            }
        }
        let Some(pairs) = pairs else {
            if collection.ty().is_primitive() {
                let name = collection.ty().name();
                return self.fail(
                    over.error(format!("`for` cannot walk over a {name}"))
                        .hint("it walks over lists, sets, tuples, maps and objects"),
                );
            }
            return Value::dynamic().with_marks(&marks);
        };
        let mut elements = Vec::new();
        let mut keyed: Vec<(Arc<str>, Value)> = Vec::new();
        let mut known = true;
        for (key, value) in pairs {
            let inner = bound(scope, parts, key, value);
            match self.included(expr, parts, &inner, &mut marks) {
                Some(true) => {}
                Some(false) => continue,
                None => {
                    known = false;
                    continue;
                }
            }
            let Some(key) = &parts.key else {
                elements.push(self.value(expr.at(&parts.value), &inner));
                continue;
            };
            let name = self.key(expr.at(key), &inner, &mut marks);
            let value = self.value(expr.at(&parts.value), &inner);
            match name {
                Key::Known(name) => keyed.push((name, value)),
                Key::Unknown | Key::Wrong => known = false,
            }
        }
        let result = match (known, &parts.key) {
            (false, _) => Value::dynamic(),
            (true, None) => Value::tuple(elements),
            (true, Some(key)) => {
                self.keyed(expr.at(key), parts.group, marks.contains(&Mark::SENSITIVE), keyed)
            }
        };
        result.with_marks(&marks)
    }

    /// Whether an element stays; `None` if that is unknown or wrong.
    fn included(
        &mut self,
        expr: ExprRef<'_>,
        parts: &For,
        scope: &Scope<'_>,
        marks: &mut Marks,
    ) -> Option<bool> {
        let Some(condition) = &parts.condition else { return Some(true) };
        let (stays, more) = self.condition(expr.at(condition), scope);
        marks.extend(&more);
        stays
    }

    fn keyed(
        &mut self,
        key: ExprRef<'_>,
        group: bool,
        sensitive: bool,
        pairs: Vec<(Arc<str>, Value)>,
    ) -> Value {
        if group {
            let mut groups: std::collections::BTreeMap<Arc<str>, Vec<Value>> = Default::default();
            for (name, value) in pairs {
                groups.entry(name).or_default().push(value);
            }
            return Value::object(groups.into_iter().map(|(name, all)| (name, Value::tuple(all))).collect());
        }
        let mut entries = Entries::new();
        for (name, value) in pairs {
            if entries.contains_key(&name) {
                return self.fail(
                    key.error(if sensitive {
                        "two elements have the same key, which is sensitive".to_owned()
                    } else {
                        format!("two elements have the key `{name}`")
                    })
                    .hint("write `...` after the value to group the elements of one key"),
                );
            }
            entries.insert(name, value);
        }
        Value::object(entries)
    }
}

/// The scope of one element.
fn bound<'a>(scope: &'a Scope<'_>, parts: &For, key: Value, value: Value) -> Scope<'a> {
    let mut inner = scope.child();
    if let Some(name) = &parts.key_name {
        inner.set_shared(name, key);
    }
    inner.set_shared(&parts.value_name, value);
    inner
}

/// Keys and elements in the order in which the language walks; `None` if they are not known or there cannot be any.
pub(super) fn pairs(collection: &Value) -> Option<Vec<(Value, Value)>> {
    if let Some(entries) = collection.entries() {
        return Some(entries.iter().map(|(name, value)| (Value::string(name), value.clone())).collect());
    }
    let elements = collection.elements()?;
    if matches!(collection.ty(), Type::Set(_)) {
        return Some(elements.iter().map(|element| (element.clone(), element.clone())).collect());
    }
    Some(elements.iter().enumerate().map(|(at, value)| (Value::int(at as i64), value.clone())).collect())
}
