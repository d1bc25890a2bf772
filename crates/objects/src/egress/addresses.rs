//! Which addresses are public.
//!
//! After the registries of special addresses for IPv4 (RFC 6890 and later) and IPv6. What carries an IPv4
//! address inside is as public as that one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not public, as address and bits.
const IPV4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),           // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // shared by a provider's customers
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // this host
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // this link; where clouds hand out credentials
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocols
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24), // AS112
    (Ipv4Addr::new(192, 52, 193, 0), 24), // tunnels for multicast
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // relays of 6to4
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(192, 175, 48, 0), 24), // AS112
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 3),     // multicast, reserved, broadcast
];

/// IPv6 networks inside the public `2000::/3` that are not public, as address and bits.
const IPV6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocols, Teredo, benchmarks
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48), // AS112
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Returns whether anybody on the internet could call the address.
pub(super) fn is_public(address: IpAddr) -> bool {
    match inner(address) {
        IpAddr::V4(address) => !IPV4.iter().any(|(network, bits)| {
            (address.to_bits() ^ network.to_bits()).leading_zeros() >= *bits
        }),
        IpAddr::V6(address) => {
            address.segments()[0] >> 13 == 1
                && !IPV6.iter().any(|(network, bits)| {
                    (address.to_bits() ^ network.to_bits()).leading_zeros() >= *bits
                })
        }
    }
}

/// Returns the IPv4 address inside an IPv6 one that stands for it (mapped, compatible, NAT64, 6to4); any other
/// address as it is.
pub(super) fn inner(address: IpAddr) -> IpAddr {
    let IpAddr::V6(outer) = address else { return address };
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match outer.segments() {
        // These two are what they are, no IPv4 addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            of(high, low)
        }
        [0x2002, high, low, ..] => of(high, low),
        _ => address,
    }
}
