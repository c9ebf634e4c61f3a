//! The agent as kubelet runs it: the image, in a DaemonSet's pod, with containerd, beside a real FRR that it reaches by sockets.
//!
//! Far ends: the kernel's table by iproute2, FRR's own counters of sessions, `/proc` of the containers' processes.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::{Api, Lab, eventually, wait_for};
use crate::release::Release;
use crate::scene::{DENY_ALL, HARMLESS};

on_each_frr!(
    pods_have_little_power_and_upgrades_are_silent,
    whatever_ends_in_the_window_the_old_forwarding_comes_back,
    a_switch_that_reboots_forwards_before_anybody_asks,
);

const SOON: Duration = Duration::from_secs(120);
const VIP: &str = "203.0.113.10/32";
const WINDOW: u64 = 25;

/// The lab with a kubelet on each leaf.
pub struct Fabric {
    pub lab: Lab,
    commits: Cell<u32>,
}

impl Fabric {
    /// Both leaves configured and forwarding, by agents in pods.
    fn up(release: Release) -> Option<Self> {
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
        let fabric = Self { lab, commits: Cell::new(0) };
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
        let address = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}}}).to_string();
        let patch =
            ["patch", "svc", "web", "-n", "shop", "--subresource=status", "--type=merge", "-p", &address];
        fabric.lab.kubectl(&patch);
        Some(fabric)
    }

    fn apply(&self, folder: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        self.lab.kubectl(&["apply", "-k", folder.to_str().unwrap()]);
    }

    fn switch(&self, leaf: &str) -> Value {
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
            // FRR computes the time from the uptime in whole seconds.
            .map(|(peer, of)| {
                (
                    peer.clone(),
                    number(of, "peerUptimeEstablishedEpoch") / 10,
                    number(of, "connectionsDropped"),
                )
            })
            .collect()
    }

    /// Git's next commit for leaf1: this template beside the lab's settings.
    fn commit(&self, template: Option<&str>) {
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

    fn pod(&self, leaf: &str) -> Option<Value> {
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
    fn container(&self, leaf: &str, name: &str) -> String {
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

    fn signal(&self, leaf: &str, container: &str, signal: &str) {
        let id = self.container(leaf, container);
        self.lab.lab(&["node-in", leaf, "ctr", "-n", "k8s.io", "tasks", "kill", "--signal", signal, &id]);
    }

    /// The machine's number of a container's process.
    fn pid(&self, leaf: &str, container: &str) -> u32 {
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

/// What the containers may do and see is what the manifest says and the README explains, and replacing them touches nothing.
fn pods_have_little_power_and_upgrades_are_silent(release: Release) {
    let Some(fabric) = Fabric::up(release) else { return };
    let status = fabric.switch("leaf1")["status"].clone();
    let said = |key: &str| status["capabilities"][key].clone();
    assert_eq!(
        (said("hand"), said("guard"), said("validator")),
        ("socket".into(), "pod".into(), "rules".into())
    );
    // CAP_CHOWN 0, CAP_DAC_OVERRIDE 1, CAP_FOWNER 3 (linux/capability.h).
    for (container, powers, mounts) in [
        ("agent", 0b1011, ["/etc/frr", "/run/frr", "/var/lib/switchlet"].as_slice()),
        ("guard", 0b0010, ["/run/frr", "/var/lib/switchlet"].as_slice()),
    ] {
        let pid = fabric.pid("leaf1", container);
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), powers, "{container}: {set}");
        }
        assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".into(), "2".into()), "{container}");
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let mut found: Vec<&str> = Vec::new();
        for line in table.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            if fields[4] == "/" {
                assert!(fields[5].split(',').any(|option| option == "ro"), "{container}: {line}");
            }
            // What a kubelet mounts for every pod is not ours to say.
            let every = [
                "/proc",
                "/dev",
                "/sys",
                "/etc/hosts",
                "/etc/hostname",
                "/etc/resolv.conf",
                "/var/run/secrets",
            ];
            if fields[4] != "/" && !every.iter().any(|prefix| fields[4].starts_with(prefix)) {
                found.push(fields[4]);
            }
        }
        found.sort_unstable();
        assert_eq!(found, mounts, "{container}");
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        assert!(!root.join("bin").exists() && !root.join("usr").exists(), "{container} has a foreign binary");
    }

    // The rolling update: another image, one pod after the other.
    let before: Vec<_> =
        ["leaf1", "leaf2"].map(|leaf| (fabric.lab.running(leaf), fabric.sessions(leaf))).into();
    let watch = fabric.lab.scratch("watch.txt");
    let columns = "custom-columns=N:.metadata.name,\
                   F:.status.conditions[?(@.type==\"switchlet.io/FIBSynced\")].status,\
                   C:.status.conditions[?(@.type==\"switchlet.io/ConfigApplied\")].status,\
                   H:.metadata.labels.switchlet\\.io/health";
    let mut watching = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab"))
        .args([
            "k",
            "get",
            "nodes",
            "-l",
            "switchlet.io/switch=true",
            "--watch",
            "--no-headers",
            "-o",
            columns,
        ])
        .env("LAB", &fabric.lab.env["LAB"])
        .stdin(Stdio::null())
        .stdout(fs::File::create(&watch).unwrap())
        .spawn()
        .unwrap();
    let pods: Vec<String> = ["leaf1", "leaf2"].map(|leaf| fabric.pod_name(leaf)).into();
    let image = json!([
        {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "switchlet:next"},
        {"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": "switchlet:next"},
    ]);
    fabric.lab.kubectl(&[
        "patch",
        "daemonset",
        "switchlet",
        "-n",
        "switchlet",
        "--type=json",
        "-p",
        &image.to_string(),
    ]);
    let done = ["rollout", "status", "daemonset/switchlet", "-n", "switchlet", "--timeout=120s"];
    fabric.lab.kubectl(&done);
    for (leaf, old) in ["leaf1", "leaf2"].iter().zip(&pods) {
        assert_ne!(fabric.pod_name(leaf), *old, "the pod was not replaced");
        fabric.well(leaf);
        // The new agent has looked, and found nothing to do.
        wait_for("the new agent's word", SOON, || {
            let log = fabric.log(leaf, "agent");
            if log.contains("configuration applied, read back and saved") { Ok(()) } else { Err(log) }
        });
        let log = fabric.log(leaf, "agent");
        assert!(!log.contains("sent commands"), "{leaf}: {log}");
        // Nobody acts beside another one: the lock is the switch's.
        assert!(!log.contains("another agent runs"), "{leaf}: {log}");
    }
    // A heartbeat of a wrong value would come within a moment of the start.
    std::thread::sleep(Duration::from_secs(5));
    assert!(
        watching.try_wait().unwrap().is_none(),
        "the watch ended: {}",
        fs::read_to_string(&watch).unwrap()
    );
    watching.kill().unwrap();
    watching.wait().unwrap();
    let seen = fs::read_to_string(&watch).unwrap();
    let wrong: Vec<&str> =
        seen.lines().filter(|line| line.contains("False") || line.contains("Unknown")).collect();
    // Two lines are the list; the rest was written meanwhile, if only by the kubelets.
    assert!(seen.lines().count() > 2 && wrong.is_empty(), "{seen}");
    let after: Vec<_> =
        ["leaf1", "leaf2"].map(|leaf| (fabric.lab.running(leaf), fabric.sessions(leaf))).into();
    assert_eq!(after, before);
}

