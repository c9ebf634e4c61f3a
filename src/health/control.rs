//! What a switch's control plane says about itself, in words that no NOS owns.
//!
//! Plain values: the port that asks for them is `rib`, the rule that draws conclusions is [`ladder`](crate::health::ladder). None of
//! them makes a verdict; they only name the first failing rung.

use std::time::Duration;

use crate::net::NextHop;

/// One BGP session as the control plane sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Address or interface name by which the peer is configured.
    pub peer: String,
    /// `Established`, `Active`, `Idle (PfxCt)` …
    pub state: String,
    /// How long it has been in this state.
    pub uptime: Option<Duration>,
    /// How often it went down since it was configured.
    pub dropped: u64,
    /// Why it went down last.
    pub last_reset: Option<String>,
    /// Peers that a listen range accepted exist only while they are up.
    pub dynamic: bool,
    /// Both route-map directions demanded (RFC 8212) and missing, or otherwise withheld by policy.
    pub blocked_by_policy: bool,
    /// State of the BFD session that belongs to it, if there is one.
    pub bfd_up: Option<bool>,
}

impl Session {
    /// Established: routes can come in.
    pub fn is_up(&self) -> bool {
        self.state == "Established"
    }
}

/// One path of a prefix in the BGP table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The peer that sent it: address or interface name; empty for a local one.
    pub peer: String,
    /// Its next-hop.
    pub next_hop: Option<NextHop>,
    /// Its next-hop resolves.
    pub valid: bool,
    /// Chosen: the best path, or one of the multipath set.
    pub chosen: bool,
    /// Kept by graceful restart although its peer is down.
    pub stale: bool,
}

/// A prefix in the route manager (zebra): a hint, not the FIB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Managed {
    /// Protocol of the selected route, e.g. `bgp`; `None` if the route manager has no route.
    pub selected: Option<String>,
    /// Still waiting to be written to the FIB.
    pub queued: bool,
    /// Next-hops that the route manager believes to be installed.
    pub installed: Vec<NextHop>,
}
