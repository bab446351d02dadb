//! Images made in virtual machines: the example, as a target and as a template, built again from memory and from disks.
//!
//! Machines run under whatever this host has, which may be an emulator: what is waited for has minutes.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::examples::Examples;
use crate::provisioners::ansible;
use crate::support::ran;

const NEEDED: [&str; 3] =
    ["/usr/bin/qemu-system-x86_64", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
const TEMPLATE: &str = "examples/qemu-debian/web.pkr.hcl";
/// What the second line of a private key begins with that OpenSSH keeps in a file (`PROTOCOL.key`), as an expression. A program that
/// shows one in a comment is none.
const PRIVATE_KEY: &str = "^b3BlbnNzaC1rZXktdjEA";

/// The examples, where machines can be started; else the reason why not is printed.
pub fn examples() -> Option<Examples> {
    can_start_machines().then(Examples::new)
}

fn can_start_machines() -> bool {
    if let Some(missing) = NEEDED.into_iter().find(|file| !Path::new(file).exists()) {
        eprintln!("SKIPPED: there is no {missing}; `tests/run` installs it");
        return false;
    }
    true
}

/// Changes a text of a file.
pub fn change(examples: &Examples, file: &str, from: &str, to: &str) {
    let path = examples.path(file);
    let text = fs_err::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs_err::write(path, text.replace(from, to)).unwrap();
}

/// The memory that is kept.
fn warm_snapshots(examples: &Examples) -> Vec<PathBuf> {
    let folder = examples.cache().join("warm");
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path().join("memory")).collect()
}

/// The folders of whole images that layers keep as chunks.
fn whole_images(examples: &Examples) -> Vec<PathBuf> {
    let layers = fs_err::read_dir(examples.cache().join("layers")).unwrap();
    layers.map(|layer| layer.unwrap().path().join("whole")).filter(|path| path.exists()).collect()
}

#[test]
fn a_template_goes_on_from_memory_and_from_disks() {
    let (true, Some(_)) = (can_start_machines(), ansible()) else { return };
    let examples = Examples::with_own_cache();
    examples.ok("", &["build", "//examples/qemu-debian:base"]);
    let said = examples.ok("", &["build", TEMPLATE]).stdout;
    for line in
        ["==> qemu.web: Connected to SSH!", "--> qemu.web: VM files in directory: imgbuild-out/web-by-packer"]
    {
        assert!(said.contains(line), "{said}");
    }
    let disk = examples.path("imgbuild-out/web-by-packer/web.qcow2");
    let info = Command::new("/usr/bin/qemu-img").args(["info", "--output=json"]).arg(&disk).output().unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!((&info["format"], &info["virtual-size"]), (&"qcow2".into(), &(3_u64 << 30).into()));
    assert!(examples.ok("", &["build", TEMPLATE]).stdout.contains("4 steps cached"));

    // The file that the last step moves was written to `/tmp` by the first.
    change(&examples, TEMPLATE, "/etc/built\"", "/etc/built-again\"");
    let said = examples.ok("", &["build", TEMPLATE]).stdout;
    assert!(said.contains("3 steps cached") && said.contains("The machine goes on from memory"), "{said}");
    assert!(!said.contains("Waiting for SSH"), "{said}");

    // Memory that is damaged is noticed, and the machine is started from its disks with what was in `/tmp`.
    let kept = warm_snapshots(&examples);
    assert!(!kept.is_empty());
    for path in kept {
        let mut memory = fs_err::read(&path).unwrap();
        let middle = memory.len() / 2;
        memory[middle] ^= 1;
        fs_err::write(&path, memory).unwrap();
        assert!(path.with_file_name("state").exists());
    }
    // The images over the disk's are put together again from what is kept of them.
    let images = whole_images(&examples);
    assert!(images.len() >= 4, "{images:?}");
    for folder in images {
        fs_err::remove_dir_all(folder).unwrap();
    }
    change(&examples, TEMPLATE, "/etc/built-again\"", "/etc/built-cold\"");
    let said = examples.ok("", &["build", TEMPLATE]).stdout;
    assert!(
        said.contains("The machine cannot go on from memory, and is started: its memory is damaged"),
        "{said}"
    );
    assert!(said.contains("3 steps cached") && said.contains("Waiting for SSH"), "{said}");
    assert!(whole_images(&examples).len() >= 4);
    // The snapshots that were not asked for are damaged still.
    examples.run("", &["cache", "verify", "--repair"]);
    examples.verify();
}

