//! A disk that is full, and builds that are killed: nothing half-written is kept, and the next build completes.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::archive::{ALWAYS, FOREVER, Ubuntu, hello};
use crate::support::{BUSYBOX, Workspace, busybox};

/// A file system in memory over a workspace's cache; gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with the reason printed, where it may not be mounted.
    fn over_cache(workspace: &Workspace, size: &str) -> Option<Self> {
        let folder = workspace.cache();
        fs_err::create_dir_all(&folder).unwrap();
        let options = format!("size={size},mode=0755");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => {
                eprintln!(
                    "SKIPPED: a small disk cannot be mounted: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: a small disk cannot be mounted: {error}");
                None
            }
        }
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_while_packages_come_or_are_unpacked() {
    let Some(ubuntu) = Ubuntu::small() else { return };
    ubuntu.ok(&["update"]);
    fs_err::remove_dir_all(ubuntu.workspace.cache()).unwrap();
    // The packages alone have more than 20 MB, and unpacked more than 80.
    let Some(disk) = SmallDisk::over_cache(&ubuntu.workspace, "12m") else { return };
    for (size, stage) in [("12m", "cannot store"), ("48m", "in the image"), ("80m", "in the image")] {
        disk.resize(size);
        ubuntu.fails(2, &["--locked", "//:app"], &[stage, "o space", "imgbuild cache gc"]);
        assert!(!ubuntu.workspace.has("imgbuild-out/app/app.tar"), "{size}");
    }
    disk.resize("4g");
    ubuntu.ok(&["--locked", "//:app"]);
    ubuntu.is_sound();
    assert!(ubuntu.workspace.has("imgbuild-out/app/app.tar"));
}

#[test]
fn a_disk_that_a_step_fills() {
    let build = format!(
        "{BUSYBOX}image(name = \"x\", base = \":base\", steps = [shell(\"dd if=/dev/zero of=/large bs=1M count=40\")], \
         exports = [tarball(compression = \"none\")])"
    );
    let workspace = Workspace::with(&build);
    if busybox(&workspace).is_none() {
        return;
    }
    let Some(disk) = SmallDisk::over_cache(&workspace, "20m") else { return };
    // The second size takes the layer, and no tarball of it.
    for size in ["20m", "60m"] {
        disk.resize(size);
        let said = workspace.fails(2, &["//:x"]);
        assert!(
            said.stderr.contains("space") && said.stderr.contains("imgbuild cache gc"),
            "{}",
            said.stderr
        );
        assert!(workspace.ok(&["cache", "verify"]).stdout.contains("nothing is wrong"));
        assert!(!workspace.has("imgbuild-out/x/x.tar"));
    }
    disk.resize("1g");
    workspace.ok(&["//:x"]);
    assert!(workspace.has("imgbuild-out/x/x.tar"));
    assert!(workspace.ok(&["cache", "verify"]).stdout.contains("nothing is wrong"));
}

/// Builds `//:app`, and kills the program when it writes a line that has all of these parts.
fn kill_at(ubuntu: &Ubuntu, parts: &[&str]) {
    let mut child = ubuntu
        .command(&["--json", "build", "//:app"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines.by_ref().map_while(Result::ok).any(|line| {
        let hit = parts.iter().all(|part| line.contains(part));
        seen.push(line);
        hit
    });
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(found, "{parts:?} was never written: {seen:#?} {output:?}");
    ubuntu.is_sound();
}

/// The same when a file has been asked for that the server does not give.
fn kill_when_asked(ubuntu: &Ubuntu, pattern: &str) {
    ubuntu.server.fail(pattern, FOREVER, ALWAYS);
    let mut child = ubuntu.command(&["//:app"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !ubuntu.server.requests().iter().any(|path| path.contains(pattern)) {
        assert!(child.try_wait().unwrap().is_none(), "the build ended before it asked for `{pattern}`");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ubuntu.server.heal();
    ubuntu.is_sound();
}

#[test]
fn a_build_that_is_killed_in_any_stage_leaves_a_sound_cache() {
    let Some(mut ubuntu) = Ubuntu::small() else { return };
    ubuntu.archive.add(hello("1.0").script("postinst", "#!/bin/sh\necho hello is configured\n"));
    ubuntu.publish();
    kill_when_asked(&ubuntu, "InRelease");
    kill_when_asked(&ubuntu, "by-hash");
    assert!(!ubuntu.workspace.has("imgbuild.lock"));
    kill_when_asked(&ubuntu, "/dpkg_");
    kill_at(&ubuntu, &["\"message\":\"unpacking\""]);
    kill_at(&ubuntu, &["\"message\":\"configuring\""]);
    kill_at(&ubuntu, &["Setting up dpkg"]);
    kill_at(&ubuntu, &["hello is configured"]);
    kill_at(&ubuntu, &["action_started", "tarball"]);
    ubuntu.ok(&["//:app"]);
    assert!(ubuntu.workspace.has("imgbuild-out/app/app.tar"));
    ubuntu.ok(&["cleanup"]);
    assert!(ubuntu.ok(&["cleanup"]).stderr.contains("no run has left anything"));
    ubuntu.is_sound();
}
