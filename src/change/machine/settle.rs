//! From the first command to the end: does it read back, has it taken anything away, and the way back.

use std::time::Instant;

use super::state::{Flight, Settled, State};
use super::{CommitMachine, GOOD_LOOKS, LOOK_BACK, LOOK_GAP, LOSS, MOST_TRIED};
use crate::change::consent::Cause;
use crate::change::diff::{Plan, Running};
use crate::change::impact::{Class, Impact};
use crate::change::look::{self, Measured, Verdict};
use crate::change::slot::{End, Need};
use crate::change::{ChangeStatus, Dialect, Failure, FailureCause, Known, Tried, Undo};

impl<D: Dialect> CommitMachine<D> {
    /// What an earlier life left: back to what was, unless it is there already.
    pub(super) fn recover(&mut self, running: &Running, undo: Undo, now: Instant) -> State {
        let Undo { before, target, retry, window: _ } = undo;
        let flight = Box::new(Flight {
            target,
            retry,
            before,
            journal: self.memory.journal.clone(),
            impact: Impact::default(),
            measured: None,
            complaints: Vec::new(),
            cut: None,
            dwell_until: now,
            until: now,
            good: 0,
            lost_since: None,
            last: None,
        });
        self.status = ChangeStatus::InProgress;
        let why = "the agent ended before the change was settled".to_owned();
        self.roll_back(running, flight, failure(FailureCause::Interrupted, vec![why]))
    }

    pub(super) fn read_back(&mut self, running: &Running, flight: Box<Flight>, now: Instant) -> State {
        let adopt = self.want.as_ref().map(|want| want.adopt.clone()).unwrap_or_default();
        let known =
            Known { confirmed: Some(&flight.target.candidate), adopt: &adopt, journal: &self.memory.journal };
        let left = match self.dialect.plan(running, &flight.target.candidate, &known) {
            Ok(left) => left.lines(),
            Err(refusal) => vec![refusal.to_string()],
        };
        if !left.is_empty() {
            let failure = match &flight.cut {
                Some(why) => failure(
                    FailureCause::Interrupted,
                    vec![format!("the NOS was lost while it was told: {why}")],
                ),
                None => failure(FailureCause::ReadBack, left),
            };
            return self.roll_back(running, flight, failure);
        }
        if now >= flight.until {
            let last = flight.last.clone();
            let late = || failure(FailureCause::CouldNotLook, vec!["nobody could look in time".to_owned()]);
            return self.roll_back(running, flight, last.unwrap_or_else(late));
        }
        if now < flight.dwell_until {
            let not_before = Some(flight.dwell_until);
            return State::ReadingBack { flight, not_before };
        }
        State::Looking { flight }
    }

    pub(super) fn roll_back(
        &mut self,
        running: &Running,
        mut flight: Box<Flight>,
        mut failure: Failure,
    ) -> State {
        failure.complaints = std::mem::take(&mut flight.complaints);
        let plan = self.dialect.undo(running, &flight.before, &flight.target.candidate);
        if plan.is_empty() {
            return State::Settling { then: Settled::Undone { flight, failure }, not_before: None };
        }
        State::RollingBack { plan, flight, failure }
    }

    pub(super) fn check_rollback(
        &mut self,
        running: &Running,
        flight: Box<Flight>,
        failure: Failure,
        now: Instant,
    ) -> State {
        let left = self.dialect.undo(running, &flight.before, &flight.target.candidate);
        if left.is_empty() {
            return State::Settling { then: Settled::Undone { flight, failure }, not_before: None };
        }
        self.status = ChangeStatus::RollbackFailed { lines: left.lines() };
        State::RollbackFailed { plan: left, flight, failure, until: self.later(now) }
    }

    /// Somebody else is changing the switch, and nothing was sent: there is nothing to go back from, and the text is not to
    /// blame.
    pub(super) fn busy(&mut self, state: &State, who: String, now: Instant) -> State {
        self.status = ChangeStatus::Busy(who);
        if matches!(state, State::Arming { .. }) {
            return State::Waiting { until: self.later(now) };
        }
        State::Settling { then: Settled::Untried, not_before: None }
    }

