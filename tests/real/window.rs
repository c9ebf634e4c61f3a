//! The API server in the middle of a change. What is confirmed stays, whatever becomes of the server; only the way to it counts,
//! and only if it was there before.

use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use crate::lab::{Agent, Api, Lab, eventually, wait_for};
use crate::release::Release;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const APPLIED: &str = "configuration applied, read back and saved";
const VIP: &str = "203.0.113.10/32";

/// leaf1 with an agent, three speakers and a VIP.
struct Scene {
    lab: Lab,
    agent: Agent,
    commits: Cell<u32>,
}

impl Scene {
    fn up(release: Release) -> Option<Self> {
        let lab = Lab::up(Api::Real, release)?;
        lab.populate();
        lab.apply(
            &json!({"apiVersion": "v1", "kind": "List", "items": [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
                {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
                 "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}},
                {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                 "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
                 "endpoints": [{"addresses": ["10.0.1.1"], "nodeName": "worker-1"}], "ports": []},
            ]})
            .to_string(),
        );
        let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}}}).to_string();
        lab.kubectl(&[
            "patch",
            "service",
            "web",
            "-n",
            "shop",
            "--subresource=status",
            "--type=merge",
            "-p",
            &ingress,
        ]);
        for server in ["s1", "s2", "s3"] {
            lab.lab(&["announce", server, VIP]);
        }
        let agent = lab.agent("leaf1");
        let scene = Self { lab, agent, commits: Cell::new(0) };
        scene.forwards("at the beginning");
        scene.ready("True/Applied");
        Some(scene)
    }

    /// The text of commit `number`: a harmless line that no other commit has.
    fn line(number: u32) -> String {
        format!("ip prefix-list SWITCHLET-SPARE seq {number} permit 198.51.100.0/24")
    }

    /// A commit with another harmless line; its number, and where the log was.
    fn commit(&self) -> (u32, usize) {
        self.commits.set(self.commits.get() + 1);
        let (number, from) = (self.commits.get(), self.agent.log().len());
        self.lab.apply(&Self::map(&format!("commit-{number}"), number).to_string());
        self.patch(&json!({"configMaps": [{"name": format!("commit-{number}")}]}));
        (number, from)
    }

    fn map(name: &str, number: u32) -> Value {
        let template = format!(
            "{{% extends \"builtin/frr.conf.tera\" %}}\n{{% block end %}}{}\n{{% endblock %}}\n",
            Self::line(number)
        );
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "switchlet"},
            "data": {"switch.yaml": include_str!("../../overlays/lab/leaf1/switch.yaml"), "frr.conf.tera": template},
        })
    }

    fn patch(&self, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.lab.kubectl(&["patch", "switch", "leaf1", "-n", "switchlet", "--type=merge", "-p", &patch]);
    }

    fn log_has(&self, from: usize, text: &str) {
        wait_for(&format!("`{text}` in the log"), SOON, || {
            let log = self.agent.log();
            if log[from..].contains(text) { Ok(()) } else { Err(log[from..].to_owned()) }
        });
    }

    fn runs(&self, number: u32) -> bool {
        self.lab.running("leaf1").contains(&Self::line(number))
    }

    fn forwards(&self, what: &str) {
        wait_for(&format!("three next-hops: {what}"), SOON, || {
            match self.lab.kernel("leaf1", VIP).map_or(0, |hops| hops.len()) {
                3 => Ok(()),
                other => Err(format!("{other}: {}", self.agent.log())),
            }
        });
    }

    /// `STATUS/REASON` of the Switch's Ready, of this generation.
    fn ready(&self, expected: &str) {
        wait_for(&format!("Ready is {expected}"), SOON, || {
            let switch = self.lab.get(&["switch", "leaf1", "-n", "switchlet"]);
            let current = switch["status"]["observedGeneration"] == switch["metadata"]["generation"];
            let all = switch["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = all.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
            let said = format!(
                "{}/{}",
                ready["status"].as_str().unwrap_or("?"),
                ready["reason"].as_str().unwrap_or("?")
            );
            if current && said == expected { Ok(()) } else { Err(switch["status"].to_string()) }
        });
    }

    fn startup(&self) -> String {
        fs::read_to_string(self.lab.frr_conf("leaf1")).unwrap()
    }
}

