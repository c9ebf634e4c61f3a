//! The slice on real parts: a ConfigMap reaches FRR, a Service reaches the kernel, and the Node says whether they agree.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::lab::{Api, Lab, eventually, wait_for};
use crate::release::Release;
use serde_json::Value;

// What depends on FRR; the rest is about the API server.
on_each_frr!(
    a_configmap_reaches_the_switch_and_the_node_says_whether_the_fib_obeys,
    what_does_not_come_in_is_named_by_its_first_failing_rung,
    two_agents_do_not_act_on_one_switch,
);

const SOON: Duration = Duration::from_secs(45);

/// A Service with policy Local, an address, and endpoints on these workers.
fn service(lab: &Lab, address: &str, workers: &[u32]) {
    lab.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
         spec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}\n",
    );
    lab.give_address("web", address);
    endpoints(lab, workers);
}

fn endpoints(lab: &Lab, workers: &[u32]) {
    let list: Vec<String> = workers
        .iter()
        .map(|worker| format!("- {{addresses: [10.0.{worker}.1], nodeName: worker-{worker}}}\n"))
        .collect();
    let list = if list.is_empty() { "[]".to_owned() } else { format!("\n{}", list.concat()) };
    lab.apply(&format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{port: 80}}]\nendpoints: {list}\n"
    ));
}

fn announce(lab: &Lab, prefix: &str, servers: &[u32]) {
    for server in 1..=3 {
        let name = format!("s{server}");
        if servers.contains(&server) {
            lab.lab(&["announce", &name, prefix]);
        } else {
            lab.lab(&["announce", &name]);
        }
    }
}

fn condition_is(lab: &Lab, node: &str, kind: &str, status: &str, reason: &str) {
    wait_for(&format!("{kind} of {node} is {status}/{reason}"), SOON, || {
        let seen = lab.condition(node, kind).unwrap_or_default();
        if seen["status"] == status && seen["reason"] == reason { Ok(()) } else { Err(seen.to_string()) }
    });
}

fn verdict_is(lab: &Lab, what: &str, limit: Duration, check: impl Fn(&Value) -> bool) {
    wait_for(what, limit, || {
        let verdict = lab.verdict("leaf1");
        if check(&verdict) { Ok(()) } else { Err(verdict.to_string()) }
    });
}

