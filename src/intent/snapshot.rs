//! What we know about the cluster, in our words: *facts*.
//!
//! The shells (API watches, a folder of YAML) hand over [`objects`] as they come; here they become compact facts.
//! An object that cannot be understood becomes an [`Issue`] and the others go on. Nothing here has heard of an API
//! client, and no free text of an object survives beyond its names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::intent::metallb::MetalLb;
use crate::net::Shared;

pub mod objects;
#[cfg(test)]
mod tests;

/// An input that was skipped, or that contradicts another one, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Issue {
    /// Kind and name, e.g. `Service shop/web`.
    pub object: String,
    /// CamelCase, from a closed list.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Issue {
    /// An issue with `object`.
    pub fn new(object: impl Into<String>, reason: &'static str, message: impl Into<String>) -> Self {
        Self { object: object.into(), reason, message: message.into() }
    }
}

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for ObjectName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `spec.externalTrafficPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Any announcing node may take the traffic.
    Cluster,
    /// Only nodes with an endpoint of their own.
    Local,
}

/// A Service of type LoadBalancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Whose.
    pub name: ObjectName,
    /// UID, for Events.
    pub uid: String,
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// `spec.externalTrafficPolicy`.
    pub policy: TrafficPolicy,
    /// Labels, for selectors of advertisements.
    pub labels: BTreeMap<String, String>,
    /// `status.loadBalancer.ingress[].ip`.
    pub addresses: BTreeSet<IpAddr>,
    /// An ingress has no address but, perhaps, a host name: MetalLB then announces nothing of the Service.
    pub has_nameless: bool,
}

/// One EndpointSlice, reduced to what announcing depends on.
///
/// An endpoint counts if it has an address and is ready (absent counts as true) or serving: MetalLB's rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceFacts {
    /// The Service it belongs to.
    pub service: ObjectName,
    /// Nodes with an endpoint that counts.
    pub nodes: Shared<BTreeSet<String>>,
    /// Some endpoint counts, with or without a node.
    pub any: bool,
}

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations whose value is a list of addresses (any other text is dropped at the edge).
    pub annotations: BTreeMap<String, Result<Vec<IpAddr>, String>>,
    /// `status.addresses` of type InternalIP.
    pub internal: Vec<IpAddr>,
    /// `status.addresses` of type ExternalIP.
    pub external: Vec<IpAddr>,
    /// Condition NetworkUnavailable is True.
    pub network_unavailable: bool,
}

impl NodeFacts {
    /// Label `node.kubernetes.io/exclude-from-external-load-balancers` is present, whatever its value.
    pub fn is_excluded(&self) -> bool {
        self.labels.contains_key("node.kubernetes.io/exclude-from-external-load-balancers")
    }
}

/// All facts about the cluster at one moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ClusterFacts {
    /// Services of type LoadBalancer.
    pub services: Vec<Arc<ServiceFacts>>,
    /// EndpointSlices.
    pub slices: Vec<Arc<SliceFacts>>,
    /// Nodes.
    pub nodes: Vec<Arc<NodeFacts>>,
    /// Names of Nodes that are switches: there is a `Switch` of that name.
    pub switches: BTreeSet<String>,
    /// MetalLB's objects; absent where its CRDs never were.
    pub metallb: Option<Arc<MetalLb>>,
    /// The namespace in which MetalLB runs; absent means that of its own manifests.
    pub metallb_namespace: Option<String>,
    /// Which addresses of MetalLB's peers are this switch's own; absent where its forwarding table could not be asked.
    pub here: Option<BTreeSet<IpAddr>>,
    /// Objects that could not be understood.
    pub issues: Vec<Issue>,
}

impl ClusterFacts {
    /// All Nodes, Services or EndpointSlices are gone since `before`: so speaks an API server that has lost its objects, one
    /// list after the other, and no cluster that goes on. Who must know what to miss goes by what was before.
    pub fn are_emptied(&self, before: &Self) -> bool {
        let gone = |now: usize, before: usize| now == 0 && before > 0;
        gone(self.nodes.len(), before.nodes.len())
            || gone(self.services.len(), before.services.len())
            || gone(self.slices.len(), before.slices.len())
    }
}

/// Names of texts that are no templates: the bundle owns such a file whole.
pub const LITERAL: [&str; 5] = ["frr.conf", "interfaces.cfg", "nvue.yaml", "config_db.json", "srlinux.json"];

/// The texts of one switch: what its ConfigMaps or its folder contain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bundle {
    /// Key → text.
    pub texts: BTreeMap<String, String>,
}

impl Bundle {
    /// True for a name that means something in a bundle: without such a text the others may not be used.
    pub fn is_meant(name: &str) -> bool {
        name.ends_with(".tera") || name == "switch.yaml" || LITERAL.contains(&name)
    }

    /// First 12 hex digits of the SHA-256 over all keys and texts: the bundle's half of a revision.
    pub fn hash(&self) -> String {
        digest(self.texts.iter().flat_map(|(key, text)| [key.as_bytes(), text.as_bytes()]))
    }
}

/// First 12 hex digits of the SHA-256 over `parts`, each preceded by its length.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut hex = format!("{:x}", hasher.finalize());
    hex.truncate(12);
    hex
}