#[test]
fn a_machine_is_made_step_by_step_and_holds_no_key_of_ours() {
    let (Some(examples), Some(_)) = (examples(), ansible()) else { return };
    // Other tests may have built some of it already.
    examples.ok("", &["build", "//examples/qemu-debian:web"]);
    assert!(ran(&examples.ok("", &["--json", "build", "//examples/qemu-debian:web"])).is_empty());
    change(&examples, "examples/qemu-debian/motd", "made by", "made again by");
    let built = ran(&examples.ok("", &["--json", "build", "//examples/qemu-debian:web"]));
    assert!(
        !built.iter().any(|step| step.starts_with("qemu")),
        "the machine is not installed again: {built:?}"
    );
    assert!(built.iter().any(|step| step.starts_with("file")), "{built:?}");

    // The disk that is delivered has no key at all, neither ours nor the machine's.
    let plain = examples.path("plain.qcow2");
    let web = examples.path("imgbuild-out/examples/qemu-debian/web/web.qcow2");
    let converted =
        Command::new("/usr/bin/qemu-img").args(["convert", "-O", "qcow2"]).args([&web, &plain]).status();
    assert!(converted.unwrap().success());
    let found = Command::new("grep").args(["-a", "-c", PRIVATE_KEY]).arg(plain).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "0", "{found:?}");
    examples.ok("", &["test", "//examples/qemu-debian:web"]);
}

#[test]
fn a_machine_ends_with_the_program_whatever_ends_it() {
    let Some(examples) = examples() else { return };
    examples.ok("", &["build", "//examples/qemu-debian:base"]);
    change(&examples, TEMPLATE, "\"uname -r\", ", "\"echo asleep\", \"sleep 1234\", ");
    change(&examples, TEMPLATE, "instance-id: web", "instance-id: killed");
    let started = || {
        let mut program = examples.command("", &["build", TEMPLATE]);
        let mut child =
            program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("qemu.web: asleep")), "the step has not begun");
        let machine = machines_of(child.id())[0];
        (child, lines, machine)
    };
    // One that dies in a step is told as that, and not as a connection that was lost.
    let (mut child, lines, machine) = started();
    assert!(Command::new("kill").args(["-9", &machine.to_string()]).status().unwrap().success());
    let said: Vec<_> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said:#?}");
    assert!(said.iter().any(|line| line.contains("QEMU ended (signal: 9 (SIGKILL))")), "{said:#?}");

    let (mut child, _, machine) = started();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the machine's end", || (!Path::new(&format!("/proc/{machine}")).exists()).then_some(()));
    // What it left is the folder of its run, and what comes next is not in its way.
    examples.ok("", &["cleanup"]);
    examples.verify();
}

/// Two chains on the small disk of the example: one whose second step takes a file that the first has written to `/tmp`, and one
/// whose second step needs what the first has started.
const CHAINS: &str = r#"
MACHINE = dict(
    disk = ":base",
    efi_boot = True,
    machine_type = "q35",
    memory = 512,
    seed = "nocloud",
    ssh_timeout = "30m",
)

image(
    name = "moves",
    source = qemu(**MACHINE),
    steps = [
        file("motd", "/tmp/uploaded"),
        shell(["mv /tmp/uploaded /etc/uploaded"]),
    ],
    platforms = ["linux/amd64"],
)

image_test(
    name = "moved",
    image = ":moves",
    boot = True,
    checks = [
        file_exists("/etc/uploaded"),
        unit_active("ssh.service"),
    ],
)

image(
    name = "needs",
    source = qemu(**MACHINE),
    steps = [
        shell(["systemd-run --unit=helper sleep infinity"]),
        shell(["systemctl is-active helper.service"]),
    ],
    platforms = ["linux/amd64"],
)

image(
    name = "full",
    source = qemu(**MACHINE),
    steps = [
        shell(
            [
                "fallocate -l $(($(stat -f -c '%f * %S' /))) /full || true",
                "dd if=/dev/zero of=/rest bs=4k || true",
                "echo kept > /tmp/kept || echo kept > /run/kept",
            ],
            checkpoint = "always",
        ),
        shell(["true"]),
    ],
    platforms = ["linux/amd64"],
)
"#;

