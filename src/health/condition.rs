//! The words: condition types, reasons and messages for Node and Switch. True is good.
//!
//! Reasons are a closed list; their meaning is documented in the README from this file.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::ChangeStatus;
use crate::change::consent::{Hold, Why};
use crate::change::drift::{Departure, Drift, Fate, Patience};
use crate::change::{Failure, FailureCause};
use crate::health::clock::{Judgement, Standing};
use crate::health::ladder::{Fault, Rung};
use crate::health::{DifferenceKind, State};

#[cfg(test)]
mod tests;

/// Longest message of a condition, characters; the admission policy refuses longer ones.
const LONGEST: usize = 1024;

/// The Node's condition for the configuration.
pub const CONFIG_APPLIED: &str = "switchlet.io/ConfigApplied";
/// The Node's condition for the forwarding table.
pub const FIB_SYNCED: &str = "switchlet.io/FIBSynced";

/// `status` of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// Good.
    True,
    /// Bad.
    False,
    /// Could not look, or nothing is known yet.
    Unknown,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        })
    }
}

/// Why. Closed; in the order of the README's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// The wanted configuration runs, read back and saved.
    Applied,
    /// Work is under way.
    InProgress,
    /// The agent has just started.
    Starting,
    /// `switch.yaml` is refused.
    SettingsInvalid,
    /// A template failed.
    RenderFailed,
    /// The candidate cannot be planned or was refused.
    CandidateRejected,
    /// A global runs with a value that switchlet did not set.
    GlobalConflict,
    /// The texts are missing.
    ConfigMapNotFound,
    /// Two ConfigMaps have the same key.
    DuplicateKey,
    /// There is no Switch for this node.
    SwitchNotFound,
    /// The password file cannot be used.
    SecretUnreadable,
    /// This kind of input is not supported on this NOS.
    Unsupported,
    /// After the commands the running text differed; the previous one is back.
    ReadBackDiffers,
    /// A change was undone because something that worked before it did not work after it.
    RolledBack,
    /// A change was undone because nobody could look whether it works.
    NotVerified,
    /// A change was undone because the agent ended before it was settled.
    Interrupted,
    /// Somebody else is changing the switch; the change waits for him.
    Busy,
    /// The way back could not be written down, so nothing was tried.
    JournalFailed,
    /// As above, and it could not be put back.
    RollbackFailed,
    /// The policy forbids writing.
    PlanOnly,
    /// Somebody at the switch has paused it, and something would be written.
    Paused,
    /// The change disturbs more than `spec.budget` allows: it waits for `spec.approvedPlan`.
    ApprovalRequired,
    /// As above, and `spec.approvedPlan` names another plan.
    PlanChanged,
    /// The change removes many neighbours at once: it waits for `spec.approvedPlan`.
    MassRemoval,
    /// The change waits for its turn among the switches of its rollout group.
    AwaitingSlot,
    /// Nothing of switchlet is left on the switch.
    Retired,
    /// Running left the confirmed text.
    Drifted,
    /// It runs, but a reboot would lose it.
    StartupNotSaved,
    /// A daemon of the NOS does not answer.
    DaemonUnreachable,
    /// The validator gave no answer in time.
    ValidatorTimeout,
    /// A literal text cannot be compared without the NOS's own parser.
    ValidatorUnavailable,
    /// Every VIP forwards to exactly its next-hops.
    InSync,
    /// There is nothing to judge.
    NothingExpected,
    /// A difference whose deadline has not passed, and nothing was known before.
    Converging,
    /// The switch's own control plane and its forwarding table differ.
    SwitchDiverged,
    /// A next-hop is missing because its announcement does not arrive.
    AnnouncerMissing,
    /// A next-hop is there because a node still announces it.
    AnnouncerUnexpected,
    /// The announcement arrives and this switch's configuration does not use it.
    PolicyDiverged,
    /// The difference comes and goes.
    Flapping,
    /// The forwarding table could not be read.
    FibUnreadable,
    /// The API did not answer when the expectation was to be confirmed.
    ExpectationStale,
    /// A node announces a VIP but has no peer address of its family.
    NoAddressForFamily,
    /// A speaker of MetalLB's goes on with an older configuration than the one there is.
    ConfigurationRefused,
    /// Whether a node's announcement comes here cannot be told from MetalLB's objects.
    AnnouncementUncertain,
}

