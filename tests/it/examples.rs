//! The examples of this repository, built from the real archive.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::support::{Said, program, ran, said};

/// A copy of the repository's examples, so that tests may change them.
pub struct Examples {
    folder: tempfile::TempDir,
    /// A cache of their own.
    cache: Option<tempfile::TempDir>,
}

/// One cache for all of them: what they have in common is built once. It begins empty in each run of the tests, and lies
/// with the build's output, since what is static is never dropped.
fn cache() -> &'static Path {
    static CACHE: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
        match fs_err::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => folder,
        }
    });
    &CACHE
}

/// A folder with the programs that examples call by their names and that `.ci/servers` installs: with them alone, and not with the
/// Python that lies beside them.
fn programs() -> &'static Path {
    static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
        fs_err::create_dir_all(&folder).unwrap();
        let Some(playbook) = crate::provisioners::ansible() else { return folder };
        // It asks for passwords by the program `ansible`.
        for name in ["ansible", "ansible-playbook", "ansible-galaxy"] {
            let link = folder.join(name);
            let _ = fs_err::remove_file(&link);
            fs_err::os::unix::fs::symlink(Path::new(&playbook).with_file_name(name), link).unwrap();
        }
        folder
    });
    &PROGRAMS
}

impl Examples {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for path in ["examples", "BUILD.star", "imgbuild.toml", "imgbuild.lock"] {
            let copied =
                Command::new("cp").arg("-a").arg(repository.join(path)).arg(folder.path()).status().unwrap();
            assert!(copied.success() || path == "imgbuild.lock", "{path}");
        }
        Self { folder, cache: None }
    }

    /// With a cache of their own: for a test that damages it.
    pub fn with_own_cache() -> Self {
        Self { cache: Some(tempfile::tempdir().unwrap()), ..Self::new() }
    }

    /// The program, to be run in a folder of the repository.
    pub fn command(&self, below: &str, words: &[&str]) -> Command {
        let mut command = program(&self.folder.path().join(below), &self.cache(), words);
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs().display()));
        command
    }

    pub fn run(&self, below: &str, words: &[&str]) -> Said {
        said(&self.command(below, words).output().unwrap())
    }

    pub fn fails(&self, code: i32, below: &str, words: &[&str]) -> Said {
        let said = self.run(below, words);
        assert_eq!(said.code, Some(code), "imgbuild {}: {said:#?}", words.join(" "));
        said
    }

    pub fn ok(&self, below: &str, words: &[&str]) -> Said {
        let said = self.run(below, words);
        assert_eq!(said.code, Some(0), "imgbuild {}: {said:#?}", words.join(" "));
        said
    }

    /// Asserts that nothing is wrong with the cache. One test at a time: who verifies keeps others from it.
    pub fn verify(&self) {
        static ONE: Mutex<()> = Mutex::new(());
        let _turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(self.ok("", &["cache", "verify"]).stdout.contains("nothing is wrong"));
    }

    /// The cache, which most of them share.
    pub fn cache(&self) -> PathBuf {
        let folder: &Path = match &self.cache {
            Some(own) => own.path(),
            None => cache(),
        };
        folder.join("cache")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
}

/// Builds everything and looks at it as a user would. One test, since each part stands on the one before.
#[test]
fn the_examples_build_from_the_real_archive() {
    let examples = Examples::new();
    let first = examples.ok("", &["--json", "build", "//examples/debian:web"]);
    assert!(ran(&first).iter().any(|step| step.starts_with("debian")), "{:?}", ran(&first));
    assert!(ran(&examples.ok("", &["--json", "//examples/debian:web"])).is_empty());

    let layout = examples.path("imgbuild-out/examples/debian/web/web.oci");
    let inspected = Command::new("skopeo").arg("inspect").arg(format!("oci:{}", layout.display())).output();
    match inspected {
        Ok(output) => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("\"Architecture\""), "{output:?}")
        }
        Err(error) => eprintln!("SKIPPED: skopeo: {error}"),
    }

    fs_err::write(examples.path("examples/debian/index.html"), "<h1>changed</h1>\n").unwrap();
    let plan = examples.ok("", &["plan", "//examples/debian:web"]).stdout;
    assert!(plan.contains("run  file /srv/site/index.html (input src index.html changed"), "{plan}");
    let rebuilt = ran(&examples.ok("", &["--json", "//examples/debian:web"]));
    assert!(
        rebuilt.iter().all(|step| !step.starts_with("apt_install") && !step.starts_with("debian")),
        "{rebuilt:?}"
    );
    let why = examples.ok("", &["why", "//examples/debian:web"]).stdout;
    assert!(why.contains("input src index.html changed"), "{why}");
    let os = examples.ok("", &["run", "//examples/debian:web", "--", "cat", "/etc/os-release"]).stdout;
    assert!(os.contains("ID=debian"), "{os}");

    examples.ok("", &["build", "//examples/debian/..."]);
    // What needs programs of the host has tests of its own, which say so where there are none.
    let all = ["//examples/...", "-//examples/hardened/...", "-//examples/qemu-debian/..."];
    examples.ok("", &[&["test", "--"], &all[..]].concat());
    assert!(ran(&examples.ok("", &[&["--json", "test", "--"], &all[..]].concat())).is_empty());
    let flagged = examples
        .ok("", &["run", "-D", "verbose=yes", "//examples/debian:configured", "--", "cat", "/etc/log-level"]);
    assert_eq!(flagged.stdout, "debug\n");
    let index = fs_err::read_to_string(
        examples.path("imgbuild-out/examples/debian/portable/portable.oci/index.json"),
    );
    assert!(index.unwrap().contains("image.index"));

    examples.ok("", &["build", "//examples/template:all"]);
    assert!(examples.path("imgbuild-out/examples/template/server[file.readme]/readme.txt").exists());
    assert!(ran(&examples.ok("", &["--json", "build", "//examples/template:shop"])).is_empty());
    let all = ran(&examples.ok("examples/monorepo", &["--json", "build", "//:all"]));
    assert_eq!(all.iter().filter(|step| step.starts_with("apt_install")).count(), 2, "{all:?}");
    examples.ok("examples/monorepo", &["test", "//images:debian-base", "//images:python", "//services/..."]);
    examples.verify();
}
