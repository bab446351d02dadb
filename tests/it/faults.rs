//! Wrong input and things that break: one clear message each, and nothing lost.

use std::io::BufRead as _;
use std::time::Duration;

use crate::support::{BUSYBOX, Workspace, busybox};

fn broken(build: &str) -> String {
    let workspace = Workspace::with(build);
    workspace.fails(1, &["//..."]).stderr
}

fn on_busybox(build: &str) -> Option<Workspace> {
    let workspace = Workspace::with(&format!("{BUSYBOX}{build}"));
    busybox(&workspace)?;
    Some(workspace)
}

#[test]
fn mistakes_in_a_build_file_are_shown_where_they_are() {
    for (build, parts) in [
        ("imgae(name = \"x\")", vec!["BUILD.star:1:1", "imgae", "did you mean `image`"]),
        ("image(name = \"x\", sorce = scratch())", vec!["BUILD.star:1", "sorce", "did you mean `source`"]),
        ("image(name = \"x\", base = \":y\")", vec!["there is no target or file `//:y`"]),
        ("load(\"//lib/none.star\", \"x\")", vec!["BUILD.star:1", "none.star"]),
        ("image(name = 3, source = scratch())", vec!["BUILD.star:1"]),
        (
            "image(name = \"x\", source = scratch(), steps = [shell(\"true\", usr = \"me\")])",
            vec!["usr", "did you mean `user`"],
        ),
        (
            "image(name = \"a\", base = \":b\")\nimage(name = \"b\", base = \":a\")",
            vec!["in a circle", "`//:a` -> `//:b` -> `//:a`"],
        ),
        (
            "image(name = \"x\", source = scratch(), steps = [file(\"none.txt\", \"/x\")])",
            vec!["there is no target or file `//:none.txt`"],
        ),
        ("image(name = \"x\", source = scratch(),", vec!["BUILD.star"]),
    ] {
        let text = broken(build);
        for part in parts {
            assert!(text.contains(part), "{build}\nlacks `{part}`:\n{text}");
        }
    }
}

#[test]
fn a_folder_without_a_workspace_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        crate::support::program(folder.path(), &folder.path().join("cache"), &["//..."]).output().unwrap();
    let said = crate::support::said(&output);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("imgbuild.toml"), "{}", said.stderr);
}

#[test]
fn a_failing_step_says_how_it_ended_and_can_be_entered() {
    let Some(workspace) = on_busybox(
        "image(name = \"x\", base = \":base\", steps = [shell([\"echo before\", \"echo kept > /kept\", \"exit 7\"])])",
    ) else {
        return;
    };
    let said = workspace.fails(1, &["//:x"]);
    assert!(said.stderr.contains("exit code 7"), "{}", said.stderr);
    assert!(said.stderr.contains("before"), "{}", said.stderr);
    assert!(said.stderr.contains("imgbuild shell --failed //:x"), "{}", said.stderr);
    assert!(workspace.ok(&["log", "//:x"]).stdout.contains("before"));
    let mut shell = workspace.command(&["shell", "--failed", "//:x"]);
    let mut child = shell
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"cat /kept\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "kept\n");
    let said = workspace.fails(1, &["-D", "mode=x", "//:x"]);
    assert!(said.stderr.contains("imgbuild shell --failed //:x -D mode=x"), "{}", said.stderr);
}

#[test]
fn a_step_that_takes_too_long_is_ended() {
    let Some(workspace) =
        on_busybox("image(name = \"x\", base = \":base\", steps = [shell(\"sleep 60\", timeout = \"1s\")])")
    else {
        return;
    };
    let said = workspace.fails(1, &["//:x"]);
    assert!(said.stderr.contains("longer than its `timeout` of 1 s"), "{}", said.stderr);
}

#[test]
fn a_step_cannot_write_outside_nor_reach_the_network() {
    let Some(workspace) = on_busybox(
        r#"image(name = "x", base = ":base", steps = [shell([
            "test ! -e /work",
            "if wget -q -T 2 -O - http://127.0.0.1:1/ 2>/dev/null; then exit 1; fi",
            "if mount -t tmpfs none /tmp 2>/dev/null; then exit 1; fi",
            "test $(id -u) = 0",
            "test $(ls /sys | head -n 1 | tr -d '\n')x = x",
        ])])"#,
    ) else {
        return;
    };
    workspace.ok(&["//:x"]);
}

#[test]
fn a_newer_cache_and_a_damaged_lock_are_refused() {
    let workspace = Workspace::with("image(name = \"x\", source = scratch())");
    workspace.ok(&["//:x"]);
    workspace.write("imgbuild.lock", "{\n  \"version\": 1,\n<<<<<<<\n");
    let said = workspace.fails(1, &["//:x"]);
    assert!(said.stderr.contains("imgbuild.lock:3") && said.stderr.contains("damaged"), "{}", said.stderr);
    workspace.write("imgbuild.lock", "{\"version\": 99}\n");
    let said = workspace.fails(1, &["//:x"]);
    assert!(said.stderr.contains("its format is 99"), "{}", said.stderr);
}

#[test]
fn locked_refuses_to_add_a_pin() {
    let workspace = Workspace::with("image(name = \"x\", source = debian(\"stable\"))");
    let said = workspace.fails(1, &["build", "--locked", "//:x"]);
    assert!(said.stderr.contains("`imgbuild.lock` does not say what `debian stable"), "{}", said.stderr);
}