    pub(super) fn settled(&mut self, then: Settled, now: Instant) -> State {
        if then != Settled::Untried {
            self.attempts = 0;
        }
        match then {
            Settled::Untried => State::Waiting { until: self.later(now) },
            Settled::Confirmed(target) => {
                if self.held.is_none() {
                    self.plan = Plan::default();
                }
                let confirmed = self.confirm(target, now);
                // What waits is another plan by now.
                if self.held.is_some() { State::Reading } else { confirmed }
            }
            Settled::Undone { flight, failure } => {
                // Said at once; what has not come back is added later.
                self.undone(&flight, failure.clone());
                if flight.measured.is_none() {
                    return State::Reading;
                }
                State::LookingBack { flight, failure, not_before: now, until: now + LOOK_BACK }
            }
        }
    }

    pub(super) fn looked_back(
        &mut self,
        flight: Box<Flight>,
        mut failure: Failure,
        after: &Measured,
        until: Instant,
        now: Instant,
    ) -> State {
        let lost = flight.measured.as_ref().map(|before| look::restored(before, after)).unwrap_or_default();
        if !lost.is_empty() && now < until {
            return State::LookingBack { flight, failure, not_before: now + LOOK_GAP, until };
        }
        if !lost.is_empty() {
            failure.lost = lost;
            self.amend(&flight, failure);
        }
        State::Reading
    }

    /// The text is not tried again, unless it is not to blame.
    fn undone(&mut self, flight: &Flight, failure: Failure) {
        if self.memory.cause(&flight.target) != Cause::Routine {
            self.slot = Need::Settled(End::Failed);
        }
        // It was read back before: somebody changes what is being put back. Drift has a patience of its own.
        if failure.cause == FailureCause::ReadBack && self.is_confirmed(&flight.target) {
            self.status = ChangeStatus::Undone(failure);
            return;
        }
        let hash = flight.target.candidate.hash();
        let tried = &mut self.memory.tried;
        let same = |tried: &Tried| {
            tried.retry == flight.retry && (tried.bundle == flight.target.bundle || tried.candidate == hash)
        };
        let times = tried.iter().filter(|tried| same(tried)).map(|tried| tried.times).max().unwrap_or(0) + 1;
        tried.retain(|old| old.retry == flight.retry && !same(old));
        let old = (tried.len() + 1).saturating_sub(MOST_TRIED);
        tried.drain(..old);
        self.status = ChangeStatus::Undone(failure.clone());
        tried.push(Tried {
            bundle: flight.target.bundle.clone(),
            candidate: hash,
            retry: flight.retry,
            failure,
            times,
        });
    }

    fn amend(&mut self, flight: &Flight, failure: Failure) {
        let hash = flight.target.candidate.hash();
        if let Some(tried) = self.memory.tried.iter_mut().find(|tried| tried.candidate == hash) {
            tried.failure = failure;
        }
    }
}

/// A look after the dwell, at a text that is as it should be.
pub(super) fn looked(mut flight: Box<Flight>, after: &Measured, now: Instant) -> State {
    let nothing = || Verdict::Unseen("nothing is known of before".to_owned());
    let before = flight.measured.as_ref();
    match before.map_or_else(nothing, |before| look::judge(before, after, &flight.impact)) {
        Verdict::Good => {
            flight.lost_since = None;
            flight.good += 1;
            flight.last = None;
            // Frozen meanwhile: the guard has gone back, or is about to.
            if flight.good >= GOOD_LOOKS && now < flight.until {
                return State::Confirming { flight };
            }
        }
        Verdict::NotYet(lines) => {
            flight.good = 0;
            let since = *flight.lost_since.get_or_insert(now);
            // Where no session was to be reset nothing is on its way back, and every second is an outage.
            if flight.impact.class < Class::SessionReset && now.duration_since(since) >= LOSS {
                flight.until = now;
            }
            flight.last = Some(failure(FailureCause::Verification, lines));
        }
        Verdict::Broken(lines) => {
            flight.last = Some(failure(FailureCause::Verification, lines));
            flight.until = now;
        }
        Verdict::Unseen(why) => {
            flight.good = 0;
            flight.last = Some(failure(FailureCause::CouldNotLook, vec![why]));
        }
    }
    let not_before = (now + LOOK_GAP).min(flight.until);
    State::ReadingBack { flight, not_before: Some(not_before) }
}

pub(super) fn failure(cause: FailureCause, lines: Vec<String>) -> Failure {
    Failure { cause, lines, complaints: Vec::new(), lost: Vec::new() }
}
