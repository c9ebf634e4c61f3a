//! From announcing nodes to next-hops of this switch.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Doubt, ExpectedVip, NextHops, Peers};
use crate::health::ladder::Rung;
use crate::intent::announce::{Announcers, Preference};
use crate::intent::settings::SwitchSettings;
use crate::intent::snapshot::{ClusterFacts, ObjectName};
use crate::net::{Family, NextHop, Prefix, Shared};

/// How this switch reaches the nodes that announce.
pub(super) struct Towards<'a> {
    settings: &'a SwitchSettings,
    facts: &'a ClusterFacts,
    peers: &'a Peers,
    /// By family and announcing nodes: most VIPs have these in common with others.
    known: BTreeMap<(Family, Announcing<'a>), Reached>,
    /// The same by the place of the announcers, who are held so that no others come to it.
    met: HashMap<(Family, usize), (Shared<Announcers<'a>>, Reached)>,
}

/// Nodes that announce, and nodes that may.
type Announcing<'a> = (BTreeMap<&'a str, Preference>, BTreeMap<&'a str, Rung>);

/// Where announcing nodes are reached.
#[derive(Clone, Default)]
struct Reached {
    next_hops: Shared<NextHops>,
    /// One of them is a peer, or leads to a remote switch; of whatever family.
    somehow: bool,
    doubt: Option<Doubt>,
}

impl<'a> Towards<'a> {
    /// For one cluster at one moment.
    pub(super) fn new(settings: &'a SwitchSettings, facts: &'a ClusterFacts, peers: &'a Peers) -> Self {
        Self { settings, facts, peers, known: BTreeMap::new(), met: HashMap::new() }
    }

    /// What a prefix with these announcers should do here.
    pub(super) fn expected(
        &mut self,
        prefix: Prefix,
        services: BTreeSet<ObjectName>,
        announcers: &Shared<Announcers<'a>>,
    ) -> ExpectedVip {
        let family = prefix.family();
        let place = (family, announcers.place());
        let reached = match self.met.get(&place) {
            Some((_, reached)) => reached.clone(),
            None => {
                let reached = self.reach(family, announcers);
                self.met.insert(place, (announcers.clone(), reached.clone()));
                reached
            }
        };
        let Reached { next_hops, somehow, doubt } = reached;
        let nothing = somehow && next_hops.is_empty() && doubt.is_none();
        let doubt = if nothing { Some(Doubt { rung: Rung::NoAddressForFamily, of: None }) } else { doubt };
        let absent = (!somehow).then(|| why_absent(self.peers, &announcers.silent));
        ExpectedVip { services, next_hops, absent, doubt }
    }

    fn reach(&mut self, family: Family, announcers: &Announcers<'a>) -> Reached {
        let key = (family, (announcers.nodes.clone(), announcers.unsure.clone()));
        if let Some(reached) = self.known.get(&key) {
            return reached.clone();
        }
        let reached = self.resolve(family, announcers);
        self.known.insert(key, reached.clone());
        reached
    }

    fn resolve(&self, family: Family, announcers: &Announcers<'_>) -> Reached {
        let peering = |node: &&str| self.peers.contains_key(*node);
        let here: BTreeMap<&str, Preference> = announcers
            .nodes
            .iter()
            .filter(|(node, _)| peering(node))
            .map(|(node, preference)| (*node, *preference))
            .collect();
        let mut unsure: BTreeMap<&str, Rung> = announcers
            .unsure
            .iter()
            .filter(|(node, _)| peering(node))
            .map(|(node, why)| (*node, *why))
            .collect();
        if unsure.values().any(|why| *why == Rung::ExpectationStale) {
            let next_hops = self.hops_of(family, here.keys().chain(unsure.keys()).copied());
            let doubt = Some(Doubt { rung: Rung::ExpectationStale, of: None });
            return Reached { next_hops: next_hops.into(), somehow: true, doubt };
        }
        if here.is_empty() && unsure.is_empty() {
            return self.remotely(family, announcers);
        }
        let (chosen, perhaps) = preferred(&here);
        unsure.extend(perhaps.into_iter().map(|node| (node, Rung::AnnouncementUncertain)));
        let doubt = unsure.values().max().map(|rung| {
            let mut of: BTreeSet<NextHop> =
                self.hops_of(family, unsure.keys().copied()).into_keys().collect();
            if here.is_empty() {
                // If none of them announces it, it is reached by these.
                of.extend(self.remotely(family, announcers).next_hops.keys().cloned());
            }
            Doubt { rung: *rung, of: Some(of.into()) }
        });
        let next_hops = self.hops_of(family, chosen.into_iter());
        Reached { next_hops: next_hops.into(), somehow: true, doubt }
    }

    fn hops_of<'n>(&self, family: Family, nodes: impl Iterator<Item = &'n str>) -> NextHops {
        let mut next_hops = NextHops::new();
        for node in nodes {
            for hop in self.peers.get(node).into_iter().flatten() {
                // An unnumbered peer carries both families.
                let fits = |address| Family::of(address) == family || crate::net::is_link_local(address);
                if hop.address.is_none_or(fits) {
                    next_hops.entry(hop.clone()).or_default().insert(node.to_owned());
                }
            }
        }
        next_hops
    }

    fn remotely(&self, family: Family, announcers: &Announcers<'_>) -> Reached {
        let mut next_hops = NextHops::new();
        let mut somehow = false;
        let mut unsure: BTreeSet<NextHop> = BTreeSet::new();
        let mut why = None;
        for remote in &self.settings.remote {
            let behind = |names: &dyn Fn(&str) -> bool| {
                let mut nodes = self.facts.nodes.iter();
                nodes.any(|node| names(&node.name) && remote.nodes.selects(&node.labels))
            };
            let of_family = Family::of(remote.next_hop) == family;
            if behind(&|name| announcers.nodes.contains_key(name)) {
                somehow = true;
                if of_family {
                    let hop = NextHop::via(remote.next_hop);
                    next_hops.entry(hop).or_default().insert(remote.switch.clone());
                }
            } else if of_family && behind(&|name| announcers.unsure.contains_key(name)) {
                unsure.insert(NextHop::via(remote.next_hop));
                why = announcers.unsure.values().max().copied().max(why);
            }
        }
        let doubt = why.map(|rung| Doubt { rung, of: Some(unsure.into()) });
        Reached { next_hops: next_hops.into(), somehow: somehow || doubt.is_some(), doubt }
    }
}

