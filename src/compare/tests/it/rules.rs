//! What is not allowed.

use imgbuild_compare::{Growth, Report, Rules, check};

use crate::fixture::{Tree, base, report, status};

fn refused(report: &Report, rules: &Rules) -> Vec<String> {
    let verdicts = check(report, rules).unwrap();
    verdicts
        .into_iter()
        .flat_map(|verdict| verdict.refused.into_iter().map(move |line| format!("{}: {line}", verdict.rule)))
        .collect()
}

fn texts(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|text| (*text).to_owned()).collect())
}

fn with_packages(packages: &[(&str, &str)]) -> Tree {
    base().file("var/lib/dpkg/status", 0o644, &status(packages))
}

#[test]
fn a_rule_that_is_absent_is_not_looked_at() {
    let found = report(base(), base().file("x", 0o6755, "x"));
    assert_eq!(check(&found, &Rules::default()).unwrap(), []);
}

#[test]
fn files_and_packages() {
    let after = with_packages(&[("web", "1"), ("libweb", "2")])
        .file("var/lib/dpkg/info/web.list", 0o644, "/usr\n/usr/bin\n/usr/bin/web\n")
        .file("usr/bin/web", 0o755, "x")
        .folder("opt/app", 0o755)
        .file("opt/app/x", 0o644, "x")
        .file("opt/other", 0o644, "x");
    let found = report(with_packages(&[]), after);
    let rules = |files: &[&str], packages: Option<Vec<String>>| Rules {
        files: texts(files),
        packages,
        ..Rules::default()
    };
    assert_eq!(
        refused(&found, &rules(&[], None)),
        [
            "files: /opt was added",
            "files: /opt/app was added",
            "files: /opt/app/x was added",
            "files: /opt/other was added"
        ]
    );
    // The folders above what may be there had to be made.
    assert_eq!(refused(&found, &rules(&["/opt/app"], None)), ["files: /opt/other was added"]);
    assert_eq!(
        refused(&found, &rules(&["/opt/**"], texts(&["lib*"]))),
        // Its files follow from the package, and are not told again.
        ["packages: web 1 was added"]
    );
    assert_eq!(refused(&found, &rules(&["/opt/**"], texts(&["*web"]))), Vec::<String>::new());
    let changed = report(base(), base().file("etc/motd", 0o644, "other\n"));
    assert_eq!(
        refused(&changed, &rules(&["/srv"], None)),
        ["files: /etc/motd changed: content, 14 → 6 bytes"]
    );
}

#[test]
fn a_folder_that_is_open_to_all_did_not_have_to_be() {
    let found = report(base(), base().folder("opt", 0o777).file("opt/app", 0o644, "x"));
    let rules = Rules { files: texts(&["/opt/app"]), ..Rules::default() };
    assert_eq!(refused(&found, &rules), ["files: /opt was added"]);
}

#[test]
fn growth() {
    let found = report(base().file("a", 0o644, &"x".repeat(900)), base().file("a", 0o644, &"x".repeat(1900)));
    let grown = |text: &str| {
        !refused(&found, &Rules { growth: Some(text.parse::<Growth>().unwrap()), ..Rules::default() })
            .is_empty()
    };
    for (text, expected) in
        [("999", true), ("1kB", false), ("1KiB", false), ("50%", true), ("150%", false), ("0", true)]
    {
        assert_eq!(grown(text), expected, "{text}");
    }
    for text in ["", "MB", "5 parsecs", "1.2.3MB"] {
        let error = text.parse::<Growth>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{text}` is no growth")), "{error}");
    }
    let shrunk = report(base().file("a", 0o644, "x"), base());
    let rules = Rules { growth: Some(Growth::Bytes(0)), ..Rules::default() };
    assert_eq!(refused(&shrunk, &rules), Vec::<String>::new());
}

#[test]
fn rights() {
    let allowed = |allowed: &[&str]| Rules { privileges: texts(allowed), ..Rules::default() };
    let found = report(base(), base().file("usr/bin/su", 0o4755, "x"));
    assert_eq!(refused(&found, &allowed(&[])), ["setuid: /usr/bin/su is set-uid root"]);
    assert_eq!(refused(&found, &allowed(&["/usr/bin/su"])), Vec::<String>::new());
    // Less is no new right, and the same is none either.
    let less = report(base().file("su", 0o6755, "x"), base().file("su", 0o2755, "y"));
    assert_eq!(refused(&less, &allowed(&[])), Vec::<String>::new());
    let more = report(base().file("su", 0o2755, "x"), base().file("su", 0o6755, "x"));
    assert_eq!(refused(&more, &allowed(&[])), ["setuid: /su is set-uid root, set-gid root"]);
}

#[test]
fn users_and_units() {
    let after = |passwd: &str, group: &str| {
        Tree::new().file("etc/passwd", 0o644, passwd).file("etc/group", 0o644, group).file(
            "etc/motd",
            0o644,
            "one\ntwo\nthree\n",
        )
    };
    let root = "root:x:0:0:root:/root:/bin/sh\n";
    let rules = |users: &[&str]| Rules { users: texts(users), ..Rules::default() };
    for (passwd, group, expected) in [
        ("app:x:7:7::/srv:/bin/sh\n", "sudo:x:27:\napp:x:7:\n", None),
        ("", "", None),
        ("app:x:0:7::/srv:/bin/false\n", "", Some("users: app has become root")),
        ("app:x:7:7::/srv:/bin/false\n", "sudo:x:27:app\n", Some("users: app has joined sudo")),
        ("app:x:7:27::/srv:/bin/false\n", "sudo:x:27:\n", Some("users: app has joined the group 27")),
        ("app::7:7::/srv:/bin/false\n", "", Some("users: app has a new password")),
        ("app:x:7:7::/srv:/bin/false\nweb:x:8:8::/:/\n", "", Some("users: web (8) was added")),
    ] {
        let found = report(base(), after(&format!("{root}{passwd}"), group));
        assert_eq!(refused(&found, &rules(&[])), expected.into_iter().collect::<Vec<_>>(), "{passwd}{group}");
        assert!(refused(&found, &rules(&["web", "ap?"])).is_empty());
    }
    let unit = "[Install]\nWantedBy=multi-user.target\n";
    let off = || base().file("usr/lib/systemd/system/a.service", 0o644, unit);
    let link = "etc/systemd/system/multi-user.target.wants/a.service";
    let on = || off().link(link, "/usr/lib/systemd/system/a.service");
    let rules = |units: &[&str]| Rules { units: texts(units), ..Rules::default() };
    assert_eq!(refused(&report(off(), on()), &rules(&[])), ["units: a.service was disabled and is enabled"]);
    assert_eq!(
        refused(&report(on(), off()), &rules(&["b*"])),
        ["units: a.service was enabled and is disabled"]
    );
    assert_eq!(refused(&report(off(), on()), &rules(&["a.*"])), Vec::<String>::new());
    assert_eq!(refused(&report(base(), off()), &rules(&[])), Vec::<String>::new(), "it starts nothing");
}

#[test]
fn what_is_no_glob_is_an_error() {
    let found = report(base(), base());
    for rules in [
        Rules { files: texts(&["/["]), ..Rules::default() },
        Rules { packages: texts(&["["]), ..Rules::default() },
    ] {
        assert!(check(&found, &rules).is_err());
    }
}
