//! Steps as provisioning tools have them: lines that run scripts, retries, exit codes, commands on the host between steps,
//! files that come out in the middle of a chain.

use crate::support::{BUSYBOX, Workspace, busybox, ran};

fn on_busybox(build: &str) -> Option<Workspace> {
    let workspace = Workspace::with(&format!("{BUSYBOX}{build}"));
    busybox(&workspace)?;
    Some(workspace)
}

/// The kinds of the steps that ran, without what made the base.
fn kinds(ran: &[String]) -> Vec<&str> {
    ran.iter().filter_map(|description| description.split(' ').next()).collect()
}

#[test]
fn a_line_runs_the_script_with_its_variables() {
    let Some(workspace) = on_busybox(
        r#"
image(name = "app", base = ":base", exports = [], steps = [
    shell(
        ["echo \"$NAME\" > /seen", "echo $0 > /how"],
        env = {"NAME": "it's"},
        execute_command = "chmod +x {{ .Path }} && {{ .Vars }} sh -eu '{{ .Path }}'",
    ),
    shell(["echo \"${NAME-}\" >> /seen"], execute_command = "sh {{ .Path }}", env = {"NAME": "not passed"}),
    shell("echo $NAME >> /seen", env = {"NAME": "sourced"}, execute_command = ". {{ .EnvVarFile }} && sh {{ .Path }}"),
])
image(name = "bad", base = ":base", exports = [], steps = [shell("true", execute_command = "sh {{ .Nothing }}")])
"#,
    ) else {
        return;
    };
    workspace.ok(&["//:app"]);
    assert_eq!(workspace.ok(&["run", "//:app", "--", "cat", "/seen"]).stdout, "it's\n\nsourced\n");
    let error = workspace.fails(1, &["//:bad"]).stderr;
    assert!(error.contains("`execute_command` cannot be rendered"), "{error}");
    assert!(error.contains("{{ .Path }}"), "{error}");
}

#[test]
fn exit_codes_that_are_named_are_success() {
    let Some(workspace) = on_busybox(
        r#"
image(name = "good", base = ":base", exports = [], steps = [shell("echo x > /x; exit 3", valid_exit_codes = [0, 3])])
image(name = "bad", base = ":base", exports = [], steps = [shell("exit 0", valid_exit_codes = [3])])
image(name = "on", base = ":base", exports = [], steps = [
    shell("echo partly > /x; exit 4", continue_on_error = True),
    shell("cat /x > /y"),
])
"#,
    ) else {
        return;
    };
    workspace.ok(&["//:good"]);
    let error = workspace.fails(1, &["//:bad"]).stderr;
    assert!(error.contains("exit code 0"), "{error}");
    workspace.ok(&["//:on"]);
    assert_eq!(workspace.ok(&["run", "//:on", "--", "cat", "/y"]).stdout, "partly\n");
}

#[test]
fn a_step_is_tried_again_from_its_start() {
    let Some(workspace) = on_busybox(
        r#"
image(name = "app", base = ":base", exports = [], steps = [
    shell_local("echo x >> tries; test $(wc -l < tries) -ge 3", max_retries = 2),
    shell("echo x > /half; exit 1", max_retries = 1, continue_on_error = True),
    shell("cat /half > /whole"),
])
image(name = "never", base = ":base", exports = [], steps = [shell("echo no; exit 7", max_retries = 2)])
"#,
    ) else {
        return;
    };
    workspace.ok(&["//:app"]);
    assert_eq!(workspace.read("tries"), "x\nx\nx\n");
    let said = workspace.fails(1, &["//:never"]);
    let output = workspace.ok(&["log", "//:never"]).stdout;
    assert_eq!(output.matches("no\n").count(), 3, "{output}");
    assert!(output.contains("2 tries left") && output.contains("1 try left"), "{output}");
    assert!(said.stderr.contains("exit code 7"), "{}", said.stderr);
}

