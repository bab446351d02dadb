//! Capture of plain directories, without a mount: what is kept, clamped, dropped and written back.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use imgbuild_tree::{
    CaptureOptions, DeltaManifest, EmptyView, Error, Exclusion, MergedView, MismatchKind, Node, TreePath,
    XattrNamespace, capture, prepare_root, verify,
};
use rustix::fs::{XattrFlags, lsetxattr};

const CLAMP: i64 = 1_600_000_000;

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn options() -> CaptureOptions {
    CaptureOptions::new(CLAMP, XattrNamespace::User)
}

fn write(root: &Path, at: &str, contents: &str) {
    let path = root.join(at);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, contents).unwrap();
}

fn names(manifest: &DeltaManifest) -> Vec<String> {
    manifest.entries.iter().map(|entry| entry.path.to_string()).collect()
}

fn set_user(root: &Path, at: &str, name: &str, value: &[u8]) {
    lsetxattr(root.join(at), name, value, XattrFlags::empty()).unwrap();
}

#[test]
fn times_are_clamped_in_the_manifest_and_on_disk() {
    let upper = tempfile::tempdir().unwrap();
    let root = upper.path();
    write(root, "dir/new", "x");
    write(root, "dir/old", "x");
    symlink("new", root.join("dir/link")).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_500_000_000, 999_999_999);
    std::fs::File::open(root.join("dir/old")).unwrap().set_modified(old).unwrap();
    let manifest = capture(root, &EmptyView, &options()).unwrap();
    assert_eq!(names(&manifest), ["/", "/dir", "/dir/link", "/dir/new", "/dir/old"]);
    for entry in &manifest.entries {
        let expected = if entry.path == path("dir/old") { 1_500_000_000 } else { CLAMP };
        assert_eq!(entry.node.metadata().unwrap().mtime, expected, "{}", entry.path);
        let status = std::fs::symlink_metadata(root.join(entry.path.as_path())).unwrap();
        assert_eq!((status.mtime(), status.mtime_nsec()), (expected, 0), "{}", entry.path);
    }
    assert_eq!(verify(root, &manifest).unwrap(), []);
}

#[test]
fn the_same_tree_has_one_name_however_it_was_written() {
    let build = |reverse: bool| {
        let upper = tempfile::tempdir().unwrap();
        let mut all = vec!["a/1", "a/2", "b-c", "b/x/y"];
        if reverse {
            all.reverse();
        }
        for at in all {
            write(upper.path(), at, at);
        }
        capture(upper.path(), &EmptyView, &options()).unwrap().id()
    };
    assert_eq!(build(false), build(true));
}

#[test]
fn what_equals_the_parents_is_dropped_and_removed() {
    let base = tempfile::tempdir().unwrap();
    for at in ["same/file", "same/deep/file", "changed/file", "changed/kept", "mode"] {
        write(base.path(), at, "base");
    }
    let below = [Arc::new(capture(base.path(), &EmptyView, &options()).unwrap())];
    let view = MergedView::new(&below);

    let upper = tempfile::tempdir().unwrap();
    prepare_root(upper.path(), &view).unwrap();
    for at in ["same/file", "same/deep/file", "changed/kept", "mode"] {
        write(upper.path(), at, "base");
    }
    write(upper.path(), "changed/file", "other");
    std::fs::set_permissions(upper.path().join("mode"), PermissionsExt::from_mode(0o600)).unwrap();
    let manifest = capture(upper.path(), &view, &options()).unwrap();
    assert_eq!(names(&manifest), ["/changed/file", "/mode"]);
    assert!(!upper.path().join("same").exists());
    assert!(!upper.path().join("changed/kept").exists());
    assert!(upper.path().join("changed/file").exists());
    assert_eq!(verify(upper.path(), &manifest).unwrap(), []);
    // What is left is canonical: a second capture finds the same.
    assert_eq!(capture(upper.path(), &view, &options()).unwrap(), manifest);
}

#[test]
fn an_untouched_upper_directory_is_an_empty_delta() {
    let base = tempfile::tempdir().unwrap();
    std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let below = [Arc::new(capture(base.path(), &EmptyView, &options()).unwrap())];
    let view = MergedView::new(&below);
    let upper = tempfile::tempdir().unwrap();
    prepare_root(upper.path(), &view).unwrap();
    assert_eq!(capture(upper.path(), &view, &options()).unwrap(), DeltaManifest::default());
}

