//! The commands for people who look after many switches, and the word of the policy, on a real API server with two real
//! switches. What they say is set against the kernels' own tables.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Agent, Api, Lab, binary, wait_for};
use crate::policy;
use crate::release::Release;

const SOON: Duration = Duration::from_secs(60);
const VIP: &str = "203.0.113.10/32";

/// Exit code, what it printed, what it complained of.
pub fn switchlet(lab: &Lab, args: &[&str]) -> (i32, String, String) {
    let admin = format!("KUBECONFIG={}", lab.env["KUBECONFIG_ADMIN"]);
    let output = lab.try_lab(&[&["in", "api", "env", &admin, &binary()], args].concat());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn says(lab: &Lab, args: &[&str], code: i32, parts: &[&str]) -> String {
    let mut seen = String::new();
    wait_for(&format!("{args:?} ends with {code} and says {parts:?}"), SOON, || {
        let (found, out, err) = switchlet(lab, args);
        seen = format!("{out}{err}");
        let all = parts.iter().all(|part| seen.contains(part));
        if found == code && all { Ok(()) } else { Err(format!("exit {found}\n{seen}")) }
    });
    seen
}

fn json(lab: &Lab, args: &[&str]) -> Value {
    let (_, out, err) = switchlet(lab, &[args, &["-o", "json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}{err}"))
}

fn endpoints(lab: &Lab, workers: &[u32]) {
    let list: Vec<String> = workers
        .iter()
        .map(|worker| format!("- {{addresses: [10.0.{worker}.1], nodeName: worker-{worker}}}\n"))
        .collect();
    lab.apply(&format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{port: 80}}]\nendpoints:\n{}",
        list.concat()
    ));
}

fn kernel(lab: &Lab, leaf: &str) -> Vec<String> {
    lab.kernel(leaf, VIP).unwrap_or_default()
}

fn columns(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// Two leaves on which three speakers announce a Service's address, and all is well.
fn up() -> Option<(Lab, Vec<Agent>)> {
    let lab = Lab::up(Api::Real, Release::V8_4)?;
    lab.populate();
    let agents = vec![lab.agent("leaf1"), lab.agent("leaf2")];
    lab.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
         spec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}\n",
    );
    lab.give_address("web", "203.0.113.10");
    endpoints(&lab, &[1, 2, 3]);
    for server in ["s1", "s2", "s3"] {
        lab.lab(&["announce", server, VIP]);
    }
    says(&lab, &["status"], 0, &["1/1", "ok: 2 switches: 2 ok, 0 degraded, 0 unknown, 0 stale"]);
    Some((lab, agents))
}

