//! Makes this process root over its own mounts: really, or in a user namespace.
//!
//! [`enter`] is called once, first thing, before any thread exists. For real root it takes a private mount namespace.
//! For anyone else it puts the process into a new user namespace in which it is root, with the user's subordinate ids
//! mapped (as `podman unshare` does), and executes the program again *in place*: process id, terminal, signals and
//! exit code stay what they were, so nothing has to be forwarded. Not here: what is then done with that power.

mod subordinate;

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{getegid, geteuid, getuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

pub use subordinate::{IdRange, SubordinateIds};

/// Set for the re-executed program, so that a namespace without effect cannot start it again and again.
const MARKER: &str = "IMGBUILD_IN_USER_NAMESPACE";

/// Ids up to `nobody` (65534) must exist for a Debian image to be written.
const NEEDED_IDS: u32 = 65_534;

/// In what way this process is root now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It is the machine's root, in a mount namespace of its own.
    Root,
    /// It is root in a user namespace that belongs to an ordinary user.
    UserNamespace,
}

/// Why this process cannot become root over its own mounts. Each says what to switch on.
#[derive(Debug, thiserror::Error)]
pub enum UsernsError {
    /// `newuidmap` or `newgidmap` is not installed.
    #[error(
        "`{program}` is not installed; building without root needs it: `sudo apt-get install uidmap` (elsewhere the package is `shadow-utils` or `shadow`)"
    )]
    MissingMapper {
        /// Which program.
        program: &'static str,
    },
    /// The user has no subordinate ids.
    #[error("the user `{user}` has no subordinate ids in `{}`; building without root needs them: `sudo usermod --add-subuids {start}-{end} --add-subgids {start}-{end} {user}`", file.display())]
    NoSubordinateIds {
        /// The user's name, or number where it has none.
        user: String,
        /// `/etc/subuid` or `/etc/subgid`.
        file: PathBuf,
        /// The first id of a range that is free.
        start: u32,
        /// The last one.
        end: u32,
    },
    /// The user's ranges are too small for an image.
    #[error("the user `{user}` has only {count} subordinate ids in `{}`, and an image needs {NEEDED_IDS}; add a range: `sudo usermod --add-subuids {start}-{end} --add-subgids {start}-{end} {user}`", file.display())]
    TooFewSubordinateIds {
        /// The user's name.
        user: String,
        /// `/etc/subuid` or `/etc/subgid`.
        file: PathBuf,
        /// How many there are.
        count: u32,
        /// The first id of a range that is free.
        start: u32,
        /// The last one.
        end: u32,
    },
    /// Debian's switch for user namespaces is off.
    #[error(
        "user namespaces are switched off for ordinary users; switch them on with `sudo sysctl -w kernel.unprivileged_userns_clone=1`, or run as root"
    )]
    UnprivilegedCloneOff,
    /// No further user namespace may be made.
    #[error(
        "no more user namespaces may be made (`user.max_user_namespaces` is {limit}); raise it with `sudo sysctl -w user.max_user_namespaces=15000`, or run as root"
    )]
    NamespaceLimit {
        /// The limit.
        limit: u64,
    },
    /// AppArmor takes all privileges from user namespaces (Ubuntu 23.10 and newer).
    #[error(
        "AppArmor forbids ordinary users to use user namespaces; switch it off with `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or give this program an AppArmor profile with `userns,`, or run as root"
    )]
    AppArmor,
    /// The kernel was built without user namespaces.
    #[error("this kernel has no user namespaces (CONFIG_USER_NS); run as root")]
    NotInKernel,
    /// Something else forbids it: a container's seccomp filter, a chroot.
    #[error(
        "this environment forbids user namespaces (a container without `--security-opt seccomp=unconfined`, or a chroot); run as root or outside of it: {source}"
    )]
    Forbidden {
        /// What the kernel said.
        source: Errno,
    },
    /// Root without the right to mount, as in a container that is not privileged.
    #[error(
        "this process is root but may not mount (CAP_SYS_ADMIN is missing, as in a container without `--privileged`): {source}"
    )]
    RootMayNotMount {
        /// What the kernel said.
        source: Errno,
    },
    /// Root in a user namespace that maps too few ids.
    #[error(
        "this process is root in a user namespace with only {count} ids, and an image needs {NEEDED_IDS}; start it outside of that namespace"
    )]
    TooFewIdsInNamespace {
        /// How many ids are mapped.
        count: u32,
    },
    /// `newuidmap` refused the map.
    #[error(
        "`{program}` could not map the subordinate ids (is it set-user-id root, and its file system not mounted `nosuid`?): {message}"
    )]
    MapRefused {
        /// Which program.
        program: &'static str,
        /// What it printed.
        message: String,
    },
    /// The namespace was made, but without effect.
    #[error("the new user namespace has no effect: the effective user id is {uid} in it")]
    NoEffect {
        /// The effective user id.
        uid: u32,
    },
    /// [`enter`] was called too late.
    #[error("a user namespace must be entered before the first thread starts ({threads} run)")]
    Threads {
        /// How many there are.
        threads: usize,
    },
    /// A system call or file failed that should not.
    #[error("cannot {action}")]
    System {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl UsernsError {
    fn system<E: Into<std::io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { action, source: source.into() }
    }
}

