//! Which nodes announce a Service's address: the speaker's own rule.
//!
//! The rule is MetalLB's (`speaker/bgp_controller.go`), because it is what runs at the other end: an advertisement
//! matches pool, service and node, and a session brings it here; the node is not `NetworkUnavailable` and does not carry
//! the exclude label; with policy Local it has an endpoint that counts, with policy Cluster there is such an endpoint
//! anywhere. Cordon, taints and `Ready` do not matter. What is announced, and by whom, is a value ([`Scheme`]): MetalLB's
//! own objects supply it ([`crate::intent::metallb`]); without those, one plain advertisement stands for all.
//!
//! Whether a node announces can have three answers, and the third, *cannot be told*, is never turned into one of the
//! others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::health::ladder::Rung;
use crate::intent::settings::LabelSelector;
use crate::intent::snapshot::{NodeFacts, ServiceFacts, TrafficPolicy};
use crate::net::{Family, Prefix, Shared};

mod scheme;
#[cfg(test)]
mod tests;

pub use scheme::{Carries, Families, Leads, PoolRange, Pools, Scheme, Session, Speaker, contradict};

/// One way in which addresses are announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// The pools whose addresses it is for, by their numbers; `None` means all.
    pub pools: Option<BTreeSet<usize>>,
    /// Only these nodes; empty means all.
    pub nodes: Vec<LabelSelector>,
    /// Only these Services; empty means all.
    pub services: Vec<LabelSelector>,
    /// Length of the announced IPv4 prefix, 0–32.
    pub length_v4: u8,
    /// Length of the announced IPv6 prefix, 0–128.
    pub length_v6: u8,
    /// Only over the sessions of these peers; empty means all.
    pub peers: BTreeSet<String>,
    /// What it adds to the path.
    pub preference: Preference,
}

/// What of a path decides whether it is preferred to that of another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Preference {
    /// `LOCAL_PREF`, higher wins; 0 means that it is left to the speaker: MetalLB's native one then sends 0, its FRR nothing, which
    /// counts as 100. Sent within an AS only.
    pub local: u32,
    /// How often the AS path is made longer; less wins.
    pub prepend: u8,
}

impl Advertisement {
    /// Every node announces every Service's address itself.
    pub fn plain() -> Self {
        Self {
            pools: None,
            nodes: Vec::new(),
            services: Vec::new(),
            length_v4: 32,
            length_v6: 128,
            peers: BTreeSet::new(),
            preference: Preference::default(),
        }
    }

    /// True if it is for the addresses of the pool of this number.
    pub fn is_for(&self, pool: usize) -> bool {
        self.pools.as_ref().is_none_or(|pools| pools.contains(&pool))
    }

    /// Length of the announced prefix of this family.
    pub fn length(&self, family: Family) -> u8 {
        match family {
            Family::V4 => self.length_v4,
            Family::V6 => self.length_v6,
        }
    }

    fn prefix(&self, address: IpAddr) -> Prefix {
        Prefix::new(address, self.length(Family::of(address))).unwrap_or(Prefix::host(address))
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
    /// Names of the announcing nodes, and what their paths are worth.
    pub nodes: BTreeMap<&'a str, Preference>,
    /// Nodes that do not announce although an advertisement matches them, or by MetalLB's rule none does, and why.
    pub silent: BTreeMap<&'a str, Rung>,
    /// Nodes of which it cannot be told, and why.
    pub unsure: BTreeMap<&'a str, Rung>,
    /// Those of them that announce it in two ways: one path of the two is sent, and which one depends on the speaker's kind.
    mixed: BTreeSet<&'a str>,
}

impl Announcers<'_> {
    /// Another advertisement, or another Service, of the same prefix.
    pub fn join(&mut self, more: &Self) {
        let Self { nodes, silent, unsure, mixed } = more;
        self.mixed.extend(mixed);
        for (node, preference) in nodes {
            if self.nodes.insert(node, *preference).is_some_and(|before| before != *preference) {
                self.mixed.insert(node);
            }
        }
        for (node, why) in silent {
            // Of several the one that comes closest to being announced explains.
            self.silent.entry(node).and_modify(|rung| *rung = (*rung).max(*why)).or_insert(*why);
        }
        for (node, why) in unsure {
            self.unsure.entry(node).and_modify(|rung| *rung = (*rung).max(*why)).or_insert(*why);
        }
        let Self { nodes, unsure, mixed, .. } = self;
        nodes.retain(|node, _| !mixed.contains(node));
        // What one surely announces does not depend on the other.
        unsure.retain(|node, _| !nodes.contains_key(node));
        unsure.extend(mixed.iter().map(|node| (*node, Rung::AnnouncementUncertain)));
    }
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
    scheme: &'a Scheme,
    known: HashMap<Alike, Known<'a>>,
    nobody: Shared<Announcers<'a>>,
}

