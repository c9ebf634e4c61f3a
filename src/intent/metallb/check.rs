//! What a speaker refuses: its whole configuration, for one thing that is wrong in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::objects::{Item, Scope, overlap};
use super::read::value_of_community;
use super::{BgpAdvertisement, MetalLb, Refusals};
use crate::intent::announce::{Advertisement, Pools, contradict, matches};
use crate::intent::snapshot::{ClusterFacts, Issue, NodeFacts};
use crate::net::Family;

/// One thing that is wrong: with which object, and what.
type Wrong = (String, String);

/// What is the same on every node.
struct Together {
    pools: Pools,
    /// As many, and in the same order, as there are objects.
    advertised: Vec<Advertisement>,
}

/// By node, what its speaker refuses: by the rules that are known here, and by its own word.
pub(super) fn refusals(metallb: &MetalLb, facts: &ClusterFacts) -> Refusals {
    let everywhere = everywhere(metallb);
    let together = Together { pools: metallb.pool_ranges(), advertised: metallb.advertised() };
    let mut refusals: Refusals = BTreeMap::new();
    let speaks = |node: &&Arc<NodeFacts>| {
        !facts.switches.contains(&node.name) && !metallb.is_without_speaker(&node.name)
    };
    for node in facts.nodes.iter().filter(speaks) {
        let wrong =
            if everywhere.is_empty() { on_node(metallb, &together, node) } else { everywhere.clone() };
        if !wrong.is_empty() {
            refusals.insert(node.name.clone(), wrong);
        }
    }
    for state in &metallb.states {
        if let Some(text) = &state.spec.refuses {
            let said = (format!("ConfigurationState {}", state.name), text.clone());
            // Known in our words already.
            refusals.entry(state.spec.node.clone()).or_insert_with(|| BTreeSet::from([said]));
        }
    }
    refusals
}

/// An issue for each thing that is wrong, with the nodes it is refused on.
pub(super) fn say(refusals: &Refusals, issues: &mut Vec<Issue>) {
    let mut by_cause: BTreeMap<&Wrong, Vec<&str>> = BTreeMap::new();
    for (node, wrong) in refusals {
        for cause in wrong {
            by_cause.entry(cause).or_default().push(node);
        }
    }
    for ((object, problem), nodes) in by_cause {
        let shown = nodes.iter().take(4).copied().collect::<Vec<_>>().join(", ");
        let more = nodes.len().saturating_sub(4);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let message = format!(
            "{problem}; refused by the speakers of {shown}{more}: what was in force there before goes on"
        );
        issues.push(Issue::new(object.clone(), "ConfigurationRefused", message));
    }
}

/// What spoils everybody's configuration.
fn everywhere(metallb: &MetalLb) -> BTreeSet<Wrong> {
    let MetalLb { pools, advertisements, peers, communities, states: _, vanished: _ } = metallb;
    let mut wrong = BTreeSet::new();
    flaws("IPAddressPool", pools, &mut wrong);
    flaws("BGPAdvertisement", advertisements, &mut wrong);
    flaws("BGPPeer", peers, &mut wrong);
    flaws("Community", communities, &mut wrong);
    let blocks: Vec<_> =
        pools.iter().flat_map(|pool| pool.spec.blocks.iter().map(move |b| (pool, b))).collect();
    for (at, (pool, block)) in blocks.iter().enumerate() {
        if let Some((other, with)) = blocks.iter().skip(at + 1).find(|(_, with)| overlap(block, with)) {
            let problem = format!("spec.addresses: {} overlaps {} of {}", with.text, block.text, pool.name);
            wrong.insert((format!("IPAddressPool {}", other.name), problem));
        }
    }
    let mut names = BTreeSet::new();
    for item in communities {
        if let Some(twice) = item.spec.names.iter().find(|name| !names.insert(name.as_str())) {
            let problem = format!("spec.communities: {twice:?} is defined twice");
            wrong.insert((format!("Community {}", item.name), problem));
        }
    }
    wrong
}

fn flaws<T>(kind: &str, items: &[Item<T>], wrong: &mut BTreeSet<Wrong>) {
    for item in items {
        if let Some(flaw) = item.flaw.as_ref().filter(|flaw| flaw.scope == Scope::Everywhere) {
            wrong.insert((format!("{kind} {}", item.name), flaw.text.clone()));
        }
    }
}

/// What spoils the configuration of one node: of what is for it.
fn on_node(metallb: &MetalLb, together: &Together, node: &NodeFacts) -> BTreeSet<Wrong> {
    let mut wrong = BTreeSet::new();
    for peer in metallb.peers.iter().filter(|peer| matches(&peer.spec.nodes, &node.labels)) {
        if let Some(flaw) = &peer.flaw {
            wrong.insert((format!("BGPPeer {}", peer.name), flaw.text.clone()));
        }
    }
    let names: BTreeSet<&str> =
        metallb.communities.iter().flat_map(|item| item.spec.names.iter().map(String::as_str)).collect();
    let mine: Vec<&Item<BgpAdvertisement>> =
        metallb.advertisements.iter().filter(|item| matches(&item.spec.nodes, &node.labels)).collect();
    for item in &mine {
        let mut say = |problem: String| {
            wrong.insert((format!("BGPAdvertisement {}", item.name), problem));
        };
        if let Some(flaw) = &item.flaw {
            say(flaw.text.clone());
        }
        for community in &item.spec.communities {
            if !names.contains(community.as_str()) && value_of_community(community) != Some(true) {
                say(format!("spec.communities: {community:?} is neither a community nor the name of one"));
            }
        }
        too_short(metallb, item, &mut say);
    }
    // Together, and only where no Service decides between them.
    let plain: Vec<_> = mine.iter().filter(|item| item.spec.services.is_empty()).collect();
    let of = |item: &Item<BgpAdvertisement>| {
        let at = metallb.advertisements.iter().position(|other| other.name == item.name);
        at.and_then(|at| together.advertised.get(at))
    };
    for (at, one) in plain.iter().enumerate() {
        for other in plain.iter().skip(at + 1) {
            let (Some(first), Some(second)) = (of(one), of(other)) else { continue };
            let shared = |pool: usize| {
                let is = |pools: &Option<BTreeSet<usize>>| pools.as_ref().is_none_or(|p| p.contains(&pool));
                is(&first.pools) && is(&second.pools)
            };
            let mut families = together.pools.families.iter().enumerate();
            if families.any(|(pool, families)| shared(pool) && contradict(first, second, *families)) {
                let problem = format!(
                    "spec.localPref, spec.asPathPrepend: not as in {} for the same prefixes",
                    one.name
                );
                wrong.insert((format!("BGPAdvertisement {}", other.name), problem));
            }
        }
    }
    wrong
}

/// An aggregate that is shorter than a block of its pools would announce what is not theirs.
fn too_short(metallb: &MetalLb, item: &Item<BgpAdvertisement>, say: &mut impl FnMut(String)) {
    let pools = metallb.pools_of(&item.spec);
    for (number, pool) in metallb.pools.iter().enumerate() {
        if pools.as_ref().is_some_and(|pools| !pools.contains(&number)) {
            continue;
        }
        for block in &pool.spec.blocks {
            let (field, length) = match Family::of(block.first) {
                Family::V4 => ("spec.aggregationLength", item.spec.length_v4),
                Family::V6 => ("spec.aggregationLengthV6", item.spec.length_v6),
            };
            if length < block.shortest {
                say(format!("{field}: {length} is shorter than {} of {}", block.text, pool.name));
            }
        }
    }
}
