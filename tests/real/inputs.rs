//! What the cluster's objects and the switch's own daemons get wrong: one clear message on the condition, in an Event and in the
//! log, and the running switch stays as it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use crate::lab::{Agent, Api, Lab, wait_for};
use crate::release::Release;
use serde_json::{Value, json};

on_each_frr!(a_daemon_that_lost_its_state_or_its_socket_is_named);

const SOON: Duration = Duration::from_secs(45);

const SETTINGS: &str = "\
version: 1
asn: 65001
routerId: 10.0.0.1
vips: {pools: [203.0.113.0/24]}
peering:
  peerAsn: external
  nodes:
    selector: {matchLabels: {role: worker}}
    subnets: [192.168.1.0/24]
verify: {convergence: 3s}
";

struct Leaf {
    lab: Lab,
    agent: Agent,
    running: String,
    startup: Vec<u8>,
}

impl Leaf {
    fn up(release: Release) -> Option<Self> {
        let lab = Lab::up(Api::Real, release)?;
        lab.populate();
        map(&lab, "good", &json!({"data": {"switch.yaml": SETTINGS}}));
        name_maps(&lab, &["good"]);
        let agent = lab.agent("leaf1");
        let leaf = Self { running: String::new(), startup: Vec::new(), lab, agent };
        leaf.node_says("ConfigApplied", "True", "Applied");
        Some(Self {
            running: leaf.lab.running("leaf1"),
            startup: fs::read(leaf.lab.frr_conf("leaf1")).unwrap(),
            ..leaf
        })
    }

    fn node_says(&self, kind: &str, status: &str, reason: &str) -> String {
        wait_for(&format!("{kind} is {status}/{reason}"), SOON, || {
            let seen = self.lab.condition("leaf1", kind).unwrap_or_default();
            if seen["status"] == status && seen["reason"] == reason { Ok(()) } else { Err(seen.to_string()) }
        });
        self.lab.condition("leaf1", kind).unwrap()["message"].as_str().unwrap().to_owned()
    }

    /// The message is in the log and in an Event on the Node, and the switch is as it was.
    fn said_everywhere(&self, reason: &str, text: &str) {
        wait_for(&format!("{reason} in the log: {text}"), SOON, || {
            let log = self.agent.log();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
        let uid = self.lab.get(&["node", "leaf1"])["metadata"]["uid"].clone();
        wait_for(&format!("{reason} as an Event: {text}"), SOON, || {
            let all = self.lab.get(&["events.events.k8s.io", "-n", "default"]);
            let found = all["items"].as_array().unwrap().iter().any(|event| {
                event["reason"] == reason
                    && event["type"] == "Warning"
                    && event["regarding"]["uid"] == uid
                    && event["note"].as_str().is_some_and(|note| note.contains(text))
            });
            if found { Ok(()) } else { Err(all.to_string()) }
        });
        assert_eq!(self.lab.running("leaf1"), self.running, "{text}: running changed");
        assert_eq!(fs::read(self.lab.frr_conf("leaf1")).unwrap(), self.startup, "{text}: frr.conf changed");
    }

    fn refuses(&self, reason: &str, text: &str) {
        let message = self.node_says("ConfigApplied", "False", reason);
        assert!(message.contains(text), "{message}");
        self.said_everywhere(reason, text);
    }

    fn is_well(&self) {
        name_maps(&self.lab, &["good"]);
        self.node_says("ConfigApplied", "True", "Applied");
    }
}

fn map(lab: &Lab, name: &str, content: &Value) {
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "switchlet"}});
    for (key, value) in content.as_object().unwrap() {
        map[key] = value.clone();
    }
    // kubectl apply keeps a copy in an annotation, for which a megabyte is too much.
    let path = lab.scratch("map.json");
    fs::write(&path, map.to_string()).unwrap();
    lab.try_lab(&["k", "delete", "configmap", name, "-n", "switchlet", "--ignore-not-found"]);
    lab.kubectl(&["create", "-f", path.to_str().unwrap()]);
}

fn name_maps(lab: &Lab, names: &[&str]) {
    let maps: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    let patch = json!({"spec": {"configMaps": maps}}).to_string();
    lab.kubectl(&["patch", "switch", "leaf1", "-n", "switchlet", "--type=merge", "-p", &patch]);
}

