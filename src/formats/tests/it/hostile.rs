//! Archives that were made to do harm, and ones that are merely odd.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use imgbuild_formats::Notice;
use imgbuild_formats::unpack::{UnpackError, unpack_layer, unpack_rootfs_tar};
use tar::{EntryType, Header};

use crate::fixture::{Maker, OPAQUE, is_root, path};

struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Adds an entry whose names are taken as they are.
    fn add(mut self, kind: EntryType, name: &[u8], link: &[u8], contents: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o750 } else { 0o640 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(12);
        header.set_size(contents.len() as u64);
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..name.len()].copy_from_slice(name);
        fields.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.append(&header, contents).unwrap();
        self
    }

    fn file(self, name: &str, contents: &[u8]) -> Self {
        self.add(EntryType::Regular, name.as_bytes(), b"", contents)
    }

    fn folder(self, name: &str) -> Self {
        self.add(EntryType::Directory, name.as_bytes(), b"", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, name.as_bytes(), target.as_bytes(), b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Link, name.as_bytes(), target.as_bytes(), b"")
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    fn unpack(self, destination: &Path, lower: &[&Path]) -> Result<Vec<Notice>, UnpackError> {
        unpack_layer(&*self.0.into_inner().unwrap(), destination, lower, OPAQUE)
    }
}

/// A folder with a file beside the destination that no archive may reach.
fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("tree");
    fs::create_dir(&destination).unwrap();
    fs_err::write(folder.path().join("outside"), b"untouched").unwrap();
    (folder, destination)
}

