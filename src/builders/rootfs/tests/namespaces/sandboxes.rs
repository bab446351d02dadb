//! Steps in sandboxes: what they see, what they may do, how they end.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use imgbuild_rootfs::sandbox::{
    Bind, Exit, Network, Sandbox, SandboxError, SandboxSpec, Stdin, StepFailure, Stream,
};
use libtest_mimic::{Failed, Trial};

use crate::support::{Root, holds, runtime, same};

pub fn add(prefix: &str, tests: &mut Vec<Trial>) {
    let mut test = |name: &str, body: fn() -> Result<(), Failed>| {
        tests.push(Trial::test(format!("{prefix}::sandbox::{name}"), body));
    };
    test("output_and_exit_code", output_and_exit_code);
    test("a_signal_is_told", a_signal_is_told);
    test("long_and_many_lines", long_and_many_lines);
    test("the_order_of_lines_can_be_kept", order_of_lines);
    test("standard_input", standard_input);
    test("the_environment_is_what_is_declared", environment);
    test("the_host_is_not_seen", the_host_is_not_seen);
    test("devices_and_file_systems", devices);
    test("capabilities_are_dropped", capabilities);
    test("mounts_and_namespaces_are_denied", denied);
    test("root_owns_the_image_all_the_same", ownership);
    test("users_and_groups", users_and_groups);
    test("what_cannot_start_says_why", what_cannot_start);
    test("no_network_by_default", no_network);
    test("the_host_resolver_is_seen_and_not_captured", resolver);
    test("a_linked_resolver_file_is_followed", linked_resolver);
    test("binds", binds);
    test("an_empty_root_stays_empty", empty_root);
    test("limits", limits);
    test("orphans_die_with_the_step", orphans);
    test("kill_and_signal_from_elsewhere", kill_and_signal);
    test("dropping_a_step_kills_it", dropping);
    test("one_mount_serves_several_steps", several_steps);
    test("writes_land_in_the_upper_folder_only", writes);
}

fn output_and_exit_code() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let ran = root.shell("echo one; echo two >&2; printf three; exit 7")?;
    same(ran.outcome.exit, Exit::Code(7))?;
    same(ran.stdout(), "one\nthree\n".to_owned())?;
    same(ran.stderr(), "two\n".to_owned())?;
    same(root.run(&SandboxSpec::new(["true"]))?.outcome.exit, Exit::Code(0))
}

fn a_signal_is_told() -> Result<(), Failed> {
    let ran = Root::busybox()?.shell("kill -TERM $$")?;
    same(ran.outcome.exit, Exit::Signal(15))?;
    same(ran.outcome.exit.shell_code(), 143)
}

fn long_and_many_lines() -> Result<(), Failed> {
    let ran = Root::busybox()?
        .shell("seq 1 100000; dd if=/dev/zero bs=1000 count=200 2>/dev/null; echo; echo end")?;
    let numbers: Vec<&[u8]> = ran.lines.iter().take(100_000).map(|line| line.bytes.as_slice()).collect();
    same(numbers.last().copied(), Some(&b"100000"[..]))?;
    let zeros: usize =
        ran.lines.iter().skip(100_000).map(|line| line.bytes.iter().filter(|byte| **byte == 0).count()).sum();
    same(zeros, 200_000)?;
    holds(ran.lines.iter().all(|line| line.bytes.len() <= 64 * 1024), "a line is too long")?;
    same(ran.lines.last().map(|line| line.bytes.clone()), Some(b"end".to_vec()))
}

fn order_of_lines() -> Result<(), Failed> {
    let mut spec = SandboxSpec::new(["/bin/sh", "-c", "for i in $(seq 50); do echo $i; echo $i >&2; done"]);
    spec.merge_stderr = true;
    let ran = Root::busybox()?.run(&spec)?;
    let wanted: String = (1..=50).map(|number| format!("{number}\n{number}\n")).collect();
    same(ran.stdout(), wanted)
}

fn standard_input() -> Result<(), Failed> {
    let root = Root::busybox()?;
    same(root.run(&SandboxSpec::new(["wc", "-c"]))?.stdout(), "0\n".to_owned())?;
    let mut spec = SandboxSpec::new(["wc", "-c"]);
    spec.stdin = Stdin::Bytes(vec![b'x'; 3_000_000]);
    same(root.run(&spec)?.stdout(), "3000000\n".to_owned())
}