/// Whether this process is in another user namespace than the machine's first.
#[must_use]
pub fn in_user_namespace() -> bool {
    fs_err::read_to_string("/proc/self/uid_map").is_ok_and(|map| mapped_ids(&map) != u32::MAX)
}

/// Makes this process root over its own mounts, see the module.
///
/// `arguments` are the program's own, its name first. For an ordinary user this returns only in the program executed
/// anew; for anyone it must be called while the process has one thread.
///
/// # Errors
///
/// [`UsernsError`], which says what the machine lacks.
pub fn enter(arguments: impl IntoIterator<Item = OsString>) -> Result<Entered, UsernsError> {
    let threads = fs_err::read_dir("/proc/self/task")
        .map_err(UsernsError::system("count the threads of this process"))?
        .count();
    if threads != 1 {
        return Err(UsernsError::Threads { threads });
    }
    let again = std::env::var_os(MARKER).is_some();
    if geteuid().is_root() {
        // SAFETY: there is one thread, so nobody reads the environment at the same time.
        unsafe { std::env::remove_var(MARKER) };
        let map = fs_err::read_to_string("/proc/self/uid_map")
            .map_err(UsernsError::system("read the user namespace's map"))?;
        return if again { after_execution(&map) } else { as_root(&map) };
    }
    if again {
        return Err(UsernsError::NoEffect { uid: geteuid().as_raw() });
    }
    Err(execute_in_namespace(arguments))
}

/// Root already, of the machine or of a namespace that somebody else made.
fn as_root(map: &str) -> Result<Entered, UsernsError> {
    let count = mapped_ids(map);
    if count < NEEDED_IDS {
        return Err(UsernsError::TooFewIdsInNamespace { count });
    }
    // SAFETY: no descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
        .map_err(|source| UsernsError::RootMayNotMount { source })?;
    make_mounts_private().map_err(|source| UsernsError::RootMayNotMount { source })?;
    Ok(if count == u32::MAX { Entered::Root } else { Entered::UserNamespace })
}

/// The program runs again, in the namespaces that it made before.
fn after_execution(map: &str) -> Result<Entered, UsernsError> {
    let count = mapped_ids(map);
    if count < NEEDED_IDS {
        return Err(UsernsError::TooFewIdsInNamespace { count });
    }
    make_mounts_private().map_err(|error| Switches::read().diagnose(error))?;
    Ok(Entered::UserNamespace)
}

/// Nothing mounted here shows elsewhere, and nothing mounted elsewhere from now on shows here.
fn make_mounts_private() -> Result<(), Errno> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
}

/// How many ids a `uid_map` maps; `u32::MAX` for the machine's first namespace.
fn mapped_ids(map: &str) -> u32 {
    map.lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u32>().ok())
        .fold(0, u32::saturating_add)
}

/// Makes the namespaces and executes the program in them; returns only to say why not.
fn execute_in_namespace(arguments: impl IntoIterator<Item = OsString>) -> UsernsError {
    match try_execute_in_namespace(arguments.into_iter().collect()) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn try_execute_in_namespace(arguments: Vec<OsString>) -> Result<std::convert::Infallible, UsernsError> {
    let ids = SubordinateIds::of_user(getuid().as_raw(), Path::new("/etc"))?;
    let mappers = [
        Mapper { program: "newuidmap", own: geteuid().as_raw(), ranges: ids.users },
        Mapper { program: "newgidmap", own: getegid().as_raw(), ranges: ids.groups },
    ];
    let mut programs = Vec::new();
    for mapper in &mappers {
        programs.push(find_program(mapper.program)?);
    }
    // The ids are mapped from outside: by a child that stays there, as soon as this process is inside.
    let (mut inside, mut outside) =
        std::os::unix::net::UnixStream::pair().map_err(UsernsError::system("make a socket pair"))?;
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: there is one thread (checked by the caller), so the child may do all that this process may.
    match unsafe { libc::fork() } {
        -1 => Err(UsernsError::system("fork")(std::io::Error::last_os_error())),
        0 => {
            drop(inside);
            let report = map_from_outside(&mut outside, process, &mappers, &programs);
            let _ = outside.write_all(report.as_bytes());
            // SAFETY: ends the child without running the handlers of its parent.
            unsafe { libc::_exit(0) }
        }
        child => {
            drop(outside);
            // SAFETY: no descriptor table is unshared.
            let made = unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) };
            let report = made.map_err(|error| Switches::read().diagnose(error)).and_then(|()| {
                let mut report = String::new();
                inside
                    .write_all(b"m")
                    .and_then(|()| inside.read_to_string(&mut report))
                    .map_err(UsernsError::system("wait for the id map"))?;
                Ok(report)
            });
            drop(inside);
            let _ = rustix::process::waitpid(
                rustix::process::Pid::from_raw(child),
                rustix::process::WaitOptions::empty(),
            );
            let report = report?;
            if report != MAPPED {
                let (program, message) = report.split_once(' ').unwrap_or(("newuidmap", "it was killed"));
                let program = if program == "newgidmap" { "newgidmap" } else { "newuidmap" };
                return Err(UsernsError::MapRefused { program, message: message.trim().to_owned() });
            }
            become_root()?;
            execute_self(&arguments)
        }
    }
}

