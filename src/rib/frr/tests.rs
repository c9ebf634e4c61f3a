#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::parse;
use crate::net::{Family, NextHop};
use crate::rib::{Bfd, Intake, Limits, Managed, Path, Stale};

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../../tests/recordings/frr-8.4/", $name, ".json"))
    };
}

fn peers(paths: &[Path]) -> Vec<(&str, bool, bool)> {
    paths.iter().map(|path| (path.peer.as_str(), path.valid, path.chosen)).collect()
}

#[test]
fn sessions_of_both_families_are_merged() {
    let sessions = parse::sessions(recording!("summary")).unwrap();
    let states: Vec<_> = sessions.values().map(|s| (s.peer.as_str(), s.state.as_str())).collect();
    assert_eq!(
        states,
        [
            ("10.9.1.2", "Established"),
            ("10.9.1.77", "Connect"),
            ("10.9.1.78", "Idle (Admin)"),
            ("10.9.2.2", "Established"),
            ("fd00:1::2", "Established"),
            ("p9", "Idle"),
        ]
    );
    assert!(sessions["10.9.1.2"].is_up());
    assert!(sessions["10.9.1.2"].uptime.unwrap() >= Duration::from_secs(1));
    assert_eq!(sessions["10.9.1.77"].uptime, None);
    assert!(sessions.values().all(|session| session.blocked.is_empty() && !session.dynamic));
}

#[test]
fn missing_policy_is_seen() {
    let sessions = parse::sessions(recording!("summary-policy")).unwrap();
    assert!(sessions["10.9.1.2"].blocked.contains(&Family::V4) && sessions["10.9.1.2"].is_up());
    assert!(sessions["10.9.1.78"].blocked.is_empty(), "shut down comes first");
    let one_family = r#"{"ipv4Unicast":{"peers":{"p1":{"state":"Established","peerState":"Policy"}}},
        "ipv6Unicast":{"peers":{"p1":{"state":"Established","peerState":"OK"}}}}"#;
    assert_eq!(parse::sessions(one_family).unwrap()["p1"].blocked, [Family::V4].into());
}

#[test]
fn a_bgpd_without_configuration_has_nothing() {
    assert!(parse::sessions("{}").unwrap().is_empty());
    assert_eq!(parse::paths(recording!("paths-no-instance")).unwrap(), []);
    assert_eq!(parse::paths("{\n}\n").unwrap(), []);
    assert_eq!(parse::neighbor("{}", "10.9.1.2").unwrap(), parse::Neighbor::default());
}

#[test]
fn what_makes_no_sense_is_an_error_and_not_an_absence() {
    for text in ["", "% Unknown command", "[]", r#"{"ipv4Unicast":7}"#] {
        assert!(parse::sessions(text).is_err(), "{text}");
    }
    assert!(parse::paths(r#"{"warning":"out of memory"}"#).is_err());
    assert!(parse::paths("").is_err());
    assert!(parse::managed("% nothing", "203.0.113.10/32".parse().unwrap()).is_err());
    assert!(parse::bfd("{").is_err());
}

#[test]
fn resets_are_explained() {
    let reset = |text: &str, name: &str| {
        let neighbor = parse::neighbor(text, name).unwrap();
        (neighbor.last_reset.unwrap_or_default(), neighbor.bfd)
    };
    let said = |text: &str| text.to_owned();
    assert_eq!(
        reset(recording!("neighbor-down"), "10.9.1.77"),
        (said("Waiting for peer OPEN"), Some(Bfd::Idle))
    );
    assert_eq!(
        reset(recording!("neighbor-unnumbered-down"), "p9"),
        (said("Waiting for Peer IPv6 LLA"), None)
    );
    assert_eq!(reset(recording!("neighbor-reset"), "10.9.1.2").0, "BGP Notification send: Cease/BFD Down");
    assert_eq!(reset(recording!("neighbor-unknown"), "10.1.1.1"), (String::new(), None));
    let old = r#"{"p1":{"lastResetDueTo":"Interface down","lastNotificationReason":"Cease/Maximum"}}"#;
    assert_eq!(reset(old, "p1").0, "Interface down");
}

#[test]
fn bfd_by_peer() {
    let sessions = parse::bfd(recording!("bfd")).unwrap();
    assert_eq!((&sessions["10.9.1.2"], &sessions["10.9.1.77"]), (&Bfd::Up, &Bfd::Idle));
    let unnumbered = r#"[{"peer":"fe80::1","interface":"p1","vrf":"default","status":"up"},
        {"peer":"fe80::2","interface":"p1","status":"down","diagnostic":"path down"},
        {"peer":"10.0.0.1","vrf":"red","status":"up"}]"#;
    assert_eq!(
        parse::bfd(unnumbered).unwrap(),
        [("p1".to_owned(), Bfd::Lost("path down".to_owned()))].into()
    );
    let on_purpose = r#"[{"peer":"10.0.0.1","status":"down","diagnostic":"neighbor signaled session down",
        "remote-diagnostic":"administratively down"}]"#;
    assert_eq!(parse::bfd(on_purpose).unwrap()["10.0.0.1"], Bfd::Idle);
}

