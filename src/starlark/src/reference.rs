//! The reference: one page of Markdown about everything that a `BUILD.star` can call.
//!
//! Functions come with their docstrings, kinds with the tables of their schemas, rules and providers with what they
//! were declared with. Nothing is written here that is not read from where it is defined.

use std::fmt::Write as _;

use imgbuild_model::{AttributeSchema, Default, KindClass, KindSchema, Role};
use starlark::docs::{DocFunction, DocItem, DocMember, DocModule, DocParam, DocString};
use starlark::values::OwnedFrozenValue;

use crate::loader::base_globals;
use crate::schema::is_writable;
use crate::values::provider::ProviderType;
use crate::values::rule::{FrozenRule, RuleInfo};
use crate::{NoFiles, Starlark};

/// Headings, the classes of kinds whose functions stand below them, and what is said first.
const GROUPS: &[(&str, KindClass, &str)] = &[
    (
        "Sources",
        KindClass::Source,
        "Where the chain of an image starts: the attribute `source` of an `image`.",
    ),
    (
        "Steps",
        KindClass::Step,
        "What is done to an image: the attribute `steps` of an `image`. Steps are values: lists of them can be named, \
         joined by `+`, made by functions.",
    ),
    (
        "Exports",
        KindClass::Export,
        "In what forms an image comes out: the attribute `exports` of an `image`.",
    ),
    (
        "Checks",
        KindClass::Test,
        "What must hold of an image: the attributes `tests` of an `image` and `checks` of an `image_test`.",
    ),
];

/// The primitives, in the order of the page.
const PRIMITIVES: &[&str] = &["rule", "provider", "select", "glob", "package", "print", "range"];

/// The names that every file sees without loading anything, with their values.
pub(crate) fn public_names() -> Vec<(String, OwnedFrozenValue)> {
    let starlark = Starlark::default();
    let main = crate::module_id::ModuleId::prelude_main();
    let loaded = starlark
        .loader
        .module(&main, &NoFiles)
        .unwrap_or_else(|error| panic!("the prelude is broken: {error}"));
    let names = loaded.module.names().map(|name| name.as_str().to_owned()).collect::<Vec<_>>();
    let value = |name: String| loaded.module.get(&name).ok().map(|value| (name, value));
    names.into_iter().filter_map(value).collect()
}

/// The reference, in Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let names = public_names();
    let mut page = Page(String::from("# Reference of `BUILD.star`\n\n"));
    page.paragraph(
        "Everything on this page can be used in a `BUILD.star` and in a `.star` file without loading it. \
         Generated from the program: do not edit.",
    );
    page.paragraph(
        "Every rule takes `name`, `visibility` (a list of `//visibility:public`, `//visibility:private`, \
         `//a:__pkg__`, `//a:__subpackages__` and `//a/...`; private to its package if neither the target nor \
         `package()` says) and `tags` (a list of texts). A label is `//package:name`, `//package` (short for a target \
         named as the folder), `:name` or a file of the package. An attribute marked *Not keyed.* can \
         change without anything being built again.",
    );
    for (title, class, intro) in GROUPS {
        page.heading(2, title);
        page.paragraph(intro);
        for (name, value) in &names {
            let kind = imgbuild_kinds::find(name).filter(|kind| kind.class == *class);
            if let (Some(kind), DocItem::Member(DocMember::Function(function))) =
                (kind, value.value().documentation())
                && value.clone().downcast::<FrozenRule>().is_err()
            {
                page.function(name, &function);
                page.kind(kind);
            }
        }
    }
    page.heading(2, "Targets");
    page.paragraph("Rules: calling one declares a target.");
    for (name, value) in &names {
        if let Ok(rule) = value.clone().downcast::<FrozenRule>() {
            page.rule(name, &rule.as_ref().info);
        }
    }
    page.heading(2, "Providers");
    page.paragraph("What targets give to those that depend on them, for rules of your own.");
    for (name, value) in &names {
        if let Ok(provider) = value.clone().downcast::<ProviderType>() {
            page.provider(name, provider.as_ref());
        }
    }
    page.primitives(&base_globals().documentation());
    page.0
}

struct Page(String);

impl Page {
    fn heading(&mut self, level: usize, text: &str) {
        self.line(&format!("{} {text}\n", "#".repeat(level)));
    }

    fn paragraph(&mut self, text: &str) {
        let text = text.trim();
        if !text.is_empty() {
            self.line(&format!("{text}\n"));
        }
    }

    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn doc(&mut self, doc: Option<&DocString>) {
        if let Some(doc) = doc {
            self.paragraph(&doc.summary);
            if let Some(details) = &doc.details {
                self.paragraph(details);
            }
        }
    }

