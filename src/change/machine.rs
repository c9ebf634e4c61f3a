//! The machine: candidate → applied → looked at → confirmed, or back to what was.
//!
//! | state | step | seen → next state |
//! |---|---|---|
//! | idle | rest | – (nothing is wanted yet) |
//! | recovering | read running | an earlier life left a change unsettled: as before → settling; differs → rolling back · unreadable → again, later |
//! | reading | read running | equal → saving or confirmed; differs → queueing, or measuring where Git did not cause it, or suspecting where nobody did, or waiting (policy, approval, refusal, reported drift) · unreadable → waiting, and then until the same is read twice |
//! | weighing | look | still over the budget with the sessions that are up → waiting; else → queueing |
//! | suspecting | seek an editor | it is the agent's turn → measuring; a person, or a tug-of-war, or the policy → waiting |
//! | queueing | take the slot | ours → measuring · not ours → waiting |
//! | measuring | look | measured → arming |
//! | arming | write the way back down, tell the guard | armed → applying · not armed, or somebody else at work → waiting |
//! | applying | apply | applied, or not → reading back · somebody else at work, so nothing was sent → settling |
//! | reading back | read running | equal → looking, once the dwell is over; differs → rolling back · unreadable → reading back, later · too late → rolling back |
//! | looking | look | good twice → confirming; good, or not yet → reading back, a second later; broken → rolling back · too late → rolling back |
//! | confirming | ask the guard | agreed → saving · not agreed → rolling back |
//! | rolling back | apply undo | applied, or not → checking the roll-back |
//! | checking the roll-back | read running | as before → settling; differs → roll-back failed · unreadable → again, later |
//! | roll-back failed | wait | → rolling back again, later and later |
//! | saving | write startup | saved → settling, or confirmed where nothing was sent · not saved → waiting |
//! | settling | take the way back away | gone, or not → confirmed; undone → looking back; nothing was sent → waiting |
//! | looking back | look | all is back, or it has had its time → reading (the text is not tried again until it, or the retry counter, changes) |
//! | confirmed | wait | time to look for drift → reading |
//! | waiting | wait | time to look again, or the slots have changed → reading |
//!
//! Beside its steps the machine says what it needs of its rollout slot ([`CommitMachine::slot`]): it is needed from queueing
//! until the change is settled, and kept where that ended badly.
//!
//! A change that nobody could look at, or in which the agent ended, says nothing about the text: it is tried once more.

use std::time::{Duration, Instant};

use super::{
    ApplyPolicy, ChangeStatus, DRIFT_PERIOD, Dialect, FailureCause, Memory, Seen, Step, Target, Undo, Want,
};
use crate::change::diff::{Plan, Running};
use crate::change::drift::{self, Drift};
use crate::change::slot::{End, Need};
use crate::net::Backoff;

mod consider;
mod settle;
mod state;

use settle::failure;
use state::{Settled, State};

const RETRY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
/// Between two looks at a change.
const LOOK_GAP: Duration = Duration::from_secs(1);
/// So many good looks confirm.
const GOOD_LOOKS: u8 = 2;
/// After the dwell there is at least this much time to look, and to go back before the guard does.
const LOOK_TIME: Duration = Duration::from_secs(10);
/// What a change that resets no session has taken away, and not given back for so long, is lost.
const LOSS: Duration = Duration::from_secs(3);
/// Of the window this is left for the way back.
const WAY_BACK: Duration = Duration::from_secs(4);
/// Between two readings of a NOS that was silent: FRR's daemons answer before their startup text is loaded.
const LOAD_GAP: Duration = Duration::from_secs(2);
/// What a roll-back brings back is looked for as long: sessions need their time.
const LOOK_BACK: Duration = Duration::from_secs(30);
/// So many texts that were undone are remembered: what Git says now, and what it may go back and forth between.
const MOST_TRIED: usize = 8;
/// A text that is not to blame is tried as often.
const TRIES: u32 = 2;

/// Candidate → applied → read back → confirmed, or back to what was. One for the life of the agent.
#[derive(Debug)]
pub struct CommitMachine<D> {
    dialect: D,
    /// Spreads the retries of many switches; any number.
    seed: u64,
    state: State,
    status: ChangeStatus,
    /// Why the wanted text does not run, while something else is kept up.
    held: Option<ChangeStatus>,
    want: Option<Want>,
    /// Wanted while a change was in flight; its turn comes when that has settled.
    next: Option<Want>,
    memory: Memory,
    /// The plan of the last comparison.
    plan: Plan,
    attempts: u32,
    drift: drift::Memory,
    slot: Need,
    silence: Silence,
}

