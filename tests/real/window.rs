//! The API server in the middle of a change. What is confirmed stays, whatever becomes of the server; only the way to it counts,
//! and only if it was there before.

use std::fs;
use std::time::Instant;

use crate::lab::{eventually, wait_for};
use crate::release::Release;
use crate::served::{APPLIED, SOON, Scene};
use serde_json::{Value, json};

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
