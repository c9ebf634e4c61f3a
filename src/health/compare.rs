//! Expected against observed, prefix by prefix, as sets, both ways.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::change::look::{Forwarding, Pairs};
use crate::health::DifferenceKind;
use crate::health::ladder::Rung;
use crate::intent::nexthops::{Doubt, Expectation, ExpectedVip, NextHops};
use crate::intent::settings::SwitchSettings;
use crate::net::{Hop, HopState, NextHop, PROTOCOL_BGP, Prefix, Route, RouteKind, Shared, is_link_local};

#[cfg(test)]
mod tests;

/// What one look at the forwarding table found.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// The route of each prefix that was looked up; `None` where it has none of its own.
    pub routes: BTreeMap<Prefix, Option<Route>>,
    /// The route by which each peer address is reached.
    pub peers: BTreeMap<IpAddr, Option<Route>>,
}

/// One prefix after the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// What was expected; empty for a stray route.
    pub vip: Shared<ExpectedVip>,
    /// Expected next-hops after resolution, each with the nodes behind it and the peer address it stands for.
    pub expected: Shared<BTreeMap<NextHop, Behind>>,
    /// Next-hops that forward.
    pub observed: Shared<BTreeSet<NextHop>>,
    /// The kind of the route, where it is none that forwards.
    pub wrong_kind: Option<RouteKind>,
    /// Expected and not observed.
    pub missing: BTreeSet<NextHop>,
    /// Observed and not expected.
    pub unexpected: BTreeSet<NextHop>,
    /// The next-hop group that the route uses.
    pub group: Option<u32>,
    /// Something cannot be said of it, and why.
    pub doubt: Option<Rung>,
    /// Worth saying although nothing differs.
    pub remark: Option<Remark>,
}

/// What is worth saying although nothing differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Which kind.
    pub rung: Rung,
    /// The particulars, for people.
    pub text: String,
}

/// Who is behind a next-hop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Behind {
    /// Nodes, or remote switches.
    pub nodes: BTreeSet<String>,
    /// The peer's own address, where it is not the next-hop itself.
    pub peer: Option<NextHop>,
}

impl Compared {
    /// True if forwarding is as expected, as far as anything is expected.
    pub fn is_equal(&self) -> bool {
        self.missing.is_empty()
            && self.unexpected.is_empty()
            && (self.wrong_kind.is_none() || self.is_beyond_words())
    }

    /// Nothing at all can be said of it.
    pub fn is_beyond_words(&self) -> bool {
        self.vip.doubt.as_ref().is_some_and(|doubt| doubt.of.is_none())
    }

    /// The differences: which next-hop (a route's kind where there is none), missing or unexpected.
    pub fn differences(&self) -> Vec<(DifferenceKind, String, Option<NextHop>)> {
        let named = |kind: DifferenceKind| move |hop: &NextHop| (kind, hop.to_string(), Some(hop.clone()));
        let mut all: Vec<_> = self.missing.iter().map(named(DifferenceKind::Missing)).collect();
        all.extend(self.unexpected.iter().map(named(DifferenceKind::Unexpected)));
        if let (Some(kind), true) = (self.wrong_kind, self.expected.is_empty() && !self.is_beyond_words()) {
            all.push((DifferenceKind::Unexpected, kind.to_string(), None));
        }
        all
    }
}

/// The prefixes to look up: all VIPs, and the strays that the last dump showed.
pub fn wanted_prefixes(expectation: &Expectation, strays: &BTreeSet<Prefix>) -> Vec<Prefix> {
    let mut all: BTreeSet<Prefix> = expectation.vips.keys().copied().collect();
    all.extend(strays);
    all.into_iter().collect()
}

/// The peer addresses whose own routes decide what is expected: all but link-local ones.
pub fn wanted_peers(expectation: &Expectation) -> Vec<IpAddr> {
    let lists: BTreeMap<usize, &Shared<NextHops>> =
        expectation.vips.values().map(|vip| (vip.next_hops.place(), &vip.next_hops)).collect();
    let all: BTreeSet<IpAddr> = lists
        .into_values()
        .flat_map(|next_hops| next_hops.keys())
        .filter_map(|hop| hop.address)
        .filter(|address| !is_link_local(*address))
        .collect();
    all.into_iter().collect()
}