/// Whether the NOS could be read when it was tried last.
#[derive(Debug)]
enum Silence {
    No,
    /// It could not.
    Since,
    /// It could again, and then this was read. What loads its startup text now would undo what is written meanwhile.
    Ended(Instant, Running),
}

impl<D: Dialect> CommitMachine<D> {
    /// A machine that wants nothing yet. `memory` is what an earlier life of the agent knew, `undo` the change that it did
    /// not settle.
    pub fn new(dialect: D, seed: u64, memory: Memory, undo: Option<Undo>) -> Self {
        let state = match undo {
            Some(undo) => State::Recovering { undo, not_before: None },
            None => State::Idle,
        };
        Self {
            dialect,
            seed,
            state,
            status: ChangeStatus::Starting,
            held: None,
            want: None,
            next: None,
            memory,
            plan: Plan::default(),
            attempts: 0,
            drift: drift::Memory::default(),
            slot: Need::Nothing,
            silence: Silence::No,
        }
    }

    /// Sets what is wanted. A change in flight settles first; a text that was undone is not tried again unless it, or
    /// the retry counter, changed.
    pub fn want(&mut self, mut want: Want) {
        if want.policy == ApplyPolicy::Retired {
            want.target = Target { candidate: self.dialect.nothing(), ..Target::default() };
            want.interim = None;
        }
        if self.want.as_ref() == Some(&want) {
            return;
        }
        if self.in_flight() {
            self.next = Some(want);
            return;
        }
        self.next = None;
        self.start(want);
    }

    fn start(&mut self, want: Want) {
        // What is kept up meanwhile may change without a word about what is wanted.
        let same =
            self.want.as_ref().is_some_and(|old| old.target == want.target && old.policy == want.policy);
        if !same {
            self.attempts = 0;
            self.status = ChangeStatus::InProgress;
        }
        self.want = Some(want);
        self.state = State::Reading;
    }

    /// Commands were sent and their effect is not settled yet.
    pub fn in_flight(&self) -> bool {
        !matches!(
            self.state,
            State::Idle
                | State::Reading
                | State::Weighing { .. }
                | State::Suspecting { .. }
                | State::Queueing { .. }
                | State::Confirmed { .. }
                | State::Waiting { .. }
        )
    }

    /// The language of the texts.
    pub fn dialect(&self) -> &D {
        &self.dialect
    }

    /// What is wanted, or will be once the change in flight has settled.
    pub fn wanted(&self) -> Option<&Target> {
        self.next.as_ref().or(self.want.as_ref()).map(|want| &want.target)
    }

    /// How the wanted change stands.
    pub fn status(&self) -> &ChangeStatus {
        &self.status
    }

    /// The difference that was found last; empty when nothing is to be done.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What was confirmed last.
    pub fn confirmed(&self) -> Option<&Target> {
        self.memory.confirmed.as_ref()
    }

    /// What must survive a restart.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What is needed of the rollout slot. It is to be told after every result, and before the next step.
    pub fn slot(&self) -> Need {
        self.slot
    }

    /// The slots have changed: what waits for one asks again.
    pub fn slots_changed(&mut self) {
        // Confirmed is the text that is kept up meanwhile.
        let waits = matches!(self.state, State::Waiting { .. } | State::Confirmed { .. });
        if waits && matches!(self.held, Some(ChangeStatus::AwaitingSlot(_))) {
            self.state = State::Reading;
        }
    }

    /// How often running was found changed by somebody else.
    pub fn drifts(&self) -> u64 {
        self.drift.count()
    }

    /// The drift that was seen last, and what became of it.
    pub fn drift(&self) -> Option<&Drift> {
        self.drift.last()
    }

    /// How what survives a reboot differs from what was confirmed, in lines; `None` if it does not, or while that is about to
    /// change.
    pub fn unsaved(&self, startup: &Running) -> Option<Vec<String>> {
        let confirmed = self.memory.confirmed.as_ref().filter(|_| !self.in_flight())?;
        let adopt = self.want.as_ref().map(|want| want.adopt.as_slice()).unwrap_or_default();
        match self.plan_for(startup, confirmed, adopt) {
            Ok(plan) if plan.is_empty() => None,
            Ok(plan) => Some(plan.lines()),
            Err(refusal) => Some(vec![refusal.to_string()]),
        }
    }

