//! Building, planning, explaining, entering and testing, on a tree that is there without a network.

use crate::support::{BUSYBOX, OrdinaryUser, Workspace, busybox, ran};

const WEB: &str = r#"
image(
    name = "web",
    base = ":base",
    steps = [
        shell("echo one > /one"),
        file("index.html", "/srv/index.html"),
        shell("cat /one /srv/index.html > /both"),
        env(GREETING = "hello"),
        cmd(["/bin/cat", "/both"]),
    ],
    exports = [oci(), tarball(compression = "none")],
    tests = [
        file_exists("/both", content_matches = "one"),
        command_succeeds(["/bin/cat", "/one"], stdout_matches = "^one"),
    ],
)
"#;

fn web() -> Option<Workspace> {
    let workspace = Workspace::with(&format!("{BUSYBOX}{WEB}"));
    workspace.write("index.html", "first\n");
    busybox(&workspace)?;
    Some(workspace)
}

#[test]
fn a_build_makes_artifacts_and_the_next_one_has_nothing_to_do() {
    let Some(workspace) = web() else { return };
    let first = workspace.ok(&["--json", "build", "//:web"]);
    assert!(ran(&first).len() >= 7, "{:?}", ran(&first));
    for path in [
        "imgbuild-out/web/web.oci/index.json",
        "imgbuild-out/web/web.tar",
        "imgbuild-out/web/web.tar.provenance.json",
    ] {
        assert!(workspace.has(path), "{path}");
    }
    let second = workspace.ok(&["--json", "//:web"]);
    assert!(ran(&second).is_empty(), "{:?}", ran(&second));
    fs_err::remove_dir_all(workspace.root().join("imgbuild-out")).unwrap();
    workspace.ok(&["//:web"]);
    assert!(workspace.has("imgbuild-out/web/web.tar"), "an artifact that was removed is written again");
}

#[test]
fn a_change_runs_what_is_above_it_and_says_why() {
    let Some(workspace) = web() else { return };
    workspace.ok(&["//:web"]);
    workspace.write("index.html", "second\n");
    let plan = workspace.ok(&["plan", "//:web"]).stdout;
    assert!(plan.contains("hit  shell echo one > /one"), "{plan}");
    assert!(
        plan.contains("run  file /srv/index.html (input src index.html changed from index.html"),
        "{plan}"
    );
    let rebuilt = ran(&workspace.ok(&["--json", "//:web"]));
    assert!(rebuilt.contains(&"file /srv/index.html".to_owned()), "{rebuilt:?}");
    assert!(!rebuilt.iter().any(|step| step.contains("echo one")), "{rebuilt:?}");
    let why = workspace.ok(&["why", "//:web"]).stdout;
    assert!(
        why.contains("//:web ran: file /srv/index.html") && why.contains("input src index.html changed"),
        "{why}"
    );
}

#[test]
fn a_step_that_leaves_the_same_bytes_stops_the_rebuild() {
    let Some(workspace) = web() else { return };
    workspace.ok(&["//:web"]);
    let build = workspace.read("BUILD.star").replace("echo one > /one", "echo one >/one # the same");
    workspace.write("BUILD.star", &build);
    let rebuilt = ran(&workspace.ok(&["--json", "//:web"]));
    assert!(rebuilt.iter().any(|step| step.contains("the same")), "{rebuilt:?}");
    assert!(!rebuilt.iter().any(|step| step.contains("cat /one")), "{rebuilt:?}");
}

#[test]
fn a_throw_away_copy_can_be_entered() {
    let Some(workspace) = web() else { return };
    let said =
        workspace.ok(&["run", "//:web", "--", "/bin/sh", "-c", "cat /both; echo $GREETING; echo new > /new"]);
    assert_eq!(said.stdout, "one\nfirst\nhello\n");
    assert_eq!(workspace.fails(3, &["run", "//:web", "--", "/bin/sh", "-c", "exit 3"]).stdout, "");
    assert_eq!(workspace.ok(&["run", "//:web"]).stdout, "one\nfirst\n", "the image's own command");
    workspace.fails(1, &["run", "//:web", "--", "/bin/cat", "/new"]);
}

#[test]
fn tests_run_once_and_fail_with_what_is_wrong() {
    let Some(workspace) = web() else { return };
    let first = ran(&workspace.ok(&["--json", "test", "//..."]));
    assert!(first.iter().any(|step| step.starts_with("image_test")), "{first:?}");
    assert!(ran(&workspace.ok(&["--json", "test", "//..."])).is_empty());
    let build =
        workspace.read("BUILD.star").replace("content_matches = \"one\"", "content_matches = \"two\"");
    workspace.write("BUILD.star", &build);
    let said = workspace.fails(1, &["test", "//:web"]);
    assert!(said.stderr.contains("1 of 2 checks failed"), "{}", said.stderr);
    assert!(said.stderr.contains("its text does not match `two`"), "{}", said.stderr);
}