/// The nodes whose paths BGP chooses, and those whose paths it may choose: that depends on what `LOCAL_PREF` a speaker sends if
/// it was given none.
fn preferred<'n>(nodes: &BTreeMap<&'n str, Preference>) -> (BTreeSet<&'n str>, BTreeSet<&'n str>) {
    // MetalLB's native speaker sends 0, and what its FRR leaves out counts as 100 (RFC 4271, 9.1.1 leaves it to the receiver).
    let best = |unset: u32| -> BTreeSet<&'n str> {
        let worth = |preference: &Preference| {
            let local = if preference.local == 0 { unset } else { preference.local };
            (local, std::cmp::Reverse(preference.prepend))
        };
        let most = nodes.values().map(worth).max();
        nodes.iter().filter(|(_, of)| Some(worth(of)) == most).map(|(node, _)| *node).collect()
    };
    let (native, frr) = (best(0), best(100));
    (native.intersection(&frr).copied().collect(), native.symmetric_difference(&frr).copied().collect())
}

/// The rung of a prefix that nobody who peers here announces. A node that would announce but for its own state explains
/// more than one that has no endpoint; and the nodes that peer here come first.
fn why_absent(peers: &Peers, silent: &BTreeMap<&str, Rung>) -> Rung {
    let of = |peering: bool| {
        silent.iter().filter(move |(node, _)| peers.contains_key(**node) == peering).map(|(_, rung)| *rung)
    };
    let (here, elsewhere) = (of(true).collect::<BTreeSet<_>>(), of(false).collect::<BTreeSet<_>>());
    for rungs in [&here, &elsewhere] {
        for rung in [Rung::NodeNetworkUnavailable, Rung::NodeExcluded, Rung::NoSpeaker] {
            if rungs.contains(&rung) {
                return rung;
            }
        }
    }
    let advertised = if here.is_empty() { elsewhere } else { here };
    if advertised.contains(&Rung::NotAdvertised) { Rung::NotAdvertised } else { Rung::NoEndpoints }
}