#[test]
fn a_person_sees_what_the_kernels_have() {
    let Some((lab, mut agents)) = up() else { return };

    // kubectl's own tables.
    wait_for("both are healthy", Duration::from_secs(100), || {
        let nodes = lab.kubectl(&["get", "nodes", "-L", "switchlet.io/health", "--no-headers"]);
        let leaves =
            nodes.lines().filter(|line| line.starts_with("leaf") && line.trim_end().ends_with(" ok"));
        if leaves.count() == 2 { Ok(()) } else { Err(nodes) }
    });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/columns/nodes.txt");
    let nodes = lab.kubectl(&["get", "nodes", "-o", &format!("custom-columns-file={}", file.display())]);
    let rows = columns(&nodes);
    assert_eq!(
        rows[0],
        ["NODE", "READY", "HEALTH", "APPLIED", "FIB", "FABRIC", "SINCE", "HEARTBEAT"],
        "{nodes}"
    );
    assert_eq!(rows[1][..6], ["leaf1", "True", "ok", "Applied", "InSync", "<none>"], "{nodes}");
    assert_eq!(rows[3][..5], ["worker-1", "True", "<none>", "<none>", "<none>"], "{nodes}");
    let table = lab.kubectl(&["get", "switches", "-n", "switchlet"]);
    let rows = columns(&table);
    let head = ["NAME", "NOS", "REVISION", "APPLIED", "VERIFIED", "VIPS", "PLAN", "HEARTBEAT", "AGE"];
    assert_eq!(rows[0], head, "{table}");
    let switch = lab.get(&["switch", "leaf1", "-n", "switchlet"]);
    let revision = switch["status"]["appliedRevision"].as_str().unwrap();
    assert_eq!(rows[1][..6], ["leaf1", "frr", revision, "True", "True", "1/1"], "{table}");
    assert!(
        rows[1].len() == 8 && rows[1][6].ends_with('s') | rows[1][6].contains('m'),
        "no plan, and a heartbeat: {table}"
    );
    lab.kubectl(&[
        "wait",
        "--for=condition=switchlet.io/FIBSynced",
        "node/leaf1",
        "node/leaf2",
        "--timeout=10s",
    ]);
    lab.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "switch/leaf1",
        "switch/leaf2",
        "-n",
        "switchlet",
        "--timeout=10s",
    ]);
    let described = lab.kubectl(&["describe", "node", "leaf1"]);
    assert!(
        described.contains("switchlet.io/agent, leaf1") || described.contains("switchlet.io/agent"),
        "{described}"
    );

    // As kubectl's plugin.
    let path = lab.scratch("plugin");
    std::fs::create_dir_all(&path).unwrap();
    symlink(binary(), path.join("kubectl-switchlet")).unwrap();
    let admin = format!("KUBECONFIG={}", lab.env["KUBECONFIG_ADMIN"]);
    let path = format!("PATH={}:/usr/bin:/bin", path.display());
    let plugin = lab.lab(&[
        "in",
        "api",
        "env",
        &admin,
        &path,
        &lab.env["KUBECTL"],
        "switchlet",
        "status",
        "-o",
        "yaml",
    ]);
    assert!(plugin.starts_with("verdict: ok"), "{plugin}");

    // Nothing has changed since the first commit, and that is told.
    let history = json(&lab, &["history", "leaf1"]);
    let first = &history["leaf1"][0];
    assert_eq!((&first["result"], &first["revision"]), (&"Applied".into(), &revision.into()), "{history}");
    assert_eq!((&first["class"], &first["reason"]), (&"add".into(), &"Applied".into()), "{history}");
    says(&lab, &["diff"], 0, &["leaf1    none", "leaf2    none"]);
    says(&lab, &["history", "leaf9"], 2, &["there is no Switch leaf9"]);

    // A node is drained.
    assert_eq!(kernel(&lab, "leaf1").len(), 3);
    says(
        &lab,
        &["drain-check", "worker-3", "--timeout", "0s"],
        1,
        &[
            "NOT safe: leaf1, leaf2 forward to worker-3",
            "192.168.1.15 (1 Service address)",
            "192.168.2.15 (1 Service address)",
        ],
    );
    says(&lab, &["drain-check", "worker-9", "--timeout", "0s"], 2, &["no switch knows worker-9"]);
    endpoints(&lab, &[1, 2]);
    lab.lab(&["announce", "s3"]);
    let (code, out, err) = switchlet(&lab, &["drain-check", "worker-3", "--timeout", "40s"]);
    assert!(
        code == 0 && out.contains("safe: no switch forwards to worker-3 since "),
        "exit {code}: {out}{err}"
    );
    assert_eq!(kernel(&lab, "leaf1"), ["192.168.1.11", "192.168.1.13"], "safe was said too early");
    assert_eq!(kernel(&lab, "leaf2"), ["192.168.2.11", "192.168.2.13"], "safe was said too early");

    // The kernel of one of them forwards there again, which no protocol knows of.
    let replace = "ip route replace 203.0.113.10/32 proto bgp metric 20 nexthop via 192.168.1.15";
    lab.lab(&[&["in", "leaf1"], replace.split(' ').collect::<Vec<_>>().as_slice()].concat());
    says(&lab, &["drain-check", "worker-3", "--timeout", "0s"], 1, &["leaf1 forward to worker-3"]);
    says(
        &lab,
        &["status"],
        1,
        &["203.0.113.10/32 (shop/web): via 1 of 2 switches; leaf1 disagrees: diverged, ", "1 degraded"],
    );
    for target in ["203.0.113.10", "shop/web"] {
        says(
            &lab,
            &["explain", target],
            1,
            &[
                "Service shop/web: LoadBalancer, policy Local, addresses 203.0.113.10",
                "endpoint 10.0.1.1 on worker-1: counts",
                "leaf1: diverged",
                "192.168.1.11 (worker-1): MISSING, NotInFib: holds: neighbour configured, session up, ",
                "FAILS: in the forwarding table; not reached: in hardware",
                "192.168.1.15 (worker-3): UNEXPECTED",
                "192.168.2.13 (worker-2): forwards",
            ],
        );
    }
    lab.lab(&["in", "leaf1", "ip", "route", "del", "203.0.113.10/32", "proto", "bgp", "metric", "20"]);
    says(&lab, &["explain", "web", "-n", "switchlet"], 0, &["192.168.1.11 (worker-1): forwards"]);
    says(&lab, &["explain", "203.0.113.99"], 0, &["leaf1: does not know it"]);

    // Somebody at the switch; the policy lets it be.
    let report = r#"{"spec":{"apply":{"drift":"Report"}}}"#;
    lab.kubectl(&["patch", "switch", "leaf2", "-n", "switchlet", "--type=merge", "-p", report]);
    says(&lab, &["diff", "leaf2"], 0, &["none"]);
    lab.lab(&["vtysh", "leaf2", "-c", "configure terminal", "-c", "no ip prefix-list SWITCHLET-VIPS-V4"]);
    says(
        &lab,
        &["diff"],
        1,
        &["leaf1    none", "leaf2    differs", "Drifted: ", "leaf2 drift:", "  - ip prefix-list SWITCHLET-"],
    );

    // One falls silent: what it said last is worth nothing.
    agents.pop().unwrap().stop();
    let old = r#"{"status":{"heartbeat":"2026-01-01T00:00:00Z"}}"#;
    lab.kubectl(&[
        "patch",
        "switch",
        "leaf2",
        "-n",
        "switchlet",
        "--subresource=status",
        "--type=merge",
        "-p",
        old,
    ]);
    says(
        &lab,
        &["status"],
        2,
        &["STALE", "leaf2: its agent was last heard of", "1 ok, 0 degraded, 0 unknown, 1 stale"],
    );
    says(
        &lab,
        &["drain-check", "worker-3", "--timeout", "0s"],
        2,
        &["NOT known to be safe: leaf2 do not tell"],
    );
    says(
        &lab,
        &["drain-check", "worker-3", "--timeout", "0s", "--without", "leaf2"],
        0,
        &["safe: no switch forwards to worker-3"],
    );
    says(&lab, &["explain", "shop/web"], 2, &["leaf2: stale"]);

    // The other one is given back, once nothing goes through it: its words are taken from its Node.
    lab.kubectl(&["delete", "service", "web", "-n", "shop"]);
    for server in ["s1", "s2"] {
        lab.lab(&["announce", server]);
    }
    wait_for("no way is left", SOON, || {
        let ways = kernel(&lab, "leaf1");
        if ways.is_empty() { Ok(()) } else { Err(format!("{ways:?}")) }
    });
    says(&lab, &["status"], 2, &["0/0"]);
    let retire = r#"{"spec":{"apply":{"policy":"Retired"}}}"#;
    lab.kubectl(&["patch", "switch", "leaf1", "-n", "switchlet", "--type=merge", "-p", retire]);
    says(&lab, &["status"], 2, &["retired", "True/Retired"]);
    wait_for("the Node says nothing any more", SOON, || {
        let node = lab.get(&["node", "leaf1"]);
        let label = &node["metadata"]["labels"]["switchlet.io/health"];
        let said = node["status"]["conditions"].to_string().contains("switchlet.io/");
        if label.is_null() && !said { Ok(()) } else { Err(node.to_string()) }
    });
}

