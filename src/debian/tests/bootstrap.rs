//! A real Debian from the host's mirror: unpacked in parallel, configured by its own dpkg, compared with what mmdebstrap
//! makes of the same suite; then more packages on top.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use common::{Archive, SUITE, native};
use imgbuild_debian::Sha256;
use imgbuild_debian::solve::{Base, Request};
use imgbuild_debian::status::{PackageStatus, State};
use imgbuild_debian::unpack::{
    ScriptCall, UnpackPlan, Unpacker, configure_command, remove_command, script_environment,
};

/// Runs a command in the root, with the mounts that scripts expect, gone when it ends.
fn run_in(root: &Path, argv: &[String], env: &[(String, String)]) {
    let script = "mount -t proc proc \"$1/proc\" && mount --rbind /dev \"$1/dev\" && mount -t sysfs -o ro sys \"$1/sys\" && \
                  root=$1 && shift && exec chroot \"$root\" \"$@\"";
    let output = Command::new("/usr/bin/unshare")
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .args(["--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"])
        .arg(root)
        .args(argv)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{argv:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run_scripts(root: &Path, calls: &[ScriptCall]) {
    for call in calls {
        run_in(root, &call.argv, &call.env);
    }
}

/// What a builder does with a plan.
fn carry_out(root: &Path, unpacker: &Unpacker, plan: &UnpackPlan) {
    let guard = unpacker.add_guards().unwrap();
    if !plan.remove.is_empty() {
        run_in(root, &remove_command(&plan.remove), &script_environment());
    }
    for batch in &plan.batches {
        let start = Instant::now();
        if !batch.bootstrap {
            run_scripts(root, &unpacker.stage_scripts(batch).unwrap());
        }
        let unpacked = unpacker.unpack_batch(batch).unwrap();
        let unpack = start.elapsed();
        if batch.bootstrap {
            run_scripts(root, &unpacker.stage_scripts(batch).unwrap());
        }
        unpacker.unstage_scripts().unwrap();
        let scripts = start.elapsed();
        run_in(root, &configure_command(), &script_environment());
        eprintln!(
            "batch of {}: {} entries, {} MB; unpack {unpack:.2?}, with scripts {scripts:.2?}, with configure {:.2?}",
            batch.packages.len(),
            unpacked.entries,
            unpacked.bytes >> 20,
            start.elapsed()
        );
    }
    unpacker.remove_guards(guard).unwrap();
}

fn install(archive: &Archive, root: &Path, request: &Request) {
    let unpacker = Unpacker::open(root, native()).unwrap();
    let bootstrap = request.base.is_some();
    if bootstrap {
        unpacker.bootstrap(&[], true).unwrap();
    }
    let state = unpacker.state().unwrap();
    let closure = archive.closure(&state, request);
    let packages: Vec<_> = closure.packages().cloned().collect();
    let files = archive.files(&packages);
    carry_out(root, &unpacker, &UnpackPlan::new(&closure, &files, bootstrap));
    unpacker.clean().unwrap();
    let state = unpacker.state().unwrap();
    for package in &state.packages {
        assert_eq!(package.status, PackageStatus::Installed, "{}", package.name);
    }
}

/// A folder on tmpfs where there is one, so that a disk's speed is not what is measured.
fn work_folder() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn ready() -> Option<&'static Archive> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make device nodes and owners without a user namespace");
        return None;
    }
    common::archive()
}

/// Every path with what it is, who owns it, what it may and what it holds.
fn listing(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(root).unwrap().display().to_string();
        let meta = entry.metadata().unwrap();
        let kind = meta.file_type();
        let what = if kind.is_symlink() {
            format!("link {}", fs_err::read_link(entry.path()).unwrap().display())
        } else if kind.is_dir() {
            "folder".to_owned()
        } else if kind.is_file() {
            format!("file {}", Sha256::of(&fs_err::read(entry.path()).unwrap()))
        } else {
            format!("special {}", kind.is_fifo())
        };
        let mode = if kind.is_symlink() { 0 } else { meta.permissions().mode() & 0o7777 };
        found.insert(path, format!("{what} {mode:o} {}:{}", meta.uid(), meta.gid()));
    }
    found
}

