//! How to get there: the difference between what runs and what is wanted, and the machine that walks the steps.
//!
//! [`CommitMachine`] decides, the agent only does: it asks for a [`Step`], carries it out and reports what it has
//! [`Seen`]. Every failure has a name here. The machine lives as long as the agent and remembers what failed, so that
//! the timer that looks for drift never repeats an outage by itself.
//!
//! | state | step | seen → next state |
//! |---|---|---|
//! | idle | rest | – (nothing is wanted yet) |
//! | reading | read running | equal → saving or confirmed; differs → applying, or waiting (policy, refusal, reported drift) · unreadable → waiting |
//! | applying | apply | applied, or not → reading back |
//! | reading back | read running | equal → saving; differs → rolling back · unreadable → reading back, later |
//! | rolling back | apply undo | applied, or not → checking the roll-back |
//! | checking the roll-back | read running | as before → held; differs → roll-back failed · unreadable → again, later |
//! | roll-back failed | wait | → rolling back again, later and later |
//! | saving | write startup | saved → confirmed · not saved → waiting |
//! | confirmed | wait | time to look for drift → reading |
//! | held | rest | – (until the text or the retry counter changes) |
//! | waiting | wait | time to look again → reading |

use std::time::{Duration, Instant};

use crate::change::diff::{Candidate, Plan, Refusal, Running};

pub mod dialect;
pub mod diff;
#[cfg(test)]
mod tests;

/// How often the running text is compared with the confirmed one when nothing happens.
pub const DRIFT_PERIOD: Duration = Duration::from_secs(30);

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What a NOS's configuration language means: how two texts differ, and how to go back.
pub trait Dialect {
    /// The difference from `running` to `candidate`.
    fn plan(&self, running: &Running, candidate: &Candidate, known: &Known<'_>) -> Result<Plan, Refusal>;

    /// The way back from `now` to what ran `before`, for our lines.
    fn undo(&self, now: &Running, before: &Running) -> Plan;
}

/// What the planner knows besides the two texts.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The candidate that was confirmed last.
    pub confirmed: Option<&'a Candidate>,
    /// Running lines of globals that may be overwritten.
    pub adopt: &'a [String],
}

/// `spec.apply` of the Switch, as far as the machine obeys it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApplyPolicy {
    /// Make it so.
    #[default]
    Enforce,
    /// Say what would be done.
    PlanOnly,
    /// Write nothing.
    Paused,
}

/// What to do about drift: running left the confirmed text and nobody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriftPolicy {
    /// Put it back.
    #[default]
    Revert,
    /// Say so.
    Report,
}

/// What is wanted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The texts.
    pub candidate: Candidate,
    /// Whether they may be written.
    pub policy: ApplyPolicy,
    /// What to do about drift.
    pub drift: DriftPolicy,
    /// Running lines of globals that may be overwritten.
    pub adopt: Vec<String>,
    /// `spec.apply.retry`: a new number releases a held candidate.
    pub retry: u64,
}

/// One thing for the shell to do; nothing is left to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read what runs.
    ReadRunning,
    /// Send these commands.
    Apply(Plan),
    /// Make this the text that survives a reboot.
    WriteStartup(Candidate),
    /// Nothing until then, or until something new is wanted.
    Wait(Instant),
    /// Nothing until something new is wanted.
    Rest,
}

/// What the shell reports back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// What runs.
    Running(Running),
    /// It could not be read; why.
    Unreadable(String),
    /// The commands were sent; what the NOS complained about. Only reading back tells whether they took effect.
    Sent(Vec<String>),
    /// The commands could not be sent, or only in part; why.
    NotSent(String),
    /// The startup text is written.
    Saved,
    /// It is not; why.
    NotSaved(String),
}

/// How the wanted change stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeStatus {
    /// Nothing is known yet.
    Starting,
    /// Work is under way.
    InProgress,
    /// The wanted text runs, read back, and survives a reboot.
    Applied,
    /// It would be changed, but the policy says no.
    Planned,
    /// Running left the confirmed text; only reported.
    Drifted,
    /// It cannot be planned; waits for another text.
    Refused(Refusal),
    /// After the commands, these lines differed; the previous text is back.
    ReadBackDiffers {
        /// `+ line` for wanted ones that do not run, `- line` for unwanted ones that do.
        lines: Vec<String>,
        /// What the NOS said.
        complaints: Vec<String>,
    },
    /// As above, and going back did not work either.
    RollbackFailed {
        /// What is not as it was.
        lines: Vec<String>,
    },
    /// The NOS could not be asked.
    Unreachable(String),
    /// It runs, but a reboot would lose it.
    NotSaved(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Idle,
    Reading,
    Applying { plan: Plan, before: Running },
    ReadingBack { before: Running, complaints: Vec<String>, not_before: Option<Instant> },
    RollingBack { plan: Plan, before: Running, failed: Failed },
    CheckingRollback { before: Running, failed: Failed, not_before: Option<Instant> },
    RollbackFailed { plan: Plan, before: Running, failed: Failed, until: Instant },
    Saving,
    Confirmed { until: Instant },
    Held,
    Waiting { until: Instant },
}

