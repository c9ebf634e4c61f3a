//! A Switch as it is read back: what its agent said, in the words of the CRD. Whatever this release does not know is skipped;
//! what it cannot understand is no status, and never a good one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::health::chronicle::Settled;
use crate::health::{State, Word};
use crate::net::Prefix;

/// One Switch.
#[derive(Debug, Clone, PartialEq)]
pub struct SwitchSeen {
    /// Its name, which is its Node's.
    pub name: String,
    /// Of the spec.
    pub generation: i64,
    /// `spec.nos`.
    pub nos: String,
    /// `spec.apply.policy`.
    pub policy: String,
    /// `spec.approvedPlan`.
    pub approved: Option<String>,
    /// What the agent said; why not, if that is not understood.
    pub status: Result<Said, String>,
}

/// `status` of a Switch.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Said {
    /// Of the spec that it speaks of; absent before anybody has spoken.
    pub observed_generation: Option<i64>,
    /// Ready, Applied, Verified and so on.
    pub conditions: Vec<ConditionSeen>,
    /// What runs.
    pub applied_revision: Option<String>,
    /// What shall run.
    pub wanted_revision: Option<String>,
    /// The last drift.
    pub drift: Option<DriftSeen>,
    /// Somebody at the switch has paused it.
    pub paused: Option<PausedSeen>,
    /// What would be changed.
    pub plan: Option<PlanSeen>,
    /// Of the last look.
    pub verdict: Option<Word>,
    /// `3/4`.
    pub vips_ok: Option<String>,
    /// The worst Service addresses.
    pub vips: Vec<VipSeen>,
    /// As many more are not listed.
    pub omitted_vips: u64,
    /// Every next-hop.
    pub next_hops: Vec<HopSeen>,
    /// Inputs that were skipped.
    pub failed_resources: Vec<ResourceSeen>,
    /// As many more are not listed.
    pub omitted_resources: u64,
    /// What the switch can do.
    pub capabilities: BTreeMap<String, String>,
    /// How the last changes ended, newest first.
    pub history: Vec<Settled>,
    /// When the agent wrote last.
    pub heartbeat: Option<Timestamp>,
}

/// One condition of a Switch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConditionSeen {
    /// Which.
    pub r#type: String,
    /// True, False, Unknown.
    pub status: String,
    /// Why.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Since when.
    pub last_transition_time: Option<Timestamp>,
    /// Of the spec that it speaks of.
    pub observed_generation: Option<i64>,
}

/// `status.drift`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DriftSeen {
    /// Since when.
    pub since: Option<Timestamp>,
    /// `PutBack`, `Reported` or `Later`.
    pub fate: String,
    /// What putting it back waits for.
    pub why: Option<String>,
    /// When it is put back at the latest.
    pub until: Option<Timestamp>,
    /// Where.
    pub differences: Vec<DepartureSeen>,
    /// As many more.
    pub omitted: u64,
}

/// One place where running differs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DepartureSeen {
    /// The blocks around it.
    pub path: String,
    /// What was confirmed.
    pub wanted: Option<String>,
    /// What ran.
    pub found: Option<String>,
}

/// `status.paused`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PausedSeen {
    /// Who.
    pub by: Option<String>,
    /// When it ends.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

/// `status.plan`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanSeen {
    /// For `spec.approvedPlan`.
    pub hash: String,
    /// The most that it does.
    pub class: String,
    /// Line by line.
    pub lines: Vec<String>,
}

/// One Service address.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VipSeen {
    /// The address.
    pub prefix: Prefix,
    /// VRF or ip-vrf.
    #[serde(default)]
    pub network_instance: String,
    /// Who owns it.
    #[serde(default)]
    pub services: Vec<String>,
    /// How it is.
    pub state: State,
    /// Where it fails, or why it is absent.
    #[serde(default)]
    pub rung: Option<String>,
    /// Next-hops that should be.
    #[serde(default)]
    pub expected: Vec<String>,
    /// Next-hops that are.
    #[serde(default)]
    pub observed: Vec<String>,
    /// Since when it differs.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Each difference.
    #[serde(default)]
    pub differences: Vec<DifferenceSeen>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceSeen {
    /// The next-hop.
    pub next_hop: String,
    /// Who is behind it.
    #[serde(default)]
    pub node: Option<String>,
    /// `missing` or `unexpected`.
    pub kind: String,
    /// Where it fails.
    #[serde(default)]
    pub rung: String,
}

/// One next-hop.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HopSeen {
    /// The next-hop.
    pub next_hop: String,
    /// Who is behind it.
    #[serde(default)]
    pub node: Option<String>,
    /// As many Service addresses go there; a status without a number says nothing of it.
    pub vips: u64,
    /// Since when it is that many.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// One input that was skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSeen {
    /// Kind and name.
    pub object: String,
    /// Why.
    pub reason: String,
    /// For people.
    #[serde(default)]
    pub message: String,
}

impl SwitchSeen {
    /// From the object as the API server has it.
    pub fn read(object: &Value) -> Self {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let status = object.get("status").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        Self {
            name: text("/metadata/name").unwrap_or_default(),
            generation: object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0),
            nos: text("/spec/nos").unwrap_or_default(),
            policy: text("/spec/apply/policy").unwrap_or_default(),
            approved: text("/spec/approvedPlan"),
            status: serde_json::from_value(status).map_err(|error| error.to_string()),
        }
    }
}

impl SwitchSeen {
    /// Git has taken it out of service, and its agent has done that.
    pub fn is_retired(&self) -> bool {
        let applied = self.status.as_ref().ok().and_then(|said| said.condition("Applied"));
        applied.is_some_and(|applied| applied.status == "True" && applied.reason == "Retired")
    }
}

impl Said {
    /// One condition.
    pub fn condition(&self, kind: &str) -> Option<&ConditionSeen> {
        self.conditions.iter().find(|condition| condition.r#type == kind)
    }

    /// One Service address.
    pub fn vip(&self, prefix: Prefix) -> Option<&VipSeen> {
        self.vips.iter().find(|vip| vip.prefix == prefix)
    }
}
