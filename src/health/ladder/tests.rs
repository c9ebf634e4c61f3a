use std::collections::BTreeSet;

use super::*;
use crate::health::control::Stale;

fn session(state: &str) -> Session {
    Session {
        peer: String::new(),
        state: state.to_owned(),
        uptime: None,
        dropped: 0,
        last_reset: None,
        dynamic: false,
        blocked: BTreeSet::new(),
        bfd: None,
        flaps: None,
    }
}

fn path(peer: &str, next_hop: &str, chosen: bool) -> Path {
    Path {
        peer: peer.to_owned(),
        next_hop: next_hop.parse().ok(),
        valid: true,
        resolved: true,
        chosen,
        merit: Merit {
            weight: 0,
            local_preference: 100,
            as_path_length: 1,
            origin: "IGP".to_owned(),
            external: true,
        },
        stale: None,
        why_not: None,
    }
}

fn sessions(list: &[(&str, Session)]) -> Sessions {
    let by_peer = list.iter().map(|(peer, session)| ((*peer).to_owned(), session.clone())).collect();
    Sessions { by_peer, listen: Vec::new() }
}

fn asked(kind: DifferenceKind, hop: Option<&NextHop>, wrong_kind: bool) -> Puzzle<'_> {
    Puzzle { prefix: "203.0.113.10/32".parse().unwrap(), kind, hop, peer: None, wrong_kind }
}

/// Why the first worker is missing.
fn missing(sessions: &Sessions, evidence: &Evidence) -> Explanation {
    let control = ControlPlane { sessions: Some(sessions), evidence: Some(evidence) };
    explain(asked(Missing, W1.parse().ok().as_ref(), false), &control)
}

fn said(explained: &Explanation) -> (Rung, Fault, &str) {
    (explained.rung, explained.fault, explained.detail.as_deref().unwrap_or_default())
}

/// Rung and fault of one hop, from `PEER STATE` sessions and the paths of its prefix.
fn explained(
    kind: DifferenceKind,
    hop: &str,
    wrong_kind: bool,
    states: &[(&str, &str)],
    paths: &[Path],
) -> (Rung, Fault) {
    let states: Vec<_> = states.iter().map(|(peer, state)| (*peer, session(state))).collect();
    let sessions = sessions(&states);
    let evidence = Evidence { paths: paths.to_vec(), ..Evidence::default() };
    let control = ControlPlane { sessions: Some(&sessions), evidence: Some(&evidence) };
    let explained = explain(asked(kind, hop.parse().ok().as_ref(), wrong_kind), &control);
    (explained.rung, explained.fault)
}

use DifferenceKind::{Missing, Unexpected};
use Fault::{AnnouncerMissing, AnnouncerUnexpected, Policy, Switch};

const W1: &str = "192.168.1.11";
const UP: &[(&str, &str)] = &[(W1, "Established")];
const DOWN: &[(&str, &str)] = &[(W1, "Active")];

#[test]
fn a_missing_hop_is_explained_by_the_first_failing_rung() {
    let of = |sessions, paths: &[Path]| explained(Missing, W1, false, sessions, paths);
    assert_eq!(of(&[], &[]), (Rung::PeerNotConfigured, Policy));
    assert_eq!(of(DOWN, &[]), (Rung::SessionDown, AnnouncerMissing));
    assert_eq!(of(UP, &[]), (Rung::PrefixNotReceived, AnnouncerMissing));
    assert_eq!(
        of(UP, &[path("192.168.1.12", "192.168.1.12", true)]),
        (Rung::PrefixNotReceived, AnnouncerMissing)
    );
    assert_eq!(of(UP, &[path(W1, W1, false)]), (Rung::NotBestPath, Policy));
    assert_eq!(of(DOWN, &[path(W1, W1, false)]), (Rung::SessionDown, AnnouncerMissing));
    assert_eq!(of(UP, &[path(W1, W1, true)]), (Rung::NotInFib, Switch));
    assert_eq!(of(&[], &[path("10.0.0.1", W1, true)]), (Rung::NotInFib, Switch), "by way of a reflector");
    let both = [path(W1, W1, false), path("10.0.0.1", W1, true)];
    assert_eq!(of(UP, &both), (Rung::NotInFib, Switch), "one chosen path is enough");
    assert_eq!(of(UP, &[both[1].clone(), both[0].clone()]), (Rung::NotInFib, Switch));
}

