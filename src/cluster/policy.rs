//! Is the admission policy in force that keeps an agent's token to its own switch? Asked by a write that the policy must refuse and
//! that would not be stored otherwise: a condition that is not ours, on the Node of somebody else.
//!
//! Never turns "could not ask" into an answer. Asked at the start, and now and then: often as long as the answer is not good.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;

use super::chain;
use super::report::MANAGER;
use crate::net::{Backoff, spread};

/// What the API server made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The policy refused it.
    Enforced,
    /// It would have been stored: this token may write what is not its switch's.
    Absent,
    /// Nobody could ask; why.
    Unknown(String),
}

impl Standing {
    /// As in the capabilities.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Absent => "absent",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Names of our policies in a refusal.
const OURS: &str = "ValidatingAdmissionPolicy 'switchlet-agent-";
/// A good answer is asked for again after this long.
const AGAIN: Duration = Duration::from_secs(3600);
/// A policy that was applied together with the agent takes a second to act.
const RETRY: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(300) };

/// Starts asking for the switch `me`; `seed` spreads many switches.
pub fn start(client: Client, me: &str, seed: u64) -> watch::Receiver<Standing> {
    let (told, standing) = watch::channel(Standing::Unknown("not asked yet".to_owned()));
    let me = me.to_owned();
    tokio::spawn(async move {
        let mut attempts = 0_u32;
        let mut turn = 0_u32;
        while !told.is_closed() {
            let found = ask(&client, &me).await;
            let wait = match &found {
                Standing::Enforced => {
                    attempts = 0;
                    turn = turn.wrapping_add(1);
                    AGAIN + spread(AGAIN / 4, seed, turn)
                }
                Standing::Absent | Standing::Unknown(_) => {
                    attempts += 1;
                    RETRY.wait(attempts - 1, seed)
                }
            };
            // One that has just been applied does not act yet.
            if found != Standing::Absent || attempts > 1 {
                told.send_if_modified(|known| {
                    let news = *known != found;
                    if news {
                        tracing::info!(policy = found.word(), "the admission policy for agents");
                        known.clone_from(&found);
                    }
                    news
                });
            }
            tokio::time::sleep(wait).await;
        }
    });
    standing
}

/// Asks once.
pub async fn ask(client: &Client, me: &str) -> Standing {
    let nodes: Api<Node> = Api::all(client.clone());
    // Of two Nodes one is not ours; alone in the cluster, a foreign condition on the own Node is refused as well.
    let some = match nodes.list_metadata(&ListParams::default().limit(2)).await {
        Ok(list) => list,
        Err(error) => return Standing::Unknown(format!("listing Nodes: {}", chain(&error))),
    };
    let names: Vec<String> = some.items.into_iter().filter_map(|node| node.metadata.name).collect();
    let Some(target) = names.iter().find(|name| *name != me).or(names.first()) else {
        return Standing::Unknown("there is no Node to ask about".to_owned());
    };
    let patch = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": target},
        "status": {"conditions": [{
            "type": "switchlet.io/PolicyProbe", "status": "Unknown", "reason": "Probe", "message": "never stored",
        }]},
    });
    let params = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER) };
    match nodes.patch_status(target, &params, &Patch::Apply(&patch)).await {
        Ok(_) => Standing::Absent,
        Err(kube::Error::Api(status)) if status.message.contains(OURS) => Standing::Enforced,
        Err(error) => Standing::Unknown(chain(&error)),
    }
}