#[test]
fn a_chain_that_cannot_go_on_from_each_step_is_found() {
    let Some(examples) = examples() else { return };
    let path = examples.path("examples/qemu-debian/BUILD.star");
    fs_err::write(&path, fs_err::read_to_string(&path).unwrap() + CHAINS).unwrap();
    let said = examples.ok("", &["build", "//examples/qemu-debian:moves", "--check-resume"]);
    assert!(said.stderr.contains("the machine can go on from each step"), "{said:#?}");
    assert!(
        ran(&examples.ok("", &["--json", "build", "//examples/qemu-debian:moves", "--no-write"]))
            .iter()
            .all(|step| !step.starts_with("file") && !step.starts_with("shell"))
    );

    // Where the chain may not go on from a step, those below the one that runs do so again.
    change(&examples, "examples/qemu-debian/BUILD.star", "mv /tmp/uploaded /etc", "mv -v /tmp/uploaded /etc");
    let said = examples.ok("", &["--json", "build", "//examples/qemu-debian:moves", "--resume=never"]);
    let again = ran(&said);
    for step in ["file", "shell"] {
        assert!(again.iter().any(|again| again.starts_with(step)), "{again:?}");
    }
    assert!(!again.iter().any(|step| step.starts_with("qemu")), "the disk is laid out again: {again:?}");
    // What comes of it is the disk, which boots in a machine of the same kind.
    assert!(examples.path("imgbuild-out/examples/qemu-debian/moves/moves.qcow2").exists());
    let tested = examples.ok("", &["test", "-v", "//examples/qemu-debian:moved"]);
    let tested = format!("{}{}", tested.stdout, tested.stderr);
    for part in ["ok   boot\n", "ok   file_exists /etc/uploaded\n", "ok   unit_active ssh.service\n"] {
        assert!(tested.contains(part), "`{part}` is not in {tested}");
    }

    let words = ["build", "//examples/qemu-debian:needs", "--check-resume"];
    let failed = examples.command("", &words).output().unwrap();
    let text = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{text}");
    for part in [
        "cannot go on from each of its steps: `shell systemctl is-active helper.service` fails in a machine that is started",
        "it needs what an earlier step has left in memory",
        "`fuse = True`",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    // Joined, the two are done in one machine, also where only the second has changed.
    let file = "examples/qemu-debian/BUILD.star";
    change(&examples, file, "sleep infinity\"])", "sleep infinity\"], fuse = True)");
    examples.ok("", &["build", "//examples/qemu-debian:needs", "--no-write"]);
    change(&examples, file, "is-active helper", "is-active -q helper");
    let plan = examples.ok("", &["plan", "//examples/qemu-debian:needs"]).stdout;
    for part in [
        "its machine was not kept: the next step needs what it leaves running",
        "qemu  <- goes on here, from ",
    ] {
        assert!(plan.contains(part), "`{part}` is not in {plan}");
    }
    let again = ran(&examples.ok("", &["--json", "build", "//examples/qemu-debian:needs", "--no-write"]));
    for step in ["shell systemd-run", "shell systemctl"] {
        assert!(again.iter().any(|again| again.starts_with(step)), "{again:?}");
    }
    assert!(!again.iter().any(|step| step.starts_with("qemu")), "{again:?}");

    // A machine whose disk is full is not kept without what is in its `/tmp`.
    let failed = examples.fails(2, "", &["build", "//examples/qemu-debian:full", "--no-write"]).stderr;
    for part in ["the machine cannot be kept: ", "No space left on device", "its disk is full"] {
        assert!(failed.contains(part), "`{part}` is not in {failed}");
    }
    examples.verify();
}

/// Waits for something, for minutes.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(300), "{what} is waited for");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The machines that a process has started.
fn machines_of(parent: u32) -> Vec<u32> {
    let entries = fs_err::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let is_child = rest.split_whitespace().nth(1) == Some(&parent.to_string());
        let line = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_child
            && line.starts_with(b"/usr/bin/qemu-system-x86_64\0")
            && line.windows(9).any(|word| word == b"hostfwd=t")
    })
    .collect()
}
