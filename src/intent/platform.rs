//! What the NOS is and can do, as far as rendering and judging depend on it.

use std::fmt;

/// Told by the NOS itself; the default is that nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// Its release.
    pub release: Option<Release>,
    /// What it can do for flows when a next-hop leaves.
    pub resilience: Option<Resilience>,
}

/// A release, as far as anything depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// `10` of 10.3.1.
    pub major: u16,
    /// `3` of 10.3.1.
    pub minor: u16,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What keeps hashing from being resilient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resilience {
    /// FRR makes no resilient groups for BGP's routes.
    UnsupportedByFRR,
    /// Flows stay when a link is lost. When a node withdraws, a new group takes the old one's place and flows move.
    LinkLossOnly,
}
