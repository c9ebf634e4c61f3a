//! What FRR's JSON means. Pure: text in, facts out.
//!
//! Written against 8.4 and tolerant to 10.x: unknown keys are passed over, flags are present only when true,
//! and a thing that is absent may be `{}`, a `warning` or a missing key.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::net::{Family, NextHop, Prefix, is_link_local};
use crate::rib::{Bfd, Intake, Limits, Managed, Merit, Path, Session, Stale};

/// Reads JSON; the error is one line for the operator.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct Summary {
    #[serde(rename = "ipv4Unicast")]
    v4: Option<SummaryFamily>,
    #[serde(rename = "ipv6Unicast")]
    v6: Option<SummaryFamily>,
}

#[derive(Deserialize)]
struct SummaryFamily {
    #[serde(default)]
    peers: BTreeMap<String, SummaryPeer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct SummaryPeer {
    state: String,
    peer_state: String,
    peer_uptime: String,
    peer_uptime_msec: u64,
    connections_dropped: u64,
    dynamic_peer: bool,
}

/// `show bgp summary json`: all sessions. A bgpd without configuration has none.
///
/// A session stands under each address family it is activated for, and policy may block each of them.
pub(super) fn sessions(text: &str) -> Result<BTreeMap<String, Session>, String> {
    let summary: Summary = read(text)?;
    let mut sessions: BTreeMap<String, Session> = BTreeMap::new();
    let families = [(Family::V4, summary.v4), (Family::V6, summary.v6)];
    for (family, table) in families {
        for (name, peer) in table.into_iter().flat_map(|table| table.peers) {
            let session = sessions.entry(name).or_insert_with_key(|name| Session {
                peer: name.clone(),
                state: peer.state,
                uptime: (peer.peer_uptime != "never").then(|| Duration::from_millis(peer.peer_uptime_msec)),
                dropped: peer.connections_dropped,
                last_reset: None,
                dynamic: peer.dynamic_peer,
                blocked: BTreeSet::new(),
                bfd: None,
                flaps: None,
            });
            if peer.peer_state == "Policy" {
                session.blocked.insert(family);
            }
        }
    }
    Ok(sessions)
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PeerGroup {
    dynamic_ranges: BTreeMap<String, DynamicRanges>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DynamicRanges {
    ranges: Vec<Prefix>,
}

/// `show bgp peer-group json`: the ranges from which peers are accepted.
pub(super) fn listen(text: &str) -> Result<Vec<Prefix>, String> {
    let groups: BTreeMap<String, PeerGroup> = read(text)?;
    Ok(groups
        .into_values()
        .flat_map(|group| group.dynamic_ranges.into_values())
        .flat_map(|family| family.ranges)
        .collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct RawNeighbor {
    last_reset_due_to: Option<String>,
    last_notification_reason: Option<String>,
    peer_bfd_info: Option<NeighborBfd>,
    prefix_stats: Option<PrefixStats>,
    address_family_info: FamilyInfos,
}

#[derive(Deserialize)]
struct NeighborBfd {
    status: Option<String>,
}

/// How many announcements were refused since the neighbour was configured, by cause; 8.4 does not count.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PrefixStats {
    inbound_filtered: u64,
    aspath_loop: u64,
    originator_loop: u64,
    cluster_loop: u64,
    invalid_next_hop: u64,
    withdrawn: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FamilyInfos {
    #[serde(rename = "ipv4Unicast")]
    v4: FamilyInfo,
    #[serde(rename = "ipv6Unicast")]
    v6: FamilyInfo,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct FamilyInfo {
    inbound_soft_config_permit: bool,
}

/// What is told about one neighbour.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Neighbor {
    /// Why its session went down last.
    pub(super) last_reset: Option<String>,
    /// What bgpd knows of BFD.
    pub(super) bfd: Option<Bfd>,
    /// Families in which everything that it announces is kept, refused or not.
    pub(super) keeps: BTreeSet<Family>,
    /// Announcements that were refused, of any prefix.
    pub(super) refused: Option<u64>,
}

impl Neighbor {
    /// What became of a prefix of which there is no path, if what was announced is not kept.
    pub(super) fn intake(&self) -> Intake {
        match self.refused {
            None => Intake::Untold,
            Some(0) => Intake::NotSent,
            Some(some) => Intake::SomeRefused(some),
        }
    }
}

/// `show bgp neighbors X json`. Nothing is known if there is no such neighbour, which is what becomes of a dynamic one
/// that is down.
pub(super) fn neighbor(text: &str, name: &str) -> Result<Neighbor, String> {
    let mut all: BTreeMap<String, Value> = read(text)?;
    let Some(value) = all.remove(name) else { return Ok(Neighbor::default()) };
    let raw: RawNeighbor = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let due = raw.last_reset_due_to.filter(|due| !due.is_empty());
    let last_reset = match (due, raw.last_notification_reason) {
        // The notification explains only a reset that was due to one; else it is of an older reset.
        (Some(due), Some(reason)) if due.contains("Notification") => Some(format!("{due}: {reason}")),
        (due, _) => due,
    };
    let bfd = raw.peer_bfd_info.and_then(|bfd| bfd.status).filter(|status| status != "Unknown");
    let FamilyInfos { v4, v6 } = raw.address_family_info;
    let keeps = [(Family::V4, v4), (Family::V6, v6)];
    let refused = raw.prefix_stats.map(|stats| {
        let PrefixStats {
            inbound_filtered,
            aspath_loop,
            originator_loop,
            cluster_loop,
            invalid_next_hop,
            withdrawn,
        } = stats;
        inbound_filtered + aspath_loop + originator_loop + cluster_loop + invalid_next_hop + withdrawn
    });
    Ok(Neighbor {
        last_reset,
        bfd: bfd.map(|status| if status == "Up" { Bfd::Up } else { Bfd::Idle }),
        keeps: keeps
            .into_iter()
            .filter(|(_, info)| info.inbound_soft_config_permit)
            .map(|(f, _)| f)
            .collect(),
        refused,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    received_routes: BTreeMap<String, Value>,
}

/// `show bgp ipv4|ipv6 unicast neighbors X received-routes json`: is the prefix among what the neighbour announced?
pub(super) fn received(text: &str, prefix: Prefix) -> Result<bool, String> {
    let answer: Received = read(text)?;
    Ok(answer.received_routes.keys().any(|key| key.parse::<Prefix>().is_ok_and(|key| key == prefix)))
}

/// bgpd's `show running-config`: how many equal paths of a family it may use, in the default instance.
pub(super) fn limits(text: &str, family: Family) -> Limits {
    let wanted = match family {
        Family::V4 => " address-family ipv4 unicast",
        Family::V6 => " address-family ipv6 unicast",
    };
    let mut limits = Limits::default();
    let (mut instance, mut inside) = (false, false);
    for line in text.lines() {
        if !line.starts_with(' ') && !line.starts_with('!') {
            instance = line.starts_with("router bgp ") && !line.contains(" vrf ") && !line.contains(" view ");
            inside = false;
        } else if line.starts_with(" address-family ") || line == " exit-address-family" {
            inside = instance && line == wanted;
        } else if inside && let Some(limit) = line.trim_start().strip_prefix("maximum-paths ") {
            let mut words = limit.split(' ');
            match words.next() {
                Some("ibgp") => limits.internal = words.next().and_then(|word| word.parse().ok()),
                word => limits.external = word.and_then(|word| word.parse().ok()),
            }
        }
    }
    limits
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct BfdPeer {
    peer: String,
    interface: Option<String>,
    vrf: Option<String>,
    status: String,
    diagnostic: String,
    remote_diagnostic: String,
}

/// Diagnostics of a session that is down without having lost its peer.
const NOT_LOST: [&str; 4] = ["", "ok", "unknown", "administratively down"];

/// `show bfd peers json`: by the name a BGP session would have. Of several sessions to one peer the worst counts.
pub(super) fn bfd(text: &str) -> Result<BTreeMap<String, Bfd>, String> {
    let peers: Vec<BfdPeer> = read(text)?;
    let mut sessions: BTreeMap<String, Bfd> = BTreeMap::new();
    for peer in peers.into_iter().filter(|peer| peer.vrf.as_deref().is_none_or(|vrf| vrf == "default")) {
        let unnumbered = peer.peer.parse().is_ok_and(is_link_local);
        let name = match peer.interface {
            Some(interface) if unnumbered => interface,
            _ => peer.peer,
        };
        let on_purpose = peer.remote_diagnostic == "administratively down";
        let state = if peer.status == "up" {
            Bfd::Up
        } else if on_purpose || NOT_LOST.contains(&peer.diagnostic.as_str()) {
            Bfd::Idle
        } else {
            Bfd::Lost(peer.diagnostic)
        };
        let known = sessions.entry(name).or_insert(Bfd::Up);
        *known = state.max(known.clone());
    }
    Ok(sessions)
}

#[derive(Deserialize)]
struct Paths {
    #[serde(default)]
    paths: Vec<RawPath>,
    warning: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPath {
    valid: bool,
    multipath: bool,
    stale: bool,
    graceful_restart_seconds_remaining: Option<u64>,
    weight: u32,
    loc_prf: Option<u32>,
    origin: String,
    aspath: AsPath,
    bestpath: BestPath,
    nexthops: Vec<PathHop>,
    peer: PathPeer,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AsPath {
    length: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BestPath {
    overall: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PathHop {
    ip: Option<IpAddr>,
    used: bool,
    accessible: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PathPeer {
    peer_id: String,
    interface: Option<String>,
    r#type: String,
}

/// What FRR leaves out because it is the default.
const LOCAL_PREFERENCE: u32 = 100;

/// `show bgp ipv4|ipv6 unicast P json`: the paths of one prefix; none if the table does not have it.
///
/// The next-hop is the one bgpd uses. Of an IPv6 speaker that offers a global and a link-local address this is
/// the link-local one, and for a session by address bgpd does not say its device.
pub(super) fn paths(text: &str) -> Result<Vec<Path>, String> {
    let answer: Paths = read(text)?;
    match answer.warning {
        // A bgpd without configuration has no table, and so no path.
        Some(warning) if !warning.contains("not found") => return Err(warning),
        _ => {}
    }
    Ok(answer.paths.into_iter().map(path).collect())
}

fn path(raw: RawPath) -> Path {
    let used = raw.nexthops.iter().find(|hop| hop.used).or(raw.nexthops.first());
    let address = used.and_then(|hop| hop.ip).filter(|ip| !ip.is_unspecified());
    let next_hop = address.map(|ip| NextHop {
        address: Some(ip),
        device: if is_link_local(ip) { raw.peer.interface.clone() } else { None },
    });
    let local = raw.peer.peer_id.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    Path {
        // A session without an address is known by its interface.
        peer: raw.peer.interface.unwrap_or(if local { String::new() } else { raw.peer.peer_id }),
        next_hop,
        valid: raw.valid,
        resolved: raw.valid || used.is_some_and(|hop| hop.accessible),
        chosen: raw.multipath || raw.bestpath.overall,
        merit: Merit {
            weight: raw.weight,
            local_preference: raw.loc_prf.unwrap_or(LOCAL_PREFERENCE),
            as_path_length: raw.aspath.length,
            origin: raw.origin,
            external: raw.peer.r#type == "external",
        },
        stale: raw
            .stale
            .then(|| Stale { lasts: raw.graceful_restart_seconds_remaining.map(Duration::from_secs) }),
        why_not: None,
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RawRoute {
    protocol: String,
    selected: bool,
    queued: bool,
    nexthops: Vec<RouteHop>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct RouteHop {
    fib: bool,
    active: bool,
    ip: Option<IpAddr>,
    interface_name: Option<String>,
}

/// `show ip|ipv6 route P json`: what zebra holds for exactly this prefix.
pub(super) fn managed(text: &str, prefix: Prefix) -> Result<Managed, String> {
    let answer: BTreeMap<String, Vec<RawRoute>> = read(text)?;
    let mut managed = Managed::default();
    let asked = |key: &str| key.parse::<Prefix>().is_ok_and(|key| key == prefix);
    for route in answer.into_iter().filter(|(key, _)| asked(key)).flat_map(|(_, routes)| routes) {
        managed.queued |= route.queued;
        if !route.selected {
            continue;
        }
        managed.selected = Some(route.protocol);
        // 10.x keeps `fib` on a hop that it lost with its link; only both together mean installed.
        let installed = route.nexthops.into_iter().filter(|hop| hop.fib && hop.active);
        managed.installed = installed
            .map(|hop| NextHop { address: hop.ip, device: hop.interface_name })
            .filter(|hop| hop.address.is_some() || hop.device.is_some())
            .collect();
    }
    Ok(managed)
}
