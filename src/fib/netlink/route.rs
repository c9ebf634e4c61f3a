//! Routes as the kernel words them: `struct rtmsg` and its attributes (`linux/rtnetlink.h`).

use std::net::IpAddr;

use super::wire::{Attributes, Malformed, put_attribute, u16_at, u32_at, u32_of};
use crate::net::{Family, HopState, Prefix, RouteKind};

/// `RTM_GETROUTE`.
pub(super) const RTM_GETROUTE: u16 = 26;
/// `RT_TABLE_MAIN`.
pub(super) const MAIN: u32 = 254;
/// `RT_TABLE_LOCAL`.
pub(super) const LOCAL: u32 = 255;
/// `RTN_LOCAL`, also as the filter of a dump.
pub(super) const RTN_LOCAL: u8 = 2;

const RTN_UNICAST: u8 = 1;
const RTN_BLACKHOLE: u8 = 6;
const RTN_UNREACHABLE: u8 = 7;
const RTN_PROHIBIT: u8 = 8;
const RTN_THROW: u8 = 9;

const RTM_F_CLONED: u32 = 0x200;
const RTM_F_FIB_MATCH: u32 = 0x2000;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;

const RTNH_F_DEAD: u32 = 1;
const RTNH_F_LINKDOWN: u32 = 16;

/// `sizeof(struct rtmsg)`.
const RTMSG: usize = 12;

/// `AF_INET` and `AF_INET6` of Linux.
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

/// The number of a family.
pub(super) fn number_of(family: Family) -> u8 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

/// The family of a number.
fn family_of(number: u8) -> Result<Family, Malformed> {
    match number {
        AF_INET => Ok(Family::V4),
        AF_INET6 => Ok(Family::V6),
        _ => Err(Malformed("route of an unknown family")),
    }
}

/// Appends the request "which route forwards `address`?".
pub(super) fn put_lookup(out: &mut Vec<u8>, address: IpAddr) {
    let family = Family::of(address);
    let bits = if family == Family::V4 { 32 } else { 128 };
    out.extend_from_slice(&[number_of(family), bits, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
    match address {
        IpAddr::V4(v4) => put_attribute(out, RTA_DST, &v4.octets()),
        IpAddr::V6(v6) => put_attribute(out, RTA_DST, &v6.octets()),
    }
}

/// The request "all routes of this table", of one `kind` (`rtm_type`) or of all (0).
pub(super) fn dump_request(family: Family, table: u32, kind: u8) -> Vec<u8> {
    let mut out = vec![number_of(family), 0, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0];
    put_attribute(&mut out, RTA_TABLE, &table.to_ne_bytes());
    out
}

/// A hop whose device is still a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RawHop {
    pub(super) gateway: Option<IpAddr>,
    pub(super) oif: Option<u32>,
    pub(super) state: HopState,
}

/// A route whose devices and next-hop objects are still numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawRoute {
    pub(super) prefix: Prefix,
    pub(super) kind: RouteKind,
    pub(super) protocol: u8,
    pub(super) table: u32,
    pub(super) metric: u32,
    pub(super) object: Option<u32>,
    pub(super) hops: Vec<RawHop>,
}

impl RawRoute {
    /// The kernel passes over a route all of whose hops are dead.
    pub(super) fn is_dead(&self) -> bool {
        !self.hops.is_empty() && self.hops.iter().all(|hop| hop.state == HopState::Dead)
    }

    /// Smaller wins among routes to the same prefix: rule 0 looks into table local first, then the metric decides.
    pub(super) fn rank(&self) -> (bool, u32) {
        (self.table != LOCAL, self.metric)
    }
}

/// A route message, cut into its parts but not copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct RouteView<'a> {
    /// Destination.
    pub(super) prefix: Prefix,
    family: Family,
    kind: u8,
    protocol: u8,
    table: u32,
    metric: u32,
    flags: u32,
    plain: bool,
    object: Option<u32>,
    oif: Option<u32>,
    gateway: Option<IpAddr>,
    multipath: &'a [u8],
}

