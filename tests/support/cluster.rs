//! The lab with a real cluster: a kubelet on each leaf, agents in pods, three workers that announce a Service's address.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::turns::{Turn, Turns};
use crate::lab::{Api, Lab, wait_for};
use crate::release::Release;

const SOON: Duration = Duration::from_secs(120);
const VIP: &str = "203.0.113.10/32";
/// How long a change of leaf1 may stand unconfirmed.
pub const WINDOW: u64 = 25;

/// Two kubelets, a controller manager, containers: few at a time.
static FABRICS: Turns = Turns::of(2);

/// The lab with a kubelet on each leaf.
pub struct Fabric {
    pub lab: Lab,
    commits: Cell<u32>,
    /// Given back after the lab has gone.
    _turn: Turn,
}

impl Fabric {
    /// Both leaves configured and forwarding, by agents in pods.
    pub fn up(release: Release) -> Option<Self> {
        let fabric = Self::bare(release)?;
        fabric.apply("overlays/lab/agents");
        fabric.apply("overlays/lab");
        for leaf in ["leaf1", "leaf2"] {
            fabric.well(leaf);
        }
        Some(fabric)
    }

    /// The leaves are nodes, images are there, three workers announce a Service's address, and nobody has told an agent yet.
    pub fn bare(release: Release) -> Option<Self> {
        let Some(binary) = std::env::var_os("SWITCHLET_STATIC").map(PathBuf::from) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "in CI nothing is skipped: SWITCHLET_STATIC is not set"
            );
            eprintln!(
                "SKIPPED: SWITCHLET_STATIC names no static binary for the image; `make test` makes one"
            );
            return None;
        };
        let turn = FABRICS.take();
        let lab = Lab::up(Api::Real, release)?;
        let images: Vec<String> =
            ["dev", "next"].map(|tag| format!("switchlet:{tag}={}", binary.display())).to_vec();
        let output = lab.try_lab(&["cluster", "up", "--image", &images[0], "--image", &images[1]]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(77) {
            assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {said}");
            eprintln!("SKIPPED: {said}");
            return None;
        }
        assert!(output.status.success(), "{said}");
        let fabric = Self { lab, commits: Cell::new(0), _turn: turn };
        for (server, address) in [(1, 11), (2, 13), (3, 15)] {
            let (v4, v6) = (format!("192.168.1.{address}"), format!("fd00:1:{server}::2"));
            let worker = format!("worker-{server}");
            fabric.lab.lab(&["node", &worker, "--ip", &v4, &v6, "--label", "role=worker"]);
            fabric.lab.lab(&["announce", &format!("s{server}"), VIP]);
        }
        fabric.lab.apply(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
             spec: {type: LoadBalancer, externalTrafficPolicy: Cluster, ports: [{port: 80}]}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}\n\
             addressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.0.1.1], nodeName: worker-1}]\n",
        );
        fabric.lab.give_address("web", "203.0.113.10");
        Some(fabric)
    }

    pub fn apply(&self, folder: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        self.lab.kubectl(&["apply", "-k", folder.to_str().unwrap()]);
    }

    pub fn switch(&self, leaf: &str) -> Value {
        self.lab.get(&["switch", leaf, "-n", "switchlet"])
    }

    pub fn ready(&self, leaf: &str) -> (String, String) {
        let condition = self.lab.switch_condition(leaf, "Ready").unwrap_or_default();
        let word = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        (word("status"), word("reason"))
    }

    /// Confirmed, and three ways to the address, by the kernel's word and by the Node's.
    pub fn well(&self, leaf: &str) {
        wait_for(&format!("{leaf} is well"), SOON, || {
            let (ready, hops) = (self.ready(leaf), self.hops(leaf));
            let synced = self.lab.condition(leaf, "FIBSynced").unwrap_or_default();
            if ready.0 == "True" && hops == 3 && synced["status"] == "True" {
                Ok(())
            } else {
                Err(format!("{ready:?}, {hops} next-hops, {synced}"))
            }
        });
    }

    pub fn hops(&self, leaf: &str) -> usize {
        self.lab.kernel(leaf, VIP).map_or(0, |hops| hops.len())
    }

    /// Each session of a leaf: since when, and how often it was dropped.
    pub fn sessions(&self, leaf: &str) -> Vec<(String, u64, u64)> {
        let text = self.lab.lab(&["vtysh", leaf, "-c", "show bgp ipv4 unicast summary json"]);
        let json: Value = serde_json::from_str(&text).unwrap();
        let peers = json["peers"].as_object().cloned().unwrap_or_default();
        let number = |peer: &Value, key: &str| peer[key].as_u64().unwrap_or_default();
        peers
            .iter()
            .map(|(peer, of)| {
                (peer.clone(), number(of, "peerUptimeEstablishedEpoch"), number(of, "connectionsDropped"))
            })
            .collect()
    }

    /// Git's next commit for leaf1: this template beside the lab's settings.
    pub fn commit(&self, template: Option<&str>) {
        let number = self.commits.get() + 1;
        self.commits.set(number);
        let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays/lab/leaf1/switch.yaml");
        let mut texts = json!({"switch.yaml": fs::read_to_string(settings).unwrap()});
        if let Some(template) = template {
            texts["frr.conf.tera"] = template.into();
        }
        let name = format!("leaf1-commit-{number}");
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "switchlet"}, "data": texts});
        self.lab.apply(&map.to_string());
        let spec = json!({"spec": {"configMaps": [{"name": name}], "apply": {"confirmTimeout": format!("{WINDOW}s")}}});
        self.lab.kubectl(&[
            "patch",
            "switch",
            "leaf1",
            "-n",
            "switchlet",
            "--type=merge",
            "-p",
            &spec.to_string(),
        ]);
    }

    pub fn pod(&self, leaf: &str) -> Option<Value> {
        let selector = format!("spec.nodeName={leaf}");
        let pods = self.lab.get(&["pods", "-n", "switchlet", "--field-selector", &selector]);
        let pods = pods["items"].as_array()?;
        pods.iter().find(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned()
    }

    pub fn pod_name(&self, leaf: &str) -> String {
        self.pod(leaf).unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
    }

    pub fn log(&self, leaf: &str, container: &str) -> String {
        let pod = self.pod_name(leaf);
        let output = self.lab.try_lab(&["k", "logs", "-n", "switchlet", &pod, "-c", container]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The runtime's id of a container that runs.
    pub fn container(&self, leaf: &str, name: &str) -> String {
        let mut id = String::new();
        wait_for(&format!("container {name} of {leaf}"), SOON, || {
            let pod = self.pod(leaf).ok_or("no pod")?;
            let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
            let running = statuses
                .iter()
                .find(|status| status["name"] == name && !status["state"]["running"].is_null());
            let found =
                running.and_then(|status| status["containerID"].as_str()).ok_or(pod["status"].to_string())?;
            found.trim_start_matches("containerd://").clone_into(&mut id);
            Ok(())
        });
        id
    }

    pub fn signal(&self, leaf: &str, container: &str, signal: &str) {
        let id = self.container(leaf, container);
        self.lab.lab(&["node-in", leaf, "ctr", "-n", "k8s.io", "tasks", "kill", "--signal", signal, &id]);
    }

    /// The machine's number of a container's process.
    pub fn pid(&self, leaf: &str, container: &str) -> u32 {
        let id = self.container(leaf, container);
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .find_map(|entry| {
                let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
                fs::read_to_string(entry.path().join("cgroup")).ok()?.contains(&id).then_some(pid)
            })
            .expect("its process")
    }
}

/// The same sessions: none was dropped, and none is new.
pub fn same_sessions(before: &[(String, u64, u64)], now: &[(String, u64, u64)], what: &str) {
    let told = || format!("{what}: {now:?}, was {before:?}");
    assert_eq!(now.len(), before.len(), "{}", told());
    for (now, before) in now.iter().zip(before) {
        assert_eq!((&now.0, now.2), (&before.0, before.2), "{}", told());
        // FRR computes the time from the uptime in whole seconds.
        assert!(now.1.abs_diff(before.1) <= 2, "{}", told());
    }
}
