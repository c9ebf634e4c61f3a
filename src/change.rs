//! How to get there: the difference between what runs and what is wanted, and the machine that walks the steps.
//!
//! [`CommitMachine`] decides, the agent only does: it asks for a [`Step`], carries it out and reports what it has
//! [`Seen`]. Every failure has a name here. The machine lives as long as the agent and remembers what failed, so that
//! the timer that looks for drift never repeats an outage by itself.
//!
//! While the wanted text may not run (it waits for approval, is refused, or failed before), the bundle in force is kept up
//! with the facts of now: neighbours go on following their nodes, and drift is put back.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::change::consent::{Cause, Consent, Hold, PeerCount};
use crate::change::diff::{Candidate, Checked, Journal, Plan, Refusal, Running};
use crate::change::drift::{Departure, Drift};
use crate::change::look::Measured;
use crate::intent::nexthops::Peers;
use crate::intent::snapshot::Issue;

pub mod consent;
pub mod dialect;
pub mod diff;
pub mod drift;
pub mod impact;
pub mod look;
mod machine;
pub mod pause;
pub mod slot;
#[cfg(test)]
mod tests;

pub use machine::CommitMachine;

/// How often the running text is compared with the confirmed one when nothing happens.
pub const DRIFT_PERIOD: Duration = Duration::from_secs(30);

/// What a NOS's configuration language means: how two texts differ, and how to go back.
pub trait Dialect {
    /// The difference from `running` to `candidate`.
    fn plan(&self, running: &Running, candidate: &Candidate, known: &Known<'_>) -> Result<Plan, Refusal>;

    /// How long it takes until the effect of `plan` on `running` can be seen.
    fn dwell(&self, plan: &Plan, running: &Running) -> Duration;

    /// The text of a switch on which nothing is ours any more.
    fn nothing(&self) -> Candidate;

    /// The way back from `now` to what ran `before` the attempt at `failed`: for our lines, and for all lines of an owner
    /// whose text is literal.
    fn undo(&self, now: &Running, before: &Running, failed: &Candidate) -> Plan;

    /// Where running is not what `plan` leads to, as far as anybody wants to read it.
    fn departures(&self, plan: &Plan) -> Vec<Departure>;

    /// `candidate` in the canonical form that the NOS's own parser gave, or why it is refused.
    fn canonical(&self, candidate: &Candidate, checked: &Checked) -> Result<Candidate, Refusal>;

    /// What is lawful in `candidate` and probably not meant.
    fn remarks(&self, candidate: &Candidate) -> Vec<Issue>;
}

/// What the planner knows besides the two texts.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The candidate that was confirmed last.
    pub confirmed: Option<&'a Candidate>,
    /// Running lines of globals that may be overwritten.
    pub adopt: &'a [String],
    /// The globals that we have set, and what they replaced.
    pub journal: &'a Journal,
}

/// `spec.apply` of the Switch, as far as the machine obeys it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApplyPolicy {
    /// Make it so.
    #[default]
    Enforce,
    /// Say what would be done.
    PlanOnly,
    /// Write nothing.
    Paused,
    /// Take away what is ours, put back what was found, and be silent.
    Retired,
}

/// What to do about drift: running left the confirmed text and nobody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriftPolicy {
    /// Put it back.
    #[default]
    Revert,
    /// Say so.
    Report,
}

/// A text, and the bundle that it was rendered from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Target {
    /// The texts.
    pub candidate: Candidate,
    /// Hash of the bundle; empty for a retired switch.
    pub bundle: String,
    /// Its neighbours, by node.
    #[serde(default)]
    pub peers: Peers,
}

/// What is wanted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// What should run.
    pub target: Target,
    /// What should run as long as `target` may not: the bundle in force with the facts of now.
    pub interim: Option<Target>,
    /// Whose word there is for a change that needs one.
    pub consent: Consent,
    /// Whether anything may be written.
    pub policy: ApplyPolicy,
    /// What to do about drift.
    pub drift: DriftPolicy,
    /// Running lines of globals that may be overwritten.
    pub adopt: Vec<String>,
    /// `spec.apply.retry`: a new number releases a candidate that failed.
    pub retry: u64,
    /// `spec.apply.confirmTimeout`: a change that was not confirmed by then is undone.
    pub confirm_timeout: Duration,
}

/// What a machine must still know after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// What was confirmed last.
    pub confirmed: Option<Target>,
    /// The globals that we have set, and what they replaced.
    pub journal: Journal,
    /// What was undone, and is not tried again by itself.
    #[serde(default)]
    pub tried: Vec<Tried>,
}

/// A text that was undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Hash of its bundle.
    pub bundle: String,
    /// Hash of its candidate.
    pub candidate: String,
    /// `spec.apply.retry` of that time.
    pub retry: u64,
    /// What was wrong with it.
    pub failure: Failure,
    /// How often it was undone.
    pub times: u32,
}

/// Why a change was undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind.
    pub cause: FailureCause,
    /// What was seen: lines that differ, next-hops that were lost.
    pub lines: Vec<String>,
    /// What the NOS said to the commands.
    pub complaints: Vec<String>,
    /// What the way back has not brought back.
    #[serde(default)]
    pub lost: Vec<String>,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureCause {
    /// Lines did not take effect.
    ReadBack,
    /// Something that worked before did not work afterwards.
    Verification,
    /// Nobody could look, or the guard did not answer.
    CouldNotLook,
    /// The agent ended before the change was settled, or lost the NOS while it told it.
    Interrupted,
}

