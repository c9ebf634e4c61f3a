//! SR Linux's forwarding table, read from its state over JSON-RPC.
//!
//! A route is a chain: five keys, then a group, then next-hops, each with leaves that say whether the chip has it. Numbers of
//! groups and of next-hops change at every change and are never kept. Five answers are no snapshot: a route whose
//! group is not in the answer was changed meanwhile, and everything is read again. What forwards is told; why something
//! does not is asked by `rib`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::{FibError, FibReader};
use crate::jsonrpc::{Error, Server};
use crate::net::{Family, Hashing, Prefix, Resilient, Route};

pub mod chain;
mod sieve;

use chain::{Answer, Chains, Forwards};

/// A switch with a large table needs its time.
const ANSWER: Duration = Duration::from_secs(10);
/// A whole table comes slowly.
const TABLE: Duration = Duration::from_secs(60);
/// Readings of a table that goes on changing.
const ATTEMPTS: u32 = 4;
/// A table whose counters stand still is read again after so many looks at them: a route may have taken another's place.
const STILL: u32 = 20;

/// Reads one network instance of one switch.
#[derive(Debug)]
pub struct SrlinuxFib {
    server: Server,
    instance: String,
    /// Of the last look: which of its routes are hashed resiliently, by the number that stands in [`Route::group`].
    resilient: Vec<Option<Resilient>>,
    /// The last reading of the whole table: its counters, the pools, what was found, and how often it has been used since.
    last: Option<(String, Vec<Prefix>, Vec<Route>, u32)>,
}

impl SrlinuxFib {
    /// Of the default instance until another one is entered.
    pub fn new(server: Server) -> Self {
        Self { server, instance: "default".to_owned(), resilient: Vec::new(), last: None }
    }

    async fn chains(&self, prefixes: &[Prefix]) -> Result<Chains, FibError> {
        read(&self.server, &self.instance, prefixes).await
    }

    /// How many members of each group no bucket leads to, as the line cards tell.
    async fn unused(&self, groups: &BTreeSet<String>) -> Result<BTreeMap<String, u16>, FibError> {
        let paths = groups.iter().map(|group| {
            format!(
                "/platform/linecard[slot=*]/forwarding-complex[name=*]/fib-table/next-hop-group[index={group}]"
            )
        });
        let answers: Vec<serde_json::Value> = match self.server.get("state", paths, ANSWER).await {
            Ok(answers) => answers,
            // A release or chassis without this view says nothing about it.
            Err(Error::Refused(_)) => return Ok(BTreeMap::new()),
            Err(error) => return Err(failed("read the line cards", error)),
        };
        let counted = answers.iter().map(chain::unused_members);
        Ok(groups.iter().cloned().zip(counted).collect())
    }
}

/// The routes of `prefixes` with all that they lead to.
pub(crate) async fn read(server: &Server, instance: &str, prefixes: &[Prefix]) -> Result<Chains, FibError> {
    let mut again = 0;
    loop {
        let answers: Vec<Answer> = server
            .get("state", chain::paths(instance, prefixes), ANSWER)
            .await
            .map_err(|e| failed("read routes", e))?;
        let mut chains = Chains::new(instance, prefixes, answers).map_err(FibError::Malformed)?;
        let elsewhere = chains.elsewhere();
        if !elsewhere.is_empty() {
            let paths = elsewhere.iter().flat_map(|instance| chain::group_paths(instance));
            let answers: Vec<Answer> =
                server.get("state", paths, ANSWER).await.map_err(|e| failed("read next-hop groups", e))?;
            chains.add(&elsewhere, &answers);
        }
        if chains.is_whole() {
            return Ok(chains);
        }
        again += 1;
        if again == ATTEMPTS {
            return Err(FibError::Interrupted(ATTEMPTS));
        }
        tokio::time::sleep(Duration::from_millis(20 << again)).await;
    }
}

pub(crate) fn failed(what: &str, error: Error) -> FibError {
    match error {
        Error::Unreachable { what: why, source, sent: _ } => {
            FibError::Io { what: format!("{what}: {why}"), source }
        }
        Error::Malformed(why) => FibError::Malformed(why),
        other => FibError::Io { what: what.to_owned(), source: io::Error::other(other.to_string()) },
    }
}

impl FibReader for SrlinuxFib {
    const NAME: &'static str = "state";

    fn enter(&mut self, instance: &str) {
        if self.instance != instance {
            instance.clone_into(&mut self.instance);
            self.last = None;
        }
    }

    async fn exact(&mut self, prefixes: &[Prefix]) -> Result<Vec<Option<Route>>, FibError> {
        if prefixes.is_empty() {
            return Ok(Vec::new());
        }
        let chains = self.chains(prefixes).await?;
        let hashed: BTreeSet<String> =
            prefixes.iter().filter_map(|prefix| chains.resilient_group(*prefix)).collect();
        let unused = if hashed.is_empty() { BTreeMap::new() } else { self.unused(&hashed).await? };
        self.resilient.clear();
        let mut routes = Vec::with_capacity(prefixes.len());
        let mut shared = chain::Sharing::default();
        for prefix in prefixes {
            let Forwards::Yes(mut route) = chains.forwards(*prefix, &mut shared) else {
                routes.push(None);
                continue;
            };
            let group = chains.resilient_group(*prefix);
            self.resilient.push(group.map(|group| Resilient {
                unused: unused.get(&group).copied().unwrap_or(0),
                ..Resilient::default()
            }));
            route.group = u32::try_from(self.resilient.len() - 1).ok();
            routes.push(Some(route));
        }
        Ok(routes)
    }

    /// The announcer itself stands in a group's next-hop, however it is resolved: no address is replaced by what it
    /// resolves to, and so none is looked up.
    async fn longest(&mut self, addresses: &[IpAddr]) -> Result<Vec<Option<Route>>, FibError> {
        Ok(vec![None; addresses.len()])
    }

    async fn within(&mut self, pools: &[Prefix]) -> Result<Vec<Route>, FibError> {
        let families: BTreeSet<Family> = pools.iter().map(|pool| pool.family()).collect();
        let paths = families.iter().map(|family| {
            format!(
                "/network-instance[name={}]/route-table/{}/statistics",
                self.instance,
                chain::word(*family)
            )
        });
        let counters: Vec<serde_json::Value> =
            self.server.get("state", paths, ANSWER).await.map_err(|e| failed("read counters", e))?;
        let counters = format!("{counters:?}");
        if let Some((known, of, routes, used)) = &mut self.last
            && *known == counters
            && of == pools
            && *used < STILL
        {
            *used += 1;
            return Ok(routes.clone());
        }
        let mut routes = Vec::new();
        for family in families {
            let path = chain::route_path(&self.instance, family, "*");
            let inside = pools.to_vec();
            let read =
                self.server.stream("state", &path, TABLE, move |from| sieve::within(from, &inside)).await;
            match read {
                Ok(found) => routes.extend(found),
                Err(error) => return Err(failed("read the table", error)),
            }
        }
        self.last = Some((counters, pools.to_vec(), routes.clone(), 0));
        Ok(routes)
    }

    async fn groups(&mut self, ids: &BTreeSet<u32>) -> Result<BTreeMap<u32, Option<Resilient>>, FibError> {
        let of = |id: &u32| Some((*id, *self.resilient.get(usize::try_from(*id).ok()?)?));
        Ok(ids.iter().filter_map(of).collect())
    }

    fn hashing(&mut self) -> Hashing {
        // The chip hashes over addresses and ports unless it is told otherwise, and that is not read here.
        Hashing::default()
    }
}
