//! Which nodes announce a Service's address: the speaker's own rule.
//!
//! The rule is MetalLB's (`speaker/bgp_controller.go`), because it is what runs at the other end: an advertisement
//! matches service and node; the node is not `NetworkUnavailable` and does not carry the exclude label; with
//! policy Local it has an endpoint that counts, with policy Cluster there is such an endpoint anywhere. Cordon,
//! taints and `Ready` do not matter. Advertisements are a value, so that MetalLB's own objects can supply them;
//! without those, one plain advertisement stands for all.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::health::ladder::Rung;
use crate::intent::settings::LabelSelector;
use crate::intent::snapshot::{NodeFacts, ServiceFacts, TrafficPolicy};
use crate::net::{Family, Prefix, Shared};

#[cfg(test)]
mod tests;

/// One way in which addresses are announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// Only these nodes; empty means all.
    pub nodes: Vec<LabelSelector>,
    /// Only these Services; empty means all.
    pub services: Vec<LabelSelector>,
    /// Length of the announced IPv4 prefix, 0–32.
    pub length_v4: u8,
    /// Length of the announced IPv6 prefix, 0–128.
    pub length_v6: u8,
}

impl Advertisement {
    /// Every node announces every Service's address itself.
    pub fn plain() -> Self {
        Self { nodes: Vec::new(), services: Vec::new(), length_v4: 32, length_v6: 128 }
    }

    fn prefix(&self, address: IpAddr) -> Prefix {
        let length = match Family::of(address) {
            Family::V4 => self.length_v4,
            Family::V6 => self.length_v6,
        };
        Prefix::new(address, length).unwrap_or(Prefix::host(address))
    }
}

/// Where a Service has endpoints that count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Nodes with at least one.
    pub nodes: Shared<BTreeSet<String>>,
    /// At least one anywhere.
    pub any: bool,
}

/// Who announces one prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcers<'a> {
    /// Names of the announcing nodes.
    pub nodes: BTreeSet<&'a str>,
    /// Nodes that do not announce although an advertisement matches them, and why.
    pub silent: BTreeMap<&'a str, Rung>,
}

/// A candidate announcer: a Node, or a name in Git for which there is no Node object.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Name.
    pub name: &'a str,
    /// The Node, if there is one.
    pub facts: Option<&'a NodeFacts>,
}

/// The rule for all Services of one cluster: what many of them have in common is worked out once.
#[derive(Debug)]
pub struct Rule<'a> {
    candidates: &'a [Candidate<'a>],
    advertisements: &'a [Advertisement],
    known: HashMap<Alike, Known<'a>>,
}

/// What of a Service and its endpoints decides who announces it, beside the advertisement, which is told by its place.
/// With policy Cluster it does not matter where the endpoints are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Alike {
    advertisement: usize,
    any: bool,
    /// The place of the set of nodes.
    local: Option<usize>,
}

#[derive(Debug)]
struct Known<'a> {
    announcers: Shared<Announcers<'a>>,
    /// Held, so that no other set comes to its place.
    _nodes: Shared<BTreeSet<String>>,
}

impl<'a> Rule<'a> {
    /// For these candidates and advertisements.
    pub fn new(candidates: &'a [Candidate<'a>], advertisements: &'a [Advertisement]) -> Self {
        Self { candidates, advertisements, known: HashMap::new() }
    }

    /// The prefixes by which `service` is announced, and by whom, for one of its addresses.
    ///
    /// A prefix with no announcing node is present as long as an advertisement matches the Service: it must be absent
    /// from the table, and `silent` says why.
    pub fn announcers(
        &mut self,
        service: &ServiceFacts,
        address: IpAddr,
        endpoints: &Endpoints,
    ) -> BTreeMap<Prefix, Shared<Announcers<'a>>> {
        let mut result: BTreeMap<Prefix, Shared<Announcers<'a>>> = BTreeMap::new();
        for (number, advertisement) in self.advertisements.iter().enumerate() {
            if !matches(&advertisement.services, &service.labels) {
                continue;
            }
            let local = (service.policy == TrafficPolicy::Local).then(|| endpoints.nodes.place());
            let alike = Alike { advertisement: number, any: endpoints.any, local };
            let candidates = self.candidates;
            let known = self.known.entry(alike).or_insert_with(|| Known {
                announcers: of_one(advertisement, service.policy, endpoints, candidates).into(),
                _nodes: endpoints.nodes.clone(),
            });
            match result.entry(advertisement.prefix(address)) {
                Entry::Vacant(entry) => {
                    entry.insert(known.announcers.clone());
                }
                Entry::Occupied(mut entry) => {
                    let Announcers { nodes, silent } = &*known.announcers;
                    let both = entry.get_mut().own();
                    both.nodes.extend(nodes);
                    both.silent.extend(silent);
                }
            }
        }
        result
    }
}

fn of_one<'a>(
    advertisement: &Advertisement,
    policy: TrafficPolicy,
    endpoints: &Endpoints,
    candidates: &[Candidate<'a>],
) -> Announcers<'a> {
    let mut announcers = Announcers::default();
    let no_labels = BTreeMap::new();
    for candidate in candidates {
        let labels = candidate.facts.map_or(&no_labels, |facts| &facts.labels);
        if !matches(&advertisement.nodes, labels) {
            continue;
        }
        match silence(policy, candidate, endpoints) {
            None => announcers.nodes.insert(candidate.name),
            Some(why) => announcers.silent.insert(candidate.name, why).is_none(),
        };
    }
    announcers
}

/// Why a matched node does not announce. A node without an endpoint would not announce anyway, so its own state explains
/// nothing.
fn silence(policy: TrafficPolicy, candidate: &Candidate<'_>, endpoints: &Endpoints) -> Option<Rung> {
    let has_endpoint = match policy {
        TrafficPolicy::Cluster => endpoints.any,
        TrafficPolicy::Local => endpoints.nodes.contains(candidate.name),
    };
    if !has_endpoint {
        return Some(Rung::NoEndpoints);
    }
    let facts = candidate.facts?;
    if facts.network_unavailable {
        return Some(Rung::NodeNetworkUnavailable);
    }
    facts.is_excluded().then_some(Rung::NodeExcluded)
}

fn matches(selectors: &[LabelSelector], labels: &BTreeMap<String, String>) -> bool {
    selectors.is_empty() || selectors.iter().any(|selector| selector.selects(labels))
}
