//! MetalLB's own objects, and what its speakers make of them.
//!
//! A speaker reads pools, advertisements, peers and communities of its own namespace, leaves out what is for other nodes,
//! and refuses the rest as a whole if anything in it is wrong: then what was in force before goes on, and nobody shows what
//! that was. This module repeats that ([`check`]), and turns what a speaker takes into a [`Scheme`]. It never guesses: what
//! it cannot know from the objects (secrets, BFD profiles, what the speaker's kind of BGP can do) the speaker's own
//! `ConfigurationState` says.
//!
//! The rules are those of MetalLB 0.16 (`internal/config`, `internal/k8s/controllers/config_controller.go`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::health::ladder::Rung;
use crate::intent::announce::{
    Advertisement, Families, Leads, PoolRange, Pools, Preference, Scheme, Session, Speaker, matches,
};
use crate::intent::nexthops::Peers;
use crate::intent::settings::SwitchSettings;
use crate::intent::snapshot::{ClusterFacts, Issue, NodeFacts, ObjectName};
use crate::net::{Family, Prefix, cidr_cover, is_link_local};

mod check;
pub mod objects;
pub mod read;
mod selector;
pub mod standing;
#[cfg(test)]
mod tests;

pub use objects::{Asn, BgpAdvertisement, Community, Flaw, Item, Object, Peer, Pool, Scope, State};

/// The namespace where MetalLB's own manifests put it.
pub const NAMESPACE: &str = "metallb-system";

/// All of MetalLB's objects at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetalLb {
    /// `IPAddressPool`.
    pub pools: Vec<Item<Pool>>,
    /// `BGPAdvertisement`.
    pub advertisements: Vec<Item<BgpAdvertisement>>,
    /// `BGPPeer`.
    pub peers: Vec<Item<Peer>>,
    /// `Community`.
    pub communities: Vec<Item<Community>>,
    /// `ConfigurationState` of the speakers.
    pub states: Vec<Item<State>>,
    /// Its CRDs are gone: this is how it was before.
    pub vanished: bool,
}

impl MetalLb {
    /// Takes in one more object.
    pub fn add(&mut self, object: Object) {
        match object {
            Object::Pool(item) => self.pools.push(item),
            Object::Advertisement(item) => self.advertisements.push(item),
            Object::Peer(item) => self.peers.push(item),
            Object::Community(item) => self.communities.push(item),
            Object::State(item) => self.states.push(item),
        }
    }

    /// The addresses that its peers have, as far as they have one that means the same everywhere: whether this switch has them
    /// too is for its forwarding table to say.
    pub fn peer_addresses(&self) -> BTreeSet<IpAddr> {
        let all = self.peers.iter().filter_map(|peer| peer.spec.address);
        all.filter(|address| !is_link_local(*address)).collect()
    }

    /// Only what lies in `namespace`, where MetalLB runs; each other object is an issue, for it means nothing to it.
    fn within(&self, namespace: &str, issues: &mut Vec<Issue>) -> Self {
        let mut stray = |kind: &str, name: &ObjectName| {
            let ours = name.namespace == namespace;
            if !ours {
                let message = format!("lies outside of namespace {namespace}, so MetalLB does not see it");
                issues.push(Issue::new(format!("{kind} {name}"), "OutsideMetalLB", message));
            }
            ours
        };
        let mut own = self.clone();
        own.pools.retain(|item| stray("IPAddressPool", &item.name));
        own.advertisements.retain(|item| stray("BGPAdvertisement", &item.name));
        own.peers.retain(|item| stray("BGPPeer", &item.name));
        own.communities.retain(|item| stray("Community", &item.name));
        own.states.retain(|item| item.name.namespace == namespace);
        own
    }
}

