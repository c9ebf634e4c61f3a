//! FRR as the control plane: bgpd, zebra and bfdd asked over their vty sockets.
//!
//! It is asked only about what already looks wrong, and in small questions: one prefix, one neighbour. The
//! whole route table as JSON makes zebra's memory explode and is never asked for. Reads only, and the default
//! network instance only.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{Intake, Limits, Managed, Path, RibError, RibReader, Sessions};
use crate::net::{Family, Prefix};
use crate::vty::{Daemon, Vty};

mod parse;
#[cfg(test)]
mod tests;

/// Asks the daemons of one FRR instance.
#[derive(Debug)]
pub struct FrrRib {
    run: PathBuf,
    instance: Option<String>,
    deadline: Duration,
    open: BTreeMap<Daemon, Vty>,
}

impl FrrRib {
    /// Of the FRR whose sockets are under `run` (usually `/var/run`); `instance` is its `-N`. `deadline` limits
    /// each question. Connects when first asked.
    pub fn new(run: impl Into<PathBuf>, instance: Option<String>, deadline: Duration) -> Self {
        Self { run: run.into(), instance, deadline, open: BTreeMap::new() }
    }

    /// Asks on the open connection, or on a new one if the daemon hung up on the old one in the meantime.
    async fn ask(&mut self, daemon: Daemon, command: &str) -> Result<String, RibError> {
        let answer = match self.open.remove(&daemon) {
            Some(mut vty) => match vty.ask(command).await {
                Ok(reply) => {
                    self.open.insert(daemon, vty);
                    Ok(reply)
                }
                // A frozen daemon would freeze the second time as well.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(error),
                Err(_) => self.ask_anew(daemon, command).await,
            },
            None => self.ask_anew(daemon, command).await,
        };
        match answer {
            // The answers to questions about absent things carry a warning's code.
            Ok(reply) if reply.code <= 1 => Ok(reply.text),
            Ok(reply) => {
                let problem = format!("code {}: {}", reply.code, reply.text.trim());
                Err(malformed(daemon, command, problem))
            }
            Err(source) => Err(RibError::Unreachable { daemon: daemon.name(), source }),
        }
    }

    async fn ask_anew(&mut self, daemon: Daemon, command: &str) -> io::Result<crate::vty::Reply> {
        let path = daemon.socket(&self.run, self.instance.as_deref());
        let mut vty = Vty::open(&path, self.deadline).await?;
        // bfdd shows its peers to the privileged only.
        vty.enable().await?;
        let reply = vty.ask(command).await?;
        self.open.insert(daemon, vty);
        Ok(reply)
    }

    async fn read<T>(
        &mut self,
        daemon: Daemon,
        command: &str,
        parse: impl FnOnce(&str) -> Result<T, String> + Send,
    ) -> Result<T, RibError> {
        let text = self.ask(daemon, command).await?;
        parse(&text).map_err(|problem| malformed(daemon, command, problem))
    }
}

/// As FRR's commands spell a family.
fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

impl RibReader for FrrRib {
    async fn sessions(&mut self) -> Result<Sessions, RibError> {
        let mut by_peer = self.read(Daemon::Bgpd, "show bgp summary json", parse::sessions).await?;
        for session in by_peer.values_mut().filter(|session| !session.is_up()) {
            let command = format!("show bgp neighbors {} json", session.peer);
            let neighbor =
                self.read(Daemon::Bgpd, &command, |text| parse::neighbor(text, &session.peer)).await?;
            session.last_reset = neighbor.last_reset;
            session.bfd = neighbor.bfd;
        }
        let listen = self.read(Daemon::Bgpd, "show bgp peer-group json", parse::listen).await?;
        // BFD is a detail of a session: without its daemon the sessions are still worth telling.
        match self.read(Daemon::Bfdd, "show bfd peers json", parse::bfd).await {
            Ok(bfd) => {
                for session in by_peer.values_mut() {
                    session.bfd = bfd.get(&session.peer).cloned().or(session.bfd.take());
                }
            }
            Err(error @ RibError::Unreachable { .. }) => tracing::debug!(%error, "no word on BFD"),
            Err(error) => return Err(error),
        }
        Ok(Sessions { by_peer, listen })
    }

    async fn paths(&mut self, prefix: Prefix) -> Result<Vec<Path>, RibError> {
        let command = format!("show bgp {} unicast {prefix} json", word(prefix.family()));
        self.read(Daemon::Bgpd, &command, parse::paths).await
    }

    async fn managed(&mut self, prefix: Prefix) -> Result<Managed, RibError> {
        let family = match prefix.family() {
            Family::V4 => "ip",
            Family::V6 => "ipv6",
        };
        let command = format!("show {family} route {prefix} json");
        self.read(Daemon::Zebra, &command, |text| parse::managed(text, prefix)).await
    }

    async fn limits(&mut self, family: Family) -> Result<Limits, RibError> {
        self.read(Daemon::Bgpd, "show running-config", |text| Ok(parse::limits(text, family))).await
    }

    async fn intake(&mut self, peer: &str, prefix: Prefix) -> Result<Intake, RibError> {
        let command = format!("show bgp neighbors {peer} json");
        let neighbor = self.read(Daemon::Bgpd, &command, |text| parse::neighbor(text, peer)).await?;
        let family = prefix.family();
        // Asked of a neighbour that keeps nothing, 10.3 answers with what is no JSON.
        if !neighbor.keeps.contains(&family) {
            return Ok(neighbor.intake());
        }
        let command = format!("show bgp {} unicast neighbors {peer} received-routes json", word(family));
        let received = self.read(Daemon::Bgpd, &command, |text| parse::received(text, prefix)).await?;
        Ok(if received { Intake::Refused } else { Intake::NotSent })
    }
}

fn malformed(daemon: Daemon, command: &str, problem: String) -> RibError {
    RibError::Malformed { daemon: daemon.name(), command: command.to_owned(), problem }
}
