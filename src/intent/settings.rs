//! `switch.yaml`: what a person in Git says about one switch.
//!
//! The types are the grammar: unknown and duplicate keys are refused with line and column, every number has its
//! range, every duration its unit. [`parse`] returns settings that make sense as a whole, or the first mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::intent::yaml::{self, Mistake};
use crate::net::{NextHop, Prefix};

mod check;
mod community;
mod scalar;
#[cfg(test)]
mod tests;

pub use community::Community;
pub use scalar::{Asn, PeerAsn, Pool, Span};

/// The name of the text that [`parse`] reads.
pub const FILE: &str = "switch.yaml";

/// Settings of one switch: the input of the built-in templates and of the verification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "switch.yaml")]
pub struct SwitchSettings {
    /// Version of this format; 1.
    pub version: u32,
    /// Autonomous system number of this switch, 1–4294967295.
    pub asn: Asn,
    /// BGP router id. Left to the NOS if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Ipv4Addr>,
    /// VRF or ip-vrf whose forwarding table carries the VIPs.
    #[serde(default = "default_instance")]
    pub network_instance: String,
    /// Which Service addresses this switch takes.
    pub vips: Vips,
    /// Who may announce them to this switch, and how.
    pub peering: Peering,
    /// Route preference of what the speakers announce, 1–255, lower wins; left to the NOS if absent. SR Linux only: an
    /// ip-vrf that also learns the VIPs by EVPN (170) needs less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub preference: Option<u8>,
    /// Equal-cost multipath.
    #[serde(default)]
    pub ecmp: Ecmp,
    /// Hashing that keeps flows in place when a next-hop leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resilient_hash: Option<ResilientHash>,
    /// Communities that accepted announcements must carry, and that are added to them.
    #[serde(default)]
    pub communities: Communities,
    /// Fabric routers that VIPs are exported to.
    #[serde(default)]
    pub uplinks: Vec<Uplink>,
    /// Other switches that VIPs go to when no announcing node peers with this one.
    #[serde(default)]
    pub remote: Vec<Remote>,
    /// Verification of the forwarding table.
    #[serde(default)]
    pub verify: Verify,
    /// What is taken for granted where the switch does not tell, or tells what this version does not know. SR Linux only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume: Option<Assume>,
    /// Running values of globals that switchlet may overwrite, as configuration lines.
    #[serde(default)]
    pub adopt: Vec<String>,
    /// Anything the user's own templates need.
    #[serde(default)]
    pub vars: BTreeMap<String, serde_json::Value>,
}

/// Service addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Vips {
    /// What speakers may announce: prefixes, or ranges `FIRST-LAST` (inclusive).
    pub pools: Vec<Pool>,
    /// Never accepted, whatever a pool says.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub protected: Vec<Prefix>,
    /// Judge Services of these classes; if empty, Services without a class.
    #[serde(default)]
    pub load_balancer_classes: Vec<String>,
}

/// BGP peering with the cluster's speakers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Peering {
    /// `external`, `internal`, or a number.
    pub peer_asn: PeerAsn,
    /// One neighbour a node, or a listen range a subnet.
    #[serde(default)]
    pub mode: PeeringMode,
    /// Who may peer with this switch.
    pub nodes: PeerNodes,
    /// BGP timers.
    #[serde(default)]
    pub timers: Timers,
    /// Bidirectional forwarding detection; off if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<Bfd>,
    /// Prefixes accepted from one node, 1–4294967295.
    #[serde(default = "default_max_prefixes")]
    #[schemars(range(min = 1))]
    pub max_prefixes: u32,
    /// Name of a file below the secrets folder that holds the TCP-MD5 password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
}

/// How neighbours are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PeeringMode {
    /// One neighbour for each node address.
    #[default]
    Static,
    /// One listen range for each subnet.
    Listen,
}

/// Which nodes may peer with this switch, and by which address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerNodes {
    /// Nodes with these labels peer if they get an address inside `subnets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Bounds of every peer address.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub subnets: Vec<Prefix>,
    /// Where the address of a selected node comes from.
    #[serde(default)]
    pub address: AddressSource,
    /// Nodes named one by one; they need no label and win over the selector.
    #[serde(default, rename = "static")]
    pub listed: Vec<ListedNode>,
    /// How long the neighbour of a node that left stays configured.
    #[serde(default = "default_remove_after")]
    pub remove_after: Span,
}