/// How `facts` are announced towards the switch with these settings and neighbours. What is wrong with MetalLB's objects, and
/// what they name in vain, is added to `issues`.
pub fn scheme(
    facts: &ClusterFacts,
    settings: &SwitchSettings,
    peers: &Peers,
    issues: &mut Vec<Issue>,
) -> Scheme {
    let Some(metallb) = &facts.metallb else { return Scheme::plain() };
    let namespace = facts.metallb_namespace.as_deref().unwrap_or(NAMESPACE);
    let metallb = Reading::of(metallb.within(namespace, issues));
    let refusals = check::refusals(&metallb, facts);
    check::say(&refusals, issues);
    metallb.named_in_vain(facts, issues);
    metallb.outside_bounds(settings, issues);
    let speakers = facts
        .nodes
        .iter()
        .map(|node| {
            let speaker = match refusals.get(&node.name) {
                _ if metallb.objects.vanished => Speaker::Unsure(Rung::ExpectationStale),
                _ if metallb.is_without_speaker(&node.name) => Speaker::None,
                Some(_) => Speaker::Unsure(Rung::ConfigurationRefused),
                None => Speaker::Peers(metallb.sessions(node, peers, facts.here.as_ref())),
            };
            (node.name.clone(), speaker)
        })
        .chain(nodeless(&metallb, facts, peers))
        .collect();
    let Reading { pools, advertised, .. } = metallb;
    Scheme { pools: Some(pools), advertisements: advertised, speakers: Some(speakers) }
}

/// MetalLB's objects in its own namespace, and what is worked out of them once.
struct Reading {
    objects: MetalLb,
    pools: Pools,
    /// As many, and in the same order, as there are objects.
    advertised: Vec<Advertisement>,
    /// Nodes whose speakers have said how they stand.
    speaking: BTreeSet<String>,
}

/// Neighbours that Git lists and that have no Node: a speaker there keeps the configuration that it has.
fn nodeless(metallb: &Reading, facts: &ClusterFacts, peers: &Peers) -> Vec<(String, Speaker)> {
    let known: BTreeSet<&str> = facts.nodes.iter().map(|node| node.name.as_str()).collect();
    let unknown = peers.keys().filter(|name| !known.contains(name.as_str()));
    unknown
        .filter(|name| !metallb.is_without_speaker(name))
        .map(|name| (name.clone(), Speaker::Unsure(Rung::ConfigurationRefused)))
        .collect()
}

impl Reading {
    fn of(objects: MetalLb) -> Self {
        let speaking = objects.states.iter().map(|state| state.spec.node.clone()).collect();
        Self { pools: objects.pool_ranges(), advertised: objects.advertised(), speaking, objects }
    }

    /// Each advertisement as an object, and what it means.
    fn advertisements(&self) -> impl Iterator<Item = (&Item<BgpAdvertisement>, &Advertisement)> {
        self.objects.advertisements.iter().zip(&self.advertised)
    }

    /// True if other nodes' speakers have said how they stand and this one's has not: there is none.
    fn is_without_speaker(&self, node: &str) -> bool {
        !self.speaking.is_empty() && !self.speaking.contains(node)
    }

    /// The peers of one node that lead, or may lead, to this switch.
    fn sessions(&self, node: &NodeFacts, peers: &Peers, here: Option<&BTreeSet<IpAddr>>) -> Vec<Session> {
        let neighbour = peers.get(&node.name);
        // Known here by the interface, so that nobody knows an address: the speaker must know this switch so too.
        let unnumbered =
            neighbour.is_some_and(|hops| hops.iter().any(|hop| hop.address.is_none_or(is_link_local)));
        let leads = |peer: &Peer| match (neighbour, peer.address) {
            // Nothing of it comes here; what it announces matters for a switch behind which it is.
            (None, _) => Some(Leads::Here),
            (Some(_), Some(address)) if is_link_local(address) => unnumbered.then_some(Leads::Perhaps),
            (Some(_), Some(address)) => match here {
                Some(own) => own.contains(&address).then_some(Leads::Here),
                None => Some(Leads::Perhaps),
            },
            (Some(_), None) => unnumbered.then_some(Leads::Perhaps),
        };
        let mine = self.objects.peers.iter().filter(|peer| matches(&peer.spec.nodes, &node.labels));
        mine.filter_map(|peer| {
            Some(Session {
                peer: peer.name.name.clone(),
                leads: leads(&peer.spec)?,
                families: match peer.spec.address {
                    Some(address) if !peer.spec.both_families => Families::Only(Family::of(address)),
                    _ => Families::Both,
                },
                internal: peer.spec.is_internal(),
            })
        })
        .collect()
    }