/// A condition before its times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Good, bad, unknown.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// For people; at most 1024 characters.
    pub message: String,
}

impl Condition {
    /// A condition; the message is cut to what the API takes.
    pub fn new(status: Status, reason: Reason, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if message.chars().count() > LONGEST {
            message = message.chars().take(LONGEST - 1).chain(['…']).collect();
        }
        Self { status, reason, message }
    }
}

/// What stands between an input and a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputProblem {
    /// False where somebody made a mistake, Unknown where there is nothing to go by.
    pub status: Status,
    /// Which kind.
    pub reason: Reason,
    /// File, line, column, field, and what was expected.
    pub message: String,
}

/// `ConfigApplied` from the input and the change. `wanted` is the revision.
pub fn config_applied(input: Result<&str, &InputProblem>, change: &ChangeStatus) -> Condition {
    let wanted = match input {
        Ok(revision) => revision,
        Err(InputProblem { status, reason, message }) => {
            return Condition::new(*status, *reason, message.clone());
        }
    };
    let say = |status, reason, text: String| Condition::new(status, reason, text);
    match change {
        ChangeStatus::Starting => {
            say(Status::Unknown, Reason::Starting, "nothing has been compared yet".into())
        }
        ChangeStatus::InProgress => {
            say(Status::Unknown, Reason::InProgress, format!("revision {wanted} is being applied"))
        }
        ChangeStatus::Applied => {
            say(Status::True, Reason::Applied, format!("revision {wanted} runs, read back and saved"))
        }
        ChangeStatus::Planned => say(
            Status::False,
            Reason::PlanOnly,
            format!("revision {wanted} differs from what runs, and the policy forbids writing"),
        ),
        ChangeStatus::AwaitingApproval { hold, hash, lines } => {
            let reason = match hold {
                Hold { approved: Some(_), .. } => Reason::PlanChanged,
                Hold { why: Why::MassRemoval, .. } => Reason::MassRemoval,
                Hold { why: Why::FirstContact(_) | Why::OverBudget(_) | Why::Unknown(_), .. } => {
                    Reason::ApprovalRequired
                }
            };
            // What goes is why it waits.
            let (gone, new): (Vec<&String>, Vec<&String>) =
                lines.iter().partition(|line| line.starts_with('-'));
            let lines: Vec<String> = gone.into_iter().chain(new).cloned().collect();
            let text = format!(
                "revision {wanted} waits: plan {hash} {hold} (set spec.approvedPlan to \"{hash}\" to carry it out): {}",
                brief(&lines, ", ")
            );
            say(Status::False, reason, text)
        }
        ChangeStatus::AwaitingSlot(why) => say(
            Status::Unknown,
            Reason::AwaitingSlot,
            format!("revision {wanted} waits for a rollout slot: {why}"),
        ),
        ChangeStatus::Retired => {
            say(Status::True, Reason::Retired, "nothing of switchlet is left on this switch".into())
        }
        ChangeStatus::Drifted(drift) => say(Status::False, Reason::Drifted, drifted(wanted, drift)),
        ChangeStatus::Refused(refusal) => {
            let reason = match refusal.reason() {
                "GlobalConflict" => Reason::GlobalConflict,
                _ => Reason::CandidateRejected,
            };
            say(Status::False, reason, refusal.to_string())
        }
        ChangeStatus::Undone(failure) => {
            let (reason, message) = undone(wanted, failure);
            say(Status::False, reason, message)
        }
        ChangeStatus::RollbackFailed { lines } => say(
            Status::False,
            Reason::RollbackFailed,
            format!(
                "revision {wanted} failed and could not be undone; still different: {}",
                brief(lines, ", ")
            ),
        ),
        ChangeStatus::Unreachable(why) => say(Status::Unknown, Reason::DaemonUnreachable, why.clone()),
        ChangeStatus::ValidatorTimeout(why) => say(
            Status::Unknown,
            Reason::ValidatorTimeout,
            format!("revision {wanted} was not tried: {why}; the previous one stays"),
        ),
        ChangeStatus::ValidatorUnavailable(why) => say(
            Status::Unknown,
            Reason::ValidatorUnavailable,
            format!("revision {wanted} was not tried: {why}"),
        ),
        ChangeStatus::Busy(who) => say(
            Status::Unknown,
            Reason::Busy,
            format!("revision {wanted} waits until the switch is free: {who}"),
        ),
        ChangeStatus::NotArmed(why) => say(
            Status::False,
            Reason::JournalFailed,
            format!("revision {wanted} was not tried: the way back could not be written down: {why}"),
        ),
        ChangeStatus::NotSaved(why) => say(
            Status::False,
            Reason::StartupNotSaved,
            format!("revision {wanted} runs, but a reboot would lose it: {why}"),
        ),
    }
}

