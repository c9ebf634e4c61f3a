//! Rollout slots on a real API server: eight switches, each with the shell, the rules and the token of an agent, and with a
//! change that is a moment of sleep.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]

#[path = "support/lab.rs"]
mod lab;
#[path = "support/release.rs"]
mod release;

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams, PostParams};
use lab::Lab;
use release::Release;
use serde_json::{Value, json};
use switchlet::change::slot::{AWAITING, How, Why};
use switchlet::cluster::client::{Clients, Way, connect};
use switchlet::cluster::leases::{End, Slots, Taken, Turn};
use switchlet::cluster::report::Writer;

/// Of a Lease; short, so that ten of them can be waited for.
const DURATION: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(40);
/// How long a change takes: longer than a renewal.
const CHANGE: Duration = Duration::from_millis(900);
const SWITCHES: usize = 8;

/// Eight Switches with their Nodes, and a pod on each for the token.
struct Fabric {
    lab: Lab,
    tokens: BTreeMap<String, String>,
}

impl Fabric {
    fn up(max_unavailable: u32) -> Option<Self> {
        let lab = Lab::up(lab::Api::Real, Release::V8_4)?;
        lab.kubectl(&[
            "apply",
            "-k",
            Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").to_str().unwrap(),
        ]);
        let names: Vec<String> = (1..=SWITCHES).map(|number| format!("leaf{number}")).collect();
        let rollout = json!({"group": "racks", "maxUnavailable": max_unavailable});
        let objects: Vec<Value> = names
            .iter()
            .flat_map(|name| {
                let meta = json!({"name": name, "namespace": "switchlet"});
                let container = json!({"name": "agent", "image": "none"});
                let pod = json!({"nodeName": name, "serviceAccountName": "agent", "containers": [container]});
                [
                    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}),
                    json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod}),
                    json!({
                        "apiVersion": "switchlet.io/v1alpha1", "kind": "Switch", "metadata": meta,
                        "spec": {"configMaps": [{"name": "x"}], "rollout": rollout},
                    }),
                ]
            })
            .collect();
        lab.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
        let token = |name: &String| {
            let path = lab.lab(&["kubeconfig", "--sa", "switchlet/agent", "--pod", name]);
            (name.clone(), path.trim().to_owned())
        };
        let tokens = names.iter().map(token).collect();
        Some(Self { lab, tokens })
    }

    /// Runs `work` where the API server can be reached, on a thread of its own.
    fn run<F: Future<Output = ()>>(&self, work: impl FnOnce(Arc<Stage>) -> F + Send) {
        let namespace = File::open(Path::new("/run/netns").join(&self.lab.env["NS_API"])).unwrap();
        let result = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        let stage = Arc::new(Stage::open(&self.tokens).await);
                        stage.policy_is_in_force().await;
                        work(stage).await;
                    });
                })
                .join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    fn patch(&self, name: &str, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.lab.kubectl(&["patch", "switch", name, "-n", "switchlet", "--type=merge", "-p", &patch]);
    }
}

/// What the switches do, as they do it.
struct Stage {
    clients: BTreeMap<String, Clients>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// Who is in the middle of a change.
    now: Vec<String>,
    /// As many were at the same time, at most.
    most: usize,
    /// Who has changed, in this order.
    began: Vec<String>,
    /// What each said last.
    said: BTreeMap<String, Taken>,
}