#[test]
fn no_archive_reaches_outside_its_directory() {
    let outside = |folder: &Path| folder.join("outside").to_str().unwrap().to_owned();
    type Attack = Box<dyn Fn(&Path) -> Archive>;
    let attacks: Vec<(&str, Attack)> = vec![
        ("dots", Box::new(|_| Archive::new().file("../outside", b"x"))),
        ("dots within", Box::new(|_| Archive::new().file("a/../../outside", b"x"))),
        ("a link to above", Box::new(|_| Archive::new().symlink("up", "..").file("up/outside", b"x"))),
        (
            "an absolute link",
            Box::new(|folder| {
                Archive::new().symlink("up", folder.to_str().unwrap()).file("up/outside", b"x")
            }),
        ),
        (
            "a folder over a link to above",
            Box::new(|_| Archive::new().symlink("a", "..").file("a/b/../outside", b"x")),
        ),
        (
            "a hard link through a link",
            Box::new(|_| Archive::new().symlink("up", "..").link("in", "up/outside")),
        ),
        ("a hard link with dots", Box::new(|_| Archive::new().link("in", "../outside"))),
        ("an absolute hard link", Box::new(move |folder| Archive::new().link("in", &outside(folder)))),
        (
            "a whiteout through a link",
            Box::new(|_| Archive::new().symlink("up", "..").file("up/.wh.outside", b"")),
        ),
        ("a whiteout of the parent", Box::new(|_| Archive::new().file(".wh...", b""))),
        ("an opaque mark through a link", {
            Box::new(|_| Archive::new().symlink("up", "..").file("up/.wh..wh..opq", b""))
        }),
    ];
    for (name, attack) in attacks {
        let (folder, destination) = place();
        let error = attack(folder.path()).unpack(&destination, &[]);
        assert!(error.is_err(), "{name}");
        assert_eq!(fs_err::read(folder.path().join("outside")).unwrap(), b"untouched", "{name}");
        assert_eq!(fs::metadata(folder.path().join("outside")).unwrap().nlink(), 1, "{name}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "{name}");
    }
}

#[test]
fn a_file_is_never_written_through_a_link_of_the_same_name() {
    if !is_root("a_file_is_never_written_through_a_link_of_the_same_name") {
        return;
    }
    let (folder, destination) = place();
    Archive::new().symlink("it", "../outside").file("it", b"mine").unpack(&destination, &[]).unwrap();
    assert_eq!(fs_err::read(folder.path().join("outside")).unwrap(), b"untouched");
    assert!(fs::symlink_metadata(destination.join("it")).unwrap().is_file());
    // Neither mode nor owner of what a link points to changes.
    let before = fs::metadata(folder.path().join("outside")).unwrap().mode();
    Archive::new().symlink("other", "../outside").unpack(&destination, &[]).unwrap();
    assert_eq!(fs::metadata(folder.path().join("outside")).unwrap().mode(), before);
}

#[test]
fn absolute_names_are_taken_from_the_root_of_the_tree() {
    if !is_root("absolute_names_are_taken_from_the_root_of_the_tree") {
        return;
    }
    let (_folder, destination) = place();
    Archive::new().folder("/a").file("/a/b", b"1").link("/c", "/a/b").unpack(&destination, &[]).unwrap();
    assert_eq!(fs::metadata(destination.join("c")).unwrap().nlink(), 2);
}

#[test]
fn a_folder_that_is_missing_is_as_the_layers_below_have_it() {
    if !is_root("a_folder_that_is_missing_is_as_the_layers_below_have_it") {
        return;
    }
    let (folder, destination) = place();
    let lower = folder.path().join("lower");
    fs::create_dir(&lower).unwrap();
    Maker(&lower).folder("etc", 0o711).owner("etc", 3, 4).time("etc", 99).xattr("etc", OPAQUE, b"y");
    let notices = Archive::new().file("etc/new/file", b"x").unpack(&destination, &[&lower]).unwrap();
    let etc = fs::metadata(destination.join("etc")).unwrap();
    assert_eq!((etc.mode() & 0o7777, etc.uid(), etc.gid(), etc.mtime()), (0o711, 3, 4, 99));
    let mut attribute = [0_u8; 4];
    assert!(rustix::fs::lgetxattr(destination.join("etc"), OPAQUE, &mut attribute).is_err());
    assert_eq!(fs::metadata(destination.join("etc/new")).unwrap().mode() & 0o7777, 0o755);
    let implied = |text| Notice::FolderImplied { path: path(text) };
    assert_eq!(notices, [implied("etc"), implied("etc/new")]);
}

#[test]
fn whiteouts_become_overlayfs_marks_whatever_the_order() {
    if !is_root("whiteouts_become_overlayfs_marks_whatever_the_order") {
        return;
    }
    let (_folder, destination) = place();
    Archive::new()
        .folder("d")
        .file("d/.wh.gone", b"")
        .file("d/.wh.replaced", b"")
        .file("d/replaced", b"new")
        .file("d/.wh.folder", b"")
        .folder("d/folder")
        .folder("d/later")
        .file("d/.wh.later", b"")
        .file("d/kept", b"1")
        .file("d/.wh.kept", b"")
        .folder("o")
        .file("o/.wh..wh..opq", b"")
        .file("o/.wh..wh.plnk", b"")
        .unpack(&destination, &[])
        .unwrap();
    let kind = |name: &str| fs::symlink_metadata(destination.join(name)).unwrap();
    assert!(kind("d/gone").file_type().is_char_device() && kind("d/gone").rdev() == 0);
    assert!(kind("d/replaced").is_file());
    assert!(kind("d/kept").is_file());
    for opaque in ["d/folder", "d/later", "o"] {
        let mut value = [0_u8; 4];
        assert_eq!(rustix::fs::lgetxattr(destination.join(opaque), OPAQUE, &mut value), Ok(1), "{opaque}");
        assert!(kind(opaque).is_dir());
    }
    assert_eq!(fs::read_dir(destination.join("o")).unwrap().count(), 0);
}

#[test]
fn a_rootfs_tar_is_no_layer() {
    if !is_root("a_rootfs_tar_is_no_layer") {
        return;
    }
    let (_folder, destination) = place();
    let tar = Archive::new().folder("./").file("./.wh.name", b"kept").0.into_inner().unwrap();
    let mut packed = liblzma::write::XzEncoder::new(Vec::new(), 6);
    packed.write_all(&tar).unwrap();
    unpack_rootfs_tar(&*packed.finish().unwrap(), &destination).unwrap();
    assert_eq!(fs_err::read(destination.join(".wh.name")).unwrap(), b"kept");
    assert_eq!(fs::metadata(&destination).unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(fs::metadata(&destination).unwrap().mtime(), 12);
}

#[test]
fn archives_that_are_cut_off_or_odd_are_errors() {
    let (_folder, destination) = place();
    let whole = Archive::new().file("a", &[b'x'; 3000]).0.into_inner().unwrap();
    for length in [100, 512, 1000, 2048] {
        let result = unpack_layer(&whole[..length], &destination, &[], OPAQUE);
        assert!(
            matches!(result, Err(UnpackError::Archive(_) | UnpackError::Io { .. })),
            "{length}: {result:?}"
        );
    }
    let result = Archive::new().add(EntryType::new(b'Q'), b"odd", b"", b"").unpack(&destination, &[]);
    assert_eq!(
        result.unwrap_err().to_string(),
        "`/odd` is an entry of type `Q`, which is not supported in images"
    );
    let result = Archive::new().link("a", "nowhere").unpack(&destination, &[]);
    assert_eq!(
        result.unwrap_err().to_string(),
        "the hard link `/a` points to `nowhere`, which is no file of this archive"
    );
    let huge = u64::from(u32::MAX) + 1;
    let result =
        Archive::new().pax(&[("uid", huge.to_string().as_bytes())]).file("a", b"").unpack(&destination, &[]);
    assert_eq!(result.unwrap_err().to_string(), "`/a` has no valid user id in its header");
}

#[test]
fn pax_records_say_what_headers_cannot() {
    if !is_root("pax_records_say_what_headers_cannot") {
        return;
    }
    let (_folder, destination) = place();
    let name = "n".repeat(200);
    Archive::new()
        .pax(&[
            ("path", name.as_bytes()),
            ("uid", b"3000000"),
            ("mtime", b"-1.5"),
            ("SCHILY.xattr.user.a", b"x\0\ny"),
        ])
        .file("short", b"1")
        .unpack(&destination, &[])
        .unwrap();
    let found = fs::metadata(destination.join(&name)).unwrap();
    assert_eq!((found.uid(), found.mtime()), (3_000_000, -2));
    let mut value = [0_u8; 8];
    assert_eq!(rustix::fs::lgetxattr(destination.join(&name), "user.a", &mut value), Ok(4));
    assert_eq!(&value[..4], b"x\0\ny");
}
