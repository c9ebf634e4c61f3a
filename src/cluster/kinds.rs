//! Kubernetes kinds, reduced to the fields that we read: the others are skipped while parsing and never allocated.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;

use crate::intent::snapshot::objects::{self, Endpoint, NodeAddress, NodeStatus, ServiceSpec, ServiceStatus};
use crate::intent::switch::SwitchSpec;

#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = "Service")]
pub struct ServiceObject {
    #[serde(deserialize_with = "read_by_us")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: ServiceSpec,
    #[serde(default)]
    pub status: ServiceStatus,
}

#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = "EndpointSlice")]
pub struct SliceObject {
    #[serde(deserialize_with = "read_by_us")]
    pub metadata: ObjectMeta,
    /// The API writes `null` for an empty list.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub endpoints: Vec<Endpoint>,
}

#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = "Node")]
pub struct NodeObject {
    #[serde(deserialize_with = "read_by_us")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub status: NodeStatusObject,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatusObject {
    addresses: Vec<NodeAddress>,
    pub conditions: Vec<NodeCondition>,
}

impl NodeStatusObject {
    pub fn facts(&self) -> NodeStatus {
        NodeStatus {
            addresses: self.addresses.clone(),
            conditions: self
                .conditions
                .iter()
                .map(|condition| objects::NodeCondition {
                    r#type: condition.type_.clone(),
                    status: condition.status.clone(),
                })
                .collect(),
        }
    }
}

/// The part of `metadata` that we or the watch read. `managedFields` alone is as long as all the rest of an object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<Time>,
}

pub(super) fn read_by_us<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let Metadata {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        labels,
        annotations,
        deletion_timestamp,
    } = Metadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        labels,
        annotations,
        deletion_timestamp,
        ..ObjectMeta::default()
    })
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Endpoint>, D::Error> {
    Ok(Option::<Vec<Endpoint>>::deserialize(deserializer)?.unwrap_or_default())
}

/// Our own Switch.
#[derive(Clone, Debug, Deserialize)]
pub struct SwitchResource {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: SwitchSpec,
}

/// Any Switch, of which only the name matters.
#[derive(Clone, Debug, Deserialize)]
pub struct SwitchName {
    pub metadata: ObjectMeta,
}

/// Any Switch, as far as slots are concerned.
#[derive(Clone, Debug, Deserialize)]
pub struct SwitchTurn {
    #[serde(deserialize_with = "read_by_us")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: SwitchSpec,
    #[serde(default)]
    pub status: SwitchStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SwitchStatus {
    pub conditions: Vec<SwitchCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SwitchCondition {
    pub r#type: String,
    pub reason: String,
}

macro_rules! is_a_switch {
    ($kind:ty) => {
        impl Resource for $kind {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                "Switch".into()
            }
            fn group((): &()) -> Cow<'_, str> {
                "switchlet.io".into()
            }
            fn version((): &()) -> Cow<'_, str> {
                "v1alpha1".into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                "switches".into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
is_a_switch!(SwitchResource);
is_a_switch!(SwitchName);
is_a_switch!(SwitchTurn);
