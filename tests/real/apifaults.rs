//! The API server fails while a change is in one of its states, and comes back later. The old text stays and forwards, or the
//! new one is confirmed; nothing is lost, nobody's session is dropped, and a way that ends in the middle undoes the change.
//!
//! Real FRR, real BIRD speakers, a real API server; between it and the agent stands `apifaults.py` of the lab, for answers
//! that no healthy server gives. That packets vanish is the kernel's doing, and a refusal is a port on which nobody listens.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::lab::{Lab, wait_for};
use crate::release::Release;
use crate::served::{APPLIED, SETTINGS, SOON, Scene, VIP};

/// Where the agent finds its API server: something stands in front of the real one.
const SERVER: &str = "172.31.0.1:6445";
const REAL: &str = "172.31.0.1:6443";
/// A fault is noticed within this: outside of a change nothing hurries.
const NOTICED: Duration = Duration::from_secs(20);
/// How long nothing may happen before it is taken for nothing.
const QUIET: Duration = Duration::from_millis(1500);

/// What is wrong with the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Packets get there, and none comes back.
    BlackHole,
    /// Nobody listens.
    Refused,
    /// It knows nobody.
    Unauthorized,
    /// Every version is too old to be watched from.
    Gone,
    /// It has lost all objects.
    Empty,
}

const ALL: [Fault; 5] = [Fault::BlackHole, Fault::Refused, Fault::Unauthorized, Fault::Gone, Fault::Empty];

/// The server that the agent sees.
struct Server {
    child: Option<Child>,
}

impl Server {
    fn up(lab: &Lab) -> Self {
        let silent = "table inet silent {\nchain in { type filter hook input priority 0; \
                      tcp sport 6445 counter drop; }\n}\n";
        fs::write(lab.scratch("silent.nft"), silent).unwrap();
        let mut this = Self { child: None };
        Self::says(lab, "");
        this.listen(lab);
        this
    }

