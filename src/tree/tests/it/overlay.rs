//! Capture of real overlay mounts: as root, and as an ordinary user in a user namespace. Both must give the same
//! manifests, byte for byte.
//!
//! The test starts itself again in new namespaces (`unshare`), where the variable [`SCENARIO`] tells it to play the
//! scenario instead.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::Write as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt, chown, symlink,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use imgbuild_digest::Digest;
use imgbuild_tree::{
    CaptureOptions, DeltaManifest, EmptyView, MergedView, Node, TreePath, XattrNamespace, capture, merge,
    prepare_root, verify,
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lgetxattr, lsetxattr, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Names the folder of the scenario and how it is played: `root:/folder` or `user:/folder`.
const SCENARIO: &str = "IMGBUILD_OVERLAY_SCENARIO";
const THIS_TEST: &str = "overlay::root_and_rootless_give_one_manifest";
const ORDINARY_USER: &str = "imgbuild-test";
const CLAMP: i64 = 1_600_000_000;
const CAPABILITY: &str = "security.capability";
const ACCESS_ACL: &str = "system.posix_acl_access";
const DEFAULT_ACL: &str = "system.posix_acl_default";

#[test]
fn root_and_rootless_give_one_manifest() {
    if let Some(scenario) = std::env::var_os(SCENARIO) {
        let scenario = scenario.into_string().unwrap();
        let (how, folder) = scenario.split_once(':').unwrap();
        let namespace = if how == "root" { XattrNamespace::Trusted } else { XattrNamespace::User };
        return play(Path::new(folder), namespace);
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED {THIS_TEST}: it compares with root's result, so it must be started by root");
        return;
    }
    let Some((uid, gid)) = ordinary_user() else {
        eprintln!(
            "SKIPPED {THIS_TEST}: no ordinary user with subordinate ids; are `useradd` and `uidmap` installed?"
        );
        return;
    };
    let folder = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    // The user cannot reach the build directory of root.
    let program = folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();

    let as_root = folder.path().join("root");
    std::fs::create_dir(&as_root).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    run(command, &program, "root", &as_root);

    let as_user = folder.path().join("user");
    std::fs::create_dir(&as_user).unwrap();
    chown(&as_user, Some(uid), Some(gid)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]);
    command.args(["unshare", "--user", "--map-auto", "--map-root-user", "--mount"]);
    run(command, &program, "user", &as_user);

    for layer in LAYERS {
        let [root, user] = [&as_root, &as_user].map(|folder| {
            DeltaManifest::decode(&fs_err::read(folder.join(layer).join("manifest")).unwrap()).unwrap()
        });
        for entry in &root.entries {
            assert_eq!(user.get(&entry.path), Some(&entry.node), "{layer}: {}", entry.path);
        }
        assert_eq!(root, user, "{layer}");
        assert_eq!(root.id(), user.id());
    }
}

fn run(mut command: Command, program: &Path, how: &str, folder: &Path) {
    let scenario = format!("{how}:{}", folder.display());
    let output = command
        .arg(program)
        .args(["--exact", THIS_TEST, "--nocapture"])
        .env(SCENARIO, scenario)
        .current_dir("/")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{how}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The ids of an ordinary user with a range of subordinate ids, made if there is none.
fn ordinary_user() -> Option<(u32, u32)> {
    let id = |flag: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, ORDINARY_USER]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id("-u").is_none() {
        Command::new("useradd")
            .args(["--no-create-home", "--shell", "/usr/sbin/nologin", ORDINARY_USER])
            .status()
            .ok()?;
    }
    let ranges = fs_err::read_to_string("/etc/subuid").ok()?;
    let has_range = ranges.lines().any(|line| line.starts_with(&format!("{ORDINARY_USER}:")));
    let has_tool = Command::new("newuidmap").output().is_ok();
    (has_range && has_tool).then_some((id("-u")?, id("-g")?))
}

/// The layers of the scenario, the lowest first.
const LAYERS: [&str; 4] = ["base", "one", "two", "nothing"];

