//! The port through which the agent asks the control plane *why*.
//!
//! Asked only about VIPs that differ. Its word never makes a verdict: zebra can say `installed` while the
//! kernel forwards elsewhere. It only names the first failing rung.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use crate::net::NextHop;
use crate::net::Prefix;

pub mod frr;

/// Why the control plane could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RibError {
    /// The daemon did not answer within the deadline, or its socket is missing.
    #[error("{daemon} does not answer")]
    Unreachable {
        /// Which daemon.
        daemon: &'static str,
        /// The operating system's word.
        #[source]
        source: std::io::Error,
    },
    /// It answered in a form we do not know.
    #[error("{daemon}: unexpected answer to `{command}`: {problem}")]
    Malformed {
        /// Which daemon.
        daemon: &'static str,
        /// What was asked.
        command: String,
        /// What is wrong with it.
        problem: String,
    },
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

/// Asks the control plane of one network instance.
pub trait RibReader {
    /// All sessions, by peer (address or interface name).
    fn sessions(&mut self) -> impl Future<Output = Result<BTreeMap<String, Session>, RibError>> + Send;

    /// The paths of one prefix; empty if the table does not have it.
    fn paths(&mut self, prefix: Prefix) -> impl Future<Output = Result<Vec<Path>, RibError>> + Send;

    /// What the route manager says about one prefix.
    fn managed(&mut self, prefix: Prefix) -> impl Future<Output = Result<Managed, RibError>> + Send;
}
