//! One build as an `image`.

use std::collections::VecDeque;
use std::sync::Arc;

use imgbuild_kinds::find;
use imgbuild_model::{Action, Attributes, ChainState, Platform, Value};

use super::Request;
use super::comments::Pending;
use super::document::{Call, Expr, Item, Statement};
use super::origin::Origin;
use super::values::{Attribute, Values};
use crate::lower::{Holes, Lowered, Makes, Mark};
use crate::recipe::{Recipe, Step};

/// The arguments that are told by their place, by kind.
fn positional(kind: &str) -> &'static [&'static str] {
    match kind {
        "shell" | "shell_local" => &["inline"],
        "file" | "download" => &["src", "dest"],
        "sleep" => &["duration"],
        "breakpoint" => &["note"],
        "ansible_local" => &["playbook_files"],
        "puppet_masterless" => &["manifest_file"],
        "salt_masterless" => &["local_state_tree"],
        "debian" | "ubuntu" => &["suite"],
        "oci_base" => &["image"],
        "rootfs_tar" => &["src"],
        _ => &[],
    }
}

/// Attributes that are written although they are the default: what a step says that it does is in the image's history.
fn always_written(attribute: &str) -> bool {
    attribute == "suite"
}

/// The name of the constant of a target.
pub(super) fn constant(target: &str) -> String {
    let sign = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = target.chars().map(sign).collect();
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    format!("{}{name}_ENV", if digit { "_" } else { "" })
}

/// A build on its way to an `image`.
pub(super) struct Image<'a> {
    recipe: &'a Recipe,
    lowered: &'a Lowered,
    pending: &'a Pending<'a>,
    values: Values<'a>,
    name: &'a str,
    /// What it is built for if it does not say it.
    platform: Platform,
    /// The name of what every script gets.
    constant: String,
    uses_constant: bool,
    /// The comments of the further steps of a provisioner.
    further: VecDeque<Vec<String>>,
}