fn play(folder: &Path, namespace: XattrNamespace) {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let steps: [fn(&Path); 4] = [make_base, first_step, second_step, step_without_effect];
    let mut manifests: Vec<Arc<DeltaManifest>> = Vec::new();
    for (index, (layer, step)) in LAYERS.iter().zip(steps).enumerate() {
        let upper = folder.join(layer).join("tree");
        fs_err::create_dir_all(&upper).unwrap();
        let view = MergedView::new(&manifests);
        prepare_root(&upper, &view).unwrap();
        let manifest = if index == 0 {
            step(&upper);
            capture(&upper, &EmptyView, &CaptureOptions::new(CLAMP, namespace)).unwrap()
        } else {
            let lowers = lowers(folder, index);
            let merged = mount_overlay(folder, &lowers, Some(&upper), namespace);
            step(&merged);
            let seen = snapshot(&merged, true);
            unmount(&merged, UnmountFlags::empty()).unwrap();
            let manifest = capture(&upper, &view, &CaptureOptions::new(CLAMP, namespace)).unwrap();
            // What the step saw is what the next one sees, but for times, sockets and what is never captured.
            let next =
                mount_overlay(folder, &[std::slice::from_ref(&upper), &lowers[..]].concat(), None, namespace);
            assert_eq!(snapshot(&next, false), seen, "{layer}: the next step sees something else");
            let stack: Vec<_> = manifests.iter().cloned().chain([Arc::new(manifest.clone())]).collect();
            agree(&next, &stack);
            unmount(&next, UnmountFlags::empty()).unwrap();
            manifest
        };
        drop(view);
        assert_eq!(verify(&upper, &manifest).unwrap(), [], "{layer}");
        assert_eq!(DeltaManifest::decode(&manifest.encode()).as_ref(), Ok(&manifest));
        fs_err::write(folder.join(layer).join("manifest"), manifest.encode()).unwrap();
        manifests.push(Arc::new(manifest));
    }
    expect(&manifests);
}

/// What must be in the manifests, whoever made them.
fn expect(manifests: &[Arc<DeltaManifest>]) {
    let get = |layer: usize, at: &str| manifests[layer].get(&path(at)).cloned();
    let xattr = |layer: usize, at: &str, name: &str| {
        get(layer, at).unwrap().metadata().unwrap().xattrs.get(name.as_bytes()).cloned()
    };
    assert_eq!(xattr(0, "bin/ping", CAPABILITY).as_deref(), Some(&capability()[..]));
    assert_eq!(xattr(0, "srv", DEFAULT_ACL).as_deref(), Some(&acl(1000)[..]));
    assert_eq!(
        get(0, "srv/owned").unwrap().metadata().map(|m| (m.uid, m.gid, m.mode)),
        Some((33, 44, 0o6755))
    );
    assert_eq!(get(0, "run/lock"), None);

    assert_eq!(get(1, "etc/removed"), Some(Node::Whiteout));
    assert!(matches!(get(1, "opaque"), Some(Node::Directory { opaque: true, .. })));
    assert!(matches!(get(1, "opaque/new"), Some(Node::File { .. })));
    assert!(matches!(get(1, "fresh"), Some(Node::Directory { opaque: false, .. })));
    assert_eq!(get(1, "links/b"), Some(Node::HardLink { target: path("links/a") }));
    assert_eq!(get(1, "links/c"), Some(Node::HardLink { target: path("links/a") }));
    assert_eq!(xattr(1, "bin/tool", CAPABILITY).as_deref(), Some(&capability()[..]));
    assert_eq!(xattr(1, "bin/tool", ACCESS_ACL).as_deref(), Some(&acl(1001)[..]));
    for unchanged in ["etc/touched-back", "etc/copied-up", "etc/passwd-lock", "etc/resolv.conf", "run/pid"] {
        assert_eq!(get(1, unchanged), None, "{unchanged}");
    }
    assert_eq!(get(1, "etc/was-file"), Some(Node::Whiteout), "a socket took its place");

    assert!(matches!(get(2, "opaque"), Some(Node::File { .. })));
    assert!(matches!(get(2, "etc/motd"), Some(Node::Directory { opaque: false, .. })));
    assert_eq!(get(2, "fresh"), Some(Node::Whiteout));
    assert_eq!(get(2, "links/a"), Some(Node::Whiteout));
    assert_eq!(get(2, "links/b"), None, "the other names are untouched");
    assert_eq!(*manifests[3], DeltaManifest::default());
}

