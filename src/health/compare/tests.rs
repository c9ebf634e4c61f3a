use super::*;
use crate::intent::settings;
use crate::net::{Hop, RouteKind::Unicast};

const VIP: &str = "203.0.113.20/32";
/// `rtm_protocol` of zebra's static routes.
const STATIC: u8 = 196;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn hop(text: &str) -> NextHop {
    text.parse().unwrap()
}

/// A route with hops as `192.168.1.11%swp1`, a `!` behind a dead one, a `?` behind one without carrier.
fn route(to: &str, kind: RouteKind, hops: &[&str]) -> Route {
    let hops = hops
        .iter()
        .map(|text| Hop {
            next_hop: hop(text.trim_end_matches(['!', '?'])),
            state: match text.chars().last() {
                Some('!') => HopState::Dead,
                Some('?') => HopState::LinkDown,
                _ => HopState::Live,
            },
        })
        .collect();
    Route { prefix: prefix(to), kind, protocol: PROTOCOL_BGP, table: 254, metric: 20, group: None, hops }
}

fn expecting(hops: &[&str]) -> Expectation {
    let next_hops = hops.iter().map(|text| (hop(text), BTreeSet::from([format!("node-{text}")]))).collect();
    let vip = ExpectedVip { next_hops, ..ExpectedVip::default() };
    Expectation { vips: BTreeMap::from([(prefix(VIP), vip.into())]), ..Expectation::default() }
}

fn look(route: Option<Route>, peers: &[(&str, Option<Route>)]) -> Look {
    Look {
        routes: BTreeMap::from([(prefix(VIP), route)]),
        peers: peers.iter().map(|(address, route)| (address.parse().unwrap(), route.clone())).collect(),
    }
}

/// `- HOP` for each missing, `+ HOP` for each unexpected one.
fn said(expectation: &Expectation, look: &Look) -> String {
    let compared = &compare(expectation, look)[&prefix(VIP)];
    let words: Vec<String> = compared
        .differences()
        .into_iter()
        .map(|(kind, name, _)| match kind {
            DifferenceKind::Missing => format!("- {name}"),
            DifferenceKind::Unexpected => format!("+ {name}"),
        })
        .collect();
    assert_eq!(compared.is_equal(), words.is_empty());
    words.join(" ")
}

#[test]
fn sets_are_compared_both_ways_whatever_their_order() {
    for (expected, observed, differences) in [
        (&["192.168.1.1", "192.168.1.2"][..], Some(&["192.168.1.2%swp2", "192.168.1.1%swp1"][..]), ""),
        (&["192.168.1.1"], Some(&["192.168.1.1"]), ""),
        (&[], None, ""),
        (&["192.168.1.1", "192.168.1.2"], Some(&["192.168.1.1%swp1"]), "- 192.168.1.2"),
        (&["192.168.1.1"], Some(&["192.168.1.1%swp1", "192.168.1.3%swp1"]), "+ 192.168.1.3"),
        (&["192.168.1.1"], Some(&["192.168.1.3%swp1"]), "- 192.168.1.1 + 192.168.1.3"),
        (&["192.168.1.1"], None, "- 192.168.1.1"),
        (&[], Some(&["192.168.1.1%swp1"]), "+ 192.168.1.1"),
    ] {
        let route = observed.map(|hops| route(VIP, Unicast, hops));
        assert_eq!(said(&expecting(expected), &look(route, &[])), differences, "{expected:?} {observed:?}");
    }
}

#[test]
fn a_hop_that_cannot_forward_is_not_there() {
    for (observed, differences) in [
        (&["192.168.1.1%swp1!"][..], "- 192.168.1.1"),
        (&["192.168.1.1%swp1?"], "- 192.168.1.1"),
        (&["192.168.1.1%swp1", "192.168.1.3%swp2!", "192.168.1.4%swp3?"], ""),
    ] {
        let look = look(Some(route(VIP, Unicast, observed)), &[]);
        assert_eq!(said(&expecting(&["192.168.1.1"]), &look), differences, "{observed:?}");
    }
}

