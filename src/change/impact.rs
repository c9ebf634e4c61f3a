//! What a plan does to what runs, foretold: its class, and the sessions and instances that it touches.
//!
//! The classes are in order: each is more than the one before. A line that no rule knows is of the worst class. What is
//! foretold decides whether a plan needs somebody's word, how long to wait before looking, and which sessions may be
//! new afterwards; it never decides whether the change worked.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::net::Prefix;

#[cfg(test)]
mod tests;

/// How much a plan disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Nothing is sent.
    #[default]
    None,
    /// Filters and policy: which routes are taken or told, not which sessions there are.
    Policy,
    /// Something new beside what runs.
    Add,
    /// Something that runs goes: a neighbour, a range.
    Remove,
    /// Sessions that go on being wanted are torn down and built again.
    SessionReset,
    /// A BGP instance goes, or nobody knows what happens.
    InstanceDelete,
}

impl Class {
    /// As in `spec` and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Policy => "policy",
            Self::Add => "add",
            Self::Remove => "remove",
            Self::SessionReset => "session-reset",
            Self::InstanceDelete => "instance-delete",
        }
    }
}

/// What is foretold of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Impact {
    /// The worst of its lines.
    pub class: Class,
    /// Peers, by address or interface name, whose sessions end: those that are built again, and those that go.
    pub sessions: BTreeSet<String>,
    /// Ranges whose peers' sessions end, likewise: nobody knows beforehand who has come.
    pub ranges: BTreeSet<Prefix>,
    /// Configured neighbours inside one of `ranges`: they did not come by it.
    pub apart: BTreeSet<String>,
    /// Of `sessions`, those of neighbours that are not wanted any more.
    pub gone: BTreeSet<String>,
    /// Instances that go, as `router bgp 65001`.
    pub instances: BTreeSet<String>,
    /// Prefixes that are no longer told to anybody, as far as the lines say so.
    pub prefixes: BTreeSet<String>,
    /// Lines that no rule knows, each with its context.
    pub unknown: BTreeSet<String>,
}

impl Impact {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let Self { class, sessions, ranges, apart, gone, instances, prefixes, unknown } = other;
        self.class = self.class.max(class);
        self.sessions.extend(sessions);
        self.ranges.extend(ranges);
        self.apart.extend(apart);
        self.gone.extend(gone);
        self.instances.extend(instances);
        self.prefixes.extend(prefixes);
        self.unknown.extend(unknown);
        self
    }

    /// The session with this peer may be another one afterwards.
    pub fn names(&self, peer: &str) -> bool {
        self.class == Class::InstanceDelete || self.sessions.contains(peer) || self.has_come_by_range(peer)
    }

    /// It may have been accepted by one of the ranges.
    fn has_come_by_range(&self, peer: &str) -> bool {
        let Ok(address) = peer.parse::<IpAddr>() else { return false };
        !self.apart.contains(peer) && self.ranges.iter().any(|range| range.contains(address))
    }

    /// The sessions that end, of those that are up: `up` has the peers with a session now. Where it could not be asked for,
    /// every session counts, and of a range nobody knows how many there are.
    pub fn ending(&self, up: Option<&BTreeSet<String>>) -> Sessions {
        match up {
            Some(up) => {
                let ends = |peer: &&String| self.sessions.contains(*peer) || self.has_come_by_range(peer);
                Sessions { peers: up.iter().filter(ends).cloned().collect(), ranges: BTreeSet::new() }
            }
            None => Sessions { peers: self.sessions.clone(), ranges: self.ranges.clone() },
        }
    }
}

/// Sessions that end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sessions {
    /// With these peers.
    pub peers: BTreeSet<String>,
    /// With whoever has come by these ranges: nobody could look how many that are.
    pub ranges: BTreeSet<Prefix>,
}

impl Sessions {
    /// None.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.ranges.is_empty()
    }

    /// More than `budget`. What nobody has counted is more than any.
    pub fn exceed(&self, budget: u32) -> bool {
        !self.ranges.is_empty() || self.peers.len() > usize::try_from(budget).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Sessions {
    /// `3 sessions (10.0.0.1, …)`, with five names at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        let ranges = self.ranges.iter().map(|range| format!("whoever came by {range}"));
        let all: Vec<String> = self.peers.iter().cloned().chain(ranges).collect();
        let more = if all.len() > SHOWN { format!(" and {} more", all.len() - SHOWN) } else { String::new() };
        let shown = all[..all.len().min(SHOWN)].join(", ");
        match (self.peers.len(), self.ranges.is_empty()) {
            (1, true) => write!(f, "1 session ({shown})"),
            (count, true) => write!(f, "{count} sessions ({shown}{more})"),
            (_, false) => write!(f, "an unknown number of sessions ({shown}{more})"),
        }
    }
}
