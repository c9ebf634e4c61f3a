//! Whether something is to be done, and whether it may be done now.

use std::collections::BTreeSet;
use std::time::Instant;

use super::state::{Flight, State};
use super::{CommitMachine, LOAD_GAP, LOOK_TIME, Silence, TRIES, WAY_BACK};
use crate::change::consent::{self, Cause, Hold, Why};
use crate::change::diff::{Global, Plan, Refusal, Running};
use crate::change::drift::Fate;
use crate::change::look::Measured;
use crate::change::{ApplyPolicy, ChangeStatus, DRIFT_PERIOD, Dialect, Known, Target, Tried, Want};

impl<D: Dialect> CommitMachine<D> {
    pub(super) fn plan_for(
        &self,
        running: &Running,
        target: &Target,
        adopt: &[String],
    ) -> Result<Plan, Refusal> {
        let confirmed = self.memory.confirmed.as_ref().map(|target| &target.candidate);
        let known = Known { confirmed, adopt, journal: &self.memory.journal };
        self.dialect.plan(running, &target.candidate, &known)
    }

    /// Takes a reading in hand; one after a silence only if nothing moves any more.
    pub(super) fn read(&mut self, running: Running, now: Instant) -> State {
        match std::mem::replace(&mut self.silence, Silence::No) {
            Silence::No => self.compare(running, now),
            Silence::Ended(at, before) if before == running && now >= at + LOAD_GAP => {
                self.compare(running, now)
            }
            Silence::Since | Silence::Ended(..) => {
                self.silence = Silence::Ended(now, running);
                State::Waiting { until: now + LOAD_GAP }
            }
        }
    }

