//! The kernel interfaces that a step may not use.
//!
//! The list is one of refusals: what builds images is any program at all, so everything is allowed but what reaches
//! past the sandbox (mounts, namespaces, kernel modules, host-wide settings, rings and keys that other filters do not
//! see) or into places that are not namespaced (vsock, the terminal's input queue).

use std::collections::BTreeMap;
use std::os::fd::{FromRawFd as _, OwnedFd};

use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use crate::mounts::last_errno;

/// Refused as if privileges were missing.
const FORBIDDEN: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    // open_tree_attr, which the C library does not know yet.
    467,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
];

/// Refused as if the kernel were older: programs then use what they used before.
const UNKNOWN: &[i64] = &[
    // Its flags are behind a pointer, where a filter cannot see the namespaces in them.
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
];

/// `clone` and `unshare` flags that make namespaces. `CLONE_NEWTIME` shares its bit with a signal number in `clone`.
const NAMESPACE_FLAGS: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// `CLONE_NEWTIME`, for `unshare` alone.
const NEW_TIME: i32 = 0x80;

/// Requests by which a program types into the terminal that it shares with imgbuild.
const TERMINAL_REQUESTS: [u64; 2] = [0x5412 /* TIOCSTI */, 0x541c /* TIOCLINUX */];

/// Sockets beyond these are not bound to a network namespace (vsock), or are large surfaces that no build needs.
const SOCKET_FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// System calls of the x32 interface have this bit; they share the architecture with ordinary ones.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// Confines this process and its children. With `watch_connections` each `connect` waits for the holder of the
/// returned descriptor.
pub(crate) fn install(watch_connections: bool) -> Result<Option<OwnedFd>, Errno> {
    for program in programs()? {
        load(&program, 0)?;
    }
    if !watch_connections {
        return Ok(None);
    }
    load(&fast_open_program()?, 0)?;
    let program = connect_program()?;
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // Once a connection is being decided, only death interrupts it: a half-made one could not be begun again.
    let descriptor = match load(&program, listen | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(Errno::INVAL) => load(&program, listen)?,
        other => other?,
    };
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn programs() -> Result<[BpfProgram; 3], Errno> {
    let mut forbidden: Rules = FORBIDDEN.iter().map(|number| (*number, Vec::new())).collect();
    let with_flag = |flag: i32| masked(0, u64::from(flag.cast_unsigned()));
    let flags = NAMESPACE_FLAGS.iter().map(|flag| with_flag(*flag)).collect::<Result<Vec<_>, _>>()?;
    forbidden.insert(libc::SYS_clone, flags);
    let mut flags = NAMESPACE_FLAGS.iter().map(|flag| with_flag(*flag)).collect::<Result<Vec<_>, _>>()?;
    flags.push(with_flag(NEW_TIME)?);
    forbidden.insert(libc::SYS_unshare, flags);
    let requests = TERMINAL_REQUESTS
        .iter()
        .map(|request| rule(vec![condition(1, SeccompCmpOp::Eq, *request)?]))
        .collect::<Result<Vec<_>, _>>()?;
    forbidden.insert(libc::SYS_ioctl, requests);
    let unknown: Rules = UNKNOWN.iter().map(|number| (*number, Vec::new())).collect();
    let other_families = SOCKET_FAMILIES
        .iter()
        .map(|family| condition(0, SeccompCmpOp::Ne, u64::from(family.cast_unsigned())))
        .collect::<Result<Vec<_>, _>>()?;
    let families = Rules::from([
        (libc::SYS_socket, vec![rule(other_families.clone())?]),
        (libc::SYS_socketpair, vec![rule(other_families)?]),
    ]);
    Ok([
        compile(forbidden, SeccompAction::Errno(libc::EPERM.cast_unsigned()))?,
        compile(unknown, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()))?,
        compile(families, SeccompAction::Errno(libc::EAFNOSUPPORT.cast_unsigned()))?,
    ])
}

/// `MSG_FASTOPEN` connects without `connect`. Programs that use it fall back when it is not supported.
fn fast_open_program() -> Result<BpfProgram, Errno> {
    let flag = u64::from(libc::MSG_FASTOPEN.cast_unsigned());
    let rules = Rules::from([
        (libc::SYS_sendto, vec![masked(3, flag)?]),
        (libc::SYS_sendmsg, vec![masked(2, flag)?]),
        (libc::SYS_sendmmsg, vec![masked(3, flag)?]),
    ]);
    compile(rules, SeccompAction::Errno(libc::EOPNOTSUPP.cast_unsigned()))
}

