//! What may change a switch by itself, what waits for somebody's word, and how switchlet leaves a switch again: on real FRR and
//! a real API server.

use std::fs;
use std::time::Duration;

use crate::lab::{Agent, Api, Lab, wait_for};
use crate::release::Release;
use serde_json::{Value, json};

on_each_frr!(
    more_than_the_budget_waits_for_its_hash_and_neighbours_go_on_following_their_nodes,
    a_node_that_leaves_is_removed_later_and_many_at_once_are_not,
    first_contact_adopts_what_git_names_and_retirement_gives_it_back,
);

const SOON: Duration = Duration::from_secs(45);

/// leaf1 of the lab, whose texts each test writes itself.
struct Leaf {
    lab: Lab,
    commits: std::cell::Cell<u32>,
}

const SETTINGS: &str = "\
version: 1
asn: 65001
routerId: 10.0.0.1
vips: {pools: [203.0.113.0/24], protected: [203.0.113.0/29]}
peering:
  peerAsn: external
  nodes:
    selector: {matchLabels: {role: worker}}
    subnets: [192.168.1.0/24]
    removeAfter: 4s
verify: {convergence: 3s}
";

impl Leaf {
    fn up(release: Release) -> Option<Self> {
        let lab = Lab::up(Api::Real, release)?;
        lab.populate();
        let leaf = Self { lab, commits: std::cell::Cell::new(0) };
        leaf.commit(SETTINGS);
        Some(leaf)
    }

    /// What kustomize and Flux make of a commit: a ConfigMap with a new name, and the Switch that names it.
    fn commit(&self, settings: &str) {
        self.commits.set(self.commits.get() + 1);
        let name = format!("leaf1-{}", self.commits.get());
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "switchlet"},
            "data": {"switch.yaml": settings},
        });
        self.lab.apply(&map.to_string());
        self.patch(&json!({"configMaps": [{"name": name}]}));
    }

    fn patch(&self, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.lab.kubectl(&["patch", "switch", "leaf1", "-n", "switchlet", "--type=merge", "-p", &patch]);
    }

    fn status(&self) -> Value {
        self.lab.get(&["switch", "leaf1", "-n", "switchlet"])["status"].clone()
    }

    /// `Ready=False/ApprovalRequired Stalled=False …`, once it is so.
    fn switch_says(&self, expected: &[(&str, &str, &str)]) {
        let generation =
            || self.lab.get(&["switch", "leaf1", "-n", "switchlet"])["metadata"]["generation"].clone();
        wait_for(&format!("the Switch says {expected:?}"), SOON, || {
            let status = self.status();
            let all = status["conditions"].as_array().cloned().unwrap_or_default();
            let right = expected.iter().all(|(kind, word, reason)| {
                all.iter().any(|c| c["type"] == *kind && c["status"] == *word && c["reason"] == *reason)
            });
            let current = status["observedGeneration"] == generation();
            if right && current { Ok(()) } else { Err(status.to_string()) }
        });
    }

    fn node_says(&self, kind: &str, status: &str, reason: &str) -> String {
        wait_for(&format!("{kind} is {status}/{reason}"), SOON, || {
            let seen = self.lab.condition("leaf1", kind).unwrap_or_default();
            if seen["status"] == status && seen["reason"] == reason { Ok(()) } else { Err(seen.to_string()) }
        });
        self.lab.condition("leaf1", kind).unwrap()["message"].as_str().unwrap().to_owned()
    }

    fn runs(&self, line: &str) -> bool {
        self.lab.running("leaf1").lines().any(|found| found.trim() == line)
    }

    fn will_run(&self, line: &str, expected: bool) {
        wait_for(&format!("`{line}` runs: {expected}"), SOON, || {
            if self.runs(line) == expected { Ok(()) } else { Err(self.lab.running("leaf1")) }
        });
    }

    /// Exit code and standard output of `switchlet plan` with the agent's own inputs and state.
    fn plan(&self) -> (Option<i32>, Value) {
        let kubeconfig = self.lab.kubeconfig("leaf1");
        let state = self.lab.scratch("agent-leaf1");
        let output = self.lab.switchlet(
            "leaf1",
            &[
                "plan",
                "--node",
                "leaf1",
                "--frr-root",
                &self.lab.env["FRR_ROOT"],
                "--frr-instance",
                &self.lab.env["FRR_LEAF1"],
                "--namespace",
                "switchlet",
                "--kubeconfig",
                &kubeconfig,
                "--state-dir",
                state.to_str().unwrap(),
                "-o",
                "json",
            ],
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{error}")))
    }

    fn vtysh(&self, lines: &[&str]) {
        let mut args = vec!["vtysh", "leaf1"];
        for line in lines {
            args.extend(["-c", line]);
        }
        self.lab.lab(&args);
    }
}

