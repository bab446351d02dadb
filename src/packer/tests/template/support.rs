//! What the tests share: files in memory and on disk, a small catalog, a rendering of whole templates.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use imgbuild_hcl::eval::{Function, Functions, Parameter, special_functions};
use imgbuild_hcl::value::{Type, Value, to_json};
use imgbuild_model::{Diagnostic, EntryKind, KindClass, Location, Severity};
use imgbuild_packer::template::{
    Catalog, Files, Loaded, Origin, Pair, PostProcessor, Provisioner, Settings, Template,
};

/// Files by path; the folder `.` holds those without a `/`.
#[derive(Default)]
pub struct Memory(pub BTreeMap<String, String>);

impl Files for Memory {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        let below = format!("{path}/");
        if self.0.contains_key(path) {
            Some(EntryKind::File)
        } else if path == "." || self.0.keys().any(|own| own.starts_with(&below)) {
            Some(EntryKind::Directory)
        } else {
            None
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<(String, EntryKind)>> {
        let prefix = if path == "." { String::new() } else { format!("{path}/") };
        let inside = self.0.keys().filter_map(|own| own.strip_prefix(&prefix));
        let mut names: BTreeMap<String, EntryKind> = BTreeMap::new();
        for rest in inside {
            match rest.split_once('/') {
                Some((folder, _)) => names.insert(folder.to_owned(), EntryKind::Directory),
                None => names.insert(rest.to_owned(), EntryKind::File),
            };
        }
        Ok(names.into_iter().collect())
    }

    fn read(&self, path: &str) -> io::Result<Arc<str>> {
        self.0.get(path).map(|text| text.as_str().into()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Files of a folder on disk.
pub struct Disk(pub std::path::PathBuf);

impl Files for Disk {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        let metadata = fs_err::metadata(self.0.join(path)).ok()?;
        Some(if metadata.is_dir() { EntryKind::Directory } else { EntryKind::File })
    }

    fn list(&self, path: &str) -> io::Result<Vec<(String, EntryKind)>> {
        let entries = fs_err::read_dir(self.0.join(path))?;
        let mut all = entries
            .map(|entry| {
                let entry = entry?;
                let kind = if entry.file_type()?.is_dir() { EntryKind::Directory } else { EntryKind::File };
                Ok((entry.file_name().to_string_lossy().into_owned(), kind))
            })
            .collect::<io::Result<Vec<_>>>()?;
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    }

    fn read(&self, path: &str) -> io::Result<Arc<str>> {
        fs_err::read_to_string(self.0.join(path)).map(Into::into)
    }
}

/// A few functions, and the kinds of components whose names start with `known-`.
pub struct Small;

impl Catalog for Small {
    fn functions(&self, root: &str) -> Functions {
        let mut all = special_functions();
        let text = || Parameter::new("str", Type::String);
        let upper = |text: &str| text.to_uppercase();
        all.add(
            "upper",
            Function::new("")
                .parameter(text())
                .returns(Type::String)
                .runs(move |a| Ok(Value::string(upper(a.str(0))))),
        );
        let any = || Parameter::new("value", Type::Dynamic);
        all.add(
            "length",
            Function::new("").parameter(any().allow_dynamic()).returns(Type::Number).runs(|a| {
                let value = a.get(0);
                Ok(Value::int(value.len().or_else(|| Some(value.as_str()?.len())).unwrap_or(0) as i64))
            }),
        );
        all.add(
            "jsonencode",
            Function::new("")
                .parameter(any().allow_null().wholly_known())
                .returns(Type::String)
                .runs(|a| Ok(Value::string(to_json(&a.get(0)).unwrap_or_default()))),
        );
        let root = root.to_owned();
        all.add("root", Function::new("").returns(Type::String).runs(move |_| Ok(Value::string(&root))));
        all
    }

    fn data_type(&self, kind: &str) -> Option<Type> {
        (kind == "known-http").then(|| Type::object([("body", Type::String)]))
    }

    fn generated(&self, builder: &str) -> Option<Vec<String>> {
        (builder == "known-builder").then(|| vec!["SourceImageName".to_owned()])
    }

    fn check(
        &self,
        class: KindClass,
        kind: &str,
        location: &Location,
        settings: &Settings,
    ) -> Vec<Diagnostic> {
        if kind == "wrong" {
            return vec![Diagnostic::error(format!("no {class:?} is called `wrong`")).at(location.clone())];
        }
        let wrong = settings.get("wrong").map(|setting| setting.location());
        wrong.into_iter().map(|place| Diagnostic::error("`wrong` is no setting").at(place)).collect()
    }
}

/// What was told, one a line.
pub fn told(loaded: &Loaded) -> String {
    let mut out = String::new();
    for diagnostic in &loaded.diagnostics.0 {
        let severity = if diagnostic.severity == Severity::Error { "error" } else { "warning" };
        let _ = writeln!(out, "{severity}: {diagnostic}");
    }
    out
}

/// All of a template.
pub fn dump(template: &Template) -> String {
    let mut out = String::new();
    for plugin in &template.plugins {
        let _ = writeln!(out, "plugin {} {} {}", plugin.name, plugin.source, plugin.version);
    }
    for variable in &template.variables {
        let origin = match &variable.origin {
            Origin::Unset => "unset",
            Origin::Default => "default",
            Origin::Environment => "environment",
            Origin::File(file) => file,
            Origin::Given => "given",
        };
        let _ = writeln!(out, "var.{} = {} ({}, {origin})", variable.name, variable.value, variable.ty);
    }
    for local in &template.locals {
        let _ = writeln!(out, "local.{} = {}", local.name, local.value);
    }
    for data in &template.data {
        let _ = writeln!(out, "data.{}.{} = {}", data.kind, data.name, data.value);
    }
    for need in &template.needs {
        let _ = writeln!(out, "needs {} {}", need.kind, need.settings);
    }
    for registry in template.registry.iter().chain(template.builds.iter().flat_map(|build| &build.registries))
    {
        let _ = writeln!(
            out,
            "registry {:?} {:?} {:?} {:?} {:?}",
            registry.bucket_name,
            registry.description,
            registry.bucket_labels,
            registry.build_labels,
            registry.channels
        );
    }
    template.pairs().for_each(|pair| write_pair(pair, &mut out));
    out
}

fn write_pair(pair: &Pair, out: &mut String) {
    let _ = writeln!(out, "{} of {}.{} {}", pair.name, pair.kind, pair.source, pair.settings.to_value());
    for step in &pair.provisioners {
        write_step("provisioner", step, out);
    }
    if let Some(step) = &pair.error_cleanup {
        write_step("error-cleanup-provisioner", step, out);
    }
    for (index, chain) in pair.post_processors.iter().enumerate() {
        chain.iter().for_each(|post| write_post(index, post, out));
    }
}

fn write_step(what: &str, step: &Provisioner, out: &mut String) {
    let _ = write!(out, "  {what} {}", step.kind);
    let name = step.name.as_ref().map(|name| format!("name={name}"));
    let pause = step.pause_before.map(|pause| format!("pause={pause:?}"));
    let timeout = step.timeout.map(|timeout| format!("timeout={timeout:?}"));
    let retries = (step.max_retries > 0).then(|| format!("retries={}", step.max_retries));
    let goes_on = step.continue_on_error.then(|| "continue".to_owned());
    for meta in [name, pause, timeout, retries, goes_on].into_iter().flatten() {
        let _ = write!(out, " {meta}");
    }
    let _ = writeln!(out, " {}", step.settings.to_value());
}

fn write_post(chain: usize, post: &PostProcessor, out: &mut String) {
    let _ = write!(out, "  post-processor {chain} {}", post.kind);
    if let Some(name) = &post.name {
        let _ = write!(out, " name={name}");
    }
    if let Some(keep) = post.keep_input_artifact {
        let _ = write!(out, " keep={keep}");
    }
    let _ = writeln!(out, " {}", post.settings.to_value());
}
