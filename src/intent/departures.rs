//! Neighbours whose nodes have left.
//!
//! A Node object that disappears may come back in a minute: a new kubelet, a label by mistake, an API server that was
//! restored. So its neighbour stays configured for `removeAfter`, and meanwhile its next-hop is neither expected nor
//! unexpected. Many that would go at once are kept for longer: that is not how nodes leave. What Git removes is not meant
//! here: that goes at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::change::consent::PeerCount;
use crate::intent::nexthops::Peers;
use crate::net::NextHop;

#[cfg(test)]
mod tests;

/// The neighbours of the bundle in force: those whose nodes are there, and those whose nodes have left. Survives a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Departures {
    present: Peers,
    left: BTreeMap<NextHop, Left>,
}

/// Events of one cause arrive one after the other; departures so close to each other are one.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(60);

/// Somebody's word for removing many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It was given.
    Given,
    /// There is none.
    None,
}

/// One that has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Left {
    node: String,
    since: Timestamp,
}

impl Departures {
    /// Takes in the neighbours that the facts of `now` give under the bundle in force.
    pub fn follow(&mut self, peers: &Peers, now: Timestamp) {
        let there: BTreeSet<&NextHop> = peers.values().flatten().collect();
        for (node, hops) in &self.present {
            for hop in hops.iter().filter(|hop| !there.contains(hop)) {
                self.left.insert(hop.clone(), Left { node: node.clone(), since: now });
            }
        }
        self.left.retain(|hop, _| !there.contains(hop));
        self.present = peers.clone();
    }

    /// Another bundle is in force, under which these are the neighbours; who has left stays if `admits` it.
    pub fn rebase(&mut self, peers: &Peers, admits: impl Fn(&NextHop) -> bool) {
        let there: BTreeSet<&NextHop> = peers.values().flatten().collect();
        self.left.retain(|hop, _| !there.contains(hop) && admits(hop));
        self.present = peers.clone();
    }

    /// The neighbours as they were seen last.
    pub fn present(&self) -> &Peers {
        &self.present
    }

    /// Who has left and is still configured: neither expected nor unexpected.
    pub fn leaving(&self) -> BTreeSet<NextHop> {
        self.left.keys().cloned().collect()
    }

    /// Who has left and is not to be removed yet: less than `after` ago, or together with others of whom that is true and
    /// who are many.
    pub fn lingering(&self, now: Timestamp, after: SignedDuration) -> Peers {
        self.of(|left| {
            let is_due = |left: &Left| now.duration_since(left.since) >= after;
            !is_due(left) || (self.is_mass(left) && !self.together(left).all(is_due))
        })
    }

    /// Everybody who has left and was not removed yet.
    pub fn all(&self) -> Peers {
        self.of(|_| true)
    }

    fn of(&self, wanted: impl Fn(&Left) -> bool) -> Peers {
        let mut peers = Peers::new();
        for (hop, left) in self.left.iter().filter(|(_, left)| wanted(left)) {
            peers.entry(left.node.clone()).or_default().insert(hop.clone());
        }
        peers
    }

    fn together(&self, with: &Left) -> impl Iterator<Item = &Left> {
        let since = with.since;
        self.left.values().filter(move |left| left.since.duration_since(since).abs() <= AT_ONCE)
    }

    fn is_mass(&self, with: &Left) -> bool {
        let removed: BTreeSet<&String> = self.together(with).map(|left| &left.node).collect();
        let all: BTreeSet<&String> =
            self.present.keys().chain(self.left.values().map(|left| &left.node)).collect();
        PeerCount { configured: all.len(), removed: removed.len() }.is_mass()
    }

    /// Drops those who are no longer configured: whoever is due, but for many at once, who need somebody's word.
    pub fn forget(&mut self, now: Timestamp, after: SignedDuration, word: Word) {
        let gone: BTreeSet<NextHop> = self
            .left
            .iter()
            .filter(|(_, left)| now.duration_since(left.since) >= after)
            .filter(|(_, left)| word == Word::Given || !self.is_mass(left))
            .map(|(hop, _)| hop.clone())
            .collect();
        self.left.retain(|hop, _| !gone.contains(hop));
    }

    /// When the next one is due.
    pub fn next(&self, now: Timestamp, after: SignedDuration) -> Option<Timestamp> {
        self.left.values().filter_map(|left| left.since.checked_add(after).ok()).filter(|at| *at > now).min()
    }
}
