//! btrfs file systems against `btrfs check`, `btrfs restore`, the tool's dump of all items, and the kernel.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use imgbuild_disk::btrfs::{BtrfsOptions, BtrfsPlan, write_btrfs};
use imgbuild_disk::{Node, Tree};
use imgbuild_tree::Metadata;
use tempfile::TempDir;
use uuid::Uuid;

use crate::ext4::everything;
use crate::fixture::{EPOCH, Made, MemoryTree, content, hash, noise, owned, text};

const MIB: u64 = 1 << 20;

fn options(size: u64) -> BtrfsOptions {
    BtrfsOptions { size, uuid: Uuid::from_u128(0x1234), label: Some("root".to_owned()), epoch: EPOCH }
}

/// Writes `tree` to a file of `size` bytes.
fn written(folder: &TempDir, name: &str, tree: &dyn Tree, size: u64) -> PathBuf {
    let path = folder.path().join(name);
    let image = File::create_new(&path).unwrap();
    image.set_len(size).unwrap();
    write_btrfs(tree, &options(size), &image, 0).unwrap();
    path
}

/// Has all trees and all checksums of contents looked at.
pub fn check(image: &Path) {
    let Some(report) = content("btrfs", &["check", "--check-data-csum", text(image)]) else { return };
    assert!(report.contains("no error found"), "{report}");
    // What it mends by itself it only says.
    for word in ["ERROR", "WARNING", "mismatch", "wrong", "invalid"] {
        assert!(!report.contains(word), "{report}");
    }
}

/// Compares the files that the tool reads from `image` with those of `tree`.
fn check_contents(tree: &dyn Tree, image: &Path, folder: &Path) {
    fs_err::create_dir(folder).unwrap();
    if content("btrfs", &["restore", "--symlinks", text(image), text(folder)]).is_none() {
        return;
    }
    for entry in tree.entries() {
        let path = folder.join(std::ffi::OsStr::from_bytes(entry.path));
        match entry.node {
            Node::Directory => assert!(path.is_dir(), "{path:?}"),
            Node::File { size } => {
                let mut expected = blake3::Hasher::new();
                std::io::copy(&mut tree.open(entry.path).unwrap(), &mut expected).unwrap();
                assert_eq!(path.metadata().unwrap().len(), size, "{path:?}");
                assert_eq!(hash(&path), expected.finalize(), "{path:?}");
            }
            Node::HardLink { target } => {
                assert_eq!(hash(&path), hash(&folder.join(std::ffi::OsStr::from_bytes(target))), "{path:?}");
            }
            Node::SymbolicLink { target } => {
                assert_eq!(fs_err::read_link(&path).unwrap().as_os_str().as_bytes(), target);
            }
            // The tool does not restore them.
            Node::Fifo | Node::Device { .. } => {}
        }
    }
}

fn all_sorts() -> MemoryTree {
    let mut tree = everything();
    tree.file(b"etc/no text \xff\xfe", "named by bytes");
    tree.file("etc/implied/deep/file", "in folders that no entry describes");
    tree
}

