//! From a pass's results to what Node and Switch say.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::agent::desired::Desired;
use crate::change::diff::Plan;
use crate::change::drift::{Departure, Drift, Fate};
use crate::change::pause::{Pause, Standing};
use crate::change::{ApplyPolicy, ChangeStatus};
use crate::cluster::OwnNode;
use crate::cluster::report::{NodeReport, Stamped, seconds};
use crate::health::chronicle::Chronicle;
use crate::health::clock::Judgement;
use crate::health::condition::{self, CONFIG_APPLIED, Condition, FIB_SYNCED, Reason, Status};
use crate::health::spread;
use crate::health::{State, Verdict, VipVerdict, Word};
use crate::intent::snapshot::Issue;
use crate::intent::switch::SwitchObject;
use crate::net::{NextHop, Shared};

#[cfg(test)]
mod tests;

/// Conditions of an earlier life stand for this long after a start, or until the first verdict.
pub const GRACE: Duration = Duration::from_secs(60);
/// If they are younger than this.
const YOUNG: i64 = 600;
/// The label improves after this long without anything worse.
const IMPROVE: Duration = Duration::from_secs(60);
/// Bounds of `Switch.status.vips`.
const MOST_VIPS: usize = 200;
const MOST_BYTES: usize = 256 << 10;
/// Lines of a plan that are shown.
const MOST_LINES: usize = 200;
/// Characters of a line that are shown.
const LONGEST_LINE: usize = 500;
/// Bounds of `Switch.status.drift.differences`.
const MOST_DEPARTURES: usize = 50;
/// Bounds of `Switch.status.failedResources`.
const MOST_ISSUES: usize = 100;

/// The result of one pass.
pub struct Outcome<'a> {
    /// When.
    pub now: Timestamp,
    /// What is desired.
    pub desired: &'a Desired,
    /// How the change stands.
    pub change: &'a ChangeStatus,
    /// What would be changed.
    pub plan: &'a Plan,
    /// What may be changed, by the Switch's word.
    pub policy: ApplyPolicy,
    /// Whether somebody at the switch has paused it.
    pub pause: &'a Standing,
    /// The drift that was seen last; with a time to come where it is put back later.
    pub drift: Option<(&'a Drift, Option<Timestamp>)>,
    /// The revision that runs.
    pub in_force: Option<&'a str>,
    /// How the NOS is spoken to.
    pub hand: &'static str,
    /// What forwards, as far as it can be read.
    pub fib: &'static str,
    /// What reads candidates before they are applied: `frr` or `rules`.
    pub validator: &'static str,
    /// Who goes back if the agent does not: `host`, `pod` or `none`.
    pub guard: &'a str,
    /// Whether the admission policy for agents is in force: `enforced`, `absent` or `unknown`.
    pub admission: &'static str,
    /// What the look found; `None` if nothing can be judged yet.
    pub judged: Option<Result<&'a Judgement, &'a str>>,
    /// Words of an earlier life may still stand.
    pub grace: bool,
    /// Our Switch.
    pub switch: Option<&'a SwitchObject>,
    /// The verdict.
    pub verdict: &'a Verdict,
}

/// Remembers what was said.
#[derive(Debug, Default)]
pub struct Speaker {
    conditions: BTreeMap<&'static str, Stamped>,
    /// How the configuration stands, work under way included.
    applied: Option<Condition>,
    health: Option<(&'static str, Timestamp)>,
    /// A better label than the shown one, since when.
    better: Option<Timestamp>,
    /// UID and generation of the Switch for which Ready was reached.
    ready: Option<(String, i64)>,
    /// Times of the Switch's own conditions.
    switch_since: BTreeMap<&'static str, (String, Timestamp)>,
    /// The drift that is shown, since when, and until when it is waited for.
    drift: Option<(Drift, Timestamp, Option<Timestamp>)>,
    next_hops: BTreeMap<String, (usize, Timestamp)>,
    /// How the last changes ended.
    chronicle: Chronicle,
}

impl Speaker {
    /// A speaker that has said nothing yet; `ready` is the generation that an earlier life was done with, `chronicle` what it
    /// has to tell.
    pub fn new(ready: Option<(String, i64)>, chronicle: Chronicle) -> Self {
        Self { ready, chronicle, ..Self::default() }
    }

    /// How the last changes ended.
    pub fn chronicle(&self) -> &Chronicle {
        &self.chronicle
    }

