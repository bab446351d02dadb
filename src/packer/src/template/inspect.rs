//! `inspect`: what a template holds, in the form that other tools print.

use std::fmt::Write as _;

use super::Template;
use super::build::{Build, Label};
use super::console::{quoted, render};

/// The text of `inspect`.
#[must_use]
pub fn inspect(template: &Template) -> String {
    let mut out = String::from("Packer Inspect: HCL2 mode\n\n");
    out.push_str(&values(template));
    out.push_str("\n> builds:\n\n");
    for (index, build) in template.builds.iter().enumerate() {
        write_build(build, index, &mut out);
        out.push('\n');
    }
    template.mask().apply(&out)
}

/// The variables and locals, with their values.
pub(super) fn values(template: &Template) -> String {
    let mut out = String::from("> input-variables:\n\n");
    for variable in &template.variables {
        let _ = writeln!(out, "var.{}: {}", variable.name, quoted(&render(&variable.value)));
    }
    out.push_str("\n> local-variables:\n\n");
    for local in &template.locals {
        let _ = writeln!(out, "local.{}: {}", local.name, quoted(&render(&local.value)));
    }
    template.mask().apply(&out)
}

fn write_build(build: &Build, index: usize, out: &mut String) {
    match build.name.as_deref() {
        None | Some("") => {
            let _ = writeln!(out, "  > <unnamed build {index}>:");
        }
        Some(name) => {
            let _ = writeln!(out, "  > {name}:");
        }
    }
    if let Some(description) = build.description.as_deref().filter(|text| !text.is_empty()) {
        let _ = write!(out, "\n  > Description: {description}\n");
    }
    out.push_str("\n    sources:\n");
    if build.sources.is_empty() {
        out.push_str("\n      <no source>\n");
    }
    for source in &build.sources {
        let _ = write!(out, "\n      {source}\n");
    }
    out.push_str("\n    provisioners:\n\n");
    if build.provisioners.is_empty() {
        out.push_str("      <no provisioner>\n");
    }
    for label in &build.provisioners {
        let _ = writeln!(out, "      {}", name(label));
    }
    out.push_str("\n    post-processors:\n");
    if build.post_processors.is_empty() {
        out.push_str("\n      <no post-processor>\n");
    }
    for (index, chain) in build.post_processors.iter().enumerate() {
        let _ = write!(out, "\n      {index}:\n");
        for label in chain {
            let _ = writeln!(out, "        {}", name(label));
        }
    }
}

fn name(label: &Label) -> String {
    match label.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{}.{name}", label.kind),
        None => label.kind.to_string(),
    }
}