fn whatever_ends_in_the_window_the_old_forwarding_comes_back(release: Release) {
    let Some(fabric) = Fabric::up(release) else { return };
    let startup = fs::read(fabric.lab.frr_conf("leaf1")).unwrap();
    let sessions = fabric.sessions("leaf1");
    let ends: [(&str, &dyn Fn()); 4] = [
        ("the agent's container is restarted", &|| fabric.signal("leaf1", "agent", "SIGKILL")),
        ("the guard's container is killed", &|| fabric.signal("leaf1", "guard", "SIGKILL")),
        ("the pod is deleted", &|| {
            let pod = fabric.pod_name("leaf1");
            fabric.lab.kubectl(&["delete", "pod", "-n", "switchlet", &pod, "--wait=false"]);
        }),
        ("the DaemonSet is rolled over", &|| {
            fabric.lab.kubectl(&["rollout", "restart", "daemonset/switchlet", "-n", "switchlet"]);
        }),
    ];
    for (number, (what, end)) in ends.iter().enumerate() {
        // Another text than those that are held by now.
        fabric.commit(Some(&DENY_ALL.replace("deny 1", &format!("deny {}", number + 1))));
        let bad = || fabric.lab.running("leaf1").contains("route-map SWITCHLET-FROM-SPEAKERS deny");
        assert!(eventually(SOON, bad), "{what}: the commit does not arrive: {:?}", fabric.ready("leaf1"));
        let began = Instant::now();
        end();
        wait_for(&format!("{what}: the old forwarding"), SOON, || {
            let (bad, hops) = (bad(), fabric.hops("leaf1"));
            if !bad && hops == 3 { Ok(()) } else { Err(format!("bad {bad}, {hops} next-hops")) }
        });
        let dark = began.elapsed();
        assert!(dark < Duration::from_secs(WINDOW) + SOON / 2, "{what}: {dark:?}");
        wait_for(&format!("{what}: Ready says so"), SOON, || {
            let ready = fabric.ready("leaf1");
            if ready.0 == "False" && ready.1 != "InProgress" && !bad() {
                Ok(())
            } else {
                Err(format!("{ready:?}, bad {}", bad()))
            }
        });
        assert_eq!(fs::read(fabric.lab.frr_conf("leaf1")).unwrap(), startup, "{what}: startup was touched");
        assert_eq!(fabric.sessions("leaf1"), sessions, "{what}: a session was dropped");
        // `git revert`.
        fabric.commit(None);
        fabric.well("leaf1");
    }
    // leaf2's turn was never taken from it, and good commits still go through.
    fabric.commit(Some(HARMLESS));
    wait_for("a good commit", SOON, || {
        let running = fabric.lab.running("leaf1");
        let startup = fs::read_to_string(fabric.lab.frr_conf("leaf1")).unwrap();
        let line = "ip prefix-list SWITCHLET-SPARE seq 10 permit 198.51.100.0/24";
        if running.contains(line) && startup.contains(line) { Ok(()) } else { Err(running) }
    });
    fabric.well("leaf1");
    fabric.well("leaf2");
}

