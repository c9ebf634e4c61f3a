//! Rollout slots on a real API server: eight switches, each with the shell, the rules and the token of an agent. Most make
//! a change that is a moment of sleep; where it is said, two are real: agents, FRR, a kernel.

use std::sync::Arc;

use crate::fabric::{CHANGE, DURATION, Fabric, SOON, SWITCHES, finished};
use serde_json::json;
use switchlet::change::slot::{End, How, Need, Why};
use switchlet::cluster::leases::Taken;

#[test]
fn good_changes_go_through_all_one_after_the_other() {
    let Some(fabric) = Fabric::up(1) else { return };
    fabric.run(async |stage| {
        finished(stage.all_change(1..=SWITCHES)).await;
        let mut began = stage.log().began.clone();
        assert_eq!((stage.log().most, began.len()), (1, SWITCHES), "{began:?}");
        began.sort();
        began.dedup();
        assert_eq!(began.len(), SWITCHES, "each once");
        // All by one Lease, which is empty now; and nothing is written any more.
        let after = stage.now().await;
        assert!(after.len() == 1 && after[0].0 == "racks-0" && after[0].1.is_none(), "{after:?}");
        tokio::time::sleep(DURATION * 3).await;
        assert_eq!(stage.now().await, after);
        // Once more: the turn goes on behind the one that had the last one.
        let last = stage.log().began.last().unwrap().clone();
        let others: Vec<usize> = (1..=SWITCHES).filter(|number| format!("leaf{number}") != last).collect();
        let mut first = stage.slots(&last);
        stage.held(&last, &mut first).await;
        let tasks = stage.all_change(others.into_iter());
        let mut names: Vec<String> = (1..=SWITCHES).map(|number| format!("leaf{number}")).collect();
        let behind = names.iter().position(|name| *name == last).unwrap();
        names.rotate_left(behind);
        stage
            .until("all know their places", |stage| {
                names[1..].iter().enumerate().all(|(place, name)| match stage.said(name) {
                    Some(Taken::Waiting(waiting)) => waiting.ahead == names[1..=place],
                    _ => false,
                })
            })
            .await;
        stage.ended(&last, &mut first, End::Good).await;
        finished(tasks).await;
        assert_eq!(stage.log().began[SWITCHES..], names, "in the order of their turns");
    });
}

#[test]
fn a_bad_commit_stops_at_its_first_switch_until_git_frees_it() {
    let Some(fabric) = Fabric::up(1) else { return };
    fabric.run(async |stage| {
        let mut slots = stage.slots("leaf3");
        stage.held("leaf3", &mut slots).await;
        tokio::time::sleep(CHANGE).await;
        stage.ended("leaf3", &mut slots, End::Failed).await;
        let tasks = stage.all_change((1..=SWITCHES).filter(|number| *number != 3));
        stage
            .until("all know why they wait", |stage| {
                (1..=SWITCHES)
                    .filter(|n| stage.blocked(&format!("leaf{n}"), "leaf3", How::RolledBack))
                    .count()
                    == SWITCHES - 1
            })
            .await;
        let before = stage.now().await;
        tokio::time::sleep(DURATION * 10).await;
        assert_eq!(stage.log().began, ["leaf3"], "the others are untouched");
        assert_eq!(stage.now().await, before, "and nobody writes");
        // A word that is not for it frees nothing, its own does.
        fabric.patch("leaf4", &json!({"rollout": {"release": 1}}));
        tokio::time::sleep(DURATION).await;
        assert_eq!(stage.log().began, ["leaf3"]);
        fabric.patch("leaf3", &json!({"rollout": {"release": 1}}));
        finished(tasks).await;
        let most = stage.log().most;
        assert_eq!((stage.log().began.len(), most), (SWITCHES, 1));
        // Its Lease still has its name: nobody else may write it. Its next change empties it.
        let holders: Vec<_> = stage.now().await.into_iter().map(|(name, holder, _)| (name, holder)).collect();
        assert_eq!(holders, [("racks-0".into(), Some("leaf3".into())), ("racks-1".into(), None)]);
        stage.held("leaf3", &mut slots).await;
        stage.ended("leaf3", &mut slots, End::Good).await;
        assert!(stage.now().await.iter().all(|(_, holder, _)| holder.is_none()));
    });
}

