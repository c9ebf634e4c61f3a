use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::read::value_of_community;
use super::standing::{Presence, Standing};
use super::*;
use crate::intent::nexthops::{self, Expectation};
use crate::intent::settings;
use crate::intent::snapshot::objects::Meta;
use crate::intent::snapshot::{ServiceFacts, SliceFacts, TrafficPolicy};

const VIP: &str = "203.0.113.20";

/// MetalLB with one pool, one advertisement and a peer that is this switch; grows word by word.
struct World {
    facts: ClusterFacts,
    metallb: MetalLb,
    more: &'static str,
}

fn meta(name: &str) -> Meta {
    Meta { name: name.to_owned(), namespace: Some(NAMESPACE.to_owned()), ..Meta::default() }
}

fn empty() -> World {
    let facts = ClusterFacts {
        here: Some(BTreeSet::from(["192.168.1.1".parse().unwrap()])),
        ..ClusterFacts::default()
    };
    World { facts, metallb: MetalLb::default(), more: "" }.node("w1", 11, &[]).node(
        "w2",
        12,
        &[("rack", "b")],
    )
}

fn world() -> World {
    empty()
        .has("IPAddressPool", "public", json!({"addresses": ["203.0.113.0/26"]}))
        .has("BGPAdvertisement", "all", json!({}))
        .has("BGPPeer", "leaf1", json!({"myASN": 65100, "peerASN": 65001, "peerAddress": "192.168.1.1"}))
        .service("web", TrafficPolicy::Cluster, &[VIP])
}

impl World {
    fn node(mut self, name: &str, last: u8, labels: &[(&str, &str)]) -> Self {
        self.facts.nodes.push(Arc::new(NodeFacts {
            name: name.to_owned(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            annotations: BTreeMap::new(),
            internal: vec![format!("192.168.1.{last}").parse().unwrap()],
            external: Vec::new(),
            network_unavailable: false,
        }));
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "a `json!` at the call reads as a sentence")]
    fn has(mut self, kind: &str, name: &str, spec: Value) -> Self {
        self.metallb.add(read::object(kind, &meta(name), &spec, &Value::Null).unwrap());
        self
    }

    /// The object of this name says something else now.
    fn but(mut self, kind: &str, name: &str, spec: Value) -> Self {
        let MetalLb { pools, advertisements, peers, communities, .. } = &mut self.metallb;
        pools.retain(|item| kind != "IPAddressPool" || item.name.name != name);
        advertisements.retain(|item| kind != "BGPAdvertisement" || item.name.name != name);
        peers.retain(|item| kind != "BGPPeer" || item.name.name != name);
        communities.retain(|item| kind != "Community" || item.name.name != name);
        self.has(kind, name, spec)
    }

    fn speaks(mut self, node: &str, refuses: Option<&str>) -> Self {
        let mut meta = meta(&format!("speaker-{node}"));
        meta.labels.insert("metallb.io/node-name".into(), node.into());
        let status = match refuses {
            None => json!({"result": "Valid", "conditions": [{"type": "x", "status": "True"}]}),
            Some(why) => json!({"conditions": [{"type": "x", "status": "False", "message": why}]}),
        };
        self.metallb.add(read::object("ConfigurationState", &meta, &Value::Null, &status).unwrap());
        self
    }

    fn service(mut self, name: &str, policy: TrafficPolicy, addresses: &[&str]) -> Self {
        let name = ObjectName { namespace: "shop".into(), name: name.into() };
        self.facts.slices.push(Arc::new(SliceFacts {
            service: name.clone(),
            nodes: BTreeSet::from(["w1".to_owned()]).into(),
            any: true,
        }));
        self.facts.services.push(Arc::new(ServiceFacts {
            uid: String::new(),
            class: None,
            policy,
            labels: BTreeMap::from([("app".into(), name.name.clone())]),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            has_nameless: false,
            name,
        }));
        self
    }

    fn expect(&self) -> Expectation {
        let text = format!(
            "version: 1\nasn: 65001\nvips: {{pools: [203.0.113.0/24, \"2001:db8::/64\"]}}\n\
             peering: {{peerAsn: external, nodes: {{selector: {{}}, subnets: [192.168.1.0/24]{}}}}}\n",
            self.more
        );
        let facts = ClusterFacts { metallb: Some(Arc::new(self.metallb.clone())), ..self.facts.clone() };
        nexthops::expect("leaf1", &settings::parse(&text).unwrap(), &facts)
    }

