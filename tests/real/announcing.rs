//! Our announcing rule against MetalLB's own code: generated clusters, each given to both.
//!
//! MetalLB's side is its configuration parser and its speaker's BGP controller, one run a node; ours reads the same objects from a
//! folder, as the agent does. What MetalLB refuses because of the kind of BGP that it runs is not repeated by us: there the
//! speaker's `ConfigurationState` tells, and the case says nothing about the rule.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use switchlet::health::ladder::Rung;
use switchlet::intent::nexthops::{self, Expectation};
use switchlet::intent::settings::{self, SwitchSettings};

use crate::metallb::Rule;

const CASES: u64 = 600;
const NODES: [&str; 4] = ["w1", "w2", "w3", "w4"];
const SETTINGS: &str = "version: 1
asn: 65001
vips: {pools: [203.0.113.0/24, 2001:db8::/64]}
peering:
  peerAsn: external
  nodes: {selector: {}, subnets: [192.168.1.0/24, fd00::/64]}
";
/// What the switch of the test is reached by; other addresses are those of another switch.
const HERE: [&str; 2] = ["192.168.1.1", "fd00::1"];

/// Numbers that look random and are the same each time (Steele, Lea, Flood: splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    /// True in one of `of` cases.
    fn seldom(&mut self, of: usize) -> bool {
        self.roll(of) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }

    fn some<T: Clone>(&mut self, from: &[T]) -> Vec<T> {
        from.iter().filter(|_| self.seldom(2)).cloned().collect()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a `json!` at the call reads as a sentence")]
fn object(kind: &str, name: &str, spec: Value) -> Value {
    let version = if kind == "BGPPeer" { "metallb.io/v1beta2" } else { "metallb.io/v1beta1" };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "metallb-system"}, "spec": spec})
}

/// A selector of nodes, pools or Services: of the labels that they have here, and seldom one that is wrong.
fn selector(dice: &mut Dice) -> Value {
    match dice.roll(12) {
        0 => json!({}),
        1..=3 => json!({"matchLabels": {"rack": dice.pick(&["a", "b", "c"])}}),
        4 => json!({"matchLabels": {"rack": dice.pick(&["a", "b"]), "tier": "front"}}),
        5 => json!({"matchExpressions": [{"key": "rack", "operator": "NotIn", "values": ["a", "c"]}]}),
        6 => json!({"matchExpressions": [{"key": "rack", "operator": "In", "values": ["b", "a"]}]}),
        7 => json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
        8 => json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
        9 => json!({"matchLabels": {"kubernetes.io/hostname": dice.pick(&NODES)}}),
        10 => {
            json!({"matchLabels": {"tier": "front"}, "matchExpressions": [{"key": "rack", "operator": "Exists"}]})
        }
        _ if dice.seldom(8) => dice.pick(&[
            json!({"matchExpressions": [{"key": "rack", "operator": "Exists", "values": ["a"]}]}),
            json!({"matchExpressions": [{"key": "rack", "operator": "Like", "values": ["a"]}]}),
            json!({"matchExpressions": [{"key": "rack", "operator": "In"}]}),
            json!({"matchExpressions": [{"key": "rack", "operator": "In", "values": ["a", "a"]}]}),
            json!({"matchLabels": {"no key": "a"}}),
            json!({"matchLabels": {"rack": "-a"}}),
        ]),
        _ => json!({"matchLabels": {"tier": "back"}}),
    }
}

fn selectors(dice: &mut Dice, most: usize) -> Vec<Value> {
    (0..=dice.roll(most)).map(|_| selector(dice)).collect()
}

fn labels(dice: &mut Dice) -> Value {
    let mut labels = json!({});
    if !dice.seldom(4) {
        labels["rack"] = json!(dice.pick(&["a", "b", "c"]));
    }
    if dice.seldom(2) {
        labels["tier"] = json!(dice.pick(&["front", "back"]));
    }
    labels
}

fn node(dice: &mut Dice, at: usize) -> Value {
    let mut labels = labels(dice);
    labels["kubernetes.io/hostname"] = json!(NODES[at]);
    if dice.seldom(8) {
        let value = dice.pick(&["", "true", "false"]);
        labels["node.kubernetes.io/exclude-from-external-load-balancers"] = json!(value);
    }
    let unavailable = dice.pick(&["False", "False", "False", "False", "Unknown", "True"]);
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODES[at], "labels": labels},
        "spec": {"unschedulable": dice.seldom(4)},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("192.168.1.1{}", at + 1)},
                                 {"type": "InternalIP", "address": format!("fd00::1{}", at + 1)}],
                   "conditions": [{"type": "NetworkUnavailable", "status": unavailable},
                                  {"type": "Ready", "status": dice.pick(&["True", "False"])}]}})
}

