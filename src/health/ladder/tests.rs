use super::*;

fn session(state: &str) -> Session {
    Session {
        peer: String::new(),
        state: state.to_owned(),
        uptime: None,
        dropped: 0,
        last_reset: None,
        dynamic: false,
        blocked_by_policy: false,
        bfd_up: None,
    }
}

fn path(peer: &str, next_hop: &str, chosen: bool) -> Path {
    Path { peer: peer.to_owned(), next_hop: next_hop.parse().ok(), valid: true, chosen, stale: false }
}

/// Rung and fault of one hop, from `PEER STATE` sessions and the paths of its prefix.
fn explained(
    kind: DifferenceKind,
    hop: &str,
    wrong_kind: bool,
    sessions: &[(&str, &str)],
    paths: &[Path],
) -> (Rung, Fault) {
    let sessions = sessions.iter().map(|(peer, state)| ((*peer).to_owned(), session(state))).collect();
    let evidence = Evidence { paths: paths.to_vec(), managed: Managed::default() };
    let control = ControlPlane { sessions: Some(&sessions), evidence: Some(&evidence) };
    explain(kind, hop.parse().ok().as_ref(), None, wrong_kind, &control)
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
    assert_eq!(explain(Missing, Some(&hop), None, false, &silent), (Rung::NotInFib, AnnouncerMissing));
    assert_eq!(
        explain(Unexpected, Some(&hop), None, false, &silent),
        (Rung::UnexpectedNextHop, AnnouncerUnexpected)
    );
    assert_eq!(explain(Unexpected, None, None, true, &silent), (Rung::WrongRouteKind, AnnouncerUnexpected));
}

#[test]
fn a_peer_behind_gateways_or_an_interface_is_asked_by_its_own_name() {
    let sessions =
        BTreeMap::from([("10.0.0.11".to_owned(), session("Idle")), ("swp1".to_owned(), session("Active"))]);
    let evidence = Evidence::default();
    let control = ControlPlane { sessions: Some(&sessions), evidence: Some(&evidence) };
    let gateway: NextHop = "10.1.0.1".parse().unwrap();
    let peer: NextHop = "10.0.0.11".parse().unwrap();
    let down = (Rung::SessionDown, AnnouncerMissing);
    assert_eq!(explain(Missing, Some(&gateway), Some(&peer), false, &control), down);
    for interface in ["%swp1", "fe80::1%swp1"] {
        assert_eq!(explain(Missing, interface.parse().ok().as_ref(), None, false, &control), down);
    }
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