    /// The generation that is done with.
    pub fn ready(&self) -> Option<&(String, i64)> {
        self.ready.as_ref()
    }

    /// Takes over what the Node says since an earlier life, if it is young enough to stand.
    pub fn adopt(&mut self, node: &OwnNode, now: Timestamp) {
        for kind in [CONFIG_APPLIED, FIB_SYNCED] {
            let Some(there) = node.conditions.get(kind) else { continue };
            let time = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
                time.as_ref().map(|t| t.0)
            };
            let (Some(beat), Some(since)) =
                (time(&there.last_heartbeat_time), time(&there.last_transition_time))
            else {
                continue;
            };
            let status = match there.status.as_str() {
                "True" => Status::True,
                "False" => Status::False,
                _ => Status::Unknown,
            };
            let reason: Option<Reason> =
                there.reason.clone().and_then(|r| serde_json::from_value(Value::String(r)).ok());
            if let (Some(reason), true) = (reason, now.duration_since(beat).as_secs() < YOUNG) {
                let condition = Condition::new(status, reason, there.message.clone().unwrap_or_default());
                self.conditions.insert(kind, Stamped { condition, since });
            }
        }
        self.health = match node.health.as_deref() {
            Some("ok") => Some(("ok", now)),
            Some("degraded") => Some(("degraded", now)),
            Some("unknown") => Some(("unknown", now)),
            _ => None,
        };
    }

