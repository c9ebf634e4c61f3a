//! What to keep of a table that streams by: never the table itself.

use std::collections::HashMap;
use std::net::IpAddr;

use super::route::{RawRoute, RouteView};
use super::wire::Malformed;
use crate::net::Prefix;

/// Takes the best route per question out of a dump.
#[derive(Debug)]
pub(super) enum Sieve {
    /// Routes to exactly these prefixes.
    Exact(HashMap<Prefix, Option<RawRoute>>),
    /// The longest route over each of these addresses, which ascend.
    Longest(Vec<(IpAddr, Option<RawRoute>)>),
    /// Routes equal to or inside of these pools, which ascend and do not overlap.
    Inside(Vec<Prefix>, HashMap<Prefix, RawRoute>),
}

impl Sieve {
    /// For [`Sieve::Exact`].
    pub(super) fn exact(prefixes: impl Iterator<Item = Prefix>) -> Self {
        Self::Exact(prefixes.map(|prefix| (prefix, None)).collect())
    }

    /// For [`Sieve::Longest`].
    pub(super) fn longest(addresses: impl Iterator<Item = IpAddr>) -> Self {
        let mut addresses: Vec<_> = addresses.map(|address| (address, None)).collect();
        addresses.sort_by_key(|(address, _)| *address);
        addresses.dedup_by_key(|(address, _)| *address);
        Self::Longest(addresses)
    }

    /// For [`Sieve::Inside`].
    pub(super) fn inside(pools: impl Iterator<Item = Prefix>) -> Self {
        let mut pools: Vec<_> = pools.collect();
        // Ascending by network and then by length: a pool that lies inside another follows it.
        pools.sort();
        pools.dedup_by(|next, kept| kept.covers(*next));
        Self::Inside(pools, HashMap::new())
    }

    /// Forgets everything found, for another try.
    pub(super) fn clear(&mut self) {
        match self {
            Self::Exact(found) => found.values_mut().for_each(|route| *route = None),
            Self::Longest(found) => found.iter_mut().for_each(|(_, route)| *route = None),
            Self::Inside(_, found) => found.clear(),
        }
    }

    /// Looks at one route of the stream.
    pub(super) fn put(&mut self, view: &RouteView<'_>) -> Result<(), Malformed> {
        let prefix = view.prefix;
        match self {
            Self::Exact(found) => {
                if let Some(slot) = found.get_mut(&prefix) {
                    let route = view.own()?;
                    if beats(&route, slot.as_ref()) {
                        *slot = Some(route);
                    }
                }
            }
            Self::Longest(found) => {
                let start = found.partition_point(|(address, _)| *address < prefix.address());
                for (_, slot) in
                    found.iter_mut().skip(start).take_while(|(address, _)| prefix.contains(*address))
                {
                    let route = view.own()?;
                    // A throw sends the look-up on to another table.
                    if route.kind != crate::net::RouteKind::Throw && beats_longest(&route, slot.as_ref()) {
                        *slot = Some(route);
                    }
                }
            }
            Self::Inside(pools, found) => {
                let next = pools.partition_point(|pool| pool.address() <= prefix.address());
                let covered =
                    next.checked_sub(1).and_then(|at| pools.get(at)).is_some_and(|pool| pool.covers(prefix));
                if covered {
                    let route = view.own()?;
                    if beats(&route, found.get(&prefix)) {
                        found.insert(prefix, route);
                    }
                }
            }
        }
        Ok(())
    }

    /// The route found for an exact prefix or, of [`Sieve::Longest`], for its address.
    pub(super) fn take(&self, prefix: Prefix) -> Option<RawRoute> {
        match self {
            Self::Exact(found) => found.get(&prefix)?.clone(),
            Self::Longest(found) => {
                let at = found.binary_search_by_key(&prefix.address(), |(address, _)| *address).ok()?;
                found.get(at)?.1.clone()
            }
            Self::Inside(_, found) => found.get(&prefix).cloned(),
        }
    }
}

/// Of equals the first stays: the kernel lists and uses them in that order.
fn beats(new: &RawRoute, old: Option<&RawRoute>) -> bool {
    !new.is_dead() && old.is_none_or(|old| new.rank() < old.rank())
}

/// Table local is searched to its end before main is.
fn beats_longest(new: &RawRoute, old: Option<&RawRoute>) -> bool {
    let key = |route: &RawRoute| (route.rank().0, u8::MAX - route.prefix.len(), route.metric);
    !new.is_dead() && old.is_none_or(|old| key(new) < key(old))
}
