//! The ladder: the steps between an intent in the cluster and a forwarded packet, in order.
//!
//! A difference is explained by the *first failing rung*. What is absent by intent has a rung too. The control
//! plane's word only names the rung and whose fault it is; that there is a difference, the FIB alone has said.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::DifferenceKind;
use crate::health::control::{Bfd, Intake, Limits, Managed, Merit, Path, Programming, Session, Sessions};
use crate::net::{Family, NextHop, Prefix, is_link_local};

#[cfg(test)]
mod tests;

/// One step of the ladder, or a reason for absence by intent. A closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rung {
    /// No advertisement of MetalLB's, or no session of it, brings the prefix here: it must be absent.
    NotAdvertised,
    /// No speaker of MetalLB's runs on the nodes: the prefix must be absent.
    NoSpeaker,
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
    /// A speaker of MetalLB's refuses its configuration and goes on with an older one, which nobody shows.
    ConfigurationRefused,
    /// Whether a node's announcement comes here cannot be told from MetalLB's objects.
    AnnouncementUncertain,
    /// The forwarding table could not be read.
    FibUnreadable,
    /// The NOS has no neighbour for the node.
    PeerNotConfigured,
    /// The BGP session is not Established.
    SessionDown,
    /// The same, and BFD has lost the node.
    BfdDown,
    /// The session is up but does not carry the prefix.
    PrefixNotReceived,
    /// The prefix is announced, and the import policy of this switch refuses it.
    PolicyRejected,
    /// BGP has the path but did not choose it for forwarding.
    NotBestPath,
    /// The path is as good as those in use, and there may not be more of them.
    EcmpLimit,
    /// The next-hop that the path names cannot be reached.
    NextHopUnresolved,
    /// BGP chose the path, the forwarding table does not have the next-hop; or the control plane could not be asked.
    NotInFib,
    /// The forwarding table has the prefix, but does something else with it than forward.
    WrongRouteKind,
    /// A next-hop that nobody expects; or the node announces another next-hop than its own.
    UnexpectedNextHop,
    /// A next-hop that nobody expects, kept because its speaker promised to be back soon.
    StaleByGracefulRestart,
    /// The route is chosen, and this switch keeps it out of its forwarding table on purpose.
    SuppressedByPolicy,
    /// There is no route of its own, and another prefix that covers it catches its packets.
    CaughtByOtherPrefix,
    /// The session comes and goes.
    SessionFlapping,
    /// The chip was told, and has not taken it, or not yet.
    HardwareNotProgrammed,
    /// The chip refused the new set of next-hops and goes on with an older one.
    FibModifyFailed,
    /// The chip has no room for this next-hop.
    NoHardwareResource,
    /// A remark, not a difference: the prefix is to be hashed resiliently, and is not.
    ResilienceMissing,
    /// A remark, not a difference: the resilient group was sized for fewer next-hops than it has.
    ResilienceTruncated,
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
    /// How many paths may be used; absent where it was not asked because no path was left out.
    pub limits: Limits,
    /// What became of it on the way from each peer that was asked about.
    pub intake: BTreeMap<String, Intake>,
}

/// Sessions by peer, and evidence by prefix; absent where the control plane could not be asked.
#[derive(Debug, Clone, Default)]
pub struct ControlPlane<'a> {
    /// All sessions.
    pub sessions: Option<&'a Sessions>,
    /// Evidence for the prefix in question.
    pub evidence: Option<&'a Evidence>,
}

/// What is to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Puzzle<'a> {
    /// Of this prefix.
    pub prefix: Prefix,
    /// A next-hop is missing or unexpected.
    pub kind: DifferenceKind,
    /// Which one; absent where the route's kind is the difference.
    pub hop: Option<&'a NextHop>,
    /// The node's own peer address, where the FIB's next-hop is only what that address resolves to.
    pub peer: Option<&'a NextHop>,
    /// The route does not forward at all.
    pub wrong_kind: bool,
}

/// Why a next-hop is missing or unexpected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The first failing rung.
    pub rung: Rung,
    /// Whose fault it is.
    pub fault: Fault,
    /// The particulars, for people. Says nothing that changes from look to look, such as an age.
    pub detail: Option<String>,
    /// How long it will last at most, where that is known.
    pub lasts: Option<Duration>,
}