#[test]
fn the_limit_of_equal_paths_is_that_of_the_family_in_the_default_instance() {
    let text = "\
router bgp 65001 vrf red
 address-family ipv4 unicast
  maximum-paths 7
 exit-address-family
exit
!
router bgp 65001
 neighbor 10.0.0.1 remote-as external
 !
 address-family ipv4 unicast
  maximum-paths 2
  maximum-paths ibgp 3 equal-cluster-length
 exit-address-family
 !
 address-family ipv6 unicast
  maximum-paths ibgp 4
 exit-address-family
exit
!
";
    let limits = |external, internal| Limits { external, internal };
    assert_eq!(parse::limits(text, Family::V4), limits(Some(2), Some(3)));
    assert_eq!(parse::limits(text, Family::V6), limits(None, Some(4)));
    assert_eq!(parse::limits("router bgp 65001\n!\n", Family::V4), limits(None, None));
}

#[test]
fn paths_of_a_prefix() {
    let paths = parse::paths(recording!("paths-v4")).unwrap();
    assert_eq!(peers(&paths), [("10.9.1.2", true, true), ("10.9.2.2", true, true)]);
    assert_eq!(paths[0].next_hop, Some(NextHop::via("10.9.1.2".parse().unwrap())));
    let paths = parse::paths(recording!("paths-v6")).unwrap();
    assert_eq!(paths[0].next_hop, Some(NextHop::via("fd00:1::2".parse().unwrap())));
    let paths = parse::paths(recording!("paths-v6-link-local")).unwrap();
    assert_eq!(paths[0].peer, "fd00:1::2");
    assert_eq!(paths[0].next_hop, Some(NextHop::via("fe80::e462:8bff:fe21:ad93".parse().unwrap())));
}

#[test]
fn paths_of_odd_peers() {
    let text = r#"{"paths":[
        {"valid":true,"stale":true,"nexthops":[{"ip":"fd00::2"},{"ip":"fe80::2","scope":"link-local","used":true}],
         "peer":{"peerId":"fe80::2","interface":"p7"}},
        {"valid":true,"bestpath":{"overall":true},"nexthops":[{"ip":"0.0.0.0","used":true}],"peer":{"peerId":"0.0.0.0"}}]}"#;
    let paths = parse::paths(text).unwrap();
    assert_eq!(peers(&paths), [("p7", true, false), ("", true, true)]);
    assert_eq!(paths[0].next_hop.as_ref().unwrap().to_string(), "fe80::2%p7");
    assert_eq!(paths[0].stale, Some(Stale { lasts: None }));
    assert_eq!(paths[1].next_hop, None);
}

#[test]
fn the_route_manager() {
    let vip = "203.0.113.10/32".parse().unwrap();
    let managed = parse::managed(recording!("route-v4"), vip).unwrap();
    assert_eq!(managed.selected.as_deref(), Some("bgp"));
    assert!(!managed.queued);
    let hops: Vec<_> = managed.installed.iter().map(ToString::to_string).collect();
    assert_eq!(hops, ["10.9.1.2%p1", "10.9.2.2%p2"]);
    let managed = parse::managed(recording!("route-v6"), "fd99::10/128".parse().unwrap()).unwrap();
    assert_eq!(managed.installed[0].to_string(), "fd00:1::2%p1");
    for absent in
        ["{}", r#"{"203.0.113.10/32":[]}"#, r#"{"0.0.0.0/0":[{"protocol":"static","selected":true}]}"#]
    {
        assert_eq!(parse::managed(absent, vip).unwrap(), Managed::default());
    }
    let lost = r#"{"203.0.113.10/32":[{"protocol":"bgp","selected":true,"queued":true,"nexthops":[
        {"fib":true,"ip":"10.0.0.1"},{"fib":true,"active":true,"ip":"10.0.0.2"},{"active":true,"ip":"10.0.0.3"}]},
        {"protocol":"static","nexthops":[{"fib":true,"active":true,"ip":"10.0.0.4"}]}]}"#;
    let managed = parse::managed(lost, vip).unwrap();
    assert_eq!((managed.installed.len(), managed.queued), (1, true));
}

/// The same questions put to both releases in the same lab, and what each of them answered.
macro_rules! both {
    ($name:literal) => {
        [
            ("8.4", include_str!(concat!("../../../tests/recordings/frr-8.4/", $name))),
            ("10.3", include_str!(concat!("../../../tests/recordings/frr-10.3/", $name))),
        ]
    };
}

const W1: &str = "192.168.1.11";
const W2: &str = "192.168.1.13";
const W3: &str = "192.168.1.15";

