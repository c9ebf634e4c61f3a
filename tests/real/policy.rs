//! What an agent's token is worth: its own switch's words, and nothing elsewhere. On a real API server, with a token that is
//! bound to a pod as kubelet's are; first with the rights that the manifests give, then with those of an administrator, so that
//! the policy alone must refuse, and last without the policy, so that it is seen that nothing else has.

use std::path::Path;
use std::time::{Duration, Instant};

use http::Request;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use switchlet::cluster::OwnNode;
use switchlet::cluster::client::{Way, connect};
use switchlet::cluster::report::{NodeReport, Stamped, Writer};
use switchlet::health::condition::{CONFIG_APPLIED, Condition, FIB_SYNCED, Reason, Status};

use crate::lab::{Api, Lab};
use crate::release::Release;

const SOON: Duration = Duration::from_secs(30);
const SSA: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON: &str = "application/json";

/// One request, and the words of the policy that refuse it.
struct Try {
    what: &'static str,
    method: &'static str,
    path: String,
    kind: &'static str,
    body: Value,
    words: &'static str,
}

fn request(
    what: &'static str,
    method: &'static str,
    path: &str,
    (kind, body): (&'static str, Value),
    words: &'static str,
) -> Try {
    Try { what, method, path: path.to_owned(), kind, body, words }
}

fn condition(kind: &str, status: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": "InSync", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "lastHeartbeatTime": "2026-01-01T00:00:00Z",
    })
}

fn ours(kind: &str) -> Value {
    condition(&format!("switchlet.io/{kind}"), "True")
}

/// Server-side apply of a Node's status, as the agent does it.
fn applied(metadata: &Value, status: &Value) -> (&'static str, Value) {
    (SSA, json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}))
}

fn says(conditions: &[Value]) -> (&'static str, Value) {
    applied(&json!({"name": "leaf1"}), &json!({"conditions": conditions}))
}

fn event(instance: &str, regarding: &Value) -> (&'static str, Value) {
    event_by("switchlet.io/agent", instance, regarding)
}

fn event_by(controller: &str, instance: &str, regarding: &Value) -> (&'static str, Value) {
    let body = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"generateName": "x-"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": controller,
        "reportingInstance": instance, "action": "Verify", "reason": "InSync", "type": "Normal", "note": "n",
        "regarding": regarding,
    });
    (JSON, body)
}

fn lease(holder: Option<&str>) -> (&'static str, Value) {
    let body = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"generateName": "racks-"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
    });
    (JSON, body)
}

fn switch(name: &str, more: &Value) -> (&'static str, Value) {
    let mut body = json!({
        "apiVersion": "switchlet.io/v1alpha1", "kind": "Switch", "metadata": {"name": name},
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    (SSA, body)
}

const STATUS: &str = "/api/v1/nodes/leaf1/status";
const APPLY: &str = "/api/v1/nodes/leaf1/status?fieldManager=switchlet&force=true";
const OTHER: &str = "/api/v1/nodes/leaf2/status?fieldManager=switchlet&force=true";
const SWITCHES: &str = "/apis/switchlet.io/v1alpha1/namespaces/switchlet/switches";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/switchlet/leases";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn switch_status(name: &str) -> String {
    format!("{SWITCHES}/{name}/status?fieldManager=switchlet&force=true")
}

/// What an agent on leaf1 does.
fn allowed() -> Vec<Try> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "name": "leaf1", "uid": "x"});
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "web", "uid": "x"});
    let all = [ours("ConfigApplied"), ours("FIBSynced"), ours("FabricReachable")];
    let labelled = applied(
        &json!({"name": "leaf1", "labels": {"switchlet.io/health": "degraded"}}),
        &json!({"conditions": all}),
    );
    let worse = condition("switchlet.io/FIBSynced", "False");
    let deleted = json!({"status": {"conditions": [{"$patch": "delete", "type": "switchlet.io/FIBSynced"}]}});
    let status = json!({"status": {"observedGeneration": 1, "verdict": "ok"}});
    vec![
        request("one condition", "PATCH", APPLY, says(&all[..1]), ""),
        request("three and the label", "PATCH", APPLY, labelled, ""),
        request("another status", "PATCH", APPLY, says(&[ours("ConfigApplied"), worse.clone()]), ""),
        request("label and a type retired", "PATCH", APPLY, says(&all[..1]), ""),
        request(
            "a strategic patch",
            "PATCH",
            STATUS,
            (STRATEGIC, json!({"status": {"conditions": [worse]}})),
            "",
        ),
        request("which is taken back", "PATCH", STATUS, (STRATEGIC, deleted), ""),
        request("all retired", "PATCH", APPLY, says(&[]), ""),
        request("the own Switch", "PATCH", &switch_status("leaf1"), switch("leaf1", &status), ""),
        request("an own Lease", "POST", LEASES, lease(Some("leaf1")), ""),
        request("an empty Lease", "POST", LEASES, lease(None), ""),
        request("an Event on the Node", "POST", EVENTS, event("leaf1", &node), ""),
        request("an Event on a Service", "POST", EVENTS, event("leaf1", &service), ""),
    ]
}

