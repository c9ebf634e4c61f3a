//! Eight switches that take turns: Switches, Nodes and tokens on a real API server, and a stage on which each plays with the
//! shell and the rules of an agent, and with a change that is a moment of sleep.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};
use switchlet::change::slot::{AWAITING, End, How, Need, Why};
use switchlet::cluster::client::{Clients, Way, connect};
use switchlet::cluster::leases::{Slots, Taken, Turn};
use switchlet::cluster::report::Writer;

use crate::lab::{self, Lab};
use crate::release::Release;

/// Of a Lease; short, so that ten of them can be waited for.
pub const DURATION: Duration = Duration::from_secs(2);
pub const SOON: Duration = Duration::from_secs(40);
/// How long a change takes: longer than a renewal.
pub const CHANGE: Duration = Duration::from_millis(900);
pub const SWITCHES: usize = 8;

/// Eight Switches with their Nodes, and a pod on each for the token.
pub struct Fabric {
    pub lab: Lab,
    pub tokens: BTreeMap<String, String>,
}

impl Fabric {
    pub fn up(max_unavailable: u32) -> Option<Self> {
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
                [
                    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}),
                    json!({
                        "apiVersion": "switchlet.io/v1alpha1", "kind": "Switch", "metadata": meta,
                        "spec": {"configMaps": [{"name": "x"}], "rollout": rollout},
                    }),
                ]
            })
            .collect();
        lab.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
        let tokens = names.iter().map(|name| (name.clone(), lab.kubeconfig(name))).collect();
        Some(Self { lab, tokens })
    }

    /// Runs `work` where the API server can be reached, once the policy is in force.
    pub fn run<F: Future<Output = ()>>(&self, work: impl FnOnce(Arc<Stage>) -> F + Send) {
        self.lab.inside(async || {
            let stage = Arc::new(Stage::open(&self.tokens).await);
            stage.policy_is_in_force().await;
            work(stage).await;
        });
    }

    pub fn patch(&self, name: &str, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.lab.kubectl(&["patch", "switch", name, "-n", "switchlet", "--type=merge", "-p", &patch]);
    }
}

/// What the switches do, as they do it.
pub struct Stage {
    clients: BTreeMap<String, Clients>,
    log: Mutex<Log>,
}

#[derive(Default)]
pub struct Log {
    /// Who is in the middle of a change.
    now: Vec<String>,
    /// As many were at the same time, at most.
    pub most: usize,
    /// Who has changed, in this order.
    pub began: Vec<String>,
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

    pub fn slots(&self, name: &str) -> Slots {
        let turn = Turn {
            me: name.to_owned(),
            namespace: "switchlet".to_owned(),
            duration: DURATION,
            seed: name.bytes().map(u64::from).sum(),
        };
        Slots::start(&self.clients[name], turn)
    }

    pub fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    pub fn said(&self, name: &str) -> Option<Taken> {
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
    pub async fn held(&self, name: &str, slots: &mut Slots) {
        slots.need(Need::Slot);
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
    pub async fn ended(&self, name: &str, slots: &mut Slots, end: End) {
        self.log().now.retain(|other| other != name);
        slots.need(Need::Settled(end));
        while slots.taken() != Taken::Settled(end) {
            slots.changed().await;
        }
        let (word, reason) =
            if end == End::Good { ("True", "Applied") } else { ("False", "ReadBackDiffers") };
        self.ready(name, word, reason).await;
    }

    /// One switch, one good change.
    pub async fn change(self: Arc<Self>, name: String) {
        let mut slots = self.slots(&name);
        self.held(&name, &mut slots).await;
        tokio::time::sleep(CHANGE).await;
        self.ended(&name, &mut slots, End::Good).await;
    }

    pub fn all_change(self: &Arc<Self>, who: impl Iterator<Item = usize>) -> tokio::task::JoinSet<()> {
        who.map(|number| Arc::clone(self).change(format!("leaf{number}"))).collect()
    }

    pub async fn until(&self, what: &str, check: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !check(self) {
            assert!(began.elapsed() < SOON, "{what}: {:?}", self.log().said);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Name, holder and version of every Lease.
    pub async fn now(&self) -> Vec<(String, Option<String>, String)> {
        let all = self.leases().list(&ListParams::default()).await.unwrap();
        all.items
            .into_iter()
            .map(|lease| {
                let holder = lease.spec.and_then(|spec| spec.holder_identity);
                (lease.metadata.name.unwrap(), holder, lease.metadata.resource_version.unwrap())
            })
            .collect()
    }

    pub fn blocked(&self, name: &str, by: &str, how: How) -> bool {
        let Some(Taken::Waiting(waiting)) = self.said(name) else { return false };
        matches!(&waiting.why, Why::HeldByFailure(failed) if failed.len() == 1 && failed[0].name == by && failed[0].how == how)
    }
}

pub async fn finished(mut tasks: tokio::task::JoinSet<()>) {
    let all = async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    };
    tokio::time::timeout(SOON, all).await.expect("all are done in time");
}
