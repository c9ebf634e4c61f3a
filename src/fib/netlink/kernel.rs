//! Questions to one kernel, synchronous.
//!
//! The quick way is a point look-up (`RTM_F_FIB_MATCH`), the slow way a dump. Look-ups have blind spots, found
//! by trying them: a blackhole, unreachable or prohibit route is an error number without its prefix, and IPv6
//! answers about routes by next-hop *object* may name any other route that shares the object, or claim that
//! there is none. Whatever falls into a blind spot is a [`Doubt`] and settled by a dump.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use nix::libc;

use super::nexthop::{self, EVERYTHING, Meaning, NextHopGroup, Object, Objects, RTM_GETNEXTHOP};
use super::route::{
    LOCAL, MAIN, RTM_GETROUTE, RTN_LOCAL, RawHop, RawRoute, RouteView, dump_request, put_lookup,
};
use super::sieve::Sieve;
use super::wire::{Attributes, Ending, Malformed, Reply, Wire, broken, put_attribute};
use crate::fib::FibError;
use crate::net::{Family, Hop, NextHop, Prefix, Resilient, Route, RouteKind, Shared};

/// How often a reading is started again when the table changed under it.
pub(super) const ATTEMPTS: u32 = 5;

/// `linux/if_link.h` and `linux/rtnetlink.h`.
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
/// `sizeof(struct ifinfomsg)`.
const IFINFOMSG: usize = 16;

/// Which route is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// The one to exactly this prefix, provided that it is the one that forwards.
    Exact,
    /// The one that forwards this address.
    Longest,
}

/// The answer of a point look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// This route.
    Route(RawRoute),
    /// No route: `ENETUNREACH`.
    Nothing,
    /// Some route, maybe a shorter one, refuses to forward.
    Refused(RouteKind),
    /// Not asked: a look-up takes addresses only.
    Unasked,
}

/// A look-up that must be settled by a dump.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    index: usize,
    prefix: Prefix,
    table: u32,
    refused: Option<RouteKind>,
}

/// One routing socket and the questions one can put to it.
#[derive(Debug)]
pub(super) struct Kernel {
    wire: Wire,
    table: u32,
}

impl Kernel {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open(table: u32) -> Result<Self, FibError> {
        Ok(Self { wire: Wire::open()?, table })
    }

    /// Point look-ups, in the order of `prefixes`.
    pub(super) fn look(&mut self, prefixes: &[Prefix]) -> Result<Vec<Look>, FibError> {
        let mut looks = vec![Look::Unasked; prefixes.len()];
        // Look-ups follow the policy rules, and these lead to table main.
        if self.table != MAIN {
            return Ok(looks);
        }
        let asked: Vec<usize> = (0..prefixes.len()).filter(|&at| prefixes[at].is_host()).collect();
        let body = |number: usize, out: &mut Vec<u8>| put_lookup(out, prefixes[asked[number]].address());
        self.wire.ask("look up a route", RTM_GETROUTE, asked.len(), body, |number, reply| {
            let at = asked[number];
            looks[at] = match reply {
                Reply::Body(body) => {
                    let mut route = RouteView::parse(body)?.own()?;
                    // IPv4 keeps local addresses and main in one trie until the first policy rule comes, and
                    // a look-up names the trie.
                    if route.kind == RouteKind::Local && route.table == MAIN {
                        route.table = LOCAL;
                    }
                    Look::Route(route)
                }
                Reply::Refused(libc::ENETUNREACH) => Look::Nothing,
                Reply::Refused(libc::EINVAL) => Look::Refused(RouteKind::Blackhole),
                Reply::Refused(libc::EHOSTUNREACH) => Look::Refused(RouteKind::Unreachable),
                Reply::Refused(libc::EACCES) => Look::Refused(RouteKind::Prohibit),
                Reply::Refused(code) => {
                    let what = format!("look up {}", prefixes[at]);
                    return Err(broken(&what, io::Error::from_raw_os_error(code)));
                }
            };
            Ok(())
        })?;
        Ok(looks)
    }

    /// Parts the look-ups that can be believed from those that cannot.
    pub(super) fn judge(
        &mut self,
        question: Question,
        prefixes: &[Prefix],
        looks: Vec<Look>,
    ) -> Result<(Vec<Option<RawRoute>>, Vec<Doubt>), FibError> {
        let nothing_in_v6 = prefixes
            .iter()
            .zip(&looks)
            .any(|(prefix, look)| prefix.family() == Family::V6 && *look == Look::Nothing);
        let blind_v6 = nothing_in_v6 && !self.objects()?.is_empty();
        let mut found = Vec::with_capacity(looks.len());
        let mut doubts = Vec::new();
        for (index, (&prefix, look)) in prefixes.iter().zip(looks).enumerate() {
            let v6 = prefix.family() == Family::V6;
            let doubt = |table, refused| Doubt { index, prefix, table, refused };
            found.push(None);
            match look {
                Look::Route(route) if v6 && route.object.is_some() => doubts.push(doubt(route.table, None)),
                Look::Route(route) => {
                    if question == Question::Longest || route.prefix == prefix {
                        found[index] = Some(route);
                    }
                }
                Look::Nothing if v6 && blind_v6 => doubts.push(doubt(self.table, None)),
                Look::Nothing => {}
                Look::Refused(kind) => doubts.push(doubt(self.table, Some(kind))),
                Look::Unasked => doubts.push(doubt(self.table, None)),
            }
        }
        Ok((found, doubts))
    }

