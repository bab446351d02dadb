//! A small stack of layers with one of everything, on disk as overlayfs has it and as manifests.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use imgbuild_formats::{Image, ImageConfig, LayerSource, Platform, Step, TreeView};
use imgbuild_tree::{
    CaptureOptions, DeltaManifest, Entry, Metadata, Node, ParentView, TreePath, XattrNamespace, capture,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

pub const TIME: i64 = 1_700_000_000;
pub const LONG: &str = "a-name-that-is-longer-than-the-hundred-bytes-which-a-header-has-for-it-and-needs-a-record-of-its-own.txt";
pub const OPAQUE: &str = "trusted.overlay.opaque";

/// Whether the test runs as root, which devices, owners and `trusted.*` need. Says so if not.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: `{test}` needs root for owners, devices and trusted attributes");
    }
    root
}

/// Whether a program is installed. Says so if not.
pub fn has(program: &str, test: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !found {
        eprintln!("SKIPPED: `{test}` needs the program `{program}`");
    }
    found
}

/// Runs a program to its end and gives its output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

pub fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

/// Layers on disk and their manifests, the lowest first.
pub struct Stack {
    pub folder: tempfile::TempDir,
    pub layers: Vec<(DeltaManifest, PathBuf)>,
}

impl Stack {
    pub fn sources(&self) -> Vec<LayerSource<'_>> {
        self.layers.iter().map(|(manifest, tree)| LayerSource { manifest, tree }).collect()
    }

    pub fn manifests(&self) -> Vec<Arc<DeltaManifest>> {
        self.layers.iter().map(|(manifest, _)| Arc::new(manifest.clone())).collect()
    }

    /// The merged tree as one manifest.
    pub fn merged(&self) -> DeltaManifest {
        let layers = self.manifests();
        let entries = imgbuild_tree::merge(&layers);
        DeltaManifest {
            entries: entries
                .into_iter()
                .map(|entry| Entry { path: entry.path, node: entry.node.into_owned() })
                .collect(),
        }
    }

    pub fn squashed(&self) -> TreeView<'_> {
        TreeView::squash(&self.sources(), None).unwrap()
    }

    /// An image of all layers with a step that changes nothing among them.
    pub fn image(&self) -> Image<'_> {
        let mut steps: Vec<Step<'_>> = self
            .sources()
            .into_iter()
            .enumerate()
            .map(|(index, layer)| Step { layer: Some(layer), created_by: format!("step {index}") })
            .collect();
        steps.insert(1, Step { layer: None, created_by: "env PATH".to_owned() });
        Image { platform: Platform::linux("amd64"), config: config(), steps, created: TIME }
    }
}

pub fn config() -> ImageConfig {
    ImageConfig {
        env: vec![("PATH".to_owned(), "/usr/bin".to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())],
        entrypoint: vec!["/usr/bin/tool".to_owned()],
        cmd: vec!["--serve".to_owned()],
        user: "1000:1000".to_owned(),
        working_dir: "/srv".to_owned(),
        labels: [("b", "2"), ("a", "1"), ("c", "3")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        exposed_ports: ["80/tcp".to_owned(), "443/tcp".to_owned()].into(),
        volumes: ["/data".to_owned(), "/cache".to_owned()].into(),
        stop_signal: Some("SIGQUIT".to_owned()),
    }
}

/// Makes files with fixed owners, modes and times.
pub struct Maker<'a>(pub &'a Path);

impl Maker<'_> {
    fn at(&self, path: &str) -> PathBuf {
        // Joining nothing would append a slash, which says that a folder is meant.
        if path.is_empty() { self.0.to_owned() } else { self.0.join(path) }
    }

    pub fn folder(&self, path: &str, mode: u32) -> &Self {
        fs_err::create_dir_all(self.at(path)).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub fn file(&self, path: &str, contents: &[u8]) -> &Self {
        fs_err::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs_err::write(self.at(path), contents).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o644)).unwrap();
        self
    }

    pub fn symlink(&self, path: &str, target: &str) -> &Self {
        symlink(target, self.at(path)).unwrap();
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        fs::hard_link(self.at(target), self.at(path)).unwrap();
        self
    }

    pub fn node(&self, path: &str, kind: FileType, major: u32, minor: u32) -> &Self {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(CWD, self.at(path), kind, Mode::RUSR | Mode::WUSR, device).unwrap();
        self
    }

    pub fn whiteout(&self, path: &str) -> &Self {
        fs_err::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        self.node(path, FileType::CharacterDevice, 0, 0)
    }

    pub fn owner(&self, path: &str, uid: u32, gid: u32) -> &Self {
        std::os::unix::fs::lchown(self.at(path), Some(uid), Some(gid)).unwrap();
        self
    }

    pub fn mode(&self, path: &str, mode: u32) -> &Self {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub fn xattr(&self, path: &str, name: &str, value: &[u8]) -> &Self {
        rustix::fs::lsetxattr(self.at(path), name, value, XattrFlags::empty()).unwrap();
        self
    }

    pub fn time(&self, path: &str, seconds: i64) -> &Self {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, self.at(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        self
    }
}

/// Gives everything in a folder, and itself, one time.
pub fn settle(folder: &Path, seconds: i64) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            settle(&entry.path(), seconds);
        }
        Maker(&entry.path()).time("", seconds);
    }
    Maker(folder).time("", seconds);
}

