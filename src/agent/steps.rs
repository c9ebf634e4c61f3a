//! The machine's steps, carried out. Nothing is decided here.
#![expect(clippy::disallowed_methods, reason = "the agent's clock")]

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Agent;
use crate::change::diff::Plan;
use crate::change::look::{Forwarding, Measured};
use crate::change::{ChangeStatus, Dialect, Seen, Step, Target, Undo};
use crate::cluster::leases::{Slots, Taken};
use crate::fib::FibReader;
use crate::health::condition::{self, Condition, Reason, Status};
use crate::intent::snapshot::Issue;
use crate::nos::{Hold, NosDriver, NosError};
use crate::rib::RibReader;

/// Lines of a difference in one message.
const MOST_SHOWN: usize = 3;

/// How far the machine is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It has nothing to do now.
    Rest,
    /// No change is under way, or it has nothing to do now.
    Settled,
}

impl<D: Dialect, N: NosDriver, F: FibReader, R: RibReader> Agent<D, N, F, R> {
    /// Walks the machine until it has nothing to do now.
    pub(super) async fn configure(&mut self) {
        // Rendering and validating took their time.
        if self.parts.pause.look() {
            self.want(Timestamp::now());
        }
        self.walk(Until::Rest).await;
    }

    /// Walks the machine until the change under way is settled, or has to wait; begins no other.
    pub(super) async fn settle_change(&mut self) {
        self.walk(Until::Settled).await;
    }

    async fn walk(&mut self, until: Until) {
        while until == Until::Rest || self.machine.in_flight() {
            let step = self.machine.step(Instant::now().into_std());
            tracing::debug!(step = step.name(), "step");
            let seen = match step {
                Step::Rest => {
                    self.machine_wakes = None;
                    break;
                }
                Step::Wait(until) => {
                    self.machine_wakes = Some(Instant::from_std(until));
                    break;
                }
                Step::ReadRunning => match self.parts.driver.running().await {
                    Ok(running) => Seen::Running(running),
                    Err(error) => Seen::Unreadable(crate::cluster::chain(&error)),
                },
                Step::SeekEditor => Seen::Editor(self.parts.driver.editor().await),
                Step::TakeSlot => self.slot(),
                Step::Measure(target) => Seen::Measured(Box::new(self.measure(&target).await)),
                Step::Arm(undo) => match self.parts.driver.free().await {
                    Err(error) => Seen::Busy(crate::cluster::chain(&error)),
                    Ok(()) => match self.arm(undo).await {
                        Ok(()) => Seen::Armed,
                        Err(why) => Seen::NotArmed(why),
                    },
                },
                Step::Apply { plan, window } => self.apply(&plan, window).await,
                Step::Confirm => match self.confirm().await {
                    Ok(()) => Seen::Agreed,
                    Err(why) => Seen::NotAgreed(why),
                },
                Step::Disarm => {
                    // What the change has left to remember goes first: without it the way back still counts.
                    let kept = self.keep().and_then(|()| self.parts.guarding.disarm());
                    kept.map_or_else(Seen::NotDisarmed, |()| Seen::Disarmed)
                }
                Step::WriteStartup { candidate, journal } => {
                    match self.parts.driver.save(&candidate, &journal).await {
                        Ok(()) => Seen::Saved,
                        Err(error) => Seen::NotSaved(crate::cluster::chain(&error)),
                    }
                }
            };
            self.machine.see(seen, Instant::now().into_std());
            if let Some(slots) = self.slots() {
                slots.need(self.machine.slot());
            }
            // What is tried once more at once must have been said.
            if matches!(self.machine.status(), ChangeStatus::Undone(_)) {
                self.log_change();
            }
        }
        self.parts.counters.drifted(self.machine.drifts());
        self.log_change();
    }

    /// The rollout slots of the group. A switch without a Switch has none.
    fn slots(&self) -> Option<&Slots> {
        let has_group = self.gathered.as_ref().is_some_and(|gathered| gathered.switch.is_some());
        self.parts.slots.as_ref().filter(|_| has_group)
    }

