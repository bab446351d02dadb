//! A workspace in a temporary folder, with a cache of its own, and the program run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A workspace with a cache; both go when it is dropped.
pub struct Workspace {
    folder: tempfile::TempDir,
}

/// How the program ended and what it said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Workspace {
    /// An empty workspace.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("imgbuild-it-").tempdir().unwrap();
        std::fs::create_dir(folder.path().join("w")).unwrap();
        let workspace = Self { folder };
        workspace.write("imgbuild.toml", "");
        workspace
    }

    /// A workspace whose root package is this.
    pub fn with(build: &str) -> Self {
        let workspace = Self::new();
        workspace.write("BUILD.star", build);
        workspace
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("w")
    }

    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn has(&self, path: &str) -> bool {
        self.root().join(path).exists()
    }

    /// The program, to be run in this workspace.
    pub fn command(&self, words: &[&str]) -> Command {
        program(&self.root(), &self.cache(), words)
    }

    /// Runs the program to its end.
    pub fn run(&self, words: &[&str]) -> Said {
        said(&self.command(words).output().unwrap())
    }

    /// Runs the program, which must succeed.
    pub fn ok(&self, words: &[&str]) -> Said {
        let said = self.run(words);
        assert_eq!(said.code, Some(0), "imgbuild {}: {said:#?}", words.join(" "));
        said
    }

    /// Runs the program, which must fail with this exit code.
    pub fn fails(&self, code: i32, words: &[&str]) -> Said {
        let said = self.run(words);
        assert_eq!(said.code, Some(code), "imgbuild {}: {said:#?}", words.join(" "));
        said
    }
}

/// The program, to be run in a folder with a cache.
pub fn program(folder: &Path, cache: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imgbuild"));
    surroundings(command.args(words), folder, cache);
    command
}

fn surroundings(command: &mut Command, folder: &Path, cache: &Path) {
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", cache.parent().unwrap())
        .env("IMGBUILD_CACHE_DIR", cache)
        .stdin(std::process::Stdio::null());
}

/// An ordinary user of this machine, who may make namespaces; `None`, with the reason printed, where there is none.
pub struct OrdinaryUser {
    folder: tempfile::TempDir,
}

impl OrdinaryUser {
    const NAME: &str = "imgbuildit";

    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can become another user");
            return None;
        }
        let exists = || Command::new("id").arg(Self::NAME).output().unwrap().status.success();
        // Another test may be making it at the same time.
        if !exists()
            && !Command::new("useradd").args(["-m", Self::NAME]).status().unwrap().success()
            && !exists()
        {
            panic!("the user `{}` cannot be made", Self::NAME);
        }
        if !fs_err::read_to_string("/etc/subuid").unwrap_or_default().contains(Self::NAME) {
            eprintln!("SKIPPED: `{}` has no range in /etc/subuid", Self::NAME);
            return None;
        }
        // The build folder may be one that only root enters.
        let folder = tempfile::Builder::new().prefix("imgbuild-program-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_imgbuild"), folder.path().join("imgbuild")).unwrap();
        Some(Self { folder })
    }

    /// Gives the user a workspace with all that lies beside it.
    pub fn give(&self, workspace: &Workspace) {
        let folder = workspace.root().parent().unwrap().to_path_buf();
        assert!(Command::new("chown").args(["-R", Self::NAME]).arg(folder).status().unwrap().success());
    }

    /// The program as this user, with a umask.
    pub fn command(&self, workspace: &Workspace, umask: &str, words: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let become_user = ["setpriv", "--reuid", Self::NAME, "--regid", Self::NAME, "--init-groups"];
        command.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask]).args(become_user);
        command.arg(self.folder.path().join("imgbuild")).args(words);
        surroundings(&mut command, &workspace.root(), &workspace.cache());
        command
    }
}

pub fn said(output: &Output) -> Said {
    Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// How many actions ran, by the events of a run with `--json`.
pub fn ran(said: &Said) -> Vec<String> {
    said.stdout
        .lines()
        .filter(|line| {
            line.contains("\"event\":\"action_finished\"") && line.contains("\"outcome\":\"built\"")
        })
        .map(|line| {
            let start = line.find("\"description\":\"").unwrap() + "\"description\":\"".len();
            line[start..].split('"').next().unwrap().to_owned()
        })
        .collect()
}

/// A folder with a static shell, as the tree of an image; `None`, with the reason said, where there is none.
pub fn busybox(workspace: &Workspace) -> Option<()> {
    let Some(program) =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists())
    else {
        eprintln!("SKIPPED: there is no /bin/busybox; install `busybox-static`");
        return None;
    };
    let bin = workspace.root().join("busybox/bin");
    fs_err::create_dir_all(&bin).unwrap();
    std::fs::copy(program, bin.join("busybox")).unwrap();
    for name in [
        "sh", "cat", "echo", "ls", "id", "mkdir", "rm", "touch", "sleep", "true", "false", "env", "test",
        "ln", "date", "dd", "wget", "head", "tr", "mount", "chmod", "stat", "uname", "kill",
    ] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
    Some(())
}

/// The start of a `BUILD.star` whose images stand on [`busybox`].
pub const BUSYBOX: &str = r#"
image(
    name = "base",
    source = scratch(),
    steps = [
        file("busybox", "/"),
        file(content = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n", dest = "/etc/passwd"),
        file(content = "root:x:0:\napp:x:1000:\n", dest = "/etc/group"),
        mkdir("/tmp", mode = "1777"),
    ],
    exports = [],
)
"#;

/// A workspace with these files.
pub fn files(files: &[(&str, &str)]) -> Workspace {
    let workspace = Workspace::new();
    for (name, text) in files {
        workspace.write(name, text);
    }
    workspace
}

/// That the standard output has all of these.
#[track_caller]
pub fn has(said: &Said, parts: &[&str]) {
    for part in parts {
        assert!(said.stdout.contains(part), "`{part}` is not in:\n{}\n{}", said.stdout, said.stderr);
    }
}

/// That the standard output has none of these.
#[track_caller]
pub fn has_not(said: &Said, parts: &[&str]) {
    for part in parts {
        assert!(!said.stdout.contains(part), "`{part}` is in:\n{}", said.stdout);
    }
}