/// `security.capability`, version 2: `cap_net_bind_service=ep`.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub const STATUS: &str = "Package: libc6\nStatus: install ok installed\nMaintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>\nArchitecture: amd64\nMulti-Arch: same\nSource: glibc\nVersion: 2.36-9+deb12u10\nDescription: GNU C Library: Shared libraries\n Contains the standard libraries.\nHomepage: https://www.gnu.org/software/libc/libc.html\n\nPackage: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\nPackage: g++\nStatus: install ok installed\nMaintainer: Debian GCC Maintainers <debian-gcc@lists.debian.org>\nArchitecture: amd64\nSource: gcc-defaults (1.203)\nVersion: 4:12.2.0-3\nDescription: GNU C++ compiler\n";

pub const OS_RELEASE: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";

fn capture_layer(tree: &Path, below: &dyn ParentView) -> DeltaManifest {
    let options =
        CaptureOptions { exclude: Vec::new(), ..CaptureOptions::new(2_000_000_000, XattrNamespace::Trusted) };
    capture(tree, below, &options).unwrap()
}

/// What a directory holds, as a manifest.
pub fn manifest_of(tree: &Path) -> DeltaManifest {
    capture_layer(tree, &imgbuild_tree::EmptyView)
}

/// Captures a directory as the layer over others.
pub fn manifest_over(tree: &Path, below: &[Arc<DeltaManifest>]) -> DeltaManifest {
    capture_layer(tree, &imgbuild_tree::MergedView::new(below))
}

/// Three layers: everything once; changes, whiteouts and an opaque folder; replaced kinds.
pub fn stack() -> Stack {
    let folder = tempfile::tempdir().unwrap();
    let mut layers: Vec<(DeltaManifest, PathBuf)> = Vec::new();
    let mut add = |make: &dyn Fn(&Maker<'_>)| {
        let tree = folder.path().join(format!("layer-{}", layers.len()));
        fs::create_dir(&tree).unwrap();
        let maker = Maker(&tree);
        maker.mode("", 0o755);
        make(&maker);
        let below: Vec<_> = layers.iter().map(|(manifest, _)| Arc::new(manifest.clone())).collect();
        let manifest = manifest_over(&tree, &below);
        layers.push((manifest, tree));
    };
    add(&|make| {
        make.folder("etc", 0o750)
            .owner("etc", 7, 8)
            .file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
            .symlink("etc/os-release", "../usr/lib/os-release")
            .file("usr/lib/os-release", OS_RELEASE.as_bytes())
            .file("usr/bin/tool", b"#!/bin/sh\necho tool\n")
            .owner("usr/bin/tool", 0, 33)
            .mode("usr/bin/tool", 0o4755)
            .xattr("usr/bin/tool", "security.capability", &CAPABILITY)
            .link("usr/bin/tool-2", "usr/bin/tool")
            .link("usr/bin/tool-3", "usr/bin/tool")
            .file("var/lib/dpkg/status", STATUS.as_bytes())
            .file(&format!("srv/{LONG}"), b"long")
            .symlink("srv/long-link", &format!("../srv/{LONG}"))
            .file("srv/owned", b"big ids")
            .owner("srv/owned", 3_000_000, 4_000_000)
            .xattr("srv/owned", "user.note", b"with\0zero and\nline feed")
            .file("srv/empty", b"")
            .file("srv/with space and \u{fc}", b"umlaut")
            .file("srv/block", &[b'x'; 512])
            .file("srv/large", &b"0123456789abcdef".repeat(70_000))
            .file("var/cache/old/one", b"1")
            .file("var/cache/old/two", b"2")
            .file("opt/folder/inner/file", b"deep")
            .file("opt/file", b"will be a folder")
            .folder("tmp", 0o1777);
        make.node("srv/pipe", FileType::Fifo, 0, 0).node("srv/null", FileType::CharacterDevice, 1, 3);
        settle(make.0, TIME - 100);
        make.time("srv/empty", -5).time("srv/block", 1);
    });
    add(&|make| {
        make.folder("etc", 0o750).owner("etc", 7, 8);
        make.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n");
        make.whiteout("usr/bin/tool").whiteout("opt/folder/inner");
        make.folder("var/cache/old", 0o755)
            .xattr("var/cache/old", OPAQUE, b"y")
            .file("var/cache/old/three", b"3");
        settle(make.0, TIME - 100);
        make.time("etc/passwd", TIME - 50).time("var/cache/old/three", TIME - 50);
    });
    add(&|make| {
        make.file("opt/file/now/a-folder", b"yes").symlink("opt/folder", "file");
        make.file("srv/owned", b"changed").owner("srv/owned", 5, 6);
        settle(make.0, TIME - 100);
        make.time("opt/file/now/a-folder", TIME);
    });
    Stack { folder, layers }
}

/// A stack of manifests alone, each with one file of so many bytes that exists nowhere.
pub fn paper_stack(sizes: &[u64]) -> Vec<DeltaManifest> {
    sizes
        .iter()
        .enumerate()
        .map(|(index, size)| {
            let digest = imgbuild_digest::Digest { size: *size, ..imgbuild_digest::Digest::of(b"") };
            let node = Node::File { digest, sha256: [0; 32], metadata: Metadata::default() };
            DeltaManifest { entries: vec![Entry { path: path(&format!("file-{index:03}")), node }] }
        })
        .collect()
}