fn pool(dice: &mut Dice, at: usize, native: bool) -> Value {
    let third = at * 64;
    let mut addresses = vec![match dice.roll(4) {
        0 => json!(format!("203.0.113.{third}-203.0.113.{}", third + 9)),
        1 => json!(format!("203.0.113.{}/27", third + 5)),
        _ => json!(format!("203.0.113.{third}/26")),
    }];
    if dice.seldom(4) {
        let more = 192 + at * 8;
        addresses.push(json!(format!("203.0.113.{more} - 203.0.113.{}", more + 1)));
    }
    if !native && dice.seldom(3) {
        addresses.push(json!(format!("2001:db8::{at}:0/112")));
    }
    if dice.seldom(40) {
        addresses.push(json!("203.0.113.9-203.0.113.1"));
    }
    let mut pool = object("IPAddressPool", &format!("pool{at}"), json!({"addresses": addresses}));
    pool["metadata"]["labels"] = labels(dice);
    pool
}

fn advertisement(dice: &mut Dice, at: usize, native: bool) -> Value {
    let mut spec = json!({});
    if dice.seldom(4) {
        spec["ipAddressPools"] = json!(dice.some(&["pool0", "pool1", "pool2", "nosuchpool"]));
    }
    if dice.seldom(8) {
        spec["ipAddressPoolSelectors"] = json!(selectors(dice, 2));
    }
    if dice.seldom(3) {
        spec["nodeSelectors"] = json!(selectors(dice, 2));
    }
    if dice.seldom(5) {
        spec["serviceSelectors"] = json!(selectors(dice, 2));
    }
    if dice.seldom(5) {
        spec["peers"] = json!(dice.some(&["here", "other", "nosuchpeer", "six"]));
    }
    if dice.seldom(30) {
        spec["peers"] = json!(["here", "here"]);
    }
    if dice.seldom(6) {
        spec["aggregationLength"] = json!(dice.pick(&[32, 32, 30, 28, 27, 27, 26, 24]));
    }
    if !native && dice.seldom(5) {
        spec["aggregationLengthV6"] = json!(dice.pick(&[128, 120, 112, 64]));
    }
    if dice.seldom(6) {
        spec["localPref"] = json!(dice.pick(&[50, 100, 200]));
    }
    if dice.seldom(4) {
        let known = ["65001:100", "65001:7", "named"];
        let most = if dice.seldom(4) { 3 } else { 2 };
        spec["communities"] = json!(dice.some(&known[..most]));
    }
    if dice.seldom(40) {
        spec["communities"] =
            json!([dice.pick(&["no-export", "65001:70000", "small:1:2:3", "1:2:3", "a:b"])]);
    }
    object("BGPAdvertisement", &format!("ad{at}"), spec)
}

fn peer(dice: &mut Dice, name: &str, address: &str, asn: u32) -> Value {
    let mut spec = json!({"myASN": 65100, "peerASN": asn, "peerAddress": address});
    if dice.seldom(3) {
        spec["nodeSelectors"] = json!(selectors(dice, 2));
    }
    if dice.seldom(60) {
        spec["peerAddress"] = json!("192.168.1");
    }
    object("BGPPeer", name, spec)
}