fn neighbor(last: u32) -> String {
    format!("neighbor 192.168.1.{last} peer-group SWITCHLET-SPEAKERS")
}

fn started(leaf: &Leaf) -> Agent {
    let agent = leaf.lab.agent("leaf1");
    leaf.node_says("ConfigApplied", "True", "Applied");
    agent
}

fn more_than_the_budget_waits_for_its_hash_and_neighbours_go_on_following_their_nodes(release: Release) {
    let Some(leaf) = Leaf::up(release) else { return };
    let agent = started(&leaf);
    let (code, plan) = leaf.plan();
    assert_eq!((code, &plan["hash"]), (Some(0), &Value::Null), "{plan}");
    let first = leaf.status()["appliedRevision"].clone();

    // Adding needs nobody's word.
    leaf.commit(&SETTINGS.replace("[203.0.113.0/24]", "[203.0.113.0/24, 203.0.114.0/24]"));
    leaf.will_run("ip prefix-list SWITCHLET-VIPS-V4 seq 30 permit 203.0.114.0/24 ge 32", true);
    leaf.switch_says(&[("Ready", "True", "Applied")]);

    // Nor does another way to use what is there.
    let fewer = SETTINGS.replace("verify:", "ecmp: {maxPaths: 8}\nverify:");
    leaf.commit(&fewer);
    leaf.will_run("maximum-paths 8", true);
    leaf.switch_says(&[("Ready", "True", "Applied")]);

    // What ends live sessions does.
    let resets = fewer.replace("routerId: 10.0.0.1", "routerId: 10.0.0.9");
    leaf.commit(&resets);
    let message = leaf.node_says("ConfigApplied", "False", "ApprovalRequired");
    leaf.switch_says(&[
        ("Ready", "False", "ApprovalRequired"),
        ("Reconciling", "True", "ApprovalRequired"),
        ("Stalled", "False", "ApprovalRequired"),
    ]);
    let status = leaf.status();
    let hash = status["plan"]["hash"].as_str().unwrap().to_owned();
    // kubectl shows it where a person looks first, on the object itself.
    let uid = leaf.lab.get(&["node", "leaf1"])["metadata"]["uid"].clone();
    wait_for("an Event on the Node", SOON, || {
        let all = leaf.lab.get(&["events.events.k8s.io", "-n", "default"]);
        let found = all["items"].as_array().unwrap().iter().any(|event| {
            event["reason"] == "ApprovalRequired"
                && event["type"] == "Warning"
                && event["regarding"]["uid"] == uid
                && event["note"].as_str().is_some_and(|note| note.contains(&hash))
        });
        if found { Ok(()) } else { Err(all.to_string()) }
    });
    assert!(message.contains(&format!("spec.approvedPlan to \"{hash}\"")), "{message}");
    assert!(message.contains("- router bgp 65001 / bgp router-id 10.0.0.1"), "{message}");
    let three = "would reset 3 sessions (192.168.1.11, 192.168.1.13, 192.168.1.15), budget 0";
    assert!(message.contains(three), "{message}");
    assert_eq!(status["plan"]["class"], "session-reset");
    assert_ne!(status["appliedRevision"], status["wantedRevision"]);
    assert_ne!(status["appliedRevision"], first);
    let (old, new) = ("bgp router-id 10.0.0.1", "bgp router-id 10.0.0.9");
    assert!(leaf.runs(old) && !leaf.runs(new));
    let (code, plan) = leaf.plan();
    assert_eq!(
        (code, plan["hash"].as_str(), plan["hold"]["reason"].as_str(), plan["class"].as_str()),
        (Some(3), Some(hash.as_str()), Some("ApprovalRequired"), Some("session-reset"))
    );
    assert_eq!(plan["sessions"], json!(["192.168.1.11", "192.168.1.13", "192.168.1.15"]));

    // A Node joins: its neighbour is configured by the bundle in force, and the plan is still the same one.
    leaf.lab.lab(&["node", "worker-4", "--ip", "192.168.1.17", "--label", "role=worker"]);
    leaf.will_run(&neighbor(17), true);
    assert!(leaf.runs(old));
    // Until that neighbour was there, it was a part of the plan.
    let the_same_plan = || {
        wait_for("the same plan", SOON, || {
            let status = leaf.status();
            if status["plan"]["hash"] == hash.as_str() { Ok(()) } else { Err(status.to_string()) }
        });
    };
    the_same_plan();
    // A restart forgets none of it.
    agent.stop();
    let agent = leaf.lab.agent("leaf1");
    let from = agent.log().len();
    wait_for("the new agent's word", SOON, || {
        let log = agent.log()[from..].to_owned();
        if log.contains(&format!("waits: plan {hash}")) { Ok(()) } else { Err(log) }
    });
    leaf.switch_says(&[("Ready", "False", "ApprovalRequired")]);
    the_same_plan();

    // Another hash releases nothing, its own does.
    leaf.patch(&json!({"approvedPlan": "0123456789ab"}));
    leaf.switch_says(&[("Ready", "False", "PlanChanged"), ("Stalled", "False", "PlanChanged")]);
    let message = leaf.node_says("ConfigApplied", "False", "PlanChanged");
    assert!(
        message.contains(&format!("plan {hash}")) && message.contains("approved is plan 0123456789ab"),
        "{message}"
    );
    assert!(leaf.runs(old));
    leaf.patch(&json!({"approvedPlan": hash}));
    leaf.switch_says(&[("Ready", "True", "Applied"), ("Stalled", "False", "Applied")]);
    assert!(leaf.runs(new) && leaf.runs(&neighbor(17)));
    assert!(!leaf.runs("ip prefix-list SWITCHLET-VIPS-V4 seq 30 permit 203.0.114.0/24 ge 32"));

    // The commit is reverted at night: what was in force today needs no new word.
    leaf.commit(&SETTINGS.replace("[203.0.113.0/24]", "[203.0.113.0/24, 203.0.114.0/24]"));
    leaf.switch_says(&[("Ready", "True", "Applied")]);
    assert!(leaf.runs(old) && leaf.runs("maximum-paths 64"));

    // A night with a budget that is over, and one that is not.
    leaf.patch(
        &json!({"approvedPlan": null, "budget": {"sessionResets": 4, "until": "2026-01-01T00:00:00Z"}}),
    );
    leaf.commit(&resets.replace("10.0.0.9", "10.0.0.8"));
    leaf.switch_says(&[("Ready", "False", "ApprovalRequired")]);
    assert!(leaf.runs(old));
    leaf.patch(&json!({"budget": {"until": "2999-01-01T00:00:00Z"}}));
    leaf.switch_says(&[("Ready", "True", "Applied")]);
    assert!(leaf.runs("bgp router-id 10.0.0.8"));

    // An approval that is no hash is refused by the API server itself.
    let bad = leaf.lab.try_lab(&[
        "k",
        "patch",
        "switch",
        "leaf1",
        "-n",
        "switchlet",
        "--type=merge",
        "-p",
        r#"{"spec":{"approvedPlan":"yes"}}"#,
    ]);
    assert!(!bad.status.success());
    assert!(String::from_utf8_lossy(&bad.stderr).contains("approvedPlan"), "{bad:?}");
}

