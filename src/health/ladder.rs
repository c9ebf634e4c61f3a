//! The ladder: the steps between an intent in the cluster and a forwarded packet, in order.
//!
//! A difference is explained by the *first failing rung*. What is absent by intent has a rung too. The control
//! plane's word only names the rung and whose fault it is; that there is a difference, the FIB alone has said.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::health::DifferenceKind;
use crate::health::control::{Managed, Path, Session};
use crate::net::NextHop;

#[cfg(test)]
mod tests;

/// One step of the ladder, or a reason for absence by intent. A closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rung {
    /// No endpoint counts on a node that peers here: the prefix must be absent.
    NoEndpoints,
    /// The nodes carry the exclude label: the prefix must be absent.
    NodeExcluded,
    /// The nodes are `NetworkUnavailable`: the prefix must be absent.
    NodeNetworkUnavailable,
    /// A node announces the prefix but has no peer address of its family.
    NoAddressForFamily,
    /// The expectation is old: the API did not answer when it was asked again.
    ExpectationStale,
    /// The forwarding table could not be read.
    FibUnreadable,
    /// A next-hop that nobody expects.
    UnexpectedNextHop,
    /// The NOS has no neighbour for the node.
    PeerNotConfigured,
    /// The BGP session is not Established.
    SessionDown,
    /// The session is up but does not carry the prefix.
    PrefixNotReceived,
    /// BGP has the path but did not choose it for forwarding.
    NotBestPath,
    /// BGP chose the path, the forwarding table does not have the next-hop; or the control plane could not be asked.
    NotInFib,
    /// The forwarding table has the prefix, but does something else with it than forward.
    WrongRouteKind,
}

/// Whose fault a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// This switch contradicts itself: its control plane and its FIB differ.
    Switch,
    /// The switch agrees with itself, and the path does not come in.
    AnnouncerMissing,
    /// The switch agrees with itself, and a path comes in that the cluster does not want.
    AnnouncerUnexpected,
    /// The path comes in, and this switch's configuration does not use it.
    Policy,
}

/// What the control plane says about one prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Its paths in BGP.
    pub paths: Vec<Path>,
    /// What the route manager makes of it.
    pub managed: Managed,
}

/// Sessions by peer, and evidence by prefix; absent where the control plane could not be asked.
#[derive(Debug, Clone, Default)]
pub struct ControlPlane<'a> {
    /// All sessions.
    pub sessions: Option<&'a BTreeMap<String, Session>>,
    /// Evidence for the prefix in question.
    pub evidence: Option<&'a Evidence>,
}

/// The name by which a peer is configured: its interface if it has one, else its address.
fn peer_name(hop: &NextHop) -> String {
    match (&hop.device, hop.address) {
        (Some(device), _) => device.clone(),
        (None, Some(address)) => address.to_string(),
        (None, None) => String::new(),
    }
}

/// The first failing rung of one difference, and whose fault it is.
///
/// `wrong_kind`: the route does not forward at all. `peer`: the node's own peer address, where the FIB's next-hop is
/// only what that address resolves to.
pub fn explain(
    kind: DifferenceKind,
    hop: Option<&NextHop>,
    peer: Option<&NextHop>,
    wrong_kind: bool,
    control: &ControlPlane<'_>,
) -> (Rung, Fault) {
    match kind {
        DifferenceKind::Missing => {
            let (rung, fault) = explain_missing(hop, peer, control);
            if wrong_kind { (Rung::WrongRouteKind, fault) } else { (rung, fault) }
        }
        DifferenceKind::Unexpected => {
            let rung = if wrong_kind { Rung::WrongRouteKind } else { Rung::UnexpectedNextHop };
            let Some(evidence) = control.evidence else { return (rung, Fault::AnnouncerUnexpected) };
            let chosen = evidence.paths.iter().any(|path| {
                path.chosen
                    && hop.is_some_and(|hop| path.next_hop.as_ref().is_some_and(|next| leads_to(next, hop)))
            });
            (rung, if chosen { Fault::AnnouncerUnexpected } else { Fault::Switch })
        }
    }
}

fn explain_missing(
    hop: Option<&NextHop>,
    peer: Option<&NextHop>,
    control: &ControlPlane<'_>,
) -> (Rung, Fault) {
    let (Some(hop), Some(sessions), Some(evidence)) = (hop, control.sessions, control.evidence) else {
        return (Rung::NotInFib, Fault::AnnouncerMissing);
    };
    let name = peer_name(peer.unwrap_or(hop));
    // Several paths may lead there (a node and a reflector); one that was chosen says the most.
    let path = evidence
        .paths
        .iter()
        .filter(|path| path.peer == name || path.next_hop.as_ref().is_some_and(|next| leads_to(next, hop)))
        .max_by_key(|path| path.chosen);
    // A path that came through somebody else (a remote switch) needs no session of its own name.
    match (sessions.get(&name), path) {
        (_, Some(path)) if path.chosen => (Rung::NotInFib, Fault::Switch),
        (Some(session), _) if !session.is_up() => (Rung::SessionDown, Fault::AnnouncerMissing),
        (_, Some(_)) => (Rung::NotBestPath, Fault::Policy),
        (Some(_), None) => (Rung::PrefixNotReceived, Fault::AnnouncerMissing),
        (None, None) => (Rung::PeerNotConfigured, Fault::Policy),
    }
}

/// BGP's next-hop and the FIB's are the same place: an IPv6 path may name the global address where the FIB has the
/// link-local one, and an interface stands for whatever is behind it.
fn leads_to(bgp: &NextHop, fib: &NextHop) -> bool {
    (bgp.address.is_some() && bgp.address == fib.address)
        || (bgp.device.is_some() && bgp.device == fib.device)
}

/// The order of rungs for a VIP's summary: what is nearest to the packet last.
pub fn worst(rungs: impl IntoIterator<Item = (crate::health::State, Rung)>) -> Option<Rung> {
    rungs.into_iter().max().map(|(_, rung)| rung)
}