#[test]
fn link_local_and_unnumbered_peers_are_told_apart_by_device() {
    for (expected, observed, differences) in [
        (&["fe80::1%swp1"][..], &["fe80::1%swp1"][..], ""),
        (&["fe80::1%swp1"], &["fe80::1%swp2"], "- fe80::1%swp1 + fe80::1%swp2"),
        (&["fe80::1%swp1", "fe80::1%swp2"], &["fe80::1%swp1"], "- fe80::1%swp2"),
        (&["%swp1"], &["fe80::7%swp1"], ""),
        (&["%swp1"], &["192.168.1.7%swp1"], ""),
        (&["%swp1"], &["fe80::7%swp2"], "- %swp1 + fe80::7%swp2"),
        // FRR writes the same address behind every unnumbered device.
        (&["%swp1", "%swp2"], &["169.254.0.1%swp1", "169.254.0.1%swp2"], ""),
        (&["%swp1"], &["169.254.0.1%swp1", "169.254.0.1%swp2"], "+ 169.254.0.1%swp2"),
        (&["%swp1", "%swp2"], &["169.254.0.1%swp1", "169.254.0.1%swp2!"], "- %swp2"),
        (&["192.168.1.1"], &["192.168.1.1%swp1", "192.168.1.1%swp2"], ""),
    ] {
        let look = look(Some(route(VIP, Unicast, observed)), &[]);
        assert_eq!(said(&expecting(expected), &look), differences, "{expected:?} {observed:?}");
    }
}

#[test]
fn a_route_that_does_not_forward_leaves_every_hop_missing_and_is_named_where_none_is_expected() {
    use RouteKind::{Blackhole, Local, Other, Prohibit, Unreachable};
    for kind in [Local, Blackhole, Unreachable, Prohibit, Other(3)] {
        let look = look(Some(route(VIP, kind, &["192.168.1.1%swp1"])), &[]);
        assert_eq!(said(&expecting(&["192.168.1.1", "192.168.1.2"]), &look), "- 192.168.1.1 - 192.168.1.2");
        assert_eq!(said(&expecting(&[]), &look), format!("+ {kind}"));
        let compared = &compare(&expecting(&["192.168.1.1"]), &look)[&prefix(VIP)];
        assert_eq!((compared.wrong_kind, compared.observed.len()), (Some(kind), 0));
    }
}

#[test]
fn a_vip_of_which_nothing_can_be_said_never_differs() {
    let mut expectation = expecting(&[]);
    expectation.vips.get_mut(&prefix(VIP)).unwrap().own().doubt =
        Some(Doubt { rung: Rung::NoAddressForFamily, of: None });
    for route in [None, Some(route(VIP, Unicast, &["192.168.1.1"])), Some(route(VIP, RouteKind::Local, &[]))]
    {
        assert_eq!(said(&expectation, &look(route, &[])), "");
    }
}

#[test]
fn a_peer_behind_gateways_is_what_its_address_resolves_to() {
    let loopback = "10.0.0.11";
    let expectation = expecting(&[loopback]);
    let via = |to: &str, hops: &[&str]| [(loopback, Some(route(to, Unicast, hops)))];
    for (observed, peers, differences) in [
        (
            &["10.1.0.1%swp1", "10.1.1.1%swp2"][..],
            via("10.0.0.11/32", &["10.1.0.1%swp1", "10.1.1.1%swp2"]),
            "",
        ),
        (&["10.1.0.1%swp1"], via("10.0.0.0/24", &["10.1.0.1%swp1", "10.1.1.1%swp2"]), "- 10.1.1.1"),
        (&["10.1.0.1%swp1"], via("10.0.0.11/32", &["10.1.0.1%swp1", "10.1.1.1%swp2!"]), ""),
        (&["10.0.0.11%swp1"], via("10.0.0.0/24", &["%swp1"]), ""),
        (&["10.1.0.1%swp1"], via("0.0.0.0/0", &["10.1.0.1%swp1"]), "- 10.0.0.11 + 10.1.0.1"),
        (&["10.1.0.1%swp1"], [(loopback, None)], "- 10.0.0.11 + 10.1.0.1"),
        (&["10.0.0.11"], [(loopback, Some(route("10.0.0.11/32", RouteKind::Blackhole, &["10.1.0.1"])))], ""),
    ] {
        let look = look(Some(route(VIP, Unicast, observed)), &peers);
        assert_eq!(said(&expectation, &look), differences, "{observed:?} {peers:?}");
    }
    let look = look(None, &via("10.0.0.11/32", &["10.1.0.1%swp1"]));
    let compared = &compare(&expectation, &look)[&prefix(VIP)];
    let behind = &compared.expected[&hop("10.1.0.1")];
    assert_eq!(behind.peer, Some(hop(loopback)));
    assert_eq!(behind.nodes, BTreeSet::from(["node-10.0.0.11".to_owned()]));
}

