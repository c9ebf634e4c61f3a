//! What a pass says, handed to those who write it: reporter, Events, endpoint.
#![expect(clippy::disallowed_methods, reason = "the agent's clock")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Agent;
use super::desired::Desired;
use super::reporter::ToSay;
use super::say::{self, Outcome};
use super::tell::{About, Kind, News, Teller};
use crate::change::drift::{Drift, Fate};
use crate::change::{Dialect, Target};
use crate::cluster::events::{Record, Regarding};
use crate::cluster::policy;
use crate::fib::FibReader;
use crate::health::Word;
use crate::health::clock::Judgement;
use crate::health::condition::{FIB_SYNCED, Status};
use crate::intent::snapshot::Issue;
use crate::intent::switch::SwitchObject;
use crate::nos::NosDriver;
use crate::rib::RibReader;
use crate::telemetry::Published;

/// What is wrong where the agent's token may write more than its own switch's words.
fn unbounded() -> Issue {
    let message = "the API server would have let this agent's token write another Node: apply manifests/policy.yaml, and give \
                   the agent its pod's own token";
    Issue::new("ValidatingAdmissionPolicy switchlet-agent-nodes", "PolicyNotEnforced", message)
}

/// When drift that waits is put back, by the wall clock.
fn put_back_at(drift: &Drift, now: Timestamp) -> Option<Timestamp> {
    let Fate::Later { at, why: _ } = drift.fate else { return None };
    now.checked_add(at.saturating_duration_since(std::time::Instant::now())).ok()
}

impl<D: Dialect, N: NosDriver, F: FibReader, R: RibReader> Agent<D, N, F, R> {
    /// Hands Events to their writer, as far as their objects exist.
    fn tell(&self, news: Vec<News>) {
        let (Some(recorder), Some(gathered)) = (&self.parts.events, &self.gathered) else { return };
        for News { about, kind, reason, action, note, at } in news {
            let regarding = match about {
                About::Node => gathered.node.as_ref().map(|node| Regarding {
                    kind: "Node",
                    namespace: None,
                    name: self.parts.me.clone(),
                    uid: node.uid.clone(),
                }),
                About::Service(name) => {
                    gathered.facts.services.iter().find(|service| service.name == name).map(|service| {
                        Regarding {
                            kind: "Service",
                            uid: service.uid.clone(),
                            namespace: Some(name.namespace),
                            name: name.name,
                        }
                    })
                }
            };
            let kind = match kind {
                Kind::Normal => "Normal",
                Kind::Warning => "Warning",
            };
            if let Some(regarding) = regarding {
                recorder.record(Record { regarding, kind, reason, action, note, at });
            }
        }
    }

    /// The revision that runs, as far as it is known.
    fn in_force(&self) -> Option<&str> {
        let confirmed = self.machine.confirmed()?;
        let runs = |target: &Option<Target>| {
            target.as_ref().is_some_and(|target| target.candidate == confirmed.candidate)
        };
        let Desired { revision, revision_in_force, target, interim, .. } = &self.desired;
        if runs(target) {
            revision.as_deref()
        } else if runs(interim) {
            revision_in_force.as_deref()
        } else {
            None
        }
    }

    /// Tells reporter and endpoint what this pass found.
    pub(super) fn speak(&mut self, judged: Option<&Result<Judgement, String>>, took: Duration) {
        let now = Timestamp::now();
        let judged = judged.map(|judged| judged.as_ref().map_err(String::as_str));
        let instance =
            self.desired.settings.as_ref().map_or("default", |settings| &settings.network_instance);
        let mut verdict = say::verdict(&self.parts.me, now, &self.desired, judged, instance);
        verdict.issues.extend(self.remarks.iter().chain(&self.unsaved).cloned());
        let admission = self.parts.admission.as_ref().map(|standing| standing.borrow().clone());
        if admission == Some(policy::Standing::Absent) {
            verdict.issues.push(unbounded());
        }
        let admission = admission.as_ref().map_or("unknown", policy::Standing::word);
        self.parts.counters.admission(admission);
        self.parts.counters.guarded(self.parts.guarding.form() != "none");
        if judged.is_some() {
            self.parts.counters.looked(&verdict, took, matches!(judged, Some(Ok(_))));
        }
        if verdict.verdict == Word::Ok
            && let Some(since) = self.unsynced.take()
        {
            self.parts.counters.programmed(since.elapsed());
        }
        let gathered = self.gathered.as_ref();
        // Whoever installs agents before Switches waits for this: a Switch that is not there is an answer.
        let ready = judged.is_some() || (gathered.is_some() && self.desired.problem.is_some());
        let grace = self.began.elapsed() < say::GRACE;
        let first_words = judged.is_some() || self.desired.problem.is_some() || !grace;
        let mut to_say =
            ToSay { observed: gathered.and_then(|gathered| gathered.node.clone()), ..ToSay::default() };
        // Words of an earlier life stand until there is something better to say.
        if first_words || (gathered.is_some() && !self.speaker.stands()) {
            let in_force = self.in_force().map(str::to_owned);
            let switch: Option<&SwitchObject> = gathered.and_then(|gathered| gathered.switch.as_ref());
            let outcome = Outcome {
                now,
                desired: &self.desired,
                change: self.blocked.as_ref().unwrap_or(self.machine.status()),
                hand: self.parts.driver.hand(),
                fib: F::NAME,
                validator: self.validation.by(),
                guard: self.parts.guarding.form(),
                admission,
                plan: self.machine.plan(),
                policy: self.desired.apply.policy.into(),
                pause: self.parts.pause.standing(),
                drift: self.machine.drift().map(|drift| (drift, put_back_at(drift, now))),
                in_force: in_force.as_deref(),
                judged,
                grace,
                switch,
                verdict: &verdict,
            };
            let before = self.speaker.conditions().clone();
            let report = self.speaker.node(&outcome);
            let mut news = Teller::conditions(&before, &report.conditions, now);
            if matches!(judged, Some(Ok(_))) {
                let stood = before.get(FIB_SYNCED).is_some_and(|s| s.condition.status == Status::False);
                news.extend(self.teller.vips(&self.parts.me, &verdict.vips, stood, now));
            }
            let issues = self.teller.issues(&verdict.issues, now);
            for issue in &issues {
                tracing::warn!(reason = issue.reason, "to mend: {}", issue.note);
            }
            news.extend(issues);
            self.tell(news);
            let words = report.conditions.iter().map(|(kind, s)| {
                (*kind, s.condition.status.to_string(), format!("{:?}", s.condition.reason))
            });
            self.parts.counters.said(words);
            to_say.node = Some(report);
            let uid = switch.and_then(|switch| switch.metadata.uid.clone());
            to_say.switch = uid.zip(self.speaker.switch(&outcome));
        }
        self.parts.say.send_replace(Arc::new(to_say));
        self.parts.published.send_replace(Published {
            passed: Instant::now(),
            ready,
            waiting: if gathered.is_some() {
                "no settings in force".to_owned()
            } else {
                self.complained.clone()
            },
            verdict: (gathered.is_some() || self.stale).then(|| Arc::new(verdict)),
        });
    }
}
