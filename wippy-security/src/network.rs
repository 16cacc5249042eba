//! Which addresses are private: those that the outside world cannot reach by themselves, so that a connection to one
//! goes somewhere only this machine can go. Who may connect there all the same is decided here for every language.
//!
//! Addresses that carry another one (mapped, translated, tunnelled) are judged by what they carry.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use async_trait::async_trait;
use wippy_wit::Value;

use crate::{CallError, Context, authorize_with};

/// Finds the addresses of a name, where a program does not leave that to the system.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync {
    /// The addresses behind `host`, with this port.
    ///
    /// # Errors
    /// When it has none, or that cannot be found out.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Whether `context` may make requests to `address`, which `host` turned out to be at: a private one takes the permission
/// `http_client.private_ip` for the address. A mapped IPv4 address is asked about as what it is; for one that is
/// translated or tunnelled both take it, because who decides about the one may not know the other.
///
/// # Errors
/// As for [`authorize`](crate::authorize).
pub fn authorize_address(context: &Context, host: &str, port: u16, address: IpAddr) -> Result<(), CallError> {
    if !is_private_address(address) {
        return Ok(());
    }
    let meta = Value::record([("host", Value::from(host)), ("port", Value::Integer(port.into()))]);
    let ask = |address: IpAddr| {
        authorize_with(context, "http_client.private_ip", &address.to_string(), &meta).map(drop)
    };
    let address = address.to_canonical();
    ask(address)?;
    match address {
        IpAddr::V6(address) => carried(address).map_or(Ok(()), |inside| ask(inside.into())),
        IpAddr::V4(_) => Ok(()),
    }
}

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
        // Shared by carriers, protocol assignments, relays, benchmarks.
        | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _)
        // Documentation.
        | (192, 0, 2) | (198, 51, 100) | (203, 0, 113)
        // Multicast, reserved, broadcast.
        | (224..=255, ..) => true,
        _ => false,
    }
}

/// Only what is given out to somebody is public: whatever is reserved for a purpose, or for later, is not.
fn is_private_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_given_out = (0x2000..=0x3fff).contains(&a);
    // Tunnels, benchmarks, identifiers and the like; documentation.
    let is_special = a == 0x2001 && (b < 0x0200 || b == 0x0db8) || a == 0x3fff && b < 0x1000;
    !is_given_out || is_special
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, translated (NAT64) or 6to4.
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
        _ => None,
    }
}
