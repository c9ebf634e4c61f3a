//! The port through which the agent reads a forwarding table.
//!
//! Three answers exist for a prefix: a route, no route, and *could not look* (an error). A reader never turns
//! the third into one of the first two.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use crate::net::{Hashing, Prefix, Resilient, Route};

pub mod netlink;
pub mod srlinux;

/// Why a forwarding table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FibError {
    /// The socket or session could not be opened, or broke.
    #[error("{what}")]
    Io {
        /// What was being done, e.g. `netlink: look up 203.0.113.10`.
        what: String,
        /// The operating system's word.
        #[source]
        source: std::io::Error,
    },
    /// The table changed during the reading more often than we were willing to start again.
    #[error("the table kept changing while it was read ({0} attempts)")]
    Interrupted(u32),
    /// The answer did not have the documented form.
    #[error("malformed answer: {0}")]
    Malformed(String),
}

/// Reads one network instance's forwarding table.
pub trait FibReader {
    /// What it reads, for the capabilities: `kernel`, `state`.
    const NAME: &'static str;

    /// Reads this network instance from now on, where the NOS has more than one that can be read.
    fn enter(&mut self, _instance: &str) {}

    /// The best route of each prefix: `Some` only if a route for exactly that prefix is the one that forwards;
    /// `None` if it is absent. A shorter route that catches the prefix is therefore `None`.
    /// The answer has the length and order of `prefixes`.
    fn exact(
        &mut self,
        prefixes: &[Prefix],
    ) -> impl Future<Output = Result<Vec<Option<Route>>, FibError>> + Send;

    /// The route that forwards each address, whatever its prefix: longest match.
    fn longest(
        &mut self,
        addresses: &[std::net::IpAddr],
    ) -> impl Future<Output = Result<Vec<Option<Route>>, FibError>> + Send;

    /// All forwarding routes equal to or inside one of `pools`; of several routes to one prefix only the one
    /// that forwards. Reads the whole table: for a slow pace.
    fn within(&mut self, pools: &[Prefix]) -> impl Future<Output = Result<Vec<Route>, FibError>> + Send;

    /// Of the next-hop groups with these numbers ([`Route::group`]) those that exist, and how they move flows; `None` for
    /// one that is not resilient.
    fn groups(
        &mut self,
        ids: &BTreeSet<u32>,
    ) -> impl Future<Output = Result<BTreeMap<u32, Option<Resilient>>, FibError>> + Send;

    /// What of a packet chooses among the next-hops of a route. Never blocks.
    fn hashing(&mut self) -> Hashing;
}
