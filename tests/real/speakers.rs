//! The agent beside MetalLB itself: its controller gives a Service an address, its speakers announce it, and what the agent
//! expects follows MetalLB's objects. Each step is set against the leaf's kernel, read by `ip`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::switchlet;
use crate::lab::{Agent, Api, Lab, wait_for};
use crate::metallb::{Crds, Kind, Metallb, advertise, balancer, crds, vip as address_of};
use crate::release::Release;

const SOON: Duration = Duration::from_secs(90);
const POOL: &str = "203.0.113.64/26";

/// The hops of leaf1's kernel.
fn kernel(lab: &Lab, prefix: &str) -> Vec<String> {
    lab.kernel("leaf1", prefix).unwrap_or_default()
}

fn servers(of: &[u32]) -> Vec<String> {
    of.iter().map(|server| format!("192.168.1.{}", 9 + 2 * server)).collect()
}

/// One VIP as the agent of leaf1 sees it.
fn vip(lab: &Lab, prefix: &str) -> Value {
    let verdict = lab.verdict("leaf1");
    let vips = verdict["vips"].as_array().cloned().unwrap_or_default();
    vips.into_iter().find(|vip| vip["prefix"] == prefix).unwrap_or(verdict)
}

/// The agent says `state` and `rung` of the VIP, expects these servers, and the kernel has those.
fn says(lab: &Lab, prefix: &str, (state, rung): (&str, Option<&str>), expected: &[u32], has: &[u32]) {
    let mut seen = Value::Null;
    wait_for(&format!("{prefix}: {state} {rung:?}, expected {expected:?}, kernel {has:?}"), SOON, || {
        seen = vip(lab, prefix);
        let hops = kernel(lab, prefix);
        let as_said = seen["state"] == state
            && seen["rung"] == json!(rung)
            && seen["expected"] == json!(servers(expected))
            && hops == servers(has);
        if as_said { Ok(()) } else { Err(format!("kernel {hops:?}, {seen}")) }
    });
}

fn condition(lab: &Lab, status: &str, reason: &str) {
    wait_for(&format!("FIBSynced {status} {reason}"), SOON, || {
        let condition = lab.condition("leaf1", "FIBSynced").unwrap_or_default();
        if condition["status"] == status && condition["reason"] == reason {
            Ok(())
        } else {
            Err(condition.to_string())
        }
    });
}

fn issue(lab: &Lab, object: &str, reason: &str) -> String {
    let mut message = String::new();
    wait_for(&format!("issue {reason} of {object}"), SOON, || {
        let verdict = lab.verdict("leaf1");
        let issues = verdict["issues"].as_array().cloned().unwrap_or_default();
        let found = issues.iter().find(|issue| issue["object"] == object && issue["reason"] == reason);
        message = found.ok_or_else(|| json!(issues).to_string())?["message"].to_string();
        Ok(())
    });
    message
}

fn explain(lab: &Lab, target: &str) -> String {
    switchlet(lab, &["explain", target]).1
}

fn patch(lab: &Lab, kind: &str, name: &str, spec: &Value) {
    let text = json!({"spec": spec}).to_string();
    lab.kubectl(&["patch", kind, name, "-n", "metallb-system", "--type=merge", "-p", &text]);
}

/// A leaf with its agent, MetalLB, and a Service that has an address of MetalLB's and endpoints on all three servers.
fn up(kind: Kind) -> Option<(Lab, Vec<Agent>, String)> {
    let lab = Lab::up(Api::Real, Release::V8_4)?;
    lab.populate();
    let agents = vec![lab.agent("leaf1")];
    // Before MetalLB is there, the plain rule holds and there is nothing to expect.
    condition(&lab, "True", "NothingExpected");
    let metallb = Metallb::up(&lab, kind)?;
    metallb.peers();
    metallb.advertise(&[POOL], &json!({}));
    balancer(&lab, "web", "Local", &["worker-1", "worker-2", "worker-3"]);
    let prefix = address_of(&lab, "web");
    says(&lab, &prefix, ("ok", None), &[1, 2, 3], &[1, 2, 3]);
    condition(&lab, "True", "InSync");
    Some((lab, agents, prefix))
}

