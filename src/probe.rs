//! Whether anything comes back from an address: the path there works, whatever is said.
//!
//! A refused connection is an answer, and so is a server that is ill: both mean that packets go there and back. Only
//! silence, and a kernel that knows no way, count as none.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpSocket;

use crate::change::look::Answer;

/// Within a data centre an answer takes a millisecond; a lost packet is sent again after one second.
const PATIENCE: Duration = Duration::from_millis(1500);
/// A port on which a gateway most likely says no at once: `discard`, RFC 863.
const DISCARD: u16 = 9;
/// More gateways than a switch has uplinks.
const MOST_GATEWAYS: usize = 16;

/// What is probed before and after a change.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    /// API servers, as `HOST:PORT`.
    pub servers: Vec<String>,
    /// Device or VRF that connections to them are bound to.
    pub device: Option<String>,
}

impl Probes {
    /// Asks all at once: the API servers, and these default gateways.
    pub async fn ask(&self, gateways: Vec<IpAddr>) -> BTreeMap<String, Answer> {
        let servers = self.servers.iter().map(|server| async move {
            let answer = match tokio::time::timeout(PATIENCE, self.server(server)).await {
                Ok(answer) => answer,
                Err(_) => Answer::Silence,
            };
            (format!("API server {server}"), answer)
        });
        let gateways = gateways.into_iter().take(MOST_GATEWAYS).map(|gateway| async move {
            let answer = connect(SocketAddr::new(gateway, DISCARD), None).await;
            (format!("default gateway {gateway}"), answer)
        });
        let (servers, gateways) = tokio::join!(join_all(servers), join_all(gateways));
        servers.into_iter().chain(gateways).collect()
    }

    async fn server(&self, server: &str) -> Answer {
        let Ok(addresses) = tokio::net::lookup_host(server).await else { return Answer::Silence };
        let answers = addresses.map(|address| connect(address, self.device.as_deref()));
        let came = join_all(answers).await.contains(&Answer::Came);
        if came { Answer::Came } else { Answer::Silence }
    }
}

async fn connect(address: SocketAddr, device: Option<&str>) -> Answer {
    let connecting = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.connect(address).await.map(drop)
    };
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(())) => Answer::Came,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Came,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Answer::Came,
        Ok(Err(_)) | Err(_) => Answer::Silence,
    }
}