impl Stage {
    async fn open(tokens: &BTreeMap<String, String>) -> Self {
        let mut clients = BTreeMap::new();
        for (name, token) in tokens {
            let found = connect(Some(Path::new(token)), Way::default()).await.unwrap();
            clients.insert(name.clone(), found);
        }
        Self { clients, log: Mutex::default() }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.clients["leaf1"].calls.clone(), "switchlet")
    }

    /// Waits until leaf1 may not write another name.
    async fn policy_is_in_force(&self) {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "other-0"},
            "spec": {"holderIdentity": "leaf2"},
        });
        let lease: Lease = serde_json::from_value(lease).unwrap();
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let began = Instant::now();
        loop {
            match self.leases().create(&params, &lease).await {
                Err(kube::Error::Api(status)) if status.code == 403 => return,
                other => assert!(began.elapsed() < SOON, "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn slots(&self, name: &str) -> Slots {
        let turn = Turn {
            me: name.to_owned(),
            namespace: "switchlet".to_owned(),
            duration: DURATION,
            seed: name.bytes().map(u64::from).sum(),
        };
        Slots::start(&self.clients[name], turn)
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    fn said(&self, name: &str) -> Option<Taken> {
        self.log().said.get(name).cloned()
    }

    /// What an agent writes to its Switch.
    async fn ready(&self, name: &str, word: &str, reason: &str) {
        let now = jiff::Timestamp::now().to_string();
        let condition = json!({
            "type": "Ready", "status": word, "reason": reason, "message": "", "lastTransitionTime": now,
        });
        let writer = Writer::new(self.clients[name].calls.clone(), name, "switchlet");
        writer.switch(&json!({"conditions": [condition]})).await.unwrap();
    }

    /// Waits for a slot.
    async fn held(&self, name: &str, slots: &mut Slots) {
        slots.take();
        let mut waits = false;
        loop {
            let taken = slots.taken();
            self.log().said.insert(name.to_owned(), taken.clone());
            match taken {
                Taken::Held(_) => break,
                Taken::Waiting(_) if !waits => {
                    waits = true;
                    self.ready(name, "False", AWAITING).await;
                }
                _ => slots.changed().await,
            }
        }
        let mut log = self.log();
        log.began.push(name.to_owned());
        log.now.push(name.to_owned());
        log.most = log.most.max(log.now.len());
    }

    /// The change has ended; waits until that is written.
    async fn ended(&self, name: &str, slots: &mut Slots, end: End) {
        self.log().now.retain(|other| other != name);
        slots.settle(end);
        while slots.taken() != Taken::Settled(end) {
            slots.changed().await;
        }
        let (word, reason) =
            if end == End::Good { ("True", "Applied") } else { ("False", "ReadBackDiffers") };
        self.ready(name, word, reason).await;
    }

    /// One switch, one good change.
    async fn change(self: Arc<Self>, name: String) {
        let mut slots = self.slots(&name);
        self.held(&name, &mut slots).await;
        tokio::time::sleep(CHANGE).await;
        self.ended(&name, &mut slots, End::Good).await;
    }

    fn all_change(self: &Arc<Self>, who: impl Iterator<Item = usize>) -> tokio::task::JoinSet<()> {
        who.map(|number| Arc::clone(self).change(format!("leaf{number}"))).collect()
    }

    async fn until(&self, what: &str, check: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !check(self) {
            assert!(began.elapsed() < SOON, "{what}: {:?}", self.log().said);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Name, holder and version of every Lease.
    async fn now(&self) -> Vec<(String, Option<String>, String)> {
        let all = self.leases().list(&ListParams::default()).await.unwrap();
        all.items
            .into_iter()
            .map(|lease| {
                let holder = lease.spec.and_then(|spec| spec.holder_identity);
                (lease.metadata.name.unwrap(), holder, lease.metadata.resource_version.unwrap())
            })
            .collect()
    }

    fn blocked(&self, name: &str, by: &str, how: How) -> bool {
        let Some(Taken::Waiting(waiting)) = self.said(name) else { return false };
        matches!(&waiting.why, Why::HeldByFailure(failed) if failed.len() == 1 && failed[0].name == by && failed[0].how == how)
    }
}

async fn finished(mut tasks: tokio::task::JoinSet<()>) {
    let all = async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    };
    tokio::time::timeout(SOON, all).await.expect("all are done in time");
}

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
        first.settle(End::Good);
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
