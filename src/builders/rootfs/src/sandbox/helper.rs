//! The supervisor: what `imgbuild __sandbox` does first and last.
//!
//! It has one thread until the step runs; later ones only serve connections (see [`super::metadata`]). It stays in
//! imgbuild's namespaces, so that it outlives the sandbox and can tell how it ended.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::outcome::{Exit, Outcome, StepFailure};
use super::targets::Targets;
use super::wire::{InitEvent, Order, Report};
use super::{init, metadata, passing};
use crate::mounts::last_errno;

/// What the helper was handed besides the order.
pub(crate) struct Handed {
    pub root: OwnedFd,
    pub binds: Vec<OwnedFd>,
    pub emulator: Option<OwnedFd>,
}

/// The whole life of the sandbox's helper. `main` calls this before anything else when the first argument is
/// [`super::HELPER_ARGUMENT`]; standard input is the control socket.
pub fn helper_main() -> ! {
    let code = match rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3) {
        Ok(control) => {
            let report = match run(control.as_fd()) {
                Ok(outcome) => Report::Ended(outcome),
                Err(failure) => Report::Failed(failure),
            };
            let written = serde_json::to_vec(&report)
                .map_err(std::io::Error::from)
                .and_then(|bytes| File::from(control).write_all(&bytes));
            i32::from(written.is_err())
        }
        Err(_) => 2,
    };
    std::process::exit(code)
}

fn run(control: BorrowedFd<'_>) -> Result<Outcome, StepFailure> {
    let (order, mut handed, stdin) = receive_order(control)?;
    ignore_terminal_signals();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if !order.interactive {
        // Keys typed at imgbuild's terminal are imgbuild's business. It fails for a group leader, which has none.
        let _ = rustix::process::setsid();
    }
    let foreground = order.interactive.then(|| rustix::termios::tcgetpgrp(&stdin).ok()).flatten();
    rustix::stdio::dup2_stdin(&stdin).map_err(StepFailure::system("set up the step's input"))?;
    drop(stdin);
    let targets = Targets::prepare(handed.root.as_fd(), &order)?;
    let result = supervise(control, &order, &mut handed, &targets);
    if let Some(group) = foreground {
        let _ = rustix::termios::tcsetpgrp(std::io::stdin(), group);
    }
    let mount_targets = targets.paths();
    targets.undo();
    result.map(|outcome| Outcome { mount_targets, ..outcome })
}

fn receive_order(control: BorrowedFd<'_>) -> Result<(Order, Handed, OwnedFd), StepFailure> {
    let (_, descriptors) =
        passing::receive(control).map_err(StepFailure::system("receive the step's order"))?;
    let incomplete = || StepFailure::System {
        action: "receive the step's order".into(),
        reason: "imgbuild ended, or this program was started by hand".into(),
    };
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(incomplete);
    let (order, root, stdin) = (next()?, next()?, next()?);
    let mut text = Vec::new();
    File::from(order).read_to_end(&mut text).map_err(StepFailure::system("read the step's order"))?;
    let order: Order = serde_json::from_slice(&text).map_err(StepFailure::system("read the step's order"))?;
    let binds = order.binds.iter().map(|_| next()).collect::<Result<_, _>>()?;
    let emulator = order.emulator.as_ref().map(|_| next()).transpose()?;
    Ok((order, Handed { root, binds, emulator }, stdin))
}

/// Ctrl-C reaches the helper too when it shares the terminal; it ends when imgbuild says so or ends itself.
fn ignore_terminal_signals() {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTSTP, libc::SIGTTOU, libc::SIGTTIN] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

