//! How what runs on a switch differs from what shall run, as far as its status tells.

use serde::Serialize;

use super::{DriftSeen, Fleet, PlanSeen, SwitchSeen};
use crate::health::Word;

/// One switch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Its name.
    pub switch: String,
    /// `ok`: what shall run runs; `differs`; `unknown`: it does not tell.
    pub verdict: Word,
    /// What runs.
    pub applied_revision: Option<String>,
    /// What shall run.
    pub wanted_revision: Option<String>,
    /// Status, reason and message of the condition Applied; or why the switch does not tell.
    pub message: String,
    /// What would be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSeen>,
    /// Where running left what was confirmed; a drift that was put back is none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftSeen>,
    /// What somebody has to do, if anything is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Fleet {
    /// Each switch of `names`, or all.
    pub fn gaps(&self, names: &[String]) -> Vec<Gap> {
        let asked = |switch: &&SwitchSeen| names.is_empty() || names.contains(&switch.name);
        self.switches.iter().filter(asked).map(|switch| self.gap(switch)).collect()
    }

    fn gap(&self, switch: &SwitchSeen) -> Gap {
        let gap = |verdict, message| Gap {
            switch: switch.name.clone(),
            verdict,
            applied_revision: None,
            wanted_revision: None,
            message,
            plan: None,
            drift: None,
            remedy: None,
        };
        let said = match self.heard(switch) {
            Ok(said) => said,
            Err(why) => return gap(Word::Unknown, why),
        };
        let drift = said.drift.clone().filter(|drift| drift.fate != "PutBack");
        let late = said.observed_generation.is_none_or(|seen| seen < switch.generation);
        let applied = said.condition("Applied");
        let (verdict, message) = match applied {
            _ if late => {
                (Word::Unknown, format!("generation {} of the Switch is not seen yet", switch.generation))
            }
            None => (Word::Unknown, "the agent has not said anything about it".to_owned()),
            Some(applied) => {
                let text = format!("{}: {}", applied.reason, applied.message);
                let runs = said.applied_revision == said.wanted_revision && drift.is_none();
                let same = switch.is_retired() || runs;
                match applied.status.as_str() {
                    "True" if same => (Word::Ok, text),
                    "True" | "False" => (Word::Differs, text),
                    _ if said.plan.is_some() || !same => (Word::Differs, text),
                    _ => (Word::Unknown, text),
                }
            }
        };
        let plan = said.plan.clone().filter(|_| verdict != Word::Ok);
        let waits = matches!(
            applied.map(|applied| applied.reason.as_str()),
            Some("ApprovalRequired" | "PlanChanged" | "MassRemoval")
        );
        let remedy = plan.as_ref().filter(|_| waits).map(|plan| {
            let hash = &plan.hash;
            match &switch.approved {
                Some(other) if other != hash => {
                    format!("spec.approvedPlan is \"{other}\"; this plan is \"{hash}\"")
                }
                _ => format!("to carry it out set spec.approvedPlan: \"{hash}\""),
            }
        });
        Gap {
            applied_revision: said.applied_revision.clone(),
            wanted_revision: said.wanted_revision.clone(),
            plan,
            drift,
            remedy,
            ..gap(verdict, message)
        }
    }
}
