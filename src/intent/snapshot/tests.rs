use super::objects::*;
use super::*;
use crate::intent::yaml;

fn endpoints(text: &str) -> SliceFacts {
    let endpoints: Vec<Endpoint> = yaml::parse("t", text).unwrap();
    let labels = BTreeMap::from([("kubernetes.io/service-name".to_owned(), "web".to_owned())]);
    slice(&Meta { name: "web-x".into(), labels, ..Meta::default() }, &endpoints).unwrap()
}

/// The cases measured against MetalLB's own speakers.
#[test]
fn an_endpoint_counts_as_for_metallb() {
    for (conditions, counts) in [
        ("{ready: false, serving: true, terminating: true}", true),
        ("{ready: false, serving: false}", false),
        ("{ready: false}", false),
        ("{}", true),
        ("{serving: false}", true),
        ("{ready: true, serving: false}", true),
    ] {
        let facts =
            endpoints(&format!("[{{addresses: [10.0.0.1], nodeName: n2, conditions: {conditions}}}]"));
        assert_eq!(facts.any, counts, "{conditions}");
        assert_eq!(facts.nodes.contains("n2"), counts, "{conditions}");
    }
    assert!(!endpoints("[{addresses: [], nodeName: n1}]").any, "no address");
    let nodeless = endpoints("[{addresses: [10.0.0.1]}]");
    assert!(nodeless.any && nodeless.nodes.is_empty());
}

#[test]
fn a_service_that_makes_no_sense_is_an_issue_with_its_name() {
    let meta = Meta { name: "web".into(), namespace: Some("shop".into()), ..Meta::default() };
    let spec = ServiceSpec { r#type: Some("LoadBalancer".into()), ..ServiceSpec::default() };
    let status: ServiceStatus = yaml::parse("t", "loadBalancer: {ingress: [{ip: 1.2.3}]}").unwrap();
    let issue = service(&meta, &spec, &status).unwrap_err();
    assert_eq!((issue.object.as_str(), issue.reason), ("Service shop/web", "InvalidObject"));
    assert!(issue.message.contains("1.2.3"), "{}", issue.message);
    let plain = service(&meta, &ServiceSpec::default(), &status).unwrap();
    assert_eq!(plain, None, "a ClusterIP Service is none of ours, whatever its status says");
}

#[test]
fn the_hash_of_a_bundle_depends_on_keys_and_texts_and_their_borders() {
    let bundle = |pairs: &[(&str, &str)]| Bundle {
        texts: pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect(),
    };
    assert_eq!(bundle(&[("a", "b")]).hash().len(), 12);
    assert_ne!(bundle(&[("a", "bc")]).hash(), bundle(&[("ab", "c")]).hash());
    assert_eq!(bundle(&[("a", "1"), ("b", "2")]).hash(), bundle(&[("b", "2"), ("a", "1")]).hash());
}

#[test]
fn a_list_that_is_empty_all_at_once_is_known_from_one_that_was_never_filled() {
    let meta = |name: &str| Meta { name: name.into(), namespace: Some("shop".into()), ..Meta::default() };
    let node = |name: &str| Arc::new(node(&meta(name), &NodeStatus::default()).0);
    let spec = ServiceSpec { r#type: Some("LoadBalancer".into()), ..ServiceSpec::default() };
    let service = Arc::new(service(&meta("web"), &spec, &ServiceStatus::default()).unwrap().unwrap());
    let full = ClusterFacts {
        services: vec![service],
        slices: vec![Arc::new(endpoints("[{addresses: [10.0.0.1]}]"))],
        nodes: vec![node("n1"), node("n2")],
        ..ClusterFacts::default()
    };
    let fewer = ClusterFacts { nodes: vec![node("n1")], ..full.clone() };
    assert!(!fewer.are_emptied(&full) && !full.are_emptied(&full));
    for emptied in [
        ClusterFacts::default(),
        ClusterFacts { nodes: Vec::new(), ..full.clone() },
        ClusterFacts { services: Vec::new(), ..full.clone() },
        ClusterFacts { slices: Vec::new(), ..full.clone() },
    ] {
        assert!(emptied.are_emptied(&full), "{emptied:?}");
        assert!(!full.are_emptied(&emptied) && !emptied.are_emptied(&emptied));
    }
}
