//! Batches in which packages take the place of others: they are the business of the root's own dpkg, which gets their files.

use std::collections::HashSet;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::database::read_state;
use super::root::{Root, create};
use super::{Batch, RootContext, UnpackError};
use crate::deb::{self, DebError};
use crate::status::PackageStatus;

/// Beside dpkg's own folders, where no package puts anything.
const STAGE: &str = "var/lib/dpkg/imgbuild";

pub(super) fn replaces(root: &Root, batch: &Batch) -> Result<bool, UnpackError> {
    let state = read_state(root)?;
    let present: HashSet<&str> = state
        .packages
        .iter()
        .filter(|package| package.status != PackageStatus::NotInstalled)
        .map(|package| package.name.as_str())
        .collect();
    if present.is_empty() {
        return Ok(false);
    }
    for package in &batch.packages {
        let control = deb::read_control_of(&package.path)?;
        // A package for a further architecture counts too: dpkg counts the references to what both share.
        if present.contains(control.name()) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn stage(root: &Root, batch: &Batch) -> Result<Vec<String>, UnpackError> {
    let folder = Path::new(STAGE);
    root.make_folders(folder).at("create", folder)?;
    let stage = root.folder(folder).at("open", folder)?;
    let mut paths = Vec::with_capacity(batch.packages.len());
    for (number, package) in batch.packages.iter().enumerate() {
        // Without the version, which may have signs that are of no good in a file name.
        let name = format!("{number:04}.deb");
        let place: PathBuf = folder.join(&name);
        let read = |source| DebError::Io { package: package.label.clone(), source };
        let mut from = fs_err::File::open(&package.path).map_err(read)?;
        let mut to = create(stage.as_fd(), name.as_ref()).at("create", &place)?;
        io::copy(&mut from, &mut to).at("write", &place)?;
        to.flush().at("write", &place)?;
        paths.push(format!("/{}", place.display()));
    }
    Ok(paths)
}

pub(super) fn unstage(root: &Root) -> Result<(), UnpackError> {
    root.remove_all(Path::new(STAGE)).at("remove", STAGE)
}
