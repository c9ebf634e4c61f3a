//! What a plan does to what runs, foretold: its class, and the sessions and instances that it touches.
//!
//! The classes are in order: each is more than the one before. A line that no rule knows is of the worst class. What is
//! foretold decides whether a plan needs somebody's word, how long to wait before looking, and which sessions may be
//! new afterwards; it never decides whether the change worked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

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
pub struct Impact {
    /// The worst of its lines.
    pub class: Class,
    /// Peers, by address or interface name, whose sessions end: those that are built again, and those that go.
    pub sessions: BTreeSet<String>,
    /// Instances that go, as `router bgp 65001`.
    pub instances: BTreeSet<String>,
}

impl Impact {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let Self { class, sessions, instances } = other;
        self.class = self.class.max(class);
        self.sessions.extend(sessions);
        self.instances.extend(instances);
        self
    }

    /// The session with this peer may be another one afterwards.
    pub fn names(&self, peer: &str) -> bool {
        self.class == Class::InstanceDelete || self.sessions.contains(peer)
    }
}
