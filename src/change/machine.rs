//! The machine: candidate → applied → read back → confirmed, or back to what was.
//!
//! | state | step | seen → next state |
//! |---|---|---|
//! | idle | rest | – (nothing is wanted yet) |
//! | reading | read running | equal → saving or confirmed; differs → applying, or waiting (policy, approval, refusal, reported drift) · unreadable → waiting |
//! | applying | apply | applied, or not → reading back |
//! | reading back | read running | equal → saving; differs → rolling back · unreadable → reading back, later |
//! | rolling back | apply undo | applied, or not → checking the roll-back |
//! | checking the roll-back | read running | as before → reading (the text is not tried again until it, or the retry counter, changes); differs → roll-back failed · unreadable → again, later |
//! | roll-back failed | wait | → rolling back again, later and later |
//! | saving | write startup | saved → confirmed · not saved → waiting |
//! | confirmed | wait | time to look for drift → reading |
//! | waiting | wait | time to look again → reading |

use std::time::{Duration, Instant};

use super::{
    ApplyPolicy, ChangeStatus, DRIFT_PERIOD, Dialect, DriftPolicy, Known, Memory, Seen, Step, Target, Want,
};
use crate::change::consent;
use crate::change::diff::{Global, Journal, Plan, Refusal, Running};
use crate::net::Backoff;

const RETRY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Idle,
    Reading,
    Applying {
        plan: Plan,
        flight: Flight,
    },
    ReadingBack {
        flight: Flight,
        complaints: Vec<String>,
        not_before: Option<Instant>,
    },
    RollingBack {
        plan: Plan,
        flight: Flight,
        failed: Failed,
    },
    CheckingRollback {
        flight: Flight,
        failed: Failed,
        not_before: Option<Instant>,
    },
    RollbackFailed {
        plan: Plan,
        flight: Flight,
        failed: Failed,
        until: Instant,
    },
    /// `journal` is what is set once the change is done; `None` where nothing was sent.
    Saving {
        target: Target,
        journal: Option<Journal>,
    },
    Confirmed {
        until: Instant,
    },
    Waiting {
        until: Instant,
    },
}

/// A change under way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flight {
    target: Target,
    before: Running,
    journal: Journal,
}

/// What went wrong before the roll-back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failed {
    lines: Vec<String>,
    complaints: Vec<String>,
}

/// A text that was undone: not tried again by itself.
#[derive(Debug, Clone)]
struct Tried {
    target: Target,
    retry: u64,
    status: ChangeStatus,
}

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
    tried: Vec<Tried>,
    want: Option<Want>,
    /// Wanted while a change was in flight; its turn comes when that has settled.
    next: Option<Want>,
    memory: Memory,
    /// The plan of the last comparison.
    plan: Plan,
    attempts: u32,
    drifts: u64,
}