fn service(dice: &mut Dice, at: usize, (pools, native): (usize, bool)) -> [Value; 2] {
    let third = if dice.seldom(12) { dice.roll(4) } else { dice.roll(pools) } * 64;
    let mut ingress = vec![json!({"ip": format!("203.0.113.{}", third + dice.roll(10))})];
    if dice.seldom(8) {
        ingress.push(json!({"ip": format!("203.0.113.{}", dice.roll(200))}));
    }
    if !native && dice.seldom(3) {
        ingress.push(json!({"ip": format!("2001:db8::{}:{}", third / 64, dice.roll(9))}));
    }
    if dice.seldom(30) {
        ingress.push(json!({"hostname": "elsewhere.example.com"}));
    }
    let name = format!("svc{at}");
    let policy = dice.pick(&["Cluster", "Local", "Local"]);
    let kind = if dice.seldom(20) { "ClusterIP" } else { "LoadBalancer" };
    let endpoints: Vec<Value> = (0..dice.roll(6))
        .map(|_| {
            let mut conditions = json!({});
            for name in ["ready", "serving", "terminating"] {
                match dice.roll(3) {
                    0 => conditions[name] = json!(true),
                    1 => conditions[name] = json!(false),
                    _ => {}
                }
            }
            let mut endpoint = json!({"addresses": ["10.0.0.1"], "conditions": conditions});
            if !dice.seldom(5) {
                endpoint["nodeName"] = json!(dice.pick(&["w1", "w2", "w3", "w4", "elsewhere"]));
            }
            endpoint
        })
        .collect();
    [
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "shop", "labels": labels(dice)},
            "spec": {"type": kind, "externalTrafficPolicy": policy},
            "status": {"loadBalancer": {"ingress": ingress}}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-1"), "namespace": "shop",
                         "labels": {"kubernetes.io/service-name": name}},
            "endpoints": endpoints}),
    ]
}

fn case(number: u64) -> Value {
    let dice = &mut Dice(number);
    let native = dice.seldom(2);
    let mut objects: Vec<Value> = (0..NODES.len()).map(|at| node(dice, at)).collect();
    let pools = 1 + dice.roll(3);
    objects.extend((0..pools).map(|at| pool(dice, at, native)));
    if dice.seldom(30) {
        objects.push(object("IPAddressPool", "again", json!({"addresses": ["203.0.113.8/30"]})));
    }
    objects.extend((0..=dice.roll(3)).map(|at| advertisement(dice, at, native)));
    // An AS of the speakers' own, seldom: there LOCAL_PREF is sent.
    let asn = dice.pick(&[65001, 65001, 65100]);
    objects.push(peer(dice, "here", HERE[0], asn));
    objects.push(peer(dice, "other", "192.168.1.2", 65002));
    if !native {
        objects.push(peer(dice, "six", HERE[1], asn));
    }
    if dice.seldom(2) {
        let names = json!({"communities": [{"name": "named", "value": "65535:65281"}]});
        objects.push(object("Community", "names", names));
    }
    objects.extend((0..=dice.roll(4)).flat_map(|at| service(dice, at, (pools, native))));
    let kind = if native { "native" } else { "frr" };
    json!({"id": number.to_string(), "type": kind, "objects": objects})
}

/// What our side makes of the objects.
fn ours(case: &Value, settings: &SwitchSettings) -> Expectation {
    let folder = tempfile::tempdir().unwrap();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": case["objects"]});
    std::fs::write(folder.path().join("all.json"), list.to_string()).unwrap();
    let (mut facts, _) = switchlet::files::objects::read_cluster(folder.path(), "leaf1").unwrap();
    facts.here = Some(HERE.iter().map(|address| address.parse().unwrap()).collect());
    nexthops::expect("leaf1", settings, &facts)
}

/// Which nodes' paths the switch gets of each prefix, and of those what `LOCAL_PREF` each has, by MetalLB's word.
fn theirs(answer: &Value, internal: bool) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut all: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (node, said) in answer["nodes"].as_object().unwrap() {
        for announcement in said["announcements"].as_array().into_iter().flatten() {
            if ["here", "six"].contains(&announcement["peer"].as_str().unwrap()) {
                let value = if internal { announcement["localPref"].as_u64().unwrap_or(0) } else { 100 };
                let prefix = announcement["prefix"].as_str().unwrap().to_owned();
                all.entry(prefix).or_default().insert(node.clone(), value);
            }
        }
    }
    all
}

/// MetalLB refuses this because of the kind of BGP that it runs.
fn by_kind(error: &str) -> bool {
    ["native bgp mode", "native BGP mode", "FRR mode", "frr-k8s backend"]
        .iter()
        .any(|words| error.contains(words))
}

#[derive(Default, Debug)]
struct Tally {
    cases: usize,
    prefixes: usize,
    next_hops: usize,
    refused: usize,
    by_kind: usize,
    uncertain: usize,
}

