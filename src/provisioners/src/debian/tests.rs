//! The order of an installation, in a folder instead of a machine: commands are written down, not run.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use imgbuild_cache::{Cache, Run};
use imgbuild_debian::Version;
use imgbuild_debian::lock::{LockedClosure, LockedPackage};
use imgbuild_debian::test_archive::TestPackage;
use imgbuild_engine::{
    ActionContext, ActionError, Builder, Cancel, Command, Exit, FileOperation, Machine, MachineSpec, OnLine,
    Session, Snapshot, Stat,
};
use imgbuild_model::{ActionId, Event, Stream};
use imgbuild_plan::{ActionGraph, LockFile};

use super::install::{Failure, Installer, Target};

/// A session on a folder.
struct Folder {
    root: OwnedFd,
    commands: Vec<String>,
    /// What a command that contains the text writes, and how it ends.
    fails: Option<(&'static str, &'static str, i32)>,
    cancel: Option<Cancel>,
}

impl Folder {
    fn new(path: &Path) -> Self {
        let root = fs_err::File::open(path).unwrap().into_file().into();
        Self { root, commands: Vec::new(), fails: None, cancel: None }
    }
}

#[async_trait]
impl Session for Folder {
    async fn exec(&mut self, command: &Command, on_line: OnLine<'_>) -> Result<Exit, ActionError> {
        let line = command.argv.join(" ");
        assert!(!command.network, "{line}");
        assert_eq!(command.env["DEBIAN_FRONTEND"], "noninteractive", "{line}");
        self.commands.push(line.clone());
        on_line(Stream::Stdout, &format!("ran {line}"));
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
        match self.fails {
            Some((part, output, code)) if line.contains(part) => {
                output.lines().for_each(|line| on_line(Stream::Stderr, line));
                Ok(Exit::Code(code))
            }
            _ => Ok(Exit::Code(0)),
        }
    }

    async fn apply(&mut self, _: Vec<FileOperation>) -> Result<(), ActionError> {
        Err(ActionError::environment("not needed"))
    }

    async fn read(&mut self, _: &str) -> Result<Option<Vec<u8>>, ActionError> {
        Ok(None)
    }

    async fn stat(&mut self, _: &str) -> Result<Option<Stat>, ActionError> {
        Ok(None)
    }

    async fn list(&mut self, _: &str) -> Result<Vec<String>, ActionError> {
        Ok(Vec::new())
    }

    async fn download(&mut self, _: &str, _: &Path) -> Result<Vec<String>, ActionError> {
        Ok(Vec::new())
    }

    async fn identity(&mut self, _: &str) -> Result<(u32, u32), ActionError> {
        Ok((0, 0))
    }

    fn root(&mut self) -> Option<BorrowedFd<'_>> {
        Some(self.root.as_fd())
    }
}

struct NoBuilder;

#[async_trait]
impl Builder for NoBuilder {
    fn key(&self) -> &str {
        "none/1"
    }

    async fn start(&self, _: &Snapshot, _: &MachineSpec) -> Result<Box<dyn Machine>, ActionError> {
        Err(ActionError::environment("there are no machines"))
    }
}

