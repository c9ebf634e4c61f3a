use super::*;
use crate::intent::snapshot::ObjectName;

const VIP: &str = "203.0.113.20";

fn service(policy: TrafficPolicy) -> ServiceFacts {
    ServiceFacts {
        name: ObjectName { namespace: "shop".into(), name: "web".into() },
        uid: String::new(),
        class: None,
        policy,
        labels: BTreeMap::from([("tier".to_owned(), "front".to_owned())]),
        addresses: BTreeSet::new(),
        has_nameless: false,
    }
}

fn node(name: &str) -> NodeFacts {
    NodeFacts {
        name: name.to_owned(),
        labels: BTreeMap::from([("rack".to_owned(), "r1".to_owned())]),
        annotations: BTreeMap::new(),
        internal: Vec::new(),
        external: Vec::new(),
        network_unavailable: false,
    }
}

fn excluded(mut node: NodeFacts, value: &str) -> NodeFacts {
    node.labels.insert("node.kubernetes.io/exclude-from-external-load-balancers".into(), value.into());
    node
}

fn unavailable(mut node: NodeFacts) -> NodeFacts {
    node.network_unavailable = true;
    node
}

fn endpoints_on(nodes: &[&str]) -> Endpoints {
    Endpoints { nodes: nodes.iter().map(|node| (*node).to_owned()).collect(), any: !nodes.is_empty() }
}

fn selector(key: &str, value: &str) -> LabelSelector {
    LabelSelector { match_labels: BTreeMap::from([(key.into(), value.into())]), ..LabelSelector::default() }
}

/// Announcing and silent nodes of the plain announcement, as `w1 w2 / w3 NoEndpoints`.
fn said(service: &ServiceFacts, endpoints: &Endpoints, nodes: &[NodeFacts]) -> String {
    let candidates: Vec<Candidate> =
        nodes.iter().map(|facts| Candidate { name: &facts.name, facts: Some(facts) }).collect();
    let plain = Scheme::plain();
    let all = Rule::new(&candidates, &plain).announcers(service, VIP.parse().unwrap(), endpoints);
    assert_eq!(all.len(), 1);
    let Announcers { nodes, silent, unsure, mixed } = &*all[&VIP.parse::<Prefix>().unwrap()];
    assert!(unsure.is_empty() && mixed.is_empty());
    let mut words: Vec<String> = nodes.keys().map(|&node| node.to_owned()).collect();
    words.extend(silent.iter().map(|(node, rung)| format!("/{node} {rung:?}")));
    words.join(" ")
}

#[test]
fn local_needs_an_endpoint_here_and_cluster_one_anywhere() {
    use TrafficPolicy::{Cluster, Local};
    let nodes = [node("w1"), node("w2")];
    for (policy, endpoints, expected) in [
        (Local, endpoints_on(&["w1"]), "w1 /w2 NoEndpoints"),
        (Local, endpoints_on(&[]), "/w1 NoEndpoints /w2 NoEndpoints"),
        (Local, Endpoints { any: true, ..Endpoints::default() }, "/w1 NoEndpoints /w2 NoEndpoints"),
        (Cluster, endpoints_on(&["w1"]), "w1 w2"),
        (Cluster, endpoints_on(&["elsewhere"]), "w1 w2"),
        (Cluster, Endpoints { any: true, ..Endpoints::default() }, "w1 w2"),
        (Cluster, endpoints_on(&[]), "/w1 NoEndpoints /w2 NoEndpoints"),
    ] {
        assert_eq!(said(&service(policy), &endpoints, &nodes), expected, "{policy:?} {endpoints:?}");
    }
}

#[test]
fn a_node_is_silent_by_its_state_if_it_would_announce_otherwise() {
    let local = service(TrafficPolicy::Local);
    for (facts, with_endpoint) in [
        (excluded(node("w1"), ""), "/w1 NodeExcluded"),
        (excluded(node("w1"), "true"), "/w1 NodeExcluded"),
        (excluded(node("w1"), "false"), "/w1 NodeExcluded"),
        (unavailable(node("w1")), "/w1 NodeNetworkUnavailable"),
        (unavailable(excluded(node("w1"), "")), "/w1 NodeNetworkUnavailable"),
    ] {
        assert_eq!(said(&local, &endpoints_on(&["w1"]), std::slice::from_ref(&facts)), with_endpoint);
        assert_eq!(said(&local, &endpoints_on(&["w2"]), &[facts]), "/w1 NoEndpoints");
    }
}

#[test]
fn a_name_without_a_node_can_announce() {
    let ghost = [Candidate { name: "ghost", facts: None }];
    let plain = Scheme::plain();
    let of = |policy, endpoints| {
        let mut rule = Rule::new(&ghost, &plain);
        let all = rule.announcers(&service(policy), VIP.parse().unwrap(), &endpoints);
        !all.values().next().unwrap().nodes.is_empty()
    };
    assert!(of(TrafficPolicy::Cluster, endpoints_on(&["w1"])));
    assert!(of(TrafficPolicy::Local, endpoints_on(&["ghost"])));
    assert!(!of(TrafficPolicy::Local, endpoints_on(&["w1"])));
}

#[test]
fn an_advertisement_picks_nodes_services_and_the_length_of_the_prefix() {
    let nodes = [node("w1"), node("w2")];
    let candidates: Vec<Candidate> =
        nodes.iter().map(|facts| Candidate { name: &facts.name, facts: Some(facts) }).collect();
    let with = |advertisements: &[Advertisement], address: &str| -> Vec<String> {
        let service = service(TrafficPolicy::Cluster);
        let scheme = Scheme { advertisements: advertisements.to_vec(), ..Scheme::default() };
        Rule::new(&candidates, &scheme)
            .announcers(&service, address.parse().unwrap(), &endpoints_on(&["w1"]))
            .iter()
            .map(|(prefix, by)| format!("{prefix} {}", by.nodes.len()))
            .collect()
    };
    let plain = Advertisement::plain;
    assert_eq!(with(&[], VIP), Vec::<String>::new(), "no advertisement, nothing to judge");
    assert_eq!(
        with(&[Advertisement { services: vec![selector("tier", "back")], ..plain() }], VIP),
        Vec::<String>::new()
    );
    assert_eq!(
        with(
            &[Advertisement {
                services: vec![selector("tier", "back"), selector("tier", "front")],
                ..plain()
            }],
            VIP
        ),
        ["203.0.113.20/32 2"],
        "one of several selectors is enough"
    );
    assert_eq!(
        with(&[Advertisement { nodes: vec![selector("rack", "r2")], ..plain() }], VIP),
        ["203.0.113.20/32 0"],
        "it matches the Service, so the prefix must be absent"
    );
    let aggregate = Advertisement { length_v4: 28, length_v6: 64, ..plain() };
    assert_eq!(with(std::slice::from_ref(&aggregate), VIP), ["203.0.113.16/28 2"]);
    assert_eq!(with(std::slice::from_ref(&aggregate), "2001:db8::20"), ["2001:db8::/64 2"]);
    assert_eq!(with(&[aggregate, plain()], VIP), ["203.0.113.16/28 2", "203.0.113.20/32 2"]);
}
