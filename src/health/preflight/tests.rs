#![allow(clippy::disallowed_methods, reason = "reads the manifests")]

use std::collections::BTreeSet;

use serde_json::json;

use super::*;

fn manifest(name: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let documents = text.split("\n---\n").map(|document| serde_yaml::from_str(document).unwrap());
    documents.collect()
}

#[test]
fn the_rights_are_those_of_the_manifest() {
    let mut granted = BTreeSet::new();
    for object in manifest("rbac.yaml") {
        let everywhere = match (object["kind"].as_str(), object["metadata"]["name"].as_str()) {
            (Some("ClusterRole"), Some("switchlet-agent")) => true,
            (Some("Role"), Some("agent")) => false,
            _ => continue,
        };
        let list = |value: &Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        for rule in object["rules"].as_array().unwrap() {
            for group in list(&rule["apiGroups"]) {
                for resource in list(&rule["resources"]) {
                    for verb in list(&rule["verbs"]) {
                        granted.insert((group.clone(), resource.clone(), verb, everywhere));
                    }
                }
            }
        }
    }
    let asked: BTreeSet<_> = rights()
        .into_iter()
        .map(|Right { group, resource, subresource, verb, everywhere }| {
            let slash = if subresource.is_empty() { "" } else { "/" };
            (group.to_owned(), format!("{resource}{slash}{subresource}"), verb.to_owned(), everywhere)
        })
        .collect();
    assert_eq!(asked, granted);
}

#[test]
fn a_right_that_is_missing_is_named_and_one_that_was_not_asked_about_is_not_had() {
    let right = rights()[0];
    let status = rights().into_iter().find(|right| right.subresource == "status").unwrap();
    let good = permitted(&[(right, Ok(true))]);
    assert_eq!(good.stands, Stands::Ok);
    let missing = permitted(&[(right, Ok(true)), (status, Ok(false))]);
    assert_eq!((missing.stands, missing.found.as_str()), (Stands::Fail, "may not: patch nodes/status"));
    assert_eq!(permitted(&[(right, Ok(true)), (status, Err("403".into()))]).stands, Stands::CouldNotLook);
}

#[test]
fn a_crd_of_an_older_release_is_told() {
    let crd = manifest("crd.yaml").remove(0);
    let all = fields(&crd);
    let ours: Vec<&str> = all.iter().map(String::as_str).collect();
    assert!(ours.contains(&"heartbeat") && ours.contains(&"history"), "{ours:?}");
    let schema_of = |status: Value| json!({"components": {"schemas": {"io.switchlet.v1alpha1.Switch": {"properties": {"status": {"properties": status}}}}}});
    let whole = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties").unwrap();
    assert_eq!(schema(&schema_of(whole.clone()), &ours).stands, Stands::Ok);
    let mut older = whole.clone();
    older.as_object_mut().unwrap().remove("history");
    let check = schema(&schema_of(older), &ours);
    assert_eq!(
        (check.stands, check.found.as_str()),
        (Stands::Fail, "of another release: status has no history")
    );
    assert_eq!(schema(&json!({}), &ours).stands, Stands::Fail);
}

#[test]
fn metallb_before_0_16_cannot_be_stored() {
    let peer = |format: &str| {
        let number = json!({"format": format, "maximum": 4_294_967_295_u32});
        json!({"components": {"schemas": {"io.metallb.v1beta2.BGPPeer":
            {"properties": {"spec": {"properties": {"myASN": number, "peerASN": number}}}}}}})
    };
    assert_eq!(metallb(&peer("int64"), Some(36)).stands, Stands::Ok);
    assert_eq!(metallb(&peer("int32"), Some(36)).stands, Stands::Fail);
    assert_eq!(metallb(&peer("int32"), Some(35)).stands, Stands::Warn);
    assert_eq!(metallb(&peer("int32"), None).stands, Stands::Warn);
    assert_eq!(metallb(&json!({}), Some(36)).stands, Stands::CouldNotLook);
}

#[test]
fn a_clock_is_held_against_the_api_servers() {
    for (offset, stands) in [
        (0, Stands::Ok),
        (2, Stands::Ok),
        (-2, Stands::Ok),
        (3, Stands::Warn),
        (-60, Stands::Warn),
        (61, Stands::Fail),
        (-61, Stands::Fail),
    ] {
        assert_eq!(clock(offset).stands, stands, "{offset}");
    }
    assert!(clock(-90).found.starts_with("90 s behind"));
}

#[test]
fn a_setting_is_good_bad_or_unknown() {
    let setting = |name: &str| SETTINGS.iter().find(|setting| setting.name == name).unwrap();
    let stands = |name: &str, text: &str| setting(name).judge(Ok(text)).stands;
    assert_eq!(stands("net.ipv4.ip_forward", "1\n"), Stands::Ok);
    assert_eq!(stands("net.ipv4.ip_forward", "0\n"), Stands::Fail);
    assert_eq!(stands("net.ipv4.fib_multipath_hash_policy", "0"), Stands::Warn);
    assert_eq!(stands("net.ipv4.fib_multipath_hash_policy", "2"), Stands::Ok);
    assert_eq!(stands("net.ipv4.conf.all.rp_filter", "1"), Stands::Warn);
    assert_eq!(stands("net.ipv4.conf.all.rp_filter", "2"), Stands::Ok);
    assert_eq!(stands("net.ipv4.ip_forward", "x"), Stands::CouldNotLook);
    assert_eq!(setting("net.ipv4.ip_forward").judge(Err("no such file".into())).stands, Stands::CouldNotLook);
}

#[test]
fn what_must_not_run_on_a_switch_is_named() {
    let pods = |names: &[&str]| strangers(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(pods(&["switchlet/switchlet-abc12", "monitoring/node-exporter-x"]).stands, Stands::Ok);
    assert_eq!(pods(&["speaker/web"]).stands, Stands::Ok, "a namespace is no pod");
    for name in
        ["kube-system/kube-proxy-x1", "metallb-system/speaker-4xk", "kube-system/cilium-9", "x/calico-node-1"]
    {
        assert_eq!(pods(&["a/b", name]).stands, Stands::Fail, "{name}");
    }
    let taint = |key: &str, effect: &str| Taint { key: key.to_owned(), effect: effect.to_owned() };
    let stands = |taints: &[Taint]| tainted(taints, true)[1].stands;
    assert_eq!(stands(&[taint(TAINT, "NoExecute")]), Stands::Ok);
    assert_eq!(stands(&[taint(TAINT, "NoSchedule")]), Stands::Ok);
    assert_eq!(stands(&[taint(TAINT, "PreferNoSchedule")]), Stands::Warn);
    assert_eq!(stands(&[taint("other", "NoExecute")]), Stands::Warn);
    assert_eq!(tainted(&[], false)[0].stands, Stands::Fail);
}

#[test]
fn a_warning_stops_nobody_and_blindness_is_no_yes() {
    let (ok, warn) = (Check::ok("a", ""), Check::warn("b", "", ""));
    let (blind, fail) = (Check::blind("c", "", ""), Check::fail("d", "", ""));
    assert_eq!(word(&[ok.clone(), warn.clone()]), Word::Ok);
    assert_eq!(word(&[ok.clone(), warn, blind.clone()]), Word::Unknown);
    assert_eq!(word(&[ok, blind, fail]), Word::Differs);
    assert_eq!(word(&[]), Word::Unknown);
}
