//! The port through which the agent reads and writes a switch's configuration.
//!
//! A driver only speaks: it decides nothing, and its errors say whether it was the NOS that refused or we that could
//! not look.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use crate::change::diff::{Candidate, Checked, Journal, Plan, Running};
use crate::intent::platform::Platform;

pub mod frr;
pub mod srlinux;

/// How long a NOS with a confirm timer of its own lets a change stand without a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// For ever: what is sent is a way back.
    None,
    /// Until this has passed.
    For(Duration),
}

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
    /// Somebody else is changing it; nothing was sent.
    #[error("{who}")]
    Busy {
        /// Who, in the words of the switch.
        who: String,
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
    /// Who reads, for the capabilities.
    const NAME: &'static str;

    /// What the parser made of it.
    fn check(&self, candidate: &Candidate) -> impl Future<Output = Result<Checked, ValidatorError>> + Send;
}

/// Reads and writes the texts of one switch.
pub trait NosDriver {
    /// Its NOS's own parser.
    type Validator: Validator;

    /// How it is spoken to, for the capabilities: `exec`, `socket`, `jsonrpc`.
    fn hand(&self) -> &'static str;

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

    /// What the texts to come are about, for a NOS that is asked only about that.
    fn attend(&mut self, _candidate: &Candidate) {}

    /// Nobody else is changing it, as far as it says.
    fn free(&mut self) -> impl Future<Output = Result<(), NosError>> {
        std::future::ready(Ok(()))
    }

    /// Sends a plan's commands, owner by owner. The complaints of the NOS are no verdict: only reading back tells what
    /// took effect. A NOS with a confirm timer of its own goes back by itself when `hold` is over, unless it is told
    /// [`Self::accept`]; others leave that to the guard.
    fn apply(&mut self, plan: &Plan, hold: Hold) -> impl Future<Output = Result<Vec<String>, NosError>>;

    /// Lets what was applied stand: ends the timer of a NOS that has one. An error means that it does not stand.
    fn accept(&mut self) -> impl Future<Output = Result<(), NosError>> {
        std::future::ready(Ok(()))
    }

    /// What survives a reboot, where it can be read and may be other than what was saved: because somebody else saved, or
    /// did not.
    fn startup(&mut self) -> impl Future<Output = Option<Running>> {
        std::future::ready(None)
    }

    /// Makes `candidate` what survives a reboot, beside what others own; where it no longer sets a global of `journal`,
    /// what was found comes back. Never called before it was read back.
    fn save(
        &mut self,
        candidate: &Candidate,
        journal: &Journal,
    ) -> impl Future<Output = Result<(), NosError>>;
}
