//! Temporary files and folders that a dead run left: the undo of the kind `path`.
//!
//! For: removing one path below a root that the program owns, and nothing outside it whatever links or mounts
//! there are. Not for: the layers of the store, or trees whose files belong to other user ids (their builder
//! removes them in its namespace).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use super::{EffectKind, ResourceId, Undo, UndoError, UndoOutcome};

/// The intent of an effect of kind [`PathUndo::KIND`], written down before the file or folder is made. No
/// resource id is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathIntent {
    root: PathBuf,
    path: PathBuf,
}

/// Why a path could not be written down or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It could lead out of its root.
    #[error("`{}` is not a plain path below a root: it must be relative, not empty and without `.` and `..`", .0.display())]
    NotBelowRoot(PathBuf),
    /// The root is relative, so that it would mean something else to another process.
    #[error("the root `{}` of temporary paths must be absolute", .0.display())]
    RelativeRoot(PathBuf),
    /// The intent is of a root that this program does not manage.
    #[error("`{}` is below `{}`, which this configuration does not use; remove it yourself or restore the setting", path.display(), root.display())]
    ForeignRoot {
        /// The root.
        root: PathBuf,
        /// The path below it.
        path: PathBuf,
    },
    /// The intent is malformed.
    #[error("the intent is not that of a path: {0}")]
    Intent(#[from] serde_json::Error),
    /// A link or a mount stands in the way.
    #[error("`{}` leads through a symbolic link or a mount; nothing was removed, remove it yourself", .0.display())]
    LeadsElsewhere(PathBuf),
    /// Something is mounted in it.
    #[error("`{}` is mounted below `{}`; nothing was removed, unmount it first", mount.display(), path.display())]
    Mounted {
        /// The mount point.
        mount: PathBuf,
        /// What should be removed.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("cannot remove `{}`: {source}", path.display())]
    Remove {
        /// What should be removed.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl PathIntent {
    /// To make `path`, relative to `root`.
    pub fn new(root: impl Into<PathBuf>, path: impl Into<PathBuf>) -> Result<Self, PathError> {
        let intent = Self { root: root.into(), path: path.into() };
        intent.check()?;
        Ok(intent)
    }

    /// The path that will be made.
    pub fn full_path(&self) -> PathBuf {
        self.root.join(&self.path)
    }

    fn check(&self) -> Result<(), PathError> {
        if !self.root.is_absolute() {
            return Err(PathError::RelativeRoot(self.root.clone()));
        }
        // By its bytes: `components` would drop inner `.` and repeated slashes.
        let plain = self.path.as_os_str().as_bytes().split(|&b| b == b'/').all(|part| {
            let mut components = Path::new(std::ffi::OsStr::from_bytes(part)).components();
            matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        });
        if plain { Ok(()) } else { Err(PathError::NotBelowRoot(self.path.clone())) }
    }
}

/// Removes what is below the roots that it was given.
#[derive(Clone, Debug)]
pub struct PathUndo {
    roots: Vec<PathBuf>,
}

impl PathUndo {
    /// The kind of effect that this undoes.
    pub const KIND: EffectKind = EffectKind::from_static("path");

    /// For intents whose root is one of `roots`, as they were written.
    pub fn new(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { roots: roots.into_iter().collect() }
    }
}

#[async_trait::async_trait]
impl Undo for PathUndo {
    fn kind(&self) -> &EffectKind {
        const { &Self::KIND }
    }

    async fn undo(
        &self,
        intent: &serde_json::Value,
        _resource: Option<&ResourceId>,
    ) -> Result<UndoOutcome, UndoError> {
        let intent = PathIntent::deserialize(intent).map_err(PathError::from)?;
        intent.check()?;
        if !self.roots.contains(&intent.root) {
            return Err(PathError::ForeignRoot { root: intent.root, path: intent.path }.into());
        }
        // Large trees take a while to remove.
        Ok(tokio::task::spawn_blocking(move || remove_below(&intent.root, &intent.path)).await??)
    }
}

fn remove_below(root: &Path, path: &Path) -> Result<UndoOutcome, PathError> {
    let full = root.join(path);
    let failed = |source: io::Error| PathError::Remove { path: full.clone(), source };
    let (Some(name), parent) = (path.file_name(), path.parent().unwrap_or(Path::new(""))) else {
        return Err(PathError::NotBelowRoot(path.to_path_buf()));
    };
    let folder = match open_folder(root, parent) {
        Ok(folder) => folder,
        Err(rustix::io::Errno::NOENT) => return Ok(UndoOutcome::AlreadyGone),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::XDEV | rustix::io::Errno::NOTDIR) => {
            return Err(PathError::LeadsElsewhere(full));
        }
        Err(error) => return Err(failed(error.into())),
    };
    // Through the descriptor the folder stays the one that was checked, also if someone swaps the path for a
    // link now. The standard library's removal follows no links below it.
    let pinned = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    let target = pinned.join(name);
    let metadata = match fs_err::symlink_metadata(&target) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(UndoOutcome::AlreadyGone),
        Err(error) => return Err(failed(error)),
    };
    let real = fs_err::read_link(&pinned).map_err(failed)?.join(name);
    let mounts = fs_err::read("/proc/self/mountinfo").map_err(failed)?;
    if let Some(mount) = mount_points(&mounts).find(|m| m.starts_with(&real)) {
        return Err(PathError::Mounted { mount, path: full });
    }
    if !metadata.is_dir() {
        fs_err::remove_file(&target).map_err(failed)?;
        return Ok(UndoOutcome::Undone);
    }
    match fs_err::remove_dir_all(&target) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // Folders that an image wants read-only keep even their owner from emptying them.
            make_folders_writable(&target).and_then(|()| fs_err::remove_dir_all(&target)).map_err(failed)?;
        }
        other => other.map_err(failed)?,
    }
    Ok(UndoOutcome::Undone)
}

