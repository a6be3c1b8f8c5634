//! Ports that stay ours.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Context, Result};

/// Below the range from which kernels take the source ports of outgoing connections. A client that keeps dialling the
/// port of a killed server could otherwise be given that very port as its source, and connect to itself.
const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;

/// Where a cluster node listens for its peers, relative to its port for clients.
const BUS: u16 = 10_000;

/// A TCP port on loopback, free together with its cluster bus port when it was leased; for servers of tests that are
/// started again where they were.
///
/// A server that is killed and started again must find its port free, so the port is kept for as long as the lease
/// lives. The mark is a UDP socket on the same number: Redis never uses UDP, all test processes of the machine see the
/// mark, and the kernel removes it with the process.
#[derive(Debug)]
pub struct Lease {
    port: u16,
    _mark: UdpSocket,
}

impl Lease {
    /// Leases a port, starting to look at a random one so that parallel tests seldom meet.
    pub fn take() -> Result<Self> {
        let start = RandomState::new().hash_one(()) % u64::from(COUNT);
        let start = u16::try_from(start)?;
        (0..COUNT)
            .map(|step| FIRST + (start + step) % COUNT)
            .find_map(Self::try_port)
            .context("no free port on loopback")
    }

    fn try_port(port: u16) -> Option<Self> {
        let mark = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        let _client = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        let _bus = TcpListener::bind((Ipv4Addr::LOCALHOST, port + BUS)).ok()?;
        Some(Self { port, _mark: mark })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leased_port_is_given_to_nobody_else() {
        let lease = Lease::take().unwrap();
        assert!(Lease::try_port(lease.port()).is_none());
    }

    #[test]
    fn a_port_whose_bus_port_is_taken_is_not_free() {
        let lease = Lease::take().unwrap();
        let port = lease.port();
        let _bus = TcpListener::bind((Ipv4Addr::LOCALHOST, port + BUS)).unwrap();
        drop(lease);
        assert!(Lease::try_port(port).is_none());
    }
}
