//! Pid 1 of the sandbox: takes the remaining namespaces, builds the root, starts the command, reaps, forwards signals.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::helper::Handed;
use super::outcome::{Exit, StepFailure, Usage};
use super::targets::Targets;
use super::wire::{InitEvent, Order, WireNetwork};
use super::{passing, root, step};
use crate::binfmt;
use crate::mounts::last_errno;

/// The machine's name inside.
const HOST_NAME: &[u8] = b"imgbuild";

/// Runs as pid 1 until the command has ended. The kernel then kills whatever else is in the namespace.
pub(crate) fn main(order: &Order, handed: &mut Handed, targets: &Targets, supervisor: BorrowedFd<'_>) -> ! {
    let code = match start(order, handed, targets, supervisor) {
        Ok(child) => {
            tend(child, supervisor);
            0
        }
        Err(failure) => {
            say(supervisor, &InitEvent::Failed(failure), &[]);
            1
        }
    };
    // SAFETY: ends this process at once; it shares nothing that an exit handler would have to tidy.
    unsafe { libc::_exit(code) }
}

/// Tells the supervisor; it reads until this process is gone.
pub(crate) fn say(supervisor: BorrowedFd<'_>, event: &InitEvent, descriptors: &[BorrowedFd<'_>]) {
    if let Ok(bytes) = serde_json::to_vec(event) {
        let _ = passing::send(supervisor, &bytes, descriptors);
    }
}

struct Started {
    pid: Pid,
    since: Instant,
    signals: OwnedFd,
}

fn start(
    order: &Order,
    handed: &mut Handed,
    targets: &Targets,
    supervisor: BorrowedFd<'_>,
) -> Result<Started, StepFailure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(StepFailure::system("tie the sandbox to its supervisor"))?;
    let mut namespaces =
        UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    if order.network == WireNetwork::None {
        namespaces |= UnshareFlags::NEWNET;
    }
    // SAFETY: no descriptor table is unshared.
    unsafe { unshare_unsafe(namespaces) }
        .map_err(|error| StepFailure::Namespaces { reason: error.to_string() })?;
    rustix::system::sethostname(HOST_NAME).map_err(StepFailure::system("name the sandbox"))?;
    if order.network == WireNetwork::None {
        raise_loopback().map_err(StepFailure::system("start the loopback interface"))?;
    }
    root::enter(order, handed, targets)?;
    if let (Some(emulator), Some(interpreter)) = (&order.emulator, &handed.emulator) {
        binfmt::enter_private(&emulator.magic, interpreter.as_fd()).map_err(|reason| {
            StepFailure::Emulation { architecture: emulator.architecture.clone(), reason }
        })?;
    }
    let signals = child_signals().map_err(StepFailure::system("watch the step"))?;
    let since = Instant::now();
    // SAFETY: this process has one thread, so the child may do all that this process may.
    match unsafe { libc::fork() } {
        -1 => Err(StepFailure::system("start the step")(last_errno())),
        0 => step::main(order, supervisor),
        pid => {
            let pid = Pid::from_raw(pid).ok_or_else(|| StepFailure::System {
                action: "start the step".into(),
                reason: "no process id".into(),
            })?;
            Ok(Started { pid, since, signals })
        }
    }
}

/// `SIGCHLD` as a descriptor, so that one `poll` waits for children and for the supervisor.
fn child_signals() -> Result<OwnedFd, Errno> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initializes the set before it is used.
    let descriptor = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) != 0 {
            return Err(last_errno());
        }
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if descriptor < 0 {
        return Err(last_errno());
    }
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn tend(step: Started, supervisor: BorrowedFd<'_>) {
    loop {
        let mut watched =
            [PollFd::new(&step.signals, PollFlags::IN), PollFd::from_borrowed_fd(supervisor, PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let [children, orders] = watched.map(|watched| watched.revents());
        if !orders.is_empty() {
            match passing::receive(supervisor) {
                Ok((numbers, _)) if !numbers.is_empty() => forward(step.pid, &numbers),
                _ => return,
            }
        }
        if !children.is_empty() {
            let mut drained = [0; 1024];
            let _ = rustix::io::read(&step.signals, &mut drained);
            if let Some((exit, usage)) = reap(step.pid) {
                let duration = step.since.elapsed();
                say(supervisor, &InitEvent::Ended { exit, duration, usage }, &[]);
                return;
            }
        }
    }
}

/// Signals go to the step's process group, as they would from a terminal.
fn forward(step: Pid, numbers: &[u8]) {
    for number in numbers {
        // SAFETY: sends a signal; the group is this namespace's own.
        unsafe { libc::kill(-step.as_raw_nonzero().get(), i32::from(*number)) };
    }
}

/// Collects every dead child; the step's own end is what counts, orphans are only buried.
fn reap(step: Pid) -> Option<(Exit, Usage)> {
    loop {
        let mut status = 0;
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: both pointers are valid; `rusage` is plain numbers, for which zero is a value.
        let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
        if pid <= 0 {
            return None;
        }
        if pid != step.as_raw_nonzero().get() {
            continue;
        }
        // SAFETY: zeroed above, and filled by `wait4`.
        let usage = unsafe { usage.assume_init() };
        let exit = if libc::WIFSIGNALED(status) {
            Exit::Signal(libc::WTERMSIG(status))
        } else {
            Exit::Code(libc::WEXITSTATUS(status))
        };
        let time = |time: libc::timeval| {
            Duration::new(
                u64::try_from(time.tv_sec).unwrap_or_default(),
                u32::try_from(time.tv_usec).unwrap_or_default() * 1000,
            )
        };
        let kilobytes = u64::try_from(usage.ru_maxrss).unwrap_or_default();
        return Some((
            exit,
            Usage {
                user: time(usage.ru_utime),
                system: time(usage.ru_stime),
                max_resident: kilobytes * 1024,
            },
        ));
    }
}

/// Sets the `lo` interface of the new network namespace up.
fn raise_loopback() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an `ifreq` is plain bytes, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed() as libc::c_char;
    }
    // SAFETY: the flags are the field that both requests use, and the pointer is valid during the calls.
    unsafe {
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) != 0 {
            return Err(last_errno());
        }
        request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) != 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}