fn environment() -> Result<(), Failed> {
    let root = Root::busybox()?;
    holds(std::env::var_os("PATH").is_some(), "this test needs a PATH of its own")?;
    let mut spec = SandboxSpec::new(["env"]);
    spec.environment.insert("GREETING".into(), "hello world".into());
    spec.source_date_epoch = Some(1_700_000_000);
    let mut lines: Vec<String> = root.run(&spec)?.stdout().lines().map(str::to_owned).collect();
    lines.sort();
    same(
        lines,
        vec![
            "GREETING=hello world".to_owned(),
            "HOME=/root".to_owned(),
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            "SOURCE_DATE_EPOCH=1700000000".to_owned(),
        ],
    )?;
    same(root.shell("umask; hostname; pwd")?.stdout(), "0022\nimgbuild\n/\n".to_owned())
}

fn the_host_is_not_seen() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let ran = root.shell("ls /; echo --; ps -o pid,args; echo --; ls /sys; cat /proc/mounts")?;
    let text = ran.stdout();
    holds(text.starts_with("bin\ndev\netc\nhome\nproc\nroot\nrun\nsys\ntmp\nusr\n--\n"), &text)?;
    let processes = text.split("--\n").nth(1).unwrap_or_default();
    // Pid 1 is the sandbox's own, the shell and `ps` follow.
    same(processes.lines().count(), 4)?;
    holds(processes.contains("    1 "), processes)?;
    let mounts = text.split("--\n").nth(2).unwrap_or_default();
    holds(!mounts.contains("/dev/vda") && !mounts.contains("ext4"), mounts)
}

fn devices() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let ran = root.shell(
        "set -e; echo x >/dev/null; head -c 3 /dev/urandom | wc -c; echo x >/dev/shm/a; cat /dev/shm/a
         readlink /dev/fd; test -c /dev/pts/ptmx; head -c 1 /dev/ptmx </dev/null >/dev/null & echo ok
         echo x >/run/a; ! echo x >/sys/a; ! echo 0 >/proc/sys/kernel/panic; ! echo x >/proc/sysrq-trigger
         cat /proc/kcore 2>/dev/null | wc -c; ls /dev",
    )?;
    let text = ran.stdout();
    holds(text.starts_with("3\nx\n/proc/self/fd\nok\n0\n"), (&text, ran.stderr()))?;
    let names: Vec<&str> = text.lines().skip(5).collect();
    same(
        names,
        vec![
            "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
            "urandom", "zero",
        ],
    )?;
    holds(!root.upper("dev").exists() && !root.upper("run").exists(), "a mount point was left in the layer")
}

/// CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID NET_BIND_SERVICE SYS_CHROOT SETFCAP
const CAPABILITIES: u64 =
    1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 18 | 1 << 31;

fn status(root: &Root, spec: &SandboxSpec) -> Result<std::collections::BTreeMap<String, String>, Failed> {
    let text = root.run(spec)?.stdout();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    Ok(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

fn capabilities() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let mut spec = SandboxSpec::new(["cat", "/proc/self/status"]);
    let found = status(&root, &spec)?;
    let set = |name: &str| u64::from_str_radix(found.get(name).map_or("x", String::as_str), 16).ok();
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        same((name, set(name)), (name, Some(CAPABILITIES)))?;
    }
    same((set("CapInh"), set("CapAmb")), (Some(0), Some(0)))?;
    same((found["NoNewPrivs"].as_str(), found["Seccomp"].as_str()), ("1", "2"))?;
    spec.user = "build".into();
    let found = status(&root, &spec)?;
    let set = |name: &str| u64::from_str_radix(found.get(name).map_or("x", String::as_str), 16).ok();
    same((set("CapPrm"), set("CapEff"), set("CapBnd")), (Some(0), Some(0), Some(CAPABILITIES)))?;
    spec.allow_new_privileges = true;
    let found = status(&root, &spec)?;
    same((found["NoNewPrivs"].as_str(), found["Seccomp"].as_str()), ("0", "2"))
}

