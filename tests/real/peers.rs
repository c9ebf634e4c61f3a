//! What we render, on a real FRR, against real speakers: sessions come up, VIPs arrive in the kernel, nothing goes back.
//!
//! The far end is BIRD, the oracle for the forwarding table `ip -j`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::frr::{Bird, Frr, Netns, can_run, eventually};
use crate::release::Release;
use serde_json::Value;
use switchlet::change::dialect::frr::{OWNER, splice};
use switchlet::intent::platform::Platform;
use switchlet::intent::snapshot::{Bundle, ClusterFacts};
use switchlet::intent::{nexthops, render, settings};

on_each_frr!(
    a_pair_of_each_family_keeps_to_its_own,
    a_listen_range_takes_whoever_comes_from_it,
    an_internal_speaker,
    an_unnumbered_speaker_carries_both_families,
    a_password_lets_in_who_knows_it,
    uplinks_are_told_the_vips_and_are_not_listened_to,
    communities_decide_and_are_added,
);

const LONG: Duration = Duration::from_secs(60);
/// As in a data centre, and without waiting 5 s for a filter to take effect.
const PROFILE: &str = "frr defaults datacenter\nhostname leaf1\nbgp route-map delay-timer 1\n";

/// A leaf that runs what `settings` give; `secret` stands for its password.
fn leaf(release: Release, netns: Netns, text: &str, secret: &str) -> Frr {
    let settings = settings::parse(text).unwrap();
    let expectation = nexthops::expect("leaf1", &settings, &ClusterFacts::default());
    let texts = render::Texts { bundle: &Bundle::default(), built_in: render::FRR };
    let job = render::job("leaf1", &settings, &expectation.peers, &Platform::default(), texts);
    let candidate = render::render(&job).unwrap();
    let text = splice(PROFILE, &candidate.texts[OWNER], &[]).replace("<secret:speakers>", secret);
    Frr::start(release, netns, &["zebra", "bgpd", "bfdd", "staticd"], &text)
}

/// One speaker's namespace at port `pN`: `10.9.N.0/24` and `fd00:N::/64`, the leaf is `1`, the speaker `2`.
fn cabled(leaf: &Netns, port: u8) -> Netns {
    let node = Netns::new("node");
    leaf.cable(&format!("p{port}"), &node, "eth0");
    leaf.ip(&format!("addr add 10.9.{port}.1/24 dev p{port}"));
    leaf.ip(&format!("addr add fd00:{port}::1/64 dev p{port} nodad"));
    node.ip(&format!("addr add 10.9.{port}.2/24 dev eth0"));
    node.ip(&format!("addr add fd00:{port}::2/64 dev eth0 nodad"));
    node
}

const ROUTES: &str = "protocol device {}
    protocol static vips4 { ipv4; route 203.0.113.10/32 blackhole; route 203.0.113.1/32 blackhole;
        route 198.51.100.1/32 blackhole; route 203.0.113.128/25 blackhole; }
    protocol static vips6 { ipv6; route 2001:db8:113::10/128 blackhole; route 2001:db8:999::1/128 blackhole; }";
const TIMING: &str = "hold time 9; error wait time 1,2; connect delay time 1; connect retry time 1;";
const V4: &str = "ipv4 { import all; export where source = RTS_STATIC; next hop self; };";
const V6: &str = "ipv6 { import all; export where source = RTS_STATIC; next hop self; };";

/// A speaker that announces VIPs inside the pools, and some that it must not: protected, foreign, no host route.
fn speaker(node: Netns, sessions: &str) -> Bird {
    let config = format!("router id 10.9.0.2; log \"/dev/null\" all; {ROUTES}\n{sessions}");
    Bird::start(node, &config)
}

fn settings_with(peering: &str, more: &str) -> String {
    format!(
        "version: 1\nasn: 65000\nrouterId: 10.0.0.1\n\
         vips: {{pools: [203.0.113.0/24, \"2001:db8:113::/64\"], protected: [203.0.113.0/29]}}\n\
         peering:\n  {peering}\n{more}"
    )
}

