//! Leases and Switches as objects of the API, and what they are for the rules.
#![expect(clippy::disallowed_methods, reason = "shell: stamps what it writes")]

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

use super::{DURATION, Turn};
use crate::change::slot::{self, Holder, Member, Outcome, Slot, Take};
use crate::cluster::kinds::SwitchTurn;
use crate::intent::switch::PolicyWord;

/// What a Lease says of its holder's change: `running` or `failed`.
pub(super) const OUTCOME: &str = "switchlet.io/outcome";
/// `spec.rollout.release` of the holder's Switch when the slot was taken.
pub(super) const RELEASE: &str = "switchlet.io/release";
/// Number of the last turn.
pub(super) const TURN: &str = "switchlet.io/turn";
/// Who had it.
pub(super) const LAST: &str = "switchlet.io/last-holder";

pub(super) fn annotate(lease: &mut Lease, key: &str, value: &str) {
    lease.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}

pub(super) fn annotation<'a>(lease: &'a Lease, key: &str) -> Option<&'a str> {
    lease.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Nobody's; who had the last turn stays.
pub(super) fn empty(lease: &mut Lease) {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.remove(OUTCOME);
    annotations.remove(RELEASE);
    let spec = lease.spec.get_or_insert_default();
    *spec = LeaseSpec { lease_transitions: spec.lease_transitions, ..LeaseSpec::default() };
}

/// A Lease as a slot; `None` if it is no slot. It was `heard` of just then.
pub(super) fn seen(lease: &Lease, heard: Instant) -> Option<Slot> {
    let (group, number) = slot::place(lease.metadata.name.as_deref()?)?;
    let count = |key: &str| annotation(lease, key).and_then(|text| text.parse().ok());
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.filter(|name| !name.is_empty()).map(|name| Holder {
        name,
        release: count(RELEASE).unwrap_or(0),
        // What is not understood is no success.
        outcome: match annotation(lease, OUTCOME) {
            Some("running") => Outcome::Running,
            _ => Outcome::Failed,
        },
        heard: heard.into_std(),
        duration: spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(DURATION, Duration::from_secs),
    });
    Some(Slot {
        group: group.to_owned(),
        number,
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        turn: count(TURN).unwrap_or(0),
        last: annotation(lease, LAST).map(str::to_owned),
        holder,
    })
}

/// A Switch that is being deleted is none.
pub(super) fn member(switch: &SwitchTurn) -> Option<Member> {
    if switch.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let rollout = &switch.spec.rollout;
    let ready = switch.status.conditions.iter().find(|condition| condition.r#type == "Ready");
    Some(Member {
        group: rollout.group.clone(),
        max_unavailable: rollout.max_unavailable,
        release: rollout.release,
        paused: switch.spec.apply.policy == PolicyWord::Paused,
        waits: ready.is_some_and(|ready| ready.reason == slot::AWAITING),
    })
}

/// Ours, for this turn.
pub(super) fn fill(lease: &mut Lease, take: &Take, turn: &Turn) {
    annotate(lease, OUTCOME, "running");
    annotate(lease, RELEASE, &take.release.to_string());
    annotate(lease, TURN, &take.turn.to_string());
    annotate(lease, LAST, &turn.me);
    let now = MicroTime(Timestamp::now());
    let seconds = i32::try_from(turn.duration.as_secs().max(1)).unwrap_or(i32::MAX);
    let spec = lease.spec.get_or_insert_default();
    let another = spec.holder_identity.as_ref() != Some(&turn.me);
    *spec = LeaseSpec {
        holder_identity: Some(turn.me.clone()),
        lease_duration_seconds: Some(seconds),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: Some(spec.lease_transitions.unwrap_or(0).saturating_add(i32::from(another))),
        ..LeaseSpec::default()
    };
}
