//! Rollout slots on the API server: the Leases of a group, written for this switch.
//!
//! A task of its own does it, so a server that does not answer delays no look. The agent only says what it needs, and reads how
//! that stands; both are levels, and saying the same twice is saying it once:
//!
//! ```text
//! let mut slots = Slots::start(&clients, Turn { me, namespace, duration, seed });
//! slots.need(Need::Slot);             // a change of the bundle is validated and approved
//! loop {
//!     match slots.taken() {
//!         Taken::Held(lease) => break,              // now the change may start
//!         Taken::Waiting(waiting) => …,             // say waiting.words(), reason slot::AWAITING
//!         Taken::Nothing | Taken::Unknown(_) => …,  // no API: no new change starts
//!         Taken::Settled(_) => …,
//!     }
//!     slots.changed().await;
//! }
//! …                                   // the change; the slot is renewed meanwhile, and kept when that fails
//! slots.need(Need::Settled(End::Good));    // or End::Failed
//! ```
//!
//! To stop waiting (the commit was reverted meanwhile) the agent settles good. After a restart it says nothing until it knows
//! how its change stands: until then nothing is written. Rules, and who comes first, are in [`crate::change::slot`]; a Switch
//! is in the queue as long as its `Ready` condition has the reason [`slot::AWAITING`].
//!
//! Calls: while it waits, two watches; to take a slot, one read, one write and two lists; while it is held, one write each third of
//! its duration; to settle, one list and one write. Otherwise none.
#![expect(clippy::disallowed_methods, reason = "shell: renewals and retries have times")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::chain;
use super::client::{CALL, Clients};
use super::kinds::SwitchTurn;
use crate::change::slot::{self, Decision, End, Need, Observed, Outcome, Queue, Take, Waiting};
use crate::net::Backoff;

mod object;
mod view;

use object::{OUTCOME, annotate, annotation, empty, member, seen};
use view::{View, follow_leases, follow_switches, observed};

/// After how long without a renewal a holder counts as failed. The same as that of the control plane's own leases.
pub const DURATION: Duration = Duration::from_secs(15);
/// A renewal each third of the duration: two may get lost.
const RENEWALS: u32 = 3;

const RETRY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
/// Somebody else was faster: the watch will tell, a little later.
const FASTER: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// Who takes turns.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Name of the Switch, which is that of the node.
    pub me: String,
    /// Where Switches and Leases live.
    pub namespace: String,
    /// How long a Lease is good without a renewal; whole seconds, at least one.
    pub duration: Duration,
    /// Spreads the retries of many switches; any number.
    pub seed: u64,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Taken {
    /// Nothing is needed yet.
    #[default]
    Nothing,
    /// The API server has not answered, or has refused; why. A slot may be ours or not: no change may start.
    Unknown(String),
    /// A slot is needed, and there is none for us now.
    Waiting(Waiting),
    /// This Lease is ours, and there are not too many.
    Held(String),
    /// The end is written down.
    Settled(End),
}

/// What is needed, and which word that is: an answer to an earlier one is none to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Asked {
    number: u64,
    need: Need,
}