/// What nobody may do with the token of leaf1.
fn refused() -> Vec<Try> {
    let foreign = "may touch no conditions but";
    let rest = "nothing of a node's status but conditions";
    let label = "no label but switchlet.io/health";
    let metadata = "no annotation, finalizer, owner";
    let only = "may only write nodes/status";
    let merge = |body: Value| (MERGE, body);
    let status = |key: &str, value: Value| {
        let mut body = json!({"status": {}});
        body["status"][key] = value;
        (STRATEGIC, body)
    };
    let meta = |key: &str, value: Value| {
        let mut body = json!({"metadata": {}});
        body["metadata"][key] = value;
        (MERGE, body)
    };
    let mut long = ours("FIBSynced");
    long["message"] = "x".repeat(2000).into();
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "leaf2", "uid": "x"}]);
    let mut without_ready = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "leaf1"}});
    without_ready["metadata"]["labels"] = json!({"kubernetes.io/hostname": "leaf1", "role": "switch"});
    without_ready["status"] = json!({"addresses": [{"type": "Hostname", "address": "leaf1"}]});
    let taint = json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "name": "leaf1", "uid": "x"});
    let other = json!({"apiVersion": "v1", "kind": "Node", "name": "leaf2", "uid": "x"});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "p", "uid": "x"});
    let said = json!({"status": {"observedGeneration": 1, "verdict": "ok"}});
    let spec = json!({"spec": {"configMaps": [{"name": "x"}]}});
    let held = json!({"spec": {"holderIdentity": "leaf1"}});
    let leaf2 = applied(&json!({"name": "leaf2"}), &json!({"conditions": [ours("FIBSynced")]}));
    let core = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "x-"}, "reason": "InSync", "type": "Normal",
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": "leaf2"}, "source": {"component": "kubelet"},
        "message": "m",
    });
    vec![
        request("another node", "PATCH", OTHER, leaf2, r#"of node "leaf1" may not write node "leaf2""#),
        request("Ready", "PATCH", APPLY, says(&[condition("Ready", "False")]), foreign),
        request(
            "NetworkUnavailable",
            "PATCH",
            APPLY,
            says(&[condition("NetworkUnavailable", "True")]),
            foreign,
        ),
        request("a foreign type", "PATCH", APPLY, says(&[condition("example.com/Fine", "True")]), foreign),
        request(
            "a look-alike",
            "PATCH",
            APPLY,
            says(&[condition("switchlet.iox/FIBSynced", "True")]),
            foreign,
        ),
        request("a type of ours that there is not", "PATCH", APPLY, says(&[ours("Fine")]), foreign),
        request(
            "Ready patched",
            "PATCH",
            STATUS,
            (STRATEGIC, json!({"status": {"conditions": [condition("Ready", "False")]}})),
            foreign,
        ),
        request(
            "Ready deleted",
            "PATCH",
            STATUS,
            (STRATEGIC, json!({"status": {"conditions": [{"$patch": "delete", "type": "Ready"}]}})),
            foreign,
        ),
        request(
            "all conditions replaced",
            "PATCH",
            STATUS,
            merge(json!({"status": {"conditions": [ours("FIBSynced")]}})),
            foreign,
        ),
        request("a status without Ready", "PUT", STATUS, (JSON, without_ready), rest),
        request(
            "addresses",
            "PATCH",
            STATUS,
            status("addresses", json!([{"type": "InternalIP", "address": "192.0.2.1"}])),
            rest,
        ),
        request("capacity", "PATCH", STATUS, status("capacity", json!({"cpu": "999"})), rest),
        request("allocatable", "PATCH", STATUS, status("allocatable", json!({"cpu": "999"})), rest),
        request("nodeInfo", "PATCH", STATUS, status("nodeInfo", json!({"kubeletVersion": "v0"})), rest),
        request("phase", "PATCH", STATUS, status("phase", "Terminated".into()), rest),
        request("volumesInUse", "PATCH", STATUS, status("volumesInUse", json!(["a/b"])), rest),
        request(
            "another label of ours",
            "PATCH",
            STATUS,
            meta("labels", json!({"switchlet.io/switch": "true"})),
            label,
        ),
        request("a role", "PATCH", STATUS, meta("labels", json!({"node-role.kubernetes.io/x": ""})), label),
        request("a label removed", "PATCH", STATUS, meta("labels", json!({"role": null})), label),
        request("a label changed", "PATCH", STATUS, meta("labels", json!({"role": "other"})), label),
        request(
            "another word of health",
            "PATCH",
            STATUS,
            meta("labels", json!({"switchlet.io/health": "splendid"})),
            "is ok, degraded or unknown",
        ),
        request("an annotation", "PATCH", STATUS, meta("annotations", json!({"a": "b"})), metadata),
        request("a finalizer", "PATCH", STATUS, meta("finalizers", json!(["a/b"])), metadata),
        request("an owner", "PATCH", STATUS, meta("ownerReferences", owner), metadata),
        request("a long message", "PATCH", APPLY, says(&[long]), "at most 1024 characters"),
        request(
            "the Node itself",
            "PATCH",
            "/api/v1/nodes/leaf1",
            meta("labels", json!({"switchlet.io/health": "ok"})),
            only,
        ),
        request(
            "a cordon",
            "PATCH",
            "/api/v1/nodes/leaf1",
            merge(json!({"spec": {"unschedulable": true}})),
            only,
        ),
        request("a taint", "PATCH", "/api/v1/nodes/leaf1", merge(taint), only),
        request("a Node deleted", "DELETE", "/api/v1/nodes/leaf2", (JSON, json!({})), only),
        request(
            "a Node made",
            "POST",
            "/api/v1/nodes",
            (JSON, json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "leaf9"}})),
            only,
        ),
        request("all Nodes deleted", "DELETE", "/api/v1/nodes", (JSON, json!({})), only),
        request(
            "another Switch",
            "PATCH",
            &switch_status("leaf2"),
            switch("leaf2", &said),
            r#"of node "leaf1" may not write switch "switchlet/leaf2""#,
        ),
        request(
            "the spec of the own Switch",
            "PATCH",
            &format!("{SWITCHES}/leaf1"),
            merge(json!({"spec": {"budget": {"sessionResets": 99}}})),
            "only write the status",
        ),
        request("a Switch made", "POST", SWITCHES, (JSON, switch("leaf9", &spec).1), "only write the status"),
        request(
            "a Switch deleted",
            "DELETE",
            &format!("{SWITCHES}/leaf1"),
            (JSON, json!({})),
            "only write the status",
        ),
        request(
            "a Lease of another",
            "PATCH",
            &format!("{LEASES}/held-0"),
            merge(held),
            r#"held by "leaf2": the agent of node "leaf1""#,
        ),
        request(
            "a Lease for another",
            "POST",
            LEASES,
            lease(Some("leaf2")),
            r#"may not write the name "leaf2""#,
        ),
        request("a Lease deleted", "DELETE", &format!("{LEASES}/held-0"), (JSON, json!({})), "not DELETE"),
        request(
            "a node's heartbeat",
            "POST",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            lease(Some("leaf1")),
            "no lease in kube-node-lease",
        ),
        request(
            "an Event on another node",
            "POST",
            EVENTS,
            event("leaf1", &other),
            "about that node or about a service",
        ),
        request(
            "an Event on a pod",
            "POST",
            EVENTS,
            event("leaf1", &pod),
            "about that node or about a service",
        ),
        request(
            "an Event of another",
            "POST",
            EVENTS,
            event("leaf2", &node),
            "only events that it reports itself",
        ),
        request(
            "an Event of kubelet",
            "POST",
            EVENTS,
            event_by("kubelet", "leaf1", &node),
            "only events that it reports itself",
        ),
        request(
            "an old Event",
            "POST",
            "/api/v1/namespaces/default/events",
            (JSON, core),
            "only events that it reports itself",
        ),
        request(
            "Events deleted",
            "DELETE",
            "/apis/events.k8s.io/v1/namespaces/default/events",
            (JSON, json!({})),
            "not DELETE",
        ),
    ]
}