    /// What to do next.
    pub fn step(&mut self, now: Instant) -> Step {
        if let Some(until) = self.not_before().filter(|until| *until > now) {
            return Step::Wait(until);
        }
        match &self.state {
            State::Idle => Step::Rest,
            State::Reading
            | State::Recovering { .. }
            | State::ReadingBack { .. }
            | State::CheckingRollback { .. } => Step::ReadRunning,
            State::Weighing { .. } => {
                Step::Measure(self.want.as_ref().map(|want| want.target.clone()).unwrap_or_default())
            }
            State::Suspecting { .. } => Step::SeekEditor,
            State::Queueing { .. } => Step::TakeSlot,
            State::Measuring { flight, .. }
            | State::Looking { flight }
            | State::LookingBack { flight, .. } => Step::Measure(flight.target.clone()),
            State::Arming { flight, .. } => Step::Arm(Undo {
                before: flight.before.clone(),
                target: flight.target.clone(),
                retry: flight.retry,
                window: flight.window(now),
            }),
            State::Applying { plan, flight } => {
                Step::Apply { plan: plan.clone(), window: Some(flight.window(now)) }
            }
            State::RollingBack { plan, .. } => Step::Apply { plan: plan.clone(), window: None },
            State::Confirming { .. } => Step::Confirm,
            State::Saving { target, .. } => Step::WriteStartup {
                candidate: target.candidate.clone(),
                journal: self.memory.journal.clone(),
            },
            State::Settling { .. } => Step::Disarm,
            State::Confirmed { .. } | State::Waiting { .. } => {
                self.state = State::Reading;
                Step::ReadRunning
            }
            // Only ever the undo again: nothing else could be better than what was before.
            State::RollbackFailed { plan, flight, failure, .. } => {
                let plan = plan.clone();
                self.state = State::RollingBack {
                    plan: plan.clone(),
                    flight: flight.clone(),
                    failure: failure.clone(),
                };
                Step::Apply { plan, window: None }
            }
        }
    }

    fn not_before(&self) -> Option<Instant> {
        match &self.state {
            State::Confirmed { until } | State::Waiting { until } | State::RollbackFailed { until, .. } => {
                Some(*until)
            }
            State::LookingBack { not_before, .. } => Some(*not_before),
            State::Recovering { not_before, .. }
            | State::ReadingBack { not_before, .. }
            | State::CheckingRollback { not_before, .. }
            | State::Settling { not_before, .. } => *not_before,
            _ => None,
        }
    }

