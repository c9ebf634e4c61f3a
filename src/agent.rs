//! The loop: inputs, intent, configuration, a look at the forwarding table, a report. Then again.
//!
//! A pass cannot fail, it can only report. Inputs are level-triggered: a burst collapses into one pass, which takes one
//! snapshot of everything. Kernel events, timers and deadlines start a pass too; with no input at all the timer
//! finds drift. Writing to the API server is another task's work, so a server that does not answer delays no look.
#![expect(clippy::disallowed_methods, reason = "the agent's clock")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::change::consent::History;
use crate::change::pause::Standing;
use crate::change::{ChangeStatus, CommitMachine, Dialect};
use crate::cluster::events::Recorder;
use crate::cluster::leases::Slots;
use crate::cluster::policy;
use crate::fib::FibReader;
use crate::fib::netlink::{HintKind, Hints};
use crate::guard::Guarding;
use crate::health::chronicle::Chronicle;
use crate::health::clock::{Clocks, Judgement};
use crate::health::condition::Reason;
use crate::intent::snapshot::{ClusterFacts, Issue};
use crate::nos::NosDriver;
use crate::probe::Probes;
use crate::rib::RibReader;
use crate::telemetry::{Counters, Published};

pub mod desired;
pub mod inputs;
pub mod pause;
pub mod reporter;
pub mod say;
mod speak;
mod state;
mod steps;
pub mod tell;
pub mod validate;
pub mod verify;
mod want;

pub use state::{Confirmed, StateFolder};

use desired::{Deriver, Desired, Remembered};
use inputs::{Gathered, Inputs};
use pause::PauseWatch;
use reporter::ToSay;
use say::Speaker;
use tell::Teller;
use validate::Validation;
use verify::Verifier;

/// Kernel events come in bursts: a link that goes down changes many routes. Short enough for a condition within a
/// second, long enough to look once.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Without any hint the table is looked at this often: half of the kernel's changes send no message.
const LOOK_PERIOD: Duration = Duration::from_secs(10);
/// A table that changes all the time may take this share of the time: one part in ten.
const LOOK_SHARE: u32 = 10;

/// An API server that has said nothing for so long after the start is away: the last good bundle is kept up without it.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// kubelet waits 30 s before it kills.
const LAST_WORK: Duration = Duration::from_secs(25);
/// Of that, for the last word about the rollout slot.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What the agent is made of; `main` chooses the NOS once.
pub struct Parts<N, F, R> {
    /// Name of the Node that is this switch.
    pub me: String,
    /// Sources of inputs.
    pub inputs: Inputs,
    /// From inputs to what is desired.
    pub deriver: Deriver,
    /// The NOS.
    pub driver: N,
    /// Its tables.
    pub verifier: Verifier<F, R>,
    /// Hints of the kernel; absent where there are none.
    pub hints: Option<Hints>,
    /// What survives a restart.
    pub state: StateFolder,
    /// The way back from a change under way.
    pub guarding: Guarding,
    /// What is probed before and after a change.
    pub probes: Probes,
    /// Rollout slots; absent where inputs are folders.
    pub slots: Option<Slots>,
    /// Whether somebody at the switch has paused it.
    pub pause: PauseWatch,
    /// To the reporter.
    pub say: watch::Sender<Arc<ToSay>>,
    /// Whether the admission policy for agents is in force; absent without an API server.
    pub admission: Option<watch::Receiver<policy::Standing>>,
    /// To the writer of Events; absent without an API server.
    pub events: Option<Recorder>,
    /// To the endpoint.
    pub published: watch::Sender<Published>,
    /// Metrics.
    pub counters: Counters,
}

struct Agent<D, N, F, R> {
    parts: Parts<N, F, R>,
    machine: CommitMachine<D>,
    validation: Validation,
    /// Why the desired candidate has not become the machine's; that one's work goes on meanwhile.
    blocked: Option<ChangeStatus>,
    /// Remarks about the desired texts.
    remarks: Vec<Issue>,
    /// What survives a reboot is not what was confirmed.
    unsaved: Option<Issue>,
    speaker: Speaker,
    /// What is on disk of how changes ended.
    chronicle: Chronicle,
    teller: Teller,
    desired: Desired,
    gathered: Option<Gathered>,
    /// The facts; of before, if a whole list of them is gone now: a change is judged by these.
    known: ClusterFacts,
    began: Instant,
    /// The bundle in force is kept up from memory.
    stale: bool,
    adopted: bool,
    clocks: Clocks,
    /// What is on disk.
    saved: Confirmed,
    /// What is on disk is not understood, so nothing may be changed; why.
    sealed: Option<String>,
    /// Why the last writing of it failed, if it did: said once.
    unwritten: Option<String>,
    remembered: Remembered,
    history: History,
    machine_wakes: Option<Instant>,
    look_again: Instant,
    not_before: Instant,
    /// The kernel said that something changed; look then.
    kernel_due: Option<Instant>,
    /// Since when the expectation differs from what it was when all was equal.
    unsynced: Option<Instant>,
    complained: String,
    /// Which revision and status were logged last.
    logged: (String, String),
}