/// Where running left what was confirmed, and what becomes of that.
fn drifted(wanted: &str, Drift { departures, fate }: &Drift) -> String {
    let places: Vec<String> = departures
        .iter()
        .map(|Departure { path, wanted, found }| {
            let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
            match (wanted, found) {
                (Some(wanted), Some(found)) => format!("{place}wanted `{wanted}`, found `{found}`"),
                (Some(wanted), None) => format!("{place}wanted `{wanted}`, found nothing"),
                (None, Some(found)) => format!("{place}found `{found}`"),
                (None, None) => place,
            }
        })
        .collect();
    let fate = match fate {
        Fate::PutBack => "it is put back".to_owned(),
        Fate::Reported => "only reported, as the policy says".to_owned(),
        Fate::Later { at: _, why: why @ Patience::Person(_) } => {
            format!("it is put back 5 minutes after it was first seen, because {why}")
        }
        Fate::Later { at: _, why: why @ Patience::TugOfWar(_) } => {
            format!("it is put back later, because it was {why}")
        }
    };
    format!("running left revision {wanted} ({}); {fate}", brief(&places, ", "))
}

/// Why a change was undone, and what is still not as it was before it.
fn undone(wanted: &str, failure: &Failure) -> (Reason, String) {
    let Failure { cause, lines, complaints, lost } = failure;
    let lines = brief(lines, ", ");
    let (reason, why) = match cause {
        FailureCause::ReadBack => {
            (Reason::ReadBackDiffers, format!("because these lines did not read back: {lines}"))
        }
        FailureCause::Verification => (Reason::RolledBack, format!("because of what it took away: {lines}")),
        FailureCause::CouldNotLook => {
            (Reason::NotVerified, format!("because nobody could look whether it works: {lines}"))
        }
        FailureCause::Interrupted => (Reason::Interrupted, format!("because {lines}")),
    };
    let said = match complaints.as_slice() {
        [] => String::new(),
        complaints => format!("; the NOS said: {}", brief(complaints, "; ")),
    };
    let lost = match lost.as_slice() {
        [] => String::new(),
        lost => format!("; not back yet: {}", brief(lost, ", ")),
    };
    (reason, format!("revision {wanted} was undone, {why}{said}{lost}"))
}

/// `applied` on a switch that somebody has paused: the pause first, and it is the reason where something would be written.
pub fn paused(applied: Condition, pause: &str) -> Condition {
    let Condition { status, reason, message } = applied;
    let reason = if reason == Reason::PlanOnly { Reason::Paused } else { reason };
    Condition::new(status, reason, format!("{pause}; {message}"))
}

/// The first items that fit into a part of a message, and how many more there are: two lists must find room beside each
/// other.
fn brief(items: &[String], separator: &str) -> String {
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 && text.chars().count() + item.chars().count() > LONGEST * 2 / 5 {
            return format!("{text} and {} more", items.len() - index);
        }
        if index > 0 {
            text.push_str(separator);
        }
        text.extend(item.chars().take(LONGEST * 2 / 5));
    }
    text
}

