//! The port through which the agent asks the control plane *why*.
//!
//! Asked only about VIPs that differ. Its word never makes a verdict: zebra can say `installed` while the
//! kernel forwards elsewhere. It only names the first failing rung.

use std::future::Future;

use crate::net::{Family, Prefix};

pub use crate::health::control::{
    Bfd, Intake, Limits, Managed, Merit, Path, Programming, Session, Sessions, Stale,
};

pub mod frr;
pub mod srlinux;

/// Why the control plane could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RibError {
    /// The daemon did not answer within the deadline, or its socket is missing.
    #[error("{daemon} does not answer")]
    Unreachable {
        /// Which daemon.
        daemon: &'static str,
        /// The operating system's word.
        #[source]
        source: std::io::Error,
    },
    /// It answered in a form we do not know.
    #[error("{daemon}: unexpected answer to `{command}`: {problem}")]
    Malformed {
        /// Which daemon.
        daemon: &'static str,
        /// What was asked.
        command: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Asks the control plane of one network instance.
pub trait RibReader {
    /// Asks about this network instance from now on, where the NOS has more than one that can be asked.
    fn enter(&mut self, _instance: &str) {}

    /// All sessions.
    fn sessions(&mut self) -> impl Future<Output = Result<Sessions, RibError>> + Send;

    /// The paths of one prefix; empty if the table does not have it.
    fn paths(&mut self, prefix: Prefix) -> impl Future<Output = Result<Vec<Path>, RibError>> + Send;

    /// What the route manager says about one prefix.
    fn managed(&mut self, prefix: Prefix) -> impl Future<Output = Result<Managed, RibError>> + Send;

    /// How many equal paths of a family may be used.
    fn limits(&mut self, family: Family) -> impl Future<Output = Result<Limits, RibError>> + Send;

    /// What became of a prefix on its way from a peer whose session is up, where the table has no path from it.
    fn intake(&mut self, peer: &str, prefix: Prefix)
    -> impl Future<Output = Result<Intake, RibError>> + Send;
}