#[test]
fn ours_is_metallbs_own() {
    let cases: Vec<Value> = (0..CASES).map(case).collect();
    let Some(rule) = Rule::new() else { return };
    let answers = rule.ask(&cases);
    let settings = settings::parse(SETTINGS).unwrap();
    let mut tally = Tally::default();
    let mut differences = Vec::new();
    let mut reasons: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (case, answer) in cases.iter().zip(&answers) {
        assert_eq!(case["id"], answer["id"]);
        let errors: BTreeMap<&str, &str> = answer["nodes"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(node, said)| (node.as_str(), said["error"].as_str().unwrap_or_default()))
            .filter(|(_, error)| !error.is_empty())
            .collect();
        tally.cases += 1;
        for said in answer["nodes"].as_object().unwrap().values() {
            for why in said["silent"].as_object().into_iter().flat_map(serde_json::Map::values) {
                *reasons.entry(("silent", why.as_str().unwrap().to_owned())).or_default() += 1;
            }
        }
        for error in errors.values() {
            let words = error.split_whitespace().filter(|word| word.chars().all(|c| c.is_ascii_alphabetic()));
            let text = words.take(5).collect::<Vec<_>>().join(" ");
            *reasons.entry(("refused", text)).or_default() += 1;
        }
        if errors.values().any(|error| by_kind(error)) {
            tally.by_kind += 1;
            continue;
        }
        let expectation = ours(case, &settings);
        let refused: BTreeSet<&str> = expectation
            .unsure
            .iter()
            .filter(|(_, why)| **why == Rung::ConfigurationRefused)
            .map(|(hop, _)| expectation.node_of[hop].as_str())
            .collect();
        if refused != errors.keys().copied().collect() {
            differences
                .push(format!("case {}: refused by us {refused:?}, by MetalLB {errors:?}", case["id"]));
        }
        tally.refused += refused.len();
        let is_here = |o: &&Value| o["metadata"]["name"] == "here" && o["kind"] == "BGPPeer";
        let here = case["objects"].as_array().unwrap().iter().find(is_here).unwrap();
        let internal = here["spec"]["peerASN"] == here["spec"]["myASN"];
        let native = case["type"] == "native";
        let theirs = theirs(answer, internal);
        let prefixes: BTreeSet<String> =
            expectation.vips.keys().map(ToString::to_string).chain(theirs.keys().cloned()).collect();
        for prefix in prefixes {
            let vip = expectation.vips.get(&prefix.parse().unwrap());
            let of = |hops: &mut dyn Iterator<Item = &switchlet::net::NextHop>| -> BTreeSet<String> {
                hops.map(|hop| expectation.node_of[hop].clone()).collect()
            };
            let expected = vip.map(|vip| of(&mut vip.next_hops.keys())).unwrap_or_default();
            let doubt = vip.and_then(|vip| vip.doubt.as_ref());
            let doubtful = doubt.and_then(|doubt| doubt.of.as_ref());
            let doubtful = doubtful.map(|hops| of(&mut hops.iter())).unwrap_or_default();
            // Unset counts for 0 from the native speaker, for 100 from FRR's.
            let worth = |value: &u64| if *value == 0 && !native { 100 } else { *value };
            let sent = theirs.get(&prefix).cloned().unwrap_or_default();
            let most = sent.values().map(worth).max();
            let wanted: BTreeSet<String> = sent
                .iter()
                .filter(|(_, value)| Some(worth(value)) == most)
                .map(|(node, _)| node.clone())
                .collect();
            let missing: BTreeSet<_> =
                wanted.difference(&expected).filter(|n| !doubtful.contains(*n)).collect();
            let extra: BTreeSet<_> = expected.difference(&wanted).collect();
            if !missing.is_empty() || !extra.is_empty() {
                differences.push(format!(
                    "case {} {prefix}: MetalLB {wanted:?} (of {sent:?}), we {expected:?}, in doubt {doubtful:?}, {:?}",
                    case["id"],
                    vip.map(|vip| vip.absent)
                ));
            }
            tally.prefixes += 1;
            tally.next_hops += wanted.len();
            tally.uncertain +=
                usize::from(doubt.is_some_and(|doubt| doubt.rung == Rung::AnnouncementUncertain));
        }
    }
    eprintln!("{tally:?}");
    for ((refused, text), count) in &reasons {
        eprintln!("{count:5} {refused} {text}");
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    // A matrix in which nothing happens proves nothing.
    assert!(tally.cases - tally.by_kind >= 400 && tally.next_hops >= 400, "{tally:?}");
    assert!(tally.refused >= 50 && tally.uncertain * 20 < tally.prefixes, "{tally:?}");
}
