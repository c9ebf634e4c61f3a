//! Next-hop objects and groups (`linux/nexthop.h`), which routes may name instead of spelling out their hops.

use std::collections::HashMap;
use std::time::Duration;

use super::route::{RawHop, address, state_of};
use super::wire::{Attributes, Malformed, u16_at, u32_at, u32_of};
use crate::net::{Family, Resilient};

/// `RTM_GETNEXTHOP`.
pub(super) const RTM_GETNEXTHOP: u16 = 106;
/// `struct nhmsg` of a request for everything.
pub(super) const EVERYTHING: [u8; NHMSG] = [0; NHMSG];

const NHMSG: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_RES_GROUP: u16 = 12;
const NHA_RES_GROUP_BUCKETS: u16 = 1;
const NHA_RES_GROUP_IDLE_TIMER: u16 = 2;
const NHA_RES_GROUP_UNBALANCED_TIMER: u16 = 3;
/// `sizeof(struct nexthop_grp)`.
const MEMBER: usize = 8;

/// A group of next-hop objects as the kernel holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHopGroup {
    /// `NHA_ID`.
    pub id: u32,
    /// Members in the kernel's order.
    pub members: Vec<GroupMember>,
    /// Set for a resilient group; a plain one hashes modulo its members.
    pub resilient: Option<Resilient>,
}

/// One member of a [`NextHopGroup`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupMember {
    /// The object's number.
    pub id: u32,
    /// 1–65536.
    pub weight: u32,
}

/// One next-hop object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    Hop(RawHop),
    Blackhole,
    Group(NextHopGroup),
}

/// All objects of a namespace, by number.
pub(super) type Objects = HashMap<u32, Object>;

/// What a route that names an object does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Hops(Vec<RawHop>),
    Blackhole,
}

/// Resolves a route's `RTA_NH_ID`; `None` if the object or a member is gone: the table changed meanwhile.
pub(super) fn meaning(objects: &Objects, id: u32) -> Option<Meaning> {
    let group = match objects.get(&id)? {
        Object::Hop(hop) => return Some(Meaning::Hops(vec![*hop])),
        Object::Blackhole => return Some(Meaning::Blackhole),
        Object::Group(group) => group,
    };
    let mut hops = Vec::with_capacity(group.members.len());
    for member in &group.members {
        match objects.get(&member.id)? {
            Object::Hop(hop) => hops.push(*hop),
            // The kernel allows a blackhole only as the sole member, and no group within a group.
            Object::Blackhole => return Some(Meaning::Blackhole),
            Object::Group(_) => return None,
        }
    }
    Some(Meaning::Hops(hops))
}

/// Reads the body of an `RTM_NEWNEXTHOP`.
pub(super) fn parse(body: &[u8]) -> Result<(u32, Object), Malformed> {
    let (head, rest) = body.split_at_checked(NHMSG).ok_or(Malformed("truncated next-hop"))?;
    let flags = u32_at(head, 4).ok_or(Malformed("truncated next-hop"))?;
    let mut hop = RawHop { gateway: None, oif: None, state: state_of(flags) };
    let (mut id, mut blackhole, mut members, mut resilient) = (None, false, None, None);
    for attribute in Attributes(rest) {
        let (kind, value) = attribute?;
        match kind {
            NHA_ID => id = Some(u32_of(value)?),
            NHA_GROUP => members = Some(parse_members(value)?),
            NHA_BLACKHOLE => blackhole = true,
            NHA_OIF => hop.oif = Some(u32_of(value)?),
            // nh_family is the gateway's family; the length says it as well, and always.
            NHA_GATEWAY => {
                let family = if value.len() == 4 { Family::V4 } else { Family::V6 };
                hop.gateway = Some(address(family, value)?);
            }
            NHA_RES_GROUP => resilient = Some(parse_resilient(value)?),
            _ => {}
        }
    }
    let id = id.ok_or(Malformed("next-hop without a number"))?;
    let object = match members {
        Some(members) => Object::Group(NextHopGroup { id, members, resilient }),
        None if blackhole => Object::Blackhole,
        None => Object::Hop(hop),
    };
    Ok((id, object))
}

/// `struct nexthop_grp`: number, weight less one in two bytes (the high one was reserved once), two reserved.
fn parse_members(value: &[u8]) -> Result<Vec<GroupMember>, Malformed> {
    let short = Malformed("truncated next-hop group");
    let (entries, []) = value.as_chunks::<MEMBER>() else { return Err(short) };
    entries
        .iter()
        .map(|entry| {
            let id = u32_at(entry, 0).ok_or(short)?;
            let weight = u32::from(entry[4]) + (u32::from(entry[5]) << 8) + 1;
            Ok(GroupMember { id, weight })
        })
        .collect()
}

fn parse_resilient(value: &[u8]) -> Result<Resilient, Malformed> {
    let mut resilient =
        Resilient { buckets: 0, idle_timer: Duration::ZERO, unbalanced_timer: Duration::ZERO, unused: 0 };
    for attribute in Attributes(value) {
        match attribute? {
            (NHA_RES_GROUP_BUCKETS, value) => {
                resilient.buckets = u16_at(value, 0).ok_or(Malformed("short number"))?;
            }
            (NHA_RES_GROUP_IDLE_TIMER, value) => resilient.idle_timer = ticks(u32_of(value)?),
            (NHA_RES_GROUP_UNBALANCED_TIMER, value) => resilient.unbalanced_timer = ticks(u32_of(value)?),
            _ => {}
        }
    }
    Ok(resilient)
}

/// `clock_t` as user space sees it: `USER_HZ` is 100 on every architecture Linux switches use.
fn ticks(number: u32) -> Duration {
    Duration::from_millis(u64::from(number) * 10)
}