impl Explanation {
    fn new(rung: Rung, fault: Fault) -> Self {
        Self { rung, fault, detail: None, lasts: None }
    }

    fn saying(self, detail: impl Into<String>) -> Self {
        // Words of a daemon, and through it of a peer.
        let detail: String = detail.into().chars().filter(|c| !c.is_control()).collect();
        Self { detail: Some(detail).filter(|detail| !detail.is_empty()), ..self }
    }
}

/// The name by which a peer is configured: its interface if it has one, else its address.
fn peer_name(hop: &NextHop) -> String {
    match (&hop.device, hop.address) {
        (Some(device), _) => device.clone(),
        (None, Some(address)) => address.to_string(),
        (None, None) => String::new(),
    }
}

/// The peers about which a further question would help: up, and without a path for the prefix.
pub fn worth_asking<'a>(
    missing: impl IntoIterator<Item = (&'a NextHop, Option<&'a NextHop>)>,
    sessions: &Sessions,
    paths: &[Path],
) -> Vec<String> {
    missing
        .into_iter()
        .filter(|(hop, peer)| path_of(paths, hop, &peer_name(peer.unwrap_or(hop))).is_none())
        .map(|(hop, peer)| peer_name(peer.unwrap_or(hop)))
        .filter(|name| sessions.by_peer.get(name).is_some_and(Session::is_up))
        .collect()
}

/// The first failing rung of one difference, and whose fault it is.
pub fn explain(puzzle: Puzzle<'_>, control: &ControlPlane<'_>) -> Explanation {
    let Puzzle { prefix: _, kind, hop, peer: _, wrong_kind } = puzzle;
    match kind {
        DifferenceKind::Missing => {
            let explained = explain_missing(puzzle, control);
            if wrong_kind { Explanation::new(Rung::WrongRouteKind, explained.fault) } else { explained }
        }
        DifferenceKind::Unexpected => {
            let rung = if wrong_kind { Rung::WrongRouteKind } else { Rung::UnexpectedNextHop };
            let Some(evidence) = control.evidence else {
                return Explanation::new(rung, Fault::AnnouncerUnexpected);
            };
            let leads = |path: &&Path| {
                hop.is_some_and(|hop| path.next_hop.as_ref().is_some_and(|next| leads_to(next, hop)))
            };
            let chosen: Vec<&Path> = evidence.paths.iter().filter(|path| path.chosen).filter(leads).collect();
            if chosen.is_empty() {
                return Explanation::new(rung, Fault::Switch);
            }
            let explained = Explanation::new(rung, Fault::AnnouncerUnexpected);
            // One path that is alive keeps the next-hop, whatever becomes of the others.
            if wrong_kind || chosen.iter().any(|path| path.stale.is_none()) {
                return explained;
            }
            let lasts = chosen.iter().filter_map(|path| path.stale?.lasts).max();
            Explanation { rung: Rung::StaleByGracefulRestart, lasts, ..explained }
        }
    }
}

fn explain_missing(puzzle: Puzzle<'_>, control: &ControlPlane<'_>) -> Explanation {
    let (Some(hop), Some(sessions), Some(evidence)) = (puzzle.hop, control.sessions, control.evidence) else {
        return Explanation::new(Rung::NotInFib, Fault::AnnouncerMissing)
            .saying("the control plane could not be asked");
    };
    let own = puzzle.peer.unwrap_or(hop);
    let explained = by_control_plane(puzzle.prefix.family(), (own, hop), (sessions, evidence));
    match evidence.managed.caught_by {
        Some(other) if matches!(explained.rung, Rung::PrefixNotReceived | Rung::NotInFib) => {
            Explanation { rung: Rung::CaughtByOtherPrefix, ..explained }.saying(format!("{other} catches it"))
        }
        _ => explained,
    }
}

