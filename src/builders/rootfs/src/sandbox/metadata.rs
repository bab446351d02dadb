//! Keeps a step that sees the host's network from the metadata services of clouds.
//!
//! Those services give credentials of the machine to anyone on it who asks. Each `connect` of such a step is decided
//! and *made* here: the supervisor copies the address, takes the socket itself out of the caller, and connects it to
//! the copy. The caller cannot change what is looked at between the look and the call. Datagrams pass: name servers
//! live at some of these addresses. Other ways to connect (`MSG_FASTOPEN`, io_uring) are closed by [`super::seccomp`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::unix_connect;
use crate::mounts::last_errno;

/// The largest address that the kernel takes (`sockaddr_storage`).
const MAX_ADDRESS: usize = 128;

/// Name servers; they answer over TCP what does not fit a datagram.
const DNS_PORT: u16 = 53;

/// IPv4 addresses of metadata services outside of the link-local network: Alibaba, Azure, Oracle's alias.
const ADDRESSES_4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];

/// IPv6 addresses of metadata services: AWS (instances, pods), Google, OpenStack, Scaleway.
const ADDRESSES_6: [Ipv6Addr; 5] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

/// The prefix under which a NAT64 gateway shows the IPv4 network.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Whether a stream to this address may reach a metadata service.
pub(crate) fn is_metadata_service(address: IpAddr, port: u16) -> bool {
    if port == DNS_PORT {
        return false;
    }
    match address {
        // Every large cloud but the ones listed serves in 169.254.0.0/16, at several addresses.
        IpAddr::V4(address) => address.is_link_local() || ADDRESSES_4.contains(&address),
        IpAddr::V6(address) => {
            let embedded = address.to_ipv4_mapped().or_else(|| {
                let segments = address.segments();
                let octets = address.octets();
                (segments[..6] == NAT64)
                    .then(|| Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]))
            });
            match embedded {
                Some(embedded) => is_metadata_service(embedded.into(), port),
                None => ADDRESSES_6.contains(&address),
            }
        }
    }
}

/// Takes one waiting `connect` and serves it in a thread: a connection may take as long as the network does.
pub(crate) fn serve_one(listener: &Arc<OwnedFd>) {
    // SAFETY: plain numbers, for which zero is a value; the kernel wants them zero.
    let mut request: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is the one that this request fills.
    let status =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut request) };
    if status != 0 {
        // The caller was killed in the meantime.
        return;
    }
    let shared = listener.clone();
    let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || {
        // A caller without an answer would wait for ever.
        let result = std::panic::catch_unwind(|| connect(&shared, &request)).unwrap_or(Err(Errno::IO));
        answer(&shared, request.id, result);
    });
    if thread.is_err() {
        answer(listener, request.id, Err(Errno::AGAIN));
    }
}

fn answer(listener: &OwnedFd, id: u64, result: Result<(), Errno>) {
    let error = result.err().map_or(0, |error| -error.raw_os_error());
    let mut response = libc::seccomp_notif_resp { id, val: 0, error, flags: 0 };
    // SAFETY: the structure is the one that this request reads. If the caller is gone, so is the need to answer.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) };
}

/// Does what the caller's `connect` asked for, if it may be done.
fn connect(listener: &OwnedFd, request: &libc::seccomp_notif) -> Result<(), Errno> {
    let [number, address, length, ..] = request.data.args;
    let caller = i32::try_from(request.pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let length = (length & u64::from(u32::MAX)) as usize;
    if length > MAX_ADDRESS || i32::try_from(length).is_err() {
        return Err(Errno::INVAL);
    }
    let socket = take_socket(caller, (number & u64::from(u32::MAX)) as u32 as RawFd)?;
    let address = read_memory(caller, address, length)?;
    // The number of a dead caller may be another's by now, and what was read then is not the caller's.
    // SAFETY: the request reads one number.
    if unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const request.id) }
        != 0
    {
        return Err(Errno::SRCH);
    }
    match Wanted::read(&address, &socket)? {
        Wanted::Refused => Err(Errno::CONNREFUSED),
        Wanted::Passed => connect_raw(&socket, &address),
        Wanted::Local => unix_connect::connect_as(caller, &socket, &address),
    }
}

