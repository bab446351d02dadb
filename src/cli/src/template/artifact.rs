//! The artifacts of builds of this program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use imgbuild_cache::{ActionResult, Cache};
use imgbuild_digest::Digest;
use imgbuild_engine::{DelegatedArtifact, RunReport, outputs, secrets::Fillings};
use imgbuild_model::{Class, Diagnostic, Diagnostics, Label};
use imgbuild_packer::lower::{Export, FileContent, Makes};
use imgbuild_plan::{ActionGraph, Plan};
use imgbuild_postprocessors::{Artifact, Destroy};

use super::prepare::Planned;
use crate::session::cache_error;
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
        Makes::Delegated { .. } => {
            Err(Diagnostic::error("a delegated build has several artifacts").class(Class::Bug).into())
        }
    }
}

/// What a real `packer` told of its artifacts, now or when it ran.
pub(super) fn delegated(
    action: u32,
    planned: &Planned,
    report: &RunReport,
    cache: &Cache,
) -> Result<Vec<Artifact>, Diagnostics> {
    let place = planned.keys.graph.nodes.iter().position(|node| node.reference.index == action);
    let file = place.and_then(|place| report.results.get(&place)?.files.first().cloned());
    let Some(file) = file else {
        return Err(Diagnostic::error("nothing is known of the build's artifacts").class(Class::Bug).into());
    };
    Ok(told(&file.digest, cache)?
        .into_iter()
        .map(|artifact| Artifact {
            builder_id: artifact.builder_id,
            id: artifact.id,
            description: artifact.description,
            files: artifact.files.into_iter().map(|(path, _)| PathBuf::from(path)).collect(),
            ..Artifact::default()
        })
        .collect())
}

/// The delegated builds of a plan that would be passed over, and whose files are not as they left them.
pub(crate) fn gone(
    graph: &ActionGraph,
    plan: &Plan,
    cache: &Cache,
    workspace: &Path,
) -> Result<BTreeSet<Label>, Diagnostics> {
    let mut gone = BTreeSet::new();
    for (node, action) in graph.nodes.iter().zip(&plan.actions) {
        let ("packer_build", Some(result)) = (node.schema.id, &action.result) else { continue };
        let workdir = workspace.join(node.attributes().str("workdir").unwrap_or_default());
        if !are_there(result, cache, &workdir)? {
            gone.insert(node.label().clone());
        }
    }
    Ok(gone)
}

/// Whether all files of a delegated build are as it left them.
fn are_there(result: &ActionResult, cache: &Cache, cwd: &Path) -> Result<bool, Diagnostics> {
    let Some(file) = result.files.first() else { return Ok(false) };
    for artifact in told(&file.digest, cache)? {
        for (path, digest) in artifact.files {
            let path = cwd.join(path);
            let Some(digest) = digest else { continue };
            if !path.is_file() {
                return Ok(false);
            }
            let found = cache.file_memo(false).digest_many(&[path]).map_err(|error| cache_error(&error))?;
            if found.into_iter().flatten().next().map(|file| file.digest.to_string()) != Some(digest) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn told(digest: &Digest, cache: &Cache) -> Result<Vec<DelegatedArtifact>, Diagnostics> {
    let bytes = cache.read(digest).map_err(|error| cache_error(&error))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Diagnostic::error(format!("the record of a build is damaged: {error}")).into())
}

fn file(
    target: &str,
    shown: &str,
    from: &FileContent,
    fillings: &Fillings,
    say: &dyn Fn(&str),
) -> Result<Artifact, Diagnostics> {
    let failed = |error: &dyn std::fmt::Display| {
        Diagnostics::from(
            Diagnostic::error(format!("cannot write `{shown}`: {error}")).class(Class::Environment),
        )
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
            outputs::write_with_mode(&path, 0o600, &mut text.as_bytes()).map_err(|error| failed(&error))?;
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

fn images(
    planned: &Planned,
    exports: &[Export],
    report: &RunReport,
    cache: &Cache,
) -> Result<Artifact, Diagnostics> {
    let mut files = Vec::new();
    let mut shown = Vec::new();
    let mut id = String::new();
    for export in exports {
        let reference =
            planned.keys.graph.nodes.iter().position(|node| {
                node.reference.index == export.action && *node.label() == planned.lowered.label
            });
        let Some(result) = reference.and_then(|place| report.results.get(&place)) else {
            return Err(Diagnostic::error(format!("`{}` was not made", export.shown))
                .class(Class::Bug)
                .into());
        };
        let placed: Vec<_> = result
            .files
            .iter()
            .map(|file| {
                let below =
                    file.path.strip_prefix(&*export.output).unwrap_or_default().trim_start_matches('/');
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
        true => {
            "An image without artifacts: name one with `oci_layout`, `docker_archive` or `tarball`".to_owned()
        }
        false => format!("Image files: {}", shown.join(", ")),
    };
    if planned.keys.graph.nodes.iter().any(|node| node.builder == "qemu") {
        let folder = shown.first().and_then(|file| Path::new(file).parent()).unwrap_or(Path::new("."));
        return Ok(Artifact {
            builder_id: "transcend.qemu".to_owned(),
            id: "VM".to_owned(),
            description: format!("VM files in directory: {}", folder.display()),
            files,
            destroy: Destroy::Files,
            ..Artifact::default()
        });
    }
    Ok(Artifact {
        builder_id: "imgbuild.rootfs".to_owned(),
        id,
        description,
        files,
        destroy: Destroy::Files,
        ..Artifact::default()
    })
}
