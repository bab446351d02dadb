//! Root file systems as tarballs, and their comparison.

use std::path::{Path, PathBuf};

use imgbuild_compare::{Options, Report, Side, compare, open};
use imgbuild_formats::Platform;
use tar::EntryType;
use tempfile::TempDir;

/// A root file system that is being written.
pub struct Tree(tar::Builder<Vec<u8>>);

/// One that all tests start from.
pub fn base() -> Tree {
    Tree::new()
        .folder("etc", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\napp:x:7:7::/srv:/bin/false\n")
        .file("etc/group", 0o644, "root:x:0:\nsudo:x:27:\napp:x:7:\n")
        .file("etc/motd", 0o644, "one\ntwo\nthree\n")
        .file("usr/bin/tool", 0o755, "program")
        .link("bin", "usr/bin")
}

/// The status file of dpkg with these packages.
pub fn status(packages: &[(&str, &str)]) -> String {
    let of = |(name, version): &(&str, &str)| {
        format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n")
    };
    packages.iter().map(of).collect()
}

impl Tree {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub fn entry(mut self, path: &str, kind: EntryType, (mode, uid): (u32, u64), text: &str) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        let contents = if kind == EntryType::Regular { text.as_bytes() } else { &[] };
        header.set_size(contents.len() as u64);
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name(text).unwrap();
        }
        self.0.append_data(&mut header, path, contents).unwrap();
        self
    }

    pub fn file(self, path: &str, mode: u32, text: &str) -> Self {
        self.entry(path, EntryType::Regular, (mode, 0), text)
    }

    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(path, EntryType::Directory, (mode, 0), "")
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Symlink, (0o777, 0), target)
    }

    /// An extended attribute of the entry that comes next.
    pub fn attribute(mut self, name: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(&*format!("SCHILY.xattr.{name}"), value)]).unwrap();
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A folder with two images in it.
pub struct Pair {
    folder: TempDir,
}

impl Pair {
    pub fn new(before: Tree, after: Tree) -> Self {
        let folder = TempDir::new().unwrap();
        fs_err::write(folder.path().join("before"), before.bytes()).unwrap();
        fs_err::write(folder.path().join("after"), after.bytes()).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn compare(&self, options: &Options) -> Report {
        compared(&self.path("before"), &self.path("after"), options)
    }
}

/// What two images on the host differ in.
pub fn compared(before: &Path, after: &Path, options: &Options) -> Report {
    let temporary = TempDir::new().unwrap();
    let opened = [before, after].map(|path| {
        open(path, &[Platform::linux("amd64")], temporary.path()).unwrap_or_else(|error| panic!("{error:?}"))
    });
    let [one, other] = opened.each_ref().map(|opened| Side {
        name: opened.what,
        tree: &*opened.tree,
        configuration: opened.configuration.as_ref(),
    });
    compare(one, other, options).unwrap()
}

pub fn report(before: Tree, after: Tree) -> Report {
    Pair::new(before, after).compare(&Options::default())
}

/// Each file of a report with what became of it.
pub fn files(report: &Report) -> Vec<String> {
    report.files.iter().map(|file| format!("{:?} {} {}", file.change, file.path, file.what())).collect()
}