/// A Kubernetes label selector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels that must have exactly these values.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// Further demands; all must hold.
    #[serde(default)]
    pub match_expressions: Vec<LabelExpression>,
}

/// One demand on a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelExpression {
    /// Label key.
    pub key: String,
    /// How it is compared.
    pub operator: LabelOperator,
    /// Values for `In` and `NotIn`.
    #[serde(default)]
    pub values: Vec<String>,
}

/// Comparison of a label, as in Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// Present, with one of the values.
    In,
    /// Absent, or with none of the values.
    NotIn,
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
}

impl LabelSelector {
    /// Kubernetes' own rule: every demand holds; an empty selector selects everything.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let Self { match_labels, match_expressions } = self;
        match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && match_expressions.iter().all(|LabelExpression { key, operator, values }| {
                let found = labels.get(key);
                match operator {
                    LabelOperator::In => found.is_some_and(|value| values.contains(value)),
                    LabelOperator::NotIn => found.is_none_or(|value| !values.contains(value)),
                    LabelOperator::Exists => found.is_some(),
                    LabelOperator::DoesNotExist => found.is_none(),
                }
            })
    }
}

/// Where the peer address of a selected node comes from: `{type: InternalIP}` or `{annotation: KEY}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum AddressSource {
    /// Entries of `status.addresses` of this type.
    Status {
        /// `InternalIP` or `ExternalIP`.
        r#type: AddressType,
    },
    /// The value of an annotation: addresses separated by commas.
    Annotation {
        /// Annotation key.
        annotation: String,
    },
}

/// `status.addresses[].type` of a Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddressType {
    /// An address inside the cluster.
    InternalIP,
    /// An address reachable from outside.
    ExternalIP,
}

impl Default for AddressSource {
    fn default() -> Self {
        Self::Status { r#type: AddressType::InternalIP }
    }
}

/// A node listed by name, with its address, its interface, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListedNode {
    /// Name of the Node.
    pub node: String,
    /// Address it peers from; inside `subnets` (a link-local one needs `interface` instead).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// This switch's interface towards it: unnumbered peering, or the scope of a link-local address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

impl ListedNode {
    /// The next-hop this entry stands for; `None` if it names neither address nor interface.
    pub fn next_hop(&self) -> Option<NextHop> {
        (self.address.is_some() || self.interface.is_some())
            .then(|| NextHop { address: self.address, device: self.interface.clone() }.canonical())
    }
}

/// BGP timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timers {
    /// Hold time, 3 s–65535 s (RFC 4271 §4.2), whole seconds.
    #[serde(default = "default_hold")]
    pub hold: Span,
    /// Keepalive interval, at most a third of `hold`, whole seconds.
    #[serde(default = "default_keepalive")]
    pub keepalive: Span,
}

impl Default for Timers {
    fn default() -> Self {
        Self { hold: default_hold(), keepalive: default_keepalive() }
    }
}

/// BFD (RFC 5880).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bfd {
    /// Transmit and receive interval, 10 ms–60 s (FRR's range).
    #[serde(default = "default_bfd_interval")]
    pub interval: Span,
    /// Lost packets until down, 2–255.
    #[serde(default = "default_bfd_multiplier")]
    #[schemars(range(min = 2, max = 255))]
    pub multiplier: u8,
}

/// Equal-cost multipath.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ecmp {
    /// Next-hops per route, 1–256 (the usual build limit of FRR).
    #[serde(default = "default_max_paths")]
    #[schemars(range(min = 1, max = 256))]
    pub max_paths: u16,
}

impl Default for Ecmp {
    fn default() -> Self {
        Self { max_paths: default_max_paths() }
    }
}

/// Resilient hashing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResilientHash {
    /// Which prefixes: `pools`, or a list.
    #[serde(default)]
    pub prefixes: ResilientPrefixes,
    /// Next-hops a group is sized for, 1–64.
    #[schemars(range(min = 1, max = 64))]
    pub max_paths: u16,
    /// Hash buckets for each of them, 1–32.
    #[schemars(range(min = 1, max = 32))]
    pub buckets_per_path: u16,
}

/// Prefixes with resilient hashing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ResilientPrefixes {
    /// The word `pools`: the minimal cover of `vips.pools`.
    Word(PoolsWord),
    /// Exactly these.
    List(#[schemars(with = "Vec<String>")] Vec<Prefix>),
}

