//! An archive in the shape of Ubuntu's that a test makes, signs and serves: real packages of the host's mirror beside the
//! test's own. The program is told of it as a user would tell it: a mirror in the environment, a keyring in the configuration.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use imgbuild_debian::solve::{Base, Request};
use imgbuild_debian::test_archive::host::HostArchive;
use imgbuild_debian::test_archive::{Fault, TestArchive, TestPackage, TestServer};
use jiff::{SignedDuration, Timestamp, Unit};

use crate::support::{Said, Workspace, said};

/// Files under the server.
pub const IN_RELEASE: &str = "ubuntu/dists/noble/InRelease";
/// A fault that does not pass.
pub const ALWAYS: usize = usize::MAX;
/// Longer than any test waits.
pub const FOREVER: Fault = Fault::Stall(std::time::Duration::from_secs(3600));

/// The archive, its server and a workspace that uses it.
pub struct Ubuntu {
    pub archive: TestArchive,
    pub server: TestServer,
    pub workspace: Workspace,
    /// Further variables of the program's environment.
    pub environment: Vec<(String, String)>,
}

fn host() -> Option<&'static HostArchive> {
    static HOST: OnceLock<Option<HostArchive>> = OnceLock::new();
    HOST.get_or_init(|| HostArchive::load(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("archive"))).as_ref()
}

/// An archive with what an image needs at least; `None`, with the reason printed, where there is no mirror.
pub fn archive(base: Base) -> Option<TestArchive> {
    let host = host()?;
    let mut archive = TestArchive::ubuntu();
    archive.date = Timestamp::now().round(Unit::Hour).unwrap() - SignedDuration::from_hours(48);
    archive.architectures = vec![imgbuild_debian::test_archive::host::native().to_owned()];
    host.lend(&mut archive, &Request { base: Some(base), merged_usr: true, ..Request::default() });
    Some(archive)
}

/// A small package without scripts.
pub fn hello(version: &str) -> TestPackage {
    TestPackage::new("hello", version)
        .architecture("all")
        .file("usr/share/hello/greeting", format!("hello {version}\n").as_bytes(), 0o644)
        .file("usr/share/hello/large", &[7; 300_000], 0o644)
}

/// An image with nothing but essential packages, and one with [`hello`] on top.
pub const IMAGES: &str = r#"
image(name = "base", source = ubuntu("noble", variant = "essential"), exports = [])
image(name = "app", base = ":base", steps = [apt_install("hello")], exports = [tarball(compression = "none")])
"#;

impl Ubuntu {
    /// [`IMAGES`], and an archive that has what they need.
    pub fn small() -> Option<Self> {
        let mut archive = archive(Base::Essential)?;
        archive.add(hello("1.0"));
        Some(Self::with(archive, Workspace::with(IMAGES)))
    }

    /// Serves an archive to a workspace.
    pub fn with(archive: TestArchive, workspace: Workspace) -> Self {
        let server = archive.serve();
        let folder = workspace.root().parent().unwrap().to_owned();
        fs_err::write(folder.join("ubuntu.gpg"), archive.keyring()).unwrap();
        let mirror = ("IMGBUILD_UBUNTU_MIRROR".to_owned(), server.url("ubuntu").to_string());
        let ubuntu = Self { archive, server, workspace, environment: vec![mirror] };
        ubuntu.wait_for_servers("60s");
        ubuntu
    }

    /// How long the program bears with a silent server. Only tests of silence make it short: a busy machine is slow.
    pub fn wait_for_servers(&self, timeout: &str) {
        let folder = self.workspace.root().parent().unwrap().join(".config/imgbuild");
        fs_err::create_dir_all(&folder).unwrap();
        let downloads = format!("[downloads]\nattempts = 2\ntimeout = \"{timeout}\"\nparallel = 4\n");
        fs_err::write(
            folder.join("config.toml"),
            format!("[keyrings]\nubuntu = \"~/ubuntu.gpg\"\n{downloads}"),
        )
        .unwrap();
    }

    /// Serves the archive as it is now.
    pub fn publish(&self) {
        self.server.publish(self.archive.files());
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.workspace.command(words);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn run(&self, words: &[&str]) -> Said {
        said(&self.command(words).output().unwrap())
    }

    pub fn ok(&self, words: &[&str]) -> Said {
        let said = self.run(words);
        assert_eq!(said.code, Some(0), "imgbuild {}: {said:#?}", words.join(" "));
        said
    }

    /// The run fails with this exit code, says all of this, and leaves a cache with nothing wrong in it.
    pub fn fails(&self, code: i32, words: &[&str], parts: &[&str]) -> Said {
        let said = self.run(words);
        assert_eq!(said.code, Some(code), "imgbuild {}: {said:#?}", words.join(" "));
        for part in parts {
            assert!(said.stderr.contains(part), "`{part}` is not in:\n{}", said.stderr);
        }
        self.is_sound();
        said
    }

    pub fn is_sound(&self) {
        assert!(self.ok(&["cache", "verify"]).stdout.contains("nothing is wrong"));
    }
}