#[test]
fn an_unexpected_hop_is_the_announcers_if_bgp_chose_it_and_the_switchs_if_not() {
    let of = |hop, paths: &[Path]| explained(Unexpected, hop, false, UP, paths);
    assert_eq!(of(W1, &[path(W1, W1, true)]), (Rung::UnexpectedNextHop, AnnouncerUnexpected));
    assert_eq!(of(W1, &[path(W1, W1, false)]), (Rung::UnexpectedNextHop, Switch));
    assert_eq!(of(W1, &[]), (Rung::UnexpectedNextHop, Switch));
    assert_eq!(
        of("fe80::1%swp1", &[path("swp1", "%swp1", true)]),
        (Rung::UnexpectedNextHop, AnnouncerUnexpected)
    );
}

#[test]
fn a_route_that_does_not_forward_has_a_rung_of_its_own() {
    assert_eq!(explained(Missing, W1, true, UP, &[path(W1, W1, true)]), (Rung::WrongRouteKind, Switch));
    assert_eq!(explained(Missing, W1, true, UP, &[]), (Rung::WrongRouteKind, AnnouncerMissing));
    assert_eq!(explained(Unexpected, "", true, UP, &[path(W1, W1, true)]), (Rung::WrongRouteKind, Switch));
}

#[test]
fn a_silent_control_plane_explains_nothing_and_accuses_nobody_on_the_switch() {
    let silent = ControlPlane::default();
    let hop: NextHop = W1.parse().unwrap();
    let of = |puzzle: Puzzle<'_>| {
        let explained = explain(puzzle, &silent);
        (explained.rung, explained.fault)
    };
    assert_eq!(of(asked(Missing, Some(&hop), false)), (Rung::NotInFib, AnnouncerMissing));
    assert_eq!(of(asked(Unexpected, Some(&hop), false)), (Rung::UnexpectedNextHop, AnnouncerUnexpected));
    assert_eq!(of(asked(Unexpected, None, true)), (Rung::WrongRouteKind, AnnouncerUnexpected));
}

#[test]
fn a_peer_behind_gateways_or_an_interface_is_asked_by_its_own_name() {
    let sessions = sessions(&[("10.0.0.11", session("Idle")), ("swp1", session("Active"))]);
    let evidence = Evidence::default();
    let control = ControlPlane { sessions: Some(&sessions), evidence: Some(&evidence) };
    let gateway: NextHop = "10.1.0.1".parse().unwrap();
    let peer: NextHop = "10.0.0.11".parse().unwrap();
    let behind = explain(Puzzle { peer: Some(&peer), ..asked(Missing, Some(&gateway), false) }, &control);
    assert_eq!((behind.rung, behind.fault), (Rung::SessionDown, AnnouncerMissing));
    for interface in ["%swp1", "fe80::1%swp1"] {
        let on = explain(asked(Missing, interface.parse().ok().as_ref(), false), &control);
        assert_eq!((on.rung, on.fault), (Rung::SessionDown, AnnouncerMissing));
    }
}

