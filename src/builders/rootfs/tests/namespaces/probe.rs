//! What this program does inside a sandbox: tries what a step may not do, one line for each attempt.

use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::ExitCode;

/// The first argument that makes this program a probe; the second says which.
pub const ARGUMENT: &str = "__probe";

pub fn main() -> ExitCode {
    match std::env::args().nth(2).as_deref() {
        Some("kernel") => kernel(),
        Some("network") => network(),
        Some("local") => local(),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

fn say(what: &str, result: Result<(), std::io::Error>) {
    match result {
        Ok(()) => println!("{what}: done"),
        Err(error) => println!("{what}: {}", error.raw_os_error().unwrap_or_default()),
    }
}

/// A system call with zeros and small numbers, none of which could do harm if it were allowed.
fn call(number: libc::c_long, arguments: [libc::c_long; 3]) -> Result<(), std::io::Error> {
    let [first, second, third] = arguments;
    // SAFETY: no pointer but null is passed.
    match unsafe { libc::syscall(number, first, second, third, 0, 0) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn kernel() {
    for (name, number, arguments) in [
        ("mount", libc::SYS_mount, [0, 0, 0]),
        ("umount2", libc::SYS_umount2, [0, 0, 0]),
        ("move_mount", libc::SYS_move_mount, [-1, 0, -1]),
        ("open_tree", libc::SYS_open_tree, [-1, 0, 0]),
        ("fsopen", libc::SYS_fsopen, [0, 0, 0]),
        ("mount_setattr", libc::SYS_mount_setattr, [-1, 0, 0]),
        ("pivot_root", libc::SYS_pivot_root, [0, 0, 0]),
        ("setns", libc::SYS_setns, [-1, 0, 0]),
        ("unshare user", libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0]),
        ("unshare time", libc::SYS_unshare, [0x80, 0, 0]),
        // The high half of the register does not count, and must not hide the flag either.
        ("unshare high", libc::SYS_unshare, [(7 << 32) | libc::c_long::from(libc::CLONE_NEWUSER), 0, 0]),
        ("clone", libc::SYS_clone, [libc::CLONE_NEWUSER.into(), 0, 0]),
        ("bpf", libc::SYS_bpf, [0, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0]),
        ("init_module", libc::SYS_init_module, [0, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, [0, 0, 0]),
        ("reboot", libc::SYS_reboot, [0, 0, 0]),
        ("swapon", libc::SYS_swapon, [0, 0, 0]),
        ("settimeofday", libc::SYS_settimeofday, [0, 0, 0]),
        ("quotactl", libc::SYS_quotactl, [0, 0, 0]),
        ("acct", libc::SYS_acct, [0, 0, 0]),
        ("syslog", libc::SYS_syslog, [10, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0]),
        ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, 0]),
        ("TIOCLINUX", libc::SYS_ioctl, [0, 0x541c, 0]),
        ("clone3", libc::SYS_clone3, [0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0, 0, 0]),
        ("add_key", libc::SYS_add_key, [0, 0, 0]),
        ("x32 getpid", 0x4000_0000 + 39, [0, 0, 0]),
        ("vsock", libc::SYS_socket, [libc::AF_VSOCK.into(), libc::SOCK_STREAM.into(), 0]),
        ("alg", libc::SYS_socket, [libc::AF_ALG.into(), libc::SOCK_SEQPACKET.into(), 0]),
        ("packet", libc::SYS_socket, [libc::AF_PACKET.into(), libc::SOCK_RAW.into(), 0]),
        ("netlink", libc::SYS_socket, [libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0]),
    ] {
        say(name, call(number, arguments));
    }
}

/// `sockaddr_in` for an address and port.
fn internet(address: [u8; 4], port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address) },
        sin_zero: [0; 8],
    }
}

fn stream_socket(flags: i32) -> OwnedFd {
    // SAFETY: makes a descriptor, which is owned at once.
    unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM | flags, 0)) }
}