    /// A function: its call, what it is for, its arguments.
    fn function(&mut self, name: &str, function: &DocFunction) {
        self.heading(3, &format!("`{name}`"));
        self.paragraph(&format!("```python\n{}\n```", call(name, function)));
        self.doc(function.docs.as_ref());
        let described = parameters(function).filter_map(|(shown, parameter)| {
            Some((shown, parameter.docs.as_ref().map(|doc| doc.summary.trim().to_owned())?))
        });
        let described = described.fold(String::new(), |mut list, (shown, doc)| {
            let name = shown.split(" = ").next().unwrap_or_default();
            let _infallible = writeln!(list, "* `{name}`: {doc}");
            list
        });
        self.paragraph(&described);
    }

    /// The table of a kind's attributes.
    fn kind(&mut self, kind: &KindSchema) {
        let mut attributes =
            kind.table().all_attributes().filter(|attribute| is_writable(attribute.type_)).peekable();
        if attributes.peek().is_none() {
            return;
        }
        self.line("| attribute | type | default | |\n|---|---|---|---|");
        for attribute in attributes {
            let keyed = if attribute.role.is_keyed(true) { "" } else { " *Not keyed.*" };
            self.row(
                attribute.name,
                &attribute.type_.to_string(),
                &default_of(attribute),
                attribute.doc,
                keyed,
            );
        }
        self.0.push('\n');
    }

    fn rule(&mut self, name: &str, info: &RuleInfo) {
        self.heading(3, &format!("`{name}`"));
        self.paragraph(&info.doc);
        self.line("| attribute | type | default | |\n|---|---|---|---|");
        for (name, attribute) in &info.attributes {
            let default = if attribute.mandatory {
                "required".to_owned()
            } else {
                format!("`{}`", shown(&attribute.default))
            };
            self.row(name, &attribute.kind.to_string(), &default, &attribute.doc, "");
        }
        self.0.push('\n');
    }

    fn row(&mut self, name: &str, type_: &str, default: &str, doc: &str, keyed: &str) {
        let cell = |text: &str| text.replace('|', "\\|");
        self.line(&format!("| `{name}` | {} | {} | {}{keyed} |", cell(type_), cell(default), cell(doc)));
    }

    fn provider(&mut self, name: &str, provider: &ProviderType) {
        self.heading(3, &format!("`{name}`"));
        self.paragraph(&provider.doc);
        let fields = provider.fields.iter().fold(String::new(), |mut list, (name, doc)| {
            let _infallible = writeln!(list, "* `{name}`: {doc}");
            list
        });
        self.paragraph(&fields);
    }

    fn primitives(&mut self, module: &DocModule) {
        self.heading(2, "Primitives");
        self.paragraph("What rules are made of. The rules above are written with nothing else.");
        for name in PRIMITIVES {
            if let Some(DocItem::Member(DocMember::Function(function))) = module.members.get(*name) {
                self.function(name, function);
            }
        }
        for (namespace, intro) in [
            ("native", "Steps and sources by the name of their kind."),
            (
                "attrs",
                "The types of attributes. Each takes, by name, `default`, `mandatory`, `doc` and, unless it says \
                 otherwise, `selectable` (whether `select()` may be used for it).",
            ),
        ] {
            self.heading(3, &format!("`{namespace}`"));
            self.paragraph(intro);
            if let Some(DocItem::Module(members)) = module.members.get(namespace) {
                for (name, member) in &members.members {
                    let summary = member.get_doc_summary().unwrap_or_default().replace('\n', " ");
                    self.line(&format!("* `{namespace}.{name}`: {summary}"));
                }
                self.0.push('\n');
            }
        }
        self.heading(3, "`ctx`");
        self.paragraph("What a rule's implementation gets.");
        for (name, doc) in CTX {
            self.line(&format!("* `ctx.{name}`: {doc}"));
        }
        for (name, member) in crate::actions::documentation() {
            let summary = member.unwrap_or_default().replace('\n', " ");
            self.line(&format!("* `ctx.actions.{name}`: {summary}"));
        }
        self.0.push('\n');
    }
}

const CTX: &[(&str, &str)] = &[
    (
        "attrs",
        "The target's attributes by name, choices made: a label has become a dependency (`.label`, `.files`, `.providers`, `dependency[Provider]`, `Provider in dependency`), a file an artifact (`.path`, `.basename`, `.is_source`, `.owner`), an image inside a step its layer.",
    ),
    ("label", "The target's label: `.package`, `.name`."),
    ("platform", "The platform that it is built for: `.os`, `.arch`, `.name`."),
    ("results", "Only in `combine`: for each platform a struct with `platform` and `target`, a dependency."),
    ("actions", "Declares what is to be done:"),
];