fn denied() -> Result<(), Failed> {
    let root = Root::busybox()?;
    for command in [
        "mount -t tmpfs none /tmp",
        "mount -o bind /bin /tmp",
        "umount /proc",
        "unshare -m true",
        "unshare -U true",
        "unshare -n true",
        "mknod /tmp/null c 1 3",
        "mknod /tmp/disk b 254 0",
        "hostname other",
    ] {
        let ran = root.shell(command)?;
        holds(!ran.outcome.exit.success(), format!("`{command}` was allowed"))?;
        let said = ran.stderr();
        holds(said.contains("not permitted") || said.contains("denied"), (command, said))?;
    }
    Ok(())
}

fn ownership() -> Result<(), Failed> {
    let ran = Root::busybox()?.shell(
        "set -e; touch /tmp/a; chown 1000:65534 /tmp/a; chmod 4755 /tmp/a; stat -c '%u %g %a' /tmp/a
         mkdir -m 700 /root/x; chown 1000 /root/x; touch /root/x/y; chroot / true; rm -r /root/x; ln /tmp/a /tmp/b
         stat -c %h /tmp/b",
    )?;
    same((ran.stdout(), ran.stderr()), ("1000 65534 4755\n2\n".to_owned(), String::new()))
}

fn users_and_groups() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let id = |user: &str| -> Result<String, Failed> {
        let mut spec = SandboxSpec::new(["/bin/sh", "-c", "id -u; id -g; id -G; echo $HOME"]);
        spec.user = user.into();
        Ok(root.run(&spec)?.stdout().replace('\n', ";"))
    };
    same(id("root")?.as_str(), "0;0;0;/root;")?;
    same(id("build")?.as_str(), "1000;1000;1000 1001;/home;")?;
    same(id("1000")?.as_str(), "1000;1000;1000 1001;/home;")?;
    same(id("build:extra")?.as_str(), "1000;1001;1001;/home;")?;
    same(id("4000:4001")?.as_str(), "4000;4001;4001;/;")
}

fn failure(root: &Root, spec: &SandboxSpec) -> Result<String, Failed> {
    match root.run(spec) {
        Err(error @ SandboxError::Step(_)) => Ok(error.to_string()),
        other => Err(format!("{other:?}").into()),
    }
}

fn what_cannot_start() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let spec = SandboxSpec::new(["no-such-program"]);
    same(
        failure(&root, &spec)?.as_str(),
        "the command `no-such-program` is not in the image (searched \
         `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`)",
    )?;
    same(
        failure(&root, &SandboxSpec::new(["/nowhere/x"]))?.as_str(),
        "the command `/nowhere/x` is not in the image (searched `/nowhere/x`)",
    )?;
    let mut spec = SandboxSpec::new(["true"]);
    spec.workdir = "/nowhere".into();
    same(
        failure(&root, &spec)?.as_str(),
        "the working directory `/nowhere` cannot be entered: No such file or directory (os error 2); make it with a \
         `mkdir` step before",
    )?;
    let mut spec = SandboxSpec::new(["true"]);
    spec.user = "nobody-here".into();
    same(
        failure(&root, &spec)?.as_str(),
        "the user `nobody-here` is not in the image's `/etc/passwd`; add it with a `user` step before",
    )?;
    spec.user = "build:none".into();
    holds(failure(&root, &spec)?.starts_with("the group `none` is not in the image's"), "another message")?;
    root.shell(
        "echo x >/tmp/text; chmod 644 /tmp/text; echo '#!/bin/none' >/tmp/script; chmod 755 /tmp/script",
    )?;
    holds(
        failure(&root, &SandboxSpec::new(["/tmp/text"]))?.contains("Permission denied"),
        "another message",
    )?;
    holds(
        failure(&root, &SandboxSpec::new(["/tmp/script"]))?.contains("interpreter or loader"),
        "another message",
    )?;
    // A script without its interpreter's name is one for the shell.
    root.shell("echo 'echo plain $1' >/tmp/plain; chmod 755 /tmp/plain")?;
    same(root.run(&SandboxSpec::new(["/tmp/plain", "text"]))?.stdout(), "plain text\n".to_owned())?;
    holds(matches!(root.run(&SandboxSpec::new([""])), Err(SandboxError::NoCommand)), "another error")?;
    holds(
        matches!(root.run(&SandboxSpec::new(["a\0b"])), Err(SandboxError::BadString { .. })),
        "another error",
    )
}

