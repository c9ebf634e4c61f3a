use proptest::prelude::*;
use std::sync::Arc;

use super::*;
use crate::intent::announce::Advertisement;
use crate::intent::settings;
use crate::intent::snapshot::{SliceFacts, TrafficPolicy};

/// A switch `leaf1` with its settings, and a cluster; grows word by word.
#[derive(Debug, Clone)]
struct World {
    settings: SwitchSettings,
    facts: ClusterFacts,
    scheme: Scheme,
}

/// Settings with what stands below `nodes:`, and further top-level lines.
fn world_with(nodes: &str, more: &str) -> World {
    let text = format!(
        "version: 1\nasn: 65001\n\
         vips: {{pools: [203.0.113.0/24, \"2001:db8::/64\", 1.1.1.100-1.1.1.200], protected: [203.0.113.0/28]{}}}\n\
         peering: {{peerAsn: external, nodes: {{subnets: [192.168.1.0/24, \"fd00::/64\"], {nodes}}}}}\n{}",
        more.strip_prefix("classes ")
            .map(|classes| format!(", loadBalancerClasses: {classes}"))
            .unwrap_or_default(),
        if more.starts_with("classes ") { "" } else { more },
    );
    World {
        settings: settings::parse(&text).unwrap(),
        facts: ClusterFacts::default(),
        scheme: Scheme::plain(),
    }
}

fn world() -> World {
    world_with("selector: {}", "")
}

fn web() -> ObjectName {
    ObjectName { namespace: "shop".into(), name: "web".into() }
}

impl World {
    fn node(self, name: &str, addresses: &[&str]) -> Self {
        self.node_that(name, addresses, |_| {})
    }

    fn node_that(mut self, name: &str, addresses: &[&str], is: impl FnOnce(&mut NodeFacts)) -> Self {
        let mut node = NodeFacts {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            internal: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            external: Vec::new(),
            network_unavailable: false,
        };
        is(&mut node);
        self.facts.nodes.push(Arc::new(node));
        self
    }

    fn service(self, name: &str, policy: TrafficPolicy, addresses: &[&str]) -> Self {
        self.service_of_class(name, None, policy, addresses)
    }