    /// `HOP HOP`, why there are none, and what is in doubt.
    fn hops(&self, prefix: &str) -> String {
        let expectation = self.expect();
        let vip = expectation.vips.get(&prefix.parse().unwrap());
        let Some(vip) = vip else { return format!("not judged: {:?}", expectation.vips.keys()) };
        let mut words: Vec<String> =
            vip.next_hops.keys().map(|hop| hop.to_string().replace("192.168.1.", ".")).collect();
        words.extend(vip.absent.map(|rung| format!("{rung:?}")));
        if let Some(doubt) = &vip.doubt {
            let of = doubt.of.as_ref().map(|of| of.iter().map(ToString::to_string).collect::<Vec<_>>());
            let of = of.map_or("all".to_owned(), |of| of.join(" ").replace("192.168.1.", "."));
            words.push(format!("{:?} of {of}", doubt.rung));
        }
        words.join(" ")
    }

    fn said(&self) -> Vec<String> {
        let issues = self.expect().issues;
        issues.iter().map(|issue| format!("{}: {}: {}", issue.object, issue.reason, issue.message)).collect()
    }

    fn reasons(&self) -> Vec<String> {
        self.expect().issues.iter().map(|issue| format!("{} {}", issue.object, issue.reason)).collect()
    }
}

#[test]
fn pool_advertisement_and_peer_bring_an_address_here() {
    assert_eq!(world().hops(VIP), ".11 .12");
    assert!(world().said().is_empty(), "{:?}", world().said());
    let without = |kind: &str| {
        let mut world = world();
        match kind {
            "pool" => world.metallb.pools.clear(),
            "advertisement" => world.metallb.advertisements.clear(),
            _ => world.metallb.peers.clear(),
        }
        world.hops(VIP)
    };
    for kind in ["pool", "advertisement", "peer"] {
        assert_eq!(without(kind), "NotAdvertised", "without {kind}");
    }
    let elsewhere = json!({"myASN": 65100, "peerASN": 65002, "peerAddress": "192.168.1.2"});
    assert_eq!(world().but("BGPPeer", "leaf1", elsewhere).hops(VIP), "NotAdvertised");
}

#[test]
fn selectors_pick_nodes_services_and_pools() {
    let rack = json!([{"matchLabels": {"rack": "b"}}]);
    let by = |spec: Value| world().but("BGPAdvertisement", "all", spec);
    assert_eq!(by(json!({"nodeSelectors": rack})).hops(VIP), ".12");
    assert_eq!(by(json!({"serviceSelectors": [{"matchLabels": {"app": "web"}}]})).hops(VIP), ".11 .12");
    assert_eq!(by(json!({"serviceSelectors": [{"matchLabels": {"app": "dns"}}]})).hops(VIP), "NotAdvertised");
    assert_eq!(by(json!({"ipAddressPools": ["public"]})).hops(VIP), ".11 .12");
    assert_eq!(by(json!({"peers": ["leaf1"]})).hops(VIP), ".11 .12");
    let far = by(json!({"nodeSelectors": [{"matchLabels": {"rack": "z"}}]}));
    assert_eq!(
        (far.hops(VIP).as_str(), far.reasons()),
        ("NotAdvertised", vec!["BGPAdvertisement metallb-system/all NoSuchNode".to_owned()])
    );
    let peer = json!({"myASN": 65100, "peerASN": 65001, "peerAddress": "192.168.1.1", "nodeSelectors": rack});
    assert_eq!(world().but("BGPPeer", "leaf1", peer).hops(VIP), ".12");
}

