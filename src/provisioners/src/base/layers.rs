//! A stack of layers out of archives: each is unpacked into a staged tree of its own and captured against those below.
//!
//! What an image or an archive ships belongs to it, so that only the contents of `/dev`, `/proc` and `/sys`, which no
//! machine sees, are left out; and all times stay as they are. What is not here: where archives come from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_cache::{Cache, Lease, Run};
use imgbuild_digest::{ContentHash as _, ContentHasher, Hash};
use imgbuild_engine::ActionError;
use imgbuild_formats::Notice;
use imgbuild_model::{Class, Diagnostic, with_causes};
use imgbuild_tree::{
    CaptureOptions, DeltaId, DeltaManifest, Exclusion, MergedView, TreePath, XattrNamespace, capture,
    prepare_root,
};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};

/// Which stack an image's layers became, by what their archives are.
const STACK_MEMO: &str = "oci-layers";

/// Permission bits that tell whether an archive said something of its root: no image has such a root.
const UNDESCRIBED: u32 = 0o5700;

/// Folders on which every machine has a file system of its own.
const KERNEL_FOLDERS: [&str; 3] = ["dev", "proc", "sys"];

/// Where an archive is to be unpacked.
pub(super) struct Place<'a> {
    /// The folder, which is there and empty.
    pub(super) folder: &'a Path,
    /// The trees below, the highest first.
    pub(super) lower: &'a [&'a Path],
    /// The name of overlayfs' mark for opaque folders.
    pub(super) opaque_attribute: &'static str,
}

/// Layers, the lowest first.
pub(super) struct Stack {
    cache: Cache,
    run: Arc<Run>,
    namespace: XattrNamespace,
    deltas: Vec<DeltaId>,
    manifests: Vec<Arc<DeltaManifest>>,
}

impl Stack {
    /// No layer.
    pub(super) fn new(cache: &Cache, run: &Arc<Run>) -> Self {
        let namespace = XattrNamespace::of_process();
        Self { cache: cache.clone(), run: run.clone(), namespace, deltas: Vec::new(), manifests: Vec::new() }
    }

    /// The stack of as many of an image's layers, from the lowest on, as were unpacked before and are still there; and how
    /// many those are.
    ///
    /// `diff_ids` are the digests of their tar streams.
    pub(super) fn resume(
        cache: &Cache,
        run: &Arc<Run>,
        diff_ids: &[&str],
    ) -> Result<(Self, usize), ActionError> {
        let mut stack = Self::new(cache, run);
        for count in (1..=diff_ids.len()).rev() {
            let known = cache.memo_get(STACK_MEMO, &stack.memo_key(&diff_ids[..count]))?;
            let Some(deltas) = known.and_then(|text| deltas(&text)) else { continue };
            // Leased first, so that what is seen then stays.
            run.lease(&deltas.iter().copied().map(Lease::Layer).collect::<Vec<_>>())?;
            if !deltas.iter().all(|delta| cache.has_layer(delta)) {
                continue;
            }
            stack.manifests =
                deltas.iter().map(|delta| cache.layer_manifest(delta)).collect::<Result<_, _>>()?;
            stack.deltas = deltas;
            return Ok((stack, count));
        }
        Ok((stack, 0))
    }

    /// Notes which layers an image's lowest ones became.
    pub(super) fn remember(&self, diff_ids: &[&str]) -> Result<(), ActionError> {
        let text: Vec<String> = self.deltas.iter().map(ToString::to_string).collect();
        Ok(self.cache.memo_put(STACK_MEMO, &self.memo_key(diff_ids), text.join(" ").as_bytes())?)
    }

    /// Adds what `unpack` puts into a folder, unless it changes nothing.
    pub(super) fn add(
        &mut self,
        unpack: impl FnOnce(&Place<'_>) -> Result<Vec<Notice>, ActionError>,
    ) -> Result<Vec<Notice>, ActionError> {
        let staged = self.cache.stage(&self.run)?;
        let trees: Vec<PathBuf> =
            self.deltas.iter().rev().map(|delta| self.cache.layer_tree(delta)).collect();
        let lower: Vec<&Path> = trees.iter().map(PathBuf::as_path).collect();
        rustix::fs::chmod(staged.upper(), Mode::from_raw_mode(UNDESCRIBED)).map_err(std::io::Error::from)?;
        let notices = unpack(&Place {
            folder: staged.upper(),
            lower: &lower,
            opaque_attribute: self.namespace.opaque_attribute(),
        })?;
        let view = MergedView::new(&self.manifests);
        if rustix::fs::stat(staged.upper()).map_err(std::io::Error::from)?.st_mode & 0o7777 == UNDESCRIBED {
            // Else the root would be as old as the unpacking, and every build another.
            describe_root(staged.upper())?;
            prepare_root(staged.upper(), &view).map_err(failed)?;
        }
        let manifest = capture(staged.upper(), &view, &self.options()).map_err(failed)?;
        drop(view);
        if !manifest.entries.is_empty() {
            self.deltas.push(self.cache.commit_layer(staged, &manifest)?);
            self.manifests.push(Arc::new(manifest));
        }
        Ok(notices)
    }

    /// The latest time of any file, in seconds since 1970.
    pub(super) fn newest(&self) -> Option<i64> {
        let entries = self.manifests.iter().flat_map(|manifest| &manifest.entries);
        entries.filter_map(|entry| entry.node.metadata()).map(|metadata| metadata.mtime).max()
    }

    /// The layers.
    pub(super) fn into_layers(self) -> Vec<DeltaId> {
        self.deltas
    }

    fn options(&self) -> CaptureOptions {
        let exclude = KERNEL_FOLDERS
            .iter()
            .filter_map(|path| Some(Exclusion { path: TreePath::new(path.as_bytes())?, contents_only: true }))
            .collect();
        CaptureOptions { clamp_mtime: i64::MAX, exclude, xattr_namespace: self.namespace }
    }

    fn memo_key(&self, diff_ids: &[&str]) -> Hash {
        let mut hasher = ContentHasher::new("imgbuild unpacked layers 1");
        // A user namespace has no devices.
        self.namespace.opaque_attribute().content_hash(&mut hasher);
        hasher.write_u64(diff_ids.len() as u64);
        diff_ids.iter().for_each(|diff_id| diff_id.content_hash(&mut hasher));
        hasher.finish()
    }
}

/// The layers that a memo names.
fn deltas(text: &[u8]) -> Option<Vec<DeltaId>> {
    std::str::from_utf8(text).ok()?.split_whitespace().map(|delta| delta.parse().ok()).collect()
}

/// What an archive's root is if neither it nor a layer below says anything.
fn describe_root(folder: &Path) -> Result<(), ActionError> {
    let time = Timespec { tv_sec: 0, tv_nsec: 0 };
    let described = rustix::fs::chown(folder, Some(Uid::ROOT), Some(Gid::ROOT))
        .and_then(|()| rustix::fs::chmod(folder, Mode::from_raw_mode(0o755)))
        .and_then(|()| {
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, folder, &times, AtFlags::SYMLINK_NOFOLLOW)
        });
    Ok(described.map_err(std::io::Error::from)?)
}

fn failed(error: imgbuild_tree::Error) -> ActionError {
    Diagnostic::error(with_causes(&error)).class(Class::Environment).into()
}