fn by_control_plane(
    family: Family,
    (own, hop): (&NextHop, &NextHop),
    (sessions, evidence): (&Sessions, &Evidence),
) -> Explanation {
    let name = peer_name(own);
    // A path that came through somebody else (a remote switch) needs no session of its own name.
    match (sessions.by_peer.get(&name), path_of(&evidence.paths, hop, &name)) {
        (_, Some(path)) if path.chosen => chosen_but_missing(path, own, hop, &evidence.managed),
        (Some(session), _) if !session.is_up() => session_down(session),
        (_, Some(path)) => left_out(path, family, evidence),
        (Some(session), None) => not_taken(session, family, evidence.intake.get(&name)),
        (None, None) => {
            let listened =
                own.address.is_some_and(|own| sessions.listen.iter().any(|range| range.contains(own)));
            if listened {
                Explanation::new(Rung::SessionDown, Fault::AnnouncerMissing)
                    .saying("inside a listen range, and it has not connected")
            } else {
                Explanation::new(Rung::PeerNotConfigured, Fault::Policy)
            }
        }
    }
}

/// The path of the peer with this name, or through anybody to this hop. Several may lead there (a node and a reflector);
/// one that was chosen says the most.
fn path_of<'a>(paths: &'a [Path], hop: &NextHop, name: &str) -> Option<&'a Path> {
    paths
        .iter()
        .filter(|path| path.peer == name || path.next_hop.as_ref().is_some_and(|next| leads_to(next, hop)))
        .max_by_key(|path| path.chosen)
}

fn session_down(session: &Session) -> Explanation {
    let why = session.last_reset.as_ref().map(|why| format!(", last reset: {why}")).unwrap_or_default();
    if let Some(Bfd::Lost(diagnostic)) = &session.bfd {
        return Explanation::new(Rung::BfdDown, Fault::AnnouncerMissing)
            .saying(format!("BFD: {diagnostic}{why}"));
    }
    if let Some(times) = session.flaps {
        return Explanation::new(Rung::SessionFlapping, Fault::AnnouncerMissing)
            .saying(format!("came up {times} times{why}"));
    }
    // Active, Connect, OpenSent … take turns while it is tried; what stands in parentheses is a reason.
    let state = session.state.split_once('(').map(|(_, reason)| reason.trim_end_matches(')'));
    let state = state.map(|reason| format!("{reason}, ")).unwrap_or_default();
    // FRR 10.2 and 10.3 open no session before BFD is up, which a node that does not speak BFD never is.
    let bfd = if session.bfd == Some(Bfd::Idle) { "BFD has not come up, " } else { "" };
    let detail = format!("{state}{bfd}{}", why.trim_start_matches(", "));
    Explanation::new(Rung::SessionDown, Fault::AnnouncerMissing).saying(detail.trim_end_matches(", "))
}

fn not_taken(session: &Session, family: Family, intake: Option<&Intake>) -> Explanation {
    let rejected = Explanation::new(Rung::PolicyRejected, Fault::Policy);
    let missing = Explanation::new(Rung::PrefixNotReceived, Fault::AnnouncerMissing);
    if session.blocked.contains(&family) {
        return rejected.saying("the session has no import or export policy, so it carries nothing");
    }
    match intake {
        Some(Intake::Refused) => rejected.saying("announced, and refused by the import policy"),
        Some(Intake::NotSent) => missing.saying("not announced by the node"),
        Some(Intake::SomeRefused(_)) => missing.saying(
            "or refused: the import policy refused something from this node, and which prefix cannot be told \
             without soft-reconfiguration inbound",
        ),
        Some(Intake::Untold) => missing.saying(
            "or refused by the import policy: that cannot be told without soft-reconfiguration inbound",
        ),
        None => missing,
    }
}

