//! The port through which the agent asks the control plane *why*.
//!
//! Asked only about VIPs that differ. Its word never makes a verdict: zebra can say `installed` while the
//! kernel forwards elsewhere. It only names the first failing rung.

use std::collections::BTreeMap;
use std::future::Future;

use crate::net::Prefix;

pub use crate::health::control::{Managed, Path, Session};

pub mod frr;

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
    /// All sessions, by peer (address or interface name).
    fn sessions(&mut self) -> impl Future<Output = Result<BTreeMap<String, Session>, RibError>> + Send;

    /// The paths of one prefix; empty if the table does not have it.
    fn paths(&mut self, prefix: Prefix) -> impl Future<Output = Result<Vec<Path>, RibError>> + Send;

    /// What the route manager says about one prefix.
    fn managed(&mut self, prefix: Prefix) -> impl Future<Output = Result<Managed, RibError>> + Send;
}