/// The slot of this switch. Dropping it gives nothing back: for the others that is an agent that fell silent.
#[derive(Debug)]
pub struct Slots {
    asked: watch::Sender<Asked>,
    taken: watch::Receiver<(u64, Taken)>,
    task: JoinHandle<()>,
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Slots {
    /// Needs nothing yet, and calls nobody.
    pub fn start(clients: &Clients, turn: Turn) -> Self {
        let (asked, asking) = watch::channel(Asked::default());
        let (say, taken) = watch::channel((0, Taken::Nothing));
        let task = tokio::spawn(Keeper::new(clients, turn, say).run(asking));
        Self { asked, taken, task }
    }

    /// What is needed from now on.
    pub fn need(&self, need: Need) {
        self.asked.send_if_modified(|before| {
            let news = before.need != need;
            if news {
                *before = Asked { number: before.number + 1, need };
            }
            news
        });
    }

    /// How that stands.
    pub fn taken(&self) -> Taken {
        let (number, taken) = &*self.taken.borrow();
        // Only [`Taken::Held`] lets a change start, and a slot that was just given back must not be taken for it.
        if *number == self.asked.borrow().number { taken.clone() } else { Taken::Nothing }
    }

    /// Waits until what was needed last is done, at most for `limit`.
    pub async fn done(&mut self, limit: Duration) {
        let done = |asked: &Asked, taken: &Taken| match asked.need {
            Need::Nothing => true,
            Need::Slot => matches!(taken, Taken::Held(_)),
            Need::Settled(end) => *taken == Taken::Settled(end),
        };
        let until = Instant::now() + limit;
        while !done(&self.asked.borrow(), &self.taken()) {
            if tokio::time::timeout_at(until, self.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Waits until that changes. May be abandoned at any time.
    pub async fn changed(&mut self) {
        if self.taken.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The task.
struct Keeper {
    turn: Turn,
    leases: Api<Lease>,
    switches: Api<SwitchTurn>,
    watches: Client,
    say: watch::Sender<(u64, Taken)>,
    /// Which word is being worked on.
    asked: u64,
    /// The Lease as we wrote it last, while a change goes on.
    held: Option<Lease>,
    /// The same once the change has ended, until that is written down.
    ended: Option<Lease>,
    attempts: u32,
}

impl Keeper {
    fn new(clients: &Clients, turn: Turn, say: watch::Sender<(u64, Taken)>) -> Self {
        Self {
            leases: Api::namespaced(clients.calls.clone(), &turn.namespace),
            switches: Api::namespaced(clients.calls.clone(), &turn.namespace),
            watches: clients.watches.clone(),
            turn,
            say,
            asked: 0,
            held: None,
            ended: None,
            attempts: 0,
        }
    }

    async fn run(mut self, mut needs: watch::Receiver<Asked>) {
        loop {
            let Asked { number, need } = *needs.borrow_and_update();
            self.asked = number;
            let wake = match need {
                Need::Nothing => None,
                Need::Slot => {
                    match self.held.as_ref().and_then(|lease| lease.metadata.name.clone()) {
                        Some(lease) => self.say(Taken::Held(lease)),
                        None => self.wait(&mut needs).await,
                    }
                    // The need may have gone, or the slot may be ours.
                    if needs.has_changed().unwrap_or(false) {
                        continue;
                    }
                    Some(self.turn.duration / RENEWALS)
                }
                Need::Settled(end) => self.settle(end).await,
            };
            let waked = async {
                match wake {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = needs.changed() => if changed.is_err() { return },
                () = waked => if need == Need::Slot { self.renew().await },
            }
        }
    }

    fn say(&self, taken: Taken) {
        let word = (self.asked, taken);
        self.say.send_if_modified(|before| {
            let news = *before != word;
            *before = word;
            news
        });
    }

    /// Until a slot is ours, or none is needed any more.
    async fn wait(&mut self, needs: &mut watch::Receiver<Asked>) {
        let view: Arc<Mutex<View>> = Arc::default();
        let (tick, mut ticks) = watch::channel(0);
        let mut watches = JoinSet::new();
        let (client, namespace) = (&self.watches, &self.turn.namespace);
        let leases = Api::namespaced(client.clone(), namespace);
        watches.spawn(follow_leases(leases, Arc::clone(&view), tick.clone()));
        let switches = Api::namespaced(client.clone(), namespace);
        watches.spawn(follow_switches(switches, Arc::clone(&view), tick));
        self.say(Taken::Unknown("the lists of Leases and Switches are not complete yet".to_owned()));
        let mut queue = Queue::new(&self.turn.me, self.turn.duration / RENEWALS);
        let mut faster = 0;
        let mut not_before = Instant::now();
        while !needs.has_changed().unwrap_or(true) {
            let now = Instant::now();
            let wake = match observed(&view) {
                None => None,
                Some(_) if now < not_before => Some(not_before),
                Some(observed) => match queue.decide(&observed, now.into_std()) {
                    Decision::Wait(mut waiting) => {
                        // Each renewal moves it, and that is no news.
                        let until = waiting.until.take().map(Instant::from_std);
                        self.say(Taken::Waiting(waiting));
                        until
                    }
                    Decision::Take(take) => {
                        match self.take(&take).await {
                            Ok(Tried::Ours) => return self.say(Taken::Held(take.lease)),
                            Ok(Tried::Faster) => {
                                not_before = Instant::now() + FASTER.wait(faster, self.turn.seed);
                                faster += 1;
                            }
                            Err(why) => {
                                not_before = Instant::now() + self.later("a rollout slot is not taken", &why);
                                self.say(Taken::Unknown(why));
                            }
                        }
                        Some(not_before)
                    }
                },
            };
            let waked = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ticks.changed() => {}
                _ = needs.changed() => { needs.mark_changed(); return }
                () = waked => {}
            }
        }
    }

    /// Writes our name, and looks whether there are too many.
    async fn take(&mut self, take: &Take) -> Result<Tried, String> {
        let before = match &take.version {
            None => None,
            Some(version) => {
                let lease = in_time(self.leases.get_opt(&take.lease)).await?;
                match lease {
                    Some(lease) if lease.metadata.resource_version.as_ref() == Some(version) => Some(lease),
                    _ => return Ok(Tried::Faster),
                }
            }
        };
        let mut lease = before.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(take.lease.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        object::fill(&mut lease, take, &self.turn);
        let Some(written) = self.write(&lease).await? else { return Ok(Tried::Faster) };
        let after = match self.look().await {
            Ok(after) if slot::fits(&after, &self.turn.me) => {
                tracing::info!(lease = take.lease, turn = take.turn, "a rollout slot is ours");
                self.attempts = 0;
                self.held = Some(written);
                return Ok(Tried::Ours);
            }
            Ok(_) => Ok(Tried::Faster),
            // Whether it fits is not known: it must be looked at again before anything starts.
            Err(why) => Err(why),
        };
        // A failure stays one.
        let mut back = written;
        match take.ours {
            Some(Outcome::Failed) => annotate(&mut back, OUTCOME, "failed"),
            Some(Outcome::Running) | None => empty(&mut back),
        }
        self.write(&back).await?;
        after
    }

    /// Creates or replaces exactly what was seen; `None` if somebody else was faster.
    async fn write(&self, lease: &Lease) -> Result<Option<Lease>, String> {
        let params = PostParams::default();
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        let written = if lease.metadata.resource_version.is_some() {
            tokio::time::timeout(CALL, self.leases.replace(name, &params, lease)).await
        } else {
            tokio::time::timeout(CALL, self.leases.create(&params, lease)).await
        };
        match written {
            Ok(Ok(lease)) => Ok(Some(lease)),
            // A conflict, or deleted meanwhile.
            Ok(Err(kube::Error::Api(status))) if [404, 409].contains(&status.code) => Ok(None),
            Ok(Err(error)) => Err(format!("writing Lease {name}: {}", chain(&error))),
            Err(_) => Err(format!("writing Lease {name}: no answer within {} s", CALL.as_secs())),
        }
    }

    /// How things are now, not how they were when a watch heard of them.
    async fn look(&self) -> Result<Observed, String> {
        let all = ListParams::default();
        let leases = in_time(self.leases.list(&all)).await?;
        let switches = in_time(self.switches.list(&all)).await?;
        let now = Instant::now();
        Ok(Observed {
            slots: leases.items.iter().filter_map(|lease| seen(lease, now)).collect(),
            members: switches
                .items
                .iter()
                .filter_map(|s| Some((s.metadata.name.clone()?, member(s)?)))
                .collect(),
        })
    }

    /// The slot stays ours whether this succeeds or not: nobody else may write it.
    async fn renew(&mut self) {
        let Some(mut lease) = self.held.clone() else { return };
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        let why = match self.write(&lease).await {
            Ok(Some(written)) => {
                if self.attempts > 0 {
                    tracing::info!("the rollout slot is renewed again");
                }
                self.attempts = 0;
                self.held = Some(written);
                return;
            }
            // Somebody touched it. What is ours is renewed at the next turn; what an administrator took away is made again.
            Ok(None) => match self.reread(&lease).await {
                Ok(again) => return self.held = Some(again),
                Err(why) => why,
            },
            Err(why) => why,
        };
        if self.attempts == 0 {
            tracing::warn!(why, "the rollout slot is not renewed; the change goes on");
        }
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Our Lease as the next write must know it.
    async fn reread(&self, ours: &Lease) -> Result<Lease, String> {
        let name = ours.metadata.name.clone().unwrap_or_default();
        let there = in_time(self.leases.get_opt(&name)).await?;
        let holder = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        match &there {
            Some(there) if holder(there).is_some_and(|name| !name.is_empty() && name != self.turn.me) => {
                Err(format!("Lease {name} has another holder"))
            }
            there => {
                let mut again = ours.clone();
                again.metadata = there.as_ref().map_or_else(
                    || ObjectMeta { name: Some(name), ..ObjectMeta::default() },
                    |there| there.metadata.clone(),
                );
                again.metadata.annotations.clone_from(&ours.metadata.annotations);
                Ok(again)
            }
        }
    }

    /// Writes down how the change ended, in every Lease that is ours. How long to wait before the next try, if it failed.
    async fn settle(&mut self, end: End) -> Option<Duration> {
        // From now on it is not known to be ours, whatever comes of the writing.
        self.ended = self.held.take().or(self.ended.take());
        match self.try_settle(end).await {
            Ok(()) => {
                self.attempts = 0;
                self.ended = None;
                self.say(Taken::Settled(end));
                None
            }
            Err(why) => {
                let wait = self.later("the end of a change is not written into its rollout slot", &why);
                self.say(Taken::Unknown(why));
                Some(wait)
            }
        }
    }

    async fn try_settle(&mut self, end: End) -> Result<(), String> {
        let leases = in_time(self.leases.list(&ListParams::default())).await?;
        let now = Instant::now();
        let is_ours = |lease: &&Lease| {
            let holder = seen(lease, now).filter(|slot| slot.turn > 0).and_then(|slot| slot.holder);
            holder.is_some_and(|holder| holder.name == self.turn.me)
        };
        let mut ours: Vec<Lease> = leases.items.iter().filter(is_ours).cloned().collect();
        if let (End::Failed, true, Some(held)) = (end, ours.is_empty(), &self.ended) {
            // Somebody took it away: the failure must stop the rollout all the same.
            ours.push(self.reread(held).await?);
        }
        for mut lease in ours {
            match end {
                End::Good => empty(&mut lease),
                End::Failed if annotation(&lease, OUTCOME) == Some("failed") => continue,
                End::Failed => annotate(&mut lease, OUTCOME, "failed"),
            }
            if self.write(&lease).await?.is_none() {
                return Err("the Lease changed meanwhile".to_owned());
            }
        }
        Ok(())
    }

    /// Says why, once, and how long to wait.
    fn later(&mut self, what: &'static str, why: &str) -> Duration {
        if self.attempts == 0 {
            tracing::warn!(why, "{what}; trying again");
        }
        let wait = RETRY.wait(self.attempts, self.turn.seed);
        self.attempts = self.attempts.saturating_add(1);
        wait
    }
}

/// What became of taking a slot.
enum Tried {
    Ours,
    /// Somebody else was faster.
    Faster,
}

async fn in_time<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no answer within {} s", CALL.as_secs())),
    }
}