    /// Whether the rollout slot is ours.
    fn slot(&self) -> Seen {
        let Some(slots) = self.slots() else { return Seen::Slot };
        match slots.taken() {
            Taken::Held(_) => Seen::Slot,
            Taken::Waiting(waiting) => Seen::NoSlot(waiting.words()),
            Taken::Unknown(why) => Seen::NoSlot(why),
            Taken::Nothing | Taken::Settled(_) => Seen::NoSlot("the slots are being looked at".to_owned()),
        }
    }

    /// What is found must be on disk before it is written over.
    async fn arm(&mut self, undo: Undo) -> Result<(), String> {
        self.keep()?;
        let secrets = self.parts.driver.secrets();
        self.parts.guarding.arm(undo, secrets).await
    }

    /// A NOS with a timer of its own has the first word: without its yes there is nothing to agree to.
    async fn confirm(&mut self) -> Result<(), String> {
        self.parts.driver.accept().await.map_err(|error| crate::cluster::chain(&error))?;
        self.parts.guarding.confirm().await
    }

    /// What a change to `target` might break. A cluster that is empty all at once does not make it forget what to miss.
    async fn measure(&mut self, target: &Target) -> Measured {
        let deriver = &self.parts.deriver;
        let coming = match self.gathered.as_ref().map(|gathered| &gathered.facts) {
            Some(facts) if facts.are_emptied(&self.known) => {
                deriver.coming(&target.bundle, &self.known).or_else(|| deriver.judged(&self.known))
            }
            Some(facts) => deriver.coming(&target.bundle, facts),
            None => None,
        };
        let verifier = &mut self.parts.verifier;
        let forwarding = match (&coming, &self.desired.settings) {
            // A switch that retires lets its VIPs go: that is what was asked for.
            _ if target.bundle.is_empty() => Ok(Forwarding::default()),
            (Some(expectation), _) => verifier.forwarding(expectation).await,
            (None, Some(_)) => verifier.forwarding(&self.desired.expectation).await,
            // Nobody knows what the cluster wants: nothing is missed.
            (None, None) => Ok(Forwarding::default()),
        };
        let sessions = verifier.established().await;
        let probes = self.parts.probes.ask(verifier.gateways().await).await;
        Measured { forwarding, sessions, probes }
    }

    async fn apply(&mut self, plan: &Plan, window: Option<Duration>) -> Seen {
        self.parts.counters.applied();
        let began = Instant::now();
        let result = self.parts.driver.apply(plan, window.map_or(Hold::None, Hold::For)).await;
        tracing::info!(
            lines = plan.lines().len(),
            plan = plan.hash(),
            millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "sent commands"
        );
        match result {
            Ok(complaints) => Seen::Sent(complaints),
            Err(NosError::Busy { who }) => Seen::Busy(who),
            Err(error @ NosError::Refused { .. }) => Seen::Sent(vec![crate::cluster::chain(&error)]),
            Err(error @ NosError::Unreachable { .. }) => Seen::NotSent(crate::cluster::chain(&error)),
        }
    }

    /// Whether a reboot would bring what was confirmed.
    pub(super) async fn look_at_startup(&mut self) {
        let Some(startup) = self.parts.driver.startup().await else {
            self.unsaved = None;
            return;
        };
        self.unsaved = self.machine.unsaved(&startup).map(|lines| {
            let shown: Vec<&str> = lines.iter().take(MOST_SHOWN).map(String::as_str).collect();
            let more = lines.len() - shown.len();
            let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
            let message =
                format!("a reboot would not bring what runs; startup still needs {}{rest}", shown.join("; "));
            Issue::new(format!("Switch {}", self.parts.me), "StartupDiffers", message)
        });
    }

    fn log_change(&mut self) {
        let revision = self.desired.revision.clone().unwrap_or_default();
        let status = self.change();
        let now = (revision, format!("{status:?}"));
        if now == self.logged {
            return;
        }
        let said = condition::config_applied(Ok(&now.0), status);
        let Condition { status, reason, message } = match self.paused() {
            Some(words) => condition::paused(said, &words),
            None => said,
        };
        match status {
            Status::True => tracing::info!(revision = now.0, "configuration applied, read back and saved"),
            Status::Unknown if reason != Reason::DaemonUnreachable => {
                tracing::info!(revision = now.0, "{message}");
            }
            Status::False if reason == Reason::Paused => tracing::warn!(revision = now.0, "{message}"),
            Status::False | Status::Unknown => tracing::error!(?reason, "{message}"),
        }
        self.logged = now;
    }
}