#[test]
fn names_of_one_file_stay_together() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), "a", "one");
    std::fs::hard_link(base.path().join("a"), base.path().join("z")).unwrap();
    let base_manifest = capture(base.path(), &EmptyView, &options()).unwrap();
    assert_eq!(base_manifest.get(&path("z")), Some(&Node::HardLink { target: path("a") }));
    let below = [Arc::new(base_manifest)];
    let view = MergedView::new(&below);

    let with_names = |linked: &[&str]| {
        let upper = tempfile::tempdir().unwrap();
        prepare_root(upper.path(), &view).unwrap();
        write(upper.path(), linked[0], "one");
        for name in &linked[1..] {
            std::fs::hard_link(upper.path().join(linked[0]), upper.path().join(name)).unwrap();
        }
        let manifest = capture(upper.path(), &view, &options()).unwrap();
        assert_eq!(verify(upper.path(), &manifest).unwrap(), []);
        manifest.entries.into_iter().filter(|entry| !entry.path.is_root()).collect::<Vec<_>>()
    };
    assert_eq!(with_names(&["a", "z"]), [], "the same names of the same file");
    let new_name = with_names(&["z", "m"]);
    assert_eq!(new_name.len(), 2, "a new name takes the old one with it");
    assert!(matches!(new_name[0].node, Node::File { .. }) && new_name[0].path == path("m"));
    assert_eq!(new_name[1].node, Node::HardLink { target: path("m") });
}

#[test]
fn only_attributes_of_images_are_kept() {
    let upper = tempfile::tempdir().unwrap();
    let root = upper.path();
    write(root, "file", "x");
    set_user(root, "file", "user.mine", b"yes");
    set_user(root, "file", "user.overlay.origin", b"inode of this machine");
    let manifest = capture(root, &EmptyView, &options()).unwrap();
    let kept = &manifest.get(&path("file")).unwrap().metadata().unwrap().xattrs;
    assert_eq!(*kept, BTreeMap::from([(b"user.mine"[..].into(), b"yes"[..].into())]));
    let mut buffer = [0; 64];
    let gone = rustix::fs::lgetxattr(root.join("file"), "user.overlay.origin", &mut buffer[..]);
    assert_eq!(gone, Err(rustix::io::Errno::NODATA));
}

#[test]
fn a_mark_that_splits_a_file_over_layers_is_an_error() {
    for feature in ["metacopy", "redirect"] {
        let upper = tempfile::tempdir().unwrap();
        write(upper.path(), "file", "x");
        set_user(upper.path(), "file", &format!("user.overlay.{feature}"), b"y");
        let error = capture(upper.path(), &EmptyView, &options()).unwrap_err();
        assert!(matches!(&error, Error::OverlayFeature { feature: found, .. } if found == feature));
        assert!(error.to_string().contains("mount with `metacopy=off"), "{error}");
    }
}

#[test]
fn excluded_paths_leave_no_trace() {
    let upper = tempfile::tempdir().unwrap();
    let root = upper.path();
    for at in ["dev/null", "run/lock/x", "etc/hosts", "etc/resolv.conf", "etc/passwd", "mnt/cache/x"] {
        write(root, at, "x");
    }
    let mut options = options();
    options.exclude.push(Exclusion { path: path("mnt/cache"), contents_only: false });
    let manifest = capture(root, &EmptyView, &options).unwrap();
    assert_eq!(names(&manifest), ["/", "/dev", "/etc", "/etc/passwd", "/mnt", "/run"]);
    assert!(
        !root.join("etc/hosts").exists()
            && !root.join("run/lock").exists()
            && !root.join("mnt/cache").exists()
    );
    assert_eq!(verify(root, &manifest).unwrap(), []);
}

