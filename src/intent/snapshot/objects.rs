//! The parts of Kubernetes objects that we read, as the API writes them; all other fields are skipped unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;

use super::{Issue, NodeFacts, ObjectName, ServiceFacts, SliceFacts, TrafficPolicy};

/// `metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace; absent for cluster-scoped objects.
    pub namespace: Option<String>,
    /// UID.
    pub uid: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Bumped with every change of `spec`.
    pub generation: Option<i64>,
}

impl Meta {
    /// Namespace and name; a namespaced object without namespace is in `default`, as for kubectl.
    pub fn namespaced(&self) -> ObjectName {
        let namespace = self.namespace.clone().filter(|namespace| !namespace.is_empty());
        ObjectName { namespace: namespace.unwrap_or_else(|| "default".to_owned()), name: self.name.clone() }
    }
}

/// Whether the API server could have an object of this name: a DNS subdomain, here without its finer points (RFC 1123).
pub fn may_be_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}

/// `spec` of a Service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP`, `LoadBalancer` …
    pub r#type: Option<String>,
    /// Which implementation serves it.
    pub load_balancer_class: Option<String>,
    /// `Cluster` or `Local`.
    pub external_traffic_policy: Option<String>,
}

/// `status` of a Service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// Where it is reachable.
    pub load_balancer: LoadBalancerStatus,
}

/// `status.loadBalancer`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LoadBalancerStatus {
    /// Addresses.
    pub ingress: Vec<Ingress>,
}

/// One address of a Service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// Absent where a host name is given instead.
    pub ip: Option<String>,
}

/// Facts of a Service; `None` if it is not of type LoadBalancer.
pub fn service(
    meta: &Meta,
    spec: &ServiceSpec,
    status: &ServiceStatus,
) -> Result<Option<ServiceFacts>, Issue> {
    if spec.r#type.as_deref() != Some("LoadBalancer") {
        return Ok(None);
    }
    let name = meta.namespaced();
    let issue = |message: String| Issue::new(format!("Service {name}"), "InvalidObject", message);
    let mut addresses = BTreeSet::new();
    let ingress = &status.load_balancer.ingress;
    for ip in ingress.iter().filter_map(|ingress| ingress.ip.as_deref()) {
        addresses.insert(
            ip.parse::<IpAddr>()
                .map_err(|_| issue(format!("status.loadBalancer.ingress: {ip:?} is not an address")))?,
        );
    }
    let policy = match spec.external_traffic_policy.as_deref() {
        Some("Local") => TrafficPolicy::Local,
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some(other) => {
            return Err(issue(format!("spec.externalTrafficPolicy: {other:?} is neither Cluster nor Local")));
        }
    };
    Ok(Some(ServiceFacts {
        uid: meta.uid.clone().unwrap_or_default(),
        class: spec.load_balancer_class.clone(),
        policy,
        labels: meta.labels.clone(),
        addresses,
        has_nameless: ingress.iter().any(|ingress| ingress.ip.is_none()),
        name,
    }))
}

/// One endpoint of an EndpointSlice.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its conditions.
    pub conditions: Option<EndpointConditions>,
    /// The node it runs on.
    pub node_name: Option<String>,
}

/// Conditions of an endpoint; absent is not false.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// Ready for traffic; absent counts as true.
    pub ready: Option<bool>,
    /// Serving although it may be terminating; absent counts as false.
    pub serving: Option<bool>,
}

impl Endpoint {
    fn counts(&self) -> bool {
        let EndpointConditions { ready, serving } = self.conditions.clone().unwrap_or_default();
        !self.addresses.is_empty() && (ready.unwrap_or(true) || serving.unwrap_or(false))
    }
}

/// Facts of an EndpointSlice; `None` if it belongs to no Service.
pub fn slice(meta: &Meta, endpoints: &[Endpoint]) -> Option<SliceFacts> {
    let service = meta.labels.get("kubernetes.io/service-name")?.clone();
    let ObjectName { namespace, name: _ } = meta.namespaced();
    let counting = || endpoints.iter().filter(|endpoint| endpoint.counts());
    Some(SliceFacts {
        service: ObjectName { namespace, name: service },
        nodes: counting().filter_map(|endpoint| endpoint.node_name.clone()).collect(),
        any: counting().next().is_some(),
    })
}

/// `status` of a Node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Its addresses.
    pub addresses: Vec<NodeAddress>,
    /// Its conditions.
    pub conditions: Vec<NodeCondition>,
}

/// One address of a Node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname` …
    pub r#type: String,
    /// The address.
    pub address: String,
}

/// One condition of a Node, as far as announcing depends on it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeCondition {
    /// Type.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

/// Facts of a Node, and an issue for each address that is none.
pub fn node(meta: &Meta, status: &NodeStatus) -> (NodeFacts, Vec<Issue>) {
    let mut issues = Vec::new();
    let mut of_type = |wanted: &str| -> Vec<IpAddr> {
        let mut found = Vec::new();
        for NodeAddress { r#type, address } in &status.addresses {
            if r#type != wanted {
                continue;
            }
            match address.parse() {
                Ok(address) => found.push(address),
                Err(_) => issues.push(Issue::new(
                    format!("Node {}", meta.name),
                    "InvalidObject",
                    format!("status.addresses: {address:?} of type {wanted} is not an address"),
                )),
            }
        }
        found
    };
    let (internal, external) = (of_type("InternalIP"), of_type("ExternalIP"));
    let facts = NodeFacts {
        name: meta.name.clone(),
        labels: meta.labels.clone(),
        annotations: meta
            .annotations
            .iter()
            .filter(|(_, value)| value.len() <= 1024)
            .map(|(key, value)| (key.clone(), addresses(value)))
            .collect(),
        internal,
        external,
        network_unavailable: status
            .conditions
            .iter()
            .any(|condition| condition.r#type == "NetworkUnavailable" && condition.status == "True"),
    };
    (facts, issues)
}

/// `A, B, …`; the error is the first piece that is no address.
fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.parse().map_err(|_| piece.chars().take(64).collect()))
        .collect()
}