#[test]
fn everything_is_on_it() {
    let folder = TempDir::new().unwrap();
    let tree = all_sorts();
    let image = written(&folder, "image", &tree, 160 * MIB);
    check(&image);
    check_contents(&tree, &image, &folder.path().join("restored"));
    let Some(dump) = content("btrfs", &["inspect-internal", "dump-tree", "-t", "fs", text(&image)]) else {
        return;
    };
    // The lines of the inode that has `name`.
    let of = |name: &str| {
        let name = format!("name: {name}\n");
        let before = &dump[..dump.rfind(&name).unwrap_or_else(|| panic!("no {name}: {dump}"))];
        let key = before.rfind(" INODE_REF ").unwrap();
        let number = before[..key].rsplit('(').next().unwrap().to_owned();
        let item = format!("key ({number} ");
        let lines: Vec<_> = dump.split("\titem ").filter(|lines| lines.contains(&item)).collect();
        lines.concat()
    };
    let has = |name: &str, parts: &[&str]| {
        let lines = of(name);
        for part in parts {
            assert!(lines.contains(part), "no `{part}` in {name}:\n{lines}");
        }
    };
    has("odd", &["mode 100644 links 2 uid 0 gid 0", "size 100001 nbytes 102400", "namelen 7 name: zz-link"]);
    has("large-ids", &["mode 100640 links 1 uid 4000000000 gid 3000000000", "size 1 nbytes 1"]);
    has("program", &["mode 104755"]);
    has("tmp", &["mode 41777"]);
    has("null", &["mode 20666", "rdev 1048579"]);
    has("disk", &["mode 60660 links 1 uid 0 gid 6", "rdev 271651184"]);
    has("pipe", &["mode 10600"]);
    has("sparse", &["size 3000000007"]);
    has("void", &["size 10485760 nbytes 0"]);
    has("hostname", &["mtime 1699999000.0", "otime 1700000000.0", "inline extent data size 4"]);
    has("old", &["(1969-12-31 "]);
    has("late", &["mtime 5000000000.0"]);
    has("deep", &["mode 40755 links 1 uid 0 gid 0", "mtime 1700000000.0"]);
    has(
        "attributes",
        &["name: security.capability", "name: user.large", "name: system.posix_acl_access", "data_len 3000"],
    );
}

/// A mounted image, unmounted when it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where it may not be mounted, which is said.
    fn of(image: &Path, folder: PathBuf) -> Option<Self> {
        fs_err::create_dir(&folder).unwrap();
        let arguments = ["-t", "btrfs", "-o", "loop", text(image), text(&folder)];
        let output = Command::new("mount").args(arguments).env("LC_ALL", "C").output().unwrap();
        if output.status.success() {
            return Some(Self(folder));
        }
        // What the kernel does not take is no reason to skip.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let cannot = ["superuser", "permission denied", "unknown filesystem", "loop device", "not permitted"];
        assert!(cannot.iter().any(|reason| said.contains(reason)), "{said}");
        eprintln!("SKIPPED: a btrfs image cannot be mounted: {said}");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// What a path has, as the kernel says it.
fn seen(path: &Path) -> Metadata {
    let metadata = path.symlink_metadata().unwrap();
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut xattrs = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        xattrs.insert(name.into(), value[..length].into());
    }
    let (uid, gid, mtime) = (metadata.uid(), metadata.gid(), metadata.mtime());
    Metadata { mode: metadata.mode() & 0o7777, uid, gid, mtime, xattrs }
}

#[test]
fn the_kernel_sees_the_same_and_lets_it_grow() {
    let folder = TempDir::new().unwrap();
    let tree = all_sorts();
    let image = written(&folder, "image", &tree, 160 * MIB);
    File::options().write(true).open(&image).unwrap().set_len(500 * MIB).unwrap();
    let Some(mounted) = Mounted::of(&image, folder.path().join("mounted")) else { return };
    for entry in tree.entries() {
        let at = |path: &[u8]| mounted.0.join(std::ffi::OsStr::from_bytes(path));
        let path = at(entry.path);
        let metadata = path.symlink_metadata().unwrap();
        let kind = metadata.file_type();
        match entry.node {
            Node::HardLink { target } => {
                assert_eq!(metadata.ino(), at(target).symlink_metadata().unwrap().ino());
                assert_eq!(metadata.nlink(), 2);
                continue;
            }
            Node::Directory => assert!(kind.is_dir()),
            Node::File { size } => {
                assert_eq!((kind.is_file(), metadata.len()), (true, size));
                let mut expected = blake3::Hasher::new();
                std::io::copy(&mut tree.open(entry.path).unwrap(), &mut expected).unwrap();
                assert_eq!(hash(&path), expected.finalize(), "{path:?}");
            }
            Node::SymbolicLink { target } => {
                assert_eq!(fs_err::read_link(&path).unwrap().as_os_str().as_bytes(), target);
            }
            Node::Fifo => assert!(kind.is_fifo()),
            Node::Device { block, major, minor } => {
                assert_eq!((kind.is_block_device(), kind.is_char_device()), (block, !block));
                assert_eq!(metadata.rdev(), rustix::fs::makedev(major, minor));
            }
        }
        assert_eq!(&seen(&path), entry.metadata, "{path:?}");
    }
    let place = text(&mounted.0);
    content("btrfs", &["filesystem", "resize", "max", place]);
    // More than it had room for.
    fs_err::write(mounted.0.join("new"), noise(200 << 20)).unwrap();
    content("btrfs", &["scrub", "start", "-B", place]);
    drop(mounted);
    check(&image);
}