/// The caller's own socket. A thread's descriptors are its process', and only a process has a pidfd before 6.9.
fn take_socket(caller: Pid, number: RawFd) -> Result<OwnedFd, Errno> {
    if number < 0 {
        return Err(Errno::BADF);
    }
    let process = thread_group(caller).unwrap_or(caller);
    let handle = pidfd_open(process, PidfdFlags::empty())?;
    match pidfd_getfd(&handle, number, PidfdGetfdFlags::empty()) {
        Err(Errno::PERM) => Err(Errno::ACCESS),
        other => other,
    }
}

/// The process that a thread belongs to.
pub(crate) fn thread_group(thread: Pid) -> Option<Pid> {
    let status = fs_err::read_to_string(format!("/proc/{}/status", thread.as_raw_nonzero())).ok()?;
    let number = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
    Pid::from_raw(number)
}

fn read_memory(process: Pid, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0_u8; length];
    if length == 0 {
        return Ok(bytes);
    }
    let address = usize::try_from(address).map_err(|_| Errno::FAULT)?;
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: length };
    // SAFETY: `local` is a valid buffer of that length; `remote` belongs to the other process and is checked there.
    let read = unsafe {
        libc::process_vm_readv(process.as_raw_nonzero().get(), &raw const local, 1, &raw const remote, 1, 0)
    };
    if usize::try_from(read) == Ok(length) { Ok(bytes) } else { Err(Errno::FAULT) }
}

/// What a `connect` is about.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// A metadata service over a stream, or a local socket of the host's.
    Refused,
    /// Anything that this filter does not mind.
    Passed,
    /// A local socket by its path, which means what it means to the caller.
    Local,
}

impl Wanted {
    fn read(address: &[u8], socket: &OwnedFd) -> Result<Self, Errno> {
        let Some(family) = address.first_chunk::<2>() else { return Ok(Self::Passed) };
        let port = || address.get(2..4).and_then(|port| port.try_into().ok()).map(u16::from_be_bytes);
        let service = match i32::from(u16::from_ne_bytes(*family)) {
            libc::AF_UNIX => {
                // An abstract name would be one of the host's: they come with its network namespace.
                return Ok(match address.get(2) {
                    Some(0) => Self::Refused,
                    _ => Self::Local,
                });
            }
            libc::AF_INET => {
                let octets: [u8; 4] =
                    address.get(4..8).and_then(|octets| octets.try_into().ok()).ok_or(Errno::INVAL)?;
                IpAddr::from(octets)
            }
            libc::AF_INET6 => {
                let octets: [u8; 16] =
                    address.get(8..24).and_then(|octets| octets.try_into().ok()).ok_or(Errno::INVAL)?;
                IpAddr::from(octets)
            }
            _ => return Ok(Self::Passed),
        };
        let datagrams = rustix::net::sockopt::socket_type(socket)? == rustix::net::SocketType::DGRAM;
        if !datagrams && is_metadata_service(service, port().ok_or(Errno::INVAL)?) {
            return Ok(Self::Refused);
        }
        Ok(Self::Passed)
    }
}

/// `connect(2)` with an address as it is, whatever its family.
pub(crate) fn connect_raw(socket: &OwnedFd, address: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(address.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the pointer is valid for the length passed with it; the kernel checks the rest.
    let status = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    if status == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::is_metadata_service;

    #[test]
    fn metadata_services_are_known_in_every_spelling() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.0.23",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fe80::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "::ffff:168.63.129.16",
            "64:ff9b::a9fe:a9fe",
        ] {
            let address = address.parse().expect("an address");
            assert!(is_metadata_service(address, 80), "{address}");
            assert!(is_metadata_service(address, 32526), "{address}");
            assert!(!is_metadata_service(address, 53), "{address}: name servers live there");
        }
    }

    #[test]
    fn other_addresses_are_free() {
        for address in
            ["127.0.0.1", "10.0.0.1", "151.101.130.132", "::1", "2a04:4e42::644", "fe80::1", "168.63.129.17"]
        {
            assert!(!is_metadata_service(address.parse().expect("an address"), 80), "{address}");
        }
    }
}
