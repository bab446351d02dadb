//! Images whose disk is started to be tested: by SSH, by the console, by testinfra; and what is said where one does not come up.
//!
//! Machines run under whatever this host has, which may be an emulator: what is waited for has minutes.

use crate::examples::Examples;
use crate::provisioners::tool;
use crate::support::{Workspace, has, has_not, ran};

/// Tests of the example's first image, beside the one that it has. Nobody logs in to the second machine.
const TARGETS: &str = r#"
image_test(
    name = "looked_at",
    image = ":base",
    boot = True,
    machine = qemu(cpus = 2, machine_type = "q35", seed = "nocloud", hostname = "looked-at"),
    boot_timeout = "15m",
    failed_reports = "reports",
    checks = [
        file_exists("/etc/hostname", content_matches = "looked-at"),
        unit_active("ssh.service", within = "60s"),
        unit_active("no-such.service"),
        port_listening(22, address = "0.0.0.0"),
        port_listening(22, address = "192.0.2.1"),
        port_listening(81),
        goss("goss.yaml"),
TESTINFRA
    ],
)

image_test(
    name = "watched",
    image = ":base",
    boot = True,
    console = "(?m)^base login:",
    boot_timeout = "15m",
    reports = True,
)
"#;

const GOSS: &str = "service: {ssh: {running: true}}\nprocess: {systemd-network: {running: true}}\n";

const TESTINFRA: &str = r#"import pytest
from told import WHO


def test_port(host):
    assert host.socket("tcp://0.0.0.0:22").is_listening


@pytest.mark.parametrize("unit", ["ssh", "no-such"])
def test_unit(host, unit):
    assert host.service(unit).is_running, "the unit does not run"


def test_user(host):
    assert host.user().name == WHO


@pytest.mark.skip(reason="not yet")
def test_later(host):
    pass
"#;

/// Adds targets to the example.
fn with_targets(examples: &Examples, pytest: Option<&str>) {
    let check = pytest.map_or_else(String::new, |pytest| {
        format!("        testinfra([\"test_web.py\"], srcs = [\"told.py\"], command = \"{pytest}\"),")
    });
    let folder = examples.path("examples/qemu-debian");
    let build = fs_err::read_to_string(folder.join("BUILD.star")).unwrap();
    let targets = TARGETS.replace("TESTINFRA", &check);
    for (name, text) in [
        ("BUILD.star", format!("{build}{targets}")),
        ("goss.yaml", GOSS.to_owned()),
        ("test_web.py", TESTINFRA.to_owned()),
        ("told.py", "WHO = \"root\"\n".to_owned()),
        // Of no check, and so not there.
        ("conftest.py", "raise RuntimeError(\"this is no input\")\n".to_owned()),
    ] {
        fs_err::write(folder.join(name), text).unwrap();
    }
}

#[test]
fn a_disk_is_started_and_the_system_on_it_is_looked_at() {
    let Some(examples) = crate::virtual_machines::examples() else { return };
    let pytest = tool("IMGBUILD_TEST_TESTINFRA", "testinfra/bin/pytest");
    with_targets(&examples, pytest.as_deref().and_then(|path| path.to_str()));
    let target = |name: &str| format!("//examples/qemu-debian:{name}");

    // All that does not hold is told, and nothing else.
    let said = examples.run("", &["test", &target("looked_at")]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    has(
        &said,
        &[
            "ok   boot\n",
            "ok   file_exists /etc/hostname\n",
            "ok   unit_active ssh.service\n",
            "FAIL unit_active no-such.service: it is not-found\n",
            "ok   port_listening 22\n",
            "FAIL port_listening 22: it is listened on at 0.0.0.0, ::, expected 192.0.2.1\n",
            "FAIL port_listening 81: nobody listens on it\n",
            "ok   goss Service: ssh: running\n",
            "ok   goss Process: systemd-network: running\n",
        ],
    );
    let junit = fs_err::read_to_string(examples.path("reports/junit.xml")).unwrap();
    assert!(junit.contains("it is not-found"), "{junit}");
    if pytest.is_some() {
        has(
            &said,
            &[
                "ok   testinfra test_web::test_port\n",
                "ok   testinfra test_web::test_unit[ssh]\n",
                "FAIL testinfra test_web::test_unit[no-such]: AssertionError: the unit does not run ",
                "ok   testinfra test_web::test_user\n",
                "ok   testinfra test_web::test_later: skipped: not yet\n",
            ],
        );
        let own = fs_err::read_to_string(examples.path("reports/testinfra/junit.xml")).unwrap();
        assert!(own.contains("the unit does not run") && junit.contains("the unit does not run"), "{own}");
        // Neither keys nor ports are told.
        assert!(!own.contains("127.0.0.1") && !junit.contains("ssh://"), "{own}{junit}");
    }

    // A result is kept as that of other tests, with its report.
    let said = examples.ok("", &["test", &target("watched")]);
    has(&said, &["Waiting for the console to show `(?m)^base login:`", "ok   boot\n"]);
    has_not(&said, &["SSH"]);
    let results = examples.path("imgbuild-out/examples/qemu-debian/watched/results/junit.xml");
    assert!(fs_err::read_to_string(results).unwrap().contains("failures=\"0\""));
    assert!(ran(&examples.ok("", &["--json", "test", &target("watched")])).is_empty());
    assert!(examples.ok("", &["cache", "verify"]).stdout.contains("nothing is wrong"));
}

#[test]
fn a_machine_that_does_not_come_up_fails_with_what_its_console_said() {
    if crate::virtual_machines::examples().is_none() {
        return;
    }
    // The firmware finds nothing to start on such a disk.
    let workspace = Workspace::with(
        r#"
image(
    name = "tree",
    source = scratch(),
    steps = [file(content = "x", dest = "/etc/os-release")],
    exports = [disk("raw", bootloader = "none")],
)

image_test(
    name = "never",
    image = ":tree",
    boot = True,
    machine = qemu(memory = 256),
    boot_timeout = "60s",
    console = "up and running",
    failed_reports = "reports",
)
"#,
    );
    let said = workspace.fails(1, &["test", "//:never"]);
    let told = format!("{}{}", said.stdout, said.stderr);
    for part in [
        "FAIL boot: the console did not show `up and running` in 60 s; its console ends with:\n",
        "BdsDxe",
        "reports are in reports",
    ] {
        assert!(told.contains(part), "`{part}` is not in {told}");
    }
    assert!(workspace.read("reports/junit.xml").contains("failures=\"1\""));
}

#[test]
fn what_only_a_system_that_runs_knows_is_refused_of_a_tree() {
    let workspace = Workspace::with(
        r#"
image(
    name = "tree",
    source = scratch(),
    steps = [file(content = "x", dest = "/x")],
    tests = [
        file_exists("/x"),
        unit_active("ssh.service"),
        testinfra("test_x.py"),
    ],
)
"#,
    );
    workspace.write("test_x.py", "");
    let said = workspace.fails(1, &["test", "//:tree"]).stderr;
    for part in [
        "error: `unit_active` looks at a system that runs, and this image is a tree",
        "BUILD.star:8:9",
        "error: `testinfra` looks at a system that runs",
        "BUILD.star:9:9",
        "help: check it in an `image_test` with `boot = True`",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
}
