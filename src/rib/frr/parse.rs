//! What FRR's JSON means. Pure: text in, facts out.
//!
//! Written against 8.4 and tolerant to 10.x: unknown keys are passed over, flags are present only when true,
//! and a thing that is absent may be `{}`, a `warning` or a missing key.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::net::{NextHop, Prefix, is_link_local};
use crate::rib::{Managed, Path, Session};

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
/// A session stands under each address family it is activated for; it counts as blocked by policy only if it is
/// blocked in all of them, since IPv4 is often activated by default and never used.
pub(super) fn sessions(text: &str) -> Result<BTreeMap<String, Session>, String> {
    let summary: Summary = read(text)?;
    let mut sessions: BTreeMap<String, Session> = BTreeMap::new();
    for (name, peer) in [summary.v4, summary.v6].into_iter().flatten().flat_map(|family| family.peers) {
        let blocked = peer.peer_state == "Policy";
        if let Some(known) = sessions.get_mut(&name) {
            known.blocked_by_policy &= blocked;
            continue;
        }
        let uptime = (peer.peer_uptime != "never").then(|| Duration::from_millis(peer.peer_uptime_msec));
        let session = Session {
            peer: name.clone(),
            state: peer.state,
            uptime,
            dropped: peer.connections_dropped,
            last_reset: None,
            dynamic: peer.dynamic_peer,
            blocked_by_policy: blocked,
            bfd_up: None,
        };
        sessions.insert(name, session);
    }
    Ok(sessions)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Neighbor {
    last_reset_due_to: Option<String>,
    last_notification_reason: Option<String>,
    peer_bfd_info: Option<NeighborBfd>,
}

#[derive(Deserialize)]
struct NeighborBfd {
    status: Option<String>,
}

/// `show bgp neighbors X json`: why it went down last, and what bgpd knows of BFD. Both unknown if there is no
/// such neighbour, which is what becomes of a dynamic one that is down.
pub(super) fn neighbor(text: &str, name: &str) -> Result<(Option<String>, Option<bool>), String> {
    let mut all: BTreeMap<String, Value> = read(text)?;
    let Some(value) = all.remove(name) else { return Ok((None, None)) };
    let neighbor: Neighbor = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let due = neighbor.last_reset_due_to.filter(|due| !due.is_empty());
    let reset = match (due, neighbor.last_notification_reason) {
        // The notification explains only a reset that was due to one; else it is of an older reset.
        (Some(due), Some(reason)) if due.contains("Notification") => Some(format!("{due}: {reason}")),
        (due, _) => due,
    };
    let bfd = neighbor.peer_bfd_info.and_then(|bfd| bfd.status);
    Ok((reset, bfd.filter(|status| status != "Unknown").map(|status| status == "Up")))
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct BfdPeer {
    peer: String,
    interface: Option<String>,
    vrf: Option<String>,
    status: String,
}

/// `show bfd peers json`: up or not, by the name a BGP session would have. Of several sessions to one peer all
/// must be up.
pub(super) fn bfd(text: &str) -> Result<BTreeMap<String, bool>, String> {
    let peers: Vec<BfdPeer> = read(text)?;
    let mut up: BTreeMap<String, bool> = BTreeMap::new();
    for peer in peers.into_iter().filter(|peer| peer.vrf.as_deref().is_none_or(|vrf| vrf == "default")) {
        let unnumbered = peer.peer.parse().is_ok_and(is_link_local);
        let name = match peer.interface {
            Some(interface) if unnumbered => interface,
            _ => peer.peer,
        };
        let is_up = peer.status == "up";
        up.entry(name).and_modify(|all| *all &= is_up).or_insert(is_up);
    }
    Ok(up)
}

#[derive(Deserialize)]
struct Paths {
    #[serde(default)]
    paths: Vec<RawPath>,
    warning: Option<String>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RawPath {
    valid: bool,
    multipath: bool,
    stale: bool,
    bestpath: BestPath,
    nexthops: Vec<PathHop>,
    peer: PathPeer,
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
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PathPeer {
    peer_id: String,
    interface: Option<String>,
}

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
        chosen: raw.multipath || raw.bestpath.overall,
        stale: raw.stale,
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