#[test]
fn a_configmap_that_is_missing_goes_or_is_no_text_is_named() {
    let Some(leaf) = Leaf::up(Release::V8_4) else { return };
    let lab = &leaf.lab;
    name_maps(lab, &["nowhere"]);
    leaf.refuses(
        "ConfigMapNotFound",
        "spec.configMaps: ConfigMap nowhere does not exist in namespace switchlet",
    );
    leaf.is_well();

    map(lab, "going", &json!({"data": {"switch.yaml": SETTINGS}}));
    name_maps(lab, &["going"]);
    leaf.node_says("ConfigApplied", "True", "Applied");
    lab.kubectl(&["delete", "configmap", "going", "-n", "switchlet"]);
    leaf.refuses("ConfigMapNotFound", "ConfigMap going does not exist");
    leaf.is_well();

    map(lab, "twice", &json!({"data": {"switch.yaml": SETTINGS}}));
    name_maps(lab, &["good", "twice"]);
    leaf.refuses("DuplicateKey", "key switch.yaml is in two ConfigMaps");
    leaf.is_well();

    // "\xff\xfe", which kustomize puts where it belongs.
    map(lab, "binary", &json!({"data": {"switch.yaml": SETTINGS}, "binaryData": {"frr.conf.tera": "//4="}}));
    name_maps(lab, &["binary"]);
    leaf.refuses("SettingsInvalid", "frr.conf.tera: is in binaryData and so no text (expected UTF-8)");
    leaf.is_well();

    map(lab, "empty", &json!({"data": {"other.yaml": "a: 1"}}));
    name_maps(lab, &["empty"]);
    leaf.refuses("SettingsInvalid", "switch.yaml");
    leaf.is_well();

    // As much as a ConfigMap can hold, with and without a mistake at its end.
    let padding = "# a line of a comment that is exactly sixty-four characters long\n".repeat(16_000);
    map(lab, "great", &json!({"data": {"switch.yaml": format!("{padding}{SETTINGS}")}}));
    name_maps(lab, &["great"]);
    leaf.node_says("ConfigApplied", "True", "Applied");
    map(lab, "great-bad", &json!({"data": {"switch.yaml": format!("{SETTINGS}{padding}verfy: {{}}\n")}}));
    name_maps(lab, &["great-bad"]);
    leaf.refuses(
        "SettingsInvalid",
        "switch.yaml:16011:1: verfy: unknown key `verfy` (did you mean `verify`?)",
    );
    leaf.is_well();

    // What Git itself says in `vars` is text, and a text that is not ours is refused as a whole.
    let vars =
        format!("{SETTINGS}vars: {{banner: \"x\\nrouter bgp 65001\\n neighbor 10.0.0.9 shutdown\"}}\n");
    map(lab, "vars", &json!({"data": {"switch.yaml": vars, "frr.conf.tera": "! {{ vars.banner }}\n"}}));
    name_maps(lab, &["vars"]);
    leaf.refuses("CandidateRejected", "neighbor 10.0.0.9 shutdown` is not ours");
    leaf.is_well();
}

#[test]
fn objects_that_make_no_sense_are_skipped_and_said() {
    let Some(mut leaf) = Leaf::up(Release::V8_4) else { return };
    let skipped = |leaf: &Leaf, reason: &str, text: &str| {
        leaf.said_everywhere(reason, text);
        wait_for("the condition says so too, and stays good", SOON, || {
            let seen = leaf.lab.condition("leaf1", "ConfigApplied").unwrap();
            let right =
                seen["status"] == "True" && seen["message"].as_str().is_some_and(|m| m.contains(text));
            if right { Ok(()) } else { Err(seen.to_string()) }
        });
        let status = leaf.lab.get(&["switch", "leaf1", "-n", "switchlet"])["status"].clone();
        assert!(status["failedResources"].to_string().contains(reason), "{status}");
    };
    leaf.lab.lab(&["node", "worker-9", "--label", "role=worker"]);
    skipped(
        &leaf,
        "NoPeerAddress",
        "Node worker-9: matches peering.nodes.selector but has no usable address",
    );
    leaf.lab.kubectl(&["delete", "node", "worker-9"]);

    leaf.lab.lab(&["node", "worker-8", "--ip", "192.168.1.11", "--label", "role=worker"]);
    skipped(&leaf, "DuplicateAddress", "Node worker-8: 192.168.1.11 is already the address of node worker-1");
    leaf.lab.kubectl(&["delete", "node", "worker-8"]);
    wait_for("nothing is to mend any more", SOON, || {
        let seen = leaf.lab.condition("leaf1", "ConfigApplied").unwrap();
        if seen["message"].as_str().unwrap().contains("to mend") { Err(seen.to_string()) } else { Ok(()) }
    });

    // An address from an annotation: whatever is no address never reaches a text.
    map(
        &leaf.lab,
        "annotated",
        &json!({"data": {"switch.yaml": SETTINGS.replace(
            "subnets: [192.168.1.0/24]",
            "subnets: [192.168.1.0/24]\n    address: {annotation: example.com/peer}\n    removeAfter: 1h",
        )}}),
    );
    for (worker, address) in [(1, "192.168.1.11"), (2, "192.168.1.13"), (3, "192.168.1.15")] {
        leaf.lab.kubectl(&[
            "annotate",
            "node",
            &format!("worker-{worker}"),
            &format!("example.com/peer={address}"),
        ]);
    }
    name_maps(&leaf.lab, &["annotated"]);
    leaf.node_says("ConfigApplied", "True", "Applied");
    leaf.running = leaf.lab.running("leaf1");
    let evil = "example.com/peer=192.168.1.15\n neighbor 10.0.0.9 shutdown";
    leaf.lab.kubectl(&["annotate", "--overwrite", "node", "worker-3", evil]);
    skipped(
        &leaf,
        "InvalidObject",
        "annotation example.com/peer: \"192.168.1.15\\n neighbor 10.0.0.9 shutdown\" is not an address",
    );
    leaf.lab.kubectl(&["annotate", "--overwrite", "node", "worker-3", "example.com/peer=10.9.9.9"]);
    skipped(
        &leaf,
        "AddressOutsideSubnets",
        "annotation example.com/peer: 10.9.9.9 is outside peering.nodes.subnets",
    );
}

