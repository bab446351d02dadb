//! Writes artifacts into the workspace's output folder, each with its provenance beside it.
//!
//! What is there already and the same is left alone: on a hit nothing is written.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_cache::{ActionResult, Cache, OutputFile};
use imgbuild_digest::ContentHash as _;
use imgbuild_engine::outputs::{self, write_whole};
use imgbuild_model::{ActionRef, Artifact, Class, Diagnostic, Diagnostics, Event, EventSink as _};

use crate::provenance;
use crate::session::{Prepared, Session, cache_error};
use crate::verbs::{become_root, diagnostic};

/// The output folder, in the workspace's root.
pub(crate) const OUTPUT_FOLDER: &str = "imgbuild-out";

/// Writes all artifacts of the targets asked for.
pub(crate) fn publish(
    session: &mut Session,
    prepared: &Prepared,
    results: &HashMap<usize, Arc<ActionResult>>,
    folder: Option<PathBuf>,
) -> Result<(), Diagnostics> {
    let cache = session.cache()?;
    let root = session.files()?.root().to_path_buf();
    let folder = folder.unwrap_or_else(|| root.join(OUTPUT_FOLDER));
    let mut written = HashSet::new();
    for target in &prepared.analyzed.roots {
        let several = target.platforms.len() > 1;
        for artifact in target.artifacts(&prepared.analyzed) {
            let Artifact::Output { action, name } = &artifact else { continue };
            // A set has the files of its images.
            if !written.insert(artifact.clone()) {
                continue;
            }
            let Some(place) = prepared.keys.graph.find(action) else { continue };
            let Some(result) = results.get(&place) else { continue };
            let mut base = folder.join(action.label.package.as_str()).join(action.label.name.as_str());
            if several && action.index < ActionRef::COMBINED {
                base = base.join(action.configuration.platform.to_string().replace('/', "-"));
            }
            let files: Vec<&OutputFile> = result
                .files
                .iter()
                .filter(|file| file.path == **name || file.path.starts_with(&format!("{name}/")))
                .collect();
            let beside = provenance_path(&base, name);
            let described = provenance::describe(prepared, &cache, place, &files)?;
            let is_current = fs_err::read(&beside).is_ok_and(|document| described.is_current(&document));
            match prepared.keys.graph.nodes[place].schema.id {
                // What it says is the only thing that tells a folder from another.
                "directory" if is_current && base.join(&**name).is_dir() => {}
                "directory" => write_folder(session, &cache, &base, name, &files)?,
                _ => write_all(&cache, &base, name, &files)?,
            }
            if !is_current {
                let text = described
                    .to_json(&provenance::sources(prepared, place, result))
                    .map_err(|error| write_error(&beside, &std::io::Error::other(error)))?;
                write_whole(&beside, false, &mut text.as_slice())
                    .map_err(|error| write_error(&beside, &error))?;
            }
            let path = base.join(&**name);
            let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            session.ui.emit(Event::Artifact {
                target: format!("{} ({})", action.label, action.configuration.platform),
                path: shown,
                kind: prepared.keys.graph.nodes[place].schema.id.to_owned(),
                digest: artifact_digest(&files),
                size: files.iter().map(|file| file.digest.size).sum(),
            });
        }
    }
    Ok(())
}

/// The digest of a file, or of the names and digests of a folder's files.
fn artifact_digest(files: &[&OutputFile]) -> String {
    match files {
        [file] => format!("blake3:{}", file.digest.hex()),
        files => {
            let names: BTreeMap<String, imgbuild_digest::Digest> =
                files.iter().map(|file| (file.path.clone(), file.digest)).collect();
            format!("blake3:{}", names.hash_as("imgbuild artifact"))
        }
    }
}

fn write_all(cache: &Cache, base: &Path, name: &str, files: &[&OutputFile]) -> Result<(), Diagnostics> {
    remove_others(base, name, files)?;
    let placed: Vec<(&OutputFile, PathBuf)> =
        files.iter().map(|file| (*file, base.join(&file.path))).collect();
    outputs::write_outputs(cache, &placed).map_err(|error| diagnostic(error, None).into())
}

/// Removes what an earlier build left in an artifact that is a folder, and an artifact that was a folder and is a file.
fn remove_others(base: &Path, name: &str, files: &[&OutputFile]) -> Result<(), Diagnostics> {
    let path = base.join(name);
    let is_folder = files.iter().any(|file| file.path != name);
    let stale = |path: &Path, error: std::io::Error| write_error(path, &error);
    if !is_folder {
        return match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {
                fs_err::remove_dir_all(&path).map_err(|error| stale(&path, error))
            }
            _ => Ok(()),
        };
    }
    let wanted: HashSet<PathBuf> = files.iter().map(|file| base.join(&file.path)).collect();
    let mut folders = vec![path];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs_err::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if !wanted.contains(&path) {
                fs_err::remove_file(&path).map_err(|error| stale(&path, error))?;
            }
        }
    }
    Ok(())
}

fn write_error(path: &Path, error: &std::io::Error) -> Diagnostics {
    Diagnostic::error(format!("cannot write `{}`: {error}", path.display())).class(Class::Environment).into()
}

/// A root file system as a folder, unpacked from the tar stream that the store keeps of it.
fn write_folder(
    session: &Session,
    cache: &Cache,
    base: &Path,
    name: &str,
    files: &[&OutputFile],
) -> Result<(), Diagnostics> {
    let path = base.join(name);
    // The image's owners can be given to files only by root, of the machine or of a namespace.
    become_root(session)?;
    let failed =
        |error: &dyn std::fmt::Display| write_error(&path, &std::io::Error::other(error.to_string()));
    for file in files {
        let staged = base.join(format!(".{name}.{}.tmp", std::process::id()));
        let unpacked = (|| -> Result<(), Diagnostics> {
            fs_err::create_dir_all(&staged).map_err(|error| write_error(&staged, &error))?;
            let stream = cache.open_verified(&file.digest).map_err(|error| cache_error(&error))?;
            imgbuild_formats::unpack::unpack_rootfs_tar(stream, &staged).map_err(|error| failed(&error))?;
            if path.symlink_metadata().is_ok() {
                fs_err::remove_dir_all(&path).map_err(|error| write_error(&path, &error))?;
            }
            fs_err::rename(&staged, &path).map_err(|error| write_error(&path, &error))
        })();
        if unpacked.is_err() {
            let _ = fs_err::remove_dir_all(&staged);
        }
        unpacked?;
    }
    Ok(())
}

fn provenance_path(base: &Path, name: &str) -> PathBuf {
    base.join(format!("{name}.provenance.json"))
}
