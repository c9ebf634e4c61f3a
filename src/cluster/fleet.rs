//! Reading what people ask about: Switches, Nodes, a Service and what belongs to it. Page by page, with a deadline on each call;
//! what is not permitted or not there is told apart from what is empty.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::chain;
use crate::health::fleet::explain::{EndpointSeen, ServiceSeen, SpeakerSeen};
use crate::health::fleet::{NodeSeen, SwitchSeen};

/// A status may have 256 KiB: so many come at once.
const PAGE: u32 = 50;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("reading {what}")]
pub struct Unread {
    /// What.
    pub what: String,
    /// The API server's word, or what became of the question.
    #[source]
    pub source: kube::Error,
}

/// All of a kind.
async fn all<K>(api: Api<K>, params: ListParams, what: &str) -> Result<Vec<K>, Unread>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut found = Vec::new();
    let mut params = params.limit(PAGE);
    loop {
        let page = api.list(&params).await.map_err(|source| Unread { what: what.to_owned(), source })?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

fn kind(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// The Switches of a namespace, by name.
pub async fn switches(client: &Client, namespace: &str) -> Result<Vec<SwitchSeen>, Unread> {
    let resource = kind("switchlet.io", "v1alpha1", "Switch", "switches");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let objects = all(api, ListParams::default(), &format!("Switches in {namespace}")).await?;
    let read = |object: &DynamicObject| SwitchSeen::read(&serde_json::to_value(object).unwrap_or_default());
    let mut switches: Vec<SwitchSeen> = objects.iter().map(read).collect();
    switches.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(switches)
}

/// All Nodes.
pub async fn nodes(client: &Client) -> Result<BTreeMap<String, NodeSeen>, Unread> {
    let nodes = all(Api::<Node>::all(client.clone()), ListParams::default(), "Nodes").await?;
    Ok(nodes
        .into_iter()
        .map(|node| {
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let is = |kind: &str, status: &str| {
                conditions.iter().any(|condition| condition.type_ == kind && condition.status == status)
            };
            let label = "node.kubernetes.io/exclude-from-external-load-balancers";
            let seen = NodeSeen {
                lost: is("Ready", "Unknown"),
                excluded: node.metadata.labels.is_some_and(|labels| labels.contains_key(label)),
                network_unavailable: is("NetworkUnavailable", "True"),
            };
            (node.metadata.name.unwrap_or_default(), seen)
        })
        .collect())
}

/// Names of the Services with this address.
pub async fn services_with(client: &Client, address: &str) -> Result<Vec<String>, Unread> {
    let services = all(Api::<Service>::all(client.clone()), ListParams::default(), "Services").await?;
    let has = |service: &&Service| addresses(service).iter().any(|ip| ip == address);
    let name = |service: &Service| {
        let metadata = &service.metadata;
        format!(
            "{}/{}",
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default()
        )
    };
    Ok(services.iter().filter(has).map(name).collect())
}

fn addresses(service: &Service) -> Vec<String> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    balancer
        .and_then(|balancer| balancer.ingress.as_ref())
        .into_iter()
        .flatten()
        .filter_map(|ingress| ingress.ip.clone())
        .collect()
}

/// One Service, its endpoints, and what MetalLB means to do with it; `None` if there is no such Service.
pub async fn service(
    client: &Client,
    namespace: &str,
    name: &str,
    nodes: &BTreeMap<String, NodeSeen>,
) -> Result<Option<ServiceSeen>, Unread> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await;
    let what = format!("Service {namespace}/{name}");
    let Some(service) = found.map_err(|source| Unread { what, source })? else { return Ok(None) };
    let spec = service.spec.clone().unwrap_or_default();
    let mut unread = Vec::new();
    let mut told = |error: Unread| unread.push(chain(&error));
    let endpoints = endpoints(client, namespace, name, nodes).await.map_err(&mut told).unwrap_or_default();
    let speakers = speakers(client, namespace, name).await.map_err(&mut told).unwrap_or_default();
    Ok(Some(ServiceSeen {
        service: format!("{namespace}/{name}"),
        r#type: spec.type_.unwrap_or_default(),
        policy: spec.external_traffic_policy.unwrap_or_else(|| "Cluster".to_owned()),
        class: spec.load_balancer_class,
        addresses: addresses(&service),
        endpoints,
        speakers,
        unread,
    }))
}

async fn endpoints(
    client: &Client,
    namespace: &str,
    name: &str,
    nodes: &BTreeMap<String, NodeSeen>,
) -> Result<Vec<EndpointSeen>, Unread> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let mine = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    let slices = all(api, mine, "EndpointSlices").await?;
    let silent = |node: &String| match nodes.get(node) {
        Some(NodeSeen { excluded: true, .. }) => Some("NodeExcluded"),
        Some(NodeSeen { network_unavailable: true, .. }) => Some("NodeNetworkUnavailable"),
        _ => None,
    };
    Ok(slices
        .into_iter()
        .flat_map(|slice| slice.endpoints)
        .map(|endpoint| {
            let conditions = endpoint.conditions.unwrap_or_default();
            let alive = conditions.ready.unwrap_or(true) || conditions.serving.unwrap_or(false);
            EndpointSeen {
                silent: endpoint.node_name.as_ref().and_then(silent),
                node: endpoint.node_name,
                counts: alive && !endpoint.addresses.is_empty(),
                addresses: endpoint.addresses,
            }
        })
        .collect())
}

/// `None` where MetalLB's CRD is not.
async fn speakers(client: &Client, namespace: &str, name: &str) -> Result<Option<Vec<SpeakerSeen>>, Unread> {
    let resource = kind("metallb.io", "v1beta1", "ServiceBGPStatus", "servicebgpstatuses");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let objects = match all(api, ListParams::default(), "ServiceBGPStatuses").await {
        Ok(objects) => objects,
        Err(Unread { source: kube::Error::Api(status), .. }) if status.code == 404 => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = |object: &DynamicObject, path: &str| {
        object.data.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut found: Vec<SpeakerSeen> = objects
        .iter()
        .filter(|object| {
            text(object, "/status/serviceName") == name
                && text(object, "/status/serviceNamespace") == namespace
        })
        .map(|object| {
            let peers = object.data.pointer("/status/peers").and_then(Value::as_array);
            let peers = peers.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            SpeakerSeen { node: text(object, "/status/node"), peers }
        })
        .collect();
    found.sort_by(|one, other| one.node.cmp(&other.node));
    Ok(Some(found))
}