fn a_daemon_that_lost_its_state_or_its_socket_is_named(release: Release) {
    let Some(leaf) = Leaf::up(release) else { return };
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

    // zebra dies and is started alone: BGP is green, and the kernel is the judge.
    leaf.lab.lab(&["frr", "kill", "leaf1", "zebra"]);
    leaf.lab.lab(&["frr", "start", "leaf1", "zebra"]);
    std::thread::sleep(Duration::from_secs(12));
    // bgpd of 10.3 tells the new zebra its routes, that of 8.4 only sometimes; then two of three are taken away here.
    if leaf.lab.kernel("leaf1", vip).is_some() {
        leaf.node_says("FIBSynced", "True", "InSync");
        let one: Vec<&str> = "in leaf1 ip route replace 203.0.113.10/32 proto bgp metric 20 via 192.168.1.11"
            .split(' ')
            .collect();
        leaf.lab.lab(&one);
    }
    let message = leaf.node_says("FIBSynced", "False", "SwitchDiverged");
    assert!(message.contains(vip) && message.contains("NotInFib"), "{message}");
    // The Service hears of it too.
    wait_for("an Event on the Service", SOON, || {
        let all = leaf.lab.get(&["events.events.k8s.io", "-n", "shop"]);
        let text = all.to_string();
        if text.contains("NotInFib") && text.contains("\"kind\":\"Service\"") { Ok(()) } else { Err(text) }
    });
    leaf.lab.lab(&["vtysh", "leaf1", "-c", "clear bgp *"]);
    leaf.node_says("FIBSynced", "True", "InSync");
    wait_for("the Service hears that all is well again", SOON, || {
        let text = leaf.lab.get(&["events.events.k8s.io", "-n", "shop"]).to_string();
        if text.contains("\"reason\":\"InSync\"") { Ok(()) } else { Err(text) }
    });
    leaf.node_says("ConfigApplied", "True", "Applied");
    wait_for("zebra has its lines back", SOON, || {
        let running = leaf.lab.running("leaf1");
        if running == leaf.running { Ok(()) } else { Err(running) }
    });

    // A socket that belongs to somebody else, for an agent without the power to pass over that.
    let Leaf { lab, agent, .. } = leaf;
    agent.stop();
    let run = std::path::PathBuf::from(&lab.env["FRR_RUN_LEAF1"]);
    let group =
        fs::metadata(run.join("zebra.vty")).map(|found| std::os::unix::fs::MetadataExt::gid(&found)).unwrap();
    let socket = run.join("bgpd.vty");
    let before = fs::metadata(&socket).unwrap();
    chown(&socket, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    let kubeconfig = lab.kubeconfig("leaf1");
    let groups = group.to_string();
    let agent = lab.agent_under(
        "leaf1",
        &["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--groups", &groups],
        &["--namespace", "switchlet", "--kubeconfig", &kubeconfig],
    );
    wait_for("the daemon is named", SOON, || {
        let seen = lab.condition("leaf1", "ConfigApplied").unwrap();
        let message = seen["message"].as_str().unwrap_or_default();
        let right = seen["status"] == "Unknown"
            && seen["reason"] == "DaemonUnreachable"
            && message.contains("bgpd does not answer on")
            && message.contains("bgpd.vty")
            && message.contains("Permission denied");
        if right { Ok(()) } else { Err(format!("{seen}\n{}", agent.log())) }
    });
    chown(&socket, Some(0), Some(group)).unwrap();
    fs::set_permissions(&socket, before.permissions()).unwrap();
    wait_for("it answers again", Duration::from_secs(90), || {
        let seen = lab.condition("leaf1", "ConfigApplied").unwrap();
        if seen["status"] == "True" { Ok(()) } else { Err(format!("{seen}\n{}", agent.log())) }
    });
}