fn a_switch_that_reboots_forwards_before_anybody_asks(release: Release) {
    let Some(fabric) = Fabric::up(release) else { return };
    // In the window of a bad commit, and with nobody to ask afterwards.
    let startup = fs::read(fabric.lab.frr_conf("leaf1")).unwrap();
    fabric.commit(Some(DENY_ALL));
    let bad = || fabric.lab.running("leaf1").contains("route-map SWITCHLET-FROM-SPEAKERS deny");
    assert!(eventually(SOON, bad), "the commit does not arrive: {:?}", fabric.ready("leaf1"));
    fabric.lab.lab(&["power", "off", "leaf1"]);
    assert_eq!(fabric.hops("leaf1"), 0, "the power is off, and routes are left");
    fabric.lab.lab(&["api", "kill", "apiserver"]);
    fabric.lab.lab(&["power", "on", "leaf1"]);
    // FRR comes with the startup text, which is the old one; no kubelet can start a pod it has never heard of.
    wait_for("the old forwarding, without an agent", SOON, || match fabric.hops("leaf1") {
        3 => Ok(()),
        other => Err(format!("{other} next-hops")),
    });
    assert_eq!(fs::read(fabric.lab.frr_conf("leaf1")).unwrap(), startup);
    let sessions = fabric.sessions("leaf1");
    fabric.lab.lab(&["api", "start"]);
    // The same text is tried once more, because nobody knows whether it was to blame, and then held.
    wait_for("the commit is judged", SOON * 2, || {
        let (ready, pod) = (fabric.ready("leaf1"), fabric.pod("leaf1").unwrap_or_default());
        let restarted =
            pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default() > 0;
        if ready.0 == "False" && ready.1 != "InProgress" && restarted && !bad() {
            Ok(())
        } else {
            Err(format!("{ready:?}, {}", pod["status"]))
        }
    });
    fabric.commit(None);
    fabric.well("leaf1");
    assert_eq!(fabric.sessions("leaf1"), sessions, "a session was dropped after the reboot");
}