#[test]
fn a_holder_that_falls_silent_stops_the_rollout_likewise() {
    let Some(fabric) = Fabric::up(1) else { return };
    fabric.run(async |stage| {
        let mut slots = stage.slots("leaf5");
        stage.held("leaf5", &mut slots).await;
        let tasks = stage.all_change((1..=SWITCHES).filter(|number| *number != 5));
        // As long as it renews, it is only slow.
        stage.until("others wait", |stage| matches!(stage.said("leaf1"), Some(Taken::Waiting(_)))).await;
        tokio::time::sleep(DURATION * 2).await;
        let Some(Taken::Waiting(waiting)) = stage.said("leaf1") else { panic!() };
        assert_eq!(waiting.why, Why::Held(vec!["leaf5".into()]));
        drop(slots);
        stage
            .until("all know why they wait", |stage| {
                (1..=SWITCHES).filter(|n| stage.blocked(&format!("leaf{n}"), "leaf5", How::Silent)).count()
                    == SWITCHES - 1
            })
            .await;
        let before = stage.now().await;
        tokio::time::sleep(DURATION * 10).await;
        assert_eq!(stage.log().began, ["leaf5"]);
        assert_eq!(stage.now().await, before, "nobody writes");
        // Its Switch is deleted: another way of Git's to free it.
        fabric.lab.kubectl(&["delete", "switch", "leaf5", "-n", "switchlet"]);
        finished(tasks).await;
        assert_eq!(stage.log().began.len(), SWITCHES);
    });
}

#[test]
fn two_at_a_time_and_none_without_the_api_server() {
    let Some(fabric) = Fabric::up(2) else { return };
    fabric.run(async |stage| {
        finished(stage.all_change(1..=SWITCHES)).await;
        let most = stage.log().most;
        let all = stage.log().began.clone();
        assert_eq!((most, all.len()), (2, SWITCHES), "{all:?}");
        // One holds while the API server goes away: it keeps what it has, and nobody else gets anything.
        let mut first = stage.slots("leaf1");
        stage.held("leaf1", &mut first).await;
        fabric.lab.lab(&["api", "kill", "apiserver"]);
        let began = stage.log().began.len();
        let waiting = Arc::clone(&stage);
        let second = tokio::spawn(async move { waiting.change("leaf2".to_owned()).await });
        stage.until("it is said", |stage| matches!(stage.said("leaf2"), Some(Taken::Unknown(_)))).await;
        tokio::time::sleep(DURATION * 2).await;
        assert!(matches!(first.taken(), Taken::Held(_)));
        first.need(Need::Settled(End::Good));
        tokio::time::sleep(DURATION).await;
        assert!(matches!(first.taken(), Taken::Unknown(_)), "not written yet: {:?}", first.taken());
        assert_eq!(stage.log().began.len(), began);
        fabric.lab.lab(&["api", "start", "apiserver"]);
        stage.ended("leaf1", &mut first, End::Good).await;
        tokio::time::timeout(SOON, second).await.unwrap().unwrap();
        assert_eq!(stage.log().began.len(), began + 1);
        assert!(stage.now().await.iter().all(|(_, holder, _)| holder.is_none()));
    });
}

/// What a leaf's FRR shall be, to the letter.
fn literal(leaf: &str, more: &str) -> String {
    let number = leaf.trim_start_matches("leaf");
    format!(
        "frr defaults datacenter\nhostname {leaf}\n{more}router bgp 6500{number}\n bgp router-id 10.0.0.{number}\nexit\n"
    )
}

/// Commits it: a new ConfigMap, and the Switch that names it.
fn commit(fabric: &Fabric, leaf: &str, revision: u32, more: &str) {
    let name = format!("{leaf}-{revision}");
    let settings = include_str!("../../overlays/lab/leaf1/switch.yaml");
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "switchlet"},
        "data": {"switch.yaml": settings, "frr.conf": literal(leaf, more)},
    });
    fabric.lab.apply(&map.to_string());
    fabric.patch(leaf, &json!({"configMaps": [{"name": name}]}));
}

