//! The vocabulary of forwarding: prefixes, next-hops, routes.
//!
//! Both sides of the comparison speak it: what the cluster expects (pure code) and what a kernel or an ASIC
//! forwards (the shells). Nothing here does I/O, and nothing here has heard of Kubernetes or of a NOS.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

mod backoff;
mod shared;
mod spread;
#[cfg(test)]
mod tests;

pub use backoff::{Backoff, spread};
pub use shared::Shared;
pub use spread::{HashLayer, Hashing, Resilient};

/// An IP prefix whose host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

impl Prefix {
    /// `address`/`len` with the host bits cleared; `None` if `len` exceeds the family's width (32 or 128).
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        IpNet::new(address, len).ok().map(|net| Self(net.trunc()))
    }

    /// The /32 or /128 of one address.
    pub fn host(address: IpAddr) -> Self {
        Self(IpNet::from(address))
    }

    /// The network address.
    pub fn address(self) -> IpAddr {
        self.0.network()
    }

    /// Number of leading bits, 0–32 or 0–128.
    pub fn len(self) -> u8 {
        self.0.prefix_len()
    }

    /// `0.0.0.0/0` or `::/0`.
    pub fn default_of(family: Family) -> Self {
        Self(match family {
            Family::V4 => IpNet::V4(Ipv4Net::default()),
            Family::V6 => IpNet::V6(Ipv6Net::default()),
        })
    }

    /// A default route's prefix, `0.0.0.0/0` or `::/0`.
    pub fn is_default(self) -> bool {
        self.0.prefix_len() == 0
    }

    /// True for a /32 or /128.
    pub fn is_host(self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// True if `other` is this prefix or lies inside it. Families never contain each other.
    pub fn covers(self, other: Self) -> bool {
        self.0.contains(&other.0)
    }

    /// True if `address` lies inside.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// The address family.
    pub fn family(self) -> Family {
        Family::of(self.0.network())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is no [`Prefix`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Neither `address/len` nor an address.
    #[error("`{0}` is not a prefix (expected ADDRESS/LENGTH, e.g. 203.0.113.0/24)")]
    Syntax(String),
    /// A bit right of the mask is set: most likely a typing error, so it is refused rather than cut.
    #[error("`{0}` has host bits set (did you mean `{1}`?)")]
    HostBits(String, Prefix),
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net: IpNet = match text.parse() {
            Ok(net) => net,
            Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(|_| PrefixError::Syntax(text.to_owned()))?),
        };
        if net.addr() != net.network() {
            return Err(PrefixError::HostBits(text.to_owned(), Self(net.trunc())));
        }
        Ok(Self(net))
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The minimal set of prefixes that covers exactly the addresses `first..=last`, in ascending order.
///
/// `None` if the families differ or the range is reversed.
pub fn cidr_cover(first: IpAddr, last: IpAddr) -> Option<Vec<Prefix>> {
    match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) if a <= b => {
            Some(ipnet::Ipv4Subnets::new(a, b, 0).map(|net: Ipv4Net| Prefix(IpNet::V4(net))).collect())
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if a <= b => {
            Some(ipnet::Ipv6Subnets::new(a, b, 0).map(|net: Ipv6Net| Prefix(IpNet::V6(net))).collect())
        }
        _ => None,
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// True for `fe80::/10`: such an address means nothing without its device.
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Where a packet goes next: an address, a device, or both.
///
/// Written `192.168.1.11`, `fe80::1%swp1` or `%swp1`. At least one part is present.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The gateway, absent for a peer known by its interface only and for on-link routes.
    pub address: Option<IpAddr>,
    /// The outgoing interface, where it is known or needed to tell two next-hops apart.
    pub device: Option<String>,
}

impl NextHop {
    /// A next-hop known by its address.
    pub fn via(address: IpAddr) -> Self {
        Self { address: Some(address), device: None }
    }

    /// A next-hop known by its device: an unnumbered peer, or an on-link route.
    pub fn on(device: impl Into<String>) -> Self {
        Self { address: None, device: Some(device.into()) }
    }

    /// Does `observed`, which carries all that the FIB knows, satisfy this expectation?
    ///
    /// A link-local address is compared with its device, any other address alone, and an expectation without
    /// an address (unnumbered) by its device.
    pub fn is_met_by(&self, observed: &NextHop) -> bool {
        match self.address {
            Some(address) if is_link_local(address) => {
                observed.address == Some(address) && (self.device.is_none() || observed.device == self.device)
            }
            Some(address) => observed.address == Some(address),
            None => observed.device == self.device,
        }
    }

    /// The shortest form that still names it: the device is dropped where the address alone is unique.
    #[must_use]
    pub fn canonical(&self) -> Self {
        match self.address {
            Some(address) if !is_link_local(address) => Self::via(address),
            _ => self.clone(),
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address}")?;
        }
        if let Some(device) = &self.device {
            write!(f, "%{device}")?;
        }
        Ok(())
    }
}

impl FromStr for NextHop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, device) = match text.split_once('%') {
            Some((address, device)) => (address, Some(device)),
            None => (text, None),
        };
        let address = match address {
            "" => None,
            some => Some(some.parse::<IpAddr>().map_err(|_| format!("`{text}` is not a next-hop"))?),
        };
        let device = match device {
            Some("") => return Err(format!("`{text}` is not a next-hop")),
            other => other.map(str::to_owned),
        };
        if address.is_none() && device.is_none() {
            return Err(format!("`{text}` is not a next-hop"));
        }
        Ok(Self { address, device })
    }
}