impl<'a> Image<'a> {
    pub(super) fn new(
        request: Request<'a>,
        recipe: &'a Recipe,
        lowered: &'a Lowered,
        (name, constant): (&'a str, String),
        pending: &'a Pending<'a>,
        left: &'a mut Vec<imgbuild_model::Diagnostic>,
    ) -> Self {
        let package = request.package.as_str();
        let folder = match package {
            "" => request.workspace.to_owned(),
            package => format!("{}/{package}", request.workspace.trim_end_matches('/')),
        };
        let values = Values { workspace: request.workspace, folder, target: name, left };
        Self {
            recipe,
            lowered,
            pending,
            values,
            name,
            platform: request.platform,
            constant,
            uses_constant: false,
            further: VecDeque::new(),
        }
    }

    /// What stands in the file for it.
    pub(super) fn statements(mut self) -> Vec<(Vec<String>, Statement)> {
        let recipe = self.recipe;
        let builder = Origin { node: &recipe.settings, pending: self.pending };
        let mut comments: Vec<String> =
            recipe.build.iter().flat_map(|place| self.pending.at(place)).collect();
        comments.extend(self.pending.at(&recipe.location));
        let mut image = Call { open: true, ..Call::new("image") };
        image.named("name", Expr::text(self.name));
        self.source(builder, &mut image);
        let steps = self.steps(builder);
        if !steps.is_empty() {
            image.named("steps", Expr::List(steps));
        }
        let exports = self.exports(builder);
        image.named("exports", Expr::List(exports));
        let platform = self.lowered.configuration.platform;
        if builder.field("platform").is_some() || platform != self.platform {
            let platform = Expr::text(platform.to_string());
            let comments = builder.comments("platform");
            image.named("platforms", Item { comments, value: Expr::List(vec![platform.into()]) });
        }
        comments.extend(self.pending.rest(&recipe.location));
        let mut statements = Vec::new();
        if self.uses_constant {
            let entries =
                self.constant_entries().map(|(name, text)| (name.to_owned(), Expr::text(text).into()));
            let said = "# What every script of a template gets.".to_owned();
            statements.push((vec![said], Statement::Assign(self.constant, Expr::Dict(entries.to_vec()))));
        }
        statements.push((comments, Statement::Call(image)));
        statements
    }

    fn constant_entries(&self) -> [(&'static str, String); 2] {
        [
            ("PACKER_BUILD_NAME", self.recipe.source.to_string()),
            ("PACKER_BUILDER_TYPE", self.recipe.kind.to_string()),
        ]
    }

    fn source(&mut self, builder: Origin<'a>, image: &mut Call) {
        let lowered = self.lowered;
        let Some(source) = lowered.actions.first().and_then(|action| action.source.as_ref()) else { return };
        let kind = source.kind.as_str();
        let origin = builder.block(kind).unwrap_or(builder);
        let comments = builder.comments(kind);
        let value = Expr::Call(self.call(kind, &source.attributes, origin));
        image.named("source", Item { comments, value });
    }

    /// The steps: what the configuration of the builder sets, then the provisioners.
    fn steps(&mut self, builder: Origin<'a>) -> Vec<Item> {
        let lowered = self.lowered;
        let mut steps = Vec::new();
        if let Some(state) = lowered.actions.iter().find_map(|action| action.parent.as_ref()) {
            self.state(&state.state, builder, &mut steps);
        }
        let mut seen: Option<(usize, usize)> = None;
        for (action, place) in lowered.actions.iter().zip(&lowered.provisioners) {
            let Some(place) = place else { continue };
            let number = match seen {
                Some((last, number)) if last == *place => number + 1,
                _ => 0,
            };
            seen = Some((*place, number));
            if let Some(step) = self.recipe.provisioners.get(*place) {
                steps.push(self.step(action, step, number));
            }
        }
        let end: Vec<String> = self.recipe.build.iter().flat_map(|place| self.pending.end(place)).collect();
        if !end.is_empty() {
            steps.push(Item { comments: end, value: Expr::Nothing });
        }
        steps
    }

    /// One step; a provisioner may be several, this is the one of that number.
    fn step(&mut self, action: &'a Action, step: &'a Step, number: usize) -> Item {
        let origin = Origin { node: &step.settings, pending: self.pending };
        let mut comments = self.pending.at(&step.location);
        if number > 0 {
            comments.extend(self.further.pop_front().unwrap_or_default());
        }
        for name in ["script", "src", "generated"] {
            if number == 0 && action.attributes.get(name).is_some() {
                comments.extend(origin.comments(name));
                let mut files = origin.elements(name).into_iter().map(|node| self.pending.at(&node.location));
                comments.extend(files.next().unwrap_or_default());
                self.further = files.collect();
            }
        }
        let call = self.call(action.kind.as_str(), &action.attributes, origin);
        comments.extend(self.pending.rest(&step.location));
        Item { comments, value: Expr::Call(call) }
    }

    /// A call with the attributes that are not their defaults.
    fn call<'b>(&mut self, kind: &str, attributes: &'b Attributes, origin: Origin<'b>) -> Call {
        let mut call = Call::new(kind);
        let schema = find(kind);
        let by_place = positional(kind);
        // What is told by its place comes first, as long as nothing before it is missing.
        let first = by_place.iter().take_while(|name| attributes.get(name).is_some()).count();
        let named = attributes.iter().map(|(name, _)| name).filter(|name| !by_place[..first].contains(name));
        let ordered: Vec<&str> = by_place[..first].iter().copied().chain(named).collect();
        for (index, name) in ordered.into_iter().enumerate() {
            let Some(value) = attributes.get(name) else { continue };
            let type_ = schema.and_then(|schema| schema.attribute(name));
            let is_default = type_.is_some_and(|attribute| attribute.default.is_said_by(value));
            if is_default && !always_written(name) {
                continue;
            }
            let attribute = Attribute { name, type_: type_.map(|own| own.type_), value, origin };
            let comments = origin.comments(name);
            let mut others = Call::default();
            if let Some(item) = self.argument(kind, attribute, &mut others) {
                let item = Item { comments: [comments, item.comments].concat(), value: item.value };
                if index < first { call.given(item) } else { call.named(name, item) }
            }
            call.arguments.append(&mut others.arguments);
        }
        call
    }

    /// The value of an argument, if it has one; what it needs besides is added to `call`.
    fn argument(&mut self, kind: &str, attribute: Attribute<'_>, call: &mut Call) -> Option<Item> {
        let place = || attribute.origin.place(attribute.name);
        // A path that may not be told is a hole like every other text.
        if attribute.value.as_str().is_some_and(|text| Holes::mark_in(text).is_some()) {
            return Some(self.values.value(attribute));
        }
        match (kind, attribute.name, attribute.value) {
            ("shell" | "shell_local", "env", Value::Dict(entries)) => {
                self.variables(kind, entries, attribute, call)
            }
            ("shell_local", "workdir", Value::String(path)) => match self.values.below_root(path) {
                Some(path) if path.is_empty() => None,
                Some(path) => Some(Expr::text(path).into()),
                None => {
                    let message = format!("`shell-local` runs in `{path}`, outside of the workspace");
                    self.values.warn(message, &place(), "give a `workdir` below the workspace's root");
                    Some(Expr::text(&**path).into())
                }
            },
            ("ansible", "command" | "galaxy_command", Value::String(path)) => {
                match self.values.below_root(path) {
                    // Without a `/` it would be looked for on the path.
                    Some(path) if !path.contains('/') => Some(Expr::text(format!("./{path}")).into()),
                    Some(path) => Some(Expr::text(path).into()),
                    None => Some(self.values.value(attribute)),
                }
            }
            ("download", "dest", Value::String(path)) => Some(match self.values.below_root(path) {
                Some(path) if !path.is_empty() => Expr::text(path).into(),
                _ => {
                    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                    let dest = format!("{name}{}", if path.ends_with('/') { "/" } else { "" });
                    let dest =
                        if dest.trim_end_matches('/').is_empty() { "downloads/".to_owned() } else { dest };
                    let message =
                        format!("`{path}` is not below the workspace's root: downloads go to `{dest}`");
                    self.values.warn(message, &place(), "nothing is written outside of a workspace");
                    Expr::text(dest).into()
                }
            }),
            ("file", "generated", Value::String(path)) => {
                let message = format!("`{path}` is a path of this machine");
                self.values.warn(
                    message,
                    &place(),
                    "make the file with a `genrule`, and give its label as `src`",
                );
                Some(Expr::text(&**path).into())
            }
            _ => Some(self.values.value(attribute)),
        }
    }

    /// The variables of a script. Those that are sensitive become secrets, where the kind has them.
    fn variables(
        &mut self,
        kind: &str,
        entries: &[(Arc<str>, Value)],
        attribute: Attribute<'_>,
        call: &mut Call,
    ) -> Option<Item> {
        let constants = self.constant_entries();
        let is_constant = |key: &str, value: &Value| {
            constants.iter().any(|(name, text)| *name == key && value.as_str() == Some(text.as_str()))
        };
        let (constant, own): (Vec<_>, Vec<_>) =
            entries.iter().cloned().partition(|(key, value)| is_constant(key, value));
        let has_secrets = kind == "shell";
        let is_secret = |value: &Value| value.as_str().and_then(Holes::mark_in) == Some(Mark::Sensitive);
        let (secret, own): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|(_, value)| has_secrets && is_secret(value));
        let own = self.values.entries(&own, "env", attribute.origin);
        let item = match (constant.len() == constants.len(), own.is_empty()) {
            (true, true) => Some(Expr::Word(self.constant.clone())),
            (true, false) => Some(Expr::With(self.constant.clone(), own)),
            (false, true) => None,
            (false, false) => Some(Expr::Dict(own)),
        };
        self.uses_constant |= constant.len() == constants.len();
        if !secret.is_empty() {
            self.secrets(&secret, attribute, call);
        }
        item.map(Item::from)
    }

