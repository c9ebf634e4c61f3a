//! The `Switch` object, as far as the agent obeys it. The full grammar is the CRD in `manifests/`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
