use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::change::Dialect as _;
use crate::change::Known;
use crate::change::diff::Journal;
use crate::change::impact::Class;

fn text(document: &Value) -> BTreeMap<String, String> {
    BTreeMap::from([(OWNER.to_owned(), document.to_string())])
}

fn running(document: &Value) -> Running {
    Running { texts: text(document) }
}

fn rendered(document: &Value) -> Candidate {
    Candidate::rendered(text(document))
}

fn planned(from: &Value, to: &Value) -> Result<Plan, Refusal> {
    let journal = Journal::new();
    Srlinux.plan(&running(from), &rendered(to), &Known { confirmed: None, adopt: &[], journal: &journal })
}

fn commands(plan: &Plan) -> Vec<Value> {
    plan.owners
        .values()
        .flat_map(|plan| &plan.commands)
        .map(|command| serde_json::from_str(command).unwrap())
        .collect()
}

fn paths(plan: &Plan) -> Vec<String> {
    commands(plan)
        .iter()
        .map(|c| format!("{} {}", c["action"].as_str().unwrap(), c["path"].as_str().unwrap()))
        .collect()
}

/// A network instance as the fabric made it.
fn fabric() -> Value {
    json!({"network-instance": [{"name": "red", "type": "srl_nokia-network-instance:ip-vrf",
        "interface": [{"name": "irb1.1"}]}]})
}

fn bgp(neighbors: &[&str], more: &[(&str, Value)]) -> Value {
    let neighbors: Vec<Value> = neighbors
        .iter()
        .map(|peer| json!({"peer-address": peer, "peer-group": "SWITCHLET-SPEAKERS"}))
        .collect();
    let mut bgp = json!({"admin-state": "enable", "autonomous-system": 65001, "router-id": "10.0.0.1",
        "afi-safi": [{"afi-safi-name": "srl_nokia-common:ipv4-unicast", "admin-state": "enable"}],
        "group": [{"group-name": "SWITCHLET-SPEAKERS", "peer-as": 64512, "import-policy": ["SWITCHLET-IN"]}],
        "neighbor": neighbors});
    for (name, value) in more {
        bgp[*name] = value.clone();
    }
    bgp
}

fn with(bgp: &Value, prefixes: &[&str]) -> Value {
    let resilient: Vec<Value> = prefixes
        .iter()
        .map(|prefix| json!({"ip-prefix": prefix, "max-paths": 6, "hash-buckets-per-path": 4}))
        .collect();
    json!({"network-instance": [{"name": "red", "interface": [{"name": "irb1.1"}],
            "protocols": {"srl_nokia-bgp:bgp": bgp}, "ip-load-balancing": {"resilient-hash-prefix": resilient}}],
        "routing-policy": {"policy": [{"name": "SWITCHLET-IN", "default-action": {"policy-result": "reject"}}]}})
}

/// What we render: the same without the fabric's own interface.
fn wanted(bgp: &Value, prefixes: &[&str]) -> Value {
    let mut document = with(bgp, prefixes);
    document["network-instance"][0].as_object_mut().unwrap().remove("interface");
    document
}

const BGP_PATH: &str = "/network-instance[name=red]/protocols/bgp";

#[test]
fn first_contact_adds_and_never_replaces_bgp() {
    let plan = planned(&fabric(), &wanted(&bgp(&["10.1.0.1"], &[]), &["203.0.113.0/24"])).unwrap();
    assert_eq!(plan.impact().class, Class::Add);
    let paths = paths(&plan);
    for expected in [
        "replace /routing-policy/policy[name=SWITCHLET-IN]".to_owned(),
        format!("replace {BGP_PATH}/group[group-name=SWITCHLET-SPEAKERS]"),
        format!("replace {BGP_PATH}/neighbor[peer-address=10.1.0.1]"),
        format!("update {BGP_PATH}/autonomous-system"),
        format!("update {BGP_PATH}/afi-safi[afi-safi-name=ipv4-unicast]/admin-state"),
        "replace /network-instance[name=red]/ip-load-balancing/resilient-hash-prefix[ip-prefix=203.0.113.0/24]".to_owned(),
    ] {
        assert!(paths.contains(&expected), "{expected} not in {paths:#?}");
    }
    assert!(!paths.iter().any(|path| path.ends_with("/bgp") || path.ends_with("[name=red]")), "{paths:#?}");
    // Keys stand in the path, identities keep their module.
    let group = commands(&plan).into_iter().find(|c| c["path"].as_str().unwrap().contains("group[")).unwrap();
    assert_eq!(group["value"].get("group-name"), None);
}

