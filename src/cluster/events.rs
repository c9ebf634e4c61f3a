//! Writing Events.
//!
//! A recorder of our own: the usual one takes two Events of one reason for the same although they say different things,
//! and publishes the first text twice. Here the text is part of what an Event is. Equal ones become a series; too
//! many are dropped and counted; and a server that does not answer gets them late, with their own times.
#![expect(clippy::disallowed_methods, reason = "shell: retries and series have times")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::chain;
use crate::intent::snapshot::digest;
use crate::net::Backoff;

/// Who reports: `reportingController` of each Event.
const CONTROLLER: &str = "switchlet.io/agent";
/// Equal Events within this time are one series: the API server keeps an Event for an hour, kubectl shows the last.
const SERIES: Duration = Duration::from_secs(360);
/// As many Events may come at once, and then one every ten seconds: a switch must not flood etcd.
const BURST: u32 = 50;
const REFILL: Duration = Duration::from_secs(10);
/// Events that wait for a server which does not answer; the oldest are dropped.
const MOST_WAITING: usize = 200;
/// Longest `note`, bytes, and longest `action` and `reason` are the API's own bounds.
const LONGEST_NOTE: usize = 1000;
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// One Event, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The object it is about.
    pub regarding: Regarding,
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// CamelCase.
    pub reason: String,
    /// CamelCase.
    pub action: &'static str,
    /// For people.
    pub note: String,
    /// When it happened.
    pub at: Timestamp,
}

/// The object of an Event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Regarding {
    /// `Node` or `Service`; both of API version v1.
    pub kind: &'static str,
    /// Absent for a Node.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// The object's own UID.
    pub uid: String,
}

/// What became of Events.
pub trait Tally: Clone + Send + 'static {
    /// Written.
    fn written(&self);
    /// Given up.
    fn dropped(&self);
}

/// Takes Events; never blocks.
#[derive(Debug, Clone)]
pub struct Recorder(mpsc::UnboundedSender<Record>);

impl Recorder {
    /// A recorder that writes for the switch `me`. `seed` spreads the retries of many switches.
    pub fn start(client: Client, me: &str, seed: u64, tally: impl Tally) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run(client, Arc::from(me), seed, receiver, tally));
        Self(sender)
    }

    /// Hands over one Event.
    pub fn record(&self, record: Record) {
        // The task ends with the process only.
        drop(self.0.send(record));
    }
}

type Key = (Regarding, &'static str, String, &'static str, String);

/// An Event that was written.
struct Written {
    name: String,
    count: i32,
    last: Instant,
}

struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let earned = u32::try_from((now - self.filled).as_millis() / REFILL.as_millis()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.filled = now;
        }
        let has = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        has
    }
}

async fn run(
    client: Client,
    me: Arc<str>,
    seed: u64,
    mut records: mpsc::UnboundedReceiver<Record>,
    tally: impl Tally,
) {
    let mut waiting: VecDeque<Record> = VecDeque::new();
    let mut written: BTreeMap<Key, Written> = BTreeMap::new();
    let mut bucket = Bucket { tokens: BURST, filled: Instant::now() };
    let mut attempts = 0_u32;
    loop {
        if waiting.is_empty() {
            let Some(record) = records.recv().await else { return };
            waiting.push_back(record);
        }
        while let Ok(record) = records.try_recv() {
            if waiting.len() >= MOST_WAITING {
                waiting.pop_front();
                tally.dropped();
            }
            waiting.push_back(record);
        }
        let Some(record) = waiting.front().cloned() else { continue };
        let now = Instant::now();
        written.retain(|_, event| now - event.last < SERIES);
        if attempts == 0 && !bucket.take(now) {
            waiting.pop_front();
            tally.dropped();
            continue;
        }
        match write(&client, &me, &record, &mut written).await {
            Ok(()) => {
                attempts = 0;
                waiting.pop_front();
                tally.written();
            }
            Err(error) if is_final(&error) => {
                tracing::warn!(error = %chain(&error), reason = record.reason, "the API server refused an Event");
                attempts = 0;
                waiting.pop_front();
                tally.dropped();
            }
            Err(error) => {
                if attempts == 0 {
                    tracing::debug!(error = %chain(&error), "an Event could not be written; trying again");
                }
                let wait = RETRY.wait(attempts, seed);
                attempts += 1;
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// The server answered, and would answer the same again.
fn is_final(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            (400..500).contains(&status.code) && ![401, 408, 429].contains(&status.code)
        }
        _ => false,
    }
}

async fn write(
    client: &Client,
    me: &str,
    record: &Record,
    written: &mut BTreeMap<Key, Written>,
) -> Result<(), kube::Error> {
    let Record { regarding, kind, reason, action, note, at } = record;
    // Events of a cluster-scoped object live in `default`.
    let namespace = regarding.namespace.as_deref().unwrap_or("default");
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let key = (regarding.clone(), *kind, reason.clone(), *action, note.clone());
    let now = Instant::now();
    if let Some(event) = written.get_mut(&key) {
        let count = event.count + 1;
        let series = json!({"series": {"count": count, "lastObservedTime": micros(*at)}});
        match events.patch(&event.name, &PatchParams::default(), &Patch::Merge(&series)).await {
            Ok(_) => {
                event.count = count;
                event.last = now;
                return Ok(());
            }
            // The server has forgotten it: a new one begins.
            Err(kube::Error::Api(status)) if status.code == 404 => drop(written.remove(&key)),
            Err(error) => return Err(error),
        }
    }
    // Several Events of one object may have happened at the same moment.
    let moment = at.as_nanosecond().to_string();
    let name = format!("{}.{}", regarding.name, digest([&moment, reason, note].map(String::as_bytes)));
    let event = json!({
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": micros(*at),
        "reportingController": CONTROLLER,
        "reportingInstance": me,
        "action": action,
        "reason": reason,
        "type": kind,
        "note": cut(note),
        "regarding": {
            "apiVersion": "v1",
            "kind": regarding.kind,
            "name": regarding.name,
            "namespace": regarding.namespace,
            "uid": regarding.uid,
        },
    });
    let event: Event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
    match events.create(&PostParams::default(), &event).await {
        // A try whose answer was lost.
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    written.insert(key, Written { name, count: 1, last: now });
    Ok(())
}

fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}

fn cut(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let mut end = LONGEST_NOTE - '…'.len_utf8();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &note[..end])
}