/// Of all routes inside the pools those that nobody expects: to be looked up, one by one, before anything is said.
///
/// Inside a protected prefix only BGP's routes count: whatever else is there was put there on purpose.
pub fn strays(settings: &SwitchSettings, expectation: &Expectation, routes: &[Route]) -> BTreeSet<Prefix> {
    routes
        .iter()
        .filter(|route| settings.in_pools(route.prefix) && !expectation.vips.contains_key(&route.prefix))
        .filter(|route| !expectation.not_ours.contains(&route.prefix))
        .filter(|route| !settings.is_protected(route.prefix) || route.protocol == PROTOCOL_BGP)
        .filter(|route| !matches!(route.kind, RouteKind::Other(_)))
        .map(|route| route.prefix)
        .collect()
}

/// What is expected and what forwards, for a comparison with another time. Sets that were shared stay shared.
pub fn forwarding(compared: &BTreeMap<Prefix, Compared>) -> Forwarding {
    let mut expected: HashMap<usize, Shared<BTreeSet<NextHop>>> = HashMap::new();
    let pairs = compared.iter().map(|(prefix, compared)| {
        let of = &compared.expected;
        let names = || Shared::from(of.keys().cloned().collect::<BTreeSet<_>>());
        let expected = expected.entry(of.place()).or_insert_with(names).clone();
        (*prefix, Pairs { expected, observed: compared.observed.clone() })
    });
    Forwarding(pairs.collect())
}

/// Sets the look against the expectation. Strays without a route are left out.
pub fn compare(expectation: &Expectation, look: &Look) -> BTreeMap<Prefix, Compared> {
    let nobody = Shared::default();
    let mut pairs = Meetings {
        peers: &look.peers,
        leaving: &expectation.leaving,
        unsure: &expectation.unsure,
        nobody: Shared::default(),
        nothing: Shared::default(),
        resolved: HashMap::new(),
        met: HashMap::new(),
    };
    look.routes
        .iter()
        .filter(|(prefix, route)| route.is_some() || expectation.vips.contains_key(prefix))
        .map(|(prefix, route)| {
            let vip = expectation.vips.get(prefix).unwrap_or(&nobody);
            (*prefix, pairs.compare_one(vip, route.as_ref()))
        })
        .collect()
}

/// Pairs of expected and observed next-hops that were compared: most VIPs have theirs in common with others.
struct Meetings<'a> {
    peers: &'a BTreeMap<IpAddr, Option<Route>>,
    leaving: &'a BTreeSet<NextHop>,
    unsure: &'a BTreeMap<NextHop, Rung>,
    /// No next-hop is in doubt.
    nobody: Shared<BTreeSet<NextHop>>,
    /// The hops of no route.
    nothing: Shared<Vec<Hop>>,
    /// By the place of the expected next-hops.
    resolved: HashMap<usize, Shared<BTreeMap<NextHop, Behind>>>,
    /// By the places of what is expected, of what is in doubt, and of what was seen.
    met: HashMap<(usize, usize, usize), Met>,
}

/// One such pair.
#[derive(Clone)]
struct Met {
    observed: Shared<BTreeSet<NextHop>>,
    missing: BTreeSet<NextHop>,
    unexpected: BTreeSet<NextHop>,
    /// A next-hop of which nobody knows whether it is expected.
    doubt: Option<Rung>,
}