    fn service_of_class(
        mut self,
        name: &str,
        class: Option<&str>,
        policy: TrafficPolicy,
        addresses: &[&str],
    ) -> Self {
        self.facts.services.push(Arc::new(ServiceFacts {
            name: ObjectName { name: name.to_owned(), ..web() },
            uid: String::new(),
            class: class.map(str::to_owned),
            policy,
            labels: BTreeMap::new(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            has_nameless: false,
        }));
        self
    }

    fn endpoint_on(mut self, service: &str, node: &str) -> Self {
        self.facts.slices.push(Arc::new(SliceFacts {
            service: ObjectName { name: service.to_owned(), ..web() },
            nodes: BTreeSet::from([node.to_owned()]).into(),
            any: true,
        }));
        self
    }

    fn switch(mut self, name: &str) -> Self {
        self.facts.switches.insert(name.to_owned());
        self
    }

    fn expect(&self) -> Expectation {
        let mut issues = self.facts.issues.clone();
        let peers = peers("leaf1", &self.settings, &self.facts, &mut issues);
        super::expect_by(&self.scheme, ("leaf1", &self.settings, &self.facts), peers, issues)
    }

    fn vip(&self, prefix: &str) -> ExpectedVip {
        let expectation = self.expect();
        let Some(vip) = expectation.vips.get(&prefix.parse().unwrap()) else {
            panic!("{prefix} is not judged: {:?} {:?}", expectation.vips.keys(), expectation.issues)
        };
        ExpectedVip::clone(vip)
    }

    /// `HOP HOP`, or why there are none.
    fn hops(&self, prefix: &str) -> String {
        let ExpectedVip { services: _, next_hops, absent, doubt } = self.vip(prefix);
        let no_family = doubt.is_some_and(|doubt| doubt.rung == Rung::NoAddressForFamily);
        let hops: Vec<String> = next_hops.keys().map(ToString::to_string).collect();
        match (absent, no_family) {
            (None, false) => hops.join(" "),
            (Some(rung), false) if hops.is_empty() => format!("absent {rung:?}"),
            (None, true) if hops.is_empty() => "no family".to_owned(),
            other => panic!("{other:?} beside {hops:?}"),
        }
    }

    fn reasons(&self) -> Vec<String> {
        self.expect().issues.iter().map(|issue| format!("{} {}", issue.object, issue.reason)).collect()
    }
}

use TrafficPolicy::{Cluster, Local};

const VIP: &str = "203.0.113.20";

fn exclude(node: &mut NodeFacts) {
    node.labels.insert("node.kubernetes.io/exclude-from-external-load-balancers".into(), "false".into());
}

fn in_rack(rack: &str) -> impl FnOnce(&mut NodeFacts) {
    let rack = rack.to_owned();
    move |node| drop(node.labels.insert("rack".into(), rack))
}

fn annotated(text: Result<&[&str], &str>) -> impl FnOnce(&mut NodeFacts) {
    let addresses =
        text.map(|all| all.iter().map(|address| address.parse().unwrap()).collect()).map_err(str::to_owned);
    move |node| drop(node.annotations.insert("bgp".into(), addresses))
}

fn two_nodes() -> World {
    world().node("w1", &["192.168.1.11", "fd00::11"]).node("w2", &["192.168.1.12", "fd00::12"])
}

#[test]
fn the_policy_decides_which_nodes_are_next_hops() {
    let local = two_nodes().service("web", Local, &[VIP]).endpoint_on("web", "w2");
    assert_eq!(local.hops(VIP), "192.168.1.12");
    let cluster = two_nodes().service("web", Cluster, &[VIP]).endpoint_on("web", "elsewhere");
    assert_eq!(cluster.hops(VIP), "192.168.1.11 192.168.1.12");
    let vip = cluster.vip(VIP);
    assert_eq!(vip.services, BTreeSet::from([web()]));
    assert_eq!(vip.next_hops[&NextHop::via("192.168.1.11".parse().unwrap())], BTreeSet::from(["w1".into()]));
}

#[test]
fn what_must_be_absent_says_why() {
    let local = || two_nodes().service("web", Local, &[VIP]);
    assert_eq!(local().hops(VIP), "absent NoEndpoints");
    let alone = |is: fn(&mut NodeFacts)| world().node_that("w1", &["192.168.1.11"], is);
    let excluded = alone(exclude).service("web", Local, &[VIP]);
    assert_eq!(excluded.hops(VIP), "absent NoEndpoints", "it would not announce anyway");
    assert_eq!(excluded.endpoint_on("web", "w1").hops(VIP), "absent NodeExcluded");
    let beside = alone(exclude).node("w2", &["192.168.1.12"]).service("web", Local, &[VIP]);
    assert_eq!(beside.endpoint_on("web", "w1").hops(VIP), "absent NodeExcluded", "w2 has no part in it");
    let cut_off = alone(|node| node.network_unavailable = true).service("web", Cluster, &[VIP]);
    assert_eq!(cut_off.endpoint_on("web", "w1").hops(VIP), "absent NodeNetworkUnavailable");
    let elsewhere = two_nodes().node("far", &["10.9.9.9"]).service("web", Local, &[VIP]);
    assert_eq!(elsewhere.endpoint_on("web", "far").hops(VIP), "absent NoEndpoints");
}

#[test]
fn of_services_that_share_an_address_the_one_nearest_to_being_announced_explains() {
    for names in [["web", "dns"], ["dns", "web"]] {
        let mut world = world().node_that("w1", &["192.168.1.11"], exclude).endpoint_on("web", "w1");
        for name in names {
            world = world.service(name, Local, &[VIP]);
        }
        assert_eq!(world.hops(VIP), "absent NodeExcluded", "{names:?}");
    }
}

#[test]
fn services_that_share_an_address_contribute_the_union() {
    let shared = two_nodes()
        .service("web", Local, &[VIP])
        .service("dns", Local, &[VIP])
        .endpoint_on("web", "w1")
        .endpoint_on("dns", "w2");
    assert_eq!(shared.hops(VIP), "192.168.1.11 192.168.1.12");
    assert_eq!(shared.vip(VIP).services.len(), 2);
    let two_slices =
        two_nodes().service("web", Local, &[VIP]).endpoint_on("web", "w1").endpoint_on("web", "w2");
    assert_eq!(two_slices.hops(VIP), "192.168.1.11 192.168.1.12", "slices of one Service too");
}

#[test]
fn classes_are_judged_when_they_are_wanted() {
    let services = |world: World| {
        world.node("w1", &["192.168.1.11"]).service("plain", Cluster, &["203.0.113.20"]).service_of_class(
            "other",
            Some("x/lb"),
            Cluster,
            &["203.0.113.21"],
        )
    };
    let judged = |world: &World| -> (Vec<String>, Vec<String>) {
        let text = |prefixes: Vec<&Prefix>| prefixes.iter().map(ToString::to_string).collect();
        let expectation = world.expect();
        (text(expectation.vips.keys().collect()), text(expectation.not_ours.iter().collect()))
    };
    let (plain, other) = (vec!["203.0.113.20/32".to_owned()], vec!["203.0.113.21/32".to_owned()]);
    assert_eq!(judged(&services(world())), (plain.clone(), other.clone()));
    assert_eq!(
        judged(&services(world_with("selector: {}", "classes [x/lb]"))),
        (other.clone(), plain.clone())
    );
    let shared = services(world()).service("shared", Cluster, &["203.0.113.21"]);
    assert_eq!(judged(&shared), ([plain, other].concat(), vec![]), "who shares a judged address is judged");
}

#[test]
fn only_addresses_inside_the_pools_and_outside_protected_are_judged() {
    let world = two_nodes()
        .service("web", Cluster, &["203.0.113.5", "203.0.113.16", "198.51.100.1", "1.1.1.200", "1.1.1.201"])
        .endpoint_on("web", "w1");
    let expectation = world.expect();
    let judged: Vec<String> = expectation.vips.keys().map(ToString::to_string).collect();
    assert_eq!(judged, ["1.1.1.200/32", "203.0.113.16/32"]);
    let said: Vec<&str> = expectation.issues.iter().map(|issue| issue.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "1.1.1.201 is outside vips.pools",
            "198.51.100.1 is outside vips.pools",
            "203.0.113.5 lies in vips.protected"
        ]
    );
}

