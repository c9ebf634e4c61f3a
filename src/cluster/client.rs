//! The way to the API server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

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
    /// Where the servers are, as `HOST:PORT`.
    pub servers: Vec<String>,
}

/// With several servers, one that takes a connection no faster than this is passed over.
const PASS_OVER: Duration = Duration::from_secs(3);

/// How to reach the API server, beside the kubeconfig.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way<'a> {
    /// Servers to use instead of the kubeconfig's, in order of preference.
    pub servers: &'a [String],
    /// Network device or VRF that every connection is bound to.
    pub device: Option<&'a str>,
    /// Context of the kubeconfig; else its current one.
    pub context: Option<&'a str>,
}

/// Connects by `kubeconfig`, else `KUBECONFIG`, else the pod's token. Nothing is sent yet.
pub async fn connect(kubeconfig: Option<&Path>, way: Way<'_>) -> anyhow::Result<Clients> {
    let options =
        KubeConfigOptions { context: way.context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = match (kubeconfig, way.context) {
        (Some(path), _) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &options).await.context("using the kubeconfig")?
        }
        (None, Some(_)) => {
            let file = Kubeconfig::read().context("reading the kubeconfig")?;
            Config::from_custom_kubeconfig(file, &options).await.context("using the kubeconfig")?
        }
        (None, None) => Config::infer().await.context("finding a kubeconfig or the pod's token")?,
    };
    if let Some(device) = way.device {
        let known = Path::new("/sys/class/net").join(device).exists();
        anyhow::ensure!(
            known && !device.contains('/'),
            "--api-device {device}: there is no such network device"
        );
    }
    config.connect_timeout = Some(if way.servers.len() > 1 { PASS_OVER } else { CALL });
    let namespace = config.default_namespace.clone();
    let current = Arc::default();
    config.read_timeout = Some(SILENCE);
    let watches = over(&config, way, &current)?;
    config.read_timeout = Some(CALL);
    config.write_timeout = Some(CALL);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    let calls = over(&config, way, &current)?;
    let urls =
        if way.servers.is_empty() { vec![config.cluster_url.to_string()] } else { way.servers.to_vec() };
    let servers = urls.iter().filter_map(|url| place(url)).collect();
    Ok(Clients { watches, calls, namespace, servers })
}

/// `HOST:PORT` of a URL.
fn place(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    Some(format!("{}:{port}", url.host()?))
}

/// A client for all servers of `way`; both clients share which one is `current`.
fn over(config: &Config, way: Way<'_>, current: &Arc<AtomicUsize>) -> anyhow::Result<Client> {
    let mut servers = Vec::new();
    for server in way.servers {
        let mut config = config.clone();
        config.cluster_url = server.parse().with_context(|| format!("--api-server {server}"))?;
        servers.push((server.clone(), bound(config, way.device)?));
    }
    match servers.len() {
        0 => bound(config.clone(), way.device),
        1 => Ok(servers.swap_remove(0).1),
        _ => {
            let failover = Failover { servers: servers.into(), current: Arc::clone(current) };
            Ok(Client::new(failover, config.default_namespace.clone()))
        }
    }
}

/// A client whose connections are bound to `device`, if there is one.
fn bound(config: Config, device: Option<&str>) -> anyhow::Result<Client> {
    let Some(device) = device else { return Ok(Client::try_from(config)?) };
    // kube's own stack takes no connector from outside, so its layers are put together again around ours.
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_interface(device);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(hyper_util::client::legacy::Builder::new(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace))
}

/// Sends to one of several servers, and to the next one once that fails. The call that failed is not repeated here: watches
/// and the reporter try again by themselves, with their own patience.
#[derive(Clone)]
struct Failover {
    servers: Arc<[(String, Client)]>,
    current: Arc<AtomicUsize>,
}

impl Failover {
    fn pass_over(&self, at: usize, why: &str) {
        let next = (at + 1) % self.servers.len();
        // Many calls fail at once, and one of them passes on.
        if self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(
                server = self.servers[at].0,
                next = self.servers[next].0,
                why,
                "another API server"
            );
        }
    }
}

impl tower::Service<Request<Body>> for Failover {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let at = this.current.load(Ordering::Relaxed) % this.servers.len();
            let result = this.servers[at].1.send(request).await;
            match &result {
                // The server is there and what is behind it is not.
                Ok(response) if matches!(response.status().as_u16(), 502..=504) => {
                    this.pass_over(at, response.status().as_str());
                }
                Ok(_) => {}
                Err(error) => this.pass_over(at, &super::chain(error)),
            }
            result
        })
    }
}
