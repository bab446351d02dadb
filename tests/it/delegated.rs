//! Builds of templates that a real `packer` carries out, with a docker daemon of their own; and those that none can.

use std::process::{Command, Stdio};

use crate::support::{Said, busybox, files, has, has_not};

/// A docker daemon of this test alone.
struct Docker {
    child: std::process::Child,
    folder: tempfile::TempDir,
}

impl Docker {
    fn start() -> Option<Self> {
        let programs = ["/usr/sbin/dockerd", "/usr/bin/docker", "/usr/bin/packer"];
        if let Some(missing) = programs.iter().find(|program| !std::path::Path::new(program).exists()) {
            eprintln!("SKIPPED: there is no {missing}; `tests/run` installs it");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: a docker daemon is started by root");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("imgbuild-docker-").tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).display().to_string();
        let log = fs_err::File::create(place("log")).unwrap().into_file();
        let child = Command::new("/usr/sbin/dockerd")
            .args(["--data-root", &place("data"), "--exec-root", &place("exec"), "-p", &place("pid")])
            .args(["-H", &format!("unix://{}", place("sock")), "--bridge", "none", "--iptables=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut docker = Self { child, folder };
        loop {
            if docker.run(&["version"]).status.success() {
                return Some(docker);
            }
            if docker.child.try_wait().unwrap().is_some() {
                let log = fs_err::read_to_string(docker.folder.path().join("log")).unwrap();
                eprintln!(
                    "SKIPPED: a docker daemon does not run here: {}",
                    log.lines().last().unwrap_or_default()
                );
                return None;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("sock").display())
    }

    fn run(&self, words: &[&str]) -> std::process::Output {
        Command::new("/usr/bin/docker").env("DOCKER_HOST", self.host()).args(words).output().unwrap()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_not_built_in_is_handed_to_a_real_packer_once() {
    let Some(docker) = Docker::start() else { return };
    let workspace = files(&[(
        "t.pkr.hcl",
        r#"
variable "word" { default = "hello" }
source "docker" "web" {
  image       = "base:1"
  pull        = false
  commit      = true
  run_command = ["-d", "-i", "-t", "--network=none", "--entrypoint=/bin/sh", "--", "{{.Image}}"]
}
source "null" "n" { communicator = "none" }
build {
  sources = ["source.docker.web", "source.null.n"]
  provisioner "shell" {
    only   = ["docker.web"]
    inline = ["echo ${var.word} > /word", "cat /word"]
  }
  provisioner "shell-local" { inline = ["echo $PACKER_BUILDER_TYPE >> trace"] }
  post-processor "docker-tag" {
    only       = ["docker.web"]
    repository = "team/web"
  }
}
"#,
    )]);
    if busybox(&workspace).is_none() {
        return;
    }
    let tar = workspace.root().join("base.tar");
    let folder = workspace.root().join("busybox");
    fs_err::create_dir_all(folder.join("tmp")).unwrap();
    let made = Command::new("tar").arg("-C").arg(&folder).arg("-cf").arg(&tar).arg(".").status().unwrap();
    assert!(made.success());
    assert!(docker.run(&["import", &tar.display().to_string(), "base:1"]).status.success());
    let build = |more: &[&str]| {
        let words = [&["build"], more, &["t.pkr.hcl"]].concat();
        let output = workspace
            .command(&words)
            .env("DOCKER_HOST", docker.host())
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .output()
            .unwrap();
        crate::support::said(&output)
    };
    let first = build(&[]);
    assert_eq!(first.code, Some(0), "{first:?}");
    has(&first, &["==> docker.web: hello", "--> docker.web: Imported Docker image: sha256:", "team/web"]);
    has(&first, &["--> null.n: Did not export anything"]);
    let image = |said: &Said| {
        let line = said.stdout.lines().find(|line| line.starts_with("--> docker.web: ")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{said:?}"))
    };
    let second = build(&[]);
    assert_eq!(second.code, Some(0), "{second:?}");
    has(
        &second,
        &["==> docker.web: packer: not run again, nothing changed", "==> null.n: shell-local: not run again"],
    );
    assert_eq!(image(&first), image(&second));
    let mut trace: Vec<_> = workspace.read("trace").lines().map(str::to_owned).collect();
    trace.sort();
    assert_eq!(trace, ["docker", "null"]);
    let third = build(&["-var", "word=other"]);
    has(&third, &["==> docker.web: other", "==> null.n: shell-local: not run again"]);
    assert_ne!(image(&first), image(&third));
    // A builder that fails is told with what the program says.
    assert!(docker.run(&["image", "rm", "-f", "base:1"]).status.success());
    let fourth = build(&["-var", "word=more"]);
    assert_eq!(fourth.code, Some(1), "{fourth:?}");
    has(&fourth, &["Build 'docker.web' errored after", "Build 'null.n' finished after"]);
}

#[test]
fn without_a_real_packer_only_what_is_built_in_runs_and_that_is_said_first() {
    let workspace = files(&[(
        "t.pkr.hcl",
        r#"
source "docker" "web" {
  image  = "base:1"
  commit = true
}
source "null" "n" { communicator = "none" }
build {
  sources = ["docker.web", "null.n"]
  provisioner "shell-local" { inline = ["echo ran >> trace"] }
}
"#,
    )]);
    let output = workspace.command(&["build", "t.pkr.hcl"]).env("PATH", "/nonexistent").output().unwrap();
    let said = crate::support::said(&output);
    assert_eq!(said.code, Some(1), "{said:?}");
    has(&said, &["the builder `docker` is not built in", "on t.pkr.hcl line 2:", "real `packer`"]);
    has(&said, &["Build 'docker.web' errored after", "Build 'null.n' finished after"]);
    assert_eq!(workspace.read("trace"), "ran\n");
}

#[test]
fn files_of_builds_that_are_handed_on_are_looked_for() {
    let workspace = files(&[
        (
            "t.pkr.hcl",
            r#"
source "docker" "web" {
  image  = "base:1"
  commit = true
}
build {
  sources = ["docker.web"]
  provisioner "shell" {
    scripts = ["there.sh", "gone.sh"]
  }
  provisioner "file" {
    source      = "nowhere/"
    destination = "/srv"
  }
  provisioner "ansible" {
    playbook_file = "site.yml"
  }
  provisioner "file" {
    source      = "later"
    destination = "/srv"
    generated   = true
  }
  provisioner "file" {
    direction   = "download"
    source      = "/etc/hostname"
    destination = "here"
  }
}
"#,
        ),
        ("there.sh", "true\n"),
    ]);
    let said = workspace.fails(1, &["validate", "t.pkr.hcl"]);
    has(
        &said,
        &[
            "there is no file or folder `gone.sh`",
            "on t.pkr.hcl line 9:",
            "there is no file or folder `nowhere/`",
            "on t.pkr.hcl line 12:",
            "there is no file or folder `site.yml`",
            "on t.pkr.hcl line 16:",
        ],
    );
    has_not(&said, &["there.sh`", "`later`", "hostname"]);
    for name in ["gone.sh", "nowhere/a", "site.yml"] {
        workspace.write(name, "");
    }
    workspace.ok(&["validate", "t.pkr.hcl"]);
}

#[test]
fn a_build_with_a_component_that_is_not_built_in_is_for_a_real_packer() {
    let template = |block: &str| {
        format!(
            "source \"null\" \"n\" {{\n  communicator = \"none\"\n}}\nbuild {{\n  sources = [\"null.n\"]\n  \
             provisioner \"shell-local\" {{\n    inline = [\"echo ran >> trace\"]\n  }}\n  {block} {{\n  }}\n}}\n"
        )
    };
    for (block, message) in [
        ("provisioner \"windows-update\"", "the provisioner `windows-update` is not built in yet"),
        ("post-processor \"docker-push\"", "the post-processor `docker-push` is not built in yet"),
    ] {
        let text = template(block);
        let workspace = files(&[("t.pkr.hcl", text.as_str())]);
        workspace.ok(&["validate", "t.pkr.hcl"]);
        let output = workspace.command(&["build", "t.pkr.hcl"]).env("PATH", "/nonexistent").output().unwrap();
        let said = crate::support::said(&output);
        assert_eq!(said.code, Some(1), "{said:?}");
        has(&said, &[message, "on t.pkr.hcl line 9:", "real `packer`"]);
        assert!(!workspace.has("trace"));
    }
}