fn kernel_is(lab: &Lab, leaf: &str, prefix: &str, hops: &[&str]) {
    wait_for(&format!("{prefix} on {leaf} is {hops:?}"), SOON, || {
        let seen = lab.kernel(leaf, prefix).unwrap_or_default();
        if seen == hops { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

/// Nothing on the switch is other than it was: neither its text nor a session.
fn unchanged(lab: &Lab, leaf: &str, before: &(String, Vec<(String, u64, u64)>), what: &str) {
    let now = (lab.running(leaf), sessions(lab, leaf));
    assert_eq!(now.0, before.0, "{what}");
    for (now, before) in now.1.iter().zip(&before.1) {
        assert_eq!((&now.0, now.2), (&before.0, before.2), "{what}: a session was dropped");
        // FRR computes the time from the uptime in whole seconds.
        assert!(now.1.abs_diff(before.1) <= 2, "{what}: a session is new: {now:?}, was {before:?}");
    }
}

/// Each peer's time of establishment, and how often it was dropped.
fn sessions(lab: &Lab, leaf: &str) -> Vec<(String, u64, u64)> {
    let json: Value =
        serde_json::from_str(&lab.lab(&["vtysh", leaf, "-c", "show bgp summary json"])).unwrap();
    let of = |family: &str| json[family]["peers"].as_object().cloned().unwrap_or_default();
    of("ipv4Unicast")
        .iter()
        .chain(&of("ipv6Unicast"))
        .map(|(peer, state)| {
            let established = state["peerUptimeEstablishedEpoch"].as_u64().unwrap_or_default();
            (peer.clone(), established, state["connectionsDropped"].as_u64().unwrap_or_default())
        })
        .collect()
}

fn established(lab: &Lab, leaf: &str) {
    wait_for(&format!("six sessions of {leaf}"), Duration::from_secs(60), || {
        let json = lab.lab(&["vtysh", leaf, "-c", "show bgp summary json"]);
        let count = json.matches("\"state\":\"Established\"").count();
        // Each session carries the family of its addresses.
        if count == 6 { Ok(()) } else { Err(format!("{count} of 6")) }
    });
}

fn a_configmap_reaches_the_switch_and_the_node_says_whether_the_fib_obeys(release: Release) {
    let Some(lab) = Lab::up(Api::Real, release) else { return };
    lab.populate();
    // Somebody else's configuration, which must survive everything below.
    lab.lab(&[
        "vtysh",
        "leaf1",
        "-c",
        "configure terminal",
        "-c",
        "ip prefix-list OPERATOR seq 5 permit 10.0.0.0/8",
    ]);
    let foreign = fs::read_to_string(lab.frr_conf("leaf1")).unwrap();
    let (leaf1, _leaf2) = (lab.agent("leaf1"), lab.agent("leaf2"));
    for leaf in ["leaf1", "leaf2"] {
        condition_is(&lab, leaf, "ConfigApplied", "True", "Applied");
        condition_is(&lab, leaf, "FIBSynced", "True", "NothingExpected");
        established(&lab, leaf);
    }
    lab.kubectl(&["wait", "--for=condition=Ready", "switch/leaf1", "-n", "switchlet", "--timeout=10s"]);
    let startup = fs::read_to_string(lab.frr_conf("leaf1")).unwrap();
    assert!(startup.contains("neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS"), "{startup}");
    assert!(foreign.lines().all(|line| startup.contains(line)), "the operator's lines are gone:\n{startup}");
    assert!(lab.running("leaf1").contains("ip prefix-list OPERATOR seq 5 permit 10.0.0.0/8"));
    // The far end agrees.
    assert!(lab.lab(&["birdc", "s1", "show", "protocols"]).matches("Established").count() >= 4);

    let vip = "203.0.113.10/32";
    service(&lab, "203.0.113.10", &[1, 2, 3]);
    announce(&lab, vip, &[1, 2, 3]);
    (1..=3).for_each(|server| drop(lab.lab(&["vip", &format!("s{server}"), "add", vip])));
    kernel_is(&lab, "leaf1", vip, &["192.168.1.11", "192.168.1.13", "192.168.1.15"]);
    kernel_is(&lab, "leaf2", vip, &["192.168.2.11", "192.168.2.13", "192.168.2.15"]);
    for leaf in ["leaf1", "leaf2"] {
        condition_is(&lab, leaf, "FIBSynced", "True", "InSync");
    }
    let capabilities = lab.get(&["switch", "leaf1", "-n", "switchlet"])["status"]["capabilities"].clone();
    assert_eq!(capabilities["release"], release.number(), "{capabilities}");
    assert_eq!(capabilities["resilientHash"], "UnsupportedByFRR", "{capabilities}");
    assert_eq!(capabilities["multipathHashIPv4"], "layer4", "{capabilities}");
    let asked: Value = serde_json::from_str(&lab.lab(&["ask", "203.0.113.10", "60"])).unwrap();
    assert_eq!(
        (asked["lost"].as_u64(), asked["answers"].as_object().map(serde_json::Map::len)),
        (Some(0), Some(3)),
        "{asked}"
    );

    // An endpoint moves, in both orders, and nobody is alarmed.
    let since = lab.condition("leaf1", "FIBSynced").unwrap()["lastTransitionTime"].clone();
    endpoints(&lab, &[1, 2]);
    verdict_is(&lab, "converging, cluster first", SOON, |verdict| {
        verdict["vips"][0]["state"] == "converging"
    });
    announce(&lab, vip, &[1, 2]);
    kernel_is(&lab, "leaf1", vip, &["192.168.1.11", "192.168.1.13"]);
    verdict_is(&lab, "equal again", SOON, |verdict| verdict["verdict"] == "ok");
    announce(&lab, vip, &[1, 2, 3]);
    verdict_is(&lab, "converging, FIB first", SOON, |verdict| {
        verdict["vips"][0]["differences"][0]["rung"] == "UnexpectedNextHop"
    });
    endpoints(&lab, &[1, 2, 3]);
    verdict_is(&lab, "equal again", SOON, |verdict| verdict["verdict"] == "ok");
    let now = lab.condition("leaf1", "FIBSynced").unwrap();
    assert_eq!((now["status"].as_str(), &now["lastTransitionTime"]), (Some("True"), &since), "a false alarm");

    // The kernel's route is replaced behind FRR's back.
    let replace = [
        "ip",
        "route",
        "replace",
        vip,
        "proto",
        "bgp",
        "metric",
        "20",
        "nexthop",
        "via",
        "192.168.1.11",
        "nexthop",
        "via",
        "192.168.1.13",
    ];
    lab.lab(&[&["in", "leaf1"], replace.as_slice()].concat());
    lab.kubectl(&["wait", "--for=condition=switchlet.io/FIBSynced=False", "node/leaf1", "--timeout=5s"]);
    let zebra = lab.lab(&["vtysh", "leaf1", "-c", "show ip route 203.0.113.10"]);
    assert_eq!(zebra.matches("* 192.168.1.").count(), 3, "zebra believes in three installed hops: {zebra}");
    let fault = lab.condition("leaf1", "FIBSynced").unwrap();
    assert_eq!(fault["reason"], "SwitchDiverged");
    let message = fault["message"].as_str().unwrap();
    assert!(
        message.contains(vip) && message.contains("192.168.1.15 (worker-3) missing (NotInFib)"),
        "{message}"
    );
    assert_eq!(lab.get(&["node", "leaf1"])["metadata"]["labels"]["switchlet.io/health"], "degraded");
    assert_eq!(lab.condition("leaf2", "FIBSynced").unwrap()["status"], "True");
    lab.lab(&["in", "leaf1", "ip", "route", "del", vip, "proto", "bgp", "metric", "20"]);
    condition_is(&lab, "leaf1", "FIBSynced", "True", "InSync");
    kernel_is(&lab, "leaf1", vip, &["192.168.1.11", "192.168.1.13", "192.168.1.15"]);

    // A bad commit is refused and nothing changes; the commit before it is applied again.
    let before = (lab.running("leaf1"), sessions(&lab, "leaf1"));
    let overlay = lab.scratch("overlay");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays"), &overlay);
    let leaf1_overlay = overlay.join("lab/leaf1");
    let kustomization = fs::read_to_string(leaf1_overlay.join("kustomization.yaml")).unwrap();
    fs::write(leaf1_overlay.join("frr.conf.tera"), "router bgp {{ asn }}\n bgp router-id {{ routerid }}\n")
        .unwrap();
    fs::write(
        leaf1_overlay.join("kustomization.yaml"),
        kustomization.replace("files: [switch.yaml]", "files: [switch.yaml, frr.conf.tera]"),
    )
    .unwrap();
    lab.kubectl(&["apply", "-k", overlay.join("lab").to_str().unwrap()]);
    condition_is(&lab, "leaf1", "ConfigApplied", "False", "RenderFailed");
    let message = lab.condition("leaf1", "ConfigApplied").unwrap()["message"].clone();
    assert!(message.as_str().unwrap().starts_with("frr.conf.tera:2:19: "), "{message}");
    for (kind, status) in [("Ready", "False"), ("Stalled", "True"), ("Reconciling", "False")] {
        wait_for(&format!("{kind} of the new generation is {status}"), SOON, || {
            let seen = lab.switch_condition("leaf1", kind).unwrap();
            if seen["status"] == status && seen["observedGeneration"] == 2 {
                Ok(())
            } else {
                Err(seen.to_string())
            }
        });
    }
    unchanged(&lab, "leaf1", &before, "a refused commit changed something");
    lab.kubectl(&[
        "apply",
        "-k",
        Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays/lab").to_str().unwrap(),
    ]);
    condition_is(&lab, "leaf1", "ConfigApplied", "True", "Applied");
    wait_for("the Switch is ready again", SOON, || {
        let seen = lab.switch_condition("leaf1", "Ready").unwrap();
        if seen["status"] == "True" && seen["observedGeneration"] == 3 {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    });
    unchanged(&lab, "leaf1", &before, "the way back changed something");

    // A restart of the agent changes nothing on the switch.
    leaf1.stop();
    let leaf1 = lab.agent("leaf1");
    assert!(eventually(SOON, || lab.endpoint("leaf1", "/readyz") == "ok\n"));
    unchanged(&lab, "leaf1", &before, "a restart changed something");
    assert!(!leaf1.log().lines().rev().take(3).any(|line| line.contains("sent commands")), "{}", leaf1.log());
}

/// Reasons for what is missing, each on real parts.
fn what_does_not_come_in_is_named_by_its_first_failing_rung(release: Release) {
    let Some(lab) = Lab::up(Api::Real, release) else { return };
    lab.populate();
    let _agent = lab.agent("leaf1");
    condition_is(&lab, "leaf1", "ConfigApplied", "True", "Applied");
    established(&lab, "leaf1");
    let vip = "203.0.113.10/32";
    service(&lab, "203.0.113.10", &[1, 2, 3]);
    announce(&lab, vip, &[1, 2]);
    kernel_is(&lab, "leaf1", vip, &["192.168.1.11", "192.168.1.13"]);
    let rung = |expected: &str| {
        verdict_is(&lab, &format!("rung {expected}"), SOON, |verdict| verdict["vips"][0]["rung"] == expected);
    };
    verdict_is(&lab, "only worker-3 is missing, not received", SOON, |verdict| {
        let differences = verdict["vips"][0]["differences"].as_array();
        differences.is_some_and(|all| {
            all.len() == 1 && all[0]["node"] == "worker-3" && all[0]["rung"] == "PrefixNotReceived"
        })
    });
    lab.lab(&["speaker", "stop", "s3"]);
    // Its BFD ends with it.
    rung("BfdDown");
    // After the time that speakers may take it is a fault, of the announcer and not of the switch.
    wait_for("AnnouncerMissing", Duration::from_secs(90), || {
        let seen = lab.condition("leaf1", "FIBSynced").unwrap_or_default();
        if seen["reason"] == "AnnouncerMissing" { Ok(()) } else { Err(seen.to_string()) }
    });
    // The switch's own lack of a neighbour, made behind the agent's back; it is put back at the next look for drift.
    endpoints(&lab, &[]);
    announce(&lab, vip, &[]);
    verdict_is(&lab, "absent by intent", SOON, |verdict| {
        let vip = &verdict["vips"][0];
        vip["state"] == "ok"
            && vip["rung"] == "NoEndpoints"
            && lab.kernel("leaf1", "203.0.113.10/32").is_none()
    });
    // A route of any protocol inside a pool that nobody expects.
    lab.lab(&["in", "leaf1", "ip", "route", "add", "203.0.113.99/32", "via", "192.168.1.11"]);
    condition_is(&lab, "leaf1", "FIBSynced", "False", "SwitchDiverged");
    let message = lab.condition("leaf1", "FIBSynced").unwrap()["message"].clone();
    assert!(
        message.as_str().unwrap().contains("203.0.113.99/32: 192.168.1.11 (worker-1) unexpected"),
        "{message}"
    );
    lab.lab(&["in", "leaf1", "ip", "route", "del", "203.0.113.99/32"]);
    condition_is(&lab, "leaf1", "FIBSynced", "True", "InSync");
    // The VIP on the switch's own loopback forwards nothing.
    lab.lab(&["in", "leaf1", "ip", "addr", "add", "203.0.113.10/32", "dev", "lo"]);
    verdict_is(&lab, "WrongRouteKind", SOON, |verdict| {
        let vip = &verdict["vips"][0];
        vip["unexpected"][0] == "local" && vip["rung"] == "WrongRouteKind" && vip["state"] == "diverged"
    });
}

/// Nothing is written while nothing changes: counted at the API server.
#[test]
fn silence_costs_no_write() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    lab.populate();
    let _agent = lab.agent("leaf1");
    condition_is(&lab, "leaf1", "FIBSynced", "True", "NothingExpected");
    established(&lab, "leaf1");
    // The label may improve a minute after a start; here it was never worse.
    std::thread::sleep(Duration::from_secs(8));
    let writes = || -> u64 {
        lab.kubectl(&["get", "--raw", "/metrics"])
            .lines()
            .filter(|line| line.starts_with("apiserver_request_total{"))
            .filter(|line| line.contains("resource=\"nodes\"") || line.contains("resource=\"switches\""))
            .filter(|line| {
                ["APPLY", "PATCH", "PUT", "POST"]
                    .iter()
                    .any(|verb| line.contains(&format!("verb=\"{verb}\"")))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    };
    let before = writes();
    assert!(before > 0, "the metric is not what it was");
    std::thread::sleep(Duration::from_secs(20));
    assert_eq!(writes(), before);
    let version = || lab.get(&["node", "leaf1"])["metadata"]["resourceVersion"].clone();
    let node = version();
    lab.lab(&["node", "worker-1", "--label", "unrelated=yes"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(version(), node, "another Node's label is none of our business");
}

/// The API server comes and goes; the agent stays, and goes on where it was.
#[test]
fn nothing_ends_because_the_api_server_does() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    lab.populate();
    let mut agent = lab.agent("leaf1");
    condition_is(&lab, "leaf1", "FIBSynced", "True", "NothingExpected");
    established(&lab, "leaf1");
    let vip = "203.0.113.10/32";
    service(&lab, "203.0.113.10", &[1, 2, 3]);
    announce(&lab, vip, &[1, 2, 3]);
    condition_is(&lab, "leaf1", "FIBSynced", "True", "InSync");
    lab.lab(&["api", "kill"]);
    // The data plane is judged all the same, and the verdict can be read on the switch.
    lab.lab(&[
        "in",
        "leaf1",
        "ip",
        "route",
        "replace",
        vip,
        "proto",
        "bgp",
        "metric",
        "20",
        "nexthop",
        "via",
        "192.168.1.11",
    ]);
    verdict_is(&lab, "a verdict without API server", SOON, |verdict| {
        verdict["vips"][0]["state"] == "diverged"
    });
    assert!(agent.is_running());
    lab.lab(&["api", "start"]);
    wait_for("the report arrives late", Duration::from_secs(90), || {
        let seen = lab.condition("leaf1", "FIBSynced").unwrap_or_default();
        if seen["reason"] == "SwitchDiverged" { Ok(()) } else { Err(seen.to_string()) }
    });
    // And the watches live again.
    lab.lab(&["in", "leaf1", "ip", "route", "del", vip, "proto", "bgp", "metric", "20"]);
    endpoints(&lab, &[1]);
    announce(&lab, vip, &[1]);
    verdict_is(&lab, "the watches live again", Duration::from_secs(90), |verdict| {
        verdict["verdict"] == "ok" && verdict["vips"][0]["expected"] == serde_json::json!(["192.168.1.11"])
    });
    assert!(agent.is_running());
}

/// Connections that die without a word: their packets are dropped, new connections work.
#[test]
fn a_dead_connection_is_noticed_within_a_minute() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    lab.populate();
    let _agent = lab.agent("leaf1");
    condition_is(&lab, "leaf1", "FIBSynced", "True", "NothingExpected");
    let open = lab.lab(&["in", "leaf1", "ss", "-Htn", "state", "established", "dst", "172.31.0.1"]);
    let ports: Vec<&str> =
        open.lines().filter_map(|line| line.split_whitespace().nth(2)?.rsplit(':').next()).collect();
    assert!(ports.len() >= 5, "a connection a watch: {open}");
    let ports = ports.join(", ");
    let chain = |hook: &str, side: &str| {
        format!("chain {hook} {{\ntype filter hook {hook} priority 0;\ntcp {side} {{ {ports} }} drop;\n}}\n")
    };
    let rules = lab.scratch("dead.nft");
    let text = format!("table inet dead {{\n{}{}}}\n", chain("output", "sport"), chain("input", "dport"));
    fs::write(&rules, text).unwrap();
    lab.lab(&["in", "leaf1", "nft", "-f", rules.to_str().unwrap()]);
    service(&lab, "203.0.113.10", &[1, 2, 3]);
    let began = std::time::Instant::now();
    verdict_is(&lab, "the Service is seen over new connections", Duration::from_secs(100), |verdict| {
        verdict["vips"][0]["expected"].as_array().is_some_and(|hops| hops.len() == 3)
    });
    assert!(began.elapsed() > Duration::from_secs(5), "the connections were not dead");
}

/// The Node is made again: our words are on it again too.
#[test]
fn a_node_that_was_made_again_gets_its_conditions_back() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    lab.populate();
    let _agent = lab.agent("leaf1");
    condition_is(&lab, "leaf1", "FIBSynced", "True", "NothingExpected");
    lab.kubectl(&["delete", "node", "leaf1"]);
    std::thread::sleep(Duration::from_secs(1));
    lab.lab(&["node", "leaf1", "--ip", "172.31.0.11"]);
    condition_is(&lab, "leaf1", "FIBSynced", "True", "NothingExpected");
    condition_is(&lab, "leaf1", "ConfigApplied", "True", "Applied");
}

/// One agent acts on a switch; a second one says so and waits.
fn two_agents_do_not_act_on_one_switch(release: Release) {
    let Some(lab) = Lab::up(Api::Real, release) else { return };
    lab.populate();
    let first = lab.agent("leaf1");
    condition_is(&lab, "leaf1", "ConfigApplied", "True", "Applied");
    let kubeconfig = lab.kubeconfig("leaf1");
    let elsewhere = lab.scratch("elsewhere");
    let second = lab.agent_with(
        "leaf1",
        &[
            "--namespace",
            "switchlet",
            "--kubeconfig",
            &kubeconfig,
            "--state-dir",
            elsewhere.to_str().unwrap(),
            "--listen",
            "127.0.0.1:9856",
        ],
    );
    assert!(
        eventually(SOON, || second.log().contains("another agent runs on this switch")),
        "{}",
        second.log()
    );
    first.stop();
    let ready =
        || lab.try_lab(&["in", "leaf1", "curl", "-s", "--max-time", "2", "http://127.0.0.1:9856/readyz"]);
    assert!(eventually(SOON, || ready().stdout == b"ok\n"), "{}", second.log());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