/// Opens `parent` below `root` without leaving it, through no link and onto no other mount.
fn open_folder(root: &Path, parent: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty())?;
    if parent.as_os_str().is_empty() {
        return Ok(root);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(&root, parent, flags, Mode::empty(), resolve)
}

fn make_folders_writable(folder: &Path) -> io::Result<()> {
    fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        // The type of the entry itself: a link to a folder is not one.
        if entry.file_type()?.is_dir() {
            make_folders_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// The mount points of `/proc/self/mountinfo` (`proc(5)`): field 5, with odd bytes as `\ooo`.
fn mount_points(mountinfo: &[u8]) -> impl Iterator<Item = PathBuf> {
    mountinfo
        .split(|&b| b == b'\n')
        .filter_map(|line| line.split(|&b| b == b' ').nth(4))
        .map(|escaped| PathBuf::from(std::ffi::OsString::from_vec(unescape(escaped))))
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\'
            && let Some(digits) = tail.get(..3)
            && digits.iter().all(|d| matches!(d, b'0'..=b'7'))
        {
            out.push(digits.iter().fold(0_u8, |n, d| n.wrapping_mul(8).wrapping_add(d - b'0')));
            rest = &tail[3..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    async fn undo(root: &Path, path: &str) -> Result<UndoOutcome, String> {
        let intent = serde_json::json!({ "root": root, "path": path });
        PathUndo::new([root.to_path_buf()]).undo(&intent, None).await.map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn a_folder_goes_with_all_that_is_in_it_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs_err::create_dir_all(root.join("tmp/one/deep/er")).unwrap();
        fs_err::create_dir_all(root.join("tmp/two")).unwrap();
        fs_err::create_dir_all(&outside).unwrap();
        fs_err::write(outside.join("precious"), "x").unwrap();
        symlink(&outside, root.join("tmp/one/deep/link")).unwrap();
        fs_err::set_permissions(root.join("tmp/one/deep"), std::fs::Permissions::from_mode(0o555)).unwrap();
        assert_eq!(undo(&root, "tmp/one").await, Ok(UndoOutcome::Undone));
        assert!(!root.join("tmp/one").exists() && root.join("tmp/two").exists());
        assert!(outside.join("precious").exists());
        assert_eq!(undo(&root, "tmp/one").await, Ok(UndoOutcome::AlreadyGone));
        assert_eq!(undo(&root, "never/was").await, Ok(UndoOutcome::AlreadyGone));
        fs_err::write(root.join("file"), "x").unwrap();
        assert_eq!(undo(&root, "file").await, Ok(UndoOutcome::Undone));
        // A link itself is removed, not what it leads to.
        symlink(&outside, root.join("link")).unwrap();
        assert_eq!(undo(&root, "link").await, Ok(UndoOutcome::Undone));
        assert!(outside.join("precious").exists());
    }

    #[tokio::test]
    async fn nothing_outside_the_root_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs_err::create_dir_all(&root).unwrap();
        fs_err::create_dir_all(outside.join("precious")).unwrap();
        for path in ["", ".", "..", "../outside", "a/../../outside", "a/./b", "a//b", "/etc", "a/"] {
            let error = undo(&root, path).await.unwrap_err();
            assert!(error.contains("is not a plain path below a root"), "{path}: {error}");
            assert!(PathIntent::new(&root, path).is_err(), "{path}");
        }
        symlink(&outside, root.join("link")).unwrap();
        let error = undo(&root, "link/precious").await.unwrap_err();
        assert!(error.contains("leads through a symbolic link or a mount"), "{error}");
        let foreign = serde_json::json!({ "root": dir.path(), "path": "outside" });
        let error = PathUndo::new([root.clone()]).undo(&foreign, None).await.unwrap_err().to_string();
        assert!(error.contains("which this configuration does not use"), "{error}");
        assert!(matches!(PathIntent::new("relative", "a"), Err(PathError::RelativeRoot(_))));
        assert!(outside.join("precious").exists());
    }

    #[tokio::test]
    async fn a_mount_inside_stops_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs_err::canonicalize(dir.path()).unwrap();
        let (inner, source) = (root.join("tmp/a b"), root.join("source"));
        fs_err::create_dir_all(&inner).unwrap();
        fs_err::create_dir_all(&source).unwrap();
        fs_err::write(source.join("precious"), "x").unwrap();
        if let Err(error) = rustix::mount::mount_bind(&source, &inner) {
            eprintln!("skipped: cannot mount here: {error}");
            return;
        }
        let result = undo(&root, "tmp").await;
        let through = undo(&root, "tmp/a b/precious").await;
        rustix::mount::unmount(&inner, rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(result.unwrap_err().contains("unmount it first"));
        assert!(through.unwrap_err().contains("leads through a symbolic link or a mount"));
        assert!(source.join("precious").exists());
        assert_eq!(undo(&root, "tmp").await, Ok(UndoOutcome::Undone));
    }

    #[test]
    fn mount_points_are_unescaped() {
        let text = b"36 35 98:0 /a /mnt/a\\040b\\134c rw - ext4 /dev/x rw\n37 35 0:1 / / rw - tmpfs x rw\n";
        let points: Vec<_> = mount_points(text).collect();
        assert_eq!(points, [PathBuf::from("/mnt/a b\\c"), PathBuf::from("/")]);
    }
}
