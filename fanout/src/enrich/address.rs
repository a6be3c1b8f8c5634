//! Which machines may be called: a name, or whoever answers for it, must not lead to where nobody meant to call.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

/// How far calls may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// Public addresses alone.
    Public,
    /// Also this machine and private networks. Never addresses of the link, where clouds keep their credentials.
    Private,
}

/// Looks names up, and keeps only addresses that are in range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolver(pub(crate) Range);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let range = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                lookup_host((name.as_str(), 0)).await?.filter(|address| range.has(address.ip())).collect();
            if found.is_empty() {
                return Err(io::Error::other("the name has no address that may be called").into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

impl Range {
    /// Whether an address may be called.
    pub(crate) fn has(self, address: IpAddr) -> bool {
        match plain(address) {
            IpAddr::V4(address) => self.has_v4(address),
            IpAddr::V6(address) => self.has_v6(address),
        }
    }

    fn has_v4(self, address: Ipv4Addr) -> bool {
        let [a, b, c, _] = address.octets();
        let never = a == 0 || a >= 224 || address.is_link_local();
        let private = address.is_private()
            || address.is_loopback()
            // Shared by carriers (RFC 6598), for protocols (RFC 6890), for benchmarks (RFC 2544).
            || (a == 100 && (64..128).contains(&b))
            || (a == 192 && b == 0 && c == 0)
            || (a == 198 && (18..20).contains(&b));
        !never && (self == Self::Private || !private)
    }

    fn has_v6(self, address: Ipv6Addr) -> bool {
        let never = address.is_unspecified() || address.is_multicast() || address.is_unicast_link_local();
        let private = address.is_loopback() || address.is_unique_local();
        // Whatever is not of the global range (RFC 4291) and not private has no business here.
        let public = address.segments().first().is_some_and(|first| first & 0xe000 == 0x2000);
        !never && (public || (self == Self::Private && private))
    }
}

/// The address of version 4 that one of version 6 stands for: mapped (RFC 4291), translated (RFC 6052), 6to4 (RFC 3056).
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address.to_canonical() else { return address.to_canonical() };
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match six.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => four(high, low),
        _ => IpAddr::V6(six),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_in_range_may_be_called() {
        let has = |range: Range, text: &str| range.has(text.parse().unwrap());
        for text in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"] {
            assert!(has(Range::Public, text) && has(Range::Private, text), "{text}");
        }
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!has(Range::Public, text) && has(Range::Private, text), "{text}");
        }
        for text in [
            "0.0.0.0",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!has(Range::Public, text) && !has(Range::Private, text), "{text}");
        }
    }
}
