//! The way to the API server.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// No single call may take longer.
pub const CALL: Duration = Duration::from_secs(10);

/// A connection that says nothing for this long is dead. Watches are ended by the server after 45 s; and an idle
/// connection of the pool must not outlive the watch beside it, or the next list would be sent into the void.
const SILENCE: Duration = Duration::from_secs(50);

/// Two clients: watches may be silent for long, calls may not.
pub struct Clients {
    /// For watches: may be silent, but not for long.
    pub watches: Client,
    /// For everything else: an answer within 10 s, and no hidden retries, so that trouble is seen.
    pub calls: Client,
    /// The namespace of the kubeconfig or of the pod.
    pub namespace: String,
}

/// Connects by `kubeconfig`, else `KUBECONFIG`, else the pod's token; to `server` instead of the address there, if given.
/// Nothing is sent yet.
pub async fn connect(kubeconfig: Option<&Path>, server: Option<&str>) -> anyhow::Result<Clients> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .context("using the kubeconfig")?
        }
        None => Config::infer().await.context("finding a kubeconfig or the pod's token")?,
    };
    if let Some(server) = server {
        config.cluster_url = server.parse().with_context(|| format!("--api-server {server}"))?;
    }
    config.connect_timeout = Some(CALL);
    let namespace = config.default_namespace.clone();
    config.read_timeout = Some(SILENCE);
    let watches = Client::try_from(config.clone())?;
    config.read_timeout = Some(CALL);
    config.write_timeout = Some(CALL);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    let calls = Client::try_from(config)?;
    Ok(Clients { watches, calls, namespace })
}