#[test]
fn what_is_expected_follows_metallbs_objects() {
    let Some((lab, agents, web)) = up(Kind::Native) else { return };
    let all = &[1, 2, 3];
    let advertised = |spec: &Value| patch(&lab, "bgpadvertisement", "vips", spec);

    let first = json!([{"matchLabels": {"kubernetes.io/hostname": "worker-1"}}]);
    advertised(&json!({"nodeSelectors": first}));
    says(&lab, &web, ("ok", None), &[1], &[1]);
    advertised(&json!({"nodeSelectors": null}));
    says(&lab, &web, ("ok", None), all, all);

    // Two servers tell only the other leaf.
    advertised(&json!({"peers": ["s1-leaf1", "s2-leaf2", "s3-leaf2"]}));
    says(&lab, &web, ("ok", None), &[1], &[1]);

    // A name that there is not: everything is withdrawn, and MetalLB calls it valid. We name it.
    advertised(&json!({"peers": ["leaf-one"]}));
    says(&lab, &web, ("ok", Some("NotAdvertised")), &[], &[]);
    let object = "BGPAdvertisement metallb-system/vips";
    let message = issue(&lab, object, "NoSuchPeer");
    assert!(message.contains("leaf-one") && message.contains("announces nothing"), "{message}");
    wait_for("explain names it", SOON, || {
        let text = explain(&lab, "default/web");
        let named = ["NoSuchPeer", "leaf-one", "NotAdvertised"].iter().all(|word| text.contains(word));
        if named { Ok(()) } else { Err(text) }
    });
    let said = lab.get(&["configurationstates", "-n", "metallb-system"]).to_string();
    assert!(!said.contains("\"False\""), "MetalLB found it, too: {said}");
    advertised(&json!({"peers": null, "ipAddressPools": ["vip"]}));
    says(&lab, &web, ("ok", Some("NotAdvertised")), &[], &[]);
    issue(&lab, object, "NoSuchPool");
    advertised(&json!({"ipAddressPools": ["vips"]}));
    says(&lab, &web, ("ok", None), all, all);
    // MetalLB's intention stands beside our truth.
    wait_for("explain has MetalLB's word", SOON, || {
        let text = explain(&lab, "default/web");
        let word = text.contains("MetalLB means to announce it from worker-1");
        if word && text.contains("s1-leaf1") { Ok(()) } else { Err(text) }
    });

    // Refused: what was in force goes on, and nobody knows what that was.
    advertised(&json!({"communities": ["no-export"]}));
    says(&lab, &web, ("unknown", Some("ConfigurationRefused")), &[], all);
    condition(&lab, "Unknown", "ConfigurationRefused");
    let message = issue(&lab, object, "ConfigurationRefused");
    assert!(message.contains("no-export") && message.contains("worker-1"), "{message}");
    let names = json!({"apiVersion": "metallb.io/v1beta1", "kind": "Community",
        "metadata": {"name": "names", "namespace": "metallb-system"},
        "spec": {"communities": [{"name": "no-export", "value": "65535:65281"}]}});
    lab.apply(&names.to_string());
    says(&lab, &web, ("ok", None), all, all);
    condition(&lab, "True", "InSync");

    // What only the speaker can know: it has no such secret, and says so.
    let secret = json!({"passwordSecret": {"name": "nowhere", "namespace": "metallb-system"}});
    patch(&lab, "bgppeer", "s2-leaf1", &secret);
    says(&lab, &web, ("unknown", Some("ConfigurationRefused")), &[1, 3], all);
    issue(&lab, "ConfigurationState metallb-system/speaker-worker-2", "ConfigurationRefused");
    patch(&lab, "bgppeer", "s2-leaf1", &json!({"passwordSecret": null}));
    says(&lab, &web, ("ok", None), all, all);

    // An aggregate takes the place of the address.
    advertised(&json!({"aggregationLength": 28}));
    let wider = web.replace("/32", "/28");
    // The built-in filter takes host routes only, so here that is a fault, and whose it is.
    says(&lab, &wider, ("diverged", Some("PrefixNotReceived")), all, &[]);
    assert!(kernel(&lab, &web).is_empty());

    // Within one AS: whether a path without a LOCAL_PREF is preferred to one with 50 depends on the speaker's kind.
    for server in 1..=3 {
        patch(&lab, "bgppeer", &format!("s{server}-leaf1"), &json!({"myASN": 65001}));
    }
    let others = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["worker-1"]}]}]);
    advertised(&json!({"aggregationLength": null, "nodeSelectors": others}));
    let spec = json!({"ipAddressPools": ["vips"], "nodeSelectors": first, "localPref": 50});
    lab.apply(
        &json!({"apiVersion": "metallb.io/v1beta1", "kind": "BGPAdvertisement",
            "metadata": {"name": "first", "namespace": "metallb-system"}, "spec": spec})
        .to_string(),
    );
    says(&lab, &web, ("unknown", Some("AnnouncementUncertain")), &[], &[]);
    drop(agents);
}

#[test]
fn speakers_die_and_go_away() {
    let Some((lab, _agents, web)) = up(Kind::Native) else { return };
    lab.lab(&["metallb", "kill", "s2"]);
    says(&lab, &web, ("diverged", Some("SessionDown")), &[1, 2, 3], &[1, 3]);
    condition(&lab, "False", "AnnouncerMissing");
    // Not dead, but gone: the DaemonSet has left the node, and with its pod its word.
    lab.kubectl(&["delete", "configurationstate", "speaker-worker-2", "-n", "metallb-system"]);
    says(&lab, &web, ("ok", None), &[1, 3], &[1, 3]);
    balancer(&lab, "web", "Local", &["worker-2"]);
    says(&lab, &web, ("ok", Some("NoSpeaker")), &[], &[]);
    lab.lab(&["metallb", "start", "s2"]);
    says(&lab, &web, ("ok", None), &[2], &[2]);
}

#[test]
fn its_kinds_come_and_go() {
    let Some((lab, _agents, web)) = up(Kind::Native) else { return };
    let all = &[1, 2, 3];
    assert!(crds(&lab, Crds::Off));
    // The API server deletes the objects with their kinds, and the speakers withdraw; but nobody said that this was wanted.
    says(&lab, &web, ("unknown", Some("ExpectationStale")), all, &[]);
    condition(&lab, "Unknown", "ExpectationStale");
    assert!(crds(&lab, Crds::On));
    lab.lab(&["metallb", "peers"]);
    advertise(&lab, &[POOL], &json!({}));
    says(&lab, &web, ("ok", None), all, all);
    condition(&lab, "True", "InSync");
}

#[test]
fn frrs_speakers_too() {
    let Some((lab, _agents, web)) = up(Kind::Frr) else { return };
    balancer(&lab, "web", "Local", &["worker-1", "worker-3"]);
    says(&lab, &web, ("ok", None), &[1, 3], &[1, 3]);
    patch(&lab, "bgpadvertisement", "vips", &json!({"peers": ["s3-leaf1"]}));
    says(&lab, &web, ("ok", None), &[3], &[3]);
    // A speaker with FRR takes seconds; in the end no difference of it was called a fault.
    condition(&lab, "True", "InSync");
}