fn supervise(
    control: BorrowedFd<'_>,
    order: &Order,
    handed: &mut Handed,
    targets: &Targets,
) -> Result<Outcome, StepFailure> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(StepFailure::system("make a socket pair"))?;
    // `unshare` would leave this process unable to start threads: they would belong to another pid namespace.
    let flags = libc::c_long::from(libc::CLONE_NEWPID | libc::SIGCHLD);
    // SAFETY: without a stack or shared memory this is `fork`. This process has one thread, so the child may do all
    // that this process may; what the C library would do besides (the locks of other threads) is not needed.
    let pid = match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => return Err(StepFailure::Namespaces { reason: last_errno().to_string() }),
        0 => {
            drop(ours);
            init::main(order, handed, targets, theirs.as_fd())
        }
        pid => i32::try_from(pid).ok().and_then(Pid::from_raw),
    };
    drop(theirs);
    let Some(pid) = pid else {
        return Err(StepFailure::Namespaces { reason: "no process id".into() });
    };
    release_output();
    let end = watch(control, ours.as_fd(), pid);
    // Packets that were sent before pid 1 ended are still there; by now everything in the sandbox is dead.
    let _ = waitpid(Some(pid), WaitOptions::empty());
    match end {
        End { failure: Some(failure), .. } => Err(failure),
        End { ended: Some(InitEvent::Ended { exit, duration, usage }), .. } => {
            Ok(Outcome { exit, duration, usage, mount_targets: Vec::new() })
        }
        End { cancelled: true, started, .. } => Ok(Outcome {
            exit: Exit::Signal(libc::SIGKILL),
            duration: started.elapsed(),
            usage: super::Usage::default(),
            mount_targets: Vec::new(),
        }),
        _ => Err(StepFailure::System {
            action: "run the step".into(),
            reason: "the sandbox's first process was killed; the machine may be out of memory".into(),
        }),
    }
}

/// The pipes must end when the step does, not when the supervisor does.
fn release_output() {
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

struct End {
    failure: Option<StepFailure>,
    ended: Option<InitEvent>,
    cancelled: bool,
    started: std::time::Instant,
}

/// Serves until pid 1 is gone.
fn watch(control: BorrowedFd<'_>, init: BorrowedFd<'_>, pid: Pid) -> End {
    let mut end = End { failure: None, ended: None, cancelled: false, started: std::time::Instant::now() };
    let mut listener: Option<std::sync::Arc<OwnedFd>> = None;
    loop {
        let mut watched = vec![PollFd::from_borrowed_fd(init, PollFlags::IN)];
        if !end.cancelled {
            watched.push(PollFd::from_borrowed_fd(control, PollFlags::IN));
        }
        let listener_at = watched.len();
        if let Some(listener) = &listener {
            watched.push(PollFd::new(listener.as_ref(), PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => {
                let _ = kill_process(pid, Signal::KILL);
                return end;
            }
        }
        let ready: Vec<PollFlags> = watched.iter().map(PollFd::revents).collect();
        if ready.get(listener_at).is_some_and(|flags| flags.contains(PollFlags::IN)) {
            if let Some(listener) = &listener {
                metadata::serve_one(listener);
            }
        } else if ready.get(listener_at).is_some_and(|flags| !flags.is_empty()) {
            // Nobody is left whom the filter binds.
            listener = None;
        }
        if !end.cancelled && ready.get(1).is_some_and(|flags| !flags.is_empty()) {
            let mut bytes = [0; 64];
            match rustix::io::read(control, &mut bytes) {
                Ok(0) => {
                    end.cancelled = true;
                    let _ = kill_process(pid, Signal::KILL);
                }
                Ok(count) => {
                    let _ = passing::send(init, &bytes[..count], &[]);
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => {
                    end.cancelled = true;
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
        if !ready[0].is_empty() {
            let Ok((bytes, mut descriptors)) = passing::receive(init) else { return end };
            if bytes.is_empty() {
                return end;
            }
            match serde_json::from_slice(&bytes) {
                Ok(InitEvent::Listener) => listener = descriptors.pop().map(std::sync::Arc::new),
                Ok(InitEvent::Failed(failure)) => {
                    end.failure.get_or_insert(failure);
                }
                Ok(ended @ InitEvent::Ended { .. }) => end.ended = Some(ended),
                Err(_) => {}
            }
        }
    }
}