/// The prefixes that BGP put into the kernel, and each one's next-hops: gateway and device.
fn kernel(leaf: &Netns, family: &str) -> Vec<(String, BTreeSet<String>)> {
    let routes: Vec<Value> =
        serde_json::from_str(&leaf.ip(&format!("{family} -j route show proto bgp"))).unwrap();
    let hop = |hop: &Value| {
        let gateway = hop["gateway"].as_str().or(hop["via"]["host"].as_str()).unwrap_or("?").to_owned();
        let gateway = if gateway.starts_with("fe80:") { "fe80".to_owned() } else { gateway };
        format!("{gateway}%{}", hop["dev"].as_str().unwrap_or("?"))
    };
    let mut found: Vec<(String, BTreeSet<String>)> = routes
        .iter()
        .map(|route| {
            let hops = match route["nexthops"].as_array() {
                Some(hops) => hops.iter().map(hop).collect(),
                None => BTreeSet::from([hop(route)]),
            };
            (route["dst"].as_str().unwrap_or("?").to_owned(), hops)
        })
        .collect();
    found.sort();
    found
}

/// Waits until the kernel has exactly this from BGP.
fn forwards(leaf: &Frr, family: &str, expected: &[(&str, &[&str])]) {
    let expected: Vec<(String, BTreeSet<String>)> = expected
        .iter()
        .map(|(prefix, hops)| ((*prefix).to_owned(), hops.iter().map(|hop| (*hop).to_owned()).collect()))
        .collect();
    let mut last = Vec::new();
    let what = format!("{family} {expected:?}");
    let deadline = std::time::Instant::now() + LONG;
    while std::time::Instant::now() < deadline {
        last = kernel(&leaf.netns, family);
        if last == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what}: not within {LONG:?}; last seen {last:?}\n{}", leaf.show("show bgp summary"));
}

/// What a neighbour of the leaf was told by it: prefixes of routes that BGP brought.
fn told(bird: &Bird) -> Vec<String> {
    let routes = bird.ask("show route where source = RTS_BGP");
    let mut told: Vec<String> = routes
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.contains('/'))
        .map(str::to_owned)
        .collect();
    told.sort();
    told.dedup();
    told
}

/// The session has been up long enough to have said everything, and said nothing.
fn is_told_nothing(bird: &Bird) {
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(told(bird), Vec::<String>::new());
}

fn a_pair_of_each_family_keeps_to_its_own(release: Release) {
    if !can_run(release) {
        return;
    }
    let netns = Netns::new("leaf");
    let node = cabled(&netns, 1);
    let nodes = "peerAsn: external\n  nodes: {subnets: [10.9.1.0/24, \"fd00:1::/64\"], static: \
                 [{node: w1, address: 10.9.1.2}, {node: w1, address: \"fd00:1::2\"}]}";
    let leaf = leaf(release, netns, &settings_with(nodes, ""), "");
    // Speakers that would carry either family over either session.
    let session = |name: &str, ours: &str, theirs: &str| {
        format!(
            "protocol bgp {name} {{ local {ours} as 65001; neighbor {theirs} as 65000; {TIMING} {V4} {V6} }}"
        )
    };
    let both = session("a", "10.9.1.2", "10.9.1.1") + &session("b", "fd00:1::2", "fd00:1::1");
    let bird = speaker(node, &both);
    forwards(&leaf, "-4", &[("203.0.113.10", &["10.9.1.2%p1"])]);
    forwards(&leaf, "-6", &[("2001:db8:113::10", &["fd00:1::2%p1"])]);
    is_told_nothing(&bird);
    for (family, peer) in [("ipv4", "10.9.1.2"), ("ipv6", "fd00:1::2")] {
        let summary: Value =
            serde_json::from_str(&leaf.show(&format!("show bgp {family} unicast summary json"))).unwrap();
        let peers: Vec<&String> = summary["peers"].as_object().unwrap().keys().collect();
        assert_eq!(peers, [peer], "{summary}");
    }
}

fn a_listen_range_takes_whoever_comes_from_it(release: Release) {
    if !can_run(release) {
        return;
    }
    let netns = Netns::new("leaf");
    let (inside, outside) = (cabled(&netns, 1), cabled(&netns, 2));
    let nodes = "peerAsn: external\n  mode: listen\n  nodes: {selector: {}, subnets: [10.9.1.0/24]}";
    let leaf = leaf(release, netns, &settings_with(nodes, ""), "");
    let session = |port: u8, asn: u32| {
        format!(
            "protocol bgp a {{ local 10.9.{port}.2 as {asn}; neighbor 10.9.{port}.1 as 65000; {TIMING} {V4} }}"
        )
    };
    let bird = speaker(inside, &session(1, 65001));
    let stranger = speaker(outside, &session(2, 65002));
    forwards(&leaf, "-4", &[("203.0.113.10", &["10.9.1.2%p1"])]);
    is_told_nothing(&bird);
    assert!(!stranger.ask("show protocols").contains("Established"), "{}", stranger.ask("show protocols"));
}