    /// What is said now, or was by an earlier life.
    pub fn conditions(&self) -> &BTreeMap<&'static str, Stamped> {
        &self.conditions
    }

    /// Both conditions stand from an earlier life: nothing needs to be said before the first verdict.
    pub fn stands(&self) -> bool {
        self.conditions.len() == 2 && self.health.is_some()
    }

    /// What the Node says after this pass.
    pub fn node(&mut self, outcome: &Outcome<'_>) -> NodeReport {
        let input = match &outcome.desired.problem {
            Some(problem) => Err(problem),
            None => Ok(outcome.desired.revision.as_deref().unwrap_or_default()),
        };
        let mut applied = condition::config_applied(input, outcome.change);
        if applied.status == Status::True {
            applied.message.push_str(&to_mend(&outcome.verdict.issues));
        }
        if let Some(words) = outcome.pause.words() {
            applied = condition::paused(applied, &words);
        }
        let revision = if input.is_ok() { outcome.desired.revision.as_ref() } else { None };
        let revision = revision.unwrap_or(&outcome.desired.wanted);
        self.chronicle.note(outcome.now, revision, &applied, outcome.plan);
        self.applied = Some(applied.clone());
        // Work under way is no fault: what was said stands until it is known how it ends.
        let known = self.conditions.get(CONFIG_APPLIED).map(|stamped| stamped.condition.clone());
        let on_its_way = matches!(applied.reason, Reason::InProgress | Reason::AwaitingSlot);
        let applied = known.filter(|_| on_its_way).unwrap_or(applied);
        self.stamp(CONFIG_APPLIED, applied, outcome.now);
        let before = self.conditions.get(FIB_SYNCED).map(|stamped| stamped.condition.clone());
        let synced = match outcome.judged {
            Some(judged) => condition::fib_synced(judged, before.as_ref()),
            None => before.filter(|_| outcome.grace).unwrap_or_else(|| {
                let message = "nothing can be judged yet: no settings in force";
                Condition::new(Status::Unknown, Reason::Starting, message)
            }),
        };
        self.stamp(FIB_SYNCED, synced, outcome.now);
        if *outcome.change == ChangeStatus::Retired {
            return NodeReport { conditions: BTreeMap::new(), health: None };
        }
        // A start is no change for the worse: a label that has never been there waits for something to say.
        let starting = |stamped: &Stamped| {
            matches!(stamped.condition.reason, Reason::Starting | Reason::InProgress | Reason::AwaitingSlot)
        };
        if self.health.is_none() && self.conditions.get(CONFIG_APPLIED).is_some_and(starting) {
            return NodeReport { conditions: self.conditions.clone(), health: None };
        }
        let wanted = condition::label(self.conditions.values().map(|stamped| &stamped.condition));
        NodeReport { conditions: self.conditions.clone(), health: Some(self.label(wanted, outcome.now)) }
    }

    fn stamp(&mut self, kind: &'static str, condition: Condition, now: Timestamp) {
        let since = match self.conditions.get(kind) {
            Some(before) if before.condition.status == condition.status => before.since,
            _ => now,
        };
        self.conditions.insert(kind, Stamped { condition, since });
    }

    /// The label worsens at once and improves after a minute.
    fn label(&mut self, wanted: &'static str, now: Timestamp) -> &'static str {
        let rank = |label: &str| match label {
            "ok" => 0,
            "unknown" => 1,
            _ => 2,
        };
        let shown = match self.health {
            Some((shown, _)) if rank(wanted) < rank(shown) => {
                let since = *self.better.get_or_insert(now);
                if Duration::try_from(now.duration_since(since)).unwrap_or_default() < IMPROVE {
                    shown
                } else {
                    wanted
                }
            }
            _ => wanted,
        };
        if shown == wanted {
            self.better = None;
        }
        self.health = Some((shown, now));
        shown
    }

    /// When the label will improve if nothing else happens.
    pub fn improves_in(&self, now: Timestamp) -> Option<Duration> {
        let since = self.better?;
        let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        Some(IMPROVE.saturating_sub(waited))
    }

    /// The Switch's whole status; `None` without a Switch.
    pub fn switch(&mut self, outcome: &Outcome<'_>) -> Option<Value> {
        let switch = outcome.switch?;
        let generation = switch.metadata.generation.unwrap_or(0);
        let uid = switch.metadata.uid.clone().unwrap_or_default();
        let conditions = self.switch_conditions(outcome, &(uid, generation));
        let (vips, omitted) = bounded(&outcome.verdict.vips);
        let plan = outcome.plan;
        let issues: Vec<&Issue> = worth_seeing(&outcome.verdict.issues).take(MOST_ISSUES).collect();
        let applied = outcome.in_force.map(str::to_owned);
        let all = outcome.verdict.vips.len();
        let ok = outcome.verdict.vips.iter().filter(|vip| vip.state == State::Ok).count();
        let mut status = json!({
            "observedGeneration": generation,
            "conditions": conditions,
            "wantedRevision": outcome.desired.wanted,
            "verdict": outcome.verdict.verdict,
            "vipsOk": format!("{ok}/{all}"),
            "vips": vips,
            "omittedVips": omitted,
            "nextHops": self.next_hops(outcome),
            "failedResources": issues,
            "omittedResources": outcome.verdict.issues.len() - issues.len(),
            "capabilities": capabilities(outcome),
            "history": self.chronicle.settled(),
        });
        if let (Value::Object(fields), Some(applied)) = (&mut status, applied) {
            fields.insert("appliedRevision".to_owned(), applied.into());
        }
        if let (Value::Object(fields), Some(paused)) = (&mut status, paused(outcome.pause)) {
            fields.insert("paused".to_owned(), paused);
        }
        if let (Value::Object(fields), Some(drift)) = (&mut status, self.drift(outcome)) {
            fields.insert("drift".to_owned(), drift);
        }
        if let (Value::Object(fields), Some(hash)) = (&mut status, plan.hash()) {
            let mut lines = plan.lines();
            lines.truncate(MOST_LINES);
            for line in &mut lines {
                if let Some((end, _)) = line.char_indices().nth(LONGEST_LINE) {
                    line.truncate(end);
                }
            }
            fields.insert(
                "plan".to_owned(),
                json!({"hash": hash, "class": plan.impact().class, "lines": lines}),
            );
        }
        Some(status)
    }

    /// The last drift in `Switch.status`; `None` where there was none.
    fn drift(&mut self, outcome: &Outcome<'_>) -> Option<Value> {
        let Some((drift, until)) = outcome.drift else {
            self.drift = None;
            return None;
        };
        let shown = self.drift.take().filter(|(shown, ..)| shown == drift);
        let (drift, since, until) = self.drift.insert(shown.unwrap_or((drift.clone(), outcome.now, until)));
        let Drift { departures, fate } = drift;
        let cut = |line: &Option<String>| line.as_ref().map(|line| line.chars().take(LONGEST_LINE).collect());
        let differences: Vec<Value> = departures
            .iter()
            .take(MOST_DEPARTURES)
            .map(|Departure { path, wanted, found }| {
                let (wanted, found): (Option<String>, Option<String>) = (cut(wanted), cut(found));
                json!({"path": path, "wanted": wanted, "found": found})
            })
            .collect();
        let (fate, why) = match fate {
            Fate::PutBack => ("PutBack", None),
            Fate::Reported => ("Reported", None),
            Fate::Later { at: _, why } => ("Later", Some(why.to_string())),
        };
        let mut value = json!({
            "since": seconds(*since), "fate": fate, "why": why, "until": until.map(seconds),
            "differences": differences, "omitted": departures.len() - differences.len(),
        });
        without_nulls(&mut value);
        Some(value)
    }

    fn switch_conditions(&mut self, outcome: &Outcome<'_>, generation: &(String, i64)) -> Vec<Value> {
        let (Some(applied), Some(verified)) =
            (self.applied.clone(), self.conditions.get(FIB_SYNCED).cloned())
        else {
            return Vec::new();
        };
        let Condition { status, reason, message } = applied;
        // The policy is a wish of this generation too: a plan that may not be applied is all there is to do.
        let settled =
            status == Status::True || (reason == Reason::PlanOnly && outcome.policy != ApplyPolicy::Enforce);
        if settled {
            self.ready = Some(generation.clone());
        }
        let ready = self.ready.as_ref() == Some(generation);
        // Whoever waits for a word is not stuck.
        let waits = matches!(
            reason,
            Reason::ApprovalRequired | Reason::PlanChanged | Reason::MassRemoval | Reason::Paused
        );
        let stalled = !ready && !waits && status == Status::False;
        let word = |yes: bool| if yes { "True" } else { "False" };
        let (ready_reason, ready_message) = if ready && !settled {
            ("Applied".to_owned(), "this generation was applied and confirmed".to_owned())
        } else {
            (format!("{reason:?}"), message.clone())
        };
        let reconciling = !ready && !stalled;
        let own = [
            ("Ready", word(ready), ready_reason.clone(), ready_message.clone()),
            ("Reconciling", word(reconciling), ready_reason.clone(), ready_message.clone()),
            ("Stalled", word(stalled), ready_reason, ready_message),
            ("Applied", status_word(status), format!("{reason:?}"), message),
            (
                "Verified",
                status_word(verified.condition.status),
                format!("{:?}", verified.condition.reason),
                verified.condition.message,
            ),
        ];
        // Nobody looks after the forwarding table of a retired switch.
        let retired = *outcome.change == ChangeStatus::Retired;
        own.into_iter()
            .filter(|(kind, ..)| !(retired && *kind == "Verified"))
            .map(|(kind, status, reason, message)| {
                let entry = self.switch_since.entry(kind).or_insert_with(|| (status.to_owned(), outcome.now));
                if entry.0 != status {
                    *entry = (status.to_owned(), outcome.now);
                }
                json!({
                    "type": kind, "status": status, "reason": reason, "message": message,
                    "observedGeneration": generation.1, "lastTransitionTime": seconds(entry.1),
                })
            })
            .collect()
    }

    /// How many VIPs forward to each next-hop, with zero for peers that get none: never cut, because "may this node be
    /// powered off" is answered from it.
    fn next_hops(&mut self, outcome: &Outcome<'_>) -> Vec<Value> {
        let nodes = &outcome.desired.expectation.node_of;
        let mut counts: BTreeMap<String, (Option<&String>, usize)> =
            nodes.iter().map(|(hop, node)| (hop.to_string(), (Some(node), 0))).collect();
        let mut lists: BTreeMap<usize, (&Shared<Vec<NextHop>>, usize)> = BTreeMap::new();
        for vip in &outcome.verdict.vips {
            lists.entry(vip.observed.place()).or_insert((&vip.observed, 0)).1 += 1;
        }
        for (observed, vips) in lists.into_values() {
            for hop in observed {
                counts.entry(hop.to_string()).or_insert((None, 0)).1 += vips;
            }
        }
        self.next_hops.retain(|hop, _| counts.contains_key(hop));
        counts
            .into_iter()
            .map(|(hop, (node, vips))| {
                let entry = self.next_hops.entry(hop.clone()).or_insert((vips, outcome.now));
                if entry.0 != vips {
                    *entry = (vips, outcome.now);
                }
                let mut value = json!({"nextHop": hop, "vips": vips, "since": seconds(entry.1)});
                if let (Value::Object(fields), Some(node)) = (&mut value, node) {
                    fields.insert("node".to_owned(), node.clone().into());
                }
                value
            })
            .collect()
    }
}