#[test]
fn what_runs_as_wanted_needs_no_command_however_it_is_spelt() {
    let mut spelt = with(&bgp(&["10.1.0.1"], &[]), &["203.0.113.0/24"]);
    spelt["network-instance"][0]["protocols"]["srl_nokia-bgp:bgp"]["afi-safi"][0]["afi-safi-name"] =
        json!("ipv4-unicast");
    let plan = planned(&spelt, &wanted(&bgp(&["10.1.0.1"], &[]), &["203.0.113.0/24"])).unwrap();
    assert!(plan.is_empty(), "{:?}", plan.lines());
}

#[test]
fn leftovers_by_name_go_and_others_stay() {
    let foreign = json!([{"group-name": "SWITCHLET-SPEAKERS", "peer-as": 64512, "import-policy": ["SWITCHLET-IN"]},
        {"group-name": "SWITCHLET-OLD"}, {"group-name": "fabric"}]);
    let mut runs =
        with(&bgp(&["10.1.0.1", "10.1.0.2"], &[("group", foreign)]), &["203.0.113.0/24", "198.51.100.0/24"]);
    runs["network-instance"][0]["protocols"]["srl_nokia-bgp:bgp"]["neighbor"]
        .as_array_mut()
        .unwrap()
        .push(json!({"peer-address": "10.9.0.1", "peer-group": "fabric"}));
    let plan = planned(&runs, &wanted(&bgp(&["10.1.0.1"], &[]), &["203.0.113.0/24"])).unwrap();
    let mut deletes = paths(&plan);
    deletes.sort();
    assert_eq!(
        deletes,
        [
            format!("delete {BGP_PATH}/group[group-name=SWITCHLET-OLD]"),
            format!("delete {BGP_PATH}/neighbor[peer-address=10.1.0.2]"),
        ]
    );
    assert_eq!(plan.impact().class, Class::Remove);
    assert_eq!(plan.impact().gone.iter().collect::<Vec<_>>(), ["10.1.0.2"]);
}

#[test]
fn a_resilient_prefix_is_ours_if_the_confirmed_text_had_it() {
    let runs = with(&bgp(&[], &[]), &["203.0.113.0/24", "198.51.100.0/24"]);
    let (journal, confirmed) = (Journal::new(), rendered(&wanted(&bgp(&[], &[]), &["198.51.100.0/24"])));
    let known = Known { confirmed: Some(&confirmed), adopt: &[], journal: &journal };
    let plan = Srlinux.plan(&running(&runs), &rendered(&wanted(&bgp(&[], &[]), &[])), &known).unwrap();
    assert_eq!(
        paths(&plan),
        [
            "delete /network-instance[name=red]/ip-load-balancing/resilient-hash-prefix[ip-prefix=198.51.100.0/24]"
        ]
    );
}

#[test]
fn what_somebody_else_set_is_not_taken() {
    let other_as = with(&bgp(&[], &[("autonomous-system", json!(65009))]), &[]);
    let want = wanted(&bgp(&["10.1.0.1"], &[]), &[]);
    let refusal = planned(&other_as, &want).unwrap_err();
    assert_eq!(refusal.reason(), "GlobalConflict");
    assert!(refusal.to_string().contains(&format!("{BGP_PATH}/autonomous-system 65009")), "{refusal}");
    let taken = with(
        &json!({"group": [{"group-name": "fabric"}],
        "neighbor": [{"peer-address": "10.1.0.1", "peer-group": "fabric"}]}),
        &[],
    );
    assert_eq!(planned(&taken, &want).unwrap_err().reason(), "GlobalConflict");
    let journal = Journal::new();
    let adopt = [format!("{BGP_PATH}/neighbor[peer-address=10.1.0.1]")];
    let known = Known { confirmed: None, adopt: &adopt, journal: &journal };
    assert!(Srlinux.plan(&running(&taken), &rendered(&want), &known).is_ok());
    // A default that the switch tells was set by nobody.
    let default = with(&bgp(&[], &[("preference", json!({"ebgp": 170, "ibgp": 170}))]), &[]);
    let lower = wanted(&bgp(&[], &[("preference", json!({"ebgp": 169, "ibgp": 169}))]), &[]);
    assert_eq!(planned(&default, &lower).unwrap().impact().class, Class::Policy);
}

