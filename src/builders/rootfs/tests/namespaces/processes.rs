//! What happens to a step when imgbuild is killed, and at a terminal: this program plays imgbuild.

use std::io::{BufRead as _, Read as _, Write as _};

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use imgbuild_rootfs::sandbox::SandboxSpec;
use libtest_mimic::{Failed, Trial};

use crate::support::{Root, holds, same};

const HANG: &str = "__hang";
const SHELL: &str = "__shell";

pub fn add(prefix: &str, tests: &mut Vec<Trial>) {
    let mut test = |name: &str, body: fn() -> Result<(), Failed>| {
        tests.push(Trial::test(format!("{prefix}::process::{name}"), body));
    };
    test("a_step_dies_with_a_killed_imgbuild", killed);
    test("a_step_dies_with_a_killed_helper", helper_killed);
    test("a_shell_has_the_terminal", terminal);
}

/// The other things that this program can be.
pub fn other_main() -> Option<ExitCode> {
    let body = match std::env::args().nth(1).as_deref()? {
        HANG => hang,
        SHELL => shell,
        _ => return None,
    };
    Some(match body() {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::from(254)
        }
    })
}

fn hang() -> Result<i32, Failed> {
    let root = Root::busybox()?;
    println!("{}", root.upper("tmp/alive").display());
    root.shell("while :; do touch /tmp/alive; sleep 0.02; done")?;
    Ok(0)
}

fn shell() -> Result<i32, Failed> {
    let mut spec = SandboxSpec::new(["/bin/sh"]);
    spec.interactive = true;
    let ran = Root::busybox()?.run(&spec)?;
    Ok(ran.outcome.exit.shell_code())
}

/// Starts this program with a hanging step and waits until that runs. Returns it and the file that the step touches.
fn hanging() -> Result<(Child, std::path::PathBuf), Failed> {
    let mut child = Command::new(std::env::current_exe()?).arg(HANG).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
    let alive = std::path::PathBuf::from(line.trim());
    let begun = Instant::now();
    while !alive.exists() {
        holds(begun.elapsed() < Duration::from_secs(20), "the step does not run")?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok((child, alive))
}

/// Waits until nobody touches the file any more.
fn is_dead(alive: &std::path::Path) -> Result<(), Failed> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        let _ = fs_err::remove_file(alive);
        std::thread::sleep(Duration::from_millis(300));
        if !alive.exists() {
            if let Some(folder) = alive.ancestors().nth(3) {
                fs_err::remove_dir_all(folder)?;
            }
            return Ok(());
        }
    }
    Err("the step still runs".into())
}

fn killed() -> Result<(), Failed> {
    let (mut child, alive) = hanging()?;
    child.kill()?;
    child.wait()?;
    is_dead(&alive)
}

fn helper_killed() -> Result<(), Failed> {
    let (mut child, alive) = hanging()?;
    let children = fs_err::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()))?;
    let helper: i32 = children.split_ascii_whitespace().next().ok_or("no helper")?.parse()?;
    let helper = rustix::process::Pid::from_raw(helper).ok_or("no helper")?;
    rustix::process::kill_process(helper, rustix::process::Signal::KILL)?;
    // It says that the helper died, and does not wait for ever.
    same(child.wait()?.code(), Some(254))?;
    let begun = Instant::now();
    while alive.exists() {
        holds(begun.elapsed() < Duration::from_secs(20), "the step or its folder is still there")?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn terminal() -> Result<(), Failed> {
    let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let open = || {
        rustix::fs::open(
            name.as_c_str(),
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY,
            rustix::fs::Mode::empty(),
        )
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(SHELL).stdin(open()?).stdout(open()?).stderr(open()?);
    // SAFETY: two system calls, nothing that another thread could hold.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(std::io::stdin())?;
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    drop(command);
    let mut writer = std::fs::File::from(master.try_clone()?);
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let mut bytes = [0; 1024];
        let mut master = std::fs::File::from(master);
        // The last close of the other side is an error here, not an end.
        while let Ok(read @ 1..) = master.read(&mut bytes) {
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        text
    });
    // Ctrl-C ends the command in the shell, and neither the shell nor the program that plays imgbuild.
    std::thread::sleep(Duration::from_millis(500));
    writer.write_all(b"test -t 0 && echo is-a-$((1+1))-terminal; sleep 1000\n")?;
    std::thread::sleep(Duration::from_millis(700));
    writer.write_all(&[3])?;
    std::thread::sleep(Duration::from_millis(300));
    writer.write_all(b"exit 5\n")?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(20) {
            child.kill()?;
            break child.wait()?;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    drop(writer);
    let text = reader.join().map_err(|_| "the reader panicked")?;
    same((status.code(), text.contains("is-a-2-terminal")), (Some(5), true))
        .map_err(|_| Failed::from(format!("{status}: {text}")))
}