/// Mistakes first: an address that is not ours is none.
fn worth_seeing(issues: &[Issue]) -> impl Iterator<Item = &Issue> {
    let is_mistake = |issue: &&Issue| issue.reason != "NotOurs";
    issues.iter().filter(is_mistake).chain(issues.iter().filter(move |issue| !is_mistake(issue)))
}

/// The first mistake that stops nothing, for the end of a sentence, and how many more there are.
fn to_mend(issues: &[Issue]) -> String {
    let mut mistakes = issues.iter().filter(|issue| issue.reason != "NotOurs");
    let Some(Issue { object, reason, message }) = mistakes.next() else { return String::new() };
    let message: String = message.chars().take(LONGEST_LINE).collect();
    let more = mistakes.count();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("; to mend: {object}: {message} ({reason}){more}")
}

/// A pause in `Switch.status`; `None` where there is none.
fn paused(standing: &Standing) -> Option<Value> {
    match standing {
        Standing::Free => None,
        Standing::Paused(pause) => {
            let Pause { uid: _, user: _, since, until: _, reason } = pause;
            let (since, until) = (seconds(*since), seconds(pause.ends()));
            Some(json!({"by": pause.who(), "since": since, "until": until, "reason": reason}))
        }
        Standing::Unclear(why) => Some(json!({"reason": why})),
    }
}