#[test]
fn a_dual_stack_service_has_a_prefix_in_each_family() {
    let world = two_nodes().service("web", Local, &[VIP, "2001:db8::20"]).endpoint_on("web", "w1");
    assert_eq!(world.hops(VIP), "192.168.1.11");
    assert_eq!(world.hops("2001:db8::20"), "fd00::11");
    let several = self::world()
        .node("w1", &["192.168.1.11", "192.168.1.111", "fd00::11", "10.0.0.1"])
        .service("web", Cluster, &[VIP])
        .endpoint_on("web", "w1");
    assert_eq!(
        several.hops(VIP),
        "192.168.1.11 192.168.1.111",
        "several of a family, none outside the subnets"
    );
}

#[test]
fn without_an_address_of_the_family_nothing_can_be_said() {
    let one_family = || world().node("w1", &["192.168.1.11"]).service("web", Local, &["2001:db8::20"]);
    assert_eq!(one_family().endpoint_on("web", "w1").hops("2001:db8::20"), "no family");
    assert_eq!(one_family().hops("2001:db8::20"), "absent NoEndpoints", "nobody announces it");
}

#[test]
fn an_address_comes_from_git_before_an_annotation_or_the_status() {
    let by_annotation = || world_with("selector: {}, address: {annotation: bgp}", "");
    let served = |world: World| world.service("web", Cluster, &[VIP]).endpoint_on("web", "w1");
    let world = served(by_annotation().node_that("w1", &["192.168.1.11"], annotated(Ok(&["192.168.1.91"]))));
    assert_eq!(world.hops(VIP), "192.168.1.91");
    let world = served(by_annotation().node("w1", &["192.168.1.11"]));
    assert_eq!(world.reasons(), ["Node w1 NoPeerAddress"], "the status does not stand in");
    let world = served(by_annotation().node_that("w1", &[], annotated(Err("nonsense"))));
    assert_eq!(world.reasons(), ["Node w1 InvalidObject", "Node w1 NoPeerAddress"]);
    let world = served(by_annotation().node_that("w1", &[], annotated(Ok(&["192.168.1.91", "10.0.0.1"]))));
    assert_eq!(
        (world.hops(VIP).as_str(), world.reasons()),
        ("192.168.1.91", vec!["Node w1 AddressOutsideSubnets".into()])
    );
    let listed = served(
        world_with("selector: {}, static: [{node: w1, address: 192.168.1.77}]", "")
            .node("w1", &["192.168.1.11"]),
    );
    assert_eq!(listed.hops(VIP), "192.168.1.77");
    let external = served(world_with("selector: {}, address: {type: ExternalIP}", "").node_that(
        "w1",
        &["192.168.1.11"],
        |node| node.external.push("192.168.1.66".parse().unwrap()),
    ));
    assert_eq!(external.hops(VIP), "192.168.1.66");
}

