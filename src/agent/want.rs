//! From what is desired to what the machine is told: through the validator, and with the word of the Switch.

use jiff::Timestamp;

use super::Agent;
use super::validate::Answer;
use crate::change::consent::{Approver, Consent};
use crate::change::diff::Candidate;
use crate::change::{ApplyPolicy, ChangeStatus, Dialect, Target, Want};
use crate::fib::FibReader;
use crate::nos::NosDriver;
use crate::rib::RibReader;

impl<D: Dialect, N: NosDriver, F: FibReader, R: RibReader> Agent<D, N, F, R> {
    /// Tells the machine what is desired, as soon as the NOS's own parser has taken it; until then the bundle in force is
    /// kept up. A retired switch needs no text.
    pub(super) fn want(&mut self, now: Timestamp) {
        self.parts.driver.set_secrets(self.desired.secrets.clone());
        if self.policy() == ApplyPolicy::Retired {
            self.blocked = None;
            return self.accept(Target::default(), None, now);
        }
        // Inputs that are gone, or wrong, do not end a change under way: it stays what becomes of it.
        if self.machine.in_flight() && self.desired.problem.is_some() && self.paused().is_none() {
            return;
        }
        let Some(target) = self.desired.target.clone() else {
            // Whatever is kept up without one is not written either while the switch is paused.
            if let (Some(_), Some(kept)) = (self.paused(), self.machine.wanted().cloned()) {
                self.accept(kept, None, now);
            }
            return;
        };
        self.parts.driver.attend(&target.candidate);
        self.remarks = self.machine.dialect().remarks(&target.candidate);
        let canonical = self.canonical(&target.candidate);
        // Asking about another text would end the asking about this one.
        let asking = matches!(canonical, Err(ChangeStatus::InProgress | ChangeStatus::ValidatorTimeout(_)));
        let interim = self.desired.interim.clone().and_then(|interim| {
            let candidate = if asking && !self.validation.knows(&interim.candidate) {
                None
            } else {
                self.canonical(&interim.candidate).ok()
            };
            candidate.map(|candidate| Target { candidate, ..interim })
        });
        if interim.is_some() {
            self.desired.interim.clone_from(&interim);
        }
        match canonical {
            Ok(candidate) => {
                self.blocked = None;
                let target = Target { candidate, ..target };
                self.desired.target = Some(target.clone());
                self.accept(target, interim, now);
            }
            Err(why) => {
                self.blocked = Some(why);
                // What is in force goes on, with the policy of now.
                let last = || self.machine.confirmed().or(self.machine.wanted()).cloned();
                if let Some(kept) = interim.clone().or_else(last) {
                    self.accept(kept, interim, now);
                }
            }
        }
    }

    fn accept(&mut self, target: Target, interim: Option<Target>, now: Timestamp) {
        let switch = self.gathered.as_ref().and_then(|gathered| gathered.switch.as_ref());
        let consent = Consent {
            approver: if switch.is_some() { Approver::Switch } else { Approver::Folder },
            approved: switch.and_then(|switch| switch.spec.approved_plan.clone()),
            proven: self.history.proves(&target, now),
            budget: switch.map(|switch| switch.spec.budget.at(now)).unwrap_or_default(),
        };
        let apply = &self.desired.apply;
        self.machine.want(Want {
            target,
            interim,
            consent,
            policy: self.policy(),
            drift: apply.drift.into(),
            adopt: self.desired.adopt.clone(),
            retry: apply.retry,
            confirm_timeout: apply.confirm_timeout.get(),
        });
    }

    /// Who has paused this switch, until when, and why.
    pub(super) fn paused(&self) -> Option<String> {
        self.parts.pause.standing().words()
    }

    /// What may be written: the Switch's word, unless somebody at the switch has paused it.
    fn policy(&self) -> ApplyPolicy {
        if self.paused().is_some() { ApplyPolicy::Paused } else { self.desired.apply.policy.into() }
    }

    /// The canonical form of a text, or why there is none now.
    fn canonical(&mut self, candidate: &Candidate) -> Result<Candidate, ChangeStatus> {
        let driver = &self.parts.driver;
        match self.validation.ask(candidate, || driver.validator()) {
            Answer::Checked(checked) => {
                let canonical = self.machine.dialect().canonical(candidate, &checked);
                let canonical = canonical.map_err(ChangeStatus::Refused)?;
                // Its own canonical form is itself.
                self.validation.knows_too(&canonical, checked);
                Ok(canonical)
            }
            Answer::Unavailable(_) if candidate.literal.is_empty() => Ok(candidate.clone()),
            Answer::Unavailable(why) => Err(ChangeStatus::ValidatorUnavailable(format!(
                "a literal text can be compared with what runs only in the NOS's own spelling, and there is no \
                 validator here: {why}"
            ))),
            Answer::Late(why) => Err(ChangeStatus::ValidatorTimeout(why)),
            Answer::Pending => Err(ChangeStatus::InProgress),
        }
    }

    /// How the desired change stands.
    pub(super) fn change(&self) -> &ChangeStatus {
        self.blocked.as_ref().unwrap_or(self.machine.status())
    }
}