/// What the mapping child says when both maps are written.
const MAPPED: &str = "mapped";

struct Mapper {
    program: &'static str,
    own: u32,
    ranges: Vec<IdRange>,
}

/// Runs in the child: waits until the parent is in its namespace, then maps its ids. Returns what to tell it.
fn map_from_outside(
    parent: &mut std::os::unix::net::UnixStream,
    process: i32,
    mappers: &[Mapper],
    programs: &[PathBuf],
) -> String {
    let mut ready = [0];
    if parent.read_exact(&mut ready).is_err() {
        return String::new();
    }
    for (mapper, path) in mappers.iter().zip(programs) {
        let mut command = Command::new(path);
        command.arg(process.to_string()).args(["0", &mapper.own.to_string(), "1"]);
        let mut inner = 1;
        for range in &mapper.ranges {
            command.args([inner.to_string(), range.start.to_string(), range.count.to_string()]);
            inner += range.count;
        }
        match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                return format!("{} {}", mapper.program, String::from_utf8_lossy(&output.stderr));
            }
            Err(error) => return format!("{} {error}", mapper.program),
        }
    }
    MAPPED.to_owned()
}

fn become_root() -> Result<(), UsernsError> {
    // With one thread, the thread's identity is the process'.
    rustix::thread::set_thread_res_gid(rustix::fs::Gid::ROOT, rustix::fs::Gid::ROOT, rustix::fs::Gid::ROOT)
        .and_then(|()| {
            rustix::thread::set_thread_res_uid(
                rustix::fs::Uid::ROOT,
                rustix::fs::Uid::ROOT,
                rustix::fs::Uid::ROOT,
            )
        })
        .map_err(UsernsError::system("become root in the user namespace"))
}

fn execute_self(arguments: &[OsString]) -> Result<std::convert::Infallible, UsernsError> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("/proc/self/exe");
    if let Some((name, rest)) = arguments.split_first() {
        command.arg0(name).args(rest);
    }
    Err(UsernsError::system("execute this program again")(command.env(MARKER, "1").exec()))
}

/// Looks a program up in `PATH` and where it usually is: cron and some containers leave `sbin` and `bin` out.
fn find_program(program: &'static str) -> Result<PathBuf, UsernsError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/bin", "/usr/sbin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
        .ok_or(UsernsError::MissingMapper { program })
}

/// The kernel's switches that can forbid user namespaces, where they exist.
#[derive(Clone, Copy, Debug, Default)]
struct Switches {
    unprivileged_clone: Option<u64>,
    max_namespaces: Option<u64>,
    apparmor_restricts: Option<u64>,
}

impl Switches {
    fn read() -> Self {
        let read = |name: &str| -> Option<u64> {
            fs_err::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
        };
        Self {
            unprivileged_clone: read("kernel/unprivileged_userns_clone"),
            max_namespaces: read("user/max_user_namespaces"),
            apparmor_restricts: read("kernel/apparmor_restrict_unprivileged_userns"),
        }
    }

    /// Which of them made the kernel say `error`.
    fn diagnose(self, error: Errno) -> UsernsError {
        if self.unprivileged_clone == Some(0) {
            return UsernsError::UnprivilegedCloneOff;
        }
        if self.max_namespaces == Some(0) || matches!(error, Errno::NOSPC | Errno::USERS) {
            return UsernsError::NamespaceLimit { limit: self.max_namespaces.unwrap_or_default() };
        }
        match error {
            Errno::PERM | Errno::ACCESS if self.apparmor_restricts == Some(1) => UsernsError::AppArmor,
            Errno::INVAL | Errno::NOSYS => UsernsError::NotInKernel,
            source => UsernsError::Forbidden { source },
        }
    }
}

#[cfg(test)]
mod tests;