#[test]
fn names_that_match_nothing_are_named() {
    let peers = world().but("BGPAdvertisement", "all", json!({"peers": ["leaf9"]}));
    assert_eq!(peers.hops(VIP), "NotAdvertised");
    assert_eq!(
        peers.said(),
        [
            "BGPAdvertisement metallb-system/all: NoSuchPeer: spec.peers: there is no BGPPeer leaf9; so it announces \
          nothing, while MetalLB calls it valid"
        ]
    );
    let pools = world().but("BGPAdvertisement", "all", json!({"ipAddressPools": ["pubic"]}));
    assert_eq!(pools.hops(VIP), "NotAdvertised");
    assert_eq!(pools.reasons(), ["BGPAdvertisement metallb-system/all NoSuchPool"]);
    let some = world().but("BGPAdvertisement", "all", json!({"ipAddressPools": ["public", "pubic"]}));
    assert_eq!((some.hops(VIP).as_str(), some.reasons().len()), (".11 .12", 1));
    let selector = json!({"ipAddressPoolSelectors": [{"matchLabels": {"zone": "x"}}]});
    assert_eq!(
        world().but("BGPAdvertisement", "all", selector).reasons(),
        ["BGPAdvertisement metallb-system/all NoSuchPool"]
    );
}

#[test]
fn an_aggregate_takes_the_place_of_its_addresses() {
    let world = world().but("BGPAdvertisement", "all", json!({"aggregationLength": 26}));
    assert_eq!(world.hops("203.0.113.0/26"), ".11 .12");
    assert!(world.hops(VIP).starts_with("not judged"));
    let both = world.has("BGPAdvertisement", "one", json!({}));
    assert_eq!((both.hops("203.0.113.0/26"), both.hops(VIP)), (".11 .12".into(), ".11 .12".into()));
}

#[test]
fn what_a_speaker_refuses_is_doubt_on_its_nodes() {
    let refused = |spec: Value| world().but("BGPAdvertisement", "all", spec);
    let doubt = "ConfigurationRefused of .11 .12";
    for (spec, field) in [
        (json!({"aggregationLength": 25}), "spec.aggregationLength"),
        (json!({"communities": ["no-export"]}), "spec.communities"),
        (json!({"communities": ["1:70000"]}), "spec.communities"),
        (json!({"peers": ["leaf1", "leaf1"]}), "spec.peers"),
        (json!({"aggregationLength": 26, "serviceSelectors": [{}]}), "spec.serviceSelectors"),
        (
            json!({"nodeSelectors": [{"matchExpressions": [{"key": "a", "operator": "Is"}]}]}),
            "spec.nodeSelectors",
        ),
    ] {
        let world = refused(spec.clone());
        let at = match spec["aggregationLength"].as_u64() {
            Some(length) => format!("203.0.113.0/{length}"),
            None => VIP.to_owned(),
        };
        assert_eq!(world.hops(&at), doubt, "{spec}");
        let said = world.said();
        assert!(said[0].contains("ConfigurationRefused") && said[0].contains(field), "{said:?}");
        assert_eq!(world.expect().unsure.len(), 2);
    }
    let elsewhere = json!({"communities": ["no-export"], "nodeSelectors": [{"matchLabels": {"rack": "b"}}]});
    let half = world().has("BGPAdvertisement", "b", elsewhere);
    assert_eq!(half.hops(VIP), ".11 ConfigurationRefused of .12", "validity is per node");
    let overlap = world().has("IPAddressPool", "x", json!({"addresses": ["203.0.113.60-203.0.113.70"]}));
    assert_eq!(overlap.hops(VIP), doubt);
    let known = world()
        .has("Community", "names", json!({"communities": [{"name": "no-export", "value": "65535:65281"}]}))
        .but("BGPAdvertisement", "all", json!({"communities": ["no-export"]}));
    assert_eq!(known.hops(VIP), ".11 .12");
}

#[test]
fn a_speakers_own_word_counts() {
    let said = world().speaks("w1", None).speaks("w2", Some("secret ref not found\n"));
    assert_eq!(said.hops(VIP), ".11 ConfigurationRefused of .12");
    assert_eq!(said.reasons(), ["ConfigurationState metallb-system/speaker-w2 ConfigurationRefused"]);
    assert_eq!(world().speaks("w1", None).hops(VIP), ".11", "w2 has no speaker");
    let alone = world().speaks("w9", None);
    assert_eq!(alone.hops(VIP), "NoSpeaker");
}

#[test]
fn all_addresses_of_a_service_must_be_of_one_pool() {
    let two = || world().has("IPAddressPool", "other", json!({"addresses": ["203.0.113.64/26"]}));
    let mixed = two().service("two", TrafficPolicy::Cluster, &["203.0.113.21", "203.0.113.70"]);
    assert_eq!(mixed.hops("203.0.113.21"), "NotAdvertised");
    assert_eq!(mixed.hops("203.0.113.70"), "NotAdvertised");
    let one = two().service("two", TrafficPolicy::Cluster, &["203.0.113.71", "203.0.113.70"]);
    assert_eq!(one.hops("203.0.113.70"), ".11 .12");
    let mut nameless = world();
    Arc::make_mut(&mut nameless.facts.services[0]).has_nameless = true;
    assert_eq!(nameless.hops(VIP), "NotAdvertised");
}