#[test]
fn a_session_that_is_down_says_why() {
    let down = |state: &str, reset: Option<&str>, bfd: Option<Bfd>| {
        let session = Session { last_reset: reset.map(str::to_owned), bfd, ..session(state) };
        missing(&sessions(&[(W1, session)]), &Evidence::default())
    };
    let lost = Bfd::Lost("control detection time expired".to_owned());
    assert_eq!(
        said(&down("Active", Some("Hold Timer Expired"), Some(lost))),
        (
            Rung::BfdDown,
            AnnouncerMissing,
            "BFD: control detection time expired, last reset: Hold Timer Expired"
        )
    );
    for bfd in [None, Some(Bfd::Up)] {
        let explained = down("Idle (PfxCt)", Some("Maximum Number of Prefixes Reached"), bfd);
        assert_eq!(
            said(&explained),
            (Rung::SessionDown, AnnouncerMissing, "PfxCt, last reset: Maximum Number of Prefixes Reached")
        );
    }
    assert_eq!(
        said(&down("Idle", Some("Address family activated"), Some(Bfd::Idle))),
        (Rung::SessionDown, AnnouncerMissing, "BFD has not come up, last reset: Address family activated")
    );
    assert_eq!(down("Active", None, None).detail, None);
    let text = down("Idle", Some("Cease\u{1b}[2J\n"), None).detail.unwrap();
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[test]
fn a_peer_of_a_listen_range_leaves_no_trace_when_it_is_down() {
    let listen = |range: &str| Sessions { listen: vec![range.parse().unwrap()], ..Sessions::default() };
    let inside = missing(&listen("192.168.1.0/24"), &Evidence::default());
    assert_eq!((inside.rung, inside.fault), (Rung::SessionDown, AnnouncerMissing));
    let outside = missing(&listen("192.168.2.0/24"), &Evidence::default());
    assert_eq!((outside.rung, outside.fault), (Rung::PeerNotConfigured, Policy));
}

#[test]
fn what_was_not_taken_was_refused_only_if_that_is_known() {
    let up = sessions(&[(W1, session("Established"))]);
    let of = |intake: Option<Intake>| {
        let intake = intake.map(|intake| (W1.to_owned(), intake)).into_iter().collect();
        missing(&up, &Evidence { intake, ..Evidence::default() })
    };
    assert_eq!(
        (of(Some(Intake::Refused)).rung, of(Some(Intake::Refused)).fault),
        (Rung::PolicyRejected, Policy)
    );
    for intake in [None, Some(Intake::NotSent), Some(Intake::SomeRefused(3)), Some(Intake::Untold)] {
        let explained = of(intake);
        assert_eq!(
            (explained.rung, explained.fault),
            (Rung::PrefixNotReceived, AnnouncerMissing),
            "{intake:?}"
        );
        let cannot = explained.detail.unwrap_or_default().contains("cannot be told");
        assert_eq!(cannot, matches!(intake, Some(Intake::SomeRefused(_) | Intake::Untold)), "{intake:?}");
    }
    for (family, rung) in [(Family::V4, Rung::PolicyRejected), (Family::V6, Rung::PrefixNotReceived)] {
        let blocked = Session { blocked: BTreeSet::from([family]), ..session("Established") };
        assert_eq!(missing(&sessions(&[(W1, blocked)]), &Evidence::default()).rung, rung);
    }
}

#[test]
fn a_path_that_is_left_out_says_for_what() {
    let up = sessions(&[(W1, session("Established"))]);
    let of = |own: Path, others: u32, limit: Option<u32>| {
        let mut paths = vec![own];
        paths.extend((0..others).map(|_| path("10.0.0.9", "10.0.0.9", true)));
        let limits = Limits { external: limit, internal: None };
        missing(&up, &Evidence { paths, limits, ..Evidence::default() })
    };
    let own = path(W1, W1, false);
    assert_eq!(said(&of(own.clone(), 2, Some(2))), (Rung::EcmpLimit, Policy, "maximum-paths is 2 for IPv4"));
    assert_eq!(of(own.clone(), 2, Some(3)).rung, Rung::NotBestPath, "there is room");
    assert_eq!(of(own.clone(), 2, None).rung, Rung::NotBestPath, "the limit is not known");
    let inside = Merit { external: false, ..own.merit.clone() };
    assert_eq!(
        of(Path { merit: inside, ..own.clone() }, 2, Some(2)).rung,
        Rung::NotBestPath,
        "another limit"
    );
    let far = Merit { as_path_length: 3, ..own.merit.clone() };
    assert_eq!(
        said(&of(Path { merit: far, ..own.clone() }, 2, Some(2))),
        (Rung::NotBestPath, Policy, "its AS path has 3 steps, that of a used path 1")
    );
    let low = Merit { local_preference: 50, as_path_length: 9, ..own.merit.clone() };
    let low = of(Path { merit: low, ..own.clone() }, 1, None);
    assert_eq!(low.detail.as_deref(), Some("its local preference is 50, that of a used path 100"));
    let lost = Path { valid: false, resolved: false, ..path(W1, "192.0.2.99", false) };
    assert_eq!(said(&of(lost, 2, Some(2))), (Rung::NextHopUnresolved, Policy, "no route to 192.0.2.99"));
}

#[test]
fn a_chosen_path_that_leads_elsewhere_is_no_fault_of_the_switch() {
    let up = sessions(&[(W1, session("Established"))]);
    let of = |next: &str| {
        let paths = vec![path(W1, next, true)];
        missing(&up, &Evidence { paths, ..Evidence::default() })
    };
    assert_eq!(
        said(&of("192.168.1.99")),
        (Rung::UnexpectedNextHop, AnnouncerMissing, "announced with next-hop 192.168.1.99")
    );
    assert_eq!(of(W1).rung, Rung::NotInFib);
    assert_eq!(of("fe80::1").rung, Rung::NotInFib, "a link-local next-hop may be the node's own");
    let installed = Managed { installed: vec![W1.parse().unwrap()], ..Managed::default() };
    let evidence = Evidence { paths: vec![path(W1, W1, true)], managed: installed, ..Evidence::default() };
    assert_eq!(said(&missing(&up, &evidence)), (Rung::NotInFib, Switch, "zebra holds it for installed"));
}

#[test]
fn a_stale_path_keeps_a_hop_only_if_no_other_does() {
    let stale = |seconds| Path {
        stale: Some(Stale { lasts: Some(Duration::from_secs(seconds)) }),
        ..path(W1, W1, true)
    };
    let of = |paths: Vec<Path>| {
        let evidence = Evidence { paths, ..Evidence::default() };
        let sessions = Sessions::default();
        let control = ControlPlane { sessions: Some(&sessions), evidence: Some(&evidence) };
        let explained = explain(asked(Unexpected, W1.parse().ok().as_ref(), false), &control);
        (explained.rung, explained.fault, explained.lasts)
    };
    assert_eq!(
        of(vec![stale(30), stale(40)]),
        (Rung::StaleByGracefulRestart, AnnouncerUnexpected, Some(Duration::from_secs(40)))
    );
    assert_eq!(
        of(vec![stale(30), path("10.0.0.1", W1, true)]),
        (Rung::UnexpectedNextHop, AnnouncerUnexpected, None)
    );
}

#[test]
fn only_sessions_that_are_up_and_bring_no_path_are_asked_further() {
    let hops: Vec<NextHop> = [W1, "192.168.1.12", "192.168.1.13"].map(|hop| hop.parse().unwrap()).to_vec();
    let sessions = sessions(&[
        (W1, session("Established")),
        ("192.168.1.12", session("Active")),
        ("192.168.1.13", session("Established")),
    ]);
    let asked = |paths: &[Path]| worth_asking(hops.iter().map(|hop| (hop, None)), &sessions, paths);
    assert_eq!(asked(&[]), [W1, "192.168.1.13"]);
    assert_eq!(asked(&[path(W1, W1, false)]), ["192.168.1.13"]);
}

#[test]
fn the_worst_rung_belongs_to_the_worst_state() {
    use crate::health::State::{Converging, Diverged};
    assert_eq!(
        worst([(Diverged, Rung::SessionDown), (Converging, Rung::WrongRouteKind)]),
        Some(Rung::SessionDown)
    );
    assert_eq!(worst([(Diverged, Rung::SessionDown), (Diverged, Rung::NotInFib)]), Some(Rung::NotInFib));
    assert_eq!(worst([]), None);
}