    /// Settles doubts by dumps; the answers go to their places in `found`. False if look-up and dump contradict
    /// each other: the table changed in between, or a policy rule refuses.
    pub(super) fn settle(
        &mut self,
        question: Question,
        doubts: &[Doubt],
        found: &mut [Option<RawRoute>],
    ) -> Result<bool, FibError> {
        let mut groups: BTreeMap<(Family, u32), Vec<Doubt>> = BTreeMap::new();
        for doubt in doubts {
            groups.entry((doubt.prefix.family(), doubt.table)).or_default().push(*doubt);
        }
        let mut agreed = true;
        for ((family, table), doubts) in groups {
            let prefixes = doubts.iter().map(|doubt| doubt.prefix);
            let mut sieve = match question {
                Question::Exact => Sieve::exact(prefixes),
                Question::Longest => Sieve::longest(prefixes.map(Prefix::address)),
            };
            self.search(family, table, &mut sieve)?;
            for doubt in doubts {
                let route = sieve.take(doubt.prefix);
                let route = match (doubt.refused, route) {
                    (Some(kind), Some(route)) if route.kind != kind => {
                        agreed = false;
                        None
                    }
                    (Some(_), None) => {
                        // The exact route may well be absent, and a shorter one have refused.
                        agreed &= question == Question::Exact;
                        None
                    }
                    (_, route) => route,
                };
                if let Some(slot) = found.get_mut(doubt.index) {
                    *slot = route;
                }
            }
        }
        Ok(agreed)
    }

    /// All forwarding routes inside of the pools.
    pub(super) fn within(&mut self, pools: &[Prefix]) -> Result<Vec<Route>, FibError> {
        for _ in 0..ATTEMPTS {
            let mut routes = Vec::new();
            for family in [Family::V4, Family::V6] {
                let mut sieve = Sieve::inside(pools.iter().copied().filter(|pool| pool.family() == family));
                let Sieve::Inside(pools, _) = &sieve else { continue };
                if pools.is_empty() {
                    continue;
                }
                self.search(family, self.table, &mut sieve)?;
                if let Sieve::Inside(_, found) = sieve {
                    routes.extend(found.into_values().map(Some));
                }
            }
            if let Some(routes) = self.name(routes)? {
                let mut routes: Vec<Route> = routes.into_iter().flatten().collect();
                routes.sort_by_key(|route| route.prefix);
                return Ok(routes);
            }
        }
        Err(FibError::Interrupted(ATTEMPTS))
    }