#[test]
fn a_preferred_path_narrows_the_next_hops() {
    let internal = |world: World| {
        world.but("BGPPeer", "leaf1", json!({"myASN": 65001, "peerASN": 65001, "peerAddress": "192.168.1.1"}))
    };
    let rack_b = |spec: Value| {
        let mut spec = spec;
        spec["nodeSelectors"] = json!([{"matchLabels": {"rack": "b"}}]);
        let others =
            json!({"nodeSelectors": [{"matchExpressions": [{"key": "rack", "operator": "DoesNotExist"}]}]});
        world().but("BGPAdvertisement", "all", others).has("BGPAdvertisement", "b", spec)
    };
    assert_eq!(rack_b(json!({"localPref": 200})).hops(VIP), ".11 .12", "not sent to another AS");
    assert_eq!(internal(rack_b(json!({"localPref": 200}))).hops(VIP), ".12");
    assert_eq!(
        internal(rack_b(json!({"localPref": 50}))).hops(VIP),
        "AnnouncementUncertain of .11 .12",
        "what an unset one counts for depends on the speaker"
    );
    assert_eq!(rack_b(json!({"asPathPrepend": 2})).hops(VIP), ".11");
    // Of one node, MetalLB refuses two for the same prefixes, unless Services decide; then the node is silent.
    let twice = world().has("BGPAdvertisement", "b", json!({"localPref": 200}));
    assert_eq!(twice.hops(VIP), "ConfigurationRefused of .11 .12");
    let web = json!({"localPref": 200, "serviceSelectors": [{"matchLabels": {"app": "web"}}]});
    let decided =
        world().has("BGPAdvertisement", "b", web).service("dns", TrafficPolicy::Cluster, &["203.0.113.21"]);
    assert_eq!((decided.hops(VIP), decided.hops("203.0.113.21")), ("NotAdvertised".into(), ".11 .12".into()));
}

#[test]
fn a_session_carries_its_own_family() {
    let six = world().has("IPAddressPool", "six", json!({"addresses": ["2001:db8::/80"]})).service(
        "six",
        TrafficPolicy::Cluster,
        &["2001:db8::20"],
    );
    assert_eq!(six.hops("2001:db8::20"), "NotAdvertised");
}

#[test]
fn where_a_peer_leads_is_asked_of_the_table_and_not_guessed() {
    let second = json!({"myASN": 65100, "peerASN": 65002, "peerAddress": "192.168.1.2"});
    let mut blind = world().has("BGPPeer", "leaf2", second);
    assert_eq!(blind.hops(VIP), ".11 .12");
    blind.facts.here = None;
    assert_eq!(blind.hops(VIP), ".11 .12", "both say the same");
    let mut one = blind.but("BGPAdvertisement", "all", json!({"peers": ["leaf2"]}));
    assert_eq!(one.hops(VIP), "AnnouncementUncertain of .11 .12");
    one.facts.here = Some(BTreeSet::from(["192.168.1.1".parse().unwrap()]));
    assert_eq!(one.hops(VIP), "NotAdvertised");
    let unnumbered = json!({"myASN": 65100, "peerASN": 65001, "interface": "eth0"});
    let mut by_name = world().but("BGPPeer", "leaf1", unnumbered);
    assert_eq!(by_name.hops(VIP), "NotAdvertised", "this switch knows its neighbours by address");
    by_name.more = ", static: [{node: w1, interface: swp1}]";
    assert_eq!(by_name.hops(VIP), "%swp1");
}

#[test]
fn other_namespaces_mean_nothing_to_metallb() {
    let mut world = world();
    let foreign = Meta { namespace: Some("shop".into()), ..meta("leaf2") };
    let spec = json!({"aggregationLength": 99});
    world.metallb.add(read::object("BGPAdvertisement", &foreign, &spec, &Value::Null).unwrap());
    assert_eq!(world.hops(VIP), ".11 .12");
    assert_eq!(world.reasons(), ["BGPAdvertisement shop/leaf2 OutsideMetalLB"]);
    world.facts.metallb_namespace = Some("shop".to_owned());
    assert!(world.hops(VIP).starts_with("ConfigurationRefused"), "{}", world.hops(VIP));
}

