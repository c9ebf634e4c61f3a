//! The kernel's forwarding table, read over a raw netlink socket.
//!
//! It is the judge of the agent: what it reports is what the switch forwards, whatever the daemons believe.
//! Therefore it must never take "could not look" for "no route", never hang, and never hold a table in memory
//! that may have a million routes. It only reads; nothing in here can change a route.
//!
//! A few VIPs are looked up one by one in microseconds; a dump is taken where a look-up cannot be trusted, and
//! to find routes nobody asked for.

mod hash;
mod hints;
mod kernel;
mod nexthop;
mod route;
mod sieve;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use kernel::{ATTEMPTS, Kernel, Question, hosts};

pub use hints::{Hint, HintKind, Hints};
pub use nexthop::{GroupMember, NextHopGroup};

use super::{FibError, FibReader};
use crate::net::{Hashing, Prefix, Resilient, Route};

/// Look-ups between two breaths of the runtime: about 2 ms.
const CHUNK: usize = 512;

/// Reads the tables of one network namespace: that of the thread that opened it, wherever it is used later.
///
/// Routes come from one table (254, main, unless said otherwise) and local addresses from table local.
#[derive(Debug)]
pub struct NetlinkFib {
    /// For look-ups, on the caller's thread.
    quick: Kernel,
    /// For dumps, on a thread that may block; shared because such a thread outlives a dropped future.
    slow: Arc<Mutex<Kernel>>,
}

impl NetlinkFib {
    /// Opens table main in the network namespace of the calling thread. Needs no privilege.
    pub fn open() -> Result<Self, FibError> {
        Self::open_table(route::MAIN)
    }

    /// The same for another table. Point look-ups follow the policy rules and not a table, so everything is
    /// read by dumps.
    pub fn open_table(table: u32) -> Result<Self, FibError> {
        Ok(Self { quick: Kernel::open(table)?, slow: Arc::new(Mutex::new(Kernel::open(table)?)) })
    }

    /// [`FibReader::exact`], blocking.
    pub fn exact_now(&mut self, prefixes: &[Prefix]) -> Result<Vec<Option<Route>>, FibError> {
        self.quick.answer(Question::Exact, prefixes)
    }

    /// [`FibReader::longest`], blocking.
    pub fn longest_now(&mut self, addresses: &[IpAddr]) -> Result<Vec<Option<Route>>, FibError> {
        self.quick.answer(Question::Longest, &hosts(addresses))
    }

    /// [`FibReader::within`], blocking.
    pub fn within_now(&mut self, pools: &[Prefix]) -> Result<Vec<Route>, FibError> {
        self.quick.within(pools)
    }

    /// The next-hop group with this number ([`Route::group`]); `None` if there is none or the number is that of
    /// a single next-hop. Blocking, some milliseconds at most.
    pub fn group(&mut self, id: u32) -> Result<Option<NextHopGroup>, FibError> {
        self.quick.group(id)
    }

    async fn answer(
        &mut self,
        question: Question,
        prefixes: &[Prefix],
    ) -> Result<Vec<Option<Route>>, FibError> {
        for attempt in 1..=ATTEMPTS {
            let mut looks = Vec::with_capacity(prefixes.len());
            for chunk in prefixes.chunks(CHUNK) {
                looks.extend(self.quick.look(chunk)?);
                tokio::task::yield_now().await;
            }
            let (mut found, doubts) = self.quick.judge(question, prefixes, looks)?;
            if !doubts.is_empty() {
                let agreed;
                (found, agreed) = self
                    .aside(move |kernel| {
                        let agreed = kernel.settle(question, &doubts, &mut found)?;
                        Ok((found, agreed))
                    })
                    .await?;
                if !agreed && attempt < ATTEMPTS {
                    continue;
                }
            }
            if let Some(routes) = self.quick.name(found)? {
                return Ok(routes);
            }
        }
        Err(FibError::Interrupted(ATTEMPTS))
    }

    /// Runs something slow where it stops nobody.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Kernel) -> Result<T, FibError> + Send + 'static,
    ) -> Result<T, FibError> {
        let slow = Arc::clone(&self.slow);
        tokio::task::spawn_blocking(move || work(&mut slow.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
            .map_err(|error| wire::broken("read a table aside", io::Error::other(error)))?
    }
}

impl FibReader for NetlinkFib {
    const NAME: &'static str = "kernel";

    async fn exact(&mut self, prefixes: &[Prefix]) -> Result<Vec<Option<Route>>, FibError> {
        self.answer(Question::Exact, prefixes).await
    }

    async fn longest(&mut self, addresses: &[IpAddr]) -> Result<Vec<Option<Route>>, FibError> {
        self.answer(Question::Longest, &hosts(addresses)).await
    }

    async fn within(&mut self, pools: &[Prefix]) -> Result<Vec<Route>, FibError> {
        let pools = pools.to_vec();
        self.aside(move |kernel| kernel.within(&pools)).await
    }

    async fn groups(&mut self, ids: &BTreeSet<u32>) -> Result<BTreeMap<u32, Option<Resilient>>, FibError> {
        let ids = ids.clone();
        self.aside(move |kernel| kernel.groups(&ids)).await
    }

    fn hashing(&mut self) -> Hashing {
        hash::read()
    }
}
