//! How a forwarding table spreads flows over the next-hops of one route.

use std::time::Duration;

use super::Family;

/// How a resilient group moves flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resilient {
    /// Number of hash buckets.
    pub buckets: u16,
    /// A bucket without traffic for so long may move to another member.
    pub idle_timer: Duration,
    /// After so long out of balance, busy buckets move too; zero means never.
    pub unbalanced_timer: Duration,
    /// Members that no bucket leads to, because there are more of them than the group was sized for.
    pub unused: u16,
}

/// What of a packet chooses its next-hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashLayer {
    /// Addresses only: all flows from one client to one VIP go the same way.
    Three,
    /// Addresses and ports.
    Four,
}

/// By family; `None` where it could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hashing {
    /// IPv4.
    pub v4: Option<HashLayer>,
    /// IPv6.
    pub v6: Option<HashLayer>,
}

impl Hashing {
    /// That of one family.
    pub fn of(self, family: Family) -> Option<HashLayer> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}
