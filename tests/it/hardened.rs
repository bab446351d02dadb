//! The example that is hardened: audits of a real tree by OpenSCAP, Lynis and a goss file, and what is said of thresholds that are
//! not met.

use std::path::Path;

use crate::examples::Examples;

const PROGRAMS: [&str; 2] = ["/usr/bin/oscap", "/usr/sbin/lynis"];

/// Rules whose answers are in the image: its list of packages, and files that are looked at only where that has a package.
const OF_THE_IMAGE: [&str; 4] = [
    "package_audit_installed",
    "package_cron_installed",
    "package_telnetd_removed",
    "sshd_disable_root_login",
];

#[test]
fn a_hardened_image_is_held_to_its_audits() {
    if let Some(missing) = PROGRAMS.into_iter().find(|program| !Path::new(program).exists()) {
        return eprintln!("SKIPPED: there is no {missing}; `tests/run` installs it");
    }
    let examples = Examples::new();
    let (rules, audit) = ("//examples/hardened:rules", "//examples/hardened:audit");
    examples.ok("", &["test", rules, audit]);
    examples.ok("", &["build", rules, audit]);
    let read = |path: &str| fs_err::read_to_string(examples.path(path)).unwrap();
    let results = "imgbuild-out/examples/hardened/rules/results";
    assert!(examples.path(results).join("openscap/openscap.html").exists());
    let junit = read(&format!("{results}/junit.xml"));
    assert!(junit.contains("failures=\"0\" errors=\"0\""), "{junit}");
    for rule in OF_THE_IMAGE {
        let case = format!("name=\"xccdf_org.ssgproject.content_rule_{rule}\"");
        let (_, rest) = junit.split_once(&case).unwrap_or_else(|| panic!("{rule} is not in:\n{junit}"));
        let end = rest.find("<testcase").unwrap_or(rest.len());
        assert!(!rest[..end].contains("<skipped"), "{rule} was not looked at:\n{junit}");
    }
    let report = read("imgbuild-out/examples/hardened/audit/results/lynis/lynis-report.dat");
    assert!(report.contains("hardening_index="), "{report}");

    let config = examples.path("examples/hardened/sshd_config");
    let text = fs_err::read_to_string(&config).unwrap();
    fs_err::write(config, text.replace("PermitRootLogin no", "PermitRootLogin yes")).unwrap();
    let said = examples.fails(1, "", &["test", rules]);
    for part in [
        "FAIL goss Command: sshd -T: stdout: ",
        "(at examples/hardened/goss.yaml:",
        "1 rules do not hold, 0 may: xccdf_org.ssgproject.content_rule_sshd_disable_root_login (medium, fail)",
        "the reports are in imgbuild-out/failed/rules",
        "error: `//examples/hardened:rules` failed: 2 of ",
    ] {
        assert!(said.stdout.contains(part) || said.stderr.contains(part), "`{part}` is not in {said:#?}");
    }
    let junit = read("imgbuild-out/failed/rules/junit.xml");
    assert!(junit.contains("failures=\"3\""), "{junit}");
}
