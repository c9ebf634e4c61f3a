//! From facts and settings to the expected forwarding table of this switch.
//!
//! The expectation is per VIP, not per Service: Services that share an address contribute the union. What comes from
//! the cluster never widens what Git allows: a VIP outside the pools and a node address outside the subnets are
//! not taken, whatever the object says.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::health::ladder::Rung;
use crate::intent::announce::{Announcers, Candidate, Endpoints, Rule, Scheme, Speaker};
use crate::intent::metallb;
use crate::intent::settings::{AddressSource, AddressType, SwitchSettings};
use crate::intent::snapshot::{ClusterFacts, Issue, NodeFacts, ObjectName, ServiceFacts};
use crate::net::{NextHop, Prefix, Shared};

#[cfg(test)]
mod tests;
mod towards;

use towards::Towards;

/// The nodes that may peer with this switch, and from where: the neighbours to configure.
pub type Peers = BTreeMap<String, BTreeSet<NextHop>>;

/// Next-hops, and the nodes (or the remote switch) behind each.
pub type NextHops = BTreeMap<NextHop, BTreeSet<String>>;

/// What one prefix should do on this switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedVip {
    /// The Services that own it.
    pub services: BTreeSet<ObjectName>,
    /// Expected next-hops and the nodes (or the remote switch) behind each. Empty: the prefix must be absent.
    pub next_hops: Shared<NextHops>,
    /// Why it must be absent.
    pub absent: Option<Rung>,
    /// Of what of it nothing can be said, and why.
    pub doubt: Option<Doubt>,
}

/// What cannot be said of a prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// Why.
    pub rung: Rung,
    /// These next-hops are neither expected nor unexpected; `None`: nothing at all can be said.
    pub of: Option<Shared<BTreeSet<NextHop>>>,
}

/// The expected forwarding table, as far as it is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectation {
    /// Judged VIPs.
    pub vips: BTreeMap<Prefix, Shared<ExpectedVip>>,
    /// Neighbours.
    pub peers: Peers,
    /// The node behind each peer's next-hop.
    pub node_of: BTreeMap<NextHop, String>,
    /// Addresses inside the pools whose Services are of another class: neither expected nor unexpected.
    pub not_ours: BTreeSet<Prefix>,
    /// Next-hops of neighbours that are configured and whose nodes have left: neither expected nor unexpected.
    pub leaving: BTreeSet<NextHop>,
    /// Next-hops of nodes of which nobody knows what they announce, and why: neither expected nor unexpected, in whatever
    /// prefix.
    pub unsure: BTreeMap<NextHop, Rung>,
    /// Inputs that were skipped.
    pub issues: Vec<Issue>,
}

/// The expected forwarding table of the switch `me`. Input order never matters.
pub fn expect(me: &str, settings: &SwitchSettings, facts: &ClusterFacts) -> Expectation {
    let mut issues = facts.issues.clone();
    let peers = peers(me, settings, facts, &mut issues);
    let scheme = metallb::scheme(facts, settings, &peers, &mut issues);
    expect_by(&scheme, (me, settings, facts), peers, issues)
}