impl FailureCause {
    /// Says nothing about the text: it may be tried once more.
    fn is_no_fault_of_the_text(self) -> bool {
        matches!(self, Self::CouldNotLook | Self::Interrupted)
    }
}

/// What the way back from a change needs. It is on disk, and with the guard, before the first command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// What ran before.
    pub before: Running,
    /// What is tried.
    pub target: Target,
    /// `spec.apply.retry` of now.
    pub retry: u64,
    /// How long until whoever holds this goes back by himself.
    pub window: Duration,
}

impl Memory {
    /// The neighbours that a change to `target` removes.
    pub fn removal(&self, target: &Target) -> PeerCount {
        self.confirmed
            .as_ref()
            .map_or_else(PeerCount::default, |confirmed| PeerCount::between(&confirmed.peers, &target.peers))
    }

    /// How a change to `target` came about.
    pub fn cause(&self, target: &Target) -> Cause {
        match &self.confirmed {
            None => Cause::FirstContact,
            Some(confirmed) if confirmed.bundle == target.bundle => Cause::Routine,
            Some(_) => Cause::Bundle,
        }
    }
}

/// One thing for the shell to do; nothing is left to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read what runs.
    ReadRunning,
    /// See whether a person has the configuration open.
    SeekEditor,
    /// Say whether this switch has its rollout slot.
    TakeSlot,
    /// Look at what a change to this text might break.
    Measure(Target),
    /// Write down the way back and the machine's memory, and have the guard watch over it.
    Arm(Undo),
    /// Send these commands.
    Apply {
        /// The commands.
        plan: Plan,
        /// How long they may stand without a yes, for a NOS with a confirm timer of its own; `None` for a way back.
        window: Option<Duration>,
    },
    /// Ask the guard to let the change stand.
    Confirm,
    /// Make this the text that survives a reboot.
    WriteStartup {
        /// The text.
        candidate: Candidate,
        /// The globals that we have set: where the text does not set them any more, the startup text gets back what was
        /// found.
        journal: Journal,
    },
    /// The way back is not needed any more.
    Disarm,
    /// Nothing until then, or until something new is wanted.
    Wait(Instant),
    /// Nothing until something new is wanted.
    Rest,
}

impl Step {
    /// For the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ReadRunning => "read-running",
            Self::SeekEditor => "seek-editor",
            Self::TakeSlot => "take-slot",
            Self::Measure(_) => "measure",
            Self::Arm(_) => "arm",
            Self::Apply { .. } => "apply",
            Self::Confirm => "confirm",
            Self::WriteStartup { .. } => "write-startup",
            Self::Disarm => "disarm",
            Self::Wait(_) => "wait",
            Self::Rest => "rest",
        }
    }
}

/// What the shell reports back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// What runs.
    Running(Running),
    /// It could not be read; why.
    Unreadable(String),
    /// Who has the configuration open, if somebody was seen.
    Editor(Option<String>),
    /// The slot is ours, or none is needed here.
    Slot,
    /// It is not; why.
    NoSlot(String),
    /// What was seen.
    Measured(Box<Measured>),
    /// The way back is on disk.
    Armed,
    /// It is not; why. Nothing may be sent.
    NotArmed(String),
    /// The change stands.
    Agreed,
    /// It does not; why.
    NotAgreed(String),
    /// The way back is gone.
    Disarmed,
    /// It is still there; why.
    NotDisarmed(String),
    /// Somebody else is changing the switch; nothing was sent. Who.
    Busy(String),
    /// The commands were sent; what the NOS complained about. Only reading back tells whether they took effect.
    Sent(Vec<String>),
    /// The commands could not be sent, or only in part; why.
    NotSent(String),
    /// The startup text is written.
    Saved,
    /// It is not; why.
    NotSaved(String),
}

/// How the wanted change stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeStatus {
    /// Nothing is known yet.
    Starting,
    /// Work is under way.
    InProgress,
    /// The wanted text runs, read back, and survives a reboot.
    Applied,
    /// Nothing of ours is left on the switch.
    Retired,
    /// It would be changed, but the policy says no.
    Planned,
    /// It would be changed, but somebody has to approve this plan.
    AwaitingApproval {
        /// Why.
        hold: Hold,
        /// Hash of the plan.
        hash: String,
        /// The difference, `+ line` and `- line`.
        lines: Vec<String>,
    },
    /// It would be changed, but other switches of its group come first; which, and why.
    AwaitingSlot(String),
    /// Running left the confirmed text, and is not put back now.
    Drifted(Drift),
    /// It cannot be planned; waits for another text.
    Refused(Refusal),
    /// It was tried; the previous text is back.
    Undone(Failure),
    /// As above, and going back did not work either.
    RollbackFailed {
        /// What is not as it was.
        lines: Vec<String>,
    },
    /// The NOS could not be asked.
    Unreachable(String),
    /// It runs, but a reboot would lose it.
    NotSaved(String),
    /// Somebody else is changing the switch; who. It is tried again when he has done.
    Busy(String),
    /// The way back could not be written down, so nothing was tried.
    NotArmed(String),
    /// The validator gave no answer in time; it is asked again.
    ValidatorTimeout(String),
    /// It can only be compared in its canonical form, and nothing here can give that.
    ValidatorUnavailable(String),
}