    /// Sensitive variables, taken from the environment of whoever builds.
    fn secrets(&mut self, variables: &[(Arc<str>, Value)], attribute: Attribute<'_>, call: &mut Call) {
        let (mut names, mut found) = (Vec::new(), Vec::new());
        for (variable, _) in variables {
            let place =
                attribute.origin.entry("env", variable).unwrap_or_else(|| attribute.origin.place("env"));
            let lower = variable.to_lowercase();
            let is_taken = found.iter().any(|(name, _)| *name == lower);
            let name = if is_taken { variable.to_string() } else { lower };
            let message =
                format!("the value of `{variable}` of `{}` is sensitive: it is not carried over", self.name);
            let hint = format!("it is taken from `{variable}` in the environment; its step has another key");
            self.values.warn(message, &place, &hint);
            let comments = self.pending.at(&place);
            names.push((variable.to_string(), Item { comments, value: Expr::text(&name) }));
            found.push((name, Expr::text(format!("env:{variable}")).into()));
        }
        let said = "# Sensitive in the template: taken from the environment of who builds.".to_owned();
        call.named("secrets", Item { comments: vec![said], value: Expr::Dict(found) });
        call.named("secret_env", Expr::Dict(names));
    }

    /// The steps that bring a chain from nothing to a state.
    fn state(&mut self, state: &ChainState, builder: Origin<'a>, steps: &mut Vec<Item>) {
        let dict = |pairs: &std::collections::BTreeMap<String, String>| {
            let entry = |(name, text): (&String, &String)| (Arc::from(name.as_str()), Value::string(text));
            Value::Dict(pairs.iter().map(entry).collect())
        };
        let list = |texts: &[String]| Value::list(texts.iter().map(|text| Value::string(text)));
        let optional = |text: &Option<String>| text.as_deref().map_or(Value::None, Value::string);
        let texts = |texts: &Option<Vec<String>>| texts.as_deref().map_or(Value::None, list);
        for (function, name, value) in [
            ("env", "env", dict(&state.env)),
            ("run_as", "user", optional(&state.user)),
            ("workdir", "workdir", optional(&state.workdir)),
            ("default_shell", "shell", texts(&state.shell)),
            ("entrypoint", "entrypoint", texts(&state.entrypoint)),
            ("cmd", "cmd", texts(&state.cmd)),
            ("label", "labels", dict(&state.labels)),
            ("stop_signal", "stop_signal", optional(&state.stop_signal)),
        ] {
            if value == Value::None || value.as_dict().is_some_and(<[_]>::is_empty) {
                continue;
            }
            let comments = builder.comments(name);
            let mut call = Call::new(function);
            call.given(self.values.value(Attribute { name, type_: None, value: &value, origin: builder }));
            steps.push(Item { comments, value: Expr::Call(call) });
        }
        let port = |port: &String| match port.strip_suffix("/tcp").map(str::parse::<u16>) {
            Some(Ok(number)) if format!("{number}/tcp") == *port => Expr::Word(number.to_string()),
            _ => Expr::text(port),
        };
        let ports = state.exposed_ports.iter().map(port).collect();
        self.several("expose", "expose", ports, builder, steps);
        self.several("volume", "volumes", state.volumes.iter().map(Expr::text).collect(), builder, steps);
    }