    pub(super) fn not_read(&mut self, why: String, now: Instant) -> State {
        self.silence = Silence::Since;
        self.status = ChangeStatus::Unreachable(why);
        State::Waiting { until: self.later(now) }
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
                let silent = matches!(want.policy, ApplyPolicy::PlanOnly | ApplyPolicy::Paused);
                if plan.is_empty() && silent && !self.is_confirmed(&want.target) {
                    // Saving a text that somebody else made run is writing too.
                    let why = "it was not changed by switchlet, and nothing is written now";
                    self.status = ChangeStatus::NotSaved(why.to_owned());
                    return State::Waiting { until: now + DRIFT_PERIOD };
                }
                if plan.is_empty() {
                    return self.equal(want.target, now);
                }
                if silent {
                    self.status = ChangeStatus::Planned;
                    return State::Waiting { until: now + DRIFT_PERIOD };
                }
                match self.reason_to_wait(&want, &plan, None) {
                    None => return self.queue(&want, plan, running, now),
                    // Sessions that are down already do not count: look which ones are.
                    Some(held) if is_over_budget(&held) => return State::Weighing { plan, running },
                    Some(held) => held,
                }
            }
        };
        self.hold(held, &want, running, now)
    }

    /// The budget again, now that it is known which sessions are up.
    pub(super) fn weigh(&mut self, plan: &Plan, running: Running, seen: &Measured, now: Instant) -> State {
        let Some(want) = self.want.clone() else { return State::Idle };
        let live = seen.sessions.as_ref().ok().map(|sessions| sessions.keys().cloned().collect());
        match self.reason_to_wait(&want, plan, live.as_ref()) {
            None => self.queue(&want, plan.clone(), running, now),
            Some(held) => self.hold(held, &want, running, now),
        }
    }

    /// Nothing is in the way on this switch. What comes from Git waits for its turn among the switches of the group; what the
    /// cluster causes, and what puts drift back, does not.
    fn queue(&mut self, want: &Want, plan: Plan, running: Running, now: Instant) -> State {
        if self.memory.cause(&want.target) != Cause::Routine {
            return State::Queueing { plan, running };
        }
        self.status = ChangeStatus::InProgress;
        self.go(want, want.target.clone(), plan, running, now)
    }

    /// The answer to whether the slot is ours.
    pub(super) fn queued(
        &mut self,
        plan: Plan,
        running: Running,
        missing: Option<String>,
        now: Instant,
    ) -> State {
        let Some(want) = self.want.clone() else { return State::Idle };
        match missing {
            None => {
                self.status = ChangeStatus::InProgress;
                self.go(&want, want.target.clone(), plan, running, now)
            }
            Some(why) => self.hold(ChangeStatus::AwaitingSlot(why), &want, running, now),
        }
    }

    fn hold(&mut self, held: ChangeStatus, want: &Want, running: Running, now: Instant) -> State {
        self.status = held.clone();
        self.held = Some(held);
        self.keep_up(want, running, now)
    }

    /// The wanted text does not run for now: the bundle in force is kept up instead.
    pub(super) fn keep_up(&mut self, want: &Want, running: Running, now: Instant) -> State {
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

    pub(super) fn equal(&mut self, target: Target, now: Instant) -> State {
        if self.is_confirmed(&target) {
            self.confirm(target, now)
        } else {
            State::Saving { target, journal: None }
        }
    }

    pub(super) fn is_confirmed(&self, target: &Target) -> bool {
        self.memory.confirmed.as_ref().is_some_and(|confirmed| confirmed.candidate == target.candidate)
    }

    /// What became of `target` when it was tried before. Other neighbours do not make a bad bundle better.
    pub(super) fn has_failed(&self, target: &Target, retry: u64) -> Option<ChangeStatus> {
        let in_force = self.memory.confirmed.as_ref().map(|confirmed| confirmed.bundle.as_str());
        let hash = target.candidate.hash();
        let same = |tried: &&Tried| {
            let bundle = tried.bundle == target.bundle && in_force != Some(target.bundle.as_str());
            tried.retry == retry && (bundle || tried.candidate == hash)
        };
        self.memory
            .tried
            .iter()
            .find(same)
            .filter(|tried| !tried.failure.cause.is_no_fault_of_the_text() || tried.times >= TRIES)
            .map(|tried| ChangeStatus::Undone(tried.failure.clone()))
    }

    /// Why the wanted plan is not carried out, if there is a reason.
    pub(super) fn reason_to_wait(
        &self,
        want: &Want,
        plan: &Plan,
        live: Option<&BTreeSet<String>>,
    ) -> Option<ChangeStatus> {
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
            live,
        )?;
        let hash = plan.hash().unwrap_or_default();
        Some(ChangeStatus::AwaitingApproval { hold, hash, lines: plan.lines() })
    }

    pub(super) fn go(
        &mut self,
        want: &Want,
        target: Target,
        plan: Plan,
        running: Running,
        now: Instant,
    ) -> State {
        if self.is_confirmed(&target) {
            return State::Suspecting { plan, running, target };
        }
        self.depart(want, target, plan, running, now)
    }

    /// Running left the confirmed text; whether it is put back now.
    pub(super) fn drifted(
        &mut self,
        plan: Plan,
        running: Running,
        target: Target,
        editor: Option<String>,
        now: Instant,
    ) -> State {
        let Some(want) = self.want.clone() else { return State::Idle };
        let fate = self.drift.seen(self.dialect.departures(&plan), want.drift, editor, now);
        let look = now + DRIFT_PERIOD;
        let until = match fate {
            Fate::PutBack => return self.depart(&want, target, plan, running, now),
            Fate::Reported => look,
            Fate::Later { at, why: _ } => look.min(at),
        };
        let said = self.held.clone().or_else(|| self.drift.last().cloned().map(ChangeStatus::Drifted));
        self.status = said.unwrap_or(ChangeStatus::InProgress);
        State::Waiting { until }
    }

    fn depart(&mut self, want: &Want, target: Target, plan: Plan, running: Running, now: Instant) -> State {
        // What is found must be on disk before it is written over.
        for (owner, plan) in &plan.owners {
            let journal = self.memory.journal.entry(owner.clone()).or_default();
            let replaces =
                |old: &Global, new: &Global| (&old.context, &old.slot) == (&new.context, &new.slot);
            journal.retain(|old| !plan.globals.iter().any(|new| replaces(old, new)));
            journal.extend(plan.globals.iter().cloned());
        }
        let journal = plan.owners.iter().map(|(owner, plan)| (owner.clone(), plan.globals.clone())).collect();
        let dwell = self.dialect.dwell(&plan, &running);
        let window = want.confirm_timeout.max(dwell + LOOK_TIME);
        let flight = Flight {
            target,
            retry: want.retry,
            before: running,
            journal,
            impact: plan.impact(),
            measured: None,
            complaints: Vec::new(),
            cut: None,
            dwell_until: now + dwell,
            until: now + window.saturating_sub(WAY_BACK),
            good: 0,
            lost_since: None,
            last: None,
        };
        State::Measuring { plan, flight: Box::new(flight) }
    }
}

fn is_over_budget(held: &ChangeStatus) -> bool {
    matches!(held, ChangeStatus::AwaitingApproval { hold: Hold { why: Why::OverBudget(_), .. }, .. })
}
