//! The last process before the command: gives up what the command must not have, then becomes it.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::outcome::StepFailure;
use super::wire::{InitEvent, Order, WireNetwork};
use super::{DEFAULT_PATH, init, seccomp};
use crate::files::accounts::Identity;
use crate::mounts::last_errno;

/// What root inside may do: own and change every file of the image, be another user, listen on low ports. The same
/// for real root and in a user namespace, so that a step that works for one works for the other.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SETFCAP);

/// Open files of a process unless the step says otherwise: some programs close every possible one when they start.
const SOFT_OPEN_FILES: u64 = 1024;

/// Becomes the command, or tells the supervisor why not.
pub(crate) fn main(order: &Order, supervisor: BorrowedFd<'_>) -> ! {
    let failure = match become_command(order, supervisor) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    init::say(supervisor, &InitEvent::Failed(failure), &[]);
    // SAFETY: ends this process at once; it shares nothing that an exit handler would have to tidy.
    unsafe { libc::_exit(127) }
}

fn become_command(
    order: &Order,
    supervisor: BorrowedFd<'_>,
) -> Result<std::convert::Infallible, StepFailure> {
    take_terminal(order)?;
    if order.merge_stderr {
        rustix::stdio::dup2_stderr(std::io::stdout())
            .map_err(StepFailure::system("merge the step's output"))?;
    }
    reset_signals();
    set_limits(order).map_err(StepFailure::system("limit the step's resources"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let identity = identity(&order.user)?;
    let program = Program::prepare(order, &identity)?;
    rustix::process::chdir(order.workdir.as_str())
        .map_err(|error| StepFailure::Workdir { path: order.workdir.clone(), reason: error.to_string() })?;
    // Whatever else is open, ours or inherited from whoever started imgbuild, ends with the exec.
    // SAFETY: sets a flag of descriptors; none is closed under its owner.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) } != 0 {
        return Err(StepFailure::system("close descriptors")(last_errno()));
    }
    confine(order, supervisor)?;
    give_up_privileges(&identity).map_err(StepFailure::system("give up privileges"))?;
    Err(program.execute())
}

/// A shell for a person gets the terminal; any other step a session without one.
fn take_terminal(order: &Order) -> Result<(), StepFailure> {
    if !order.interactive {
        return rustix::process::setsid()
            .map(|_| ())
            .map_err(StepFailure::system("start a session for the step"));
    }
    // Its own process group in front, so that Ctrl-C reaches it and not imgbuild. Not every input is a terminal.
    let _ = rustix::process::setpgid(None, None);
    if rustix::termios::isatty(std::io::stdin()) {
        let _ = rustix::termios::tcsetpgrp(std::io::stdin(), rustix::process::getpid());
    }
    Ok(())
}

/// Ignored and blocked signals would outlive the exec.
fn reset_signals() {
    for signal in 1..=64 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: restores a default; the two signals between that the C library keeps are refused harmlessly.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initializes the set before it is used.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Lowers limits. Raising one needs a privilege that containers often lack, so it is never tried.
fn set_limits(order: &Order) -> Result<(), Errno> {
    let lower = |resource, soft: Option<u64>, hard: Option<u64>| {
        let now = getrlimit(resource);
        let least = |now: Option<u64>, wanted: Option<u64>| match (now, wanted) {
            (Some(now), Some(wanted)) => Some(now.min(wanted)),
            (now, None) => now,
            (None, wanted) => wanted,
        };
        let maximum = least(now.maximum, hard);
        let current = least(least(now.current, soft), maximum);
        setrlimit(resource, Rlimit { current, maximum })
    };
    let limits = order.limits;
    lower(Resource::Core, Some(0), Some(0))?;
    let files = limits.open_files;
    lower(Resource::Nofile, Some(files.unwrap_or(SOFT_OPEN_FILES)), files)?;
    lower(Resource::As, limits.address_space, limits.address_space)?;
    lower(Resource::Fsize, limits.file_size, limits.file_size)?;
    lower(Resource::Cpu, limits.cpu_seconds, limits.cpu_seconds)
}

/// Who the step runs as, by the image's own accounts; the image is the root by now.
pub(crate) fn identity(user: &str) -> Result<Identity, StepFailure> {
    use crate::files::accounts::IdentityError;
    let read = |path: &str| fs_err::read(path).unwrap_or_default();
    Identity::find(user, &read("/etc/passwd"), &read("/etc/group")).map_err(|error| match error {
        IdentityError::UnknownUser { name } => StepFailure::UnknownUser { name },
        IdentityError::UnknownGroup { name } => StepFailure::UnknownGroup { name },
    })
}

/// `no_new_privs`, the kernel interfaces that a step may use, and the watch over its connections.
fn confine(order: &Order, supervisor: BorrowedFd<'_>) -> Result<(), StepFailure> {
    if !order.allow_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(StepFailure::system("set `no_new_privs`"))?;
    }
    if order.network != WireNetwork::None {
        seccomp::keep_from_abstract_sockets().map_err(StepFailure::system("restrict local sockets"))?;
    }
    let watched = order.network == WireNetwork::Host;
    let listener = seccomp::install(watched).map_err(StepFailure::system("install the seccomp filter"))?;
    if let Some(listener) = listener {
        init::say(supervisor, &InitEvent::Listener, &[listener.as_fd()]);
    }
    Ok(())
}

fn give_up_privileges(identity: &Identity) -> Result<(), Errno> {
    use rustix::fs::{Gid, Uid};
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !KEPT.contains(capability) {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // The first number that this kernel does not know.
                Err(Errno::INVAL) => break,
                other => other?,
            }
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let gid = Gid::from_raw(identity.gid);
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    // With one thread, the thread's identity is the process'.
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // Another user than root has lost them all by now.
    let kept = if uid.is_root() { KEPT } else { CapabilitySet::empty() };
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}

/// What to execute, ready before privileges are given up: nothing is allocated or read afterwards.
struct Program {
    command: String,
    search_path: String,
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    fn prepare(order: &Order, identity: &Identity) -> Result<Self, StepFailure> {
        let text = |value: &str| {
            CString::new(value).map_err(StepFailure::system(format!("pass `{}`", value.escape_default())))
        };
        let mut environment = order.environment.clone();
        environment.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        environment.entry("HOME".into()).or_insert_with(|| identity.home.clone());
        let search_path = environment["PATH"].clone();
        let command = order.arguments.first().cloned().unwrap_or_default();
        let candidates = if command.contains('/') {
            vec![text(&command)?]
        } else {
            search_path
                .split(':')
                .filter(|folder| folder.starts_with('/'))
                .map(|folder| text(&format!("{folder}/{command}")))
                .collect::<Result<_, _>>()?
        };
        Ok(Self {
            candidates,
            arguments: order.arguments.iter().map(|argument| text(argument)).collect::<Result<_, _>>()?,
            environment: environment
                .iter()
                .map(|(name, value)| text(&format!("{name}={value}")))
                .collect::<Result<_, _>>()?,
            command,
            search_path,
        })
    }

    /// Tries each place; returns only to say what is wrong with all of them.
    fn execute(self) -> StepFailure {
        let mut refused = None;
        for candidate in &self.candidates {
            let error = execute(candidate, &self.arguments, &self.environment);
            if error == Errno::NOEXEC && is_script(candidate) {
                // As every shell does with a script that does not name its interpreter.
                let mut arguments = vec![c"sh".to_owned(), candidate.clone()];
                arguments.extend(self.arguments.iter().skip(1).cloned());
                execute(c"/bin/sh", &arguments, &self.environment);
            }
            match error {
                Errno::NOENT | Errno::NOTDIR if !exists(candidate) => {}
                Errno::NOENT => {
                    refused = Some("the interpreter or loader that it names is not in the image".to_owned());
                }
                Errno::NOEXEC => {
                    refused = Some(format!("{error}; it may be a program of another architecture"));
                }
                error => refused = Some(error.to_string()),
            }
        }
        match refused {
            Some(reason) => StepFailure::NotExecutable { command: self.command, reason },
            None if self.command.contains('/') => {
                StepFailure::CommandNotFound { path: self.command.clone(), command: self.command }
            }
            None => StepFailure::CommandNotFound { command: self.command, path: self.search_path },
        }
    }
}

fn exists(path: &CString) -> bool {
    rustix::fs::access(path.as_c_str(), rustix::fs::Access::EXISTS).is_ok()
}

/// Whether a file that the kernel does not execute is text rather than some program.
fn is_script(path: &CString) -> bool {
    let Ok(file) = rustix::fs::open(path.as_c_str(), rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
    else {
        return false;
    };
    let mut start = [0; 128];
    rustix::io::read(&file, &mut start).is_ok_and(|read| !start[..read].contains(&0))
}

fn execute(path: &std::ffi::CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: the path is a C string, both arrays end with a null pointer and outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    last_errno()
}
