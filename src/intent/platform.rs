//! What the NOS is and can do, as far as rendering and judging depend on it.

use std::fmt;

/// Told by the NOS itself; the default is that nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// Its release.
    pub release: Option<Release>,
    /// What it can do for flows when a next-hop leaves.
    pub resilience: Option<Resilience>,
    /// The chassis, as the NOS names it: `7220 IXR-D2L`. Absent where nothing depends on it.
    pub chassis: Option<String>,
    /// How large its next-hop groups may be, where that depends on the chassis.
    pub ceilings: Option<Ceilings>,
}

/// What a chassis can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceilings {
    /// Equal paths of one BGP route.
    pub paths: u16,
    /// Next-hops of one resilient group.
    pub resilient_paths: u16,
    /// Hash buckets of one resilient group: next-hops times buckets for each.
    pub buckets: u16,
}

impl Platform {
    /// The chassis as messages name it.
    pub fn chassis_name(&self) -> &str {
        self.chassis.as_deref().unwrap_or("this chassis")
    }
}

impl Ceilings {
    /// A resilient group as wanted, as far as the chassis goes: next-hops first, then buckets for each.
    pub fn group(self, paths: u16, buckets: u16) -> (u16, u16) {
        let paths = paths.min(self.resilient_paths).min(self.buckets).max(1);
        (paths, buckets.min(self.buckets / paths).max(1))
    }
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

impl std::str::FromStr for Release {
    type Err = ();

    /// The first two numbers of a version: `25.3`, `v25.3.2-312-gabc`, `10.3.1`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.trim_start_matches('v').split(['.', '-', '_', '+']);
        let mut part = || parts.next().and_then(|part| part.parse().ok()).ok_or(());
        Ok(Self { major: part()?, minor: part()? })
    }
}

/// What keeps hashing from being resilient, if anything does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resilience {
    /// FRR makes no resilient groups for BGP's routes.
    UnsupportedByFRR,
    /// Flows stay when a link is lost. When a node withdraws, a new group takes the old one's place and flows move.
    LinkLossOnly,
    /// Nothing: the NOS makes resilient groups for BGP's routes.
    Native,
    /// This chassis has none.
    UnsupportedPlatform,
    /// Nobody knows what this chassis can do, so none are asked for.
    UnknownPlatform,
}