#[test]
fn sockets_are_dropped_and_hide_what_they_replaced() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), "was-file", "x");
    let below = [Arc::new(capture(base.path(), &EmptyView, &options()).unwrap())];
    let view = MergedView::new(&below);
    let upper = tempfile::tempdir().unwrap();
    prepare_root(upper.path(), &view).unwrap();
    for name in ["new", "was-file"] {
        UnixListener::bind(upper.path().join(name)).unwrap();
    }
    match capture(upper.path(), &view, &options()) {
        Ok(manifest) => {
            assert_eq!(manifest.get(&path("was-file")), Some(&Node::Whiteout));
            assert_eq!(manifest.get(&path("new")), None);
            assert_eq!(verify(upper.path(), &manifest).unwrap(), []);
        }
        // An ordinary user outside a namespace may not make the whiteout on every kernel.
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn opaque_folders_and_whiteouts_count_only_where_there_is_something_below() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), "old/hidden", "x");
    write(base.path(), "gone", "x");
    let below = [Arc::new(capture(base.path(), &EmptyView, &options()).unwrap())];
    let view = MergedView::new(&below);
    let upper = tempfile::tempdir().unwrap();
    let root = upper.path();
    prepare_root(root, &view).unwrap();
    write(root, "old/hidden", "x");
    write(root, "new/file", "x");
    for at in ["old", "new"] {
        set_user(root, at, "user.overlay.opaque", b"y");
    }
    // Whiteouts in the form of marked files, which any user can make.
    for at in ["gone", "never-was", "old/hidden-too"] {
        write(root, at, "");
        set_user(root, at, "user.overlay.whiteout", b"y");
    }
    let manifest = capture(root, &view, &options()).unwrap();
    let opaque = |at: &str| match manifest.get(&path(at)) {
        Some(Node::Directory { opaque, .. }) => *opaque,
        other => panic!("{at}: {other:?}"),
    };
    assert!(opaque("old") && !opaque("new"));
    assert_eq!(manifest.get(&path("gone")), Some(&Node::Whiteout));
    assert_eq!(manifest.get(&path("never-was")), None);
    assert_eq!(manifest.get(&path("old/hidden-too")), None);
    assert!(manifest.get(&path("old/hidden")).is_some(), "an equal file in an opaque folder is not below");
    assert_eq!(verify(root, &manifest).unwrap(), []);
}

#[test]
fn verify_names_every_kind_of_damage() {
    let upper = tempfile::tempdir().unwrap();
    let root = upper.path();
    for at in ["contents", "mode", "gone", "kind", "attribute", "first", "time"] {
        write(root, at, "x");
    }
    std::fs::hard_link(root.join("first"), root.join("second")).unwrap();
    symlink("a", root.join("link")).unwrap();
    let manifest = capture(root, &EmptyView, &options()).unwrap();
    assert_eq!(verify(root, &manifest).unwrap(), []);

    fs_err::write(root.join("contents"), "y").unwrap();
    std::fs::set_permissions(root.join("mode"), PermissionsExt::from_mode(0o777)).unwrap();
    fs_err::remove_file(root.join("gone")).unwrap();
    fs_err::remove_file(root.join("kind")).unwrap();
    std::fs::create_dir(root.join("kind")).unwrap();
    set_user(root, "attribute", "user.new", b"");
    fs_err::remove_file(root.join("second")).unwrap();
    write(root, "second", "x");
    fs_err::remove_file(root.join("link")).unwrap();
    symlink("b", root.join("link")).unwrap();
    std::fs::File::open(root.join("time")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    write(root, "unexpected", "");
    let found: Vec<(String, MismatchKind)> = verify(root, &manifest)
        .unwrap()
        .into_iter()
        .filter(|mismatch| !mismatch.path.is_root())
        .map(|mismatch| (mismatch.path.to_string(), mismatch.kind))
        .collect();
    let expected = [
        ("/attribute", MismatchKind::Attributes),
        ("/contents", MismatchKind::Contents),
        ("/gone", MismatchKind::Missing),
        ("/kind", MismatchKind::Kind),
        ("/link", MismatchKind::Contents),
        ("/mode", MismatchKind::Metadata),
        ("/second", MismatchKind::Link),
        ("/time", MismatchKind::Metadata),
        ("/unexpected", MismatchKind::Unexpected),
    ];
    assert_eq!(found, expected.map(|(at, kind)| (at.to_owned(), kind)));
}

#[test]
fn large_and_empty_files_have_the_digests_of_their_bytes() {
    let upper = tempfile::tempdir().unwrap();
    let sizes = [0usize, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20];
    for size in sizes {
        fs_err::write(upper.path().join(size.to_string()), vec![b'z'; size]).unwrap();
    }
    let manifest = capture(upper.path(), &EmptyView, &options()).unwrap();
    for size in sizes {
        let Some(Node::File { digest, sha256, .. }) = manifest.get(&path(&size.to_string())) else {
            panic!("no file {size}")
        };
        assert_eq!(*digest, imgbuild_digest::Digest::of(&vec![b'z'; size]));
        let expected: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(vec![b'z'; size]).into();
        assert_eq!(*sha256, expected);
    }
}

#[test]
fn a_deep_tree_is_captured_without_deep_recursion() {
    let upper = tempfile::tempdir().unwrap();
    let deep = vec!["d"; 1500].join("/");
    fs_err::create_dir_all(upper.path().join(&deep)).unwrap();
    let manifest = capture(upper.path(), &EmptyView, &options()).unwrap();
    assert_eq!(manifest.entries.len(), 1501);
    assert_eq!(DeltaManifest::decode(&manifest.encode()), Ok(manifest));
}
