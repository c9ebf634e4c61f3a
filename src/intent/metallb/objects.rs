//! MetalLB's objects, reduced to what announcing depends on.
//!
//! What is wrong with an object is kept with it, for a speaker refuses its whole configuration because of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::intent::settings::LabelSelector;
use crate::intent::snapshot::ObjectName;
use crate::net::Family;

/// The API group of all of them.
pub const GROUP: &str = "metallb.io";

/// The kinds that are read.
pub const KINDS: [&str; 5] =
    ["IPAddressPool", "BGPAdvertisement", "BGPPeer", "Community", "ConfigurationState"];

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<T> {
    /// Namespace and name.
    pub name: ObjectName,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it says.
    pub spec: T,
    /// Why a speaker refuses it.
    pub flaw: Option<Flaw>,
}

/// Why a speaker refuses its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// On which nodes.
    pub scope: Scope,
    /// Field and problem.
    pub text: String,
}

/// Whose configuration a flaw spoils.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    Everywhere,
    /// That of the nodes which the object is for.
    ItsNodes,
}

/// Any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// `IPAddressPool`.
    Pool(Item<Pool>),
    /// `BGPAdvertisement`.
    Advertisement(Item<BgpAdvertisement>),
    /// `BGPPeer`.
    Peer(Item<Peer>),
    /// `Community`.
    Community(Item<Community>),
    /// `ConfigurationState` of a speaker.
    State(Item<State>),
}

/// An `IPAddressPool`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pool {
    /// Its addresses.
    pub blocks: Vec<Block>,
}

/// One entry of `spec.addresses`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// As it was written.
    pub text: String,
    /// First address.
    pub first: IpAddr,
    /// Last address.
    pub last: IpAddr,
    /// Length of its largest prefix: an aggregate may not be shorter.
    pub shortest: u8,
}

/// A `BGPAdvertisement`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpAdvertisement {
    /// Names of pools.
    pub pools: Vec<String>,
    /// Selectors of pools; with neither, it is for all.
    pub pool_selectors: Vec<LabelSelector>,
    /// Selectors of nodes; none means all.
    pub nodes: Vec<LabelSelector>,
    /// Selectors of Services; none means all.
    pub services: Vec<LabelSelector>,
    /// Names of peers; none means all.
    pub peers: Vec<String>,
    /// Values, or names that a `Community` explains.
    pub communities: Vec<String>,
    /// Length of an IPv4 prefix.
    pub length_v4: u8,
    /// Length of an IPv6 prefix.
    pub length_v6: u8,
    /// `LOCAL_PREF`, 0 if unset.
    pub local_pref: u32,
    /// How often the AS path is made longer.
    pub prepend: u8,
}

impl Default for BgpAdvertisement {
    fn default() -> Self {
        Self {
            pools: Vec::new(),
            pool_selectors: Vec::new(),
            nodes: Vec::new(),
            services: Vec::new(),
            peers: Vec::new(),
            communities: Vec::new(),
            length_v4: 32,
            length_v6: 128,
            local_pref: 0,
            prepend: 0,
        }
    }
}

/// A `BGPPeer`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The router's address; absent for a peer known by the node's interface.
    pub address: Option<IpAddr>,
    /// Selectors of nodes; none means all.
    pub nodes: Vec<LabelSelector>,
    /// AS number of the speaker.
    pub local_asn: u32,
    /// That of the router.
    pub asn: Asn,
    /// IPv4 and IPv6 go over one session.
    pub both_families: bool,
}

/// The router's AS number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Asn {
    /// Not said.
    #[default]
    Unset,
    /// This one.
    Is(u32),
    /// The speaker's own.
    Internal,
    /// Any other.
    External,
}

impl Peer {
    /// Both ends are of one AS.
    pub fn is_internal(&self) -> bool {
        match self.asn {
            Asn::Is(number) => number == self.local_asn,
            Asn::Internal => true,
            Asn::Unset | Asn::External => false,
        }
    }
}

/// A `Community`: names of BGP communities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Community {
    /// The names.
    pub names: Vec<String>,
}

/// The `ConfigurationState` of a speaker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The speaker's node.
    pub node: String,
    /// What it refuses, in its own words; absent if it refuses nothing.
    pub refuses: Option<String>,
}

/// The addresses of two blocks overlap.
pub fn overlap(one: &Block, other: &Block) -> bool {
    Family::of(one.first) == Family::of(other.first) && one.first <= other.last && other.first <= one.last
}