fn parameters(function: &DocFunction) -> impl Iterator<Item = (String, &DocParam)> {
    let params = &function.params;
    let plain = |parameter: &DocParam| match &parameter.default_value {
        Some(default) if default != "_" => format!("{} = {default}", parameter.name),
        Some(_) => format!("{} = ...", parameter.name),
        None => parameter.name.clone(),
    };
    let positional = params.pos_only.iter().chain(&params.pos_or_named).map(move |it| (plain(it), it));
    let rest = params.args.iter().map(|it| (format!("*{}", it.name), it));
    let named = params.named_only.iter().map(move |it| (plain(it), it));
    let others = params.kwargs.iter().map(|it| (format!("**{}", it.name), it));
    positional.chain(rest).chain(named).chain(others)
}

fn call(name: &str, function: &DocFunction) -> String {
    format!("{name}({})", parameters(function).map(|(shown, _)| shown).collect::<Vec<_>>().join(", "))
}

fn default_of(attribute: &AttributeSchema) -> String {
    debug_assert!(attribute.role != Role::Content || attribute.role.is_keyed(false));
    match attribute.default {
        Default::Required => "required".to_owned(),
        Default::None => String::new(),
        Default::Bool(true) => "`True`".to_owned(),
        Default::Bool(false) => "`False`".to_owned(),
        Default::Int(number) => format!("`{number}`"),
        Default::String(text) => format!("`\"{text}\"`"),
        Default::Strings(words) => format!("`{words:?}`"),
        Default::EmptyList => "`[]`".to_owned(),
        Default::EmptyDict => "`{}`".to_owned(),
    }
}

/// Data as it would be written.
fn shown(data: &imgbuild_model::Value) -> String {
    use imgbuild_model::Value;
    match data {
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::String(text) => format!("\"{text}\""),
        Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Dict(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("\"{key}\": {}", shown(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Label(label) => format!("\"{label}\""),
        Value::Step(step) => format!("{}(...)", step.kind),
        Value::Source(source) => format!("{}(...)", source.kind),
        Value::None | Value::Artifact(_) | Value::Layer(_) | Value::Struct(_) | Value::Provider(_) => {
            "None".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_public_name_is_documented() {
        let page = reference_markdown();
        let names = public_names();
        assert!(names.len() > 40, "{}", names.len());
        for (name, _) in &names {
            let heading = format!("\n### `{name}`\n\n");
            let begin =
                page.find(&heading).unwrap_or_else(|| panic!("`{name}` has no entry")) + heading.len();
            let entry = page[begin..].split("\n### ").next().unwrap();
            assert!(entry.trim().len() > 60, "`{name}` is not described: {entry}");
        }
        for name in PRIMITIVES {
            assert!(page.contains(&format!("\n### `{name}`\n")), "`{name}`");
        }
        for (name, _) in crate::actions::documentation() {
            assert!(page.contains(&format!("`ctx.actions.{name}`: ")), "`{name}`");
        }
    }

    #[test]
    fn each_function_and_rule_has_an_example_and_each_argument_a_line() {
        for (name, value) in public_names() {
            if let Ok(rule) = value.clone().downcast::<FrozenRule>() {
                let info = &rule.as_ref().info;
                assert!(info.doc.contains("Example:"), "`{name}`");
                for (attribute, described) in &info.attributes {
                    assert!(!described.doc.is_empty(), "`{name}.{attribute}`");
                }
            } else if let DocItem::Member(DocMember::Function(function)) = value.value().documentation()
                && imgbuild_kinds::find(&name).is_some()
            {
                let docs = function.docs.clone().unwrap_or_else(|| panic!("`{name}` has no docstring"));
                assert!(docs.details.unwrap_or_default().contains("Example:"), "`{name}`");
                for (shown, parameter) in parameters(&function) {
                    assert!(parameter.docs.is_some(), "`{shown}` of `{name}`");
                }
            }
        }
    }

    #[test]
    fn each_kind_that_users_write_has_a_function_of_its_name() {
        let made_by_the_program =
            ["apt_resolve", "boot", "host", "power_off", "seal", "index", "packer_build", "write_file"];
        let names = public_names();
        for kind in imgbuild_kinds::all() {
            let public = names.iter().any(|(name, _)| name == kind.id);
            assert_eq!(public, !made_by_the_program.contains(&kind.id), "`{}`", kind.id);
        }
    }
}
