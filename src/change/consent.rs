//! Whether a change may be made without asking: the rule, and the memory that it needs.
//!
//! What the cluster causes is routine. What Git causes may add; for more it needs somebody's word, unless it goes back to what
//! was in force a day ago at most: a revert at night must not wait. Many neighbours at once are never routine, whatever
//! the reason: an empty list and a restored API look just like nodes that have left.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::change::Target;
use crate::change::diff::Plan;
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

/// Why a plan waits for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It does more than add.
    MoreThanAdds,
    /// It is the first change on this switch, and does more than add.
    FirstContact,
    /// It removes many neighbours at once.
    MassRemoval,
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

/// Why `plan` has to wait; `None` if it may be carried out.
pub fn hold(plan: &Plan, peers: PeerCount, cause: Cause, consent: &Consent) -> Option<Hold> {
    let Consent { approver, approved, proven } = consent;
    if approved.is_some() && *approved == plan.hash() {
        return None;
    }
    if peers.is_mass() {
        // A revert takes back the neighbours that its commit brought; an API that was restored does too, but there the
        // bundle is the one in force.
        let reverted = cause == Cause::Bundle && *proven == Proven::Text;
        return (!reverted).then_some(Hold::MassRemoval);
    }
    if plan.only_adds() {
        return None;
    }
    match cause {
        Cause::Routine => None,
        Cause::FirstContact => Some(Hold::FirstContact),
        Cause::Bundle if *proven != Proven::No || *approver == Approver::Folder => None,
        Cause::Bundle => Some(Hold::MoreThanAdds),
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