impl<D: Dialect> CommitMachine<D> {
    /// A machine that wants nothing yet. `memory` is what an earlier life of the agent knew.
    pub fn new(dialect: D, seed: u64, memory: Memory) -> Self {
        Self {
            dialect,
            seed,
            state: State::Idle,
            status: ChangeStatus::Starting,
            held: None,
            tried: Vec::new(),
            want: None,
            next: None,
            memory,
            plan: Plan::default(),
            attempts: 0,
            drifts: 0,
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
        matches!(
            self.state,
            State::Applying { .. }
                | State::ReadingBack { .. }
                | State::RollingBack { .. }
                | State::CheckingRollback { .. }
                | State::RollbackFailed { .. }
                | State::Saving { .. }
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

    /// How often running was found changed by somebody else.
    pub fn drifts(&self) -> u64 {
        self.drifts
    }

    /// What to do next.
    pub fn step(&mut self, now: Instant) -> Step {
        match &self.state {
            State::Idle => Step::Rest,
            State::Reading => Step::ReadRunning,
            State::Applying { plan, .. } | State::RollingBack { plan, .. } => Step::Apply(plan.clone()),
            State::ReadingBack { not_before: Some(until), .. }
            | State::CheckingRollback { not_before: Some(until), .. }
                if *until > now =>
            {
                Step::Wait(*until)
            }
            State::ReadingBack { .. } | State::CheckingRollback { .. } => Step::ReadRunning,
            State::Saving { target, .. } => Step::WriteStartup {
                candidate: target.candidate.clone(),
                journal: self.memory.journal.clone(),
            },
            State::Confirmed { until } | State::Waiting { until } if *until > now => Step::Wait(*until),
            State::Confirmed { .. } | State::Waiting { .. } => {
                self.state = State::Reading;
                Step::ReadRunning
            }
            State::RollbackFailed { until, .. } if *until > now => Step::Wait(*until),
            // Only ever the undo again: nothing else could be better than what was before.
            State::RollbackFailed { plan, flight, failed, .. } => {
                let plan = plan.clone();
                self.state =
                    State::RollingBack { plan: plan.clone(), flight: flight.clone(), failed: failed.clone() };
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
            (State::Applying { flight, .. }, Seen::Sent(complaints)) => {
                State::ReadingBack { flight, complaints, not_before: None }
            }
            // What was sent in part is in effect in part: only reading back tells.
            (State::Applying { flight, .. }, Seen::NotSent(why)) => {
                State::ReadingBack { flight, complaints: vec![why], not_before: None }
            }
            (State::ReadingBack { flight, complaints, .. }, Seen::Running(running)) => {
                self.read_back(&running, flight, complaints)
            }
            (State::ReadingBack { flight, complaints, .. }, Seen::Unreadable(why)) => {
                self.status = ChangeStatus::Unreachable(why);
                State::ReadingBack { flight, complaints, not_before: Some(self.later(now)) }
            }
            (State::RollingBack { flight, failed, .. }, Seen::Sent(_) | Seen::NotSent(_)) => {
                State::CheckingRollback { flight, failed, not_before: None }
            }
            (State::CheckingRollback { flight, failed, .. }, Seen::Running(running)) => {
                self.check_rollback(&running, flight, failed, now)
            }
            (State::CheckingRollback { flight, failed, .. }, Seen::Unreadable(why)) => {
                self.status = ChangeStatus::Unreachable(why);
                State::CheckingRollback { flight, failed, not_before: Some(self.later(now)) }
            }
            (State::Saving { target, journal }, Seen::Saved) => {
                let sent = journal.is_some();
                self.memory.journal = journal.unwrap_or_else(|| self.memory.journal.clone());
                let confirmed = self.confirm(target, now);
                // What waits is another plan by now.
                if sent && self.held.is_some() { State::Reading } else { confirmed }
            }
            (State::Saving { .. }, Seen::NotSaved(why)) => {
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

    fn plan_for(&self, running: &Running, target: &Target, adopt: &[String]) -> Result<Plan, Refusal> {
        let confirmed = self.memory.confirmed.as_ref().map(|target| &target.candidate);
        let known = Known { confirmed, adopt, journal: &self.memory.journal };
        self.dialect.plan(running, &target.candidate, &known)
    }

    fn compare(&mut self, running: Running, now: Instant) -> State {
        let Some(want) = self.want.clone() else { return State::Idle };
        self.held = None;
        if want.policy == ApplyPolicy::Retired && self.is_confirmed(&want.target) {
            // Whatever somebody writes from now on is none of our business.
            return self.confirm(want.target, now);
        }
        let held = match self.plan_for(&running, &want.target, &want.adopt) {
            Err(refusal) => {
                self.plan = Plan::default();
                ChangeStatus::Refused(refusal)
            }
            Ok(plan) => {
                self.plan = plan.clone();
                if plan.is_empty() {
                    return self.equal(want.target, now);
                }
                if matches!(want.policy, ApplyPolicy::PlanOnly | ApplyPolicy::Paused) {
                    self.status = ChangeStatus::Planned;
                    return State::Waiting { until: now + DRIFT_PERIOD };
                }
                match self.reason_to_wait(&want, &plan) {
                    None => {
                        self.status = ChangeStatus::InProgress;
                        return self.go(&want, want.target.clone(), plan, running, now);
                    }
                    Some(held) => held,
                }
            }
        };
        self.status = held.clone();
        self.held = Some(held);
        self.keep_up(&want, running, now)
    }

    /// The wanted text does not run for now: the bundle in force is kept up instead.
    fn keep_up(&mut self, want: &Want, running: Running, now: Instant) -> State {
        // Running may change so that the wanted text fits: look again at the pace of drift.
        let waiting = State::Waiting { until: now + DRIFT_PERIOD };
        let may_write = want.policy == ApplyPolicy::Enforce;
        let Some(interim) = want.interim.clone().filter(|interim| may_write && *interim != want.target)
        else {
            return waiting;
        };
        if self.has_failed(&interim, want.retry).is_some() {
            return waiting;
        }
        match self.plan_for(&running, &interim, &want.adopt) {
            Ok(plan) if plan.is_empty() => self.equal(interim, now),
            Ok(plan) if !self.memory.removal(&interim).is_mass() => {
                self.go(want, interim, plan, running, now)
            }
            _ => waiting,
        }
    }

    fn equal(&mut self, target: Target, now: Instant) -> State {
        if self.is_confirmed(&target) {
            self.confirm(target, now)
        } else {
            State::Saving { target, journal: None }
        }
    }

    fn is_confirmed(&self, target: &Target) -> bool {
        self.memory.confirmed.as_ref().is_some_and(|confirmed| confirmed.candidate == target.candidate)
    }

    /// What became of `target` when it was tried before. Other neighbours do not make a bad bundle better.
    fn has_failed(&self, target: &Target, retry: u64) -> Option<ChangeStatus> {
        let in_force = self.memory.confirmed.as_ref().map(|confirmed| confirmed.bundle.as_str());
        let same = |tried: &&Tried| {
            let bundle = tried.target.bundle == target.bundle && in_force != Some(target.bundle.as_str());
            tried.retry == retry && (bundle || tried.target.candidate == target.candidate)
        };
        self.tried.iter().find(same).map(|tried| tried.status.clone())
    }

    /// Why the wanted plan is not carried out, if there is a reason.
    fn reason_to_wait(&self, want: &Want, plan: &Plan) -> Option<ChangeStatus> {
        if let Some(status) = self.has_failed(&want.target, want.retry) {
            return Some(status);
        }
        if want.policy == ApplyPolicy::Retired {
            return None;
        }
        let hold = consent::hold(
            plan,
            self.memory.removal(&want.target),
            self.memory.cause(&want.target),
            &want.consent,
        )?;
        let hash = plan.hash().unwrap_or_default();
        Some(ChangeStatus::AwaitingApproval { hold, hash, lines: plan.lines() })
    }

    fn go(&mut self, want: &Want, target: Target, plan: Plan, running: Running, now: Instant) -> State {
        if self.is_confirmed(&target) {
            self.drifts += 1;
            if want.drift == DriftPolicy::Report {
                self.status = self.held.clone().unwrap_or(ChangeStatus::Drifted);
                return State::Waiting { until: now + DRIFT_PERIOD };
            }
        }
        // What is found must be on disk before it is written over.
        for (owner, plan) in &plan.owners {
            let journal = self.memory.journal.entry(owner.clone()).or_default();
            let replaces =
                |old: &Global, new: &Global| (&old.context, &old.slot) == (&new.context, &new.slot);
            journal.retain(|old| !plan.globals.iter().any(|new| replaces(old, new)));
            journal.extend(plan.globals.iter().cloned());
        }
        let journal = plan.owners.iter().map(|(owner, plan)| (owner.clone(), plan.globals.clone())).collect();
        State::Applying { plan, flight: Flight { target, before: running, journal } }
    }

    fn read_back(&mut self, running: &Running, flight: Flight, complaints: Vec<String>) -> State {
        let Some(want) = self.want.clone() else { return State::Idle };
        let known = Known {
            confirmed: Some(&flight.target.candidate),
            adopt: &want.adopt,
            journal: &self.memory.journal,
        };
        let left = match self.dialect.plan(running, &flight.target.candidate, &known) {
            Ok(left) => left.lines(),
            Err(refusal) => vec![refusal.to_string()],
        };
        if left.is_empty() {
            if self.held.is_none() {
                self.plan = Plan::default();
            }
            self.attempts = 0;
            return State::Saving { target: flight.target, journal: Some(flight.journal) };
        }
        let failed = Failed { lines: left, complaints };
        let plan = self.dialect.undo(running, &flight.before, &flight.target.candidate);
        if plan.is_empty() {
            return self.give_up(flight, failed);
        }
        State::RollingBack { plan, flight, failed }
    }

    fn check_rollback(&mut self, running: &Running, flight: Flight, failed: Failed, now: Instant) -> State {
        let left = self.dialect.undo(running, &flight.before, &flight.target.candidate);
        if left.is_empty() {
            return self.give_up(flight, failed);
        }
        self.status = ChangeStatus::RollbackFailed { lines: left.lines() };
        State::RollbackFailed { plan: left, flight, failed, until: self.later(now) }
    }

    fn give_up(&mut self, flight: Flight, failed: Failed) -> State {
        let Failed { lines, complaints } = failed;
        let status = ChangeStatus::ReadBackDiffers { lines, complaints };
        let retry = self.want.as_ref().map_or(0, |want| want.retry);
        self.status = status.clone();
        self.tried.retain(|tried| tried.retry == retry && tried.target.bundle != flight.target.bundle);
        self.tried.push(Tried { target: flight.target, retry, status });
        State::Reading
    }

    fn confirm(&mut self, target: Target, now: Instant) -> State {
        self.attempts = 0;
        let retired = self.want.as_ref().is_some_and(|want| want.policy == ApplyPolicy::Retired);
        if retired {
            self.memory.journal.clear();
        }
        if self.held.is_none() {
            self.tried.clear();
        }
        self.memory.confirmed = Some(target);
        let done = if retired { ChangeStatus::Retired } else { ChangeStatus::Applied };
        self.status = self.held.clone().unwrap_or(done);
        State::Confirmed { until: now + DRIFT_PERIOD }
    }

    /// The next try.
    fn later(&mut self, now: Instant) -> Instant {
        let wait = RETRY.wait(self.attempts, self.seed);
        self.attempts += 1;
        now + wait
    }
}