struct Bench {
    folder: tempfile::TempDir,
    context: ActionContext,
    progress: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    /// `None`, with the reason printed, where owners cannot be set.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: owners can only be set by root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("root")).unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let progress: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = progress.clone();
        let events = move |event: Event| {
            if let Event::Progress { message, done, total, .. } = event {
                seen.lock().unwrap().push(format!("{message} {done}/{total}"));
            }
        };
        let context = ActionContext {
            id: ActionId(0),
            graph: Arc::new(ActionGraph::default()),
            place: 0,
            run: Arc::new(Run::begin(&cache).unwrap()),
            cache,
            results: Vec::new(),
            lock: Arc::new(LockFile::default()),
            workspace: folder.path().to_owned(),
            temporary: folder.path().to_owned(),
            builder: Arc::new(NoBuilder),
            results_of_run: imgbuild_engine::Results::Kept,
            secrets: Arc::new(imgbuild_engine::secrets::NoSecrets),
            fillings: Arc::default(),
            prompt: Arc::new(imgbuild_engine::Nobody),
            cancel: Cancel::new(),
            events: Arc::new(events),
            log: Arc::default(),
            failed_state: Mutex::default(),
            continuity: Default::default(),
        };
        Some(Self { folder, context, progress })
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }

    async fn install(
        &self,
        session: &mut Folder,
        batches: &[&[TestPackage]],
        remove: &[&str],
        bootstrap: bool,
    ) -> Result<(), Failure> {
        let mut files = Vec::new();
        let locked = |package: &TestPackage| {
            let deb = package.build();
            let path = self.folder.path().join(package.file_name());
            fs_err::write(&path, &deb).unwrap();
            files.push(path);
            LockedPackage {
                name: package.name.clone(),
                version: Version::new(package.version.as_str()),
                architecture: package.architecture.clone(),
                sha256: imgbuild_debian::Sha256::of(&deb),
                size: deb.len() as u64,
                filename: package.pool_path(),
                archive: None,
                source: None,
            }
        };
        let mut locked = locked;
        let batches = batches.iter().map(|batch| batch.iter().map(&mut locked).collect()).collect();
        let remove = remove.iter().map(|name| (*name).to_owned()).collect();
        let closure = LockedClosure { date: None, remove, batches };
        let target = Target { closure: &closure, files: &files, native: "amd64", bootstrap };
        Installer::new(&self.context, session, "amd64")?.run(&target).await
    }
}

fn message(failure: Failure) -> String {
    match failure.error {
        ActionError::Other(diagnostic) => diagnostic.message,
        other => other.to_string(),
    }
}

/// The commands, with the fixed options of dpkg left out.
fn short(commands: &[String]) -> Vec<String> {
    commands
        .iter()
        .map(|line| {
            line.split(' ')
                .filter(|word| !word.starts_with("--force") && *word != "--no-pager")
                .collect::<Vec<_>>()
        })
        .map(|words| words.join(" "))
        .collect()
}

#[tokio::test]
async fn a_new_root_is_unpacked_before_its_scripts_run() {
    let Some(bench) = Bench::new() else { return };
    let mut session = Folder::new(&bench.root());
    let base = TestPackage::new("base", "1")
        .essential()
        .file("usr/bin/tool", b"x", 0o755)
        .script("preinst", "#!/bin/sh\n")
        .script("postinst", "#!/bin/sh\n");
    let merged = TestPackage::new("usr-is-merged", "1");
    let later =
        TestPackage::new("later", "1").script("preinst", "#!/bin/sh\n").file("etc/later", b"x", 0o644);
    bench.install(&mut session, &[&[base, merged], &[later]], &[], true).await.ok().unwrap();
    assert_eq!(
        short(&session.commands),
        [
            "/var/lib/dpkg/tmp.ci/base/preinst install",
            "dpkg --configure --pending",
            "/var/lib/dpkg/tmp.ci/later/preinst install",
            "dpkg --configure --pending",
        ]
    );
    let root = bench.root();
    assert!(root.join("usr/bin/tool").exists() && root.join("etc/later").exists());
    assert!(root.join("bin").is_symlink(), "the package says that `/usr` is merged");
    assert!(!root.join("usr/sbin/policy-rc.d").exists(), "the guard is gone");
    assert!(!root.join("var/lib/dpkg/tmp.ci").exists(), "staged scripts are gone");
    let status = fs_err::read_to_string(root.join("var/lib/dpkg/status")).unwrap();
    assert!(status.contains("Package: later\n"), "{status}");
    let progress = bench.progress.lock().unwrap();
    assert_eq!(progress.first().unwrap(), "unpacking 0/3");
    assert_eq!(progress.last().unwrap(), "configuring 3/3");
    let log = String::from_utf8(bench.context.log.lock().unwrap().clone()).unwrap();
    assert!(log.contains("ran dpkg"), "{log}");
}