/// Sends it; what is only asked is not stored.
async fn send(client: &Client, this: &Try, dry: bool) -> Result<(), kube::core::Status> {
    let mark = if this.path.contains('?') { '&' } else { '?' };
    let path = if dry { format!("{}{mark}dryRun=All", this.path) } else { this.path.clone() };
    // With a body a DELETE would not look at its query.
    let bare = matches!(this.method, "GET" | "DELETE");
    let body = if bare { Vec::new() } else { this.body.to_string().into_bytes() };
    let request = Request::builder()
        .method(this.method)
        .uri(path)
        .header("content-type", this.kind)
        .body(body)
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(*status),
        Err(other) => panic!("{}: {other}", this.what),
    }
}

async fn until(
    what: &str,
    client: &Client,
    this: &Try,
    check: impl Fn(&Result<(), kube::core::Status>) -> bool,
) {
    let began = Instant::now();
    loop {
        let answer = send(client, this, true).await;
        if check(&answer) {
            return;
        }
        assert!(began.elapsed() < SOON, "{what}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn by_policy(answer: &Result<(), kube::core::Status>) -> bool {
    answer
        .as_ref()
        .is_err_and(|status| status.message.contains("ValidatingAdmissionPolicy 'switchlet-agent-"))
}

async fn client(kubeconfig: &str) -> Client {
    connect(Some(Path::new(kubeconfig)), Way::default()).await.unwrap().calls
}

/// The bound token may what an agent does, and nothing of the rest.
async fn holds(token: &Client, unbound: &Client, alone: bool) {
    for this in allowed() {
        let answer = send(token, &this, false).await;
        assert!(answer.is_ok(), "{}: {answer:?}", this.what);
        let answer = send(unbound, &this, true).await;
        assert!(
            by_policy(&answer) && answer.as_ref().unwrap_err().message.contains("not bound to a pod"),
            "{} without a pod: {answer:?}",
            this.what
        );
    }
    for this in refused() {
        let answer = send(token, &this, true).await;
        let Err(status) = &answer else { panic!("{} was accepted", this.what) };
        assert!([403, 422].contains(&status.code), "{}: {status:?}", this.what);
        if alone {
            assert!(by_policy(&answer) && status.message.contains(this.words), "{}: {status:?}", this.what);
        }
    }
    let proxy =
        request("a kubelet's own API", "GET", "/api/v1/nodes/leaf1/proxy/pods", (JSON, json!({})), "");
    let answer = send(token, &proxy, false).await;
    assert!(answer.is_err_and(|status| status.code == 403), "a kubelet's own API");
}

/// Waits until the policy for Nodes refuses nothing any more to the token of leaf1.
pub fn acts_no_longer(lab: &Lab, kubeconfig: &str) {
    lab.inside(async || {
        let token = client(kubeconfig).await;
        until("the policy acts no longer", &token, &refused()[0], |answer| !by_policy(answer)).await;
    });
}

#[test]
fn a_token_is_worth_nothing_elsewhere() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    lab.kubectl(&["apply", "-k", manifests.to_str().unwrap()]);
    for leaf in ["leaf1", "leaf2"] {
        lab.lab(&["node", leaf, "--ip", "172.31.0.11", "--label", "role=switch"]);
        lab.apply(
            &json!({
                "apiVersion": "switchlet.io/v1alpha1", "kind": "Switch",
                "metadata": {"name": leaf, "namespace": "switchlet"}, "spec": {"configMaps": [{"name": "x"}]},
            })
            .to_string(),
        );
    }
    lab.apply(
        &json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "held-0", "namespace": "switchlet"},
            "spec": {"holderIdentity": "leaf2"},
        })
        .to_string(),
    );
    let (bound, unbound) =
        (lab.kubeconfig("leaf1"), lab.lab(&["kubeconfig", "--sa", "switchlet/agent"]).trim().to_owned());
    lab.inside(async || {
        let (token, unbound) = (client(&bound).await, client(&unbound).await);
        let all = refused();
        until("the policy acts", &token, &all[0], by_policy).await;
        // Nobody may read a Secret.
        let path = "/api/v1/namespaces/switchlet/secrets";
        let secrets = request("Secrets", "GET", path, (JSON, json!({})), "");
        assert!(send(&token, &secrets, false).await.is_err_and(|status| status.code == 403));
        holds(&token, &unbound, false).await;

        lab.kubectl(&[
            "create",
            "clusterrolebinding",
            "everything",
            "--clusterrole=cluster-admin",
            "--serviceaccount=switchlet:agent",
        ]);
        let cordon = all.iter().find(|this| this.what == "a cordon").unwrap();
        until("the token may all", &token, cordon, by_policy).await;
        holds(&token, &unbound, true).await;

        // Nothing else than the policy has refused them.
        for policy in ["nodes", "switches", "events", "leases"] {
            lab.kubectl(&[
                "delete",
                "validatingadmissionpolicybinding",
                &format!("switchlet-agent-{policy}"),
            ]);
        }
        for this in &all {
            until(this.what, &token, this, |answer| !by_policy(answer)).await;
            let answer = send(&token, this, true).await;
            assert!(answer.is_ok(), "{} without the policy: {answer:?}", this.what);
        }
    });
}

