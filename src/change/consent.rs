//! Whether a change may be made without asking: the rule, and the memory that it needs.
//!
//! What the cluster causes is routine, and so is putting back what somebody else changed. What Git causes may end as many
//! live sessions, and take away as many instances, as the budget says: none, if it says nothing. For more, and for a line
//! that no rule knows, it needs somebody's word, unless it goes back to what was in force a day ago at most: a revert at
//! night must not wait. Many neighbours at once are never routine, whatever the reason: an empty list and a restored API
//! look just like nodes that have left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::change::Target;
use crate::change::diff::Plan;
use crate::change::impact::{Class, Sessions};
use crate::intent::nexthops::Peers;
use crate::net::NextHop;

#[cfg(test)]
mod tests;

/// How long a text that was in force needs no new approval.
pub const PROVEN: SignedDuration = SignedDuration::from_hours(24);

/// What is known about the word of the one who may approve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consent {
    /// Who that is.
    pub approver: Approver,
    /// `spec.approvedPlan`: the hash of the plan that may be carried out.
    pub approved: Option<String>,
    /// Whether the wanted text has been in force lately.
    pub proven: Proven,
    /// What may be disturbed without a word.
    pub budget: Budget,
}

/// `spec.budget` as it holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Live sessions that a change may end.
    pub session_resets: u32,
    /// BGP instances that a change may take away.
    pub instance_deletes: u32,
}

/// Who may approve a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Approver {
    /// Nobody: there is no Switch, and who writes the folder is at the switch.
    #[default]
    Folder,
    /// The Switch, that is, Git.
    Switch,
}

/// Whether a text has been in force within the last 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proven {
    /// No.
    #[default]
    No,
    /// Its bundle was, perhaps with other neighbours.
    Bundle,
    /// This very text was.
    Text,
}

/// A plan that waits for approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub why: Why,
    /// Another plan that is approved: what would be done has changed since.
    pub approved: Option<String>,
}

/// Why a plan waits for approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is the first change on this switch, and does more than add.
    FirstContact(Class),
    /// It removes many neighbours at once.
    MassRemoval,
    /// It ends more live sessions, or takes away more instances, than the budget allows.
    OverBudget(Box<Excess>),
    /// No rule knows what these lines do; none are named where the NOS does not tell.
    Unknown(BTreeSet<String>),
}

/// What a plan would disturb, and what it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// Live sessions that would end.
    pub sessions: Sessions,
    /// Instances that would go.
    pub instances: BTreeSet<String>,
    /// What is allowed.
    pub budget: Budget,
}

impl Hold {
    /// CamelCase, for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self { approved: Some(_), .. } => "PlanChanged",
            Self { why: Why::MassRemoval, .. } => "MassRemoval",
            Self { why: Why::FirstContact(_) | Why::OverBudget(_) | Why::Unknown(_), .. } => {
                "ApprovalRequired"
            }
        }
    }
}

impl fmt::Display for Hold {
    /// Goes on after "the plan".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::FirstContact(class) => {
                write!(f, "is the first on this switch, and does more than add ({})", class.name())?;
            }
            Why::MassRemoval => f.write_str("removes many neighbours at once")?,
            Why::OverBudget(excess) => {
                let Excess { sessions, instances, budget } = &**excess;
                let Budget { session_resets, instance_deletes } = budget;
                let over = u32::try_from(instances.len()).is_ok_and(|count| count > *instance_deletes);
                if over {
                    let names: Vec<&str> = instances.iter().map(String::as_str).collect();
                    write!(f, "would delete {}, budget {instance_deletes}", names.join(", "))?;
                }
                if sessions.exceed(*session_resets) {
                    let and = if over { ", and " } else { "" };
                    write!(f, "{and}would reset {sessions}, budget {session_resets}")?;
                }
            }
            Why::Unknown(lines) => {
                f.write_str("has lines whose effect no rule knows")?;
                if let Some(first) = lines.first() {
                    let more = lines.len() - 1;
                    write!(f, ": `{first}`")?;
                    if more > 0 {
                        write!(f, " and {more} more")?;
                    }
                }
            }
        }
        match &self.approved {
            Some(other) => write!(f, "; approved is plan {other}"),
            None => Ok(()),
        }
    }
}

