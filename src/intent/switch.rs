//! The `Switch` object, as far as the agent obeys it. The full grammar is the CRD in `manifests/`.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::consent::Budget;
use crate::change::{ApplyPolicy, DriftPolicy};
use crate::intent::settings::Span;
use crate::intent::snapshot::objects::Meta;

/// A `Switch`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SwitchObject {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: SwitchSpec,
}

/// `spec` of a Switch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SwitchSpec {
    /// `frr`, `srlinux`, `cumulus` or `sonic`.
    pub nos: Option<String>,
    /// The ConfigMaps with its texts.
    pub config_maps: Vec<ConfigMapRef>,
    /// How changes are applied.
    pub apply: Apply,
    /// Hash of the plan that may be carried out although it needs approval.
    pub approved_plan: Option<String>,
    /// What a change may disturb without approval.
    pub budget: BudgetSpec,
    /// How many switches change at the same time.
    pub rollout: Rollout,
}

/// `spec.budget`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetSpec {
    /// Live sessions that a change may end.
    pub session_resets: u32,
    /// BGP instances that a change may take away.
    pub instance_deletes: u32,
    /// From then on the numbers are zero again; without it they hold always.
    pub until: Option<Timestamp>,
}

impl BudgetSpec {
    /// What holds at `now`.
    pub fn at(self, now: Timestamp) -> Budget {
        let Self { session_resets, instance_deletes, until } = self;
        match until {
            Some(until) if now >= until => Budget::default(),
            _ => Budget { session_resets, instance_deletes },
        }
    }
}

/// `spec.rollout`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Switches of one group take turns.
    pub group: String,
    /// So many of them may be in the middle of a change; the smallest number of a group counts.
    pub max_unavailable: u32,
    /// A higher number frees the slot that a failed change of this switch keeps.
    pub release: u64,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { group: "default".to_owned(), max_unavailable: 1, release: 0 }
    }
}

/// One ConfigMap of the Switch's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ConfigMapRef {
    /// Its name.
    pub name: String,
}

/// `spec.apply`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Apply {
    /// Whether configuration may be written.
    pub policy: PolicyWord,
    /// What to do about drift.
    pub drift: DriftWord,
    /// A new number releases a held candidate.
    pub retry: u64,
    /// A change that was not confirmed by then is undone; longer where its effect takes longer to show.
    pub confirm_timeout: ConfirmTimeout,
}

/// `spec.apply.confirmTimeout`, as `60s`; from 15 s to 1 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfirmTimeout(pub Span);

impl Default for ConfirmTimeout {
    fn default() -> Self {
        Self(Span(Duration::from_secs(60)))
    }
}

impl ConfirmTimeout {
    /// Within its limits, whatever was written.
    pub fn get(self) -> Duration {
        self.0.0.clamp(Duration::from_secs(15), Duration::from_secs(3600))
    }
}

/// `spec.apply.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PolicyWord {
    /// Write.
    #[default]
    Enforce,
    /// Only plan.
    PlanOnly,
    /// Write nothing.
    Paused,
    /// Take away what is ours.
    Retired,
}

/// `spec.apply.drift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DriftWord {
    /// Put it back.
    #[default]
    Revert,
    /// Only say so.
    Report,
}

impl From<PolicyWord> for ApplyPolicy {
    fn from(word: PolicyWord) -> Self {
        match word {
            PolicyWord::Enforce => Self::Enforce,
            PolicyWord::PlanOnly => Self::PlanOnly,
            PolicyWord::Paused => Self::Paused,
            PolicyWord::Retired => Self::Retired,
        }
    }
}

impl From<DriftWord> for DriftPolicy {
    fn from(word: DriftWord) -> Self {
        match word {
            DriftWord::Revert => Self::Revert,
            DriftWord::Report => Self::Report,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_with_its_night() {
        let text = "configMaps: [{name: a}]\nbudget: {sessionResets: 3, instanceDeletes: 1, until: 2026-11-22T05:00:00+01:00}";
        let spec: SwitchSpec = serde_yaml::from_str(text).unwrap();
        let at = |time: &str| spec.budget.at(time.parse().unwrap());
        assert_eq!(at("2026-11-22T03:59:59Z"), Budget { session_resets: 3, instance_deletes: 1 });
        assert_eq!(at("2026-11-22T04:00:00Z"), Budget::default());
        let always: SwitchSpec = serde_yaml::from_str("budget: {sessionResets: 3}").unwrap();
        assert_eq!(always.budget.at(Timestamp::MAX), Budget { session_resets: 3, instance_deletes: 0 });
        let none: SwitchSpec = serde_yaml::from_str("configMaps: []").unwrap();
        assert_eq!(none.budget.at(Timestamp::MIN), Budget::default());
    }
}