/// Every `connect` is somebody else's decision.
fn connect_program() -> Result<BpfProgram, Errno> {
    // The compiler has no word for this action; another one that it has stands in its place until here.
    let stand_in = SeccompAction::Trace(0);
    let stand_in_value = u32::from(stand_in.clone());
    let mut program = compile(Rules::from([(libc::SYS_connect, Vec::new())]), stand_in)?;
    let mut replaced = 0;
    for instruction in &mut program {
        if instruction.code == (libc::BPF_RET | libc::BPF_K) as u16 && instruction.k == stand_in_value {
            instruction.k = libc::SECCOMP_RET_USER_NOTIF;
            replaced += 1;
        }
    }
    if replaced == 0 { Err(Errno::INVAL) } else { Ok(program) }
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Errno> {
    // The kernel takes all these arguments as 32 bits, whatever is above them in the register.
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(|_| Errno::INVAL)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, Errno> {
    SeccompRule::new(conditions).map_err(|_| Errno::INVAL)
}

fn masked(argument: u8, flag: u64) -> Result<SeccompRule, Errno> {
    rule(vec![condition(argument, SeccompCmpOp::MaskedEq(flag), flag)?])
}

/// A program that also kills callers of another architecture's interface (seccompiler's own prologue), and refuses
/// x32, whose numbers the rules would not match.
fn compile(rules: Rules, action: SeccompAction) -> Result<BpfProgram, Errno> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| Errno::NOSYS)?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).map_err(|_| Errno::INVAL)?;
    let program: BpfProgram = filter.try_into().map_err(|_| Errno::INVAL)?;
    #[cfg(target_arch = "x86_64")]
    let program = [refuse_x32().as_slice(), &program].concat();
    Ok(program)
}

#[cfg(target_arch = "x86_64")]
fn refuse_x32() -> [sock_filter; 3] {
    let code = |code: u32| u16::try_from(code).unwrap_or_default();
    [
        // The number is the first word of what a filter sees.
        sock_filter { code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), jt: 0, jf: 0, k: 0 },
        sock_filter { code: code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K), jt: 0, jf: 1, k: X32 },
        sock_filter {
            code: code(libc::BPF_RET | libc::BPF_K),
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned(),
        },
    ]
}

fn load(program: &[sock_filter], flags: libc::c_ulong) -> Result<i32, Errno> {
    #[repr(C)]
    struct Program {
        length: libc::c_ushort,
        filter: *const sock_filter,
    }
    let program = Program {
        length: libc::c_ushort::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr(),
    };
    // SAFETY: the kernel copies the program, whose length is passed with it, during the call.
    let status = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program))
    };
    if status < 0 { Err(last_errno()) } else { Ok(i32::try_from(status).unwrap_or_default()) }
}

/// In the host's network namespace are also the abstract local sockets of the host's daemons. Landlock, from Linux
/// 6.12 on, keeps a step from all that were not made by itself; [`super::metadata`] refuses `connect` to any.
pub(crate) fn keep_from_abstract_sockets() -> Result<(), Errno> {
    /// The kernel's `struct landlock_ruleset_attr`.
    #[repr(C)]
    struct Ruleset {
        handled_access_fs: u64,
        handled_access_net: u64,
        scoped: u64,
    }
    const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
    let ruleset = Ruleset { handled_access_fs: 0, handled_access_net: 0, scoped: SCOPE_ABSTRACT_UNIX_SOCKET };
    // SAFETY: the structure is read during the call, its size passed with it.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::from_ref(&ruleset),
            size_of::<Ruleset>(),
            0,
        )
    };
    if descriptor < 0 {
        return match last_errno() {
            // Not built in, switched off, or older than scopes.
            Errno::NOSYS | Errno::OPNOTSUPP | Errno::TOOBIG | Errno::INVAL | Errno::NOMSG => Ok(()),
            error => Err(error),
        };
    }
    let descriptor = i32::try_from(descriptor).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let ruleset = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: passes two numbers.
    let status = unsafe {
        libc::syscall(libc::SYS_landlock_restrict_self, std::os::fd::AsRawFd::as_raw_fd(&ruleset), 0)
    };
    if status == 0 { Ok(()) } else { Err(last_errno()) }
}