#[test]
fn rendered_text_may_not_name_what_is_not_ours() {
    let foreign = wanted(&bgp(&[], &[("group", json!([{"group-name": "metal"}]))]), &[]);
    assert!(
        matches!(planned(&fabric(), &foreign), Err(Refusal::ForeignLine { line }) if line.contains("metal"))
    );
    let single = wanted(&bgp(&[], &[("ebgp-default-policy", json!({"import-reject-all": false}))]), &[]);
    assert!(matches!(planned(&fabric(), &single), Err(Refusal::ForeignLine { .. })));
}

#[test]
fn what_it_stands_on_must_run() {
    let want = wanted(&bgp(&[], &[]), &[]);
    let why = planned(&json!({}), &want).unwrap_err().to_string();
    assert!(why.starts_with("/network-instance[name=red]: does not run"), "{why}");
    let dynamic = json!({"interface": [{"interface-name": "irb9.1", "peer-group": "SWITCHLET-SPEAKERS"}]});
    let why = planned(&fabric(), &wanted(&bgp(&[], &[("dynamic-neighbors", dynamic)]), &[])).unwrap_err();
    assert!(why.to_string().contains("subinterface irb9.1 does not run"), "{why}");
}

#[test]
fn classes_follow_what_ends() {
    let peers = ["10.1.0.1", "10.1.0.2"];
    let class = |more: &[(&str, Value)]| {
        let plan = planned(&with(&bgp(&peers, &[]), &[]), &wanted(&bgp(&peers, more), &[])).unwrap();
        (plan.impact().class, plan.impact().sessions.len())
    };
    let group = |leaf: &str, value: Value| {
        let mut group =
            json!({"group-name": "SWITCHLET-SPEAKERS", "peer-as": 64512, "import-policy": ["SWITCHLET-IN"]});
        group[leaf] = value;
        [("group", json!([group]))]
    };
    assert_eq!(class(&group("export-policy", json!(["SWITCHLET-IN"]))), (Class::Policy, 0));
    assert_eq!(class(&group("timers", json!({"hold-time": 9}))), (Class::SessionReset, 2));
    assert_eq!(class(&group("peer-as", json!(64513))), (Class::SessionReset, 2));
    assert_eq!(class(&group("frobnicate", json!(true))).0, Class::InstanceDelete);
    assert_eq!(class(&[("preference", json!({"ibgp": 169}))]), (Class::Policy, 0));
}

#[test]
fn retirement_gives_back_what_was_found() {
    let found = with(
        &json!({"preference": {"ibgp": 160}, "group": [{"group-name": "fabric"}],
        "autonomous-system": 65001, "router-id": "10.0.0.1"}),
        &[],
    );
    let adopt = [format!("{BGP_PATH}/preference/ibgp 160")];
    let journal = Journal::new();
    let known = Known { confirmed: None, adopt: &adopt, journal: &journal };
    let want = wanted(&bgp(&[], &[("preference", json!({"ibgp": 169}))]), &[]);
    let plan = Srlinux.plan(&running(&found), &rendered(&want), &known).unwrap();
    let journal: Journal =
        plan.owners.iter().map(|(owner, plan)| (owner.clone(), plan.globals.clone())).collect();
    let runs = with(
        &bgp(
            &[],
            &[
                ("preference", json!({"ibgp": 169})),
                ("group", json!([{"group-name": "fabric"}, {"group-name": "SWITCHLET-SPEAKERS"}])),
            ],
        ),
        &[],
    );
    let confirmed = rendered(&want);
    let known = Known { confirmed: Some(&confirmed), adopt: &[], journal: &journal };
    let retired = Srlinux.plan(&running(&runs), &Srlinux.nothing(), &known).unwrap();
    let back =
        commands(&retired).into_iter().find(|c| c["path"].as_str().unwrap().ends_with("ibgp")).unwrap();
    assert_eq!((back["action"].as_str(), &back["value"]), (Some("update"), &json!(160)));
    let paths = paths(&retired);
    assert!(paths.contains(&format!("delete {BGP_PATH}/group[group-name=SWITCHLET-SPEAKERS]")), "{paths:#?}");
    assert!(!paths.iter().any(|path| path.contains("autonomous-system")), "it ran before us: {paths:#?}");
}

