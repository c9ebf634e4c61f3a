//! The last changes of a switch, as they ended: what an on-call person asks first. Bounded, and never more than what the
//! conditions have said: a change under way is none yet, and one that waits for somebody is none either.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::diff::Plan;
use crate::change::impact::Class;
use crate::health::condition::{Condition, Reason, Status};

#[cfg(test)]
mod tests;

/// As many are kept.
pub const MOST: usize = 10;
/// Characters of a message that are kept; the condition has the whole of the last one.
const LONGEST: usize = 300;

/// One change that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// When.
    pub at: Timestamp,
    /// Of which input.
    pub revision: String,
    /// How.
    pub result: End,
    /// Why, from the closed list of the conditions.
    pub reason: String,
    /// The most that its plan does; absent where nothing was to be sent, or it never came to a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Its plan's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// For people, cut.
    #[serde(default)]
    pub message: String,
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It runs, confirmed.
    Applied,
    /// It was refused, or undone.
    Failed,
}

/// The last changes, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chronicle {
    settled: Vec<Settled>,
    /// The plan that was seen last, and of which revision.
    #[serde(skip)]
    planned: Option<(String, String, Class)>,
    /// It is being carried out.
    #[serde(skip)]
    under_way: bool,
}

impl Chronicle {
    /// The changes, newest first.
    pub fn settled(&self) -> &[Settled] {
        &self.settled
    }

    /// What the condition of the configuration says of `revision` after a pass, and the plan that stands.
    pub fn note(&mut self, at: Timestamp, revision: &str, condition: &Condition, plan: &Plan) {
        if let Some(hash) = plan.hash() {
            self.planned = Some((revision.to_owned(), hash, plan.impact().class));
            self.under_way |= condition.reason == Reason::InProgress;
        }
        let Some(result) = end(condition) else { return };
        let repeated = self.settled.first().is_some_and(|last| {
            last.revision == revision && last.reason == format!("{:?}", condition.reason)
        });
        let under_way = std::mem::take(&mut self.under_way);
        let planned = self.planned.take().filter(|(of, ..)| of == revision);
        if repeated && !under_way {
            return;
        }
        let (plan, class) = planned.map(|(_, hash, class)| (hash, class.name().to_owned())).unzip();
        let settled = Settled {
            at,
            revision: revision.to_owned(),
            result,
            reason: format!("{:?}", condition.reason),
            class,
            plan,
            message: condition.message.chars().take(LONGEST).collect(),
        };
        self.settled.insert(0, settled);
        self.settled.truncate(MOST);
    }
}

/// How the change that a condition speaks of has ended; `None` if it has not.
fn end(condition: &Condition) -> Option<End> {
    match (condition.status, condition.reason) {
        (Status::True, _) => Some(End::Applied),
        // Somebody has to decide, or to stop; or nobody has asked for it.
        (
            _,
            Reason::ApprovalRequired
            | Reason::PlanChanged
            | Reason::MassRemoval
            | Reason::Paused
            | Reason::PlanOnly
            | Reason::Drifted,
        ) => None,
        (Status::False, _) => Some(End::Failed),
        (Status::Unknown, _) => None,
    }
}
