use super::*;

const GOOD: &str = "\
version: 1
asn: 65001
routerId: 10.0.0.1
vips:
  pools: [203.0.113.0/24, 1.1.1.100-1.1.1.200]
  protected: [203.0.113.0/28]
peering:
  peerAsn: external
  nodes:
    selector: {matchLabels: {rack: r1}}
    subnets: [192.168.1.0/24]
    static: [{node: worker-1, address: 192.168.1.11}, {node: worker-2, interface: swp7}]
    removeAfter: 10m
  timers: {hold: 9s, keepalive: 3s}
  bfd: {interval: 300ms, multiplier: 3}
  maxPrefixes: 100
  passwordFile: speakers
ecmp: {maxPaths: 64}
resilientHash: {prefixes: pools, maxPaths: 6, bucketsPerPath: 4}
remote:
  - {switch: leaf2, nextHop: 10.0.1.2, nodes: {matchLabels: {rack: r2}}}
verify: {convergence: 20s}
vars: {anything: [1, {deep: yes}]}
";

fn mistake(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// GOOD with one piece replaced; the piece must be there.
fn with(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    GOOD.replace(old, new)
}

#[test]
fn the_documented_example_is_read_whole() {
    let settings = parse(GOOD).unwrap();
    assert_eq!(settings.asn, Asn(65001));
    assert_eq!(settings.network_instance, "default");
    assert_eq!(settings.peering.timers.hold.to_string(), "9s");
    assert_eq!(settings.peering.nodes.listed[1].next_hop().unwrap().to_string(), "%swp7");
    assert!(settings.admits("203.0.113.16/32".parse().unwrap()));
    assert!(!settings.admits("203.0.113.1/32".parse().unwrap()), "protected");
    assert!(!settings.admits("1.1.1.201/32".parse().unwrap()), "past the range");
    let again: SwitchSettings = parse(&serde_json::to_string(&settings).unwrap()).unwrap();
    assert_eq!(again, settings);
}

#[test]
fn a_mistake_names_place_field_and_expectation() {
    for (text, expected) in [
        (
            with("removeAfter", "removAfter"),
            "switch.yaml:13:5: peering.nodes.removAfter: unknown key `removAfter` (did you mean `removeAfter`?)",
        ),
        (
            with("asn: 65001", "asn: 0"),
            "switch.yaml:2:6: asn: AS number 0 is out of range (expected 1 to 4294967295)",
        ),
        (
            with("hold: 9s", "hold: 9"),
            "switch.yaml:14:18: peering.timers.hold: `9` is not a duration (expected a number with unit, such as 300ms, 9s, 10m, 2h)",
        ),
        (
            with("keepalive: 3s", "keepalive: 4s"),
            "switch.yaml:14:33: peering.timers.keepalive: 4s is not a whole number of seconds, at most a third of hold (9s)",
        ),
        (
            with("192.168.1.11}", "192.168.9.11}"),
            "switch.yaml:12:40: peering.nodes.static[0].address: 192.168.9.11 of node worker-1 is outside peering.nodes.subnets",
        ),
        (
            with("1.1.1.100-1.1.1.200", "1.1.1.200-1.1.1.100"),
            "switch.yaml:5:27: vips.pools[1]: range `1.1.1.200-1.1.1.100` is reversed (did you mean `1.1.1.100-1.1.1.200`?)",
        ),
        (with("version: 1", "version: 2"), "switch.yaml:1:10: version: version 2 is not known (expected 1)"),
        (
            with("interface: swp7", "address: 192.168.1.11"),
            "switch.yaml:12:81: peering.nodes.static[1].address: 192.168.1.11 is already the address of node worker-1 (static[0])",
        ),
        (
            with("[1, {deep: yes}]", "[1, {deep: null}]"),
            "switch.yaml:23:29: vars.anything[1].deep: is null (expected a value: templates cannot print a null)",
        ),
    ] {
        assert_eq!(mistake(&text), expected);
    }
}

#[test]
fn uplinks_and_communities_are_checked_where_they_stand() {
    let wrong = |lines: &str, expected: &str| {
        assert_eq!(mistake(&format!("{GOOD}{lines}\n")), format!("switch.yaml:24:{expected}"));
    };
    wrong(
        "communities: {match: [no-exprt]}",
        "23: communities.match[0]: `no-exprt` is not a community (did you mean `no-export`?)",
    );
    wrong(
        "communities: {add: [\"65001:1\", \"65536:1\"]}",
        "32: communities.add[1]: `65536` in community `65536:1` is not a number from 0 to 65535",
    );
    wrong(
        "communities: {add: [\"1:2:4294967296\"]}",
        "21: communities.add[0]: `4294967296` in community `1:2:4294967296` is not a number from 0 to 4294967295",
    );
    wrong(
        "communities: {match: [\"0:0\"]}",
        "23: communities.match[0]: community `0:0` is `internet`, which matches everything (expected another one)",
    );
    wrong("uplinks: [{neighbor: 10.0.12.1}]", "12: uplinks[0]: missing field `peerAsn`");
    wrong(
        "uplinks: [{neighbor: 10.0.12.1, peerAsn: 65100}, {neighbor: 10.0.12.1, peerAsn: 65100}]",
        "61: uplinks[1].neighbor: 10.0.12.1 is already uplinks[0]",
    );
    wrong(
        "uplinks: [{neighbor: 192.168.1.7, peerAsn: 65100}]",
        "22: uplinks[0].neighbor: 192.168.1.7 is inside peering.nodes.subnets (expected a router, not a node)",
    );
    wrong(
        "uplinks: [{neighbor: swp7, peerAsn: 65100}]",
        "22: uplinks[0].neighbor: swp7 is already the interface of node worker-2",
    );
    wrong(
        "uplinks: [{neighbor: \"swp 1\", peerAsn: 65100}]",
        "22: uplinks[0].neighbor: `swp 1` is neither an address nor an interface name",
    );
    wrong(
        "uplinks: [{neighbor: swp8, peerAsn: 65100}, {neighbor: swp9, peerAsn: 65001}]",
        "71: uplinks[1].peerAsn: internal and external uplinks cannot share a peer-group (expected all of one kind)",
    );
    let community = |text: &str| text.parse::<Community>().map(|community| community.to_string());
    assert_eq!(community("65535:65281").as_deref(), Ok("no-export"), "as FRR gives it back");
    assert_eq!(community("4294967295:0:1").as_deref(), Ok("4294967295:0:1"));
    for bad in ["", ":", "1", "1:2:3:4", "+1:2", "1: 2", "internet", "-1:5"] {
        assert!(community(bad).is_err(), "{bad}");
    }
}

#[test]
fn duplicate_keys_are_refused_with_their_place() {
    let text = with("ecmp: {maxPaths: 64}", "asn: 65002");
    let mistake = parse(&text).unwrap_err();
    assert_eq!(mistake.at, Some((18, 1)), "{mistake}");
    assert!(mistake.problem.contains("duplicate") && mistake.problem.contains("asn"), "{mistake}");
}

#[test]
fn nobody_is_not_everybody() {
    let text = "version: 1\nasn: 1\nvips: {pools: [1.0.0.0/24]}\npeering: {peerAsn: external, nodes: {subnets: [10.0.0.0/8]}}\n";
    assert!(mistake(text).contains("peering.nodes: names nobody"), "{}", mistake(text));
    let text = "version: 1\nasn: 1\nvips: {pools: [1.0.0.0/24]}\npeering: {peerAsn: external}\n";
    assert!(mistake(text).contains("nodes"), "{}", mistake(text));
}

#[test]
fn durations_keep_their_unit() {
    for text in ["300ms", "9s", "10m", "2h", "0s"] {
        assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
    }
    assert_eq!("90s".parse::<Span>().unwrap().to_string(), "90s");
    for bad in ["9", "s", "9 s", "-1s", "1d", "18446744073709551615h"] {
        assert!(bad.parse::<Span>().is_err(), "{bad}");
    }
}

#[test]
fn selectors_follow_kubernetes() {
    let labels = BTreeMap::from([("rack".to_owned(), "r1".to_owned())]);
    let selector = |text: &str| yaml::parse::<LabelSelector>("t", text).unwrap();
    assert!(selector("{}").selects(&labels));
    assert!(selector("matchLabels: {rack: r1}").selects(&labels));
    assert!(!selector("matchLabels: {rack: r2}").selects(&labels));
    assert!(selector("matchExpressions: [{key: rack, operator: In, values: [r1, r2]}]").selects(&labels));
    assert!(!selector("matchExpressions: [{key: rack, operator: NotIn, values: [r1]}]").selects(&labels));
    assert!(selector("matchExpressions: [{key: zone, operator: NotIn, values: [r1]}]").selects(&labels));
    assert!(selector("matchExpressions: [{key: zone, operator: DoesNotExist}]").selects(&labels));
    assert!(!selector("matchExpressions: [{key: zone, operator: Exists}]").selects(&labels));
}

#[test]
fn the_schema_describes_every_key_of_the_example() {
    let schema = schema();
    for key in ["asn", "routerId", "vips", "peering", "ecmp", "resilientHash", "remote", "verify", "vars"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
}
