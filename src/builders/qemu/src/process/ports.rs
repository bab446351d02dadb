//! A port for who must know it before QEMU binds it. Not for: ports of [`crate::spec::HostPort::Range`] or `Any`, which QEMU itself
//! chooses without a race.

use std::net::{Ipv4Addr, TcpListener};

/// A port of the loopback from `first` to `last` that was free a moment ago, for a template whose own switches name it. Another
/// process may be quicker than QEMU: who starts it then tries again ([`super::StartError::is_port_taken`]).
#[must_use]
pub fn free_port(first: u16, last: u16) -> Option<u16> {
    (first.max(1)..=last).find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(free_port(port, port), None);
        assert!(free_port(port, port.saturating_add(200)).is_some_and(|found| found > port));
        assert_eq!(free_port(9, 8), None);
    }
}
