//! Writing the Node's conditions and label, and the Switch's status: one writer for both.
//!
//! Server-side apply under one field manager, everything we own in each patch: what is left out is retired. Only the last of
//! our conditions is not retired that way: the API server would take along whatever of the Node's status nobody owns. Nothing
//! is written while nothing changes, except the heartbeat.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::{OwnNode, kinds::SwitchResource};
use crate::health::condition::Condition;

/// The label that `kubectl get nodes -L` shows.
pub const HEALTH_LABEL: &str = "switchlet.io/health";
/// Our name as an owner of fields.
pub const MANAGER: &str = "switchlet";

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The object does not exist: there is nobody to tell.
    #[error("{0} does not exist")]
    Gone(String),
    /// The API server refused or did not answer.
    #[error("writing {what}")]
    Failed {
        /// Which object.
        what: String,
        /// Its word.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A condition with its times.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamped {
    /// What is said.
    pub condition: Condition,
    /// When its status flipped last.
    pub since: Timestamp,
}

/// What the Node is to say.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReport {
    /// By type. Empty on a retired switch: then what was said is withdrawn.
    pub conditions: BTreeMap<&'static str, Stamped>,
    /// The value of the health label; `None` to withdraw it.
    pub health: Option<&'static str>,
}

impl NodeReport {
    /// True if `node` says all this already, whatever its heartbeat. Times of earlier flips are the Node's own.
    pub fn is_on(&self, node: &OwnNode) -> bool {
        node.health.as_deref() == self.health
            && node.conditions.len() == self.conditions.len()
            && self.conditions.iter().all(|(kind, Stamped { condition, since: _ })| {
                node.conditions.get(*kind).is_some_and(|there| {
                    there.status == condition.status.to_string()
                        && there.reason.as_deref() == Some(format!("{:?}", condition.reason).as_str())
                        && there.message.as_deref() == Some(condition.message.as_str())
                })
            })
    }
}

/// Writes both objects.
#[derive(Clone)]
pub struct Writer {
    me: String,
    nodes: Api<Node>,
    switches: Api<SwitchResource>,
}

impl Writer {
    /// A writer for the switch `me`.
    pub fn new(client: Client, me: &str, namespace: &str) -> Self {
        Self {
            me: me.to_owned(),
            nodes: Api::all(client.clone()),
            switches: Api::namespaced(client, namespace),
        }
    }

    /// Writes the Node's conditions and label, or takes them from it. `seen` guards against a Node that was made again
    /// meanwhile.
    pub async fn node(&self, seen: &OwnNode, report: &NodeReport, now: Timestamp) -> Result<(), ReportError> {
        let (params, patch) = if report.conditions.is_empty() {
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            (params, Patch::Strategic(self.withdrawal(seen, report)))
        } else {
            (PatchParams::apply(MANAGER).force(), Patch::Apply(self.said(seen, report, now)))
        };
        let written = self.nodes.patch_status(&self.me, &params, &patch).await;
        written.map(drop).map_err(|error| failed(format!("Node {}", self.me), error))
    }

    fn withdrawal(&self, seen: &OwnNode, report: &NodeReport) -> Value {
        let gone = |kind: &String| json!({"type": kind, "$patch": "delete"});
        json!({
            "metadata": {"name": self.me, "uid": seen.uid, "labels": {HEALTH_LABEL: report.health}},
            "status": {"conditions": seen.conditions.keys().map(gone).collect::<Vec<_>>()},
        })
    }

    fn said(&self, seen: &OwnNode, report: &NodeReport, now: Timestamp) -> Value {
        let conditions: Vec<Value> = report
            .conditions
            .iter()
            .map(|(kind, Stamped { condition, since })| {
                json!({
                    "type": kind,
                    "status": condition.status.to_string(),
                    "reason": format!("{:?}", condition.reason),
                    "message": condition.message,
                    "lastTransitionTime": seconds(*since),
                    "lastHeartbeatTime": seconds(now),
                })
            })
            .collect();
        let labels: BTreeMap<&str, &str> =
            report.health.map(|health| (HEALTH_LABEL, health)).into_iter().collect();
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.me, "uid": seen.uid, "labels": labels},
            "status": {"conditions": conditions},
        })
    }

    /// Applies the Switch's whole status.
    pub async fn switch(&self, status: &Value) -> Result<(), ReportError> {
        let patch = json!({
            "apiVersion": "switchlet.io/v1alpha1",
            "kind": "Switch",
            "metadata": {"name": self.me},
            "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        let written = self.switches.patch_status(&self.me, &params, &Patch::Apply(&patch)).await;
        written.map(drop).map_err(|error| failed(format!("Switch {}", self.me), error))
    }
}

fn failed(what: String, error: kube::Error) -> ReportError {
    match error {
        kube::Error::Api(status) if status.code == 404 => ReportError::Gone(what),
        other => ReportError::Failed { what, source: Box::new(other) },
    }
}

/// Kubernetes' times have whole seconds.
pub fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