    /// Takes in the result of a step.
    pub fn see(&mut self, seen: Seen, now: Instant) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        self.state = match (state, seen) {
            (State::Recovering { undo, .. }, Seen::Running(running)) => self.recover(&running, undo, now),
            (State::Recovering { undo, .. }, Seen::Unreadable(why)) => {
                self.status = ChangeStatus::Unreachable(why);
                State::Recovering { undo, not_before: Some(self.later(now)) }
            }
            (State::Reading, Seen::Running(running)) => self.read(running, now),
            (State::Reading, Seen::Unreadable(why)) => self.not_read(why, now),
            (State::Weighing { plan, running }, Seen::Measured(seen)) => {
                self.weigh(&plan, running, &seen, now)
            }
            (State::Suspecting { plan, running, target }, Seen::Editor(editor)) => {
                self.drifted(plan, running, target, editor, now)
            }
            (State::Queueing { plan, running }, Seen::Slot) => self.queued(plan, running, None, now),
            (State::Queueing { plan, running }, Seen::NoSlot(why)) => {
                self.queued(plan, running, Some(why), now)
            }
            (State::Measuring { plan, mut flight }, Seen::Measured(measured)) => {
                flight.measured = Some(*measured);
                State::Arming { plan, flight }
            }
            (State::Arming { plan, flight }, Seen::Armed) => State::Applying { plan, flight },
            (State::Arming { .. }, Seen::NotArmed(why)) => {
                self.status = ChangeStatus::NotArmed(why);
                State::Waiting { until: self.later(now) }
            }
            (state @ (State::Arming { .. } | State::Applying { .. }), Seen::Busy(who)) => {
                self.busy(&state, who, now)
            }
            (State::Applying { mut flight, .. }, Seen::Sent(complaints)) => {
                flight.complaints = complaints;
                State::ReadingBack { flight, not_before: None }
            }
            // What was sent in part is in effect in part: only reading back tells.
            (State::Applying { mut flight, .. }, Seen::NotSent(why)) => {
                flight.cut = Some(why);
                State::ReadingBack { flight, not_before: None }
            }
            (State::ReadingBack { flight, .. }, Seen::Running(running)) => {
                self.read_back(&running, flight, now)
            }
            (State::ReadingBack { mut flight, .. }, Seen::Unreadable(why)) => {
                flight.good = 0;
                flight.last = Some(failure(FailureCause::CouldNotLook, vec![why.clone()]));
                self.status = ChangeStatus::Unreachable(why);
                State::ReadingBack { flight, not_before: Some(self.later(now)) }
            }
            (State::Looking { flight }, Seen::Measured(after)) => settle::looked(flight, &after, now),
            (State::Confirming { flight }, Seen::Agreed) => {
                State::Saving { target: flight.target, journal: Some(flight.journal) }
            }
            (State::Confirming { mut flight }, Seen::NotAgreed(why)) => {
                flight.last = Some(failure(FailureCause::CouldNotLook, vec![why]));
                // The way back starts from what runs.
                flight.until = now;
                State::ReadingBack { flight, not_before: None }
            }
            (
                State::RollingBack { flight, failure, .. },
                Seen::Sent(_) | Seen::NotSent(_) | Seen::Busy(_),
            ) => State::CheckingRollback { flight, failure, not_before: None },
            (State::CheckingRollback { flight, failure, .. }, Seen::Running(running)) => {
                self.check_rollback(&running, flight, failure, now)
            }
            (State::CheckingRollback { flight, failure, .. }, Seen::Unreadable(why)) => {
                self.status = ChangeStatus::Unreachable(why);
                State::CheckingRollback { flight, failure, not_before: Some(self.later(now)) }
            }
            (State::Saving { target, journal }, Seen::Saved) => {
                let sent = journal.is_some();
                self.memory.journal = journal.unwrap_or_else(|| self.memory.journal.clone());
                if sent {
                    State::Settling { then: Settled::Confirmed(target), not_before: None }
                } else {
                    self.confirm(target, now)
                }
            }
            (State::Saving { .. }, Seen::NotSaved(why)) => {
                self.status = ChangeStatus::NotSaved(why);
                State::Waiting { until: self.later(now) }
            }
            (State::Settling { then, .. }, Seen::Disarmed) => self.settled(then, now),
            // A way back that is left lying would be taken: it has to go before anything else.
            (State::Settling { then, .. }, Seen::NotDisarmed(why)) => {
                self.status = ChangeStatus::NotSaved(why);
                State::Settling { then, not_before: Some(self.later(now)) }
            }
            (State::LookingBack { flight, failure, until, .. }, Seen::Measured(after)) => {
                self.looked_back(flight, failure, &after, until, now)
            }
            // An answer to a question that was not asked changes nothing.
            (state, _) => state,
        };
        self.slot = self.needed();
        if !self.in_flight()
            && let Some(next) = self.next.take()
        {
            self.start(next);
        }
    }

    fn confirm(&mut self, target: Target, now: Instant) -> State {
        self.attempts = 0;
        let retired = self.want.as_ref().is_some_and(|want| want.policy == ApplyPolicy::Retired);
        if retired {
            self.memory.journal.clear();
        }
        self.drift.gone();
        let hash = target.candidate.hash();
        self.memory.tried.retain(|tried| tried.bundle != target.bundle && tried.candidate != hash);
        self.memory.confirmed = Some(target);
        let done = if retired { ChangeStatus::Retired } else { ChangeStatus::Applied };
        if self.held.is_none() {
            self.slot = Need::Settled(End::Good);
        }
        self.status = self.held.clone().unwrap_or(done);
        State::Confirmed { until: now + DRIFT_PERIOD }
    }

    /// What is needed of the slot, now that nothing is in flight or more is known.
    fn needed(&self) -> Need {
        let waits = matches!(self.held, Some(ChangeStatus::AwaitingSlot(_)));
        let enforced = self.want.as_ref().is_some_and(|want| want.policy == ApplyPolicy::Enforce);
        match (&self.state, self.slot) {
            (State::Queueing { .. }, _) => Need::Slot,
            // It runs and would not survive a reboot: the others had better wait.
            (State::Waiting { .. }, Need::Slot)
                if enforced && matches!(self.status, ChangeStatus::NotSaved(_)) =>
            {
                Need::Slot
            }
            // It was not begun, and something else is in the way by now.
            (State::Waiting { .. } | State::Confirmed { .. }, Need::Slot) if !waits => {
                Need::Settled(End::Good)
            }
            (_, need) => need,
        }
    }

    /// The next try.
    fn later(&mut self, now: Instant) -> Instant {
        let wait = RETRY.wait(self.attempts, self.seed);
        self.attempts += 1;
        now + wait
    }
}