impl Serialize for NextHop {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NextHop {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a route does with a packet: `rtm_type` of `linux/rtnetlink.h`, in the words of iproute2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Forwarded to a next-hop.
    Unicast,
    /// Delivered to this host.
    Local,
    /// Dropped in silence.
    Blackhole,
    /// Dropped, ICMP unreachable.
    Unreachable,
    /// Dropped, ICMP prohibited.
    Prohibit,
    /// The look-up goes on in the next table.
    Throw,
    /// Broadcast, anycast, multicast, NAT …: by number.
    Other(u8),
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
            Self::Other(number) => return write!(f, "type-{number}"),
        })
    }
}

/// Can this hop carry packets now?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HopState {
    /// Yes.
    Live,
    /// `RTNH_F_LINKDOWN`: no carrier. The kernel may still hash to it.
    LinkDown,
    /// `RTNH_F_DEAD`: the kernel skips it.
    Dead,
}

/// One next-hop of a route as the FIB holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Address and device, as complete as the FIB knows them.
    pub next_hop: NextHop,
    /// Whether it can forward.
    pub state: HopState,
}

/// `rtm_protocol` of routes that a BGP daemon installed through zebra (`linux/rtnetlink.h`, `RTPROT_BGP`).
pub const PROTOCOL_BGP: u8 = 186;

/// One route of a FIB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub prefix: Prefix,
    /// What it does.
    pub kind: RouteKind,
    /// `rtm_protocol`: who installed it.
    pub protocol: u8,
    /// Routing table; 254 is main, 255 local.
    pub table: u32,
    /// `RTA_PRIORITY`; of several routes to one prefix the lowest forwards.
    pub metric: u32,
    /// `RTA_NH_ID`, if the route uses a next-hop object or group.
    pub group: Option<u32>,
    /// Next-hops; empty for the kinds that have none.
    pub hops: Shared<Vec<Hop>>,
}

impl Route {
    /// The next-hops that forward, neither dead nor without carrier, in canonical form and without repeats.
    pub fn live(&self) -> Vec<NextHop> {
        let mut live: Vec<NextHop> = self
            .hops
            .iter()
            .filter(|hop| hop.state == HopState::Live)
            .map(|hop| hop.next_hop.canonical())
            .collect();
        live.sort();
        live.dedup();
        live
    }
}

/// The unspecified address of a family, for look-ups that need one.
pub fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([0, 0, 0, 0]),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
