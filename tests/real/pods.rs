//! The agent as kubelet runs it: the image, in a DaemonSet's pod, with containerd, beside a real FRR that it reaches by sockets.
//!
//! Far ends: the kernel's table by iproute2, FRR's own counters of sessions, `/proc` of the containers' processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::cluster::{Fabric, WINDOW, same_sessions};
use crate::lab::{eventually, wait_for};
use crate::release::Release;
use crate::scene::{DENY_ALL, HARMLESS};

on_each_frr!(
    pods_have_little_power_and_upgrades_are_silent,
    whatever_ends_in_the_window_the_old_forwarding_comes_back,
    a_switch_that_reboots_forwards_before_anybody_asks,
);

const SOON: Duration = Duration::from_secs(120);
/// The old forwarding is back within the window, and the time that a busy machine needs to look.
const BACK: Duration = Duration::from_secs(WINDOW + 60);

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
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.0, before.0);
        same_sessions(&before.1, &after.1, "after the rolling update");
    }
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
        end();
        wait_for(&format!("{what}: the old forwarding"), BACK, || {
            let (bad, hops) = (bad(), fabric.hops("leaf1"));
            if !bad && hops == 3 { Ok(()) } else { Err(format!("bad {bad}, {hops} next-hops")) }
        });
        wait_for(&format!("{what}: Ready says so"), SOON, || {
            let ready = fabric.ready("leaf1");
            if ready.0 == "False" && ready.1 != "InProgress" && !bad() {
                Ok(())
            } else {
                Err(format!("{ready:?}, bad {}", bad()))
            }
        });
        assert_eq!(fs::read(fabric.lab.frr_conf("leaf1")).unwrap(), startup, "{what}: startup was touched");
        same_sessions(&sessions, &fabric.sessions("leaf1"), what);
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
    same_sessions(&sessions, &fabric.sessions("leaf1"), "after the reboot");
}
