//! Stacks of layers.

use std::os::fd::AsFd as _;
use std::path::Path;

use imgbuild_rootfs::overlay::{MAX_LOWERS, OverlayError, OverlayOptions, mount, squash_tree};
use imgbuild_rootfs::sandbox::SandboxSpec;
use libtest_mimic::{Failed, Trial};

use crate::support::{busybox_tree, holds, run, same};

pub fn add(prefix: &str, tests: &mut Vec<Trial>) {
    let mut test = |name: &str, body: fn() -> Result<(), Failed>| {
        tests.push(Trial::test(format!("{prefix}::overlay::{name}"), body));
    };
    test("three_hundred_layers", || many_layers(false));
    test("three_hundred_layers_the_classic_way", || many_layers(true));
    test("nothing_is_visible_outside", nothing_is_visible);
    test("no_layer_at_all", no_layer);
    test("too_many_layers", too_many);
    test("squashing_keeps_all_but_whiteouts", squashed);
}

fn many_layers(classic: bool) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let mut layers = Vec::new();
    for number in 0..300 {
        // A long name, so that 300 of them do not fit one page.
        let layer = folder.path().join(format!("layer-with-a-rather-long-name-{number:04}"));
        fs_err::create_dir(&layer)?;
        if number == 0 {
            busybox_tree(&layer)?;
        }
        fs_err::write(layer.join("last"), number.to_string())?;
        fs_err::write(layer.join(format!("file-{number}")), "")?;
        layers.push(layer);
    }
    let (upper, work) = (folder.path().join("upper"), folder.path().join("work"));
    fs_err::create_dir(&upper)?;
    fs_err::create_dir(&work)?;
    let lowers: Vec<&Path> = layers.iter().map(AsRef::as_ref).collect();
    let options = OverlayOptions { classic, ..OverlayOptions::default() };
    let root = mount(&lowers, Some((&upper, &work)), options)?;
    let ran = run(
        &SandboxSpec::new(["/bin/sh", "-c", "cat /last; echo; ls / | grep -c file-; echo new >/new"]),
        &root,
    )?;
    same(ran.stdout(), "299\n300\n".to_owned())?;
    same(fs_err::read_to_string(upper.join("new"))?, "new\n".to_owned())
}

fn nothing_is_visible() -> Result<(), Failed> {
    for classic in [false, true] {
        let folder = tempfile::tempdir()?;
        let before = fs_err::read_to_string("/proc/self/mountinfo")?;
        let options = OverlayOptions { classic, ..OverlayOptions::default() };
        let root = mount(&[folder.path()], None, options)?;
        same(fs_err::read_to_string("/proc/self/mountinfo")?, before)?;
        drop(root);
    }
    Ok(())
}

fn no_layer() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let (upper, work) = (folder.path().join("upper"), folder.path().join("work"));
    fs_err::create_dir(&upper)?;
    fs_err::create_dir(&work)?;
    for classic in [false, true] {
        let options = OverlayOptions { classic, volatile: false, ..OverlayOptions::default() };
        let root = mount(&[], Some((&upper, &work)), options)?;
        rustix::fs::mkdirat(&root, "made", rustix::fs::Mode::RWXU)
            .or_else(|error| if error == rustix::io::Errno::EXIST { Ok(()) } else { Err(error) })?;
        holds(upper.join("made").is_dir(), "the folder is not in the upper folder")?;
    }
    Ok(())
}

fn too_many() -> Result<(), Failed> {
    let layers = vec![Path::new("/"); MAX_LOWERS + 1];
    let found = mount(&layers, None, OverlayOptions::default());
    holds(matches!(found, Err(OverlayError::TooManyLayers { count }) if count == MAX_LOWERS + 1), found)?;
    Ok(())
}

/// A stack of more folders than one mount takes, each with a file of its own; the last ones remove and replace.
fn squashed() -> Result<(), Failed> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let mut layers = Vec::new();
    for number in 0..=MAX_LOWERS {
        let layer = path(&format!("{number}"));
        fs_err::create_dir(&layer)?;
        fs_err::write(layer.join(format!("file-{number}")), number.to_string())?;
        layers.push(layer);
    }
    let base = layers[0].as_path();
    fs_err::create_dir(base.join("gone"))?;
    fs_err::write(base.join("gone/file"), "")?;
    fs_err::create_dir(base.join("opaque"))?;
    fs_err::write(base.join("opaque/old"), "")?;
    fs_err::write(base.join("one"), "linked")?;
    fs_err::hard_link(base.join("one"), base.join("two"))?;
    fs_err::os::unix::fs::symlink("one", base.join("link"))?;
    std::os::unix::fs::chown(base.join("one"), Some(12), Some(34))?;
    fs_err::set_permissions(base.join("one"), std::fs::Permissions::from_mode(0o6755))?;
    rustix::fs::setxattr(base.join("one"), "user.kept", b"yes", rustix::fs::XattrFlags::empty())?;
    // Removed as a step removes: the last layer is the upper folder of a mount.
    let last = layers.last().ok_or("no layer")?;
    fs_err::create_dir(path("work"))?;
    let root = mount(&[base], Some((last, &path("work"))), OverlayOptions::default())?;
    let opened = rustix::fs::openat(&root, ".", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
    let files = imgbuild_rootfs::files::Root::open(opened.as_fd(), 0)?;
    files.remove("/gone", true)?;
    files.remove("/opaque", true)?;
    files.make_directory("/opaque", None)?;
    drop((files, opened, root));
    let lowers: Vec<&Path> = layers.iter().map(AsRef::as_ref).collect();
    fs_err::create_dir(path("out"))?;
    squash_tree(&lowers, &path("out"))?;
    let out = path("out");
    same(fs_err::read_dir(&out)?.count(), MAX_LOWERS + 1 + 4)?;
    holds(!out.join("gone").exists(), "a removed folder is there")?;
    same(fs_err::read_dir(out.join("opaque"))?.count(), 0)?;
    let one = fs_err::metadata(out.join("one"))?;
    same((one.uid(), one.gid(), one.mode() & 0o7777, one.nlink()), (12, 34, 0o6755, 2))?;
    same(one.ino(), fs_err::metadata(out.join("two"))?.ino())?;
    holds(one.ino() != fs_err::metadata(base.join("one"))?.ino(), "an inode is shared with a layer")?;
    same(one.mtime(), fs_err::metadata(base.join("one"))?.mtime())?;
    same(fs_err::read_link(out.join("link"))?, "one".into())?;
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(out.join("one"), "user.kept", &mut value)?;
    same(&value[..length], &b"yes"[..])
}