/// Runs until `stop` resolves. `seed` spreads the retries of many switches.
pub async fn run<D, N, F, R>(parts: Parts<N, F, R>, dialect: D, seed: u64, stop: impl Future<Output = ()>)
where
    D: Dialect,
    N: NosDriver,
    F: FibReader,
    R: RibReader,
{
    let mut parts = parts;
    let (saved, sealed) = match parts.state.confirmed() {
        Ok(saved) => (saved, None),
        Err(why) => (Confirmed::default(), Some(why)),
    };
    let remembered = parts.state.remembered();
    let chronicle = parts.state.chronicle();
    let in_force = saved.memory.confirmed.as_ref().map(|target| target.bundle.as_str());
    parts.deriver.resume(remembered.clone(), in_force);
    let now = Instant::now();
    let (undo, sealed) = match parts.guarding.left_behind() {
        Ok(Some(record)) if sealed.is_none() => {
            tracing::warn!("an earlier life left a change unsettled; going back");
            parts.driver.set_secrets(record.secrets);
            parts.driver.attend(&record.undo.target.candidate);
            (Some(record.undo), None)
        }
        Ok(_) => (None, sealed),
        Err(why) => (None, sealed.or(Some(why))),
    };
    if let Some(why) = &sealed {
        tracing::error!("nothing will be changed: {why}");
    }
    if let Some(confirmed) = &saved.memory.confirmed {
        parts.driver.attend(&confirmed.candidate);
    }
    parts.guarding.look().await;
    let machine = CommitMachine::new(dialect, seed, saved.memory.clone(), undo);
    let mut agent = Agent {
        clocks: parts.verifier.judge().clocks(),
        parts,
        machine,
        validation: Validation::new(seed),
        blocked: None,
        remarks: Vec::new(),
        unsaved: None,
        speaker: Speaker::new(saved.ready.clone(), chronicle.clone()),
        chronicle,
        teller: Teller::default(),
        desired: Desired::default(),
        gathered: None,
        known: ClusterFacts::default(),
        began: now,
        stale: false,
        adopted: false,
        history: saved.history.clone(),
        saved,
        sealed,
        unwritten: None,
        remembered,
        machine_wakes: None,
        look_again: now,
        not_before: now,
        kernel_due: None,
        unsynced: None,
        complained: String::new(),
        logged: Default::default(),
    };
    // What an earlier life left is settled before anything is asked for.
    if agent.machine.in_flight() {
        agent.configure().await;
    }
    let mut stop = std::pin::pin!(stop);
    let mut woken = Woken::Inputs;
    loop {
        let began = Instant::now();
        agent.pass(&woken).await;
        agent.parts.counters.done(began.elapsed());
        woken = tokio::select! {
            () = &mut stop => break,
            woken = agent.wait() => woken,
        };
    }
    agent.finish().await;
}

/// Why a pass runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// Texts or facts may have changed.
    Inputs,
    /// The kernel said that something changed.
    Kernel,
    /// A deadline or the period.
    Timer,
    /// The API answered a question about a Service.
    Answer,
    /// The validator answered.
    Validated,
    /// Somebody at the switch paused it, or ended that.
    Paused,
    /// The rollout slots have changed.
    Slots,
}