/// Nodes that peer with the switch before a change, and how many of them lose a neighbour by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCount {
    /// Nodes with a neighbour.
    pub configured: usize,
    /// Of these, those that lose one.
    pub removed: usize,
}

impl PeerCount {
    /// The change from `before` to `after`.
    pub fn between(before: &Peers, after: &Peers) -> Self {
        let there: BTreeSet<&NextHop> = after.values().flatten().collect();
        let loses = |hops: &&BTreeSet<NextHop>| hops.iter().any(|hop| !there.contains(hop));
        Self { configured: before.len(), removed: before.values().filter(loses).count() }
    }

    /// More than one, and more than a fifth: more likely a mistake than so many nodes that left at once.
    pub fn is_mass(self) -> bool {
        let Self { configured, removed } = self;
        removed > 1 && removed * 5 > configured
    }
}

/// How a plan came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing was ever confirmed on this switch.
    FirstContact,
    /// Another bundle than the one in force.
    Bundle,
    /// The bundle in force, with other facts, or with what somebody else changed.
    Routine,
}

/// Why `plan` has to wait; `None` if it may be carried out. `live` has the peers whose sessions are up now; where nobody
/// could look, all count as up.
pub fn hold(
    plan: &Plan,
    peers: PeerCount,
    cause: Cause,
    consent: &Consent,
    live: Option<&BTreeSet<String>>,
) -> Option<Hold> {
    let approved = &consent.approved;
    if approved.is_some() && *approved == plan.hash() {
        return None;
    }
    why(plan, peers, cause, consent, live).map(|why| Hold { why, approved: approved.clone() })
}

fn why(
    plan: &Plan,
    peers: PeerCount,
    cause: Cause,
    consent: &Consent,
    live: Option<&BTreeSet<String>>,
) -> Option<Why> {
    let Consent { approver, approved: _, proven, budget } = consent;
    if peers.is_mass() {
        // A revert takes back the neighbours that its commit brought; an API that was restored does too, but there the
        // bundle is the one in force.
        let reverted = cause == Cause::Bundle && *proven == Proven::Text;
        return (!reverted).then_some(Why::MassRemoval);
    }
    let impact = plan.impact();
    match cause {
        Cause::Routine => None,
        Cause::FirstContact => (impact.class > Class::Add).then_some(Why::FirstContact(impact.class)),
        Cause::Bundle if *proven != Proven::No || *approver == Approver::Folder => None,
        Cause::Bundle => {
            let worst = impact.class == Class::InstanceDelete;
            if !impact.unknown.is_empty() || (worst && impact.instances.is_empty()) {
                return Some(Why::Unknown(impact.unknown));
            }
            let sessions = impact.ending(live);
            let instances = impact.instances;
            let deletes = u32::try_from(instances.len()).unwrap_or(u32::MAX);
            let over = sessions.exceed(budget.session_resets) || deletes > budget.instance_deletes;
            let excess = Excess { sessions, instances, budget: *budget };
            over.then(|| Why::OverBudget(Box::new(excess)))
        }
    }
}

/// What has been in force, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// By bundle hash.
    bundles: BTreeMap<String, Timestamp>,
    /// By hash of the text.
    texts: BTreeMap<String, Timestamp>,
}

impl History {
    /// `target` is in force at `now`.
    pub fn in_force(&mut self, target: &Target, now: Timestamp) {
        let recent = |at: &mut Timestamp| now.duration_since(*at) < PROVEN;
        self.bundles.retain(|_, at| recent(at));
        self.texts.retain(|_, at| recent(at));
        self.bundles.insert(target.bundle.clone(), now);
        self.texts.insert(target.candidate.hash(), now);
    }

    /// What `now` is known about `target`.
    pub fn proves(&self, target: &Target, now: Timestamp) -> Proven {
        let recent = |at: Option<&Timestamp>| at.is_some_and(|at| now.duration_since(*at) < PROVEN);
        if recent(self.texts.get(&target.candidate.hash())) {
            Proven::Text
        } else if recent(self.bundles.get(&target.bundle)) {
            Proven::Bundle
        } else {
            Proven::No
        }
    }
}
