//! Which addresses are private: those that the outside world cannot reach by themselves, so that a connection to one
//! goes somewhere only this machine can go.
//!
//! Addresses that carry another one (mapped, translated, tunnelled) are judged by what they carry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is anything else than an address of one host on the public internet: loopback, private and shared
/// networks, link-local, unique local, multicast, reserved and documentation ranges.
pub fn is_private_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => carried(address).map_or_else(|| is_private_v6(address), is_private_v4),
    }
}

#[expect(clippy::unnested_or_patterns, reason = "ranges stand by what they are for")]
fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // This network, private, loopback, link-local.
        (0 | 10 | 127, ..) | (172, 16..=31, _) | (192, 168, _) | (169, 254, _)
        // Shared by carriers, protocol assignments, benchmarks.
        | (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _)
        // Documentation.
        | (192, 0, 2) | (198, 51, 100) | (203, 0, 113)
        // Multicast, reserved, broadcast.
        | (224..=255, ..) => true,
        _ => false,
    }
}

#[expect(clippy::unnested_or_patterns, reason = "ranges stand by what they are for")]
fn is_private_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Unspecified and loopback, and whatever else is reserved beside them.
        [0..=0xff, ..]
        // Discarded, documentation.
        | [0x100, 0, 0, 0, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..]
        // Unique local, link-local, site-local, multicast.
        | [0xfc00..=0xfdff | 0xfe80..=0xfeff | 0xff00..=0xffff, ..] => true,
        _ => false,
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, translated (NAT64), 6to4 or Teredo.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        // Unspecified and loopback are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0..=1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        // Teredo writes the client's address with its bits turned over.
        [0x2001, 0, .., high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}