#[test]
fn a_killed_build_leaves_a_sound_cache() {
    let steps: String = (0..12).map(|n| format!("shell(\"echo {n} > /{n}; sleep 0.05\"),")).collect();
    let Some(workspace) = on_busybox(&format!("image(name = \"x\", base = \":base\", steps = [{steps}])"))
    else {
        return;
    };
    for pause in [30, 120, 260, 430, 700] {
        let mut child = workspace
            .command(&["//:x"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        let verified = workspace.ok(&["cache", "verify"]);
        assert!(verified.stdout.contains("nothing is wrong"), "{verified:?}");
    }
    workspace.ok(&["//:x"]);
    workspace.ok(&["cleanup"]);
    assert!(workspace.ok(&["cleanup"]).stderr.contains("no run has left anything"));
}

#[test]
fn two_processes_build_at_once() {
    let Some(workspace) = on_busybox(
        "image(name = \"x\", base = \":base\", steps = [shell(\"sleep 1; echo x > /x\")])\n\
         image(name = \"y\", base = \":base\", steps = [shell(\"sleep 1; echo x > /x\"), shell(\"echo y > /y\")])",
    ) else {
        return;
    };
    let spawn = |target: &str| {
        workspace
            .command(&["--json", target])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (one, other) = (spawn("//:x"), spawn("//:y"));
    let outputs = [one.wait_with_output().unwrap(), other.wait_with_output().unwrap()];
    let mut slept = 0;
    for output in &outputs {
        assert!(output.status.success(), "{output:?}");
        slept += crate::support::ran(&crate::support::said(output))
            .iter()
            .filter(|step| step.contains("sleep 1"))
            .count();
    }
    assert_eq!(slept, 1, "the common step ran once");
}

#[test]
fn an_interrupt_ends_a_build_cleanly() {
    let Some(workspace) =
        on_busybox("image(name = \"x\", base = \":base\", steps = [shell(\"echo begun; sleep 600\")])")
    else {
        return;
    };
    workspace.ok(&["//:base"]);
    let mut child = workspace
        .command(&["--json", "//:x"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Its end would close the pipe, so this comes back whatever happens.
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("\"begun\"")), "the step did not begin");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(workspace.ok(&["cache", "verify"]).stdout.contains("nothing is wrong"));
    assert!(workspace.ok(&["cleanup"]).stderr.contains("no run has left anything"));
}

#[test]
fn a_folder_is_exported_with_owners_and_links() {
    let Some(workspace) = on_busybox(
        "image(name = \"x\", base = \":base\", steps = [mkdir(\"/home/app\", owner = \"app:app\")], exports = [directory()])",
    ) else {
        return;
    };
    workspace.ok(&["//:x"]);
    workspace.ok(&["//:x"]);
    assert!(workspace.has("imgbuild-out/x/x.rootfs/bin/busybox"));
    let link = std::fs::read_link(workspace.root().join("imgbuild-out/x/x.rootfs/bin/sh")).unwrap();
    assert_eq!(link.to_str(), Some("busybox"));
}

/// Waits for what a file holds; whoever writes it does so soon after it was started.
fn awaited(path: &std::path::Path) -> String {
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    loop {
        match fs_err::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => assert!(std::time::Instant::now() < deadline, "`{}` does not come", path.display()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn runs(pid: &str) -> bool {
    let Ok(stat) = fs_err::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, Some(Some('Z' | 'X')))
}

#[test]
fn a_command_on_the_host_outlives_a_kill_until_the_cleanup() {
    let workspace = Workspace::new();
    let pid = workspace.root().join("pid");
    let command = format!("sleep 1000 & echo $! > {}; wait", pid.display());
    workspace.write(
        "BUILD.star",
        &format!("genrule(name = \"left\", host = True, cmd = {command:?}, outs = [\"never\"])\n"),
    );
    let mut child = workspace
        .command(&["//:left"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let sleeper = awaited(&pid);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(runs(&sleeper), "nothing ends with a program that was killed");
    let said = workspace.ok(&["cleanup"]);
    assert!(said.stdout.contains("process ") && said.stdout.contains(": undone"), "{said:#?}");
    assert!(!runs(&sleeper));
    assert!(!workspace.ok(&["cleanup"]).stdout.contains("process "), "once is enough");
}

#[test]
fn what_a_command_on_the_host_starts_ends_with_it() {
    let workspace = Workspace::new();
    let pid = workspace.root().join("pid");
    for (end, code) in [("echo made > $OUT/file", 0), ("exit 5", 1)] {
        let command = format!("sleep 1000 > /dev/null 2>&1 & echo $! > {}; {end}", pid.display());
        workspace.write(
            "BUILD.star",
            &format!("genrule(name = \"x\", host = True, cmd = {command:?}, outs = [\"file\"])\n"),
        );
        let said = workspace.run(&["//:x"]);
        assert_eq!(said.code, Some(code), "{said:#?}");
        assert!(!runs(&awaited(&pid)), "{end}");
        assert!(!workspace.ok(&["cleanup"]).stdout.contains("process "));
    }
    let command = format!("sleep 1000 & echo $! > {}; wait", pid.display());
    fs_err::remove_file(&pid).unwrap();
    let build = format!(
        "genrule(name = \"x\", host = True, cmd = {command:?}, outs = [\"file\"], timeout = \"2s\")\n"
    );
    workspace.write("BUILD.star", &build);
    let said = workspace.fails(1, &["//:x"]);
    assert!(said.stderr.contains("longer than its `timeout`"), "{}", said.stderr);
    // It was killed before the program ended, and is gone as soon as the kernel comes to it.
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while runs(&awaited(&pid)) {
        assert!(std::time::Instant::now() < deadline, "what ran out of time is ended with its children");
        std::thread::sleep(Duration::from_millis(20));
    }
}