#[tokio::test]
async fn on_a_layer_removals_and_scripts_come_first() {
    let Some(bench) = Bench::new() else { return };
    let mut session = Folder::new(&bench.root());
    bench
        .install(&mut session, &[&[TestPackage::new("base", "1").essential()]], &[], true)
        .await
        .ok()
        .unwrap();
    session.commands.clear();
    let tool = TestPackage::new("tool", "1").script("preinst", "#!/bin/sh\n");
    let foreign = TestPackage::new("other", "1").architecture("i386");
    bench.install(&mut session, &[&[tool, foreign]], &["old"], false).await.ok().unwrap();
    assert_eq!(
        short(&session.commands),
        [
            "dpkg --add-architecture i386",
            "dpkg --remove old",
            "/var/lib/dpkg/tmp.ci/tool/preinst install",
            "dpkg --configure --pending",
        ]
    );
}

#[tokio::test]
async fn what_takes_the_place_of_another_is_unpacked_by_dpkg() {
    let Some(bench) = Bench::new() else { return };
    let mut session = Folder::new(&bench.root());
    let version =
        |version: &str| TestPackage::new("tool", version).essential().script("preinst", "#!/bin/sh\n");
    bench.install(&mut session, &[&[version("1")]], &[], true).await.ok().unwrap();
    session.commands.clear();
    let other = TestPackage::new("other", "1").script("preinst", "#!/bin/sh\n");
    bench.install(&mut session, &[&[other.clone(), version("2")], &[other]], &[], false).await.ok().unwrap();
    assert_eq!(
        short(&session.commands),
        [
            "dpkg --no-triggers --auto-deconfigure --unpack /var/lib/dpkg/imgbuild/0000.deb /var/lib/dpkg/imgbuild/0001.deb",
            "dpkg --configure --pending",
            // The commands are only written down here, so the second batch finds nothing of the first.
            "/var/lib/dpkg/tmp.ci/other/preinst install",
            "dpkg --configure --pending",
        ]
    );
    assert!(!bench.root().join("var/lib/dpkg/imgbuild").exists(), "staged packages are gone");
}

#[tokio::test]
async fn a_failing_script_is_named_and_its_state_kept() {
    let Some(bench) = Bench::new() else { return };
    let package = || TestPackage::new("bad", "1").essential().script("preinst", "#!/bin/sh\n");
    let mut session = Folder::new(&bench.root());
    session.fails = Some(("preinst", "boom", 3));
    let failure = bench.install(&mut session, &[&[package()]], &[], true).await.unwrap_err();
    assert!(failure.keep_state);
    assert_eq!(message(failure), "`preinst` of package `bad` ended with exit code 3");

    let Some(bench) = Bench::new() else { return };
    let mut session = Folder::new(&bench.root());
    let output = "dpkg: error processing package bad (--configure):\n installed bad package post-installation script \
                  subprocess returned error exit status 9";
    session.fails = Some(("--configure", output, 1));
    let failure = bench.install(&mut session, &[&[package()]], &[], true).await.unwrap_err();
    assert_eq!(message(failure), "`postinst` of package `bad` ended with exit code 9");
}

#[tokio::test]
async fn a_cancelled_installation_goes_no_further() {
    let Some(bench) = Bench::new() else { return };
    let mut session = Folder::new(&bench.root());
    session.cancel = Some(bench.context.cancel.clone());
    let batches: [&[TestPackage]; 2] = [
        &[TestPackage::new("base", "1").essential()],
        &[TestPackage::new("later", "1").file("etc/later", b"x", 0o644)],
    ];
    let failure = bench.install(&mut session, &batches, &[], true).await.unwrap_err();
    assert!(matches!(failure.error, ActionError::Cancelled));
    assert!(!failure.keep_state);
    assert_eq!(session.commands.len(), 1);
    assert!(!bench.root().join("etc/later").exists());
}