fn an_internal_speaker(release: Release) {
    if !can_run(release) {
        return;
    }
    let netns = Netns::new("leaf");
    let (one, two) = (cabled(&netns, 1), cabled(&netns, 2));
    let nodes = "peerAsn: internal\n  nodes: {subnets: [10.9.0.0/16], static: \
                 [{node: w1, address: 10.9.1.2}, {node: w2, address: 10.9.2.2}]}";
    let leaf = leaf(release, netns, &settings_with(nodes, ""), "");
    let session = |port: u8| {
        format!(
            "protocol bgp a {{ local 10.9.{port}.2 as 65000; neighbor 10.9.{port}.1 as 65000; {TIMING} {V4} }}"
        )
    };
    let birds = [speaker(one, &session(1)), speaker(two, &session(2))];
    forwards(&leaf, "-4", &[("203.0.113.10", &["10.9.1.2%p1", "10.9.2.2%p2"])]);
    birds.iter().for_each(is_told_nothing);
}

fn an_unnumbered_speaker_carries_both_families(release: Release) {
    if !can_run(release) {
        return;
    }
    let netns = Netns::new("leaf");
    let node = Netns::new("node");
    netns.cable("p1", &node, "eth0");
    let nodes = "peerAsn: external\n  nodes: {static: [{node: w1, interface: p1}]}";
    let config = leaf(release, netns, &settings_with(nodes, ""), "");
    // The far end is an FRR of its own: BIRD 2 has no unnumbered sessions.
    let far = "hostname node\nbgp route-map delay-timer 1\n\
        ip route 203.0.113.10/32 blackhole\nipv6 route 2001:db8:113::10/128 blackhole\nip route 203.0.113.1/32 blackhole\n\
        router bgp 65001\n bgp router-id 10.9.0.2\n no bgp ebgp-requires-policy\n neighbor eth0 interface remote-as external\n \
        neighbor eth0 timers 3 9\n neighbor eth0 timers connect 1\n \
        address-family ipv4 unicast\n  redistribute static\n exit-address-family\n \
        address-family ipv6 unicast\n  neighbor eth0 activate\n  redistribute static\n exit-address-family\nexit\n";
    let far = Frr::start(release, node, &["zebra", "bgpd", "staticd"], far);
    // What FRR writes for an IPv4 route by way of a link-local address.
    forwards(&config, "-4", &[("203.0.113.10", &["169.254.0.1%p1"])]);
    forwards(&config, "-6", &[("2001:db8:113::10", &["fe80%p1"])]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(kernel(&far.netns, "-4"), [], "no VIP is sent back");
    let summary = far.show("show bgp ipv4 unicast neighbors eth0 routes json");
    let routes: Value = serde_json::from_str(&summary).unwrap_or_default();
    assert!(routes["routes"].as_object().is_none_or(serde_json::Map::is_empty), "{summary}");
}

fn a_password_lets_in_who_knows_it(release: Release) {
    if !can_run(release) {
        return;
    }
    let netns = Netns::new("leaf");
    let (knows, does_not) = (cabled(&netns, 1), cabled(&netns, 2));
    let nodes = "peerAsn: external\n  passwordFile: speakers\n  nodes: {subnets: [10.9.0.0/16], static: \
                 [{node: w1, address: 10.9.1.2}, {node: w2, address: 10.9.2.2}]}";
    let leaf = leaf(release, netns, &settings_with(nodes, ""), "s3cret");
    let session = |port: u8, password: &str| {
        format!(
            "protocol bgp a {{ local 10.9.{port}.2 as 6500{port}; neighbor 10.9.{port}.1 as 65000; {TIMING} {V4}
             password \"{password}\"; }}"
        )
    };
    let birds = [speaker(knows, &session(1, "s3cret")), speaker(does_not, &session(2, "another"))];
    forwards(&leaf, "-4", &[("203.0.113.10", &["10.9.1.2%p1"])]);
    is_told_nothing(&birds[0]);
    assert!(!birds[1].ask("show protocols").contains("Established"));
}

fn uplinks_are_told_the_vips_and_are_not_listened_to(release: Release) {
    if !can_run(release) {
        return;
    }
    let netns = Netns::new("leaf");
    let (node, spine) = (cabled(&netns, 1), cabled(&netns, 2));
    let nodes = "peerAsn: external\n  nodes: {subnets: [10.9.1.0/24, \"fd00:1::/64\"], static: \
                 [{node: w1, address: 10.9.1.2}, {node: w1, address: \"fd00:1::2\"}]}";
    let uplinks =
        "uplinks: [{neighbor: 10.9.2.2, peerAsn: 65100}, {neighbor: \"fd00:2::2\", peerAsn: 65100}]\n";
    let leaf = leaf(release, netns, &settings_with(nodes, uplinks), "");
    // The spine would announce the same VIPs, and a default route.
    let session = |name: &str, port: u8, asn: u32, family: &str| {
        let (ours, theirs) = match name {
            "a" => (format!("10.9.{port}.2"), format!("10.9.{port}.1")),
            _ => (format!("fd00:{port}::2"), format!("fd00:{port}::1")),
        };
        format!(
            "protocol bgp {name} {{ local {ours} as {asn}; neighbor {theirs} as 65000; {TIMING} {family} }}\n"
        )
    };
    let both = |port, asn| session("a", port, asn, V4) + &session("b", port, asn, V6);
    let default = "protocol static rest { ipv4; route 0.0.0.0/0 blackhole; }\n";
    let spine = speaker(spine, &(both(2, 65100) + default));
    let node = speaker(node, &both(1, 65001));
    forwards(&leaf, "-4", &[("203.0.113.10", &["10.9.1.2%p1"])]);
    forwards(&leaf, "-6", &[("2001:db8:113::10", &["fd00:1::2%p1"])]);
    let vips = ["2001:db8:113::10/128", "203.0.113.10/32"];
    eventually("the spine is told the VIPs", LONG, || (told(&spine) == vips).then_some(()));
    let route = spine.ask("show route for 203.0.113.10 all where source = RTS_BGP");
    assert!(route.contains("10.9.2.1"), "by this switch: {route}");
    assert!(route.contains("BGP.as_path: 65000 65001"), "{route}");
    is_told_nothing(&node);
}

fn communities_decide_and_are_added(release: Release) {
    if !can_run(release) {
        return;
    }
    let netns = Netns::new("leaf");
    let (node, spine) = (cabled(&netns, 1), cabled(&netns, 2));
    let nodes =
        "peerAsn: external\n  nodes: {subnets: [10.9.1.0/24], static: [{node: w1, address: 10.9.1.2}]}";
    let more = "communities: {match: [\"65001:7\", \"65001:1:7\"], add: [\"65000:99\", \"65000:1:99\"]}\n\
                uplinks: [{neighbor: 10.9.2.2, peerAsn: 65100}]\n";
    let leaf = leaf(release, netns, &settings_with(nodes, more), "");
    let tagged = "ipv4 { import all; next hop self; export filter {
        if source != RTS_STATIC then reject;
        if net = 203.0.113.10/32 then { bgp_community.add((65001,7)); accept; }
        if net = 203.0.113.11/32 then { bgp_large_community.add((65001,1,7)); accept; }
        if net = 203.0.113.12/32 then bgp_community.add((65001,8));
        accept; }; };
        protocol static more { ipv4; route 203.0.113.11/32 blackhole; route 203.0.113.12/32 blackhole; };";
    let session = format!(
        "protocol bgp a {{ local 10.9.1.2 as 65001; neighbor 10.9.1.1 as 65000; {TIMING} {}",
        tagged.replacen("}; };", "}; }; }", 1)
    );
    let node = speaker(node, &session);
    let spine = speaker(
        spine,
        &format!("protocol bgp a {{ local 10.9.2.2 as 65100; neighbor 10.9.2.1 as 65000; {TIMING} {V4} }}"),
    );
    forwards(&leaf, "-4", &[("203.0.113.10", &["10.9.1.2%p1"]), ("203.0.113.11", &["10.9.1.2%p1"])]);
    eventually("the spine is told both", LONG, || {
        (told(&spine) == ["203.0.113.10/32", "203.0.113.11/32"]).then_some(())
    });
    let route = spine.ask("show route for 203.0.113.10 all where source = RTS_BGP");
    assert!(
        route.contains("(65000,99) (65001,7)") || route.contains("(65001,7) (65000,99)"),
        "additive: {route}"
    );
    assert!(route.contains("(65000, 1, 99)"), "{route}");
    is_told_nothing(&node);
}