    fn several(
        &self,
        function: &str,
        name: &str,
        values: Vec<Expr>,
        builder: Origin<'a>,
        steps: &mut Vec<Item>,
    ) {
        if values.is_empty() {
            return;
        }
        let mut call = Call::new(function);
        values.into_iter().for_each(|value| call.given(value));
        steps.push(Item { comments: builder.comments(name), value: Expr::Call(call) });
    }

    fn exports(&mut self, builder: Origin<'a>) -> Vec<Item> {
        let lowered = self.lowered;
        let Makes::Exports(exports) = &lowered.makes else { return Vec::new() };
        let own = format!("{}:latest", self.name);
        let mut items = Vec::new();
        for export in exports {
            let Some(action) = lowered.actions.get(export.action as usize) else { continue };
            let kind = action.kind.as_str();
            let attribute = if kind == "oci" { "oci_layout" } else { kind };
            let comments = builder.comments(attribute);
            let place = builder
                .field(attribute)
                .map_or_else(|| self.recipe.location.clone(), |field| field.location.clone());
            let name = export.output.replacen(&self.recipe.image_name(), self.name, 1);
            self.values.warn(
                format!("`{}` is not written: the artifact is `{name}` of the target", export.shown),
                &place,
                "`imgbuild build` says where it is",
            );
            let is_default =
                |name: &str, value: &Value| name == "ref" && value.as_str() == Some(own.as_str());
            let given = action.attributes.iter().filter(|(name, value)| !is_default(name, value));
            let given: Attributes = given.map(|(name, value)| (name.into(), value.clone())).collect();
            let call = self.call(kind, &given, builder);
            items.push(Item { comments, value: Expr::Call(call) });
        }
        items
    }
}