    /// Names and selectors that match nothing: MetalLB calls them valid, and announces nothing.
    fn named_in_vain(&self, facts: &ClusterFacts, issues: &mut Vec<Issue>) {
        let pools: BTreeSet<&str> = self.objects.pools.iter().map(|pool| pool.name.name.as_str()).collect();
        let peers: BTreeSet<&str> = self.objects.peers.iter().map(|peer| peer.name.name.as_str()).collect();
        for (Item { name, spec, .. }, means) in self.advertisements() {
            let no_pools = means.pools.as_ref().is_some_and(BTreeSet::is_empty);
            let mut say = |reason, message: String| {
                issues.push(Issue::new(format!("BGPAdvertisement {name}"), reason, message));
            };
            let missing = |named: &[String], known: &BTreeSet<&str>| -> Vec<String> {
                named.iter().filter(|name| !known.contains(name.as_str())).cloned().collect()
            };
            let (no_peer, no_pool) = (missing(&spec.peers, &peers), missing(&spec.pools, &pools));
            if !no_peer.is_empty() {
                let rest = if no_peer.len() == spec.peers.len() {
                    "so it announces nothing, while MetalLB calls it valid"
                } else {
                    "the other peers are served"
                };
                say("NoSuchPeer", format!("spec.peers: there is no BGPPeer {}; {rest}", no_peer.join(", ")));
            }
            if !no_pool.is_empty() {
                let rest = if no_pools {
                    "so it announces nothing, while MetalLB calls it valid"
                } else {
                    "the other pools are announced"
                };
                let names = no_pool.join(", ");
                say("NoSuchPool", format!("spec.ipAddressPools: there is no IPAddressPool {names}; {rest}"));
            } else if no_pools {
                let problem = "spec.ipAddressPoolSelectors: select no IPAddressPool, so it announces nothing";
                say("NoSuchPool", problem.to_owned());
            }
            if !facts.nodes.iter().any(|node| matches(&spec.nodes, &node.labels)) && !facts.nodes.is_empty() {
                say("NoSuchNode", "spec.nodeSelectors: select no Node, so nobody announces by it".to_owned());
            }
        }
    }

    /// Pools that are announced and reach beyond what Git allows: those addresses are not taken here.
    fn outside_bounds(&self, settings: &SwitchSettings, issues: &mut Vec<Issue>) {
        let announced = |number: usize| self.advertised.iter().any(|one| one.is_for(number));
        for (number, Item { name, spec, .. }) in self.objects.pools.iter().enumerate() {
            let outside = |block: &&objects::Block| {
                let cover: Vec<Prefix> = cidr_cover(block.first, block.last).unwrap_or_default();
                !cover.iter().all(|prefix| settings.in_pools(*prefix))
            };
            let texts: Vec<&str> =
                spec.blocks.iter().filter(outside).map(|block| block.text.as_str()).collect();
            if !texts.is_empty() && announced(number) {
                let message =
                    format!("{} lies outside of vips.pools and is not taken here", texts.join(", "));
                issues.push(Issue::new(format!("IPAddressPool {name}"), "PoolOutsideBounds", message));
            }
        }
    }
}

impl MetalLb {
    fn pool_ranges(&self) -> Pools {
        let mut pools = Pools::default();
        for (number, pool) in self.pools.iter().enumerate() {
            let blocks = &pool.spec.blocks;
            pools.ranges.extend(blocks.iter().map(|block| PoolRange {
                first: block.first,
                last: block.last,
                pool: number,
            }));
            let has = |family| blocks.iter().any(|block| Family::of(block.first) == family);
            pools.families.push((has(Family::V4), has(Family::V6)));
        }
        pools.ranges.sort();
        pools
    }

    /// The pools that an advertisement is for; `None` means all.
    fn pools_of(&self, advertisement: &BgpAdvertisement) -> Option<BTreeSet<usize>> {
        let BgpAdvertisement { pools, pool_selectors, .. } = advertisement;
        if pools.is_empty() && pool_selectors.is_empty() {
            return None;
        }
        let named = |pool: &Item<Pool>| pools.contains(&pool.name.name);
        let selected = |pool: &Item<Pool>| pool_selectors.iter().any(|one| one.selects(&pool.labels));
        let all = self.pools.iter().enumerate();
        Some(all.filter(|(_, pool)| named(pool) || selected(pool)).map(|(number, _)| number).collect())
    }

    fn advertised(&self) -> Vec<Advertisement> {
        let of = |item: &Item<BgpAdvertisement>| {
            let spec = &item.spec;
            Advertisement {
                pools: self.pools_of(spec),
                nodes: spec.nodes.clone(),
                services: spec.services.clone(),
                length_v4: spec.length_v4,
                length_v6: spec.length_v6,
                peers: spec.peers.iter().cloned().collect(),
                preference: Preference { local: spec.local_pref, prepend: spec.prepend },
            }
        };
        self.advertisements.iter().map(of).collect()
    }
}