/// A path that is there and not used.
fn left_out(path: &Path, family: Family, evidence: &Evidence) -> Explanation {
    if !path.resolved {
        let next_hop = path.next_hop.as_ref().map(|next| format!("no route to {next}"));
        return Explanation::new(Rung::NextHopUnresolved, Fault::Policy).saying(next_hop.unwrap_or_default());
    }
    let used: Vec<&Path> = evidence.paths.iter().filter(|path| path.chosen).collect();
    let limit = if path.merit.external { evidence.limits.external } else { evidence.limits.internal };
    let equal = path.valid && used.iter().any(|used| used.merit == path.merit);
    if let Some(limit) = limit.filter(|limit| equal && used.len() >= *limit as usize) {
        let family = match family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        return Explanation::new(Rung::EcmpLimit, Fault::Policy)
            .saying(format!("maximum-paths is {limit} for {family}"));
    }
    if let Some(why) = &path.why_not {
        let instead = evidence.managed.instead.as_ref().map(|instead| format!(": {instead} is preferred"));
        return Explanation::new(Rung::NotBestPath, Fault::Policy)
            .saying(format!("{why}{}", instead.unwrap_or_default()));
    }
    let better = used.first().map(|used| better(&used.merit, &path.merit)).unwrap_or_default();
    Explanation::new(Rung::NotBestPath, Fault::Policy).saying(better)
}

/// In which respect the used path is better: the first that differs, in BGP's order.
fn better(used: &Merit, path: &Merit) -> String {
    if used.weight != path.weight {
        format!("its weight is {}, that of a used path {}", path.weight, used.weight)
    } else if used.local_preference != path.local_preference {
        let (its, other) = (path.local_preference, used.local_preference);
        format!("its local preference is {its}, that of a used path {other}")
    } else if used.as_path_length != path.as_path_length {
        let (its, other) = (path.as_path_length, used.as_path_length);
        format!("its AS path has {its} steps, that of a used path {other}")
    } else if used.origin != path.origin {
        format!("its origin is {}, that of a used path {}", path.origin, used.origin)
    } else if used.external != path.external {
        "a used path comes from another AS, or it does".to_owned()
    } else {
        String::new()
    }
}

fn chosen_but_missing(path: &Path, own: &NextHop, hop: &NextHop, managed: &Managed) -> Explanation {
    // BGP does what the announcement says, and that names somebody else.
    if let (Some(next), Some(own)) = (path.next_hop.as_ref().and_then(global), global(own))
        && Family::of(next) == Family::of(own)
        && next != own
        && !path.next_hop.as_ref().is_some_and(|next| leads_to(next, hop))
    {
        return Explanation::new(Rung::UnexpectedNextHop, Fault::AnnouncerMissing)
            .saying(format!("announced with next-hop {next}"));
    }
    let of_hop = managed.members.iter().find(|(member, _)| hop.is_met_by(member)).map(|(_, why)| why);
    if let Some(why) = of_hop.or(managed.trouble.as_ref()) {
        return not_programmed(why);
    }
    if let Some(instead) = &managed.instead {
        return Explanation::new(Rung::NotBestPath, Fault::Policy).saying(format!("{instead} is preferred"));
    }
    let explained = Explanation::new(Rung::NotInFib, Fault::Switch);
    if managed.queued {
        explained.saying("queued in zebra")
    } else if managed.installed.iter().any(|installed| hop.is_met_by(installed)) {
        explained.saying("zebra holds it for installed")
    } else {
        explained
    }
}

/// BGP chose it, and the chip does not have it.
fn not_programmed(why: &Programming) -> Explanation {
    let at = |places: &[String]| {
        if places.is_empty() { String::new() } else { format!(" on {}", places.join(", ")) }
    };
    let hardware = |rung| Explanation::new(rung, Fault::Switch);
    match why {
        Programming::Suppressed => Explanation::new(Rung::SuppressedByPolicy, Fault::Policy)
            .saying("kept out of the forwarding table on purpose"),
        Programming::Pending { operation } => {
            hardware(Rung::HardwareNotProgrammed).saying(format!("{operation} is pending"))
        }
        Programming::Failed { operation, places } => {
            hardware(Rung::HardwareNotProgrammed).saying(format!("{operation} failed{}", at(places)))
        }
        Programming::Older { places } => hardware(Rung::FibModifyFailed)
            .saying(format!("modify failed{}: an older set of next-hops still forwards", at(places))),
        Programming::NoResource => {
            hardware(Rung::NoHardwareResource).saying("the chip has no room for this next-hop")
        }
        Programming::Unresolved => Explanation::new(Rung::NextHopUnresolved, Fault::Policy),
    }
}

/// The address, if it means the same on every device.
fn global(hop: &NextHop) -> Option<IpAddr> {
    hop.address.filter(|address| !is_link_local(*address))
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