#[test]
fn pools_beyond_what_git_allows_are_named() {
    let wide =
        world().has("IPAddressPool", "wide", json!({"addresses": ["198.51.100.0/24", "203.0.113.128/25"]}));
    assert_eq!(wide.reasons(), ["IPAddressPool metallb-system/wide PoolOutsideBounds"]);
    let unannounced = wide.but("BGPAdvertisement", "all", json!({"ipAddressPools": ["public"]}));
    assert!(unannounced.reasons().is_empty());
}

#[test]
fn crds_that_go_leave_the_last_expectation_as_unknown() {
    let mut standing = Standing::default();
    assert!(standing.follow(Presence::Absent));
    assert_eq!(standing.facts(), None, "never there: the plain rule");
    assert!(!standing.follow(Presence::Reading), "nothing is said before everything was read");
    let all = Arc::new(world().metallb);
    assert!(standing.follow(Presence::Complete(Arc::clone(&all))));
    assert_eq!(standing.facts(), Some(Arc::clone(&all)));
    assert!(standing.follow(Presence::Absent));
    let gone = standing.facts().unwrap();
    assert!(gone.vanished && gone.pools == all.pools);
    let after = World { metallb: MetalLb::clone(&gone), ..world() };
    assert_eq!(after.hops(VIP), ".11 .12 ExpectationStale of all");
    assert!(
        standing.follow(Presence::Reading) && standing.facts() == Some(gone),
        "not back before it was read"
    );
    assert!(standing.follow(Presence::Complete(Arc::clone(&all))));
    assert_eq!(standing.facts(), Some(all));
}

#[test]
fn a_remote_switch_takes_what_its_nodes_announce() {
    let mut far = world().node("far", 99, &[("rack", "z")]);
    far.facts.nodes.retain(|node| node.name == "far");
    Arc::make_mut(&mut far.facts.nodes[0]).internal = vec!["10.9.9.9".parse().unwrap()];
    far.more =
        "}}\nremote: [{switch: leaf2, nextHop: 10.0.1.2, nodes: {matchLabels: {rack: z}}}]\nvars: {a: {b: 1";
    assert_eq!(far.hops(VIP), "10.0.1.2");
    let silent = far.but("BGPAdvertisement", "all", json!({"peers": ["nobody"]}));
    assert_eq!(silent.hops(VIP), "NotAdvertised");
}

#[test]
fn communities_and_addresses_are_read_as_by_metallb() {
    for (text, value) in [
        ("65001:100", Some(true)),
        ("65001:65536", Some(false)),
        ("large:1:2:3", Some(true)),
        ("small:1:2:3", Some(false)),
        ("large:1:2:4294967296", Some(false)),
        ("no-export", None),
        ("1:2:3", None),
        ("+1:2", Some(false)),
    ] {
        assert_eq!(value_of_community(text), value, "{text}");
    }
    let pool = |text: &str| {
        let spec = json!({"addresses": [text]});
        let Some(Object::Pool(pool)) = read::object("IPAddressPool", &meta("p"), &spec, &Value::Null) else {
            panic!("no pool")
        };
        match (pool.flaw, pool.spec.blocks.first()) {
            (None, Some(block)) => format!("{} {} /{}", block.first, block.last, block.shortest),
            (flaw, _) => format!("refused: {}", flaw.is_some()),
        }
    };
    assert_eq!(pool("192.0.2.77/26"), "192.0.2.64 192.0.2.127 /26", "host bits are cut");
    assert_eq!(pool("192.0.2.10 - 192.0.2.20"), "192.0.2.10 192.0.2.20 /30");
    assert_eq!(pool("2001:db8::/64"), "2001:db8:: 2001:db8::ffff:ffff:ffff:ffff /64");
    for wrong in ["192.0.2.1", "192.0.2.0/33", "192.0.2.9-192.0.2.1", "192.0.2.0/024", "x/8", "1.1.1.1-::1"] {
        assert_eq!(pool(wrong), "refused: true", "{wrong}");
    }
}