#[test]
fn a_bgp_that_we_made_goes_whole_and_one_with_a_stranger_stays() {
    let plan = planned(&fabric(), &wanted(&bgp(&["10.1.0.1"], &[]), &[])).unwrap();
    let journal: Journal =
        plan.owners.iter().map(|(owner, plan)| (owner.clone(), plan.globals.clone())).collect();
    let confirmed = rendered(&wanted(&bgp(&["10.1.0.1"], &[]), &[]));
    let known = Known { confirmed: Some(&confirmed), adopt: &[], journal: &journal };
    let runs = with(&bgp(&["10.1.0.1"], &[]), &[]);
    let retired = paths(&Srlinux.plan(&running(&runs), &Srlinux.nothing(), &known).unwrap());
    assert!(retired.contains(&format!("delete {BGP_PATH}")), "{retired:#?}");
    assert!(!retired.iter().any(|path| path.contains(&format!("{BGP_PATH}/"))), "{retired:#?}");
    let undone = paths(&Srlinux.undo(&running(&runs), &running(&fabric()), &confirmed));
    assert!(undone.contains(&format!("delete {BGP_PATH}")), "{undone:#?}");
    let mut stranger = runs;
    stranger["network-instance"][0]["protocols"]["srl_nokia-bgp:bgp"]["group"]
        .as_array_mut()
        .unwrap()
        .push(json!({"group-name": "fabric"}));
    let kept = paths(&Srlinux.plan(&running(&stranger), &Srlinux.nothing(), &known).unwrap());
    assert!(!kept.contains(&format!("delete {BGP_PATH}")), "{kept:#?}");
}

#[test]
fn the_way_back_is_the_way_there_reversed() {
    let before = with(&bgp(&["10.1.0.1"], &[]), &["198.51.100.0/24"]);
    let want = wanted(&bgp(&["10.1.0.2"], &[("preference", json!({"ibgp": 169}))]), &["203.0.113.0/24"]);
    let mut now = with(
        &bgp(&["10.1.0.2"], &[("preference", json!({"ibgp": 169}))]),
        &["203.0.113.0/24", "198.51.100.0/24"],
    );
    let undo = Srlinux.undo(&running(&now), &running(&before), &rendered(&want));
    let mut paths = paths(&undo);
    paths.sort();
    assert_eq!(paths, [
        "delete /network-instance[name=red]/ip-load-balancing/resilient-hash-prefix[ip-prefix=203.0.113.0/24]".to_owned(),
        format!("delete {BGP_PATH}/neighbor[peer-address=10.1.0.2]"),
        format!("delete {BGP_PATH}/preference/ibgp"),
        format!("replace {BGP_PATH}/neighbor[peer-address=10.1.0.1]"),
    ]);
    now = before.clone();
    assert!(Srlinux.undo(&running(&now), &running(&before), &rendered(&want)).is_empty());
}

#[test]
fn a_document_that_cannot_be_read_says_where() {
    for (document, path) in [
        (json!({"network-instance": [{"type": "ip-vrf"}]}), "/network-instance: an entry has no name"),
        (json!({"frobs": [{"name": "x"}]}), "/frobs: is a list that is not known here"),
        (json!([1]), "/: is no JSON object"),
    ] {
        let why = planned(&fabric(), &document).unwrap_err().to_string();
        assert!(why.starts_with(path), "{why}");
    }
    let twice = wanted(&bgp(&["10.1.0.1", "10.1.0.1"], &[]), &[]);
    let why = planned(&fabric(), &twice).unwrap_err().to_string();
    assert!(why.contains("neighbor[peer-address=10.1.0.1]: stands there twice"), "{why}");
    // With its module and without: one of them would be lost when it is written.
    let spelt =
        r#"{"srl_nokia-routing-policy:routing-policy": {}, "routing-policy": {"policy": [{"name": "a"}]}}"#;
    let why = tree::leaves(&serde_json::from_str(spelt).unwrap()).unwrap_err().to_string();
    assert_eq!(why, "/routing-policy: stands there twice");
}

#[test]
fn the_order_of_statements_counts() {
    let policy = |order: [&str; 2]| {
        let statements: Vec<Value> =
            order.iter().map(|name| json!({"name": name, "action": {"policy-result": "accept"}})).collect();
        let mut document = wanted(&bgp(&[], &[]), &[]);
        document["routing-policy"]["policy"][0]["statement"] = json!(statements);
        document
    };
    let mut runs = policy(["10", "20"]);
    runs["network-instance"][0]["interface"] = json!([{"name": "irb1.1"}]);
    assert!(planned(&runs, &policy(["10", "20"])).unwrap().is_empty());
    let swapped = planned(&runs, &policy(["20", "10"])).unwrap();
    assert_eq!(paths(&swapped), ["replace /routing-policy/policy[name=SWITCHLET-IN]"]);
}