#[test]
fn peers_to_look_up_are_those_with_an_address_of_their_own() {
    let expectation = expecting(&["10.0.0.11", "fe80::1%swp1", "%swp2", "fd00::1"]);
    let wanted: Vec<String> = wanted_peers(&expectation).iter().map(ToString::to_string).collect();
    assert_eq!(wanted, ["10.0.0.11", "fd00::1"]);
    let strays = BTreeSet::from([prefix("203.0.113.99/32"), prefix(VIP)]);
    assert_eq!(wanted_prefixes(&expectation, &strays), [prefix(VIP), prefix("203.0.113.99/32")]);
}

#[test]
fn strays_are_routes_inside_the_pools_that_nobody_expects() {
    let settings = settings::parse(
        "version: 1\nasn: 1\nvips: {pools: [203.0.113.0/24], protected: [203.0.113.0/28]}\n\
         peering: {peerAsn: external, nodes: {static: [{node: a, interface: swp1}]}}\n",
    )
    .unwrap();
    let mut expectation = expecting(&["192.168.1.1"]);
    expectation.not_ours.insert(prefix("203.0.113.77/32"));
    let is_stray = |to: &str, kind: RouteKind, protocol: u8| {
        let route = Route { protocol, ..route(to, kind, &["192.168.1.1"]) };
        !strays(&settings, &expectation, &[route]).is_empty()
    };
    for (to, kind, protocol, stray) in [
        ("203.0.113.99/32", Unicast, PROTOCOL_BGP, true),
        ("203.0.113.99/32", Unicast, STATIC, true),
        ("203.0.113.128/25", Unicast, STATIC, true),
        ("203.0.113.0/24", Unicast, STATIC, true),
        ("203.0.113.99/32", RouteKind::Local, 2, true),
        ("203.0.113.99/32", RouteKind::Blackhole, STATIC, true),
        ("203.0.113.255/32", RouteKind::Other(3), 2, false),
        (VIP, Unicast, PROTOCOL_BGP, false),
        ("203.0.113.77/32", Unicast, PROTOCOL_BGP, false),
        ("203.0.112.0/23", Unicast, PROTOCOL_BGP, false),
        ("198.51.100.1/32", Unicast, PROTOCOL_BGP, false),
        ("203.0.113.1/32", Unicast, PROTOCOL_BGP, true),
        ("203.0.113.1/32", Unicast, STATIC, false),
        ("203.0.113.1/32", RouteKind::Local, 2, false),
    ] {
        assert_eq!(is_stray(to, kind, protocol), stray, "{to} {kind} {protocol}");
    }
}

#[test]
fn a_stray_without_a_route_is_forgotten() {
    let stray = prefix("203.0.113.99/32");
    let look = |route| Look { routes: BTreeMap::from([(stray, route)]), ..Look::default() };
    assert!(compare(&expecting(&[]), &look(None)).is_empty());
    let found = Some(route("203.0.113.99/32", Unicast, &["192.168.1.1"]));
    assert!(!compare(&expecting(&[]), &look(found))[&stray].is_equal());
}
