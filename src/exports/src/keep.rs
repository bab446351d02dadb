//! Puts what an export wrote into the store.

use std::io::Write as _;
use std::path::Path;

use imgbuild_cache::{Cache, OutputFile};
use imgbuild_engine::ActionError;

/// One file.
pub(crate) fn keep_file(cache: &Cache, path: &Path, name: &str) -> Result<OutputFile, ActionError> {
    let blob = cache.put_file(path)?;
    Ok(OutputFile { path: name.to_owned(), digest: blob.digest, executable: is_executable(path)? })
}

/// All files of a folder, under the folder's name, sorted; with one sync for all.
pub(crate) fn keep_folder(cache: &Cache, folder: &Path, name: &str) -> Result<Vec<OutputFile>, ActionError> {
    let batch = cache.sync_batch();
    let mut files = Vec::new();
    collect(cache, &batch, folder, name, &mut files)?;
    batch.commit()?;
    Ok(files)
}

fn collect(
    cache: &Cache,
    batch: &imgbuild_cache::SyncBatch,
    folder: &Path,
    name: &str,
    files: &mut Vec<OutputFile>,
) -> Result<(), ActionError> {
    let mut entries = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        entries.push((entry.file_name(), entry.path(), entry.file_type()?));
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    for (entry, path, kind) in entries {
        let name = format!("{name}/{}", entry.to_string_lossy());
        if kind.is_dir() {
            collect(cache, batch, &path, &name, files)?;
        } else if kind.is_file() {
            let mut from = fs_err::File::open(&path)?;
            let mut writer = cache.writer(None)?;
            std::io::copy(&mut from, &mut writer)?;
            writer.flush()?;
            let pending = writer.finish()?;
            files.push(OutputFile {
                path: name,
                digest: pending.blob().digest,
                executable: is_executable(&path)?,
            });
            batch.add(pending);
        }
    }
    Ok(())
}

fn is_executable(path: &Path) -> Result<bool, ActionError> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs_err::metadata(path)?.permissions().mode() & 0o100 != 0)
}
