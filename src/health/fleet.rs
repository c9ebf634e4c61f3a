//! Many switches at once, from what each of them says: who is well, who disagrees, who is silent. Pure.
//!
//! Works on statuses alone, so it must know what they are worth. A switch that has died keeps its last good words: whoever has
//! not been heard of lately is *stale*, his words are shown as such and never counted. A healthy Service address that a
//! switch had no room to list is *not listed*, which is neither there nor gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::health::Word;
use crate::net::Prefix;

pub mod drain;
pub mod explain;
pub mod gap;
mod seen;
#[cfg(test)]
mod tests;
mod vip;

pub use seen::{
    ConditionSeen, DepartureSeen, DifferenceSeen, DriftSeen, HopSeen, PausedSeen, PlanSeen, ResourceSeen,
    Said, SwitchSeen, VipSeen,
};
pub use vip::{View, VipRow, What};

use vip::view;

/// An agent writes every 5 to 6 minutes; one that was not heard of for so long is silent.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// A clock that goes ahead by more would hide its own silence.
const AHEAD: i64 = 60;

/// What Kubernetes knows of a Node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeSeen {
    /// Its condition Ready is Unknown: kubelet is not heard of.
    pub lost: bool,
    /// Labelled `node.kubernetes.io/exclude-from-external-load-balancers`: it announces nothing.
    pub excluded: bool,
    /// Its condition `NetworkUnavailable` is True: it announces nothing.
    pub network_unavailable: bool,
}

/// All that was read.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The Switches.
    pub switches: Vec<SwitchSeen>,
    /// The Nodes by name; why not, if they could not be read.
    pub nodes: Result<BTreeMap<String, NodeSeen>, String>,
    /// When.
    pub now: Timestamp,
    /// How old an agent's word may be.
    pub patience: Duration,
}

/// What a switch's word is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voice {
    /// It was heard of lately.
    Heard,
    /// It was not, or is not to be believed; why.
    Stale(String),
}

impl Fleet {
    /// What the word of `switch` is worth.
    pub fn voice(&self, switch: &SwitchSeen) -> Voice {
        let said = match &switch.status {
            Ok(said) => said,
            Err(why) => return Voice::Stale(format!("its status is not understood: {why}")),
        };
        let Some(beat) = said.heartbeat else {
            return Voice::Stale("no agent has spoken yet".to_owned());
        };
        let age = self.now.duration_since(beat).as_secs();
        if age < -AHEAD {
            return Voice::Stale(format!("its clock is {} ahead of ours", span(-age)));
        }
        if age.unsigned_abs() > self.patience.as_secs() && age > 0 {
            return Voice::Stale(format!("its agent was last heard of {} ago", span(age)));
        }
        match self.nodes.as_ref().map(|nodes| nodes.get(&switch.name)) {
            Ok(Some(NodeSeen { lost: true, .. })) => {
                Voice::Stale("its Node is lost (Ready is Unknown)".to_owned())
            }
            Ok(None) => Voice::Stale("there is no Node of this name".to_owned()),
            Ok(Some(NodeSeen { lost: false, .. })) | Err(_) => Voice::Heard,
        }
    }

