//! What the tests share: a small root, a way to run a step in it, the same tests as an ordinary user.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgbuild_rootfs::overlay::{OverlayOptions, mount};
use imgbuild_rootfs::sandbox::{Outcome, OutputLine, Sandbox, SandboxError, SandboxSpec, Stream};
use libtest_mimic::{Failed, Trial};

/// The user that the tests are executed by again.
const USER: &str = "imgbuildtest";

/// A stack of one layer (busybox) and an upper folder, gone when dropped.
pub struct Root {
    pub folder: tempfile::TempDir,
    pub mount: OwnedFd,
}

/// What a step said and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub outcome: Outcome,
    pub lines: Vec<OutputLine>,
}

impl Ran {
    pub fn text(&self, stream: Stream) -> String {
        let lines = self.lines.iter().filter(|line| line.stream == stream);
        lines.map(|line| String::from_utf8_lossy(&line.bytes).into_owned() + "\n").collect()
    }

    pub fn stdout(&self) -> String {
        self.text(Stream::Stdout)
    }

    pub fn stderr(&self) -> String {
        self.text(Stream::Stderr)
    }
}

/// Writes a tree with busybox, its applets and two accounts.
pub fn busybox_tree(into: &Path) -> Result<(), Failed> {
    for folder in ["bin", "etc", "tmp", "root", "home", "usr/bin"] {
        fs_err::create_dir_all(into.join(folder))?;
    }
    fs_err::set_permissions(into.join("tmp"), std::fs::Permissions::from_mode(0o1777))?;
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].iter().find(|path| Path::new(path).exists());
    let busybox = busybox.ok_or("`busybox-static` is not installed: `apt-get install busybox-static`")?;
    fs_err::copy(busybox, into.join("bin/busybox"))?;
    for applet in [
        "sh", "cat", "ls", "echo", "id", "hostname", "env", "mount", "umount", "mknod", "sleep", "ip", "nc",
        "grep", "true", "false", "touch", "rm", "mkdir", "chown", "ps", "unshare", "kill", "wc", "ln",
        "stat", "find", "test", "head", "dd", "tty", "uname", "mv", "seq", "chmod", "chroot", "readlink",
        "pwd", "cp", "wget", "timeout",
    ] {
        fs_err::os::unix::fs::symlink("busybox", into.join("bin").join(applet))?;
    }
    fs_err::write(
        into.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nbuild:x:1000:1000::/home:/bin/sh\n",
    )?;
    fs_err::write(into.join("etc/group"), "root:x:0:\nbuild:x:1000:\nextra:x:1001:build\n")?;
    Ok(())
}

impl Root {
    pub fn busybox() -> Result<Self, Failed> {
        Self::with(busybox_tree)
    }

    /// One layer written by `fill`.
    pub fn with(fill: impl FnOnce(&Path) -> Result<(), Failed>) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        for name in ["lower", "upper", "work"] {
            fs_err::create_dir(path(name))?;
        }
        fill(&path("lower"))?;
        let mount =
            mount(&[&path("lower")], Some((&path("upper"), &path("work"))), OverlayOptions::default())?;
        Ok(Self { folder, mount })
    }

    pub fn upper(&self, path: &str) -> PathBuf {
        self.folder.path().join("upper").join(path)
    }

    pub fn run(&self, spec: &SandboxSpec) -> Result<Ran, SandboxError> {
        run(spec, &self.mount)
    }

    /// A shell script.
    pub fn shell(&self, script: &str) -> Result<Ran, SandboxError> {
        self.run(&SandboxSpec::new(["/bin/sh", "-c", script]))
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub fn run(spec: &SandboxSpec, root: &OwnedFd) -> Result<Ran, SandboxError> {
    runtime().block_on(async {
        let mut lines = Vec::new();
        let outcome = Sandbox::new().spawn(spec, root.as_fd())?.wait_with(|line| lines.push(line)).await?;
        Ok(Ran { outcome, lines })
    })
}

/// Compares, and says both sides.
pub fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Result<(), Failed> {
    if found == wanted { Ok(()) } else { Err(format!("found {found:?}, wanted {wanted:?}").into()) }
}

/// Says what was found if it is not as it should be.
pub fn holds(right: bool, found: impl std::fmt::Debug) -> Result<(), Failed> {
    if right { Ok(()) } else { Err(format!("{found:?}").into()) }
}

/// One trial that runs all of this program again as an ordinary user.
pub fn add_ordinary_user(tests: &mut Vec<Trial>) {
    tests.push(Trial::test("root::everything_again_as_an_ordinary_user", || {
        if !Command::new("id").arg(USER).output()?.status.success() {
            let made = Command::new("useradd").args(["--create-home", USER]).status()?;
            holds(made.success(), "useradd")?;
        }
        // The build folder may not be readable for others.
        let folder = tempfile::tempdir()?;
        fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let program = folder.path().join("namespaces");
        fs_err::copy(std::env::current_exe()?, &program)?;
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        let arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("root::"));
        let output = Command::new("setpriv")
            .args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--init-groups", "--"])
            .arg(&program)
            .args(arguments)
            .env("HOME", "/nonexistent")
            .env_remove("TMPDIR")
            .current_dir("/")
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!("{text}{errors}");
        holds(output.status.success(), format!("{text}{errors}"))?;
        holds(!errors.contains("skipped:"), errors)
    }));
}
