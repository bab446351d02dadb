//! The artifacts of builds of this program.

use std::path::PathBuf;

use imgbuild_cache::Cache;
use imgbuild_engine::{RunReport, outputs, secrets::Fillings};
use imgbuild_model::{Class, Diagnostic, Diagnostics};
use imgbuild_packer::lower::{Export, FileContent, Makes};
use imgbuild_postprocessors::{Artifact, Destroy};

use super::prepare::Planned;
use crate::verbs::diagnostic;

/// Writes what a build makes where the user wants it, and says what it is, with lines for the user.
pub(super) fn make(
    planned: &Planned,
    report: &RunReport,
    cache: &Cache,
    fillings: &Fillings,
    say: &dyn Fn(&str),
) -> Result<Artifact, Diagnostics> {
    match &planned.lowered.makes {
        Makes::Nothing => Ok(Artifact {
            builder_id: "fnoeding.null".to_owned(),
            id: "Null".to_owned(),
            description: "Did not export anything. This is the null builder".to_owned(),
            ..Artifact::default()
        }),
        Makes::File { target, shown, from } => file(target, shown, from, fillings, say),
        Makes::Exports(exports) => images(planned, exports, report, cache),
    }
}

fn file(
    target: &str,
    shown: &str,
    from: &FileContent,
    fillings: &Fillings,
    say: &dyn Fn(&str),
) -> Result<Artifact, Diagnostics> {
    let failed = |error: &dyn std::fmt::Display| {
        Diagnostics::from(Diagnostic::error(format!("cannot write `{shown}`: {error}")).class(Class::Environment))
    };
    let path = PathBuf::from(target);
    match from {
        FileContent::Copy(source, source_shown) => {
            say(&format!("Copying {source_shown} to {shown}"));
            let mut from = fs_err::File::open(source).map_err(|error| failed(&error))?;
            let size = from.metadata().map_err(|error| failed(&error))?.len();
            outputs::write_whole(&path, false, &mut from).map_err(|error| failed(&error))?;
            say(&format!("Copied {size} bytes"));
        }
        FileContent::Text(text) => {
            let text = fillings.fill(text);
            outputs::write_whole(&path, false, &mut text.as_bytes()).map_err(|error| failed(&error))?;
            use std::os::unix::fs::PermissionsExt as _;
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(|error| failed(&error))?;
        }
    }
    Ok(Artifact {
        builder_id: "packer.file".to_owned(),
        id: "File".to_owned(),
        description: format!("Stored file: {shown}"),
        files: vec![PathBuf::from(shown)],
        destroy: Destroy::Files,
        ..Artifact::default()
    })
}

fn images(planned: &Planned, exports: &[Export], report: &RunReport, cache: &Cache) -> Result<Artifact, Diagnostics> {
    let mut files = Vec::new();
    let mut shown = Vec::new();
    let mut id = String::new();
    for export in exports {
        let reference = planned.graph.nodes.iter().position(|node| {
            node.reference.index == export.action && *node.label() == planned.lowered.label
        });
        let Some(result) = reference.and_then(|place| report.results.get(&place)) else {
            return Err(Diagnostic::error(format!("`{}` was not made", export.shown)).class(Class::Bug).into());
        };
        let placed: Vec<_> = result
            .files
            .iter()
            .map(|file| {
                let below = file.path.strip_prefix(&*export.output).unwrap_or_default().trim_start_matches('/');
                let path = match below.is_empty() {
                    true => PathBuf::from(&export.destination),
                    false => PathBuf::from(&export.destination).join(below),
                };
                let name = match below.is_empty() {
                    true => PathBuf::from(&export.shown),
                    false => PathBuf::from(&export.shown).join(below),
                };
                files.push(name);
                (file, path)
            })
            .collect();
        outputs::write_outputs(cache, &placed).map_err(|error| diagnostic(error, None))?;
        if id.is_empty() {
            id = result.output.to_string();
        }
        shown.push(export.shown.clone());
    }
    let description = match shown.is_empty() {
        true => "An image without artifacts: name one with `oci_layout`, `docker_archive` or `tarball`".to_owned(),
        false => format!("Image files: {}", shown.join(", ")),
    };
    Ok(Artifact { builder_id: "imgbuild.rootfs".to_owned(), id, description, files, destroy: Destroy::Files, ..Artifact::default() })
}