    fn listen(&mut self, lab: &Lab) {
        let before = Self::log(lab).len();
        let log =
            fs::File::options().create(true).append(true).open(lab.scratch("log/apifaults.log")).unwrap();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/lib/apifaults.py");
        let child = Command::new("ip")
            .args(["netns", "exec", &lab.env["NS_API"], "python3", program, SERVER, REAL])
            .args([lab.scratch("pki"), lab.scratch("api-fault")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("ip netns exec");
        self.child = Some(child);
        wait_for("the server with faults", SOON, || {
            let log = Self::log(lab)[before..].to_owned();
            if log.contains("ready") { Ok(()) } else { Err(log) }
        });
    }

    fn log(lab: &Lab) -> String {
        fs::read_to_string(lab.scratch("log/apifaults.log")).unwrap_or_default()
    }

    /// What is wrong with its answers; whole at once, for it is read all the time.
    fn says(lab: &Lab, word: &str) {
        let new = lab.scratch("api-fault.new");
        fs::write(&new, word).unwrap();
        fs::rename(new, lab.scratch("api-fault")).unwrap();
    }

    /// Puts the fault on.
    fn begin(&mut self, scene: &Scene, fault: Fault) {
        let rules = scene.lab.scratch("silent.nft");
        match fault {
            Fault::BlackHole => {
                drop(scene.lab.lab(&["in", "leaf1", "nft", "-f", rules.to_str().unwrap()]));
            }
            Fault::Refused => self.kill(),
            Fault::Unauthorized => Self::says(&scene.lab, "401"),
            Fault::Gone => Self::says(&scene.lab, "410"),
            Fault::Empty => Self::says(&scene.lab, "empty"),
        }
    }

    /// Waits until the agent has met it: `logs` are the lengths of its log and of the server's before it began.
    fn met(scene: &Scene, fault: Fault, logs: (usize, usize)) {
        let (agent, server) = logs;
        wait_for(&format!("{fault:?} is met"), NOTICED, || {
            let (said, answered) = (scene.agent.log(), Self::log(&scene.lab));
            let (said, answered) = (&said[agent..], &answered[server..]);
            let has = |word: &str| answered.lines().any(|line| line.starts_with(word));
            let met = match fault {
                Fault::BlackHole => {
                    let table = scene.lab.lab(&["in", "leaf1", "nft", "list", "table", "inet", "silent"]);
                    !table.contains("packets 0 ")
                }
                Fault::Refused => said.contains("the watch fails") && said.contains("refused"),
                Fault::Unauthorized => has("401 ") && said.contains("Unauthorized"),
                Fault::Gone => has("410 "),
                // One of the lists that tell what is to be missed; each watch comes back in its own time.
                Fault::Empty => ["nodes?", "services?", "endpointslices?"].iter().any(|list| {
                    answered.lines().any(|line| line.starts_with("empty GET") && line.contains(list))
                }),
            };
            if met { Ok(()) } else { Err(format!("{said}{answered}")) }
        });
    }

    fn logs(scene: &Scene) -> (usize, usize) {
        (scene.agent.log().len(), Self::log(&scene.lab).len())
    }

    /// Takes the fault away.
    fn end(&mut self, scene: &Scene, fault: Fault) {
        match fault {
            Fault::BlackHole => {
                drop(scene.lab.lab(&["in", "leaf1", "nft", "delete", "table", "inet", "silent"]));
            }
            Fault::Refused => self.listen(&scene.lab),
            Fault::Unauthorized | Fault::Gone | Fault::Empty => Self::says(&scene.lab, ""),
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A leaf whose agent speaks to a server that can fail, and what must be true of the leaf whatever happens.
struct Stage {
    scene: Scene,
    server: Server,
    sessions: Vec<(String, u64)>,
    startup: String,
    /// Makes each generation of the Switch another one.
    nudges: u32,
}

impl Stage {
    fn up(release: Release) -> Option<Self> {
        let mut server = None;
        let scene = Scene::with(release, |lab| {
            server = Some(Server::up(lab));
            let (url, kubeconfig) = (format!("https://{SERVER}"), lab.kubeconfig("leaf1"));
            let from = ["--namespace", "switchlet", "--kubeconfig", &kubeconfig, "--api-server", &url];
            lab.agent_under("leaf1", &["env", "RUST_LOG=info,switchlet=debug"], &from)
        })?;
        let (sessions, startup) = (scene.lab.sessions("leaf1"), scene.startup());
        Some(Self { scene, server: server?, sessions, startup, nudges: 0 })
    }

    fn sent(&self) -> usize {
        self.scene.agent.log().matches("sent commands").count()
    }

    /// Forwards as ever, with the sessions of the beginning.
    fn undisturbed(&self, what: &str) {
        let hops = self.scene.lab.kernel("leaf1", VIP).map_or(0, |hops| hops.len());
        assert_eq!(hops, 3, "{what}");
        assert_eq!(self.scene.lab.sessions("leaf1"), self.sessions, "{what}: a session was dropped");
    }

    /// Another generation that means nothing: to be heard, and to make a server say something.
    fn nudge(&mut self) {
        self.nudges += 1;
        self.scene.patch(&json!({"budget": {"until": format!("2000-01-01T00:00:{:02}Z", self.nudges)}}));
    }

    /// Every fault comes and goes while the change waits, and the Switch says `waits` all the time. `go` is what it waits
    /// for: it comes while the server has the last fault, and is obeyed when that has gone.
    fn waiting(&mut self, waits: &str, last: Fault, go: impl FnOnce(&Scene)) {
        self.scene.ready(waits);
        let (sent, startup) = (self.sent(), self.scene.startup());
        let mut go = Some(go);
        for fault in ALL.into_iter().filter(|fault| *fault != last).chain([last]) {
            let what = format!("{waits}, {fault:?}");
            let logs = Server::logs(&self.scene);
            self.server.begin(&self.scene, fault);
            match go.take_if(|_| fault == last) {
                Some(go) => go(&self.scene),
                None => self.nudge(),
            }
            Server::met(&self.scene, fault, logs);
            std::thread::sleep(QUIET);
            assert_eq!(self.sent(), sent, "{what}: something was sent");
            assert_eq!(self.scene.startup(), startup, "{what}");
            self.undisturbed(&what);
            self.server.end(&self.scene, fault);
            if fault != last {
                self.scene.ready(waits);
                assert_eq!(self.sent(), sent, "{what}: something was sent");
            }
        }
        self.scene.ready("True/Applied");
        assert_eq!(self.sent(), sent + 1);
    }
}

#[test]
fn what_waits_for_somebodys_word_waits_on_and_is_not_lost() {
    let Some(mut stage) = Stage::up(Release::V8_4) else { return };
    // It may only be planned, and is rendered and validated.
    stage.scene.patch(&json!({"apply": {"policy": "PlanOnly"}}));
    let (number, _) = stage.scene.commit();
    stage.waiting("True/PlanOnly", Fault::Empty, |scene| {
        scene.patch(&json!({"apply": {"policy": "Enforce"}}));
    });
    assert!(stage.scene.runs(number) && stage.scene.startup().contains(&Scene::line(number)));
    stage.undisturbed("applied");
    // It would reset all sessions, and nobody has approved that.
    let resets = SETTINGS.replace("routerId: 10.0.0.1", "routerId: 10.0.0.9");
    stage.scene.commit_of(&Scene::template(number), &resets);
    stage.scene.ready("False/ApprovalRequired");
    let status = stage.scene.lab.get(&["switch", "leaf1", "-n", "switchlet"])["status"].clone();
    let plan = status["plan"]["hash"].as_str().unwrap().to_owned();
    stage.waiting("False/ApprovalRequired", Fault::BlackHole, |scene| {
        scene.patch(&json!({"approvedPlan": plan}));
    });
    assert!(stage.scene.lab.running("leaf1").contains("bgp router-id 10.0.0.9"));
    stage.scene.forwards("as approved");
}

#[test]
fn what_waits_for_its_turn_or_is_held_waits_on_and_is_not_lost() {
    let Some(mut stage) = Stage::up(Release::V10_3) else { return };
    // leaf2 went back, and keeps the slot.
    stage.scene.lab.kubectl(&["delete", "leases", "--all", "-n", "switchlet"]);
    stage.scene.lab.apply(
        &json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "default-0", "namespace": "switchlet", "annotations": {
                "switchlet.io/outcome": "failed", "switchlet.io/turn": "9", "switchlet.io/last-holder": "leaf2"}},
            "spec": {"holderIdentity": "leaf2", "leaseDurationSeconds": 15},
        })
        .to_string(),
    );
    let (number, _) = stage.scene.commit();
    stage.waiting("False/AwaitingSlot", Fault::Refused, |scene| {
        scene.patch_of("leaf2", &json!({"rollout": {"release": 1}}));
    });
    assert!(stage.scene.runs(number) && stage.scene.startup().contains(&Scene::line(number)));
    stage.undisturbed("applied");
    // It was undone, and is not tried again by itself; another text is.
    let from = stage.scene.commit_of(&deny(1), SETTINGS);
    stage.scene.log_has(from, "was undone, because of what it took away");
    stage.scene.forwards("the filter is gone");
    let mended = number + 1;
    stage.waiting("False/RolledBack", Fault::Unauthorized, |scene| {
        scene.commit_of(&Scene::template(mended), SETTINGS);
    });
    assert!(stage.scene.runs(mended));
    stage.undisturbed("mended");
}

/// A filter in front of all others: the VIP goes, seconds after vtysh has returned.
fn deny(number: u32) -> String {
    format!(
        "{{% extends \"builtin/frr.conf.tera\" %}}\n{{% block policies %}}{{{{ super() }}}}\
         route-map SWITCHLET-FROM-SPEAKERS deny {number}\nexit\n!\n{{% endblock %}}\n"
    )
}

/// A server to which no way leads any more is another story: `window` tells it.
#[test]
fn a_good_change_is_confirmed_whatever_the_server_says() {
    let Some(mut stage) = Stage::up(Release::V8_4) else { return };
    // The worst one first: each makes the watches slower to come back.
    for fault in [Fault::Empty, Fault::Refused, Fault::Unauthorized, Fault::Gone] {
        let (what, sent) = (format!("in the window, {fault:?}"), stage.sent());
        let (number, from) = stage.scene.commit();
        stage.scene.log_has(from, "sent commands");
        let logs = Server::logs(&stage.scene);
        stage.server.begin(&stage.scene, fault);
        Server::met(&stage.scene, fault, logs);
        assert!(!stage.scene.agent.log()[from..].contains(APPLIED), "{what}: it came too late");
        stage.scene.log_has(from, APPLIED);
        // Confirmed, and the server is as ill as before.
        std::thread::sleep(QUIET);
        assert_eq!(stage.sent(), sent + 1, "{what}: it was undone again");
        assert!(stage.scene.runs(number) && stage.scene.startup().contains(&Scene::line(number)), "{what}");
        stage.undisturbed(&what);
        if fault == Fault::Empty {
            // What somebody takes away is put back all the same: with the neighbours that no list has any more.
            let words = ["configure terminal", "router bgp 65001", "no neighbor 192.168.1.13"];
            let words: Vec<&str> = words.iter().flat_map(|word| ["-c", word]).collect();
            stage.scene.lab.lab(&[&["vtysh", "leaf1"], words.as_slice()].concat());
            stage
                .scene
                .log_has(from + stage.scene.agent.log()[from..].find(APPLIED).unwrap(), "sent commands");
            stage.scene.forwards("drift is put back");
            stage.sessions = stage.scene.lab.sessions("leaf1");
        }
        stage.server.end(&stage.scene, fault);
        stage.scene.ready("True/Applied");
        stage.undisturbed(&what);
    }
    assert!(!stage.scene.agent.log().contains("was undone"), "{}", stage.scene.agent.log());
}

#[test]
fn a_bad_change_is_undone_without_a_server() {
    bad_changes_are_undone(Release::V8_4, &[Fault::BlackHole, Fault::Refused]);
}

#[test]
fn a_bad_change_is_undone_whatever_the_server_says() {
    bad_changes_are_undone(Release::V10_3, &[Fault::Empty, Fault::Unauthorized, Fault::Gone]);
}

fn bad_changes_are_undone(release: Release, faults: &[Fault]) {
    let Some(mut stage) = Stage::up(release) else { return };
    for (number, fault) in (1..).zip(faults.iter().copied()) {
        let (what, sent) = (format!("on the way back, {fault:?}"), stage.sent());
        let from = stage.scene.commit_of(&deny(number), SETTINGS);
        stage.scene.log_has(from, "sent commands");
        let logs = Server::logs(&stage.scene);
        stage.server.begin(&stage.scene, fault);
        stage.scene.log_has(from, "was undone, because of what it took away");
        // What it took away is on its way back, and looked for.
        Server::met(&stage.scene, fault, logs);
        stage.scene.forwards(&what);
        let running = stage.scene.lab.running("leaf1");
        assert!(!running.contains("route-map SWITCHLET-FROM-SPEAKERS deny"), "{what}: {running}");
        assert_eq!(stage.scene.startup(), stage.startup, "{what}: startup was touched");
        assert!(!stage.scene.agent.log()[from..].contains(APPLIED), "{what}: confirmed");
        stage.undisturbed(&what);
        stage.server.end(&stage.scene, fault);
        stage.scene.ready("False/RolledBack");
        assert_eq!(stage.sent(), sent + 2, "{what}: the change, and the way back");
    }
}