/// Three levels of blocks in the tree of files, and contents on both sides of a superblock, so in two chunks.
#[test]
fn a_large_tree_is_sound() {
    let folder = TempDir::new().unwrap();
    let mut tree = MemoryTree::default();
    for index in 0..5000 {
        let path = format!("folder {}/and {}/a file with a rather long name, {index}", index % 7, index % 50);
        let made = if index % 11 == 0 {
            noise(5000 + index)
        } else {
            format!("{index:05}").repeat(400).into_bytes()
        };
        tree.put(path, owned(0o644, index as u32, 7), Made::Bytes(made));
    }
    for index in 0..400 {
        tree.put(format!("links/{index}"), owned(0, 0, 0), Made::HardLink(b"folder 0/and 0/a".to_vec()));
    }
    tree.file("folder 0/and 0/a", "with many names");
    let marks = (0..1280).map(|mark| (mark * 65_536 + mark, mark as u8)).collect();
    tree.put("large", owned(0o600, 0, 0), Made::Sparse { size: 80 * MIB + 5, marks });
    let size = BtrfsPlan::new(&tree).unwrap().minimal_size().unwrap();
    let image = written(&folder, "image", &tree, size);
    check(&image);
    check_contents(&tree, &image, &folder.path().join("restored"));
}

#[test]
fn an_empty_tree_is_sound() {
    let folder = TempDir::new().unwrap();
    check(&written(&folder, "image", &MemoryTree::default(), 128 * MIB));
}

#[test]
fn the_same_tree_is_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let first = written(&folder, "one", &all_sorts(), 160 * MIB);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(hash(&first), hash(&written(&folder, "other", &all_sorts(), 160 * MIB)));
}

#[test]
fn what_does_not_go_on_it_is_said() {
    let refused = |tree: &MemoryTree| {
        let image = tempfile::tempfile().unwrap();
        image.set_len(160 * MIB).unwrap();
        write_btrfs(tree, &options(160 * MIB), &image, 0).unwrap_err().to_string()
    };
    let mut tree = MemoryTree::default();
    tree.file("n".repeat(256), "");
    assert!(refused(&tree).ends_with("cannot be put on btrfs: its name has more than 255 bytes"));
    let mut tree = MemoryTree::default();
    tree.put("link", owned(0o777, 0, 0), Made::SymbolicLink(vec![b'l'; 4095]));
    assert_eq!(
        refused(&tree),
        "`/link` cannot be put on btrfs: its target is empty or longer than 4094 bytes"
    );
    let mut tree = MemoryTree::default();
    tree.put("link", owned(0o644, 0, 0), Made::HardLink(b"gone".to_vec()));
    assert!(refused(&tree).contains("points to `/gone`"));
    let mut tree = MemoryTree::default();
    tree.file("first", "");
    for index in 0..200 {
        let name = format!("{index:0200}");
        tree.put(name, owned(0o644, 0, 0), Made::HardLink(b"first".to_vec()));
    }
    // Names sort before the file that they are of.
    assert!(refused(&tree).contains("is no file before it"));
    let mut tree = MemoryTree::default();
    tree.file("0", "");
    for index in 1..200 {
        tree.put(format!("{index:0200}"), owned(0o644, 0, 0), Made::HardLink(b"0".to_vec()));
    }
    assert!(refused(&tree).contains("too many names in its folder"), "{}", refused(&tree));
    let tree = MemoryTree::default();
    let image = tempfile::tempfile().unwrap();
    let error = write_btrfs(&tree, &options(64 * MIB), &image, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the root file system needs at least 128M and has 64M; set `size` to 128M or more, or leave it out"
    );
}