fn a_node_that_leaves_is_removed_later_and_many_at_once_are_not(release: Release) {
    let Some(leaf) = Leaf::up(release) else { return };
    let _agent = started(&leaf);
    let vip = "203.0.113.10/32";
    leaf.lab.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
         spec: {type: LoadBalancer, externalTrafficPolicy: Cluster, ports: [{port: 80}]}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}\n\
         addressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.0.1.1]}]\n",
    );
    leaf.lab.give_address("web", "203.0.113.10");
    for server in ["s1", "s2", "s3"] {
        leaf.lab.lab(&["announce", server, vip]);
    }
    leaf.node_says("FIBSynced", "True", "InSync");
    let hops = || leaf.lab.kernel("leaf1", vip).unwrap_or_default();
    assert_eq!(hops().len(), 3);
    let ready = leaf.status()["conditions"][0].clone();
    assert_eq!(ready["type"], "Ready");

    // One leaves. Its speaker still announces, which is nobody's fault for now; then its neighbour goes.
    leaf.lab.kubectl(&["delete", "node", "worker-3"]);
    wait_for("the expectation follows", SOON, || {
        let verdict = leaf.lab.verdict("leaf1");
        let vip = &verdict["vips"][0];
        let right = vip["expected"] == json!(["192.168.1.11", "192.168.1.13"]) && vip["state"] == "ok";
        if right { Ok(()) } else { Err(verdict.to_string()) }
    });
    assert!(leaf.runs(&neighbor(15)), "it stays for removeAfter");
    assert_eq!(hops().len(), 3);
    leaf.will_run(&neighbor(15), false);
    wait_for("the kernel follows", SOON, || {
        let hops = hops();
        if hops == ["192.168.1.11", "192.168.1.13"] { Ok(()) } else { Err(format!("{hops:?}")) }
    });
    leaf.node_says("FIBSynced", "True", "InSync");

    // One that comes back in time has never left: no session is touched.
    let dropped = || leaf.lab.lab(&["vtysh", "leaf1", "-c", "show bgp neighbors 192.168.1.13 json"]);
    let before = dropped().matches("\"connectionsDropped\":0").count();
    leaf.lab.kubectl(&["label", "node", "worker-2", "role-"]);
    std::thread::sleep(Duration::from_secs(2));
    leaf.lab.kubectl(&["label", "node", "worker-2", "role=worker"]);
    std::thread::sleep(Duration::from_secs(5));
    assert!(leaf.runs(&neighbor(13)));
    assert_eq!(dropped().matches("\"connectionsDropped\":0").count(), before);

    // All leave at once: that is not how nodes leave.
    leaf.lab.kubectl(&["delete", "node", "worker-1", "worker-2"]);
    let message = leaf.node_says("ConfigApplied", "False", "MassRemoval");
    assert!(
        message.contains("- router bgp 65001 / neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS"),
        "{message}"
    );
    assert!(leaf.runs(&neighbor(11)) && leaf.runs(&neighbor(13)));
    assert_eq!(hops().len(), 2, "traffic goes on");
    let now = leaf.status()["conditions"][0].clone();
    assert_eq!(
        (&now["status"], &now["lastTransitionTime"]),
        (&json!("True"), &ready["lastTransitionTime"]),
        "Ready speaks of commits"
    );

    // One comes back: what is left is no mass any more, but the other one has left long ago.
    leaf.lab.lab(&["node", "worker-1", "--ip", "192.168.1.11", "--label", "role=worker"]);
    leaf.will_run(&neighbor(13), false);
    leaf.node_says("ConfigApplied", "True", "Applied");
    assert!(leaf.runs(&neighbor(11)));

    // And with somebody's word they do go.
    leaf.lab.lab(&["node", "worker-2", "--ip", "192.168.1.13", "--label", "role=worker"]);
    leaf.will_run(&neighbor(13), true);
    leaf.node_says("ConfigApplied", "True", "Applied");
    leaf.lab.kubectl(&["delete", "node", "worker-1", "worker-2"]);
    leaf.node_says("ConfigApplied", "False", "MassRemoval");
    let hash = leaf.status()["plan"]["hash"].clone();
    leaf.patch(&json!({"approvedPlan": hash}));
    leaf.will_run(&neighbor(11), false);
    leaf.node_says("ConfigApplied", "True", "Applied");
}