/// A Node that somebody made with its status, and that no kubelet writes: nobody owns what stands in it.
#[test]
fn what_the_agent_withdraws_takes_nothing_else_along() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    let made = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "leaf1", "labels": {"rack": "7"}},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.31.0.11"}], "conditions": [condition("Ready", "True")]},
    });
    lab.apply(&made.to_string());
    let path = lab.lab(&["kubeconfig", "--admin"]).trim().to_owned();
    let uid = lab.get(&["node", "leaf1"])["metadata"]["uid"].as_str().unwrap().to_owned();
    let seen = |kinds: &[&str]| OwnNode {
        uid: uid.clone(),
        conditions: kinds
            .iter()
            .map(|kind| ((*kind).to_owned(), serde_json::from_value(condition(kind, "True")).unwrap()))
            .collect(),
        health: None,
    };
    let says = |kind: &'static str| {
        let condition =
            Condition { status: Status::True, reason: Reason::InSync, message: "all is well".to_owned() };
        (kind, Stamped { condition, since: Timestamp::UNIX_EPOCH })
    };
    lab.inside(async || {
        let writer = Writer::new(client(&path).await, "leaf1", "switchlet");
        let two =
            NodeReport { conditions: [CONFIG_APPLIED, FIB_SYNCED].map(says).into(), health: Some("ok") };
        writer.node(&seen(&[]), &two, Timestamp::now()).await.unwrap();
        let one = NodeReport { conditions: [says(CONFIG_APPLIED)].into(), health: Some("ok") };
        writer.node(&seen(&[CONFIG_APPLIED, FIB_SYNCED]), &one, Timestamp::now()).await.unwrap();
        let kinds = || -> Vec<String> {
            let node = lab.get(&["node", "leaf1"]);
            let all = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            all.iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(kinds(), ["Ready", CONFIG_APPLIED]);
        let nothing = NodeReport { conditions: [].into(), health: None };
        writer.node(&seen(&[CONFIG_APPLIED]), &nothing, Timestamp::now()).await.unwrap();
        assert_eq!(kinds(), ["Ready"]);
        let node = lab.get(&["node", "leaf1"]);
        assert_eq!(node["status"]["addresses"], made["status"]["addresses"]);
        assert_eq!(node["metadata"]["labels"]["rack"], "7");
        assert_eq!(node["metadata"]["labels"]["switchlet.io/health"], Value::Null);
        // Of another life of the Node: it is not touched.
        let other = OwnNode { uid: "other".to_owned(), ..seen(&[]) };
        writer.node(&other, &nothing, Timestamp::now()).await.unwrap_err();
    });
}