/// The same, announced by `scheme`.
pub fn expect_by(
    scheme: &Scheme,
    (me, settings, facts): (&str, &SwitchSettings, &ClusterFacts),
    peers: Peers,
    mut issues: Vec<Issue>,
) -> Expectation {
    let candidates = candidates(me, settings, facts);
    let endpoints = endpoints(facts);
    let none = Endpoints::default();

    let mut rule = Rule::new(&candidates, scheme);
    let mut merged: BTreeMap<Prefix, (BTreeSet<ObjectName>, Shared<Announcers<'_>>)> = BTreeMap::new();
    for service in facts.services.iter().filter(|service| is_of_class(settings, service)) {
        for address in &service.addresses {
            if let Some(issue) = not_ours(settings, service, *address) {
                issues.push(issue);
                continue;
            }
            let here = endpoints.get(&service.name).unwrap_or(&none);
            for (prefix, by) in rule.announcers(service, *address, here) {
                if !settings.admits(prefix) {
                    issues.push(Issue::new(
                        format!("Service {}", service.name),
                        "NotOurs",
                        format!("{prefix}, the aggregate that covers {address}, is not inside vips.pools"),
                    ));
                    continue;
                }
                match merged.entry(prefix) {
                    Entry::Vacant(entry) => {
                        entry.insert((BTreeSet::from([service.name.clone()]), by));
                    }
                    Entry::Occupied(mut entry) => {
                        let (services, announcers) = entry.get_mut();
                        services.insert(service.name.clone());
                        if announcers.place() != by.place() {
                            announcers.own().join(&by);
                        }
                    }
                }
            }
        }
    }
    let not_ours = facts
        .services
        .iter()
        .filter(|service| !is_of_class(settings, service))
        .flat_map(|service| service.addresses.iter().copied().map(Prefix::host))
        .filter(|prefix| settings.admits(*prefix) && !merged.contains_key(prefix))
        .collect();
    let mut towards = Towards::new(settings, facts, &peers);
    let vips = merged
        .into_iter()
        .map(|(prefix, (services, announcers))| {
            (prefix, towards.expected(prefix, services, &announcers).into())
        })
        .collect();
    issues.sort();
    issues.dedup();
    let of_node = |(node, hops): (&String, &BTreeSet<NextHop>)| -> Vec<(NextHop, String)> {
        hops.iter().map(|hop| (hop.clone(), node.clone())).collect()
    };
    let node_of: BTreeMap<NextHop, String> = peers.iter().flat_map(of_node).collect();
    let why_unsure = |node: &String| match scheme.speaker(node) {
        Speaker::Unsure(why) => Some(*why),
        Speaker::Everybody | Speaker::None | Speaker::Peers(_) => None,
    };
    let unsure = node_of.iter().filter_map(|(hop, node)| Some((hop.clone(), why_unsure(node)?))).collect();
    Expectation { vips, peers, node_of, not_ours, leaving: BTreeSet::new(), unsure, issues }
}

/// Nothing can be said of any prefix, because MetalLB's CRDs are gone; what was expected `before` is still shown.
pub fn nothing_can_be_said(before: &BTreeMap<Prefix, Shared<ExpectedVip>>, expectation: &mut Expectation) {
    expectation.vips.extend(before.clone());
    for vip in expectation.vips.values_mut() {
        let vip = vip.own();
        vip.absent = None;
        vip.doubt = Some(Doubt { rung: Rung::ExpectationStale, of: None });
    }
}

/// Services are judged by class: those asked for, or those without one.
fn is_of_class(settings: &SwitchSettings, service: &ServiceFacts) -> bool {
    let classes = &settings.vips.load_balancer_classes;
    match &service.class {
        None => classes.is_empty(),
        Some(class) => classes.contains(class),
    }
}

/// Addresses beyond what Git allows are neither expected nor rendered; said once per Service.
fn not_ours(settings: &SwitchSettings, service: &ServiceFacts, address: IpAddr) -> Option<Issue> {
    let prefix = Prefix::host(address);
    let object = format!("Service {}", service.name);
    if settings.is_protected(prefix) {
        return Some(Issue::new(object, "NotOurs", format!("{address} lies in vips.protected")));
    }
    (!settings.in_pools(prefix))
        .then(|| Issue::new(object, "NotOurs", format!("{address} is outside vips.pools")))
}

fn endpoints(facts: &ClusterFacts) -> HashMap<&ObjectName, Endpoints> {
    let mut endpoints: HashMap<&ObjectName, Endpoints> = HashMap::new();
    for slice in &facts.slices {
        let entry = endpoints.entry(&slice.service).or_default();
        entry.any |= slice.any;
        if entry.nodes.is_empty() {
            entry.nodes = slice.nodes.clone();
        } else if !slice.nodes.is_subset(&entry.nodes) {
            entry.nodes.own().extend(slice.nodes.iter().cloned());
        }
    }
    endpoints
}

/// A switch never announces unless Git lists it.
fn may_announce(me: &str, settings: &SwitchSettings, facts: &ClusterFacts, node: &str) -> bool {
    settings.listed_nodes().contains(node) || (node != me && !facts.switches.contains(node))
}

/// All nodes that could announce, here or behind a remote switch, and the listed names without a Node object.
fn candidates<'a>(me: &str, settings: &'a SwitchSettings, facts: &'a ClusterFacts) -> Vec<Candidate<'a>> {
    let mut candidates: Vec<Candidate<'a>> = facts
        .nodes
        .iter()
        .filter(|node| may_announce(me, settings, facts, &node.name))
        .map(|node| Candidate { name: &node.name, facts: Some(node) })
        .collect();
    let known: BTreeSet<&str> = candidates.iter().map(|candidate| candidate.name).collect();
    candidates.extend(
        settings
            .listed_nodes()
            .into_iter()
            .filter(|name| !known.contains(name))
            .map(|name| Candidate { name, facts: None }),
    );
    candidates
}

/// The neighbours: listed nodes, and selected nodes with an address inside the subnets.
pub fn peers(me: &str, settings: &SwitchSettings, facts: &ClusterFacts, issues: &mut Vec<Issue>) -> Peers {
    let nodes = &settings.peering.nodes;
    let mut peers = Peers::new();
    for listed in &nodes.listed {
        peers.entry(listed.node.clone()).or_default().extend(listed.next_hop());
    }
    let mut taken: BTreeMap<NextHop, String> =
        peers.iter().flat_map(|(node, hops)| hops.iter().map(|hop| (hop.clone(), node.clone()))).collect();
    let mut selected: Vec<&NodeFacts> = facts
        .nodes
        .iter()
        .map(AsRef::as_ref)
        .filter(|node| nodes.selector.as_ref().is_some_and(|selector| selector.selects(&node.labels)))
        .filter(|node| !peers.contains_key(&node.name) && may_announce(me, settings, facts, &node.name))
        .collect();
    selected.sort_by(|a, b| a.name.cmp(&b.name));
    for node in selected {
        let mut found = BTreeSet::new();
        for address in addresses(settings, node, issues) {
            let hop = NextHop::via(address);
            if let Some(owner) = taken.get(&hop)
                && *owner != node.name
            {
                issues.push(Issue::new(
                    format!("Node {}", node.name),
                    "DuplicateAddress",
                    format!("{hop} is already the address of node {owner}"),
                ));
                continue;
            }
            taken.insert(hop.clone(), node.name.clone());
            found.insert(hop);
        }
        if found.is_empty() {
            issues.push(Issue::new(
                format!("Node {}", node.name),
                "NoPeerAddress",
                "matches peering.nodes.selector but has no usable address inside peering.nodes.subnets",
            ));
        } else {
            peers.insert(node.name.clone(), found);
        }
    }
    peers
}

/// The addresses of a selected node that lie inside the subnets.
fn addresses(settings: &SwitchSettings, node: &NodeFacts, issues: &mut Vec<Issue>) -> Vec<IpAddr> {
    let object = || format!("Node {}", node.name);
    match &settings.peering.nodes.address {
        // A node of another rack has InternalIPs elsewhere: no mistake.
        AddressSource::Status { r#type } => {
            let all = match r#type {
                AddressType::InternalIP => &node.internal,
                AddressType::ExternalIP => &node.external,
            };
            all.iter().copied().filter(|address| settings.in_subnets(*address)).collect()
        }
        AddressSource::Annotation { annotation } => match node.annotations.get(annotation) {
            None => Vec::new(),
            Some(Err(piece)) => {
                issues.push(Issue::new(
                    object(),
                    "InvalidObject",
                    format!("annotation {annotation}: {piece:?} is not an address"),
                ));
                Vec::new()
            }
            Some(Ok(all)) => {
                let (inside, outside): (Vec<IpAddr>, Vec<IpAddr>) =
                    all.iter().partition(|address| settings.in_subnets(**address));
                issues.extend(outside.iter().map(|address| {
                    Issue::new(
                        object(),
                        "AddressOutsideSubnets",
                        format!("annotation {annotation}: {address} is outside peering.nodes.subnets"),
                    )
                }));
                inside
            }
        },
    }
}