/// Where our base and mmdebstrap's may differ, and why.
const EXPLAINED: &[(&str, &str)] = &[
    ("etc/apt/", "mmdebstrap writes sources and settings for apt"),
    ("etc/fstab", "mmdebstrap writes one"),
    ("etc/hostname", "mmdebstrap copies the host's"),
    ("etc/resolv.conf", "mmdebstrap copies the host's"),
    ("etc/machine-id", "mmdebstrap writes `uninitialized`"),
    ("etc/group-", "a backup, removed by `clean`"),
    ("etc/passwd-", "a backup, removed by `clean`"),
    ("etc/shadow", "holds the day on which a password was set"),
    ("var/lib/dpkg/status", "order of fields of packages installed by apt; compared by package instead"),
    ("var/lib/dpkg/available", "dpkg of mmdebstrap's host does not make it"),
    ("var/lib/dpkg/cmethopt", "made by dselect's method only"),
    ("var/lib/dpkg/lock", "lock files"),
    ("var/lib/dpkg/diversions", "usrmerge's, where mmdebstrap's root was merged by it"),
    ("var/lib/dpkg/statoverride", "made on demand"),
    ("var/lib/dpkg/triggers/", "lock files and order of lines"),
    ("var/lib/dpkg/info/", "compared by package instead, except lists"),
    ("var/lib/apt/", "state of apt's own runs"),
    ("var/cache/", "caches: apt's, ldconfig's, debconf's order of records"),
    ("var/log/", "logs"),
    ("var/lib/systemd/", "state"),
    ("dev/", "mmdebstrap makes device nodes; a builder mounts its own /dev"),
    ("run/", "state"),
    ("tmp", "mmdebstrap's own mode"),
];

fn explained(path: &str) -> bool {
    EXPLAINED.iter().any(|(prefix, _)| path.starts_with(prefix))
}

fn installed(root: &Path) -> BTreeSet<String> {
    let text = fs_err::read_to_string(root.join("var/lib/dpkg/status")).unwrap();
    State::parse(&text)
        .unwrap()
        .packages
        .iter()
        .map(|p| format!("{} {} {:?}", p.id(), p.version, p.status))
        .collect()
}

fn mmdebstrap(archive: &Archive, root: &Path) -> bool {
    if !Path::new("/usr/bin/mmdebstrap").exists() {
        eprintln!("comparison skipped: there is no mmdebstrap");
        return false;
    }
    let start = Instant::now();
    let status = Command::new("mmdebstrap")
        .args(["-q", "--variant=minbase", "--format=directory"])
        .arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
        .arg(SUITE)
        .arg(root)
        .arg(archive.mirrors.primary[0].as_str())
        .status()
        .unwrap();
    assert!(status.success());
    eprintln!("mmdebstrap {:.2?}", start.elapsed());
    true
}

#[test]
fn a_base_is_what_mmdebstrap_makes_and_takes_more_packages() {
    let Some(archive) = ready() else { return };
    let work = work_folder();
    let root: PathBuf = work.path().join("ours");
    fs_err::create_dir(&root).unwrap();
    fs_err::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    install(archive, &root, &Request { base: Some(Base::Required), merged_usr: true, ..Request::default() });
    let theirs = work.path().join("theirs");
    if mmdebstrap(archive, &theirs) {
        assert_eq!(installed(&root), installed(&theirs));
        let (ours, theirs) = (listing(&root), listing(&theirs));
        let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let differing: Vec<String> = paths
            .into_iter()
            .filter(|path| ours.get(*path) != theirs.get(*path) && !explained(path))
            .map(|path| format!("{path}: ours {:?}, mmdebstrap {:?}", ours.get(path), theirs.get(path)))
            .collect();
        assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
        let lists = |files: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            files
                .iter()
                .filter(|(path, _)| path.starts_with("var/lib/dpkg/info/"))
                .map(|(path, what)| (path.clone(), what.clone()))
                .collect()
        };
        let (ours, theirs) = (lists(&ours), lists(&theirs));
        let differing: Vec<_> = ours.iter().filter(|(path, what)| theirs.get(*path) != Some(what)).collect();
        assert!(differing.is_empty(), "database files differ: {differing:?}");
        assert_eq!(ours.len(), theirs.len());
    }

    let more = ["nginx", "python3", "man-db"].map(|name| name.parse().unwrap()).to_vec();
    install(archive, &root, &Request { install: more, ..Request::default() });
    let env = script_environment();
    for command in [["nginx", "-t"], ["python3", "--version"], ["man", "--version"], ["dpkg", "--audit"]] {
        run_in(&root, &command.map(str::to_owned), &env);
    }
    run_in(&root, &["dpkg", "--verify"].map(str::to_owned), &env);
}

#[test]
fn two_runs_give_the_same_files() {
    let Some(archive) = ready() else { return };
    let work = work_folder();
    let make = |name: &str, threads: usize| {
        let root = work.path().join(name);
        fs_err::create_dir(&root).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            install(
                archive,
                &root,
                &Request { base: Some(Base::Essential), merged_usr: true, ..Request::default() },
            )
        });
        listing(&root)
    };
    let (one, many) = (make("one", 1), make("many", 4));
    let differing: Vec<_> =
        one.keys().chain(many.keys()).filter(|path| one.get(*path) != many.get(*path)).collect();
    assert!(differing.is_empty(), "{differing:?}");
}