impl Meetings<'_> {
    fn compare_one(&mut self, vip: &Shared<ExpectedVip>, route: Option<&Route>) -> Compared {
        let (at, peers) = (vip.next_hops.place(), self.peers);
        let expected =
            self.resolved.entry(at).or_insert_with(|| resolve(&vip.next_hops, peers).into()).clone();
        let wrong_kind = route.map(|route| route.kind).filter(|kind| *kind != RouteKind::Unicast);
        let hops = match (route, wrong_kind) {
            (Some(route), None) => &route.hops,
            _ => &self.nothing,
        };
        let (leaving, unsure) = (self.leaving, self.unsure);
        let doubt = vip.doubt.as_ref();
        let doubtful = doubt.and_then(|doubt| doubt.of.as_ref()).unwrap_or(&self.nobody);
        let met = self
            .met
            .entry((at, doubtful.place(), hops.place()))
            .or_insert_with(|| meet(&expected, hops, &Unjudged { leaving, doubtful, unsure }));
        let Met { observed, missing, unexpected, doubt: seen } = met.clone();
        let (missing, unexpected) = match doubt {
            Some(Doubt { of: None, .. }) => (BTreeSet::new(), BTreeSet::new()),
            _ => (missing, unexpected),
        };
        let doubt = doubt.map(|doubt| doubt.rung).or(seen);
        let group = route.and_then(|route| route.group);
        Compared {
            vip: vip.clone(),
            expected,
            observed,
            wrong_kind,
            missing,
            unexpected,
            group,
            doubt,
            remark: None,
        }
    }
}

/// Next-hops that are neither expected nor unexpected.
struct Unjudged<'a> {
    leaving: &'a BTreeSet<NextHop>,
    doubtful: &'a BTreeSet<NextHop>,
    unsure: &'a BTreeMap<NextHop, Rung>,
}

impl Unjudged<'_> {
    fn has(&self, hop: &NextHop) -> bool {
        let Self { leaving, doubtful, unsure: _ } = self;
        leaving.iter().chain(*doubtful).any(|one| one.is_met_by(hop)) || self.unsure(hop).is_some()
    }

    fn unsure(&self, hop: &NextHop) -> Option<Rung> {
        self.unsure.iter().find(|(one, _)| one.is_met_by(hop)).map(|(_, why)| *why)
    }
}

fn meet(expected: &BTreeMap<NextHop, Behind>, hops: &[Hop], unjudged: &Unjudged<'_>) -> Met {
    let live = live(hops);
    let unexpected = || live.iter().filter(|(_, hop)| !expected.keys().any(|e| e.is_met_by(hop)));
    Met {
        doubt: unexpected().find_map(|(_, hop)| unjudged.unsure(hop)),
        observed: live.keys().cloned().collect(),
        missing: expected.keys().filter(|e| !live.values().any(|hop| e.is_met_by(hop))).cloned().collect(),
        unexpected: unexpected()
            .filter(|(_, hop)| !unjudged.has(hop))
            .map(|(name, _)| name.clone())
            .collect(),
    }
}

/// The hops that forward, whole, by the shortest form that still names each: one address may stand behind several
/// devices, and an expectation by device needs to know which of them are alive.
fn live(hops: &[Hop]) -> BTreeMap<NextHop, &NextHop> {
    let whole: BTreeSet<&NextHop> =
        hops.iter().filter(|hop| hop.state == HopState::Live).map(|hop| &hop.next_hop).collect();
    let name = |hop: &NextHop| {
        let short = hop.canonical();
        let alone = whole.iter().filter(|other| other.canonical() == short).count() == 1;
        if alone { short } else { hop.clone() }
    };
    whole.iter().map(|hop| (name(hop), *hop)).collect()
}

/// Expected next-hops as the FIB would write them: where a peer is not directly connected, what its address resolves
/// to now. A default route resolves nothing: BGP would not use it either.
fn resolve(next_hops: &NextHops, peers: &BTreeMap<IpAddr, Option<Route>>) -> BTreeMap<NextHop, Behind> {
    let mut expected: BTreeMap<NextHop, Behind> = BTreeMap::new();
    for (hop, nodes) in next_hops {
        let route = hop.address.and_then(|address| peers.get(&address)).and_then(Option::as_ref);
        let gateways: Vec<NextHop> = match route {
            Some(route) if route.kind == RouteKind::Unicast && !route.prefix.is_default() => {
                route.live().into_iter().filter(|gateway| gateway.address.is_some()).collect()
            }
            _ => Vec::new(),
        };
        if gateways.is_empty() || gateways.contains(hop) {
            expected.entry(hop.clone()).or_default().nodes.extend(nodes.iter().cloned());
            continue;
        }
        for gateway in gateways {
            let behind = expected.entry(gateway).or_default();
            behind.nodes.extend(nodes.iter().cloned());
            behind.peer = Some(hop.clone());
        }
    }
    expected
}