fn make_base(root: &Path) {
    for folder in ["bin", "etc", "srv", "links", "opaque/deep", "removed/deep", "run/lock", "dev", "tmp"] {
        fs_err::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    for file in [
        "bin/ping",
        "bin/tool",
        "etc/removed",
        "etc/changed",
        "etc/motd",
        "etc/touched-back",
        "etc/copied-up",
        "etc/resolv.conf",
        "etc/was-file",
        "links/a",
        "opaque/old",
        "opaque/deep/old",
        "removed/deep/file",
        "srv/owned",
    ] {
        write(root, file, file);
    }
    std::fs::hard_link(root.join("links/a"), root.join("links/b")).unwrap();
    symlink("../bin/tool", root.join("etc/link")).unwrap();
    chown(root.join("srv/owned"), Some(33), Some(44)).unwrap();
    std::fs::set_permissions(root.join("srv/owned"), PermissionsExt::from_mode(0o6755)).unwrap();
    set(root, "bin/ping", CAPABILITY, &capability());
    set(root, "srv", DEFAULT_ACL, &acl(1000));
    set(root, "etc/motd", "user.comment", b"hello");
    mknodat(CWD, root.join("srv/pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
}

fn first_step(root: &Path) {
    fs_err::remove_file(root.join("etc/removed")).unwrap();
    std::fs::OpenOptions::new()
        .append(true)
        .open(root.join("etc/changed"))
        .unwrap()
        .write_all(b"more")
        .unwrap();
    fs_err::remove_dir_all(root.join("opaque")).unwrap();
    std::fs::create_dir(root.join("opaque")).unwrap();
    write(root, "opaque/new", "new");
    fs_err::remove_dir_all(root.join("removed")).unwrap();
    std::fs::DirBuilder::new().recursive(true).mode(0o2750).create(root.join("fresh/deep")).unwrap();
    write(root, "fresh/deep/file", "x");
    fs_err::remove_file(root.join("links/b")).unwrap();
    std::fs::hard_link(root.join("links/a"), root.join("links/b")).unwrap();
    std::fs::hard_link(root.join("links/a"), root.join("links/c")).unwrap();
    set(root, "bin/tool", CAPABILITY, &capability());
    set(root, "bin/tool", ACCESS_ACL, &acl(1001));
    set(root, "fresh", "user.overlay.opaque", b"y");
    write(root, "srv/inherits", "the folder's default list");
    // Changes that come to nothing.
    let touched = root.join("etc/touched-back");
    fs_err::remove_file(&touched).unwrap();
    write(root, "etc/touched-back", "etc/touched-back");
    drop(std::fs::OpenOptions::new().append(true).open(root.join("etc/copied-up")).unwrap());
    write(root, "etc/passwd-lock", "");
    fs_err::remove_file(root.join("etc/passwd-lock")).unwrap();
    // What is never captured.
    write(root, "etc/resolv.conf", "nameserver 192.0.2.1");
    write(root, "run/pid", "1");
    UnixListener::bind(root.join("tmp/socket")).unwrap();
    fs_err::remove_file(root.join("etc/was-file")).unwrap();
    UnixListener::bind(root.join("etc/was-file")).unwrap();
}

fn second_step(root: &Path) {
    fs_err::remove_dir_all(root.join("opaque")).unwrap();
    write(root, "opaque", "a file where a folder was");
    fs_err::remove_file(root.join("etc/motd")).unwrap();
    std::fs::create_dir(root.join("etc/motd")).unwrap();
    write(root, "etc/motd/10-header", "a folder where a file was");
    fs_err::remove_dir_all(root.join("fresh")).unwrap();
    fs_err::remove_file(root.join("links/a")).unwrap();
    write(root, "etc/removed", "back again");
    fs_err::remove_file(root.join("etc/link")).unwrap();
    symlink("elsewhere", root.join("etc/link")).unwrap();
    std::fs::set_permissions(root.join("srv"), PermissionsExt::from_mode(0o700)).unwrap();
    chown(root.join("srv/owned"), Some(65_534), Some(65_534)).unwrap();
}

fn step_without_effect(root: &Path) {
    let _ = fs_err::read(root.join("opaque")).unwrap();
    drop(std::fs::OpenOptions::new().append(true).open(root.join("opaque")).unwrap());
    drop(std::fs::OpenOptions::new().append(true).open(root.join("etc/motd/10-header")).unwrap());
}

fn lowers(folder: &Path, count: usize) -> Vec<PathBuf> {
    LAYERS[..count].iter().rev().map(|layer| folder.join(layer).join("tree")).collect()
}

fn mount_overlay(
    folder: &Path,
    lowers: &[PathBuf],
    upper: Option<&Path>,
    namespace: XattrNamespace,
) -> PathBuf {
    let merged = folder.join("merged");
    fs_err::create_dir_all(&merged).unwrap();
    let lowers: Vec<String> = lowers.iter().map(|lower| lower.display().to_string()).collect();
    let mut options = format!("lowerdir={}", lowers.join(":"));
    if let Some(upper) = upper {
        let work = folder.join("work");
        if work.exists() {
            std::fs::set_permissions(work.join("work"), PermissionsExt::from_mode(0o700)).unwrap();
            fs_err::remove_dir_all(&work).unwrap();
        }
        std::fs::create_dir(&work).unwrap();
        options += &format!(",upperdir={},workdir={}", upper.display(), work.display());
    }
    options += match namespace {
        XattrNamespace::Trusted => ",metacopy=off,redirect_dir=nofollow,index=off",
        XattrNamespace::User => ",userxattr",
    };
    let options = CString::new(options).unwrap();
    mount("overlay", &merged, "overlay", MountFlags::empty(), Some(options.as_c_str())).unwrap();
    merged
}

/// All that is to be seen in a tree, without times and sockets; `as_captured` leaves out what capture does.
fn snapshot(root: &Path, as_captured: bool) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(root.join(&folder)).unwrap() {
            let at = folder.join(item.unwrap().file_name());
            let full = root.join(&at);
            let status = std::fs::symlink_metadata(&full).unwrap();
            let kind = status.file_type();
            if kind.is_socket()
                || (as_captured && at.starts_with("run/pid"))
                || at.ends_with("etc/resolv.conf")
            {
                continue;
            }
            let contents = if kind.is_file() {
                String::from_utf8(fs_err::read(&full).unwrap()).unwrap()
            } else if kind.is_symlink() {
                std::fs::read_link(&full).unwrap().display().to_string()
            } else {
                String::new()
            };
            let names = if kind.is_file() { status.nlink() } else { 1 };
            let xattrs: Vec<_> = [CAPABILITY, ACCESS_ACL, DEFAULT_ACL, "user.comment"]
                .map(|name| get(&full, name))
                .into_iter()
                .collect();
            let mode = if kind.is_symlink() { 0o777 } else { status.mode() & 0o7777 };
            seen.insert(
                at.display().to_string(),
                format!("{kind:?} {mode:o} {}:{} {names} {contents} {xattrs:?}", status.uid(), status.gid()),
            );
            if kind.is_dir() {
                folders.push(at);
            }
        }
    }
    seen
}

/// The kernel's view of a stack and `merge`'s must be the same.
fn agree(mounted: &Path, stack: &[Arc<DeltaManifest>]) {
    let merged = merge(stack);
    let seen: Vec<String> =
        merged.iter().filter(|entry| !entry.path.is_root()).map(|entry| entry.path.to_string()).collect();
    let mut on_disk: Vec<String> = Vec::new();
    let mut folders = vec![TreePath::root()];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(mounted.join(folder.as_path())).unwrap() {
            let item = item.unwrap();
            let at = folder.join(std::os::unix::ffi::OsStrExt::as_bytes(item.file_name().as_os_str()));
            on_disk.push(at.to_string());
            if item.file_type().unwrap().is_dir() {
                folders.push(at);
            }
        }
    }
    on_disk.sort();
    assert_eq!(seen, on_disk);
    for entry in &merged {
        let full = mounted.join(entry.path.as_path());
        let status = std::fs::symlink_metadata(&full).unwrap();
        let node = match &*entry.node {
            Node::HardLink { target } => &*merged.iter().find(|other| other.path == *target).unwrap().node,
            node => node,
        };
        let metadata = node.metadata().unwrap();
        let actual = (status.uid(), status.gid(), status.mtime(), status.mtime_nsec());
        assert_eq!(actual, (metadata.uid, metadata.gid, metadata.mtime, 0), "{}", entry.path);
        if let Node::File { digest, .. } = node {
            assert_eq!(Digest::of(&fs_err::read(&full).unwrap()), *digest, "{}", entry.path);
        }
        for (name, value) in &metadata.xattrs {
            assert_eq!(get(&full, std::str::from_utf8(name).unwrap()).as_deref(), Some(&**value));
        }
    }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn write(root: &Path, at: &str, contents: &str) {
    fs_err::write(root.join(at), contents).unwrap();
}

fn set(root: &Path, at: &str, name: &str, value: &[u8]) {
    lsetxattr(root.join(at), name, value, XattrFlags::empty()).unwrap();
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = [0; 256];
    lgetxattr(path, name, &mut buffer[..]).ok().map(|length| buffer[..length].to_vec())
}

/// `cap_net_raw=ep`, version 2.
fn capability() -> [u8; 20] {
    let mut value = [0; 20];
    value[..4].copy_from_slice(&0x0200_0001u32.to_le_bytes());
    value[4..8].copy_from_slice(&(1u32 << 13).to_le_bytes());
    value
}

/// `user::rwx,user:<id>:r-x,group::r-x,mask::r-x,other::r-x`, version 2.
fn acl(user: u32) -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(0x01u16, 7u16, NO_ID), (0x02, 5, user), (0x04, 5, NO_ID), (0x10, 5, NO_ID), (0x20, 5, NO_ID)]
    {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}
