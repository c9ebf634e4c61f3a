//! How addresses are announced in a cluster: pools, advertisements, and who speaks to whom.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Advertisement, Preference, matches};
use crate::health::ladder::Rung;
use crate::intent::snapshot::ServiceFacts;
use crate::net::Family;

/// All that decides who announces what, beside Services, endpoints and the state of Nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scheme {
    /// The pools that addresses come from; `None` where there is no such thing.
    pub pools: Option<Pools>,
    /// The ways in which addresses are announced.
    pub advertisements: Vec<Advertisement>,
    /// By node; `None` where every node speaks to everybody.
    pub speakers: Option<BTreeMap<String, Speaker>>,
}

/// Pools, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pools {
    /// Ascending, and none overlaps another.
    pub ranges: Vec<PoolRange>,
    /// Which families each pool has addresses of: IPv4, IPv6.
    pub families: Vec<(bool, bool)>,
}

/// Addresses of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolRange {
    /// The first one.
    pub first: IpAddr,
    /// The last one, of the same family and not below the first.
    pub last: IpAddr,
    /// Whose.
    pub pool: usize,
}

impl Pools {
    /// The pool of an address.
    pub fn of(&self, address: IpAddr) -> Option<usize> {
        let after = self.ranges.partition_point(|range| range.first <= address);
        self.ranges.get(after.checked_sub(1)?).filter(|range| range.last >= address).map(|range| range.pool)
    }
}

/// What one node has to announce with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaker {
    /// It speaks to every switch that it peers with.
    Everybody,
    /// Nothing speaks there.
    None,
    /// What it announces cannot be told, and why.
    Unsure(Rung),
    /// It has these sessions that lead, or may lead, to this switch.
    Peers(Vec<Session>),
}

/// A session of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Name of the peer, as advertisements call it.
    pub peer: String,
    /// Whether it ends at this switch.
    pub leads: Leads,
    /// What it can carry.
    pub families: Families,
    /// Both ends are of one AS.
    pub internal: bool,
}

/// Whether a session ends at this switch; one that does not is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// It does.
    Here,
    /// It may.
    Perhaps,
}

/// Address families of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// One.
    Only(Family),
    /// Both.
    Both,
}

/// Whether a node's announcement comes to this switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// It does.
    Yes(Preference),
    /// It does not.
    No,
    /// That cannot be told.
    Perhaps,
}

impl Session {
    fn carries(&self, advertisement: &Advertisement, family: Family) -> bool {
        let named = advertisement.peers.is_empty() || advertisement.peers.contains(&self.peer);
        named && (self.families == Families::Both || self.families == Families::Only(family))
    }

    /// What a path is worth that comes over it: outside of an AS every path has the same `LOCAL_PREF`.
    fn preference(&self, of: Preference) -> Preference {
        if self.internal { of } else { Preference { local: 100, ..of } }
    }
}

impl Speaker {
    /// Whether what is advertised so comes to this switch.
    pub fn carries(&self, advertisement: &Advertisement, family: Family) -> Carries {
        let sessions = match self {
            Self::Everybody => return Carries::Yes(Preference::default()),
            Self::None => return Carries::No,
            Self::Unsure(_) => return Carries::Perhaps,
            Self::Peers(sessions) => sessions,
        };
        let carry = |leads: Leads| {
            let of = sessions.iter().filter(move |session| session.leads == leads);
            of.map(|session| (session.carries(advertisement, family), session))
        };
        if let Some((_, session)) = carry(Leads::Here).find(|(carries, _)| *carries) {
            return Carries::Yes(session.preference(advertisement.preference));
        }
        let any_here = carry(Leads::Here).next().is_some();
        let mut perhaps = carry(Leads::Perhaps).peekable();
        match perhaps.peek() {
            None => Carries::No,
            Some((first, session)) => {
                let (first, session) = (*first, *session);
                // Where all say the same it does not matter which of them it is.
                let agree = perhaps.all(|(carries, other)| {
                    carries == first && (!carries || other.internal == session.internal)
                });
                match (agree, first) {
                    (true, false) => Carries::No,
                    (true, true) if !any_here => Carries::Yes(session.preference(advertisement.preference)),
                    _ => Carries::Perhaps,
                }
            }
        }
    }
}

impl Scheme {
    /// Every node announces every address to every switch.
    pub fn plain() -> Self {
        Self { advertisements: vec![Advertisement::plain()], ..Self::default() }
    }

    /// What `node` has to announce with.
    pub fn speaker(&self, node: &str) -> &Speaker {
        match &self.speakers {
            None => &Speaker::Everybody,
            Some(speakers) => speakers.get(node).unwrap_or(&Speaker::None),
        }
    }

    /// The advertisements of a Service, by number. MetalLB announces a Service only if all its addresses are of one pool, and
    /// every ingress has one.
    pub fn advertisements_of(&self, service: &ServiceFacts) -> Vec<usize> {
        let pool = match &self.pools {
            None => None,
            Some(pools) => {
                let mut all = service.addresses.iter().map(|address| pools.of(*address));
                match all.next().flatten() {
                    Some(pool) if !service.has_nameless && all.all(|other| other == Some(pool)) => Some(pool),
                    _ => return Vec::new(),
                }
            }
        };
        let covers = |advertisement: &Advertisement| match pool {
            Some(pool) => advertisement.is_for(pool),
            None => advertisement.pools.is_none(),
        };
        let all = self.advertisements.iter().enumerate();
        all.filter(|(_, one)| covers(one) && matches(&one.services, &service.labels))
            .map(|(number, _)| number)
            .collect()
    }

    /// Pairs among these advertisements of a Service that contradict each other, on nodes that both are for.
    pub fn clashing(&self, of: &[usize], service: &ServiceFacts) -> Vec<(&Advertisement, &Advertisement)> {
        let Some(pools) = &self.pools else { return Vec::new() };
        let pool = service.addresses.first().and_then(|address| pools.of(*address));
        let families = pool.and_then(|pool| pools.families.get(pool)).copied().unwrap_or_default();
        let mut clashing = Vec::new();
        for (at, one) in of.iter().enumerate() {
            for other in of.iter().skip(at + 1) {
                if let (Some(one), Some(other)) =
                    (self.advertisements.get(*one), self.advertisements.get(*other))
                    && contradict(one, other, families)
                {
                    clashing.push((one, other));
                }
            }
        }
        clashing
    }
}

/// Two advertisements would send different paths for one prefix to one peer, as MetalLB sees it: it compares lengths by what
/// families the pool has.
pub fn contradict(one: &Advertisement, other: &Advertisement, (v4, v6): (bool, bool)) -> bool {
    let (same_v4, same_v6) = (one.length_v4 == other.length_v4, one.length_v6 == other.length_v6);
    let apart = match (v4, v6) {
        (false, false) => true,
        (true, false) => !same_v4,
        (false, true) => !same_v6,
        (true, true) => !same_v4 && !same_v6,
    };
    let shared = one.peers.is_empty() || other.peers.is_empty() || !one.peers.is_disjoint(&other.peers);
    one.preference != other.preference && shared && !apart
}