/// What went wrong before the roll-back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failed {
    lines: Vec<String>,
    complaints: Vec<String>,
}

/// Candidate → applied → read back → confirmed, or back to what was. One for the life of the agent.
#[derive(Debug)]
pub struct CommitMachine<D> {
    dialect: D,
    /// Spreads the retries of many switches; any number.
    seed: u64,
    state: State,
    status: ChangeStatus,
    want: Option<Want>,
    /// Wanted while a change was in flight; its turn comes when that has settled.
    next: Option<Want>,
    confirmed: Option<Candidate>,
    /// The plan of the last comparison.
    plan: Plan,
    attempts: u32,
    drifts: u64,
}

impl<D: Dialect> CommitMachine<D> {
    /// A machine that wants nothing yet. `confirmed` is what an earlier life of the agent confirmed.
    pub fn new(dialect: D, seed: u64, confirmed: Option<Candidate>) -> Self {
        Self {
            dialect,
            seed,
            state: State::Idle,
            status: ChangeStatus::Starting,
            want: None,
            next: None,
            confirmed,
            plan: Plan::default(),
            attempts: 0,
            drifts: 0,
        }
    }

    /// Sets what is wanted. A change in flight settles first; a held candidate stays held unless its text, its retry
    /// counter or its policy changed.
    pub fn want(&mut self, want: Want) {
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
        self.want = Some(want);
        self.attempts = 0;
        self.status = ChangeStatus::InProgress;
        self.state = State::Reading;
    }

    /// Commands were sent and their effect is not settled yet.
    pub fn in_flight(&self) -> bool {
        matches!(
            self.state,
            State::Applying { .. }
                | State::ReadingBack { .. }
                | State::RollingBack { .. }
                | State::CheckingRollback { .. }
                | State::RollbackFailed { .. }
                | State::Saving
        )
    }

    /// How the wanted change stands.
    pub fn status(&self) -> &ChangeStatus {
        &self.status
    }

    /// The difference that was found last; empty when nothing is to be done.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The candidate that was confirmed last.
    pub fn confirmed(&self) -> Option<&Candidate> {
        self.confirmed.as_ref()
    }

    /// How often running was found changed by somebody else.
    pub fn drifts(&self) -> u64 {
        self.drifts
    }

    /// What to do next.
    pub fn step(&mut self, now: Instant) -> Step {
        match &self.state {
            State::Idle | State::Held => Step::Rest,
            State::Reading => Step::ReadRunning,
            State::Applying { plan, .. } | State::RollingBack { plan, .. } => Step::Apply(plan.clone()),
            State::ReadingBack { not_before: Some(until), .. }
            | State::CheckingRollback { not_before: Some(until), .. }
                if *until > now =>
            {
                Step::Wait(*until)
            }
            State::ReadingBack { .. } | State::CheckingRollback { .. } => Step::ReadRunning,
            State::Saving => match &self.want {
                Some(want) => Step::WriteStartup(want.candidate.clone()),
                None => Step::Rest,
            },
            State::Confirmed { until } | State::Waiting { until } if *until > now => Step::Wait(*until),
            State::Confirmed { .. } | State::Waiting { .. } => {
                self.state = State::Reading;
                Step::ReadRunning
            }
            State::RollbackFailed { until, .. } if *until > now => Step::Wait(*until),
            // Only ever the undo again: nothing else could be better than what was before.
            State::RollbackFailed { plan, before, failed, .. } => {
                let plan = plan.clone();
                self.state =
                    State::RollingBack { plan: plan.clone(), before: before.clone(), failed: failed.clone() };
                Step::Apply(plan)
            }
        }
    }