fn network() {
    let service = [169, 254, 169, 254];
    let connect = |address: &str| TcpStream::connect(address).map(|_| ());
    say("metadata", connect("169.254.169.254:80"));
    say("mapped metadata", connect("[::ffff:169.254.169.254]:80"));
    say("metadata name server", connect("169.254.169.254:53"));
    say("other", connect("127.0.0.1:8080"));
    say("other, nobody", connect("127.0.0.1:1"));
    let datagram = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("169.254.169.254:53")?;
        socket.send(b"question").map(|_| ())
    });
    say("datagram", datagram);
    let address = internet(service, 80);
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let socket = stream_socket(0);
    // SAFETY: the address is valid for its length.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            b"x".as_ptr().cast(),
            1,
            libc::MSG_FASTOPEN,
            (&raw const address).cast(),
            length,
        )
    };
    say("fast open", if sent < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) });
    let socket = stream_socket(libc::SOCK_NONBLOCK);
    let address = internet([127, 0, 0, 1], 8080);
    // SAFETY: the address is valid for its length.
    let status = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    say("without waiting", if status < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) });
    // SAFETY: a bad address is what is tried.
    let status = unsafe { libc::connect(socket.as_raw_fd(), std::ptr::without_provenance(8), length) };
    say("bad address", if status < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) });
    // SAFETY: the address is valid for its length.
    let status = unsafe { libc::connect(-1, (&raw const address).cast(), length) };
    say("bad descriptor", if status < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) });
    // Many at once, from threads: each is decided on its own.
    let threads: Vec<_> = (0..32)
        .map(|_| {
            std::thread::spawn(|| {
                TcpStream::connect("169.254.169.254:80").is_err()
                    && TcpStream::connect("127.0.0.1:8080").is_ok()
            })
        })
        .collect();
    let right =
        threads.into_iter().map(|thread| thread.join().unwrap_or(false)).filter(|right| *right).count();
    println!("threads: {right}");
    // The path is a process' own, relative to its folder, and the peer sees who it is.
    let local = std::env::set_current_dir("/tmp").and_then(|()| {
        let listener = UnixListener::bind("socket")?;
        let client = UnixStream::connect("socket")?;
        let (server, _) = listener.accept()?;
        let mut peer = libc::ucred { pid: -1, uid: u32::MAX, gid: u32::MAX };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the structure is valid for the length passed with it.
        let status = unsafe {
            libc::getsockopt(
                server.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut peer).cast(),
                &raw mut length,
            )
        };
        println!("peer: {status} {} {}", peer.uid, peer.gid);
        drop(client);
        Ok(())
    });
    say("local", local);
    say("local, nobody", UnixStream::connect("/tmp/none").map(|_| ()));
    let abstract_name = SocketAddr::from_abstract_name("imgbuild-test")
        .and_then(|address| UnixStream::connect_addr(&address).map(|_| ()));
    say("abstract", abstract_name);
    let datagram = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| {
        socket.send_to_addr(b"x", &SocketAddr::from_abstract_name("imgbuild-test-datagram")?).map(|_| ())
    });
    say("abstract datagram", datagram);
}

/// A socket that only root and one group may reach, tried by several.
fn local() {
    use std::os::unix::fs::PermissionsExt as _;
    let made = std::fs::create_dir("/tmp/private").and_then(|()| {
        std::fs::set_permissions("/tmp/private", std::fs::Permissions::from_mode(0o750))?;
        std::os::unix::fs::chown("/tmp/private", None, Some(1001))?;
        let listener = UnixListener::bind("/tmp/private/socket")?;
        std::fs::set_permissions("/tmp/private/socket", std::fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    });
    let Ok(_listener) = made else { return say("preparing", made.map(|_| ())) };
    let connect = || UnixStream::connect("/tmp/private/socket").map(|_| ());
    say("root", connect());
    // SAFETY: changes this process' ids.
    unsafe {
        libc::setgroups(1, &1001);
        libc::setresuid(1000, 1000, 0);
    }
    say("the group", connect());
    // SAFETY: as before; the saved id is what allows it.
    unsafe {
        libc::setresuid(0, 0, 0);
        libc::setgroups(0, std::ptr::null());
        libc::setresuid(1000, 1000, 1000);
    }
    say("another user", connect());
}
