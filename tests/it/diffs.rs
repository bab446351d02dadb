//! Images compared: `imgbuild diff`, and `image_diff` as a test.

use std::path::Path;

use serde_json::Value;

use crate::support::{BUSYBOX, OrdinaryUser, Workspace, busybox, has, has_not, said};

/// Two images that differ in a file, a package, a user, a unit and a right.
const IMAGES: &str = r##"
STATUS = "Package: base-files\nStatus: install ok installed\nArchitecture: amd64\nVersion: 12.4\n\n"
WEB = "Package: web\nStatus: install ok installed\nArchitecture: all\nVersion: 2.0-1\n\n"
UNIT = "[Service]\nExecStart=/usr/bin/web\n[Install]\nWantedBy=multi-user.target\n"

image(
    name = "one",
    base = ":base",
    steps = [
        file(content = STATUS, dest = "/var/lib/dpkg/status"),
        file(content = UNIT, dest = "/usr/lib/systemd/system/web.service"),
        file(content = "hello\nworld\n", dest = "/etc/motd"),
        env({"MODE": "slow"}),
    ],
    exports = EXPORTS,
)

image(
    name = "two",
    base = ":one",
    steps = [
        file(content = STATUS + WEB, dest = "/var/lib/dpkg/status"),
        file(content = "/.\n/usr\n/usr/bin\n/usr/bin/web\n", dest = "/var/lib/dpkg/info/web.list"),
        file(content = "#!/bin/sh\n", dest = "/usr/bin/web", mode = "4755"),
        user("web", uid = 990),
        systemd_unit("web.service"),
        file(content = "hello\nthere\n", dest = "/etc/motd"),
        env({"MODE": "fast"}),
    ],
    exports = [],
)
"##;

fn workspace(exports: &str, more: &str) -> Option<Workspace> {
    let workspace = Workspace::with(&format!("{BUSYBOX}EXPORTS = [{exports}]\n{IMAGES}{more}"));
    busybox(&workspace)?;
    Some(workspace)
}

#[test]
fn two_targets_differ_in_what_was_done_to_one() {
    let Some(workspace) = workspace("", "") else { return };
    let found = workspace.ok(&["diff", "//:one", "//:two"]);
    has(
        &found,
        &[
            "//:one → //:two",
            "+ web  2.0-1",
            "+ web  uid 990",
            "~ web.service  disabled → enabled (multi-user.target)",
            "+ /usr/bin/web  set-uid root",
            "~ env.MODE  slow → fast",
            "~ /etc/motd  content",
            "of 1 package that changed",
        ],
    );
    has_not(&found, &["/bin/busybox", "\x1b["]);
    let all = workspace.ok(&["diff", "--all", "--text", "//:one", "//:two"]);
    has(&all, &["+ /usr/bin/web  10 B, mode 4755", "-world", "+there", "~ /var/lib/dpkg/status"]);
    let coloured = workspace.ok(&["--color=always", "diff", "//:one", "//:two"]);
    has(&coloured, &["\x1b["]);
    // The other way round.
    has(
        &workspace.ok(&["diff", "//:two", "//:one"]),
        &["- web  2.0-1", "enabled (multi-user.target) → disabled"],
    );

    workspace.fails(1, &["diff", "--exit-code", "//:one", "//:two"]);
    let same = workspace.ok(&["diff", "--exit-code", "//:one", "//:one"]);
    has(&same, &["no differences"]);
    let below = workspace.ok(&["diff", "//:one", "//:two", "--path", "/etc", "--ignore", "/etc/group*"]);
    has(&below, &["/etc/motd"]);
    has_not(&below, &["/etc/group", "/usr/bin/web", "Packages"]);
}