    /// Takes in the result of a step.
    pub fn see(&mut self, seen: Seen, now: Instant) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        self.state = match (state, seen) {
            (State::Reading, Seen::Running(running)) => self.compare(running, now),
            (State::Reading, Seen::Unreadable(why)) => {
                self.status = ChangeStatus::Unreachable(why);
                State::Waiting { until: self.later(now) }
            }
            (State::Applying { before, .. }, Seen::Sent(complaints)) => {
                State::ReadingBack { before, complaints, not_before: None }
            }
            // What was sent in part is in effect in part: only reading back tells.
            (State::Applying { before, .. }, Seen::NotSent(why)) => {
                State::ReadingBack { before, complaints: vec![why], not_before: None }
            }
            (State::ReadingBack { before, complaints, .. }, Seen::Running(running)) => {
                self.read_back(&running, before, complaints)
            }
            (State::ReadingBack { before, complaints, .. }, Seen::Unreadable(why)) => {
                self.status = ChangeStatus::Unreachable(why);
                State::ReadingBack { before, complaints, not_before: Some(self.later(now)) }
            }
            (State::RollingBack { before, failed, .. }, Seen::Sent(_) | Seen::NotSent(_)) => {
                State::CheckingRollback { before, failed, not_before: None }
            }
            (State::CheckingRollback { before, failed, .. }, Seen::Running(running)) => {
                self.check_rollback(&running, before, failed, now)
            }
            (State::CheckingRollback { before, failed, .. }, Seen::Unreadable(why)) => {
                self.status = ChangeStatus::Unreachable(why);
                State::CheckingRollback { before, failed, not_before: Some(self.later(now)) }
            }
            (State::Saving, Seen::Saved) => {
                self.confirmed = self.want.as_ref().map(|want| want.candidate.clone());
                self.confirm(now)
            }
            (State::Saving, Seen::NotSaved(why)) => {
                self.status = ChangeStatus::NotSaved(why);
                State::Waiting { until: self.later(now) }
            }
            // An answer to a question that was not asked changes nothing.
            (state, _) => state,
        };
        if !self.in_flight()
            && let Some(next) = self.next.take()
        {
            self.start(next);
        }
    }

    fn compare(&mut self, running: Running, now: Instant) -> State {
        let Some(want) = self.want.clone() else { return State::Idle };
        let Want { candidate, policy, drift, adopt, retry: _ } = &want;
        let known = Known { confirmed: self.confirmed.as_ref(), adopt };
        let plan = match self.dialect.plan(&running, candidate, &known) {
            Ok(plan) => plan,
            Err(refusal) => {
                self.plan = Plan::default();
                self.status = ChangeStatus::Refused(refusal);
                // Running may change so that it fits: look again at the pace of drift.
                return State::Waiting { until: now + DRIFT_PERIOD };
            }
        };
        self.plan = plan.clone();
        if plan.is_empty() {
            return if self.confirmed.as_ref() == Some(candidate) {
                self.confirm(now)
            } else {
                State::Saving
            };
        }
        let drifted = self.confirmed.as_ref() == Some(candidate);
        if *policy != ApplyPolicy::Enforce {
            self.status = ChangeStatus::Planned;
            return State::Waiting { until: now + DRIFT_PERIOD };
        }
        if drifted {
            self.drifts += 1;
            if *drift == DriftPolicy::Report {
                self.status = ChangeStatus::Drifted;
                return State::Waiting { until: now + DRIFT_PERIOD };
            }
        }
        self.status = ChangeStatus::InProgress;
        State::Applying { plan, before: running }
    }

    fn read_back(&mut self, running: &Running, before: Running, complaints: Vec<String>) -> State {
        let Some(want) = self.want.clone() else { return State::Idle };
        let known = Known { confirmed: Some(&want.candidate), adopt: &want.adopt };
        let left = match self.dialect.plan(running, &want.candidate, &known) {
            Ok(left) => left.lines(),
            Err(refusal) => vec![refusal.to_string()],
        };
        if left.is_empty() {
            self.plan = Plan::default();
            self.attempts = 0;
            return State::Saving;
        }
        let failed = Failed { lines: left, complaints };
        let plan = self.dialect.undo(running, &before);
        if plan.is_empty() {
            return self.hold(failed);
        }
        State::RollingBack { plan, before, failed }
    }

    fn check_rollback(&mut self, running: &Running, before: Running, failed: Failed, now: Instant) -> State {
        let left = self.dialect.undo(running, &before);
        if left.is_empty() {
            return self.hold(failed);
        }
        self.status = ChangeStatus::RollbackFailed { lines: left.lines() };
        State::RollbackFailed { plan: left, before, failed, until: self.later(now) }
    }

    fn hold(&mut self, failed: Failed) -> State {
        let Failed { lines, complaints } = failed;
        self.status = ChangeStatus::ReadBackDiffers { lines, complaints };
        State::Held
    }

    fn confirm(&mut self, now: Instant) -> State {
        self.attempts = 0;
        self.status = ChangeStatus::Applied;
        State::Confirmed { until: now + DRIFT_PERIOD }
    }

    /// The next try: 1 s, doubled each time up to 60 s, up to a quarter longer by switch and try.
    fn later(&mut self, now: Instant) -> Instant {
        let wait = FIRST_RETRY.saturating_mul(1 << self.attempts.min(6)).min(LONGEST_RETRY);
        self.attempts += 1;
        let spread =
            (self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(u64::from(self.attempts)) >> 33)
                % 256;
        now + wait + wait / 1024 * u32::try_from(spread).unwrap_or(0)
    }
}
