//! What a speaker refuses: its whole configuration, for one thing that is wrong in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::objects::{Item, Scope, overlap};
use super::read::value_of_community;
use super::{BgpAdvertisement, MetalLb, Pool, Reading};
use crate::intent::announce::{Advertisement, contradict, matches};
use crate::intent::snapshot::{ClusterFacts, Issue, NodeFacts};
use crate::net::Family;

/// One thing that is wrong: with which object, and what.
type Wrong = (String, String);

/// By node, what its speaker refuses.
type Refusals = BTreeMap<String, BTreeSet<Wrong>>;

/// By node, what its speaker refuses: by the rules that are known here, and by its own word.
pub(super) fn refusals(metallb: &Reading, facts: &ClusterFacts) -> Refusals {
    let everywhere = everywhere(&metallb.objects);
    let mut refusals: Refusals = BTreeMap::new();
    let speaks = |node: &&Arc<NodeFacts>| {
        !facts.switches.contains(&node.name) && !metallb.is_without_speaker(&node.name)
    };
    for node in facts.nodes.iter().filter(speaks) {
        let wrong = if everywhere.is_empty() { on_node(metallb, node) } else { everywhere.clone() };
        if !wrong.is_empty() {
            refusals.insert(node.name.clone(), wrong);
        }
    }
    for state in &metallb.objects.states {
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
fn on_node(metallb: &Reading, node: &NodeFacts) -> BTreeSet<Wrong> {
    let mut wrong = BTreeSet::new();
    for peer in metallb.objects.peers.iter().filter(|peer| matches(&peer.spec.nodes, &node.labels)) {
        if let Some(flaw) = &peer.flaw {
            wrong.insert((format!("BGPPeer {}", peer.name), flaw.text.clone()));
        }
    }
    let communities = &metallb.objects.communities;
    let names: BTreeSet<&str> =
        communities.iter().flat_map(|item| item.spec.names.iter().map(String::as_str)).collect();
    let mine: Vec<(&Item<BgpAdvertisement>, &Advertisement)> =
        metallb.advertisements().filter(|(_, means)| matches(&means.nodes, &node.labels)).collect();
    for (item, means) in &mine {
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
        too_short(&metallb.objects.pools, means, &mut say);
    }
    // Together, and only where no Service decides between them.
    let plain: Vec<_> = mine.iter().filter(|(_, means)| means.services.is_empty()).collect();
    for (at, (one, first)) in plain.iter().enumerate() {
        for (other, second) in plain.iter().skip(at + 1) {
            let mut families = metallb.pools.families.iter().enumerate();
            let clash = families.any(|(pool, families)| {
                first.is_for(pool) && second.is_for(pool) && contradict(first, second, *families)
            });
            if clash {
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
fn too_short(pools: &[Item<Pool>], means: &Advertisement, say: &mut impl FnMut(String)) {
    for (_, pool) in pools.iter().enumerate().filter(|(number, _)| means.is_for(*number)) {
        for block in &pool.spec.blocks {
            let family = Family::of(block.first);
            let field = match family {
                Family::V4 => "spec.aggregationLength",
                Family::V6 => "spec.aggregationLengthV6",
            };
            let length = means.length(family);
            if length < block.shortest {
                say(format!("{field}: {length} is shorter than {} of {}", block.text, pool.name));
            }
        }
    }
}