fn first_contact_adopts_what_git_names_and_retirement_gives_it_back(release: Release) {
    let Some(leaf) = Leaf::up(release) else { return };
    // A switch that somebody has configured before, by hand and by an earlier switchlet.
    leaf.vtysh(&[
        "configure terminal",
        "ip prefix-list OPERATOR seq 5 permit 10.0.0.0/8",
        "router bgp 65001",
        "bgp router-id 10.9.9.9",
        "neighbor 10.0.12.1 remote-as 65100",
    ]);
    leaf.vtysh(&["write memory"]);
    let (running, startup) =
        (leaf.lab.running("leaf1"), fs::read_to_string(leaf.lab.frr_conf("leaf1")).unwrap());

    let agent = leaf.lab.agent("leaf1");
    let message = leaf.node_says("ConfigApplied", "False", "GlobalConflict");
    assert!(message.contains("`router bgp 65001 / bgp router-id 10.9.9.9` runs"), "{message}");
    leaf.switch_says(&[("Ready", "False", "GlobalConflict"), ("Stalled", "True", "GlobalConflict")]);
    assert_eq!(leaf.lab.running("leaf1"), running);

    let adopting = SETTINGS.replace("verify:", "adopt: [bgp router-id 10.9.9.9]\nverify:");
    leaf.commit(&adopting);
    let message = leaf.node_says("ConfigApplied", "False", "ApprovalRequired");
    assert!(message.contains("is the first on this switch"), "{message}");
    assert!(message.contains("- router bgp 65001 / bgp router-id 10.9.9.9"), "{message}");
    assert_eq!(leaf.lab.running("leaf1"), running, "what runs is the last good");
    let hash = leaf.status()["plan"]["hash"].clone();
    leaf.patch(&json!({"approvedPlan": hash}));
    leaf.switch_says(&[("Ready", "True", "Applied")]);
    assert!(
        leaf.runs("bgp router-id 10.0.0.1")
            && leaf.runs(&neighbor(11))
            && leaf.runs("neighbor 10.0.12.1 remote-as 65100")
    );

    // It survives a restart and FRR's own `write`, which drops our comments.
    agent.stop();
    leaf.vtysh(&["write memory"]);
    let _agent = leaf.lab.agent("leaf1");
    leaf.node_says("ConfigApplied", "True", "Applied");
    assert!(leaf.lab.get(&["node", "leaf1"])["metadata"]["labels"]["switchlet.io/health"].is_string());

    leaf.patch(&json!({"apply": {"policy": "Retired"}}));
    leaf.switch_says(&[("Ready", "True", "Retired"), ("Applied", "True", "Retired")]);
    assert_eq!(leaf.lab.running("leaf1"), running, "nothing of ours is left, and what was found is back");
    let lines = |text: &str| {
        let mut lines: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| {
                !line.is_empty()
                    && !line.starts_with('!')
                    && !line.ends_with("address-family")
                    && !line.starts_with("address-family")
            })
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines.dedup();
        lines
    };
    let now = fs::read_to_string(leaf.lab.frr_conf("leaf1")).unwrap();
    assert_eq!(lines(&now), lines(&startup), "{now}");
    wait_for("conditions and label are withdrawn", SOON, || {
        let node = leaf.lab.get(&["node", "leaf1"]);
        let text = node.to_string();
        if text.contains("switchlet.io/ConfigApplied\",\"reason")
            || text.contains("\"type\":\"switchlet.io/")
            || node["metadata"]["labels"]["switchlet.io/health"].is_string()
        {
            Err(text)
        } else {
            Ok(())
        }
    });
    // The Switch says nothing about a table that nobody looks after.
    assert!(leaf.status()["conditions"].as_array().unwrap().iter().all(|c| c["type"] != "Verified"));
}