#[test]
fn a_listed_node_needs_no_label_and_no_node_object() {
    let listed = |nodes: &str| world_with(nodes, "").service("web", Cluster, &[VIP]).endpoint_on("web", "x");
    let world = listed("static: [{node: ghost, address: 192.168.1.77}]");
    assert_eq!(world.hops(VIP), "192.168.1.77");
    let world = listed("selector: {matchLabels: {rack: r1}}, static: [{node: w1, address: 192.168.1.77}]")
        .node("w1", &["192.168.1.11"])
        .node("w2", &["192.168.1.12"])
        .node_that("w3", &["192.168.1.13"], in_rack("r1"));
    assert_eq!(world.hops(VIP), "192.168.1.13 192.168.1.77", "w2 is neither listed nor selected");
}

#[test]
fn interfaces_stand_for_peers_of_both_families() {
    let world = world_with(
        "static: [{node: w1, interface: swp1}, {node: w2, address: \"fe80::2\", interface: swp2}, {node: w1, interface: swp9}]",
        "",
    )
    .service("web", Cluster, &[VIP, "2001:db8::20"])
    .endpoint_on("web", "w1");
    for vip in [VIP, "2001:db8::20"] {
        let mut hops: Vec<String> = world.hops(vip).split(' ').map(str::to_owned).collect();
        hops.sort();
        assert_eq!(hops, ["%swp1", "%swp9", "fe80::2%swp2"], "{vip}");
    }
    assert_eq!(world.expect().node_of[&NextHop::on("swp9")], "w1");
}

#[test]
fn an_address_belongs_to_one_node() {
    let world = world_with("selector: {}, static: [{node: z, address: 192.168.1.11}]", "")
        .node("a", &["192.168.1.11"])
        .node("c", &["192.168.1.12"])
        .node("b", &["192.168.1.12"])
        .service("web", Local, &[VIP])
        .endpoint_on("web", "b");
    let peers: Vec<String> = world.expect().peers.into_keys().collect();
    assert_eq!(peers, ["b", "z"], "Git first, then the first by name");
    assert_eq!(
        world.reasons(),
        [
            "Node a DuplicateAddress",
            "Node a NoPeerAddress",
            "Node c DuplicateAddress",
            "Node c NoPeerAddress"
        ]
    );
}

#[test]
fn switches_announce_only_if_listed() {
    let world = |nodes: &str| {
        world_with(nodes, "")
            .node("leaf1", &["192.168.1.1"])
            .node("leaf2", &["192.168.1.2"])
            .node("w1", &["192.168.1.11"])
            .switch("leaf2")
            .service("web", Cluster, &[VIP])
            .endpoint_on("web", "leaf2")
    };
    assert_eq!(world("selector: {}").hops(VIP), "192.168.1.11");
    assert_eq!(
        world("selector: {}, static: [{node: leaf2, address: 192.168.1.2}]").hops(VIP),
        "192.168.1.2 192.168.1.11"
    );
}

