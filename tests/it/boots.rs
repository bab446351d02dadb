//! Images whose disk is started to be tested: by SSH, by the console, by testinfra; and what is said where one does not come up.
//!
//! Machines run under whatever this host has, which may be an emulator: what is waited for has minutes.

use crate::examples::Examples;
use crate::provisioners::tool;
use crate::support::{Said, Workspace, has, has_not, ran};

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

/// What was said, on both streams, as if on one.
fn together(said: Said) -> Said {
    Said { stdout: format!("{}{}", said.stdout, said.stderr), ..said }
}

#[test]
fn a_disk_is_started_and_the_system_on_it_is_looked_at() {
    let Some(examples) = crate::virtual_machines::examples() else { return };
    let pytest = tool("IMGBUILD_TEST_TESTINFRA", "testinfra/bin/pytest");
    with_targets(&examples, pytest.as_deref().and_then(|path| path.to_str()));
    let target = |name: &str| format!("//examples/qemu-debian:{name}");

    // All that does not hold is told, and nothing else.
    let said = together(examples.run("", &["test", "-v", &target("looked_at")]));
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
                "FAIL testinfra test_web::test_unit[no-such]: AssertionError: the unit does not run\n",
                "ok   testinfra test_web::test_user\n",
                "ok   testinfra test_web::test_later: skipped: not yet\n",
            ],
        );
        let own = fs_err::read_to_string(examples.path("reports/testinfra/junit.xml")).unwrap();
        assert!(own.contains("the unit does not run") && junit.contains("the unit does not run"), "{own}");
        // The port, which is another each time, is in neither.
        assert!(!own.contains("127.0.0.1") && !junit.contains("127.0.0.1"), "{own}{junit}");
    }

    // A result is kept as that of other tests, with its report.
    let said = together(examples.ok("", &["test", "-v", &target("watched")]));
    has(&said, &["Waiting for the console to show `(?m)^base login:`", "ok   boot\n"]);
    has_not(&said, &["SSH"]);
    examples.ok("", &["build", &target("watched")]);
    let results = examples.path("imgbuild-out/examples/qemu-debian/watched/results/junit.xml");
    assert!(fs_err::read_to_string(results).unwrap().contains("failures=\"0\""));
    assert!(ran(&examples.ok("", &["--json", "test", &target("watched")])).is_empty());
    examples.verify();
}

/// The rule `image_test` with `boot = True`, for disks that no image has.
const RULE: &str = r#"
def _boots(ctx):
    disk = native.source("boot", disk = ctx.attrs.disk, console = ctx.attrs.console, memory = 64, skip_resize_disk = True)
    test = native.step("image_test", checks = [], failed_reports = "reports")
    result = ctx.actions.test(ctx.actions.source(disk), test)
    return [DefaultInfo(files = [result]), TestInfo(result = result)]

boots = rule(implementation = _boots, attrs = {"disk": attrs.source(), "console": attrs.string()})
"#;

/// A disk whose first sector writes a text to the serial port and switches the machine off.
fn speaking_disk(text: &str) -> Vec<u8> {
    let code = [
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xfc, // cld
        0xbe, 0x1f, 0x7c, // mov si, text
        0xba, 0xf8, 0x03, // mov dx, COM1
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x03, // jz off
        0xee, // out dx, al
        0xeb, 0xf8, // jmp next
        0xba, 0x04, 0x06, // off: mov dx, 0x604, where ACPI's power management is
        0xb8, 0x00, 0x20, // mov ax, 0x2000, which is S5
        0xef, // out dx, ax
        0xf4, // hlt
        0xeb, 0xfd, // jmp back to it
        0x00, 0x00,
    ];
    let mut disk = vec![0; 1 << 20];
    disk[..code.len()].copy_from_slice(&code);
    disk[code.len()..][..text.len()].copy_from_slice(text.as_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

#[test]
fn a_machine_that_does_not_come_up_fails_with_what_its_console_said() {
    if crate::virtual_machines::examples().is_none() {
        return;
    }
    let workspace = Workspace::with(
        r#"
load(":boots.star", "boots")

boots(name = "speaks", disk = "disk.raw", console = "no sys.em")
boots(name = "ends", disk = "disk.raw", console = "login:")
"#,
    );
    workspace.write("boots.star", RULE);
    fs_err::write(workspace.root().join("disk.raw"), speaking_disk("there is no system here\r\n")).unwrap();
    has(&together(workspace.ok(&["test", "-v", "//:speaks"])), &["ok   boot\n"]);
    let said = workspace.run(&["test", "//:ends"]);
    assert_ne!(said.code, Some(0), "{said:#?}");
    let told = format!("{}{}", said.stdout, said.stderr);
    for part in ["FAIL boot: ", "there is no system here", "the reports are in reports"] {
        assert!(told.contains(part), "`{part}` is not in {told}");
    }
    let junit = workspace.read("reports/junit.xml");
    assert!(junit.contains("failures=\"1\"") && junit.contains("there is no system here"), "{junit}");
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