#[test]
fn a_target_is_its_own_export_in_each_form() {
    let forms = r#"oci(), tarball(), tarball(compression = "none"), directory(),
        disk("raw", bootloader = "none", size = "64M"), disk("qcow2", bootloader = "none", size = "64M"),
        disk("vmdk", bootloader = "none", size = "64M"), disk("vhd", bootloader = "none", size = "64M"),
        disk("vhdx", bootloader = "none", size = "64M")"#;
    let Some(workspace) = workspace(forms, "") else { return };
    workspace.ok(&["build", "//:one"]);
    for form in ["oci", "tar.zst", "tar", "rootfs"] {
        let path = format!("imgbuild-out/one/one.{form}");
        let same = workspace.ok(&["diff", "--exit-code", "//:one", &path]);
        has(&same, &["no differences"]);
    }
    // A disk has what a machine mounts file systems on, and nothing else more.
    for form in ["raw", "qcow2", "vmdk", "vhd", "vhdx"] {
        let path = format!("imgbuild-out/one/one.{form}");
        let found = workspace.ok(&["diff", "--format", "json", "//:one", &path]);
        let report: Value = serde_json::from_str(&found.stdout).unwrap();
        let files: Vec<String> = report["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| format!("{} {}", file["change"].as_str().unwrap(), file["path"].as_str().unwrap()))
            .collect();
        assert_eq!(files, ["added /dev", "added /proc", "added /run", "added /sys"], "{form}");
        let ignored = ["/dev", "/proc", "/run", "/sys"].map(|path| ["--ignore", path]).concat();
        workspace.ok(&[&["diff", "--exit-code", "//:one", &path][..], &ignored].concat());
    }
    // Two that lie on the host need no workspace.
    let out = workspace.root().join("imgbuild-out/one");
    let elsewhere = tempfile::tempdir().unwrap();
    let paths = ["one.oci", "one.qcow2"].map(|name| out.join(name).display().to_string());
    let output =
        crate::support::program(elsewhere.path(), &workspace.cache(), &["diff", &paths[0], &paths[1]])
            .output()
            .unwrap();
    let found = said(&output);
    assert_eq!(found.code, Some(0), "{found:?}");
    has(&found, &["+ /dev  folder"]);
    assert!(found.stderr.contains("no image configuration"), "{found:?}");
}

#[test]
fn the_last_result_of_a_target_is_compared_with_what_it_is() {
    let Some(workspace) = workspace("", "") else { return };
    let none = workspace.fails(1, &["diff", "--last", "//:one"]);
    assert!(none.stderr.contains("no other result of `//:one`"), "{none:?}");
    let build = workspace.read("BUILD.star");
    workspace.write("BUILD.star", &build.replace("world", "universe"));
    let found = workspace.ok(&["diff", "--last", "//:one", "--text"]);
    has(&found, &["//:one before → //:one", "1 changed", "-world", "+universe"]);
    // Back again: the other is the one in between.
    workspace.write("BUILD.star", &build);
    has(&workspace.ok(&["diff", "--last", "//:one", "--text"]), &["-universe", "+world"]);
    let path = workspace.fails(1, &["diff", "--last", "BUILD.star"]);
    assert!(path.stderr.contains("is no target"), "{path:?}");
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap_or_else(|| panic!("{value:#}")).keys().cloned().collect()
}

#[test]
fn the_form_of_the_report_has_not_moved() {
    let Some(workspace) = workspace("", "") else { return };
    let found = workspace.ok(&["diff", "--text", "--format", "json", "//:one", "//:two"]);
    let report: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!((&report["version"], &report["equal"]), (&1.into(), &false.into()));
    for sort in ["files", "packages", "users", "groups", "units", "privileges", "configuration"] {
        assert!(!report[sort].as_array().unwrap().is_empty(), "{sort}: {report:#}");
    }
    let fields = [
        "version",
        "equal",
        "before",
        "after",
        "summary",
        "packages",
        "users",
        "groups",
        "units",
        "privileges",
        "system",
        "configuration",
        "sizes",
        "files",
        "notes",
    ];
    assert_eq!(keys(&report), fields);
    assert_eq!(keys(&report["summary"]["files"]), ["added", "removed", "changed"]);
    assert_eq!(keys(&report["sizes"]), ["before", "after", "folders"]);
    for (sort, fields) in [
        ("packages", &["manager", "version", "architecture"][..]),
        ("users", &["uid", "gid", "home", "shell", "groups", "password"]),
        ("groups", &["gid", "members"]),
        ("units", &["state", "wanted_by"]),
        ("privileges", &["setuid", "setgid", "capabilities"]),
    ] {
        assert_eq!(keys(&report[sort][0]), ["name", "change", "before", "after"], "{sort}");
        assert_eq!(keys(&report[sort][0]["after"]), fields, "{sort}");
    }
    let files = report["files"].as_array().unwrap();
    let motd = files.iter().find(|file| file["path"] == "/etc/motd").unwrap();
    assert_eq!(keys(motd), ["path", "change", "aspects", "before", "after", "text"]);
    assert_eq!(keys(&motd["after"]), ["kind", "mode", "uid", "gid", "mtime", "size", "digest"]);
}

#[test]
fn what_cannot_be_compared_is_told() {
    let Some(workspace) = workspace("", "filegroup(name = \"text\", srcs = [\"noise\"])\n") else {
        return;
    };
    workspace.write("noise", &"noise\n".repeat(1000));
    for (words, expected) in [
        (&["diff", "//:one", "gone"][..], "there is no file or folder `gone`"),
        (&["diff", "//:one", "//:gone"], "gone"),
        (&["diff", "//:one", "//:text"], "`//:text` is no image"),
        (&["diff", "//:one", "noise"], "as a disk image"),
        (&["diff", "//:one", "//:two", "--ignore", "/["], "unclosed character class"),
    ] {
        let said = workspace.fails(1, words);
        assert!(said.stderr.contains(expected), "{words:?}: {}", said.stderr);
        assert!(said.stdout.is_empty(), "{said:?}");
    }
    let typed = workspace.run(&["diff", "//:one"]);
    assert!(typed.code != Some(0) && typed.stderr.contains("AFTER"), "{typed:?}");
}

#[test]
fn an_ordinary_user_sees_the_same() {
    let Some(workspace) = workspace("oci(), directory()", "") else { return };
    let Some(user) = OrdinaryUser::new() else { return };
    user.give(&workspace);
    let run = |words: &[&str]| {
        let found = said(&user.command(&workspace, "0077", words).output().unwrap());
        assert_eq!(found.code, Some(0), "{words:?}: {found:?}");
        found
    };
    run(&["build", "//:one"]);
    has(&run(&["diff", "//:one", "//:two"]), &["+ web  uid 990", "+ /usr/bin/web  set-uid root"]);
    has(&run(&["diff", "--exit-code", "//:one", "imgbuild-out/one/one.oci"]), &["no differences"]);
}

/// A test with these rules beside two others that pass.
fn tests(rules: &str) -> String {
    format!(
        "image_diff(name = \"same\", image = \":one\", base = \":one\", allow_files = [], allow_packages = [], max_growth = \"0\")\n\
         image_diff(name = \"test\", image = \":two\", base = \":one\", {rules})\n"
    )
}

#[test]
fn an_image_is_held_to_what_it_may_differ_in() {
    let passing = r#"allow_files = ["/etc/**", "/home/**"], allow_packages = ["web"], allow_units = ["web.*"],
        max_growth = "1MB", allow_users = ["web"], allow_setuid = ["/usr/bin/web"]"#;
    let Some(workspace) = workspace("", &tests(passing)) else { return };
    let passed = workspace.ok(&["test", "--test-output=all", "//..."]);
    for rule in ["packages", "files", "growth", "setuid", "users", "units"] {
        has(&passed, &[&format!("ok   {rule}")]);
    }
    // It is kept, and runs again when a rule has changed.
    let again = workspace.ok(&["test", "--json", "//..."]);
    assert!(crate::support::ran(&again).is_empty(), "{again:?}");

    let build = workspace.read("BUILD.star");
    for (from, to, expected) in [
        ("\"/etc/**\", ", "", "/etc/motd changed: content"),
        ("[\"web\"], allow_units", "[], allow_units", "web 2.0-1 was added"),
        ("[\"web.*\"]", "[]", "web.service was disabled and is enabled"),
        ("\"1MB\"", "\"10\"", "and may by 10"),
        ("allow_users = [\"web\"]", "allow_users = []", "web (990) was added"),
        ("[\"/usr/bin/web\"]", "[]", "/usr/bin/web is set-uid root"),
    ] {
        assert!(build.contains(from), "{from}");
        workspace.write("BUILD.star", &build.replace(from, to));
        let failed = workspace.fails(1, &["test", "//..."]);
        let text = format!("{}{}", failed.stdout, failed.stderr);
        assert!(text.contains(expected) && text.contains("of 6 checks failed"), "{to}: {text}");
    }
    // What is new is refused unless that is switched off.
    for (rules, passes) in [("", false), ("no_new_setuid = False", false), ("no_new_users = False", false)] {
        workspace.write("BUILD.star", &build.replace(passing, rules));
        assert_eq!(workspace.run(&["test", "//:test"]).code == Some(0), passes, "{rules}");
    }
    workspace
        .write("BUILD.star", &build.replace(passing, "no_new_users = False, allow_setuid = [\"/usr/bin\"]"));
    workspace.ok(&["test", "//:test"]);

    for (rules, expected) in [
        ("no_new_users = False, no_new_setuid = False", "allows everything"),
        ("max_growth = \"much\"", "`much` is no growth"),
        ("allow_files = [\"/[\"]", "/["),
    ] {
        workspace.write("BUILD.star", &build.replace(passing, rules));
        let said = workspace.fails(1, &["test", "//:test"]);
        assert!(said.stderr.contains(expected), "{rules}: {}", said.stderr);
    }
}

#[test]
fn a_capability_is_seen() {
    let Some(workspace) = workspace("", "") else { return };
    if !Path::new("/usr/sbin/setcap").exists() {
        return eprintln!("SKIPPED: there is no /usr/sbin/setcap; `tests/run` installs it");
    }
    let folder = workspace.root().join("plain");
    fs_err::create_dir_all(folder.join("bin")).unwrap();
    fs_err::write(folder.join("bin/tool"), "x").unwrap();
    let other = workspace.root().join("capable");
    fs_err::create_dir_all(other.join("bin")).unwrap();
    fs_err::write(other.join("bin/tool"), "x").unwrap();
    let set = std::process::Command::new("/usr/sbin/setcap")
        .args(["cap_net_bind_service=ep"])
        .arg(other.join("bin/tool"))
        .status()
        .unwrap();
    if !set.success() {
        return eprintln!("SKIPPED: this user or file system cannot set capabilities");
    }
    let found = workspace.ok(&["diff", "plain", "capable"]);
    has(&found, &["+ /bin/tool  cap_net_bind_service=ep", "~ /bin/tool  attributes"]);
}