#[test]
fn both_releases_tell_the_same_of_sessions() {
    for (release, text) in both!("session-summary.json") {
        let sessions = parse::sessions(text).unwrap();
        assert_eq!(sessions.len(), 8, "{release}");
        assert!(
            sessions[W2].is_up() && sessions[W3].is_up() && !sessions["192.168.1.77"].is_up(),
            "{release}"
        );
        assert!(sessions.values().all(|session| session.blocked.is_empty()), "{release}");
    }
    for (release, text) in both!("summary-policy-one-family.json") {
        let sessions = parse::sessions(text).unwrap();
        assert!(sessions[W2].is_up(), "{release}");
        assert_eq!(sessions[W2].blocked, [Family::V4].into(), "{release}");
    }
    for (release, text) in both!("bfd-lost.json") {
        let bfd = parse::bfd(text).unwrap();
        assert_eq!(bfd[W3], Bfd::Lost("control detection time expired".to_owned()), "{release}");
        assert_eq!((&bfd[W2], &bfd["192.168.1.77"]), (&Bfd::Up, &Bfd::Idle), "{release}");
    }
    for (release, text) in both!("neighbor-bfd-lost.json") {
        let neighbor = parse::neighbor(text, W3).unwrap();
        assert_eq!(neighbor.bfd, Some(Bfd::Idle), "{release}: bgpd does not tell lost from never up");
        assert!(neighbor.last_reset.is_some(), "{release}");
    }
    for (release, text) in both!("peer-group.json") {
        let ranges: Vec<String> = parse::listen(text).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ranges, ["10.77.0.0/24", "fd77::/64"], "{release}");
    }
    for (release, text) in both!("peer-group-no-instance.json") {
        assert_eq!(parse::listen(text).unwrap(), [], "{release}");
    }
}

#[test]
fn what_was_refused_is_kept_counted_or_forgotten() {
    let vip = "203.0.113.10/32".parse().unwrap();
    for (release, text) in both!("received.json") {
        assert!(parse::received(text, vip).unwrap(), "{release}");
        assert!(!parse::received(text, "203.0.113.0/24".parse().unwrap()).unwrap(), "{release}");
    }
    // Asked of a neighbour that keeps nothing: a warning, in 10.3 not even JSON.
    for (release, text) in both!("received-not-kept.json") {
        assert!(parse::received(text, vip).is_err(), "{release}");
    }
    for (release, text) in both!("neighbor-keeps.json") {
        assert_eq!(parse::neighbor(text, W3).unwrap().keeps, [Family::V4].into(), "{release}");
    }
    let up = both!("neighbor-up.json").map(|(_, text)| {
        let neighbor = parse::neighbor(text, W1).unwrap();
        assert!(neighbor.keeps.is_empty());
        neighbor.intake()
    });
    assert_eq!(up, [Intake::Untold, Intake::NotSent]);
    let refused = parse::neighbor(both!("neighbor-keeps.json")[1].1, W3).unwrap();
    assert_eq!(refused.intake(), Intake::SomeRefused(2));
}

#[test]
fn both_releases_tell_the_same_of_paths() {
    let vip = "203.0.113.10/32".parse().unwrap();
    let sorted = |text: &str| {
        let mut paths = parse::paths(text).unwrap();
        paths.sort_by(|a, b| a.peer.cmp(&b.peer));
        paths
    };
    for (release, text) in both!("paths-three.json") {
        assert_eq!(peers(&sorted(text)), [(W1, true, true), (W2, true, true), (W3, true, true)], "{release}");
    }
    for (release, text) in both!("paths-none.json") {
        assert_eq!(parse::paths(text).unwrap(), [], "{release}");
    }
    for (release, text) in both!("paths-limit.json") {
        let paths = sorted(text);
        assert!(paths.iter().all(|path| path.valid && path.merit == paths[0].merit), "{release}");
        assert!(paths[0].merit.external && paths[0].merit.as_path_length == 1, "{release}");
        assert_eq!(paths.iter().filter(|path| path.chosen).count(), 2, "{release}");
    }
    for (release, text) in both!("running-limit.conf") {
        let limits = Limits { external: Some(2), internal: None };
        assert_eq!(parse::limits(text, Family::V4), limits, "{release}");
        let limits = Limits { external: Some(64), internal: None };
        assert_eq!(parse::limits(text, Family::V6), limits, "{release}");
    }
    for (release, text) in both!("paths-stale-and-unresolved.json") {
        let paths = sorted(text);
        assert_eq!(peers(&paths), [(W1, true, true), (W2, false, false), (W3, true, true)], "{release}");
        let lasts = paths[0].stale.unwrap().lasts.unwrap();
        assert!((30..=40).contains(&lasts.as_secs()), "{release}: {lasts:?}");
        assert!(!paths[1].resolved && paths[2].resolved && paths[2].stale.is_none(), "{release}");
    }
    for (release, text) in both!("route-three.json") {
        let managed = parse::managed(text, vip).unwrap();
        assert_eq!(managed.installed.len(), 3, "{release}");
    }
    for (release, text) in both!("route-none.json") {
        assert_eq!(parse::managed(text, vip).unwrap(), Managed::default(), "{release}");
    }
}
