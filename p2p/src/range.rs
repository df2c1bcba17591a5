//! Properties of an IP address: how far it reaches, and which addresses likely have the same owner.
//!
//! Keys cost nothing, addresses do. Limits on unproven peers are therefore counted per range of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address reaches, ordered from near to far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Only this machine: loopback and unspecified addresses.
    Host,
    /// A private network: RFC 1918, link-local, shared (RFC 6598), unique local.
    Private,
    /// Every host of the internet.
    Public,
}

/// Returns the reach of an address, or `None` if it is not the address of a single host that can be dialled.
pub(crate) fn reach(ip: IpAddr) -> Option<Reach> {
    match canonical(ip) {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Option<Reach> {
    let [a, b, c, _] = ip.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_benchmark = a == 198 && (b == 18 || b == 19);
    // A dial to 0.0.0.0 reaches this machine.
    if ip.is_loopback() || a == 0 {
        Some(Reach::Host)
    } else if ip.is_multicast() || a >= 240 || ip.is_documentation() || (a, b, c) == (192, 0, 0) {
        None
    } else if ip.is_private() || ip.is_link_local() || is_shared || is_benchmark {
        Some(Reach::Private)
    } else {
        Some(Reach::Public)
    }
}

fn reach_v6(ip: Ipv6Addr) -> Option<Reach> {
    let head = ip.segments()[0];
    if ip.is_loopback() || ip.is_unspecified() {
        Some(Reach::Host)
    } else if ip.is_unique_local() || ip.is_unicast_link_local() || head == 0xfec0 {
        Some(Reach::Private)
    } else if (0x2000..0x4000).contains(&head) && ip.segments()[..2] != [0x2001, 0xdb8] {
        // A 6to4 address leads to the IPv4 address that it contains.
        let [_, high, low, ..] = ip.segments();
        if head == 0x2002 {
            reach_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        } else {
            Some(Reach::Public)
        }
    } else {
        None
    }
}

/// Converts an IPv6 form of an IPv4 address into the IPv4 address.
fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
            }
            _ => ip.to_canonical(),
        },
        ip => ip,
    }
}

/// Addresses that likely have the same owner: an IPv4 /24, an IPv6 /48, or a single private address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    first: IpAddr,
    bits: u8,
}

impl Range {
    /// Returns the range of an address. Hosts of one private network have different owners, so each private address is
    /// a range.
    pub(crate) fn of(ip: IpAddr) -> Range {
        let ip = canonical(ip);
        match (ip, reach(ip)) {
            (IpAddr::V4(_), Some(Reach::Private)) => Range { first: ip, bits: 32 },
            (IpAddr::V6(_), Some(Reach::Private)) => Range { first: ip, bits: 128 },
            (IpAddr::V4(v4), _) => Range { first: IpAddr::V4(Ipv4Addr::from(u32::from(v4) & !0xff)), bits: 24 },
            (IpAddr::V6(v6), _) => {
                Range { first: IpAddr::V6(Ipv6Addr::from(u128::from(v6) & (u128::MAX << 80))), bits: 48 }
            }
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reach_of_an_address_does_not_depend_on_its_notation() {
        let of = |text: &str| reach(text.parse().unwrap());
        for host in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1"] {
            assert_eq!(of(host), Some(Reach::Host), "{host}");
        }
        for private in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "fe80::1",
            "fc00::1",
            "2002:a00:1::1",
        ] {
            assert_eq!(of(private), Some(Reach::Private), "{private}");
        }
        for public in ["8.8.8.8", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8"] {
            assert_eq!(of(public), Some(Reach::Public), "{public}");
        }
        for none in ["224.0.0.1", "255.255.255.255", "192.0.2.1", "ff02::1", "2001:db8::1", "100::1"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_range_covers_the_addresses_of_one_owner() {
        let of = |text: &str| Range::of(text.parse().unwrap()).to_string();
        assert_eq!(of("8.8.8.8"), "8.8.8.0/24");
        assert_eq!(of("::ffff:8.8.8.8"), "8.8.8.0/24");
        assert_eq!(of("127.0.0.1"), "127.0.0.0/24");
        assert_eq!(of("2606:4700:1:2::9"), "2606:4700:1::/48");
        assert_eq!(of("10.0.0.9"), "10.0.0.9/32");
        assert_eq!(of("fd00::9"), "fd00::9/128");
    }
}