fn no_network() -> Result<(), Failed> {
    let ran = Root::busybox()?.shell(
        "ip -o link | wc -l; ip -o addr show lo | head -n 1; ls /etc; nc -w 1 1.1.1.1 80 </dev/null",
    )?;
    let text = ran.stdout();
    holds(text.starts_with("1\n1: lo    inet 127.0.0.1/8"), &text)?;
    holds(!text.contains("resolv.conf"), &text)?;
    holds(ran.stderr().contains("unreachable"), ran.stderr())
}

fn networked(arguments: &str) -> SandboxSpec {
    let mut spec = SandboxSpec::new(["/bin/sh", "-c", arguments]);
    spec.network = Network::Host { metadata: false };
    spec
}

fn resolver() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let before = fs_err::metadata(root.folder.path().join("lower/etc"))?.modified()?;
    let ran =
        root.run(&networked("cat /etc/resolv.conf; echo changed >>/etc/resolv.conf; touch /etc/mine"))?;
    same(ran.stdout(), fs_err::read_to_string("/etc/resolv.conf")?)?;
    holds(ran.outcome.exit.success(), &ran)?;
    holds(ran.outcome.mount_targets.iter().any(|target| target == "etc/resolv.conf"), &ran.outcome)?;
    let mut left: Vec<_> =
        fs_err::read_dir(root.upper("etc"))?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    left.sort();
    same(left, vec!["mine".into()])?;
    let other = Root::busybox()?;
    other.run(&networked("true"))?;
    let now = rustix::fs::statat(&other.mount, "etc", rustix::fs::AtFlags::empty())?;
    let after = fs_err::metadata(other.folder.path().join("lower/etc"))?.modified()?;
    let wanted = after.duration_since(std::time::UNIX_EPOCH)?;
    same(
        (now.st_mtime.cast_unsigned(), now.st_mtime_nsec as u32),
        (wanted.as_secs(), wanted.subsec_nanos()),
    )?;
    holds(before <= after, "time runs backwards")?;
    holds(
        fs_err::read_to_string("/etc/resolv.conf")?.find("changed").is_none(),
        "the host's file was changed",
    )
}

fn linked_resolver() -> Result<(), Failed> {
    for target in ["../run/systemd/resolve/stub-resolv.conf", "/elsewhere/resolv.conf"] {
        let root = Root::with(|tree| {
            crate::support::busybox_tree(tree)?;
            Ok(fs_err::os::unix::fs::symlink(target, tree.join("etc/resolv.conf"))?)
        })?;
        let ran = root.run(&networked("cat /etc/resolv.conf"))?;
        same((ran.stdout(), ran.stderr()), (fs_err::read_to_string("/etc/resolv.conf")?, String::new()))?;
        holds(!root.upper("elsewhere").exists(), "a mount target was left")?;
    }
    Ok(())
}

fn binds() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let folder = tempfile::tempdir()?;
    fs_err::write(folder.path().join("script"), "echo from a bind; echo x >>$0 || echo read-only\n")?;
    let mut spec = SandboxSpec::new(["/bin/sh", "/tmp/deep/folder/script"]);
    spec.binds = vec![
        Bind {
            source: folder.path().join("script"),
            target: "/tmp/deep/folder/script".into(),
            writable: false,
        },
        Bind { source: folder.path().into(), target: "/run/folder".into(), writable: true },
    ];
    let ran = root.run(&spec)?;
    same(ran.stdout(), "from a bind\nread-only\n".to_owned())?;
    holds(!root.upper("tmp/deep").exists(), "a mount target was left")?;
    spec.arguments = ["/bin/sh", "-c", "echo new >/run/folder/new"].map(str::to_owned).to_vec();
    same(root.run(&spec)?.outcome.exit, Exit::Code(0))?;
    same(fs_err::read_to_string(folder.path().join("new"))?, "new\n".to_owned())?;
    spec.binds = vec![Bind { source: folder.path().into(), target: "/etc/passwd".into(), writable: false }];
    holds(
        failure(&root, &spec)?.starts_with("cannot mount over `/etc/passwd` in the image"),
        "another message",
    )?;
    spec.binds = vec![Bind { source: "/nonexistent".into(), target: "/x".into(), writable: false }];
    holds(matches!(root.run(&spec), Err(SandboxError::Bind { .. })), "a missing source was bound")
}