/// What this switch can do, as far as it was found out.
fn capabilities(outcome: &Outcome<'_>) -> Value {
    let Outcome { hand, fib, validator, guard, admission, .. } = outcome;
    let mut capabilities =
        json!({"hand": hand, "fib": fib, "validator": validator, "guard": guard, "policy": admission});
    let hashing = outcome.judged.and_then(Result::ok).map(|judgement| judgement.hashing).unwrap_or_default();
    for (name, value) in spread::capabilities(&outcome.desired.platform, hashing) {
        capabilities[name] = value.into();
    }
    if let Some(release) = outcome.desired.platform.release {
        capabilities["release"] = release.to_string().into();
    }
    capabilities
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::True => "True",
        Status::False => "False",
        Status::Unknown => "Unknown",
    }
}

/// The worst VIPs that fit, and how many were left out. Absent fields instead of nulls: the API has no nulls.
fn bounded(vips: &[VipVerdict]) -> (Vec<Value>, usize) {
    let mut worst: Vec<&VipVerdict> = vips.iter().collect();
    worst.sort_by_key(|vip| std::cmp::Reverse(vip.state));
    let mut bytes = 0;
    let mut kept = Vec::new();
    for vip in worst.iter().take(MOST_VIPS) {
        let mut value = serde_json::to_value(vip).unwrap_or_default();
        without_nulls(&mut value);
        bytes += value.to_string().len();
        if bytes > MOST_BYTES {
            break;
        }
        kept.push(value);
    }
    let omitted = vips.len() - kept.len();
    (kept, omitted)
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// The verdict of a pass.
pub fn verdict(
    me: &str,
    now: Timestamp,
    desired: &Desired,
    judged: Option<Result<&Judgement, &str>>,
    instance: &str,
) -> Verdict {
    let vips = match judged {
        Some(Ok(judgement)) => judgement.vips.clone(),
        Some(Err(why)) => unreadable(desired, why, instance),
        None => Shared::default(),
    };
    let word = match judged {
        None | Some(Err(_)) => Word::Unknown,
        Some(Ok(_)) => Verdict::word(&vips),
    };
    let seen = judged.and_then(Result::ok).map(|judgement| judgement.issues.clone()).unwrap_or_default();
    Verdict {
        switch: me.to_owned(),
        revision: desired
            .revision_in_force
            .as_ref()
            .or(desired.revision.as_ref())
            .cloned()
            .unwrap_or_default(),
        observed_at: now,
        verdict: word,
        vips,
        issues: desired.expectation.issues.iter().cloned().chain(seen).collect(),
    }
}

/// Every expected VIP, with nothing observed: could not look.
fn unreadable(desired: &Desired, why: &str, instance: &str) -> Shared<Vec<VipVerdict>> {
    let (why, instance): (Shared<String>, Shared<String>) = (why.into(), instance.into());
    desired
        .expectation
        .vips
        .iter()
        .map(|(prefix, vip)| VipVerdict {
            prefix: *prefix,
            network_instance: instance.clone(),
            services: vip.services.iter().cloned().collect(),
            state: State::Unknown,
            rung: Some(crate::health::ladder::Rung::FibUnreadable),
            expected: vip.next_hops.keys().cloned().collect(),
            observed: Shared::default(),
            missing: Vec::new(),
            unexpected: Vec::new(),
            since: None,
            message: why.clone(),
            differences: Vec::new(),
        })
        .collect()
}