#[test]
fn a_commit_that_cuts_management_stops_at_its_first_switch() {
    let Some(fabric) = Fabric::up(1) else { return };
    for leaf in ["leaf1", "leaf2"] {
        commit(&fabric, leaf, 1, "");
    }
    let agent = |leaf: &str| {
        let token = &fabric.tokens[leaf];
        fabric
            .lab
            .agent_with(leaf, &["--namespace", "switchlet", "--kubeconfig", token, "--slot-lease", "2s"])
    };
    let (first, second) = (agent("leaf1"), agent("leaf2"));
    let says = |leaf: &str, kind: &str| {
        let said = fabric.lab.switch_condition(leaf, kind).unwrap_or_default();
        let word = |field: &str| said[field].as_str().unwrap_or("?").to_owned();
        format!("{}/{}: {}", word("status"), word("reason"), word("message"))
    };
    let ready = |leaf: &str| says(leaf, "Ready");
    let sent = |log: String| log.matches("sent commands").count();
    fabric.run(async |stage| {
        stage
            .until("both real ones are ready", |_| {
                ["leaf1", "leaf2"].iter().all(|leaf| ready(leaf).starts_with("True/Applied"))
            })
            .await;
        let before = (fabric.lab.running("leaf2"), sent(second.log()));
        // The way to the API server ends in a black hole.
        commit(&fabric, "leaf1", 2, "ip route 172.31.0.1/32 blackhole\n");
        stage.until("leaf1 has the slot", |_| first.log().contains("a rollout slot is ours")).await;
        let cut = || fabric.lab.running("leaf1").contains("172.31.0.1/32");
        stage.until("the way is cut", |_| cut()).await;
        commit(&fabric, "leaf2", 2, "ip prefix-list NEW seq 5 permit 198.51.100.0/24\n");
        let tasks = stage.all_change(3..=SWITCHES);
        stage
            .until("leaf1 went back, and says so", |_| {
                !cut()
                    && ready("leaf1").starts_with("False/RolledBack: revision ")
                    && ready("leaf1").contains("does not answer any more")
            })
            .await;
        assert!(says("leaf1", "Stalled").starts_with("True/RolledBack"));
        stage
            .until("the simulated ones know why they wait", |stage| {
                (3..=SWITCHES).all(|n| stage.blocked(&format!("leaf{n}"), "leaf1", How::RolledBack))
            })
            .await;
        stage
            .until("leaf2 says so too", |_| {
                ready("leaf2").starts_with("False/AwaitingSlot")
                    && ready("leaf2").contains("leaf1 rolled back and keeps the slot")
            })
            .await;
        assert!(says("leaf2", "Reconciling").starts_with("True/AwaitingSlot"));
        assert!(says("leaf2", "Stalled").starts_with("False/"));
        let leases = stage.now().await;
        tokio::time::sleep(DURATION * 10).await;
        assert_eq!(stage.log().began, Vec::<String>::new(), "the simulated ones are untouched");
        assert_eq!((fabric.lab.running("leaf2"), sent(second.log())), before, "leaf2 is untouched");
        assert_eq!(stage.now().await, leases, "nobody writes a Lease");
        assert!(fabric.lab.condition("leaf2", "ConfigApplied").is_some_and(|said| said["status"] == "True"));
        // Git frees the slot, and the others go.
        fabric.patch("leaf1", &json!({"rollout": {"release": 1}}));
        finished(tasks).await;
        stage.until("leaf2 is through", |_| ready("leaf2").starts_with("True/Applied")).await;
        assert!(fabric.lab.running("leaf2").contains("ip prefix-list NEW seq 5"));
        assert!(ready("leaf1").starts_with("False/RolledBack"), "{}", ready("leaf1"));
        // A mended commit, and nothing is held any more.
        commit(&fabric, "leaf1", 3, "ip prefix-list NEW seq 5 permit 198.51.100.0/24\n");
        stage.until("leaf1 is through", |_| ready("leaf1").starts_with("True/Applied")).await;
        stage
            .until("every Lease is empty", |_| {
                let leases = fabric.lab.get(&["leases", "-n", "switchlet"]);
                leases["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|lease| lease["spec"]["holderIdentity"].is_null())
            })
            .await;
    });
    first.stop();
    second.stop();
}