const REMOTES: &str = "\
remote:
- {switch: leaf2, nextHop: 10.0.1.2, nodes: {matchLabels: {rack: r2}}}
- {switch: leaf3, nextHop: 10.0.1.3, nodes: {matchLabels: {rack: r3}}}
- {switch: leaf3, nextHop: \"fd01::3\", nodes: {matchLabels: {rack: r3}}}
";

fn racks() -> World {
    world_with("selector: {matchLabels: {rack: r1}}", REMOTES)
        .node_that("w1", &["192.168.1.11"], in_rack("r1"))
        .node_that("w2", &["192.168.2.12"], in_rack("r2"))
        .node_that("w3", &["192.168.3.13"], in_rack("r3"))
        .service("web", Local, &[VIP, "2001:db8::20"])
}

#[test]
fn other_switches_are_next_hops_when_nobody_here_announces() {
    assert_eq!(racks().hops(VIP), "absent NoEndpoints");
    let there = racks().endpoint_on("web", "w2").endpoint_on("web", "w3");
    assert_eq!(there.hops(VIP), "10.0.1.2 10.0.1.3");
    assert_eq!(there.vip(VIP).next_hops.values().flatten().collect::<Vec<_>>(), ["leaf2", "leaf3"]);
    assert_eq!(there.hops("2001:db8::20"), "fd01::3");
    assert_eq!(there.endpoint_on("web", "w1").hops(VIP), "192.168.1.11", "one that peers here is enough");
    let stranger = racks().node_that("w4", &["10.9.9.9"], in_rack("r4")).endpoint_on("web", "w4");
    assert_eq!(stranger.hops(VIP), "absent NoEndpoints", "nothing leads there");
}

#[test]
fn a_remote_switch_without_an_address_of_the_family_says_nothing() {
    let there = racks().endpoint_on("web", "w2");
    assert_eq!(there.hops(VIP), "10.0.1.2");
    assert_eq!(there.hops("2001:db8::20"), "no family");
}

#[test]
fn an_aggregate_is_the_union_of_what_it_covers_and_stays_inside_the_pools() {
    let mut world = two_nodes()
        .service("web", Local, &["203.0.113.33", "1.1.1.100"])
        .service("dns", Local, &["203.0.113.34"])
        .endpoint_on("web", "w1")
        .endpoint_on("dns", "w2");
    world.scheme.advertisements = vec![Advertisement { length_v4: 28, ..Advertisement::plain() }];
    assert_eq!(world.hops("203.0.113.32/28"), "192.168.1.11 192.168.1.12");
    assert_eq!(world.expect().vips.len(), 1, "1.1.1.96/28 is wider than its pool");
    assert_eq!(world.reasons(), ["Service shop/web NotOurs"]);
}

#[test]
fn issues_of_the_objects_are_handed_on() {
    let mut world = world();
    world.facts.issues = vec![Issue::new("Service shop/bad", "InvalidObject", "x"); 2];
    assert_eq!(world.reasons(), ["Service shop/bad InvalidObject"]);
}

const NODES: [&str; 5] = ["w0", "w1", "w2", "w3", "leaf2"];

/// Any cluster of a few nodes and Services, seen by one of a few switches.
fn any_world() -> impl Strategy<Value = World> {
    let node = (
        prop::collection::vec(
            prop::sample::select(vec![
                "192.168.1.1",
                "192.168.1.2",
                "192.168.1.3",
                "fd00::1",
                "fd00::2",
                "10.0.0.1",
            ]),
            0..3,
        ),
        prop::sample::select(vec!["r1", "r2", "r3"]),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    );
    let service = (
        prop::collection::vec(
            prop::sample::select(vec![
                "203.0.113.5",
                "203.0.113.20",
                "203.0.113.21",
                "198.51.100.1",
                "2001:db8::20",
                "1.1.1.201",
            ]),
            0..3,
        ),
        any::<bool>(),
        prop::bool::weighted(0.2),
    );
    let endpoint = (0..4_usize, 0..NODES.len());
    let nodes = prop::sample::select(vec![
        "selector: {}",
        "selector: {matchLabels: {rack: r1}}",
        "selector: {matchLabels: {rack: r1}}, static: [{node: w3, interface: swp3}, {node: ghost, address: 192.168.1.9}]",
        "static: [{node: leaf2, address: 192.168.1.2}]",
    ]);
    (
        nodes,
        prop::collection::vec(node, NODES.len()),
        prop::collection::vec(service, 0..4),
        prop::collection::vec(endpoint, 0..8),
        prop::sample::select(vec![32_u8, 28, 24]),
    )
        .prop_map(|(settings, nodes, services, endpoints, length_v4)| {
            let mut world = world_with(settings, REMOTES).switch("leaf2");
            for (name, (addresses, rack, excluded, unavailable)) in NODES.iter().zip(nodes) {
                world = world.node_that(name, &addresses, |node| {
                    in_rack(rack)(node);
                    node.network_unavailable = unavailable;
                    if excluded {
                        exclude(node);
                    }
                });
            }
            for (number, (addresses, local, classy)) in services.iter().enumerate() {
                let policy = if *local { Local } else { Cluster };
                world = world.service_of_class(
                    &format!("s{number}"),
                    classy.then_some("x/lb"),
                    policy,
                    addresses,
                );
            }
            for (service, node) in endpoints {
                world = world.endpoint_on(&format!("s{service}"), NODES[node]);
            }
            world.scheme.advertisements =
                vec![Advertisement { length_v4, ..Advertisement::plain() }, Advertisement::plain()];
            world
        })
}

proptest! {
    #[test]
    fn input_order_never_matters_and_expecting_twice_is_the_same(
        world in any_world(), seed in any::<u64>()
    ) {
        let mut shuffled = world.clone();
        let mut state = seed;
        let mut order = || { state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); state >> 33 };
        shuffled.facts.nodes.sort_by_cached_key(|_| order());
        shuffled.facts.services.sort_by_cached_key(|_| order());
        shuffled.facts.slices.sort_by_cached_key(|_| order());
        shuffled.scheme.advertisements.reverse();
        prop_assert_eq!(world.expect(), shuffled.expect());
        prop_assert_eq!(world.expect(), world.expect());
    }

    #[test]
    fn removing_an_endpoint_never_adds_a_next_hop_of_a_node(world in any_world(), which in any::<prop::sample::Index>()) {
        prop_assume!(!world.facts.slices.is_empty());
        let mut fewer = world.clone();
        fewer.facts.slices.remove(which.index(world.facts.slices.len()));
        let (before, after) = (world.expect(), fewer.expect());
        for (prefix, vip) in &after.vips {
            let had = &before.vips[prefix].next_hops;
            for hop in vip.next_hops.keys().filter(|hop| after.node_of.contains_key(hop)) {
                prop_assert!(had.contains_key(hop), "{} gained {}", prefix, hop);
            }
            // Other switches take over only when the last node that peers here has gone, even one without an address
            // of this family.
            let had_nodes =
                before.vips[prefix].doubt.is_some() || had.keys().any(|hop| before.node_of.contains_key(hop));
            for hop in vip.next_hops.keys().filter(|hop| !after.node_of.contains_key(hop)) {
                prop_assert!(had_nodes || had.contains_key(hop), "{} gained {}", prefix, hop);
            }
        }
    }

    #[test]
    fn nothing_is_expected_beyond_what_git_allows(world in any_world()) {
        let expectation = world.expect();
        let listed: BTreeSet<NextHop> = world.settings.peering.nodes.listed.iter().filter_map(settings::ListedNode::next_hop).collect();
        let remote: BTreeSet<NextHop> = world.settings.remote.iter().map(|remote| NextHop::via(remote.next_hop)).collect();
        for (prefix, vip) in &expectation.vips {
            prop_assert!(world.settings.admits(*prefix), "{}", prefix);
            prop_assert_eq!(vip.absent.is_some() || vip.doubt.is_some(), vip.next_hops.is_empty(), "{}", prefix);
            for hop in vip.next_hops.keys() {
                let allowed = listed.contains(hop)
                    || remote.contains(hop)
                    || hop.address.is_some_and(|address| world.settings.in_subnets(address));
                prop_assert!(allowed, "{} via {}", prefix, hop);
            }
        }
        for (node, hops) in &expectation.peers {
            prop_assert!(!hops.is_empty());
            prop_assert!(node != "leaf2" || listed.iter().any(|hop| hops.contains(hop)));
        }
    }
}
