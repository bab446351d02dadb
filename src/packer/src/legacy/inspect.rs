//! `inspect`: what a template in JSON holds, in the form that other tools read.

use super::{MASKED, Template, Variable};

/// One thing that is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// For people. It may hold line breaks.
    Say(String),
    /// For programs: a type and its values.
    Machine(&'static str, Vec<String>),
}

/// All lines. Nothing is rendered: names and defaults stand as they are written.
#[must_use]
pub fn inspect(template: &Template) -> Vec<Line> {
    let mut lines = Lines(Vec::new());
    lines.say("Packer Inspect: JSON mode");
    if let Some(description) = template.description.as_ref().filter(|text| !text.text.is_empty()) {
        lines.say("Description:\n");
        lines.say(&format!("{}\n", description.text));
    }
    lines.variables(template);
    lines.say("");
    lines.builders(template);
    lines.say("");
    lines.provisioners(template);
    lines.say("\nNote: names and defaults stand here as they are written. What is in braces is\nworked out when a build starts.");
    lines.0
}

struct Lines(Vec<Line>);

impl Lines {
    fn say(&mut self, text: &str) {
        self.0.push(Line::Say(text.to_owned()));
    }

    fn machine(&mut self, kind: &'static str, values: &[&str]) {
        self.0.push(Line::Machine(kind, values.iter().map(|&value| value.to_owned()).collect()));
    }

    fn variables(&mut self, template: &Template) {
        if template.variables.is_empty() {
            self.say("Variables:\n");
            self.say("  <No variables>");
            return;
        }
        let mut variables: Vec<&Variable> = template.variables.iter().collect();
        variables.sort_by_key(|variable| &variable.name.text);
        let required: Vec<_> = variables.iter().filter(|variable| variable.default.is_none()).collect();
        if !required.is_empty() {
            self.say("Required variables:\n");
            for variable in &required {
                self.machine("template-variable", &[&variable.name.text, "", "1"]);
                self.say(&format!("  {}", variable.name.text));
            }
            self.say("");
        }
        self.say("Optional variables and their defaults:\n");
        let width = widest(variables.iter().map(|variable| &*variable.name.text));
        let secrets = secrets(template);
        for variable in variables {
            let Some(default) = &variable.default else { continue };
            let name = &variable.name.text;
            let shown = if secrets.contains(&&*default.text) { MASKED } else { &*default.text };
            self.machine("template-variable", &[name, shown, "0"]);
            self.say(&format!("  {name}{} = {shown}", padding(name, width)));
        }
    }

    fn builders(&mut self, template: &Template) {
        self.say("Builders:\n");
        if template.builders.is_empty() {
            self.say("  <No builders>");
        }
        let mut builders: Vec<_> = template.builders.iter().collect();
        builders.sort_by_key(|builder| &builder.name.text);
        let width = widest(builders.iter().map(|builder| &*builder.name.text));
        for builder in builders {
            let (name, kind) = (&builder.name.text, &builder.kind.text);
            let of_kind = if name == kind { String::new() } else { format!(" ({kind})") };
            self.machine("template-builder", &[name, kind]);
            self.say(&format!("  {name}{}{of_kind}", padding(name, width)));
        }
    }

    fn provisioners(&mut self, template: &Template) {
        self.say("Provisioners:\n");
        if template.provisioners.is_empty() {
            self.say("  <No provisioners>");
        }
        for provisioner in &template.provisioners {
            self.machine("template-provisioner", &[&provisioner.kind.text]);
            self.say(&format!("  {}", provisioner.kind.text));
        }
    }
}

/// Defaults of sensitive variables. One that is equal to such a default is not shown either.
fn secrets(template: &Template) -> Vec<&str> {
    let is_sensitive = |variable: &&Variable| {
        template.sensitive.iter().any(|sensitive| sensitive.text == variable.name.text)
    };
    let sensitive = template.variables.iter().filter(is_sensitive);
    sensitive.filter_map(|variable| variable.default.as_ref()).map(|default| &*default.text).collect()
}

fn widest<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(str::len).max().unwrap_or_default()
}

fn padding(name: &str, width: usize) -> String {
    " ".repeat(width - name.len())
}