#[test]
fn queries_answer_in_each_form() {
    let Some(workspace) = web() else { return };
    assert_eq!(
        workspace.ok(&["query", "deps(//:web)"]).stdout,
        "//:base\n//:busybox\n//:index.html\n//:web\n"
    );
    assert_eq!(workspace.ok(&["query", "rdeps(//..., //:base)"]).stdout, "//:base\n//:web\n");
    assert!(workspace.ok(&["query", "--output", "dot", "deps(//:web)"]).stdout.starts_with("digraph"));
    assert!(workspace.ok(&["query", "--output", "json", "//:web"]).stdout.contains("\"kind\": \"image\""));
}

#[test]
fn images_share_what_they_have_in_common() {
    let Some(workspace) = web() else { return };
    let build = workspace.read("BUILD.star");
    let other = "image(name = \"other\", base = \":base\", steps = [shell(\"echo one > /one\"), shell(\"echo 2 > /2\")])\n";
    workspace.write("BUILD.star", &format!("{build}{other}"));
    let all = ran(&workspace.ok(&["--json", "//..."]));
    assert_eq!(all.iter().filter(|step| step.contains("echo one")).count(), 1, "{all:?}");
}

#[test]
fn the_cache_is_sound_and_can_be_emptied() {
    let Some(workspace) = web() else { return };
    workspace.ok(&["//:web"]);
    assert!(workspace.ok(&["cache", "verify"]).stdout.contains("nothing is wrong"));
    assert!(workspace.ok(&["cache", "stats"]).stdout.contains("layers"));
    workspace.ok(&["cache", "gc", "--max-size", "0B"]);
    assert!(workspace.ok(&["cache", "verify"]).stdout.contains("nothing is wrong"));
    workspace.ok(&["//:web"]);
    workspace.ok(&["clean"]);
    assert!(!workspace.has("imgbuild-out"));
    workspace.ok(&["cleanup"]);
}

#[test]
fn two_builds_are_equal() {
    let Some(workspace) = web() else { return };
    let said = workspace.ok(&["build", "--check", "//:web"]);
    assert!(said.stderr.contains("both builds are equal"), "{}", said.stderr);
    let build = workspace.read("BUILD.star").replace("echo one > /one", "head -c 8 /dev/urandom > /one");
    workspace.write("BUILD.star", &build);
    let said = workspace.fails(1, &["build", "--check", "//:web"]);
    assert!(said.stderr.contains("is not reproducible") && said.stderr.contains("/one"), "{}", said.stderr);
}

#[test]
fn an_image_without_exports_is_built_to_its_last_layer() {
    let build = format!(
        "{BUSYBOX}image(name = \"x\", base = \":base\", steps = [shell(\"echo said; echo x > /x\")], exports = [])"
    );
    let workspace = Workspace::with(&build);
    if busybox(&workspace).is_none() {
        return;
    }
    let rebuilt = ran(&workspace.ok(&["--json", "//:x"]));
    assert!(rebuilt.iter().any(|step| step.contains("echo x")), "{rebuilt:?}");
    assert!(ran(&workspace.ok(&["--json", "//:x"])).is_empty());
    assert!(workspace.ok(&["log", "//:x"]).stdout.contains("said"));
}

#[test]
fn a_genrule_makes_files_with_an_images_tools() {
    let Some(workspace) = web() else { return };
    let build = workspace.read("BUILD.star");
    let rules = r#"
genrule(
    name = "greeting",
    image = ":base",
    srcs = ["index.html"],
    cmd = "cat $SRCS/index.html > $OUT/greeting.txt; echo made >> $OUT/greeting.txt",
    outs = ["greeting.txt"],
)

image(
    name = "greeted",
    base = ":base",
    steps = [file(":greeting", "/greeting.txt")],
    exports = [tarball(compression = "none")],
    tests = [file_exists("/greeting.txt", content_matches = "first\nmade")],
)
"#;
    workspace.write("BUILD.star", &format!("{build}{rules}"));
    workspace.ok(&["//:greeting"]);
    assert_eq!(workspace.read("imgbuild-out/greeting/greeting.txt"), "first\nmade\n");
    workspace.ok(&["test", "//:greeted"]);
}

#[test]
fn an_ordinary_user_makes_the_same_layers() {
    let Some(workspace) = web() else { return };
    let Some(user) = OrdinaryUser::new() else { return };
    let other = web().unwrap();
    user.give(&other);
    let output = user.command(&other, "022", &["//:web"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    workspace.ok(&["//:web"]);
    let digest =
        |workspace: &Workspace| fs_err::read(workspace.root().join("imgbuild-out/web/web.tar")).unwrap();
    assert!(digest(&workspace) == digest(&other), "root and an ordinary user made different tarballs");
}