#[test]
fn a_server_that_has_trouble_of_its_own_undoes_nothing() {
    let Some(scene) = Scene::up(Release::V8_4) else { return };
    // Dead, frozen: its host answers or refuses, so the way is there.
    for (ends, begins) in [("kill", "start"), ("freeze", "thaw")] {
        let (number, from) = scene.commit();
        scene.log_has(from, "sent commands");
        scene.lab.lab(&["api", ends, "apiserver"]);
        scene.log_has(from, APPLIED);
        assert!(scene.runs(number) && scene.startup().contains(&Scene::line(number)), "{ends}");
        scene.forwards(ends);
        scene.lab.lab(&["api", begins, "apiserver"]);
        scene.ready("True/Applied");
    }
    // All Nodes are gone from it, as after a restored backup: nobody loses a neighbour.
    let (number, from) = scene.commit();
    scene.log_has(from, "sent commands");
    scene.lab.kubectl(&["delete", "nodes", "worker-1", "worker-2", "worker-3"]);
    scene.log_has(from, APPLIED);
    assert!(scene.runs(number));
    scene.forwards("without Nodes");
    for (server, address) in [(1, 11), (2, 13), (3, 15)] {
        let (v4, v6) = (format!("192.168.1.{address}"), format!("fd00:1:{server}::2"));
        scene.lab.lab(&["node", &format!("worker-{server}"), "--ip", &v4, &v6, "--label", "role=worker"]);
    }
    scene.ready("True/Applied");
    // It does not know the token any more: the pod is gone.
    let (number, from) = scene.commit();
    scene.log_has(from, "sent commands");
    scene.lab.kubectl(&["delete", "pod", "leaf1", "-n", "switchlet", "--grace-period=0", "--force"]);
    scene.log_has(from, APPLIED);
    assert!(scene.runs(number) && scene.startup().contains(&Scene::line(number)));
    scene.forwards("without a token");
    assert!(!scene.agent.log().contains("was undone"), "{}", scene.agent.log());
}

#[test]
fn a_way_to_the_server_that_ends_in_the_window_undoes_the_change() {
    let Some(scene) = Scene::up(Release::V8_4) else { return };
    let startup = scene.startup();
    let rules = scene.lab.scratch("silent.nft");
    fs::write(
        &rules,
        "table inet silent {\nchain in { type filter hook input priority 0; tcp sport 6443 drop; }\n}\n",
    )
    .unwrap();
    let (number, from) = scene.commit();
    scene.log_has(from, "sent commands");
    scene.lab.lab(&["in", "leaf1", "nft", "-f", rules.to_str().unwrap()]);
    scene.log_has(from, "does not answer any more");
    assert!(eventually(SOON, || !scene.runs(number)));
    assert_eq!(scene.startup(), startup);
    scene.forwards("the old text is back");
    // A change that begins without a server has nothing to lose; but a commit would need its slot.
    scene.lab.lab(&["in", "leaf1", "nft", "delete", "table", "inet", "silent"]);
    scene.ready("False/RolledBack");
    let (_, from) = scene.commit();
    scene.log_has(from, APPLIED);
    scene.ready("True/Applied");
}

#[test]
fn a_hundred_updates_in_ten_seconds_are_one_or_two_changes() {
    let Some(scene) = Scene::up(Release::V8_4) else { return };
    scene.lab.apply(&Scene::map("updated", 1000).to_string());
    let from = scene.agent.log().len();
    scene.patch(&json!({"configMaps": [{"name": "updated"}]}));
    scene.log_has(from, APPLIED);
    let from = scene.agent.log().len();
    // One process each would take longer than ten seconds: one sends all.
    let script = "import json, sys, time\n\
        sys.path.insert(0, sys.argv[1])\n\
        import kubeapi\n\
        api = kubeapi.Api(sys.argv[2])\n\
        began = time.monotonic()\n\
        for number, body in enumerate(json.load(open(sys.argv[3]))):\n\
        \x20   api.call('PUT', '/api/v1/namespaces/switchlet/configmaps/updated', body)\n\
        \x20   time.sleep(max(0, began + (number + 1) * 0.1 - time.monotonic()))\n\
        print(time.monotonic() - began)\n";
    let bodies: Vec<Value> = (1001..=1100).map(|number| Scene::map("updated", number)).collect();
    let (file, program) = (scene.lab.scratch("bodies.json"), scene.lab.scratch("update.py"));
    fs::write(&file, serde_json::to_string(&bodies).unwrap()).unwrap();
    fs::write(&program, script).unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/lib");
    let began = Instant::now();
    let output = scene.lab.lab(&[
        "in",
        "api",
        "python3",
        program.to_str().unwrap(),
        root,
        &scene.lab.env["KUBECONFIG_ADMIN"],
        file.to_str().unwrap(),
    ]);
    let took: f64 = output.trim().parse().unwrap();
    assert!((9.0..15.0).contains(&took), "{took} s, {:?}", began.elapsed());
    wait_for("the last one runs", SOON, || {
        if scene.runs(1100) { Ok(()) } else { Err(scene.agent.log()[from..].to_owned()) }
    });
    scene.ready("True/Applied");
    let sent = scene.agent.log()[from..].matches("sent commands").count();
    assert!((1..=3).contains(&sent), "{sent} changes");
    assert!((1001..1100).all(|number| !scene.runs(number)));
    assert!(!scene.agent.log()[from..].contains("was undone"));
}
