//! `real_ip`: the client behind a proxy that is trusted.

use std::{net::IpAddr, str::FromStr};

use super::{
    super::inbound::{Client, Inbound},
    options::Options,
};

/// Whom to believe.
pub(crate) struct RealIp {
    trusted: Vec<Subnet>,
    trust_all: bool,
}

/// Addresses with a common prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subnet {
    address: IpAddr,
    bits: u8,
}

/// The private networks, and this machine.
const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

impl RealIp {
    pub(super) fn new(options: &mut Options<'_>) -> Self {
        let expected = "subnets such as `10.0.0.0/8,192.168.1.1`";
        let named = options.parsed("real_ip.trusted.subnets", expected, |listed| {
            listed
                .split(',')
                .map(|subnet| subnet.trim().parse().ok())
                .collect::<Option<Vec<Subnet>>>()
        });
        let private = || PRIVATE.iter().filter_map(|subnet| subnet.parse().ok()).collect();
        Self {
            trusted: named.unwrap_or_else(private),
            trust_all: options.flag("real_ip.trust_all"),
        }
    }

    /// Takes the client for whom a trusted proxy says it is.
    pub(super) fn find(&self, inbound: &mut Inbound) {
        if !self.is_trusted(inbound.client.ip) {
            return;
        }
        let single = |name| inbound.header(name)?.trim().parse::<IpAddr>().ok();
        let found = single("true-client-ip")
            .or_else(|| single("x-real-ip"))
            .or_else(|| self.forwarded(inbound));
        if let Some(ip) = found {
            inbound.client = Client {
                ip,
                text: ip.to_string().into(),
            };
        }
    }

    /// The last address of the list that is no trusted proxy's: whatever stands before it, the client may have made up.
    fn forwarded(&self, inbound: &Inbound) -> Option<IpAddr> {
        let values = inbound.parts.headers.get_all("x-forwarded-for");
        let listed: Vec<IpAddr> = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map_while(|address| address.trim().parse().ok())
            .collect();
        let stranger = listed.iter().rev().find(|address| !self.is_trusted(**address));
        stranger.or(listed.first()).copied()
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trust_all || self.trusted.iter().any(|subnet| subnet.contains(address))
    }
}

impl Subnet {
    fn contains(self, address: IpAddr) -> bool {
        let shared = |one: u128, two: u128, width: u32| {
            let rest = width.saturating_sub(u32::from(self.bits));
            one.checked_shr(rest).unwrap_or(0) == two.checked_shr(rest).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(two)) => shared(one.to_bits().into(), two.to_bits().into(), 32),
            (IpAddr::V6(one), IpAddr::V6(two)) => shared(one.to_bits(), two.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Subnet {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(drop)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), |bits| bits.parse().map_err(drop))?;
        (bits <= width).then_some(Self { address, bits }).ok_or(())
    }
}
