//! The user's day: a Git repository that Flux applies, agents that kubelet runs, `kubectl get nodes`, and `git revert`.
//!
//! kustomize-controller is Flux's own; a stand-in takes source-controller's place. The far ends are the kernel's table and
//! what Flux itself says of its Kustomizations.

use std::fs;
use std::time::{Duration, Instant};

use crate::git::Git;
use crate::lab::wait_for;
use crate::scene::{DENY_ALL, HARMLESS};

const SOON: Duration = Duration::from_secs(180);

#[test]
fn a_day_with_git() {
    let Some(git) = Git::up() else { return };
    let fabric = &git.fabric;
    let lab = &fabric.lab;

    // From nothing: Flux brings the CRD, the rights, the agents, and the switches one ring after the other.
    git.push("the first commit");
    lab.kubectl(&["apply", "-k", git.fleet.join("overlays/flux").to_str().unwrap()]);
    let began = Instant::now();
    for name in ["switchlet", "ring-1", "ring-2"] {
        let (after, _) = git.answers(name, "True", began);
        eprintln!("{name}: Ready after {:.1} s", after.as_secs_f32());
    }
    fabric.well("leaf1");
    fabric.well("leaf2");
    lab.lab(&[
        "k",
        "-n",
        "flux-system",
        "annotate",
        "kustomization",
        "fib-health",
        "reconcile.fluxcd.io/requestedAt=1",
    ]);
    git.answers("fib-health", "True", began);

    // A commit that is fine.
    git.template(Some(HARMLESS));
    let pushed = git.push("a spare prefix-list");
    let (after, _) = git.answers("ring-1", "True", pushed);
    eprintln!("a good commit: ring-1 Ready after {:.1} s", after.as_secs_f32());
    let spare = "ip prefix-list SWITCHLET-SPARE seq 10 permit 198.51.100.0/24";
    assert!(lab.running("leaf1").contains(spare), "Ready, and not in force");
    let startup = fs::read_to_string(lab.frr_conf("leaf1")).unwrap();
    assert!(startup.contains(spare), "Ready, and not saved");
    git.answers("ring-2", "True", pushed);
    let sessions = (fabric.sessions("leaf1"), fabric.sessions("leaf2"));

    // One that renders and applies, and takes all next-hops away: undone on the switch, red in Flux, and the next ring untold.
    git.template(Some(DENY_ALL));
    git.edit("overlays/lab/leaf2/switch.yaml", "maxPrefixes: 100", "maxPrefixes: 90");
    let second = lab.get(&["switch", "leaf2", "-n", "switchlet"])["metadata"]["generation"].clone();
    let pushed = git.push("drop everything");
    let (after, message) = git.answers("ring-1", "False", pushed);
    eprintln!("a bad commit: ring-1 red after {:.1} s: {message}", after.as_secs_f32());
    assert!(after < Duration::from_secs(120), "not before the timeout: {after:?}");
    // kustomize-controller names the object that failed, and never its message (fluxcd/pkg ssa, manager_wait.go).
    assert!(message.contains("[Switch/switchlet/leaf1 status: 'Failed']"), "{message}");
    assert_eq!(fabric.ready("leaf1"), ("False".to_owned(), "RolledBack".to_owned()));
    // Said at once; FRR looks at filters once in five seconds.
    wait_for("the old forwarding", SOON, || match fabric.hops("leaf1") {
        3 => Ok(()),
        other => Err(format!("{other} next-hops")),
    });
    assert_eq!(fs::read_to_string(lab.frr_conf("leaf1")).unwrap(), startup, "startup was touched");
    let next = git.ready("ring-2");
    assert!(next.0 != "True" && next.1 == "DependencyNotReady", "{next:?}");
    assert_eq!(
        lab.get(&["switch", "leaf2", "-n", "switchlet"])["metadata"]["generation"],
        second,
        "ring-2 was started"
    );

    // `git revert` is the undo.
    let pushed = git.revert();
    let (after, _) = git.answers("ring-1", "True", pushed);
    eprintln!("its revert: ring-1 Ready after {:.1} s", after.as_secs_f32());
    git.answers("ring-2", "True", pushed);

    // A template that cannot be rendered is red at once.
    git.template(Some(
        "{% extends \"builtin/frr.conf.tera\" %}{% block end %}{{ vars.nothing }}{% endblock %}",
    ));
    let pushed = git.push("a name that does not exist");
    let (after, message) = git.answers("ring-1", "False", pushed);
    eprintln!("a bad template: ring-1 red after {:.1} s: {message}", after.as_secs_f32());
    assert!(after < Duration::from_secs(60), "{after:?}");
    assert!(message.contains("[Switch/switchlet/leaf1 status: 'Failed']"), "{message}");
    assert_eq!(fabric.ready("leaf1"), ("False".to_owned(), "RenderFailed".to_owned()));
    let pushed = git.revert();
    git.answers("ring-1", "True", pushed);

    // One that waits for a person is neither good nor bad; its revert does not wait behind it.
    git.edit("overlays/lab/leaf1/switch.yaml", "routerId: 10.0.0.1", "routerId: 10.0.0.9");
    git.push("another router-id");
    wait_for("the approval that is missing", SOON, || {
        let ready = fabric.ready("leaf1");
        if ready.1 == "ApprovalRequired" {
            Ok(())
        } else {
            Err(format!("{ready:?}, {:?}", git.ready("ring-1")))
        }
    });
    assert_eq!(git.ready("ring-1").0, "Unknown", "{:?}", git.ready("ring-1"));
    let pushed = git.revert();
    let (after, _) = git.answers("ring-1", "True", pushed);
    eprintln!("the revert of one that waits: ring-1 Ready after {:.1} s", after.as_secs_f32());
    assert!(after < Duration::from_secs(120), "it waited behind the other commit: {after:?}");
    git.answers("ring-2", "True", pushed);

    // A worker that dies is no commit: the Node says so, the Kustomizations stay as they are, and so does a new commit's way.
    lab.lab(&["speaker", "kill", "s3"]);
    wait_for("the Node's word", SOON, || {
        let synced = lab.condition("leaf1", "FIBSynced").unwrap_or_default();
        if synced["status"] == "False" { Ok(()) } else { Err(synced.to_string()) }
    });
    for name in ["switchlet", "ring-1", "ring-2"] {
        assert_eq!(git.ready(name).0, "True", "{name}");
    }
    // Those who want it ask Flux for the Nodes: at its interval, or when told.
    lab.lab(&[
        "k",
        "-n",
        "flux-system",
        "annotate",
        "--overwrite",
        "kustomization",
        "fib-health",
        "reconcile.fluxcd.io/requestedAt=2",
    ]);
    wait_for("fib-health is red", SOON, || {
        let ready = git.ready("fib-health");
        if ready.0 == "False" && ready.2.contains("leaf1") { Ok(()) } else { Err(format!("{ready:?}")) }
    });
    git.template(Some(&HARMLESS.replace("seq 10", "seq 20")));
    let pushed = git.push("a good commit while a worker is down");
    git.answers("ring-1", "True", pushed);
    let dropped = |sessions: &[(String, u64, u64)]| -> Vec<(String, u64)> {
        let others = sessions.iter().filter(|session| !session.0.ends_with(".15"));
        others.map(|session| (session.0.clone(), session.2)).collect()
    };
    assert_eq!(dropped(&fabric.sessions("leaf1")), dropped(&sessions.0), "a session was dropped");
    assert_eq!(dropped(&fabric.sessions("leaf2")), dropped(&sessions.1), "a session was dropped");
}