impl Default for ResilientPrefixes {
    fn default() -> Self {
        Self::Word(PoolsWord::Pools)
    }
}

/// The word `pools`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PoolsWord {
    /// The pools of `vips`.
    Pools,
}

/// BGP communities of the speakers' announcements.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Communities {
    /// If not empty, only announcements that carry one of these are accepted.
    #[serde(default, rename = "match")]
    pub wanted: Vec<Community>,
    /// Added to every accepted announcement, beside those it carries.
    #[serde(default)]
    pub add: Vec<Community>,
}

/// A router of the fabric: it is told the VIPs, and nothing is accepted from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Uplink {
    /// Its address, or this switch's interface towards it (unnumbered).
    pub neighbor: String,
    /// `external`, `internal`, or a number.
    pub peer_asn: PeerAsn,
}

/// Another switch that leads to nodes which do not peer with this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Remote {
    /// Its name.
    pub switch: String,
    /// Next-hop towards it.
    pub next_hop: IpAddr,
    /// The nodes behind it.
    pub nodes: LabelSelector,
}

/// What is taken for granted of a switch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assume {
    /// Release whose grammar is written, `25.3`, for a switch that runs a newer one than this version knows, or that
    /// cannot be asked. The word of a switch that runs a known one wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Chassis, `7220 IXR-D2L`, for a switch that cannot be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chassis: Option<String>,
}

/// Verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verify {
    /// How long cluster and speakers may take to agree before a difference is a fault.
    #[serde(default = "default_convergence")]
    pub convergence: Span,
}

impl Default for Verify {
    fn default() -> Self {
        Self { convergence: default_convergence() }
    }
}

fn default_instance() -> String {
    "default".to_owned()
}
fn default_max_prefixes() -> u32 {
    100
}
fn default_remove_after() -> Span {
    Span(Duration::from_secs(600))
}
fn default_hold() -> Span {
    Span(Duration::from_secs(9))
}
fn default_keepalive() -> Span {
    Span(Duration::from_secs(3))
}
fn default_bfd_interval() -> Span {
    Span(Duration::from_millis(300))
}
fn default_bfd_multiplier() -> u8 {
    3
}
fn default_max_paths() -> u16 {
    64
}
// MetalLB takes 66 ms in native mode and up to 11.6 s through frr-k8s to follow an endpoint.
fn default_convergence() -> Span {
    Span(Duration::from_secs(20))
}

impl SwitchSettings {
    /// The pools as prefixes: the minimal cover of each range.
    pub fn pools(&self) -> Vec<Prefix> {
        let mut pools: Vec<Prefix> = self.vips.pools.iter().flat_map(Pool::cover).copied().collect();
        pools.sort();
        pools.dedup();
        pools
    }

    /// True if a speaker may announce `prefix`: inside a pool and not inside a protected prefix.
    pub fn admits(&self, prefix: Prefix) -> bool {
        self.in_pools(prefix) && !self.is_protected(prefix)
    }

    /// True if `prefix` equals or lies inside a pool.
    pub fn in_pools(&self, prefix: Prefix) -> bool {
        self.vips.pools.iter().flat_map(Pool::cover).any(|pool| pool.covers(prefix))
    }

    /// True if `prefix` equals or lies inside a protected prefix.
    pub fn is_protected(&self, prefix: Prefix) -> bool {
        self.vips.protected.iter().any(|protected| protected.covers(prefix))
    }

    /// True if a node may peer from `address`.
    pub fn in_subnets(&self, address: IpAddr) -> bool {
        self.peering.nodes.subnets.iter().any(|subnet| subnet.contains(address))
    }

    /// The names listed one by one.
    pub fn listed_nodes(&self) -> BTreeSet<&str> {
        self.peering.nodes.listed.iter().map(|listed| listed.node.as_str()).collect()
    }
}

/// Reads `switch.yaml`. On a mistake nothing of the text is used.
pub fn parse(text: &str) -> Result<SwitchSettings, Mistake> {
    let settings: SwitchSettings = yaml::parse(FILE, text)?;
    match check::check(&settings) {
        None => Ok(settings),
        Some((field, problem)) => Err(yaml::misplaced(FILE, text, &field, problem)),
    }
}

/// The JSON Schema of `switch.yaml`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(SwitchSettings).to_value()
}