impl<'a> RouteView<'a> {
    /// Cuts up the body of an `RTM_NEWROUTE`.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let (head, rest) = body.split_at_checked(RTMSG).ok_or(Malformed("truncated route"))?;
        let &[family, bits, source_bits, tos, table, protocol, _scope, kind, ..] = head else {
            return Err(Malformed("truncated route"));
        };
        let family = family_of(family)?;
        let mut destination = None;
        let mut view = Self {
            prefix: Prefix::host(crate::net::unspecified(family)),
            family,
            kind,
            protocol,
            table: u32::from(table),
            metric: 0,
            flags: u32_at(head, 8).ok_or(Malformed("truncated route"))?,
            plain: tos == 0 && source_bits == 0,
            object: None,
            oif: None,
            gateway: None,
            multipath: &[],
        };
        for attribute in Attributes(rest) {
            let (kind, value) = attribute?;
            match kind {
                RTA_DST => destination = Some(address(family, value)?),
                RTA_OIF => view.oif = Some(u32_of(value)?),
                RTA_GATEWAY => view.gateway = Some(address(family, value)?),
                RTA_VIA => view.gateway = Some(via(value)?),
                RTA_PRIORITY => view.metric = u32_of(value)?,
                RTA_TABLE => view.table = u32_of(value)?,
                RTA_NH_ID => view.object = Some(u32_of(value)?),
                RTA_MULTIPATH => view.multipath = value,
                _ => {}
            }
        }
        // A default route has no RTA_DST.
        let destination = destination.unwrap_or_else(|| crate::net::unspecified(family));
        view.prefix = Prefix::new(destination, bits).ok_or(Malformed("prefix longer than its family"))?;
        Ok(view)
    }

    /// Takes part in ordinary forwarding by destination: no cache entry, no broadcast or multicast, not bound
    /// to a TOS or a source.
    pub(super) fn forwards(&self) -> bool {
        self.plain
            && self.flags & RTM_F_CLONED == 0
            && matches!(
                self.kind,
                RTN_UNICAST | RTN_LOCAL | RTN_BLACKHOLE | RTN_UNREACHABLE | RTN_PROHIBIT | RTN_THROW
            )
    }

    /// In table `table`, or a local address: a kernel that ignores a dump's filter sends more.
    pub(super) fn is_in(&self, table: u32) -> bool {
        self.table == table && (table != LOCAL || self.kind == RTN_LOCAL)
    }

    /// A copy that outlives the message.
    pub(super) fn own(&self) -> Result<RawRoute, Malformed> {
        let kind = kind_of(self.kind);
        let mut hops = Vec::new();
        if matches!(kind, RouteKind::Unicast | RouteKind::Local | RouteKind::Other(_)) {
            if self.multipath.is_empty() {
                if self.gateway.is_some() || self.oif.is_some() {
                    hops.push(RawHop { gateway: self.gateway, oif: self.oif, state: state_of(self.flags) });
                }
            } else {
                multipath(self.family, self.multipath, &mut hops)?;
            }
        }
        Ok(RawRoute {
            prefix: self.prefix,
            kind,
            protocol: self.protocol,
            table: self.table,
            metric: self.metric,
            object: self.object,
            hops,
        })
    }
}

fn kind_of(number: u8) -> RouteKind {
    match number {
        RTN_UNICAST => RouteKind::Unicast,
        RTN_LOCAL => RouteKind::Local,
        RTN_BLACKHOLE => RouteKind::Blackhole,
        RTN_UNREACHABLE => RouteKind::Unreachable,
        RTN_PROHIBIT => RouteKind::Prohibit,
        RTN_THROW => RouteKind::Throw,
        other => RouteKind::Other(other),
    }
}

/// The state that `rtm_flags`, `rtnh_flags` or `nh_flags` tell.
pub(super) fn state_of(flags: u32) -> HopState {
    // A dead hop without carrier has both.
    if flags & RTNH_F_DEAD != 0 {
        HopState::Dead
    } else if flags & RTNH_F_LINKDOWN != 0 {
        HopState::LinkDown
    } else {
        HopState::Live
    }
}

/// The address in an attribute.
pub(super) fn address(family: Family, value: &[u8]) -> Result<IpAddr, Malformed> {
    let wrong = Malformed("address of the wrong length");
    match family {
        Family::V4 => <[u8; 4]>::try_from(value).map(IpAddr::from).map_err(|_| wrong),
        Family::V6 => <[u8; 16]>::try_from(value).map(IpAddr::from).map_err(|_| wrong),
    }
}

/// `struct rtvia`: a gateway of another family than the route's.
fn via(value: &[u8]) -> Result<IpAddr, Malformed> {
    let (family, rest) = value.split_at_checked(2).ok_or(Malformed("truncated RTA_VIA"))?;
    let family = u16_at(family, 0).and_then(|number| u8::try_from(number).ok());
    address(family_of(family.ok_or(Malformed("RTA_VIA of an unknown family"))?)?, rest)
}

/// `struct rtnexthop`s with their own attributes.
fn multipath(family: Family, mut bytes: &[u8], hops: &mut Vec<RawHop>) -> Result<(), Malformed> {
    let short = Malformed("truncated RTA_MULTIPATH");
    while !bytes.is_empty() {
        let length = usize::from(u16_at(bytes, 0).ok_or(short)?);
        let (&flags, oif) = bytes.get(2).zip(u32_at(bytes, 4)).ok_or(short)?;
        let mut gateway = None;
        for attribute in Attributes(bytes.get(8..length).ok_or(short)?) {
            match attribute? {
                (RTA_GATEWAY, value) => gateway = Some(address(family, value)?),
                (RTA_VIA, value) => gateway = Some(via(value)?),
                _ => {}
            }
        }
        hops.push(RawHop { gateway, oif: Some(oif), state: state_of(u32::from(flags)) });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}