#[test]
fn rules_beyond_the_model_name_path_and_expectation() {
    use crate::change::dialect::srlinux::release::platform;
    let check = |document: &Value, chassis: &str| {
        rules::check(document, &platform("v25.3.1", chassis)).map_err(|why| why.to_string())
    };
    let resilient = |prefix: &str, paths: u32, buckets: u32| {
        json!({"network-instance": [{"name": "red", "ip-load-balancing": {"resilient-hash-prefix": [
            {"ip-prefix": prefix, "max-paths": paths, "hash-buckets-per-path": buckets}]}}]})
    };
    let d2 = "7220 IXR-D2L";
    assert_eq!(check(&resilient("203.0.113.0/24", 6, 4), d2), Ok(()));
    assert_eq!(check(&resilient("203.0.113.0/24", 32, 4), d2), Ok(()), "128 is allowed");
    for (document, chassis, expected) in [
        (resilient("203.0.113.1/24", 6, 4), d2, "did you mean `203.0.113.0/24`"),
        (resilient("203.0.113.0/24", 64, 32), d2, "more than the 128 buckets of 7220 IXR-D2L"),
        (resilient("203.0.113.0/24", 65, 1), d2, "max-paths 65 is out of range"),
        (resilient("203.0.113.0/24", 33, 4), d2, "more than the 128 buckets"),
        (
            json!({"routing-policy": {"prefix-set": [{"name": "x", "prefix": [
            {"ip-prefix": "203.0.113.1/24", "mask-length-range": "32..32"}]}]}}),
            d2,
            "host bits",
        ),
    ] {
        let why = check(&document, chassis).unwrap_err();
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn lints_ask_what_an_engineer_would() {
    let rules = |document: &Value| -> Vec<&str> {
        let mut rules: Vec<&str> =
            lint::lint(&document.to_string()).iter().map(|lint| lint.rule.name()).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    };
    let lab = json!({"network-instance": [{"name": "red", "protocols": {"bgp": {"autonomous-system": 65535,
            "router-id": "192.168.1.1", "group": [{"group-name": "metal", "peer-as": 65535, "import-policy": ["all"]}],
            "neighbor": [{"peer-address": "192.168.1.11", "peer-group": "metal"},
                {"peer-address": "192.168.1.12", "peer-group": "metal"}]}}}],
        "routing-policy": {"policy": [{"name": "all", "statement": [{"name": "1", "action": {"policy-result": "accept"}}]}]},
        "interface": [{"name": "irb1", "subinterface": [{"index": 1, "ipv4": {"address": [
            {"ip-prefix": "192.168.1.1/24", "anycast-gw": true}]}}]}]});
    assert_eq!(rules(&lab), ["AcceptsAll", "MultipathMissing", "ReservedAsn", "RouterIdShared"]);
    let session = |bgp: &Value, group: &Value, neighbor: &Value| {
        let mut all = json!({"network-instance": [{"name": "red", "protocols": {"bgp": {"autonomous-system": 65001,
            "group": [{"group-name": "g"}], "neighbor": [{"peer-address": "10.1.0.1", "peer-group": "g"}]}}}],
            "routing-policy": {"policy": [{"name": "p", "default-action": {"policy-result": "reject"}}]}});
        let own = &mut all["network-instance"][0]["protocols"]["bgp"];
        for (said, more) in [(&["group"][..], group), (&["neighbor"], neighbor), (&[], bgp)] {
            let place = match said.first() {
                Some(list) => &mut own[*list][0],
                None => &mut *own,
            };
            place.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        all
    };
    let both = json!({"import-policy": ["p"], "export-policy": ["p"]});
    let family = json!({"afi-safi": [{"afi-safi-name": "ipv4-unicast", "import-policy": ["p"], "export-policy": ["p"]}]});
    let (none, open) =
        (json!({}), json!({"ebgp-default-policy": {"import-reject-all": false, "export-reject-all": false}}));
    for (bgp, group, neighbor, expected) in [
        (&none, &json!({"peer-as": 65002}), &none, &["PolicyMissing"][..]),
        (&none, &json!({"peer-as": 65001}), &none, &[]),
        (&none, &json!({"peer-as": 65001}), &json!({"peer-as": 65002}), &["PolicyMissing"]),
        (&none, &json!({"peer-as": 65002}), &json!({"peer-as": 65001}), &[]),
        (&none, &none, &json!({"peer-as": 23456}), &["PolicyMissing", "ReservedAsn"]),
        (&both, &json!({"peer-as": 65002}), &none, &[]),
        (&none, &both, &json!({"peer-as": 65002}), &[]),
        (&none, &json!({"peer-as": 65002}), &both, &[]),
        (&family, &json!({"peer-as": 65002}), &none, &[]),
        (&none, &json!({"peer-as": 65002}), &family, &[]),
        (&open, &json!({"peer-as": 65002}), &none, &["AcceptsAll"]),
        (&open, &json!({"peer-as": 65002, "import-policy": ["p"]}), &none, &[]),
    ] {
        assert_eq!(rules(&session(bgp, group, neighbor)), expected, "{bgp} {group} {neighbor}");
    }
    let several = |peer_as: u32, multipath: &Value| {
        let neighbors = [1, 2].map(|n| json!({"peer-address": format!("10.1.0.{n}"), "peer-group": "g"}));
        let mut all = session(&both, &json!({"peer-as": peer_as}), &none);
        let own = &mut all["network-instance"][0]["protocols"]["bgp"];
        own["neighbor"] = json!(neighbors);
        own["afi-safi"] = json!([{"afi-safi-name": "ipv4-unicast", "multipath": multipath}]);
        rules(&all)
    };
    let (inner, outer) = (json!({"ibgp": {"maximum-paths": 8}}), json!({"ebgp": {"maximum-paths": 8}}));
    for (peer_as, multipath, expected) in [
        (65001, &inner, &[][..]),
        (65001, &outer, &["MultipathMissing"]),
        (65002, &inner, &["MultipathMissing"]),
        (65002, &outer, &[]),
        (65002, &json!({"maximum-paths": 8}), &[]),
        (65001, &json!({"max-paths-level-1": 8}), &[]),
        (65001, &none, &["MultipathMissing"]),
    ] {
        assert_eq!(several(peer_as, multipath), expected, "{peer_as} {multipath}");
    }
    let wide = |prefix: &str, range: &str| {
        let mut all =
            session(&none, &json!({"peer-as": 65002, "import-policy": ["w"], "export-policy": ["p"]}), &none);
        all["routing-policy"] = json!({"prefix-set": [{"name": "s", "prefix": [{"ip-prefix": prefix, "mask-length-range": range}]}],
            "policy": [{"name": "w", "statement": [{"name": "1", "match": {"prefix": {"prefix-set": "s"}}, "action": {"policy-result": "accept"}}]}]});
        rules(&all).len()
    };
    assert_eq!(
        [wide("0.0.0.0/0", "0..32"), wide("0.0.0.0/0", "exact"), wide("203.0.113.0/24", "32..32")],
        [1, 0, 0]
    );
    assert_eq!(
        rules(&wanted(
            &bgp(
                &["10.1.0.1"],
                &[(
                    "group",
                    json!([{"group-name": "SWITCHLET-SPEAKERS",
        "peer-as": 64512, "import-policy": ["SWITCHLET-IN"], "export-policy": ["SWITCHLET-IN"]}])
                )]
            ),
            &[]
        )),
        Vec::<&str>::new()
    );
}

/// Carries out commands on a document, as the model says: a second hand, for the property below.
fn carried_out(document: &Value, commands: &[Value]) -> Leaves {
    let mut leaves = tree::leaves(document).unwrap();
    let all = |leaves: &Leaves, shown: &str| -> Vec<Path> {
        let within = |path: &&Path| {
            let whole = show(path);
            whole == shown || whole.starts_with(&format!("{shown}/"))
        };
        leaves.keys().filter(within).cloned().collect()
    };
    let parse = |shown: &str, value: &Value| -> Leaves {
        let mut path = Path::new();
        let mut rest = shown.trim_start_matches('/');
        while !rest.is_empty() {
            let end = rest.find(['/', '[']).unwrap_or(rest.len());
            let (name, mut tail) = rest.split_at(end);
            let mut keys = Vec::new();
            while let Some(inner) = tail.strip_prefix('[') {
                let (key, after) = inner.split_once(']').unwrap();
                let (name, value) = key.split_once('=').unwrap();
                keys.push((name.to_owned().into(), value.to_owned()));
                tail = after;
            }
            path.push(tree::Step { name: name.to_owned().into(), keys }.into());
            rest = tail.trim_start_matches('/');
        }
        tree::leaves_at(&path, value).unwrap()
    };
    for command in commands {
        let shown = command["path"].as_str().unwrap();
        if command["action"] != "update" {
            for path in all(&leaves, shown) {
                leaves.remove(&path);
            }
        }
        if command["action"] != "delete" {
            leaves.extend(parse(shown, &command["value"]));
        }
    }
    leaves
}

fn document() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Option<u8>, bool)> {
    let some =
        || proptest::collection::btree_set(1_u8..6, 0..4).prop_map(|set| set.into_iter().collect::<Vec<_>>());
    (some(), some(), proptest::option::of(160_u8..170), any::<bool>())
}

fn built((neighbors, prefixes, preference, timers): &(Vec<u8>, Vec<u8>, Option<u8>, bool)) -> Value {
    let neighbors: Vec<String> = neighbors.iter().map(|n| format!("10.1.0.{n}")).collect();
    let prefixes: Vec<String> = prefixes.iter().map(|n| format!("203.0.{n}.0/24")).collect();
    let mut more = Vec::new();
    if let Some(preference) = preference {
        more.push(("preference", json!({"ibgp": preference})));
    }
    if *timers {
        more.push(("group", json!([{"group-name": "SWITCHLET-SPEAKERS", "timers": {"hold-time": 9}}])));
    }
    let neighbors: Vec<&str> = neighbors.iter().map(String::as_str).collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    wanted(&bgp(&neighbors, &more), &prefixes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Applying the difference yields the desired state, doing it twice is doing it once, and the way back leads back.
    #[test]
    fn commands_lead_there_and_back(from in document(), to in document()) {
        let (before, target) = (built(&from), built(&to));
        let (journal, confirmed) = (Journal::new(), rendered(&before));
        let known = Known { confirmed: Some(&confirmed), adopt: &[], journal: &journal };
        // What was confirmed and is wanted no longer is remembered by its journal, which is empty here.
        let plan = Srlinux.plan(&running(&before), &rendered(&target), &known).unwrap();
        let there = carried_out(&before, &commands(&plan));
        for (path, value) in tree::leaves(&target).unwrap() {
            prop_assert_eq!(there.get(&path).map(tree::word), Some(tree::word(&value)), "{}", show(&path));
        }
        let target_units = units(&tree::leaves(&target).unwrap());
        for path in units(&there).keys() {
            prop_assert!(target_units.contains_key(path), "{} is left", show(path));
        }
        let undo = Srlinux.undo(&running(&target), &running(&before), &rendered(&target));
        let back = carried_out(&target, &commands(&undo));
        let lines = |leaves: &Leaves| leaves.iter().filter(|(_, value)| !value.is_object())
            .map(|(path, value)| tree::line(path, value)).collect::<Vec<_>>();
        prop_assert_eq!(lines(&back), lines(&tree::leaves(&before).unwrap()));
    }
}

#[test]
fn values_are_the_same_that_people_read_as_the_same() {
    let values = [
        json!("srl_nokia-common:ipv4-unicast"),
        json!("ipv4-unicast"),
        json!("5"),
        json!(5),
        json!(true),
        json!("true"),
        json!([]),
        json!(["srl_nokia-bgp:a", "b"]),
        json!(["a", "b"]),
        json!("[a b]"),
        json!({}),
        json!(null),
    ];
    for (one, other) in values.iter().flat_map(|one| values.iter().map(move |other| (one, other))) {
        assert_eq!(tree::same(one, other), tree::word(one) == tree::word(other), "{one} {other}");
    }
}

#[test]
fn a_document_has_one_form() {
    let spelt = json!({"b": {"srl_nokia-x:z": [], "a": {"c": {}}}, "srl_nokia-x:a": [{"k": 1, "e": []}, {}], "d": {"x": 1, "m": "v"}});
    assert_eq!(
        write(&spelt),
        "{\n  \"a\": [\n    {\n      \"k\": 1\n    },\n    {}\n  ],\n  \"d\": {\n    \"m\": \"v\",\n    \"x\": 1\n  }\n}\n"
    );
}
