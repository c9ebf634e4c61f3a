//! What a switch's control plane says about itself, in words that no NOS owns.
//!
//! Plain values: the port that asks for them is `rib`, the rule that draws conclusions is [`ladder`](crate::health::ladder). None of
//! them makes a verdict; they only name the first failing rung.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::net::{Family, NextHop, Prefix};

/// All BGP sessions, and who else might open one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sessions {
    /// By the address or interface name by which the peer is configured.
    pub by_peer: BTreeMap<String, Session>,
    /// Ranges from which peers are accepted. A peer of such a range that is down leaves no trace in `by_peer`.
    pub listen: Vec<Prefix>,
}

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
    /// Families in which nothing is taken: policies are demanded (RFC 8212) and missing.
    pub blocked: BTreeSet<Family>,
    /// The BFD session that belongs to it, if there is one.
    pub bfd: Option<Bfd>,
    /// How often it came up, where that was lately and more than once: it comes and goes.
    pub flaps: Option<u64>,
}

impl Session {
    /// Established: routes can come in.
    pub fn is_up(&self) -> bool {
        self.state == "Established"
    }
}

/// A BFD session, from good to bad.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bfd {
    /// The peer answers.
    Up,
    /// It has not been up yet, or was ended on purpose: it says nothing about the peer.
    Idle,
    /// It was up, and the peer fell silent: why, in the words of RFC 5880.
    Lost(String),
}

/// One path of a prefix in the BGP table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The peer that sent it: address or interface name; empty for a local one.
    pub peer: String,
    /// Its next-hop.
    pub next_hop: Option<NextHop>,
    /// It may be chosen.
    pub valid: bool,
    /// Its next-hop can be reached.
    pub resolved: bool,
    /// Chosen: the best path, or one of the multipath set.
    pub chosen: bool,
    /// What decides between paths before equal ones are told apart.
    pub merit: Merit,
    /// Kept by graceful restart although its peer is down.
    pub stale: Option<Stale>,
    /// Why it is not chosen, in the words of a control plane that tells.
    pub why_not: Option<String>,
}

/// A path without a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// For how long it is kept at most.
    pub lasts: Option<Duration>,
}

/// Paths with the same merit share the traffic, as far as the limit allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merit {
    /// FRR's own weight.
    pub weight: u32,
    /// Local preference.
    pub local_preference: u32,
    /// Number of AS in the path.
    pub as_path_length: u32,
    /// `IGP`, `EGP` or `incomplete`.
    pub origin: String,
    /// From another AS.
    pub external: bool,
}

/// How many equal paths the control plane uses for one family, as it is configured; `None` if the configuration does not
/// say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Paths from another AS.
    pub external: Option<u32>,
    /// Paths from our own AS.
    pub internal: Option<u32>,
}

/// What became of one prefix between a peer and the BGP table, where the table has no path from that peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// It was announced, and the import policy refused it.
    Refused,
    /// It was not announced: what was announced is kept, or nothing was ever refused.
    NotSent,
    /// So many announcements of this peer were refused, and which ones is not kept.
    SomeRefused(u64),
    /// Neither kept nor counted.
    Untold,
}

/// Why the chip does not have what the control plane chose, by the switch's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Programming {
    /// Kept out of the forwarding table on purpose.
    Suppressed,
    /// Not written yet.
    Pending {
        /// `add`, `modify`, `delete`.
        operation: String,
    },
    /// The last write failed, and nothing is there.
    Failed {
        /// `add`, `modify`, `delete`.
        operation: String,
        /// Where: `complex-1.0`, `(1,0)`.
        places: Vec<String>,
    },
    /// The last write failed, and what was there before it still forwards.
    Older {
        /// Where.
        places: Vec<String>,
    },
    /// There is no room for this next-hop.
    NoResource,
    /// The next-hop cannot be reached.
    Unresolved,
}

/// A prefix in the route manager (zebra, `fib_mgr`): a hint, not the FIB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Managed {
    /// Protocol of the selected route, e.g. `bgp`; `None` if the route manager has no route.
    pub selected: Option<String>,
    /// Still waiting to be written to the FIB.
    pub queued: bool,
    /// Next-hops that the route manager believes to be installed.
    pub installed: Vec<NextHop>,
    /// What keeps the prefix as a whole out of the chip, where the NOS tells.
    pub trouble: Option<Programming>,
    /// What keeps single next-hops out of it.
    pub members: Vec<(NextHop, Programming)>,
    /// The chosen route in words, where it is not the one of BGP: `bgp-evpn, preference 170`.
    pub instead: Option<String>,
    /// There is no route to the prefix itself, and this one catches its packets.
    pub caught_by: Option<Prefix>,
}