/// The README's way out of a ring that waits for a switch without power.
#[test]
fn a_dead_switch_holds_its_ring_until_git_takes_it_out() {
    let Some(git) = Git::up() else { return };
    let (fabric, lab) = (&git.fabric, &git.fabric.lab);
    git.edit("overlays/flux/rings.yaml", "timeout: 5m", "timeout: 40s");
    git.push("the first commit");
    let began = Instant::now();
    lab.kubectl(&["apply", "-k", git.fleet.join("overlays/flux").to_str().unwrap()]);
    git.answers("ring-2", "True", began);
    fabric.well("leaf1");
    fabric.well("leaf2");

    // It never says that it has seen the commit; Flux's patience ends, and the next ring is untold.
    lab.lab(&["power", "off", "leaf1"]);
    git.template(Some(HARMLESS));
    git.edit("overlays/lab/leaf2/switch.yaml", "maxPaths: 64", "maxPaths: 8");
    let pushed = git.push("a commit for both");
    let (after, message) = git.answers("ring-1", "False", pushed);
    eprintln!("a dead switch: ring-1 red after {:.1} s: {message}", after.as_secs_f32());
    assert!(message.contains("Switch/switchlet/leaf1 status: 'InProgress'"), "{message}");
    let next = git.ready("ring-2");
    assert!(next.0 != "True" && next.1 == "DependencyNotReady", "{next:?}");
    // The table that a person would look at. (That a Node without a kubelet becomes NotReady is a controller's doing that the
    // lab does not run: its workers have no kubelets.)
    let table = lab.kubectl(&["get", "switches", "-n", "switchlet", "-o", "wide"]);
    let column = |name: &str| {
        let heads: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        let from_the_end = heads.len() - heads.iter().position(|head| *head == name).unwrap();
        let line = table.lines().find(|line| line.starts_with("leaf1")).unwrap();
        line.split_whitespace().rev().nth(from_the_end - 1).unwrap().to_owned()
    };
    assert_ne!(column("GEN"), column("SEEN"), "{table}");

    // Taken out, the ring is whole without it, and the next one gets the commit.
    let folder = git.fleet.join("overlays/lab/leaf1/kustomization.yaml");
    let text = fs::read_to_string(&folder).unwrap();
    fs::copy(git.fleet.join("overlays/health/kustomization.yaml"), &folder).unwrap();
    let pushed = git.push("leaf1 is dead");
    git.answers("ring-1", "True", pushed);
    let (after, _) = git.answers("ring-2", "True", pushed);
    eprintln!("taken out: ring-2 Ready after {:.1} s", after.as_secs_f32());
    assert!(lab.running("leaf2").contains("maximum-paths 8"), "{}", lab.running("leaf2"));
    assert_eq!(fabric.hops("leaf2"), 3);

    // It comes back as it was: nothing tells it otherwise.
    lab.lab(&["power", "on", "leaf1"]);
    let spare = "ip prefix-list SWITCHLET-SPARE seq 10 permit 198.51.100.0/24";
    wait_for("the old forwarding, without a Switch", SOON, || match fabric.hops("leaf1") {
        3 => Ok(()),
        other => Err(format!("{other} next-hops")),
    });
    wait_for("its agent's word", SOON, || {
        let applied = lab.condition("leaf1", "ConfigApplied").unwrap_or_default();
        if applied["reason"] == "SwitchNotFound" { Ok(()) } else { Err(applied.to_string()) }
    });
    assert!(!lab.running("leaf1").contains(spare) && fabric.hops("leaf1") == 3);

    // Put in again, it is given what Git says now.
    fs::write(&folder, text).unwrap();
    let pushed = git.push("leaf1 is back");
    git.answers("ring-1", "True", pushed);
    fabric.well("leaf1");
    assert!(lab.running("leaf1").contains(spare), "Ready, and not in force");
}