#[test]
fn commands_on_the_host_run_where_they_stand_and_are_skipped_with_the_rest() {
    let Some(workspace) = on_busybox(
        r#"
image(name = "app", base = ":base", exports = [tarball(compression = "none")], steps = [
    shell("echo one > /one"),
    shell_local(["echo local >> trace", "test \"$STAGE\" = after-one"], env = {"STAGE": "after-one"}),
    download("/one", "got/one"),
    shell_local("cat got/one >> trace"),
    shell("cat /one > /two"),
])
"#,
    ) else {
        return;
    };
    workspace.ok(&["//:app"]);
    assert_eq!(workspace.read("trace"), "local\none\n");
    assert_eq!(workspace.read("got/one"), "one\n");

    // Nothing has changed: nothing runs, but what the image gives out is there.
    fs_err::remove_file(workspace.root().join("got/one")).unwrap();
    let again = workspace.ok(&["//:app", "--json"]);
    assert!(ran(&again).is_empty(), "{again:?}");
    assert_eq!(workspace.read("trace"), "local\none\n");
    assert_eq!(workspace.read("got/one"), "one\n");

    // Another command on the host runs, and what stands on it: it may have made what comes next.
    let build = workspace.read("BUILD.star");
    workspace.write("BUILD.star", &build.replace("echo local >>", "echo other >>"));
    let said = workspace.ok(&["//:app", "--json"]);
    assert_eq!(kinds(&ran(&said)), ["shell_local", "download", "shell_local", "shell"], "{said:?}");
    assert_eq!(workspace.read("trace"), "local\none\nother\none\n");

    // A step below it runs, and so it runs.
    let build = workspace.read("BUILD.star");
    workspace.write("BUILD.star", &build.replace("echo one > /one", "echo 1 > /one"));
    workspace.ok(&["//:app"]);
    assert_eq!(workspace.read("trace"), "local\none\nother\none\nother\n1\n");
    assert_eq!(workspace.read("got/one"), "1\n");
}

#[test]
fn what_always_runs_runs_and_stops_no_hit_above_it() {
    let Some(workspace) = on_busybox(
        r#"
image(name = "app", base = ":base", exports = [], steps = [
    shell("echo one > /one"),
    shell_local("echo x >> trace", always = True),
    shell("cat /one > /two"),
])
"#,
    ) else {
        return;
    };
    workspace.ok(&["//:app"]);
    let again = workspace.ok(&["//:app", "--json"]);
    assert_eq!(kinds(&ran(&again)), ["shell_local"], "{again:?}");
    assert_eq!(workspace.read("trace"), "x\nx\n");
}

#[test]
fn what_a_command_on_the_host_makes_is_what_comes_next() {
    let Some(workspace) = on_busybox(
        r#"
image(name = "app", base = ":base", exports = [], steps = [
    shell_local("echo one > made"),
    file("made", "/made"),
    sleep("1s"),
    shell_local("cat made >> trace"),
])
"#,
    ) else {
        return;
    };
    workspace.write("made", "before\n");
    let made = || workspace.ok(&["run", "//:app", "--", "cat", "/made"]).stdout;
    let build = workspace.read("BUILD.star");
    for (word, expected) in [("one", "one\n"), ("two", "two\n"), ("one", "one\n")] {
        workspace.write("BUILD.star", &build.replace("echo one", &format!("echo {word}")));
        workspace.ok(&["//:app"]);
        assert_eq!(made(), expected);
    }
    assert_eq!(workspace.read("trace"), "one\ntwo\none\n");
    assert!(ran(&workspace.ok(&["//:app", "--json"])).is_empty());
}

#[test]
fn folders_and_globs_come_out_and_links_stay_inside() {
    let Some(workspace) = on_busybox(
        r#"
image(name = "app", base = ":base", exports = [], steps = [
    shell(["mkdir -p /out/d", "echo a > /out/a.txt", "echo b > /out/d/b.txt", "ln -s /out/a.txt /out/link", "ln -s ../../../../etc/hostname /out/d/up"]),
    download("/out", "whole"),
    download("/out/*.txt", "texts/"),
    download("/out/link", "linked"),
])
image(name = "none", base = ":base", exports = [], steps = [download("/nothing", "x")])
"#,
    ) else {
        return;
    };
    workspace.ok(&["//:app"]);
    assert_eq!(workspace.read("whole/a.txt"), "a\n");
    assert_eq!(workspace.read("whole/d/b.txt"), "b\n");
    assert_eq!(workspace.read("whole/link"), "a\n");
    assert!(!workspace.has("whole/d/up"), "a link led out of the image");
    assert_eq!(workspace.read("texts/a.txt"), "a\n");
    assert_eq!(workspace.read("linked"), "a\n");
    let error = workspace.fails(1, &["//:none"]).stderr;
    assert!(error.contains("`/nothing` matches nothing in the image"), "{error}");
}

#[test]
fn a_breakpoint_needs_a_terminal_unless_it_is_disabled() {
    let Some(workspace) = on_busybox(
        r#"
image(name = "stops", base = ":base", exports = [], steps = [breakpoint("look around")])
image(name = "goes", base = ":base", exports = [], steps = [breakpoint(disable = True), sleep("1s"), shell("true")])
"#,
    ) else {
        return;
    };
    let error = workspace.fails(2, &["//:stops"]).stderr;
    assert!(error.contains("no terminal to ask on: look around"), "{error}");
    workspace.ok(&["//:goes"]);
}