impl<D: Dialect, N: NosDriver, F: FibReader, R: RibReader> Agent<D, N, F, R> {
    /// Waits for a reason to run a pass. What has been heard is kept in `self` until it led to one.
    async fn wait(&mut self) -> Woken {
        loop {
            let Self {
                parts,
                machine_wakes,
                look_again,
                not_before,
                speaker,
                kernel_due,
                desired,
                validation,
                ..
            } = self;
            let next_label = speaker.improves_in(Timestamp::now()).map(|wait| Instant::now() + wait);
            let departure = desired.next.map(|at| Instant::now() + until(at));
            let due =
                [*machine_wakes, next_label, departure, validation.wakes(), Some(parts.verifier.next_dump())]
                    .into_iter()
                    .flatten()
                    .chain(parts.pause.left().map(|left| Instant::now() + left))
                    .fold(*look_again, Instant::min);
            let heard = *kernel_due;
            let kernel = async {
                match parts.hints.as_mut() {
                    Some(hints) => hints.next().await,
                    None => std::future::pending().await,
                }
            };
            let slots = async {
                match parts.slots.as_mut() {
                    Some(slots) => slots.changed().await,
                    None => std::future::pending().await,
                }
            };
            let settled = async {
                match heard {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = parts.inputs.changed() => return Woken::Inputs,
                hint = kernel => {
                    kernel_due.get_or_insert((Instant::now() + DEBOUNCE).max(*not_before));
                    if hint.has(HintKind::Route) || hint.has(HintKind::Lost) {
                        parts.verifier.hint();
                    }
                }
                () = settled => {
                    *kernel_due = None;
                    return Woken::Kernel;
                }
                () = parts.verifier.answered() => return Woken::Answer,
                () = validation.answered() => return Woken::Validated,
                () = parts.pause.changed() => return Woken::Paused,
                () = slots => return Woken::Slots,
                () = tokio::time::sleep_until(due) => return Woken::Timer,
            }
        }
    }

    /// Told to stop: what is under way is settled first, and nothing else is begun. What takes longer is the guard's, or the
    /// next life's.
    async fn finish(&mut self) {
        if self.machine.in_flight() {
            tracing::info!("settling the change under way before the end");
        }
        let last = Instant::now() + LAST_WORK;
        while self.machine.in_flight() && Instant::now() < last {
            self.settle_change().await;
            if let Some(at) = self.machine_wakes.filter(|_| self.machine.in_flight()) {
                tokio::time::sleep_until(at.min(last)).await;
            }
        }
        self.settle().await;
        self.remember();
        if let Some(slots) = &mut self.parts.slots {
            slots.done(LAST_WORD).await;
        }
    }

    async fn pass(&mut self, woken: &Woken) {
        self.parts.counters.passed();
        let paused = self.parts.pause.look();
        self.parts.counters.paused(*self.parts.pause.standing() != Standing::Free);
        let mut taken = false;
        let machine_due = self.machine_wakes.is_some_and(|at| Instant::now() >= at);
        let unknown = self.desired.problem.as_ref().is_some_and(|p| p.reason == Reason::DaemonUnreachable);
        let news = (*woken == Woken::Inputs || machine_due || unknown) && self.runs_on_something_else().await;
        if *woken == Woken::Inputs || news || self.gathered.is_none() {
            match self.parts.inputs.gather() {
                Ok(gathered) => {
                    self.take(gathered).await;
                    taken = true;
                }
                Err(waiting) => self.not_complete(waiting),
            }
        }
        if self.gathered.is_none() {
            return self.without_api().await;
        }
        taken |= self.locate().await;
        let departed = self.desired.next.is_some_and(|at| Timestamp::now() >= at);
        if let (true, false, Some(gathered)) = (departed, taken, self.gathered.clone()) {
            self.take(gathered).await;
            taken = true;
        }
        let validated =
            *woken == Woken::Validated || self.validation.wakes().is_some_and(|at| Instant::now() >= at);
        if (validated || paused) && !taken {
            self.want(Timestamp::now());
        }
        let slots = *woken == Woken::Slots;
        if slots {
            self.machine.slots_changed();
        }
        if taken || validated || paused || slots || machine_due {
            self.configure().await;
            self.settle().await;
            self.look_at_startup().await;
        }
        let began = Instant::now();
        let judged = match &self.desired.settings {
            None => None,
            Some(settings) => {
                let settings = settings.clone();
                let looked = self.parts.verifier.look(&settings, &self.desired).await;
                Some(looked.map_err(|error| crate::cluster::chain(&error)))
            }
        };
        let took = began.elapsed();
        self.not_before = Instant::now() + took * LOOK_SHARE;
        self.look_again = Instant::now() + LOOK_PERIOD;
        if let Some(Ok(Judgement { next: Some(next), .. })) = &judged {
            // A deadline that is due already waits for something else, such as the API's answer.
            self.look_again = self.look_again.min(Instant::now() + until(*next).max(DEBOUNCE));
        }
        self.remember();
        self.speak(judged.as_ref(), took);
    }

    /// True if the NOS is another release than it was. One that does not answer is what it was.
    async fn runs_on_something_else(&mut self) -> bool {
        match self.parts.driver.platform().await {
            Ok(platform) => self.parts.deriver.runs_on(platform),
            Err(_) => false,
        }
    }

    /// Takes over new inputs.
    async fn take(&mut self, gathered: Gathered) {
        if let (false, Some(node)) = (self.adopted, &gathered.node) {
            self.adopted = true;
            self.speaker.adopt(node, Timestamp::now());
        }
        let now = Timestamp::now();
        let desired = self.parts.deriver.derive(&gathered, now).await;
        if std::mem::take(&mut self.stale) {
            tracing::info!("the API server is back");
            self.parts.counters.stale(false);
        }
        if desired.expectation != self.desired.expectation {
            self.unsynced.get_or_insert_with(Instant::now);
        }
        if let Some(problem) = &desired.problem
            && self.desired.problem.as_ref() != Some(problem)
        {
            tracing::error!(reason = ?problem.reason, revision = desired.wanted, "refused: {}", problem.message);
        }
        if let Some(settings) = &desired.settings {
            self.parts.verifier.enter(&settings.network_instance);
        }
        self.desired = desired;
        if !gathered.facts.are_emptied(&self.known) {
            self.known = gathered.facts.clone();
        }
        self.gathered = Some(gathered);
        self.want(now);
    }

    /// Looks which of MetalLB's peers this switch is; true if that was news.
    async fn locate(&mut self) -> bool {
        if !self.parts.verifier.locate(&mut self.parts.inputs).await {
            return false;
        }
        let Ok(gathered) = self.parts.inputs.gather() else { return false };
        self.take(gathered).await;
        true
    }

    /// A pass before the inputs are complete. After a while the bundle in force is kept up from memory.
    async fn without_api(&mut self) {
        self.look_again = Instant::now() + LOOK_PERIOD;
        if !self.stale && self.began.elapsed() >= STALE_AFTER {
            if let Some(desired) = self.parts.deriver.from_memory().await {
                tracing::warn!(
                    revision = desired.revision,
                    "the API server has said nothing since the start; the last good bundle is kept up"
                );
                self.stale = true;
                self.parts.counters.stale(true);
                self.desired = desired;
            }
        } else if !self.stale {
            self.look_again = self.began + STALE_AFTER;
        }
        if !self.stale && self.machine.in_flight() {
            self.configure().await;
        }
        if self.stale {
            // Again and again: the validator may have answered.
            self.want(Timestamp::now());
            self.configure().await;
            self.remember();
        }
        self.speak(None, Duration::ZERO);
    }

    fn not_complete(&mut self, waiting: String) {
        if waiting != self.complained {
            tracing::info!("{waiting}");
            self.complained = waiting;
        }
    }

    /// After a change was confirmed its bundle is in force: the table is judged by it from now on.
    async fn settle(&mut self) {
        let Some(target) = self.machine.confirmed().cloned() else { return };
        let Some(gathered) = self.gathered.clone() else { return };
        let now = Timestamp::now();
        let before = self.saved.memory.confirmed.clone();
        if before.as_ref() != Some(&target) {
            // What was in force until now is what a revert would go back to.
            if let Some(before) = &before {
                self.history.in_force(before, now);
            }
            self.history.in_force(&target, now);
        }
        if self.parts.deriver.confirmed(&target, &self.desired, &gathered.facts, now) {
            self.take(gathered).await;
            self.configure().await;
        }
    }

    /// Writes down what must survive a restart, if it changed.
    fn remember(&mut self) {
        let clocks = self.parts.verifier.judge().clocks();
        if clocks != self.clocks {
            self.parts.state.write("clocks.json", &clocks);
            self.clocks = clocks;
        }
        if self.chronicle != *self.speaker.chronicle() {
            self.chronicle.clone_from(self.speaker.chronicle());
            self.parts.state.write("chronicle.json", &self.chronicle);
        }
        let kept = self.keep().err();
        if let Some(why) = kept.as_ref().filter(|_| kept != self.unwritten) {
            tracing::warn!(why, "not written");
        }
        self.unwritten = kept;
        if !self.parts.deriver.remembers(&self.remembered) {
            self.remembered = self.parts.deriver.remembered();
            self.parts.state.write("bundle.json", &self.remembered);
        }
    }

    /// The part without which no change may begin or end.
    fn keep(&mut self) -> Result<(), String> {
        if let Some(why) = &self.sealed {
            return Err(why.clone());
        }
        // Compared where they are: texts of a megabyte are not copied in every pass.
        let Confirmed { version: _, memory, history, ready } = &self.saved;
        if (self.machine.memory(), &self.history, self.speaker.ready()) == (memory, history, ready.as_ref()) {
            return Ok(());
        }
        let kept = Confirmed {
            version: state::VERSION,
            memory: self.machine.memory().clone(),
            history: self.history.clone(),
            ready: self.speaker.ready().cloned(),
        };
        self.parts.state.keep("confirmed.json", &kept)?;
        self.saved = kept;
        Ok(())
    }
}

/// How long it is until `at`; nothing if it has passed.
fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}
