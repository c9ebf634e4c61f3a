//! What to say: from expected and observed forwarding to a verdict, and from verdicts to conditions. Pure.
//!
//! [`compare`] sets the two tables against each other, [`ladder`] names the first failing rung of each difference,
//! [`clock`] decides when a difference is a fault, [`spread`] looks at what is equal all the same, [`condition`] finds the words,
//! [`chronicle`] keeps how changes ended. Three values everywhere: equal,
//! different, *could not look*.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::health::ladder::Rung;
use crate::intent::snapshot::{Issue, ObjectName};
use crate::net::{NextHop, Prefix, Shared};

pub mod chronicle;
pub mod clock;
pub mod compare;
pub mod condition;
pub mod control;
pub mod fleet;
pub mod ladder;
pub mod preflight;
pub mod spread;
mod verdict;

/// One look's result; the JSON that `verify` prints, that the agent serves and that `Switch.status` shortens.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Name of the switch.
    pub switch: String,
    /// Which input was judged: bundle hash and facts hash.
    pub revision: String,
    /// When it was looked.
    pub observed_at: Timestamp,
    /// Of this look.
    pub verdict: Word,
    /// Judged VIPs, and other prefixes inside a pool for which there is a route.
    pub vips: Shared<Vec<VipVerdict>>,
    /// Inputs that were skipped.
    pub issues: Vec<Issue>,
}

/// The verdict in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// Every VIP forwards to exactly its next-hops.
    Ok,
    /// Some VIP does not.
    Differs,
    /// None differs as far as we could look, and for some we could not.
    Unknown,
}

/// State of one VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As expected.
    Ok,
    /// Could not look, or nothing can be expected.
    Unknown,
    /// Different, and its deadline has not passed.
    Converging,
    /// Different for longer than is lawful.
    Diverged,
}

/// One VIP.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VipVerdict {
    /// Its prefix.
    pub prefix: Prefix,
    /// VRF or ip-vrf.
    pub network_instance: Shared<String>,
    /// Services that own it.
    pub services: Vec<ObjectName>,
    /// Worst state of its differences.
    pub state: State,
    /// The worst difference's first failing rung, or why it is absent by intent.
    pub rung: Option<Rung>,
    /// Expected next-hops; empty if the prefix must be absent.
    pub expected: Shared<Vec<NextHop>>,
    /// Next-hops that forward.
    pub observed: Shared<Vec<NextHop>>,
    /// Expected and not observed.
    pub missing: Vec<NextHop>,
    /// Observed and not expected: next-hops, or the kind of a route that does not forward.
    pub unexpected: Vec<String>,
    /// Since when the oldest difference stands.
    pub since: Option<Timestamp>,
    /// For people.
    pub message: Shared<String>,
    /// Each difference.
    pub differences: Vec<Difference>,
}

/// Missing, or too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// Expected and not observed.
    Missing,
    /// Observed and not expected.
    Unexpected,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The next-hop, or the kind of a route that does not forward.
    pub next_hop: String,
    /// The node or remote switch behind it, if known.
    pub node: Option<String>,
    /// Missing or unexpected.
    pub kind: DifferenceKind,
    /// First failing rung.
    pub rung: Rung,
    /// Since when.
    pub since: Timestamp,
    /// Its deadline has passed.
    #[serde(skip)]
    pub state: State,
    /// Who is at fault.
    #[serde(skip)]
    pub fault: ladder::Fault,
    /// The particulars of the rung; part of the VIP's message.
    #[serde(skip)]
    pub detail: Option<String>,
}

impl Verdict {
    /// The word for a set of VIPs: differs, else unknown, else ok.
    pub fn word(vips: &[VipVerdict]) -> Word {
        let worst = vips.iter().map(|vip| vip.state).max().unwrap_or(State::Ok);
        match worst {
            State::Ok => Word::Ok,
            State::Unknown => Word::Unknown,
            State::Converging | State::Diverged => Word::Differs,
        }
    }
}