#[test]
fn an_agent_says_whether_its_token_is_bounded() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    lab.populate();
    let agent = lab.agent("leaf1");
    let standing = |word: &str, issue: bool| {
        wait_for(&format!("the policy is {word}"), SOON, || {
            let status = lab.get(&["switch", "leaf1", "-n", "switchlet"])["status"].clone();
            let failed = status["failedResources"].to_string().contains("PolicyNotEnforced");
            let metric = format!("switchlet_policy{{standing=\"{word}\"}} 1");
            let shown = lab.endpoint("leaf1", "/metrics").contains(&metric);
            let all = status["capabilities"]["policy"] == word && failed == issue && shown;
            if all { Ok(()) } else { Err(status.to_string()) }
        });
    };
    standing("enforced", false);
    agent.stop();
    lab.kubectl(&["delete", "validatingadmissionpolicybinding", "switchlet-agent-nodes"]);
    // The API server hears of it a moment later; an agent that found it in force does not ask again for an hour.
    policy::acts_no_longer(&lab, &lab.kubeconfig("leaf1"));
    let agent = lab.agent("leaf1");
    standing("absent", true);
    says(&lab, &["status"], 2, &["leaf1: the admission policy is not in force"]);
    // What was asked was never stored.
    let nodes = lab.kubectl(&["get", "nodes", "-o", "yaml"]);
    assert!(!nodes.contains("PolicyProbe"), "{nodes}");
    // It is applied again, and that is noticed without a restart.
    lab.kubectl(&["apply", "-k", Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").to_str().unwrap()]);
    standing("enforced", false);
    agent.stop();
}

/// One row of `preflight`: how it stands, and what was found.
fn preflight(lab: &Lab, kubeconfig: &str, starter: &[&str], what: &str) -> (String, String) {
    let (namespace, instance) = (&lab.env["NS_LEAF1"], &lab.env["FRR_LEAF1"]);
    let output = std::process::Command::new("ip")
        .args(["netns", "exec", namespace])
        .args(starter)
        .args([&binary(), "preflight", "--node", "leaf1", "--namespace", "switchlet", "-o", "json"])
        .args(["--kubeconfig", kubeconfig, "--frr-instance", instance, "--frr-root", &lab.env["FRR_ROOT"]])
        .arg("--state-dir")
        .arg(lab.scratch("agent-leaf1"))
        .env_remove("KUBECONFIG")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let checks: Vec<Value> = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let has = |stands: &str| checks.iter().any(|check| check["stands"] == stands);
    let code = if has("fail") {
        1
    } else if has("could-not-look") {
        2
    } else {
        0
    };
    assert_eq!(output.status.code(), Some(code), "{text}");
    let check = checks.iter().find(|check| check["check"].as_str().unwrap().starts_with(what));
    // What a server publishes about its kinds comes a little later.
    let Some(check) = check else { return ("absent".to_owned(), text) };
    let word = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let bad = check["stands"] != "ok";
    assert_eq!(bad, check["remedy"].is_string(), "what is not well has a remedy: {check}");
    (word("stands"), word("found"))
}

#[test]
fn what_is_missing_is_said_before_the_first_apply() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    let admin = lab.env["KUBECONFIG_ADMIN"].clone();
    let look = |what: &str| preflight(&lab, &admin, &[], what);
    let stands = |what: &str, word: &str, part: &str| {
        let mut last = (String::new(), String::new());
        wait_for(&format!("{what} is {word}"), SOON, || {
            last = look(what);
            if last.0 == word && last.1.contains(part) { Ok(()) } else { Err(format!("{last:?}")) }
        });
    };
    // Of an empty cluster.
    stands("API server", "ok", "v1.");
    stands("clock", "ok", "");
    stands("RBAC", "fail", "may not: get nodes, list nodes, watch nodes, get services");
    stands("CRD", "fail", "there is none");
    stands("admission policy", "warn", "switchlet-agent-nodes");
    stands("Switch switchlet/leaf1", "fail", "there is none");
    stands("Node leaf1", "fail", "there is none");
    lab.populate();
    stands("RBAC", "ok", "36 of 36");
    stands("CRD", "ok", "");
    stands("admission policy", "ok", "4 bindings");
    stands("Switch switchlet/leaf1", "ok", "names its ConfigMaps (1)");
    stands("ConfigMap switchlet/leaf1-", "ok", "");
    stands("Node's label", "ok", "true");
    stands("Node's taint", "warn", "ordinary pods");
    stands("pods on the Node", "ok", "none that touches");
    for part in
        ["FRR", "FRR's bgpd", "FRR's bfdd", "kernel", "--listen", "--state-dir", "sysctl net.ipv4.ip_forward"]
    {
        stands(part, "ok", "");
    }
    stands("guard", "warn", "does not answer");
    // The agent itself sees less, and says so.
    let token = lab.kubeconfig("leaf1");
    for (what, word) in
        [("RBAC", "ok"), ("CRD", "ok"), ("admission policy", "ok"), ("pods on the Node", "could-not-look")]
    {
        assert_eq!(preflight(&lab, &token, &[], what).0, word, "{what}");
    }
    let refuses = preflight(&lab, &token, &[], "admission policy").1;
    assert!(refuses.starts_with("refuses"), "{refuses}");

    // One thing after the other is missing.
    lab.kubectl(&["delete", "rolebinding", "agent", "-n", "switchlet"]);
    stands("RBAC", "fail", "may not: get configmaps, list configmaps");
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/history";
    let older = format!(r#"[{{"op":"remove","path":"{path}"}}]"#);
    lab.kubectl(&["patch", "crd", "switches.switchlet.io", "--type=json", "-p", &older]);
    stands("CRD", "fail", "status has no history");
    lab.kubectl(&["delete", "validatingadmissionpolicybinding", "switchlet-agent-events"]);
    stands("admission policy", "warn", "not there: switchlet-agent-events");
    lab.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: kube-proxy-x7, namespace: switchlet}, \
         spec: {nodeName: leaf1, serviceAccountName: agent, containers: [{name: a, image: none}]}}",
    );
    stands("pods on the Node", "fail", "switchlet/kube-proxy-x7 (it answers for Service addresses itself)");
    lab.kubectl(&["taint", "node", "leaf1", "switchlet.io/switch=:NoExecute"]);
    stands("Node's taint", "ok", "switchlet.io/switch:NoExecute");
    lab.kubectl(&["label", "node", "leaf1", "switchlet.io/switch-"]);
    stands("Node's label", "fail", "not \"true\"");
    let maps = lab.kubectl(&["get", "configmaps", "-n", "switchlet", "-o", "name"]);
    let map = maps.lines().find(|name| name.starts_with("configmap/leaf1-")).unwrap();
    lab.kubectl(&["delete", "-n", "switchlet", map]);
    stands("ConfigMap switchlet/leaf1-", "fail", "is not there");
    lab.lab(&["in", "leaf1", "sysctl", "-q", "-w", "net.ipv4.ip_forward=0"]);
    stands("sysctl net.ipv4.ip_forward", "fail", "0: nothing is forwarded");
    lab.lab(&["frr", "kill", "leaf1", "bfdd"]);
    stands("FRR's bfdd", "warn", "bfdd.vty");
    lab.lab(&["frr", "kill", "leaf1", "zebra"]);
    stands("FRR", "fail", "zebra does not answer");
    // MetalLB of before 0.16, and the same with its cure.
    let crd = |format: &str| {
        let asn = format!("{{type: integer, format: {format}, minimum: 0, maximum: 4294967295}}");
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: bgppeers.metallb.io}}\n\
             spec: {{group: metallb.io, scope: Namespaced, names: {{kind: BGPPeer, plural: bgppeers, singular: bgppeer, listKind: BGPPeerList}}, \
             versions: [{{name: v1beta2, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, properties: {{\
             spec: {{type: object, properties: {{myASN: {asn}, peerASN: {asn}}}}}}}}}}}}}]}}\n"
        )
    };
    lab.apply(&crd("int32"));
    stands("MetalLB's CRDs", "fail", "stores no BGPPeer");
    let peer = "{apiVersion: metallb.io/v1beta2, kind: BGPPeer, metadata: {name: a, namespace: switchlet}, spec: {myASN: 65001, peerASN: 65002}}";
    let file = lab.scratch("peer.yaml");
    std::fs::write(&file, peer).unwrap();
    let stored = || lab.try_lab(&["k", "apply", "-f", file.to_str().unwrap()]).status.success();
    assert!(!stored(), "the API server's own word");
    lab.apply(&crd("int64"));
    stands("MetalLB's CRDs", "ok", "");
    assert!(stored());
    // Another time than the API server's.
    let ahead = preflight(&lab, &admin, &["faketime", "-f", "+90s"], "clock");
    assert!(ahead.0 == "fail" && ahead.1.ends_with("s ahead of the API server's"), "{ahead:?}");
    // And the port.
    let listener = [
        "in",
        "leaf1",
        "python3",
        "-c",
        "import socket,time; s=socket.create_server(('127.0.0.1',9855)); time.sleep(20)",
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| lab.try_lab(&listener));
        stands("--listen 127.0.0.1:9855", "warn", "is taken");
    });
}