/// What of a Service and its endpoints decides who announces a prefix of it. With policy Cluster it does not matter where the
/// endpoints are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Alike {
    /// Those that announce this prefix, by number.
    advertisements: Vec<usize>,
    family: Family,
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
    /// For these candidates.
    pub fn new(candidates: &'a [Candidate<'a>], scheme: &'a Scheme) -> Self {
        let mut nobody = Announcers::default();
        for candidate in candidates {
            match scheme.speaker(candidate.name) {
                Speaker::Unsure(why) => nobody.unsure.insert(candidate.name, *why),
                Speaker::Everybody | Speaker::None | Speaker::Peers(_) => {
                    nobody.silent.insert(candidate.name, Rung::NotAdvertised)
                }
            };
        }
        Self { candidates, scheme, known: HashMap::new(), nobody: nobody.into() }
    }

    /// The prefixes by which `service` is announced, and by whom, for one of its addresses.
    ///
    /// A prefix with no announcing node is present as long as an advertisement matches the Service: it must be absent
    /// from the table, and `silent` says why. Where there are pools, an address that no advertisement covers must be
    /// absent too.
    pub fn announcers(
        &mut self,
        service: &ServiceFacts,
        address: IpAddr,
        endpoints: &Endpoints,
    ) -> BTreeMap<Prefix, Shared<Announcers<'a>>> {
        let scheme = self.scheme;
        let mine = scheme.advertisements_of(service);
        if mine.is_empty() {
            let nobody = scheme.pools.is_some().then(|| (Prefix::host(address), self.nobody.clone()));
            return nobody.into_iter().collect();
        }
        let clashing = scheme.clashing(&mine, service);
        let mut of_prefix: BTreeMap<Prefix, Vec<usize>> = BTreeMap::new();
        for number in mine {
            if let Some(advertisement) = scheme.advertisements.get(number) {
                of_prefix.entry(advertisement.prefix(address)).or_default().push(number);
            }
        }
        let (family, candidates) = (Family::of(address), self.candidates);
        let local = (service.policy == TrafficPolicy::Local).then(|| endpoints.nodes.place());
        let mut result = BTreeMap::new();
        for (prefix, advertisements) in of_prefix {
            let of_all = || {
                let mut announcers = Announcers::default();
                for one in advertisements.iter().filter_map(|number| scheme.advertisements.get(*number)) {
                    announcers.join(&of_one((scheme, one, family), service.policy, endpoints, candidates));
                }
                Known { announcers: announcers.into(), _nodes: endpoints.nodes.clone() }
            };
            let alike = Alike { advertisements: advertisements.clone(), family, any: endpoints.any, local };
            let mut announcers = self.known.entry(alike).or_insert_with(of_all).announcers.clone();
            for (one, other) in &clashing {
                silence_both((one, other), candidates, announcers.own());
            }
            result.insert(prefix, announcers);
        }
        result
    }
}

/// A node for which two advertisements of a Service contradict each other announces nothing of it.
fn silence_both(
    (one, other): (&Advertisement, &Advertisement),
    candidates: &[Candidate<'_>],
    Announcers { nodes, silent, unsure, mixed: _ }: &mut Announcers<'_>,
) {
    let of_both = |candidate: &&Candidate<'_>| {
        let labels = candidate.facts.map(|facts| &facts.labels);
        labels.is_some_and(|labels| matches(&one.nodes, labels) && matches(&other.nodes, labels))
    };
    let clashing: BTreeSet<&str> =
        candidates.iter().filter(of_both).map(|candidate| candidate.name).collect();
    for (_, why) in silent.iter_mut().filter(|(node, _)| clashing.contains(**node)) {
        *why = Rung::NotAdvertised;
    }
    nodes.retain(|node, _| {
        let stays = !clashing.contains(node);
        if !stays {
            silent.insert(node, Rung::NotAdvertised);
        }
        stays
    });
    unsure.retain(|node, why| *why != Rung::AnnouncementUncertain || !clashing.contains(node));
}

fn of_one<'a>(
    (scheme, advertisement, family): (&Scheme, &Advertisement, Family),
    policy: TrafficPolicy,
    endpoints: &Endpoints,
    candidates: &[Candidate<'a>],
) -> Announcers<'a> {
    let mut announcers = Announcers::default();
    let no_labels = BTreeMap::new();
    for candidate in candidates {
        let speaker = scheme.speaker(candidate.name);
        let quiet = silence(policy, candidate, endpoints);
        match (speaker, quiet) {
            (Speaker::Unsure(Rung::ConfigurationRefused), Some(_)) => {}
            (Speaker::Unsure(why), _) => {
                announcers.unsure.insert(candidate.name, *why);
                continue;
            }
            (Speaker::Everybody | Speaker::None | Speaker::Peers(_), _) => {}
        }
        let labels = candidate.facts.map_or(&no_labels, |facts| &facts.labels);
        let matched = matches(&advertisement.nodes, labels);
        if !matched && scheme.pools.is_none() {
            continue;
        }
        // Without an endpoint it would not announce whatever else holds, so nothing else explains.
        let why = match quiet {
            Some(Rung::NoEndpoints) => Some(Rung::NoEndpoints),
            _ if !matched => Some(Rung::NotAdvertised),
            _ if *speaker == Speaker::None => Some(Rung::NoSpeaker),
            other => other,
        };
        if let Some(why) = why {
            announcers.silent.insert(candidate.name, why);
            continue;
        }
        match speaker.carries(advertisement, family) {
            Carries::Yes(preference) => drop(announcers.nodes.insert(candidate.name, preference)),
            Carries::No => drop(announcers.silent.insert(candidate.name, Rung::NotAdvertised)),
            Carries::Perhaps => {
                announcers.unsure.insert(candidate.name, Rung::AnnouncementUncertain);
            }
        }
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

/// One of the selectors selects, or there are none.
pub fn matches(selectors: &[LabelSelector], labels: &BTreeMap<String, String>) -> bool {
    selectors.is_empty() || selectors.iter().any(|selector| selector.selects(labels))
}
