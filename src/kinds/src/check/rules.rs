//! Rules between the attributes and blocks of a body.

use imgbuild_model::{Default, Field, Form, Node, NodeData, Rule, Table};

use super::{Checker, ProblemKind};

/// Whether something is given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Presence {
    No,
    /// Its value is not known yet.
    Maybe,
    Yes,
}

impl Checker {
    pub(super) fn rules(&mut self, table: &Table, body: &Node, fields: &[Field]) {
        for rule in table.all_rules() {
            let names: Vec<_> = rule.names().collect();
            let presence: Vec<_> = names.iter().map(|name| self.presence(fields, name)).collect();
            if self.broken(rule, table, fields, &presence) {
                let given: Vec<_> = names
                    .iter()
                    .zip(&presence)
                    .filter(|(_, presence)| **presence != Presence::No)
                    .map(|(name, _)| *name)
                    .collect();
                let place = given.last().and_then(|name| self.first(fields, name));
                let location = place.map_or(&body.location, |field| &field.location);
                self.error(location, ProblemKind::Rule { rule: *rule, given });
            }
        }
    }

    fn presence(&self, fields: &[Field], name: &str) -> Presence {
        if let Some((block, inner)) = name.split_once('.') {
            return self.presence_in_block(fields, block, inner);
        }
        let of = |field: &Field| match field.value.data {
            NodeData::Unknown => Presence::Maybe,
            _ if field.form == Form::Block => Presence::Yes,
            _ if field.value.is_zero() => Presence::No,
            _ => Presence::Yes,
        };
        fields.iter().filter(|field| self.same(&field.name, name)).map(of).max().unwrap_or(Presence::No)
    }

    fn presence_in_block(&self, fields: &[Field], block: &str, inner: &str) -> Presence {
        let of = |field: &Field| match &field.value.data {
            NodeData::List(bodies) => {
                bodies.iter().map(|body| self.presence_in_body(body, inner)).max().unwrap_or(Presence::No)
            }
            _ => self.presence_in_body(&field.value, inner),
        };
        fields.iter().filter(|field| self.same(&field.name, block)).map(of).max().unwrap_or(Presence::No)
    }

    fn presence_in_body(&self, body: &Node, name: &str) -> Presence {
        match &body.data {
            NodeData::Unknown => Presence::Maybe,
            NodeData::Object(fields) => self.presence(fields, name),
            _ => Presence::No,
        }
    }

    /// Whether a rule is broken whatever the unknown values turn out to be.
    fn broken(&self, rule: &Rule, table: &Table, fields: &[Field], presence: &[Presence]) -> bool {
        let count = |wanted: Presence| presence.iter().filter(|presence| **presence == wanted).count();
        let none = count(Presence::No) == presence.len();
        let several = count(Presence::Yes) > 1;
        let (first, others) =
            presence.split_first().map_or((Presence::No, presence), |(it, rest)| (*it, rest));
        match rule {
            Rule::ExactlyOne(_) => none || several,
            Rule::AtLeastOne(_) => none,
            Rule::AtMostOne(_) => several,
            Rule::Together(_) => count(Presence::Yes) > 0 && count(Presence::No) > 0,
            Rule::Needs(..) => first == Presence::Yes && others.contains(&Presence::No),
            Rule::Excludes(..) => first == Presence::Yes && others.contains(&Presence::Yes),
            Rule::All(_) => presence.contains(&Presence::No),
            Rule::When { attribute, values, then } => {
                self.is_one_of(table, fields, attribute, values) && self.broken(then, table, fields, presence)
            }
        }
    }

    fn is_one_of(&self, table: &Table, fields: &[Field], name: &str, values: &[&str]) -> bool {
        let default = || match table.attribute(name).map(|attribute| attribute.default) {
            Some(Default::String(text)) => values.contains(&text),
            _ => false,
        };
        match self.first(fields, name).map(|field| &field.value.data) {
            Some(NodeData::String(text)) if !text.is_empty() => values.contains(&&**text),
            Some(NodeData::Bool(value)) => values.contains(&if *value { "true" } else { "false" }),
            Some(NodeData::Null | NodeData::String(_)) | None => default(),
            _ => false,
        }
    }
}
