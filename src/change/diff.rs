//! Texts of a switch by owner: candidate, running, and what stands between them.
//!
//! A switch may have several owners of text (FRR beside ifupdown2; SONiC beside its FRR), so all of these are maps
//! by owner, applied in the order of the owners' names and undone in reverse.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::change::impact::Impact;
use crate::intent::snapshot;

/// Who owns a text: `frr`, `ifupdown2`, `srlinux` …
pub type Owner = String;

/// The texts that we want to be live.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Candidate {
    /// One text an owner, in the owner's canonical form.
    pub texts: BTreeMap<Owner, String>,
    /// Texts of which the bundle owns every line, as a person wrote them: what becomes the startup text, to the letter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub literal: BTreeMap<Owner, String>,
}

impl Candidate {
    /// A candidate of rendered texts.
    pub fn rendered(texts: BTreeMap<Owner, String>) -> Self {
        Self { texts, literal: BTreeMap::new() }
    }

    /// First 12 hex digits of the SHA-256 over owners and texts. Secrets are placeholders in the text, so the hash
    /// tells nothing about them.
    pub fn hash(&self) -> String {
        let parts = self.texts.iter().chain(&self.literal);
        snapshot::digest(parts.flat_map(|(owner, text)| [owner.as_bytes(), text.as_bytes()]))
    }
}

/// What the NOS's own parser made of a candidate, in a place where nothing forwards.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checked {
    /// What did not take effect, in the order of the text. Empty: all of it did.
    pub complaints: Vec<Complaint>,
    /// All that runs after loading it, one text an owner.
    pub texts: BTreeMap<Owner, String>,
}

/// A line that did not take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// Its place in the text that was loaded, from 1.
    pub line: usize,
    /// The line, without its indentation.
    pub text: String,
    /// What the NOS said.
    pub said: String,
}

/// The texts that are live, as the NOS gives them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Running {
    /// One text an owner.
    pub texts: BTreeMap<Owner, String>,
}

/// What to do with one owner's text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OwnerPlan {
    /// Wanted lines that do not run, each with its context: `router bgp 65001 / neighbor …`.
    pub add: Vec<String>,
    /// Our lines that run and are not wanted.
    pub remove: Vec<String>,
    /// The commands that get there, in order, adds before deletes.
    pub commands: Vec<String>,
    /// Digest of our lines that run now, neighbours aside: the same difference from elsewhere is another plan.
    #[serde(default)]
    pub start: String,
    /// What is to be journalled before the commands: the globals that we will have set when they are done.
    #[serde(default)]
    pub globals: Vec<Global>,
    /// What the commands will do to what runs.
    #[serde(default)]
    pub impact: Impact,
}

/// A global that we set, and what stood in its place before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Global {
    /// The blocks around it, outermost first.
    pub context: Vec<String>,
    /// What it is the value of; only one line with this slot can stand in the context.
    pub slot: String,
    /// The line that we set.
    pub set: String,
    /// The line that was found in its place; restored when we no longer want ours.
    pub found: Option<String>,
}

/// The globals that we have set, by owner.
pub type Journal = BTreeMap<Owner, Vec<Global>>;

/// The difference between running and candidate, by owner. Owners with nothing to do are absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// What to do, in order of application.
    pub owners: BTreeMap<Owner, OwnerPlan>,
}

impl Plan {
    /// Running equals the candidate: there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// What it will do to what runs.
    pub fn impact(&self) -> Impact {
        self.owners.values().map(|plan| plan.impact.clone()).fold(Impact::default(), Impact::and)
    }

    /// First 12 hex digits of the SHA-256 over the difference and what it starts from; empty plans have none.
    pub fn hash(&self) -> Option<String> {
        (!self.is_empty()).then(|| {
            snapshot::digest(self.owners.iter().flat_map(|(owner, plan)| {
                let OwnerPlan { add, remove, commands: _, start, globals: _, impact: _ } = plan;
                [owner.as_bytes(), start.as_bytes()]
                    .into_iter()
                    .chain(add.iter().map(String::as_bytes))
                    .chain(std::iter::once(b"--".as_slice()))
                    .chain(remove.iter().map(String::as_bytes))
            }))
        })
    }

    /// All changed lines with `+` or `-`, for people.
    pub fn lines(&self) -> Vec<String> {
        self.owners
            .values()
            .flat_map(|plan| {
                let add = plan.add.iter().map(|line| format!("+ {line}"));
                add.chain(plan.remove.iter().map(|line| format!("- {line}")))
            })
            .collect()
    }
}

/// Why a candidate cannot be planned at all: the same text will not succeed by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A line is neither ours by name nor one of the globals that we may set.
    #[error(
        "`{line}` is not ours: its name does not begin with SWITCHLET- and it is not a global that switchlet sets"
    )]
    ForeignLine {
        /// The line, with its context.
        line: String,
    },
    /// A global runs with a value that we did not set.
    #[error(
        "`{wanted}` is wanted, but `{found}` runs and switchlet did not set it (list it in `adopt:` to overwrite it)"
    )]
    GlobalConflict {
        /// The line that we would set.
        wanted: String,
        /// The line that runs.
        found: String,
    },
    /// The NOS's own parser does not take it.
    #[error("{file}:{}: `{}` does not take effect: {}{}", .first.line, .first.text, .first.said, more(*.others))]
    Invalid {
        /// The text's name.
        file: String,
        /// The first complaint.
        first: Complaint,
        /// How many more there are.
        others: usize,
    },
    /// A part of it cannot be so, whatever the NOS's model says.
    #[error("{path}: {problem}")]
    Rule {
        /// Which part; in a text that a person wrote, `file:line: ` stands in front.
        path: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// The text of this owner is missing, or a text has an owner that this NOS does not have.
    #[error("no text for {0}")]
    NoText(Owner),
}

impl Refusal {
    /// CamelCase, for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ForeignLine { .. } | Self::Invalid { .. } | Self::Rule { .. } | Self::NoText(_) => {
                "CandidateRejected"
            }
            Self::GlobalConflict { .. } => "GlobalConflict",
        }
    }
}

fn more(others: usize) -> String {
    if others == 0 { String::new() } else { format!("; and {others} more") }
}