/// `FIBSynced` from a judgement; `None` keeps what was said before.
pub fn fib_synced(judged: Result<&Judgement, &str>, before: Option<&Condition>) -> Condition {
    let judgement = match judged {
        Ok(judgement) => judgement,
        Err(why) => return Condition::new(Status::Unknown, Reason::FibUnreadable, why),
    };
    let count = |state: State| judgement.vips.iter().filter(|vip| vip.state == state).count();
    let all = judgement.vips.len();
    if let Some(first) = judgement.standing.first() {
        let reason = if first.flapping { Reason::Flapping } else { reason_of(first.fault) };
        return Condition::new(Status::False, reason, faults(judgement, first));
    }
    if count(State::Converging) > 0 {
        // Time to converge is lawful: what was said stands. But "could not look" is no longer true.
        return before.filter(|before| before.status != Status::Unknown).cloned().unwrap_or_else(|| {
            Condition::new(
                Status::Unknown,
                Reason::Converging,
                format!("{} of {all} VIPs are converging", count(State::Converging)),
            )
        });
    }
    if let Some(vip) = judgement.vips.iter().find(|vip| vip.state == State::Unknown) {
        let reason = match vip.rung {
            Some(Rung::ExpectationStale) => Reason::ExpectationStale,
            Some(Rung::ConfigurationRefused) => Reason::ConfigurationRefused,
            Some(Rung::AnnouncementUncertain) => Reason::AnnouncementUncertain,
            _ => Reason::NoAddressForFamily,
        };
        return Condition::new(Status::Unknown, reason, format!("{}: {}", vip.prefix, vip.message));
    }
    if all == 0 {
        return Condition::new(Status::True, Reason::NothingExpected, "no VIP is expected on this switch");
    }
    Condition::new(Status::True, Reason::InSync, format!("{all} of {all} VIPs forward as expected"))
}

fn reason_of(fault: Fault) -> Reason {
    match fault {
        Fault::Switch => Reason::SwitchDiverged,
        Fault::AnnouncerMissing => Reason::AnnouncerMissing,
        Fault::AnnouncerUnexpected => Reason::AnnouncerUnexpected,
        Fault::Policy => Reason::PolicyDiverged,
    }
}

/// The first fault in full, and how many there are beside it.
fn faults(judgement: &Judgement, first: &Standing) -> String {
    let Standing { prefix, next_hop, kind, fault: _, rung, since, flapping, present } = first;
    let kind = match kind {
        DifferenceKind::Missing => "missing",
        DifferenceKind::Unexpected => "unexpected",
    };
    let vip = judgement.vips.iter().find(|vip| vip.prefix == *prefix);
    let node = vip
        .and_then(|vip| vip.differences.iter().find(|difference| difference.next_hop == *next_hop))
        .and_then(|difference| difference.node.as_ref())
        .map(|node| format!(" ({node})"))
        .unwrap_or_default();
    let tail = match (flapping, present) {
        (true, _) => ", comes and goes",
        (false, false) => ", gone now; good again after 10s without it",
        (false, true) => "",
    };
    let observed = vip.filter(|_| *present).map(|vip| format!("; {}", vip.message)).unwrap_or_default();
    let others = judgement.standing.len() - 1;
    let more = if others > 0 { format!("; and {others} more") } else { String::new() };
    let since = second(*since);
    format!("{prefix}: {next_hop}{node} {kind} ({rung:?}) since {since}{tail}{observed}{more}")
}

/// Conditions speak in whole seconds, as Kubernetes does.
fn second(at: Timestamp) -> String {
    at.round(jiff::Unit::Second).unwrap_or(at).to_string()
}

/// The label `switchlet.io/health`: `degraded` with any condition False, else `unknown` with any Unknown, else `ok`.
pub fn label<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> &'static str {
    match conditions.into_iter().map(|condition| condition.status).fold(Status::True, worse) {
        Status::True => "ok",
        Status::False => "degraded",
        Status::Unknown => "unknown",
    }
}

fn worse(a: Status, b: Status) -> Status {
    match (a, b) {
        (Status::False, _) | (_, Status::False) => Status::False,
        (Status::Unknown, _) | (_, Status::Unknown) => Status::Unknown,
        _ => Status::True,
    }
}