    /// Streams `table` and the local addresses of `family` through the sieve.
    fn search(&mut self, family: Family, table: u32, sieve: &mut Sieve) -> Result<(), FibError> {
        let sources = [(table, 0), (LOCAL, RTN_LOCAL)];
        let sources = if table == LOCAL { &sources[1..] } else { &sources[..] };
        'attempt: for _ in 0..ATTEMPTS {
            sieve.clear();
            for &(table, kind) in sources {
                let request = dump_request(family, table, kind);
                let ending = self.wire.dump("dump routes", RTM_GETROUTE, &request, |body| {
                    let view = RouteView::parse(body)?;
                    if view.forwards() && view.is_in(table) {
                        sieve.put(&view)?;
                    }
                    Ok(())
                })?;
                match ending {
                    // A table that was never written to does not exist.
                    Ending::Complete | Ending::Refused(libc::ENOENT) => {}
                    Ending::Interrupted => continue 'attempt,
                    Ending::Refused(code) => {
                        return Err(broken("dump routes", io::Error::from_raw_os_error(code)));
                    }
                }
            }
            return Ok(());
        }
        Err(FibError::Interrupted(ATTEMPTS))
    }

    /// Puts names to devices and hops to objects; `None` if one of them is gone: the table changed meanwhile.
    pub(super) fn name(
        &mut self,
        mut routes: Vec<Option<RawRoute>>,
    ) -> Result<Option<Vec<Option<Route>>>, FibError> {
        let unresolved = |route: &RawRoute| {
            route.kind == RouteKind::Unicast && route.object.is_some() && route.hops.is_empty()
        };
        if routes.iter().flatten().any(unresolved) {
            let objects = self.objects()?;
            for route in routes.iter_mut().flatten().filter(|route| unresolved(route)) {
                match route.object.and_then(|id| nexthop::meaning(&objects, id)) {
                    Some(Meaning::Hops(hops)) => route.hops = hops,
                    Some(Meaning::Blackhole) => route.kind = RouteKind::Blackhole,
                    None => return Ok(None),
                }
            }
        }
        let devices: BTreeSet<u32> =
            routes.iter().flatten().flat_map(|route| &route.hops).filter_map(|hop| hop.oif).collect();
        let names = self.devices(&devices.into_iter().collect::<Vec<_>>())?;
        let mut known = HashMap::new();
        Ok(routes
            .iter()
            .map(|route| match route {
                Some(route) => finish(route, &names, &mut known).map(Some),
                None => Some(None),
            })
            .collect())
    }

    /// All next-hop objects. Kernels before 5.3 have none, and say that they do not know the question.
    fn objects(&mut self) -> Result<Objects, FibError> {
        for _ in 0..ATTEMPTS {
            let mut objects = Objects::new();
            let ending = self.wire.dump("dump next-hops", RTM_GETNEXTHOP, &EVERYTHING, |body| {
                objects.extend([nexthop::parse(body)?]);
                Ok(())
            })?;
            match ending {
                Ending::Complete | Ending::Refused(libc::EOPNOTSUPP) => return Ok(objects),
                Ending::Interrupted => {}
                Ending::Refused(code) => {
                    return Err(broken("dump next-hops", io::Error::from_raw_os_error(code)));
                }
            }
        }
        Err(FibError::Interrupted(ATTEMPTS))
    }

    /// One group; `None` if it does not exist or is a single object.
    pub(super) fn group(&mut self, id: u32) -> Result<Option<NextHopGroup>, FibError> {
        Ok(match self.objects()?.remove(&id) {
            Some(Object::Group(group)) => Some(group),
            _ => None,
        })
    }

    /// Those of these groups that exist, and how they move flows if they are resilient.
    pub(super) fn groups(
        &mut self,
        ids: &BTreeSet<u32>,
    ) -> Result<BTreeMap<u32, Option<Resilient>>, FibError> {
        let mut objects = self.objects()?;
        let group = |id: &u32| match objects.remove(id) {
            Some(Object::Group(group)) => Some((*id, group.resilient)),
            _ => None,
        };
        Ok(ids.iter().filter_map(group).collect())
    }

    /// The names of devices by index, asked on this socket: `if_indextoname` would answer for the namespace of
    /// the calling thread. A device that is gone is absent.
    fn devices(&mut self, indices: &[u32]) -> Result<HashMap<u32, String>, FibError> {
        let mut names = HashMap::new();
        let body = |number: usize, out: &mut Vec<u8>| {
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&indices[number].to_ne_bytes());
            out.extend_from_slice(&[0; 8]);
            put_attribute(out, IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        };
        self.wire.ask("name a device", RTM_GETLINK, indices.len(), body, |number, reply| {
            match reply {
                Reply::Body(body) => {
                    names.insert(indices[number], device_name(body)?);
                }
                Reply::Refused(libc::ENODEV) => {}
                Reply::Refused(code) => {
                    return Err(broken("name a device", io::Error::from_raw_os_error(code)));
                }
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// Look-ups and dumps in one go, without a pause.
    pub(super) fn answer(
        &mut self,
        question: Question,
        prefixes: &[Prefix],
    ) -> Result<Vec<Option<Route>>, FibError> {
        for attempt in 1..=ATTEMPTS {
            let looks = self.look(prefixes)?;
            let (mut found, doubts) = self.judge(question, prefixes, looks)?;
            let agreed = self.settle(question, &doubts, &mut found)?;
            if !agreed && attempt < ATTEMPTS {
                continue;
            }
            if let Some(routes) = self.name(found)? {
                return Ok(routes);
            }
        }
        Err(FibError::Interrupted(ATTEMPTS))
    }
}

/// The name in the body of an `RTM_NEWLINK`.
pub(super) fn device_name(body: &[u8]) -> Result<String, Malformed> {
    let attributes = body.get(IFINFOMSG..).ok_or(Malformed("truncated link"))?;
    for attribute in Attributes(attributes) {
        if let (IFLA_IFNAME, name) = attribute? {
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            return Ok(String::from_utf8_lossy(name).into_owned());
        }
    }
    Err(Malformed("link without a name"))
}

/// `known`: the hops of other routes of this answer; many have the same.
fn finish<'a>(
    route: &'a RawRoute,
    names: &HashMap<u32, String>,
    known: &mut HashMap<&'a [RawHop], Shared<Vec<Hop>>>,
) -> Option<Route> {
    let hop = |hop: &RawHop| {
        let device = match hop.oif {
            Some(index) => Some(names.get(&index)?.clone()),
            None => None,
        };
        Some(Hop { next_hop: NextHop { address: hop.gateway, device }, state: hop.state })
    };
    let hops = match known.get(route.hops.as_slice()) {
        Some(hops) => hops.clone(),
        None => {
            let hops: Shared<Vec<Hop>> = route.hops.iter().map(hop).collect::<Option<Vec<_>>>()?.into();
            known.insert(&route.hops, hops.clone());
            hops
        }
    };
    Some(Route {
        prefix: route.prefix,
        kind: route.kind,
        protocol: route.protocol,
        table: route.table,
        metric: route.metric,
        group: route.object,
        hops,
    })
}

/// The host prefixes of addresses.
pub(super) fn hosts(addresses: &[IpAddr]) -> Vec<Prefix> {
    addresses.iter().copied().map(Prefix::host).collect()
}
