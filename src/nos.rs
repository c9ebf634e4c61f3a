//! The port through which the agent reads and writes a switch's configuration.
//!
//! A driver only speaks: it decides nothing, and its errors say whether it was the NOS that refused or we that could
//! not look.

use std::collections::BTreeMap;
use std::future::Future;

use crate::change::diff::{Candidate, Checked, Journal, Plan, Running};
use crate::intent::platform::Platform;

pub mod frr;

/// Why the NOS could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NosError {
    /// It does not answer: nothing is known.
    #[error("{what}")]
    Unreachable {
        /// Who does not answer, e.g. `bgpd does not answer`.
        what: String,
        /// The operating system's word.
        #[source]
        source: std::io::Error,
    },
    /// It answered and refused.
    #[error("{what}")]
    Refused {
        /// What it said.
        what: String,
    },
}

/// Why a candidate could not be validated. Neither says anything about the candidate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorError {
    /// There is none here: what it needs is missing.
    #[error("{0}")]
    Unavailable(String),
    /// There is one, and it gave no answer in time.
    #[error("{0}")]
    Failed(String),
}

/// Lets the NOS's own parser read a candidate, in a place where nothing forwards. Ends by itself, within a deadline.
pub trait Validator: Send + Sync + 'static {
    /// What the parser made of it.
    fn check(&self, candidate: &Candidate) -> impl Future<Output = Result<Checked, ValidatorError>> + Send;
}

/// Reads and writes the texts of one switch.
pub trait NosDriver {
    /// Its NOS's own parser.
    type Validator: Validator;

    /// The parser, with the secrets of now.
    fn validator(&self) -> Self::Validator;

    /// Values of the secrets, by the placeholders that stand for them in every text on this side of the driver.
    fn set_secrets(&mut self, secrets: BTreeMap<String, String>);

    /// Every secret that a text of this driver may hold a placeholder for: what it was given, and what it has met.
    fn secrets(&self) -> BTreeMap<String, String>;

    /// What the NOS is and can do.
    fn platform(&mut self) -> impl Future<Output = Result<Platform, NosError>>;

    /// What runs, one text an owner.
    fn running(&mut self) -> impl Future<Output = Result<Running, NosError>>;

    /// A person who may be in the middle of changing the configuration by hand, in words; `None` also where nobody can be
    /// seen.
    fn editor(&mut self) -> impl Future<Output = Option<String>>;

    /// Sends a plan's commands, owner by owner. The complaints of the NOS are no verdict: only reading back tells what
    /// took effect.
    fn apply(&mut self, plan: &Plan) -> impl Future<Output = Result<Vec<String>, NosError>>;

    /// Makes `candidate` what survives a reboot, beside what others own; where it no longer sets a global of `journal`,
    /// what was found comes back. Never called before it was read back.
    fn save(
        &mut self,
        candidate: &Candidate,
        journal: &Journal,
    ) -> impl Future<Output = Result<(), NosError>>;
}