    /// What the switch says, if that is worth anything.
    fn heard<'a>(&self, switch: &'a SwitchSeen) -> Result<&'a Said, String> {
        match (self.voice(switch), &switch.status) {
            (Voice::Stale(why), _) => Err(why),
            (Voice::Heard, Ok(said)) => Ok(said),
            (Voice::Heard, Err(why)) => Err(why.clone()),
        }
    }

    /// The table, and the verdict on all.
    pub fn overview(&self) -> Overview {
        let switches: Vec<Row> = self.switches.iter().map(|switch| self.row(switch)).collect();
        let vips = self.disagreements();
        let worst = |health: Health| switches.iter().any(|row| row.health == health);
        let verdict = if worst(Health::Degraded) || vips.iter().any(VipRow::differs) {
            Word::Differs
        } else if switches.iter().all(|row| row.health == Health::Retired)
            || worst(Health::Unknown)
            || worst(Health::Stale)
        {
            Word::Unknown
        } else {
            Word::Ok
        };
        let note = self.nodes.as_ref().err().map(|why| format!("Nodes could not be read: {why}"));
        Overview { verdict, switches, vips, note }
    }

    fn row(&self, switch: &SwitchSeen) -> Row {
        let said = switch.status.clone().unwrap_or_default();
        let condition = |kind: &str| said.condition(kind).map(|c| (c.status.clone(), c.reason.clone()));
        let word = |found: &Option<(String, String)>| match found {
            None => "-".to_owned(),
            Some((status, reason)) => format!("{status}/{reason}"),
        };
        let (applied, verified) = (condition("Applied"), condition("Verified"));
        let (voice, remark) = match self.voice(switch) {
            Voice::Heard => (true, None),
            Voice::Stale(why) => (false, Some(why)),
        };
        let has =
            |status: &str| [&applied, &verified].into_iter().flatten().any(|(found, _)| found == status);
        let health = if !voice {
            Health::Stale
        } else if switch.is_retired() {
            Health::Retired
        } else if has("False") {
            Health::Degraded
        } else if has("Unknown") || said.verdict == Some(Word::Unknown) || applied.is_none() {
            Health::Unknown
        } else {
            Health::Ok
        };
        Row {
            switch: switch.name.clone(),
            nos: switch.nos.clone(),
            health,
            revision: said.applied_revision.clone(),
            applied: word(&applied),
            verified: word(&verified),
            vips: said.vips_ok.clone(),
            plan: said.plan.as_ref().map(|plan| plan.class.clone()),
            heartbeat: said.heartbeat,
            remarks: remark.into_iter().chain(remarks(switch, &said)).collect(),
        }
    }

    /// Service addresses about which the switches do not say the same, or about which some say that they fail.
    fn disagreements(&self) -> Vec<VipRow> {
        let prefixes: BTreeSet<Prefix> = self
            .switches
            .iter()
            .filter_map(|switch| switch.status.as_ref().ok())
            .flat_map(|said| said.vips.iter().map(|vip| vip.prefix))
            .collect();
        let mut rows: Vec<VipRow> =
            prefixes.into_iter().map(|prefix| self.vip(prefix)).filter(VipRow::is_worth_seeing).collect();
        rows.sort_by_key(|row| !row.differs());
        rows
    }

    /// What all switches say about one Service address.
    pub fn vip(&self, prefix: Prefix) -> VipRow {
        let mut services = BTreeSet::new();
        let views = self
            .switches
            .iter()
            .filter(|switch| !switch.is_retired())
            .map(|switch| {
                let view = match self.heard(switch) {
                    Err(why) => View { what: What::Stale, why: Some(why), hops: Vec::new() },
                    Ok(said) => {
                        let found = said.vip(prefix);
                        services.extend(found.iter().flat_map(|vip| vip.services.iter().cloned()));
                        view(said, found)
                    }
                };
                (switch.name.clone(), view)
            })
            .collect();
        VipRow { prefix, services: services.into_iter().collect(), views }
    }
}

/// What a person should know of a switch beside its conditions.
fn remarks(switch: &SwitchSeen, said: &Said) -> Vec<String> {
    let mut remarks = Vec::new();
    if switch.policy != "Enforce" && !switch.policy.is_empty() {
        remarks.push(format!("policy {}", switch.policy));
    }
    if let Some(PausedSeen { by, until, reason }) = &said.paused {
        let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let until = until.map(|until| format!(" until {}", seconds(until))).unwrap_or_default();
        remarks.push(format!("paused{by}{until}: {reason}"));
    }
    if said.observed_generation.is_some_and(|seen| seen >= 0 && seen < switch.generation) {
        remarks.push(format!("generation {} is not seen yet", switch.generation));
    }
    if let Some(ready) = said.condition("Ready").filter(|ready| ready.status != "True") {
        remarks.push(format!("{}: {}", ready.reason, ready.message));
    }
    if let Some(drift) = &said.drift
        && drift.fate != "PutBack"
    {
        remarks.push(format!("drift since {}", drift.since.map_or("?".to_owned(), seconds)));
    }
    if said.capabilities.get("policy").is_some_and(|standing| standing == "absent") {
        remarks.push("the admission policy is not in force".to_owned());
    }
    if said.capabilities.get("guard").is_some_and(|form| form == "none") {
        remarks.push("no guard".to_owned());
    }
    remarks
}

/// `status`: all switches.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// Of all.
    pub verdict: Word,
    /// One row each.
    pub switches: Vec<Row>,
    /// Service addresses about which they disagree.
    pub vips: Vec<VipRow>,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One switch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its name.
    pub switch: String,
    /// Its NOS.
    pub nos: String,
    /// In one word.
    pub health: Health,
    /// What runs.
    pub revision: Option<String>,
    /// Status and reason.
    pub applied: String,
    /// Status and reason.
    pub verified: String,
    /// `3/4`.
    pub vips: Option<String>,
    /// The most that a plan which waits would do.
    pub plan: Option<String>,
    /// When its agent wrote last.
    pub heartbeat: Option<Timestamp>,
    /// What else is worth knowing.
    pub remarks: Vec<String>,
}

/// A switch in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All is well.
    Ok,
    /// Something is wrong.
    Degraded,
    /// It could not look.
    Unknown,
    /// It was not heard of lately: whatever it said last is not known to be true.
    Stale,
    /// Nothing of switchlet is left on it, as Git wants it: nobody looks after it.
    Retired,
}

/// `42 s`, `7 min`, `3 h`, `2 d`.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A time as Kubernetes writes it.
pub fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