fn empty_root() -> Result<(), Failed> {
    let root = Root::with(|_| Ok(()))?;
    let busybox =
        ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| std::path::Path::new(path).exists());
    let mut spec = SandboxSpec::new(["/busybox", "ls", "/"]);
    spec.binds =
        vec![Bind { source: busybox.unwrap_or_default().into(), target: "/busybox".into(), writable: false }];
    same(root.run(&spec)?.stdout(), "busybox\ndev\nproc\nrun\nsys\n".to_owned())?;
    same(fs_err::read_dir(root.upper(""))?.count(), 0)
}

fn limits() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let mut spec = SandboxSpec::new(["cat", "/proc/self/limits"]);
    let line = |text: &str, name: &str| -> Vec<String> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_ascii_whitespace().take(2).map(str::to_owned).collect()
    };
    let text = root.run(&spec)?.stdout();
    same(line(&text, "Max core file size"), vec!["0".to_owned(), "0".to_owned()])?;
    same(line(&text, "Max open files").first().cloned(), Some("1024".to_owned()))?;
    // More than this process has is not an error, and not given.
    spec.limits.open_files = Some(u64::MAX / 2);
    spec.limits.file_size = Some(4096);
    let text = root.run(&spec)?.stdout();
    same(line(&text, "Max file size"), vec!["4096".to_owned(), "4096".to_owned()])
}

fn orphans() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let begun = Instant::now();
    // The orphan keeps the pipe open; were it not killed, the output would not end.
    let ran = root.shell("(sleep 1000 & ) ; (trap '' TERM HUP; sleep 1000) & echo done")?;
    same(ran.stdout(), "done\n".to_owned())?;
    holds(begun.elapsed() < Duration::from_secs(20), begun.elapsed())
}

fn kill_and_signal() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let spec = SandboxSpec::new([
        "/bin/sh",
        "-c",
        "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done",
    ]);
    runtime().block_on(async {
        for (signal, wanted) in [(true, Exit::Code(3)), (false, Exit::Signal(9))] {
            let mut step = Sandbox::new().spawn(&spec, root.mount.as_fd())?;
            let first = step.next_line().await?;
            same(first.map(|line| line.bytes), Some(b"ready".to_vec()))?;
            let killer = step.killer();
            if signal {
                killer.signal(rustix::process::Signal::TERM);
            } else {
                killer.kill();
            }
            let mut rest = Vec::new();
            let outcome =
                tokio::time::timeout(Duration::from_secs(20), step.wait_with(|line| rest.push(line)))
                    .await??;
            same(outcome.exit, wanted)?;
            if signal {
                holds(rest.iter().any(|line| line.bytes == b"asked" && line.stream == Stream::Stdout), rest)?;
            }
        }
        Ok(())
    })
}

fn dropping() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let spec =
        SandboxSpec::new(["/bin/sh", "-c", "echo ready; while :; do touch /tmp/alive; sleep 0.02; done"]);
    runtime().block_on(async {
        let mut step = Sandbox::new().spawn(&spec, root.mount.as_fd())?;
        step.next_line().await?;
        let _killer_held_elsewhere = step.killer();
        drop(step);
        let alive = root.upper("tmp/alive");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            let _ = fs_err::remove_file(&alive);
            tokio::time::sleep(Duration::from_millis(300)).await;
            if !alive.exists() {
                return Ok(());
            }
        }
        Err("the step still runs".into())
    })
}

fn several_steps() -> Result<(), Failed> {
    let root = Root::busybox()?;
    for number in 1..=3 {
        let ran = root.shell("echo x >>/count; wc -l </count")?;
        same(ran.stdout(), format!("{number}\n"))?;
    }
    Ok(())
}

fn writes() -> Result<(), Failed> {
    let root = Root::busybox()?;
    let lower = root.folder.path().join("lower");
    let before = fs_err::read(lower.join("etc/passwd"))?;
    let ran = root
        .shell("echo x >/etc/passwd; rm /etc/group; echo y >/new; cd /; echo z >../../../../outside; ls /")?;
    holds(ran.outcome.exit.success(), ran.stderr())?;
    same(fs_err::read(lower.join("etc/passwd"))?, before)?;
    holds(lower.join("etc/group").exists(), "the lower layer was changed")?;
    holds(root.upper("new").exists() && root.upper("outside").exists(), "a write is missing")?;
    holds(!std::path::Path::new("/outside").exists(), "a write reached the host")?;
    holds(
        matches!(
            root.run(&SandboxSpec::new(["/nowhere"])),
            Err(SandboxError::Step(StepFailure::CommandNotFound { .. }))
        ),
        "another error",
    )
}
