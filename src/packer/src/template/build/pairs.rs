//! What a build does with one of its sources: every body evaluated for it.

use std::sync::Arc;

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::syntax::{Body, Traversal};
use imgbuild_hcl::value::{Type, Value};
use imgbuild_model::{KindClass, Location};

use super::super::evaluate::collect_body;
use super::super::meta::{PostMeta, StepMeta};
use super::super::settings::Settings;
use super::{Builder, Chain, Declared, Pair, Parts, PostProcessor, SourceUse};

/// What every builder tells of its machine.
const GENERATED: [&str; 13] = [
    "ID",
    "Host",
    "Port",
    "User",
    "Password",
    "ConnType",
    "PackerRunUUID",
    "PackerHTTPPort",
    "PackerHTTPIP",
    "PackerHTTPAddr",
    "SSHPublicKey",
    "SSHPrivateKey",
    "WinRMPassword",
];

impl Builder<'_> {
    pub(super) fn pair(
        &self,
        full: String,
        build: Option<&str>,
        used: &SourceUse<'_>,
        parts: &Parts<'_>,
    ) -> Pair {
        let declared = used.declared;
        let location = declared.block.body.source.location(declared.block.header);
        let evaluate = |body: &Body, skip: &[&str]| {
            let scope = self.pair_scope(build, used, body);
            Settings::evaluate(body, skip, &scope, self.evaluator)
        };
        let mut settings = evaluate(&declared.block.body, &[]);
        if let Some(body) = &used.body {
            settings.add(evaluate(body, &["name"]), self.evaluator);
        }
        self.check(KindClass::Builder, &used.kind, &location, &settings);
        let here = format!("{}.{}", used.kind, used.local_name);
        let provisioner = |step: &Declared<StepMeta>| {
            let mut settings = evaluate(&step.body, StepMeta::NAMES);
            if let Some((value, place)) = step.meta.override_of(&used.local_name, &declared.name) {
                settings.replace(&value, &place);
            }
            self.check(KindClass::Provisioner, &step.kind, &step.location, &settings);
            step.meta.provisioner(Arc::clone(&step.kind), settings, step.location.clone())
        };
        let provisioners =
            parts.provisioners.iter().filter(|step| step.meta.filter.wants(&here)).map(provisioner).collect();
        let error_cleanup =
            parts.error_cleanup.as_ref().filter(|step| step.meta.filter.wants(&here)).map(provisioner);
        let post = |post: &Declared<PostMeta>| {
            let settings = evaluate(&post.body, PostMeta::NAMES);
            self.check(KindClass::PostProcessor, &post.kind, &post.location, &settings);
            PostProcessor {
                kind: Arc::clone(&post.kind),
                name: post.meta.name.clone(),
                keep_input_artifact: post.meta.keep_input_artifact,
                settings,
                location: post.location.clone(),
            }
        };
        let chain = |chain: &Chain| -> Vec<PostProcessor> {
            chain
                .iter()
                .filter(|post| post.meta.filter.wants(&here))
                .take_while(|post| {
                    !self.selection.leaves_out(post.meta.name.as_deref().unwrap_or(&post.kind))
                })
                .map(post)
                .collect()
        };
        let post_processors = parts.chains.iter().map(chain).filter(|chain| !chain.is_empty()).collect();
        Pair {
            name: full,
            kind: Arc::clone(&used.kind),
            source: Arc::clone(&declared.name),
            local_name: Arc::clone(&used.local_name),
            settings,
            provisioners,
            error_cleanup,
            post_processors,
            location,
        }
    }

    fn check(&self, class: KindClass, kind: &str, location: &Location, settings: &Settings) {
        self.evaluator.report.extend(self.catalog.check(class, kind, location, settings));
    }

    /// What a body of this pair can refer to: also `source` and `build`.
    fn pair_scope(&self, build: Option<&str>, used: &SourceUse<'_>, body: &Body) -> Scope<'_> {
        let mut scope = self.scope.child();
        let source = [("type", Value::string(&used.kind)), ("name", Value::string(&used.local_name))];
        scope.set("source", Value::object_of(source));
        let mut names: Vec<String> = GENERATED.map(str::to_owned).to_vec();
        match self.catalog.generated(&used.kind) {
            Some(more) => names.extend(more),
            // Whatever is asked for may be what this builder tells.
            None => names.extend(told(body)),
        }
        let known = self.catalog.known(&used.kind);
        let value =
            |name: &String| known.get(name).map_or_else(|| Value::unknown(Type::String), Value::string);
        let told = names.into_iter().map(|name| {
            let value = value(&name);
            (name, value)
        });
        let name = ("name".to_owned(), Value::string(build.unwrap_or_default()));
        scope.set("build", Value::object_of(told.chain([name])));
        scope
    }
}

fn told(body: &Body) -> Vec<String> {
    let mut found = Vec::new();
    collect_body(body, &mut found);
    let name = |reference: &Traversal| match reference.names().as_slice() {
        ["build", name, ..] => Some((*name).to_owned()),
        _ => None,
    };
    found.iter().filter_map(|(reference, _)| name(reference)).collect()
}
