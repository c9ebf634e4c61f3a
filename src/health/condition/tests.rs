use std::collections::BTreeSet;
use std::time::Instant;

use super::*;
use crate::change::diff::Refusal;
use crate::change::impact::Class;
use crate::health::VipVerdict;
use crate::health::ladder::Rung;
use crate::net::Shared;

const NOW: &str = "2026-01-01T12:00:00.4Z";

fn vip(state: State, rung: Option<Rung>) -> VipVerdict {
    VipVerdict {
        prefix: "203.0.113.20/32".parse().unwrap(),
        network_instance: "default".into(),
        services: Vec::new(),
        state,
        rung,
        expected: Shared::default(),
        observed: Shared::default(),
        missing: Vec::new(),
        unexpected: Vec::new(),
        since: None,
        message: "words".into(),
        differences: Vec::new(),
    }
}

fn drift(fate: Fate) -> Drift {
    let departure = Departure {
        path: "router bgp 65001".into(),
        wanted: Some("maximum-paths 8".into()),
        found: Some("maximum-paths 2".into()),
    };
    Drift { departures: vec![departure], fate }
}

fn fault(fault: Fault) -> Standing {
    Standing {
        prefix: "203.0.113.20/32".parse().unwrap(),
        next_hop: "192.168.1.12".into(),
        kind: DifferenceKind::Missing,
        fault,
        rung: Rung::SessionDown,
        since: NOW.parse().unwrap(),
        flapping: false,
        present: true,
    }
}

fn waits(why: Why, approved: Option<&str>) -> ChangeStatus {
    let hold = Hold { why, approved: approved.map(str::to_owned) };
    ChangeStatus::AwaitingApproval { hold, hash: "0123456789ab".into(), lines: vec!["- x".into()] }
}

fn judged(states: &[State], standing: &[Standing]) -> Judgement {
    let rung = |state: State| (state == State::Unknown).then_some(Rung::NoAddressForFamily);
    Judgement {
        vips: states.iter().map(|state| vip(*state, rung(*state))).collect(),
        standing: standing.to_vec(),
        ..Judgement::default()
    }
}

fn synced(judgement: &Judgement, before: Option<&Condition>) -> (Status, Reason) {
    let said = fib_synced(Ok(judgement), before);
    (said.status, said.reason)
}

use State::{Converging, Diverged, Ok as Good, Unknown};

fn failure(lines: &[String], complaints: &[&str]) -> Failure {
    Failure {
        cause: FailureCause::ReadBack,
        lines: lines.to_vec(),
        complaints: complaints.iter().map(|line| (*line).to_owned()).collect(),
        lost: Vec::new(),
    }
}

#[test]
fn a_fault_outweighs_converging_which_outweighs_unknown_which_outweighs_good() {
    let one = [fault(Fault::AnnouncerMissing)];
    let no_family = (Status::Unknown, Reason::NoAddressForFamily);
    for (states, standing, expected) in [
        (&[Diverged, Converging, Unknown, Good][..], &one[..], (Status::False, Reason::AnnouncerMissing)),
        (&[Good], &one, (Status::False, Reason::AnnouncerMissing)),
        (&[Converging, Unknown, Good], &[], (Status::Unknown, Reason::Converging)),
        (&[Good, Unknown], &[], no_family),
        (&[Good, Good], &[], (Status::True, Reason::InSync)),
        (&[], &[], (Status::True, Reason::NothingExpected)),
    ] {
        assert_eq!(synced(&judged(states, standing), None), expected, "{states:?}");
    }
}

#[test]
fn converging_keeps_what_was_said_but_not_that_nobody_could_look() {
    let converging = judged(&[Converging, Unknown], &[]);
    for status in [Status::True, Status::False] {
        let before = Condition::new(status, Reason::InSync, "as it was");
        assert_eq!(fib_synced(Ok(&converging), Some(&before)), before);
    }
    let before = Condition::new(Status::Unknown, Reason::FibUnreadable, "netlink");
    let said = fib_synced(Ok(&converging), Some(&before));
    assert_eq!((said.status, said.reason), (Status::Unknown, Reason::Converging));
    assert_eq!(said.message, "1 of 2 VIPs are converging");
}

#[test]
fn what_could_not_be_read_is_unknown_whatever_was_said() {
    let before = Condition::new(Status::True, Reason::InSync, "");
    let said = fib_synced(Err("netlink: timed out"), Some(&before));
    assert_eq!((said.status, said.reason), (Status::Unknown, Reason::FibUnreadable));
    assert_eq!(said.message, "netlink: timed out");
    let stale =
        Judgement { vips: vec![vip(Unknown, Some(Rung::ExpectationStale))].into(), ..Judgement::default() };
    assert_eq!(synced(&stale, Some(&before)), (Status::Unknown, Reason::ExpectationStale));
}

#[test]
fn every_fault_has_its_reason() {
    for (whose, reason) in [
        (Fault::Switch, Reason::SwitchDiverged),
        (Fault::AnnouncerMissing, Reason::AnnouncerMissing),
        (Fault::AnnouncerUnexpected, Reason::AnnouncerUnexpected),
        (Fault::Policy, Reason::PolicyDiverged),
    ] {
        assert_eq!(synced(&judged(&[Diverged], &[fault(whose)]), None), (Status::False, reason));
        let flapping = Standing { flapping: true, ..fault(whose) };
        assert_eq!(synced(&judged(&[Good], &[flapping]), None), (Status::False, Reason::Flapping));
    }
}

#[test]
fn the_message_names_the_first_fault_and_counts_the_others() {
    let text = |standing: &[Standing]| fib_synced(Ok(&judged(&[Diverged], standing)), None).message;
    let one = fault(Fault::Switch);
    assert_eq!(
        text(std::slice::from_ref(&one)),
        "203.0.113.20/32: 192.168.1.12 missing (SessionDown) since 2026-01-01T12:00:00Z; words"
    );
    let gone = Standing { present: false, kind: DifferenceKind::Unexpected, ..one.clone() };
    assert_eq!(
        text(&[gone, one.clone(), one]),
        "203.0.113.20/32: 192.168.1.12 unexpected (SessionDown) since 2026-01-01T12:00:00Z, gone now; good again after \
         10s without it; and 2 more"
    );
}

#[test]
fn a_message_has_at_most_1024_characters() {
    let of = |length: usize| Condition::new(Status::True, Reason::InSync, "ä".repeat(length)).message;
    assert_eq!(of(1024), "ä".repeat(1024));
    assert_eq!(of(1025), "ä".repeat(1023) + "…");
    assert_eq!(of(5000).chars().count(), 1024);
}

#[test]
fn the_label_is_the_worst_condition() {
    use Status::{False, True, Unknown};
    for (statuses, expected) in [
        (&[][..], "ok"),
        (&[True, True], "ok"),
        (&[True, Unknown], "unknown"),
        (&[Unknown, False, True], "degraded"),
        (&[False, Unknown], "degraded"),
    ] {
        let all: Vec<Condition> =
            statuses.iter().map(|status| Condition::new(*status, Reason::InSync, "")).collect();
        assert_eq!(label(&all), expected, "{statuses:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an instant to count from")]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_status_of_a_change_has_its_words() {
    let lines = vec!["+ a".to_owned(), "- b".to_owned()];
    let foreign = Refusal::ForeignLine { line: "hostname x".into() };
    let conflict = Refusal::GlobalConflict { wanted: "a".into(), found: "b".into() };
    for (status, expected, reason, words) in [
        (ChangeStatus::Starting, Status::Unknown, Reason::Starting, "nothing has been compared"),
        (ChangeStatus::InProgress, Status::Unknown, Reason::InProgress, "revision r1"),
        (ChangeStatus::Applied, Status::True, Reason::Applied, "revision r1 runs"),
        (ChangeStatus::Planned, Status::False, Reason::PlanOnly, "revision r1 differs"),
        (
            waits(Why::MassRemoval, None),
            Status::False,
            Reason::MassRemoval,
            "revision r1 waits: plan 0123456789ab removes many neighbours at once (set spec.approvedPlan to \"0123456789ab\"",
        ),
        (
            waits(Why::FirstContact(Class::Remove), None),
            Status::False,
            Reason::ApprovalRequired,
            "revision r1 waits: plan 0123456789ab is the first on this switch, and does more than add (remove) (set",
        ),
        (
            waits(Why::Unknown(BTreeSet::from(["bgp mystery".to_owned()])), Some("ba9876543210")),
            Status::False,
            Reason::PlanChanged,
            "revision r1 waits: plan 0123456789ab has lines whose effect no rule knows: `bgp mystery`; approved is plan ba9876543210 (set",
        ),
        (
            ChangeStatus::Drifted(drift(Fate::Reported)),
            Status::False,
            Reason::Drifted,
            "running left revision r1 (router bgp 65001: wanted `maximum-paths 8`, found `maximum-paths 2`); only reported",
        ),
        (
            ChangeStatus::Drifted(drift(Fate::Later { at: Instant::now(), why: Patience::TugOfWar(4) })),
            Status::False,
            Reason::Drifted,
            "it is put back later, because it was put back 4 times within an hour, and changed again",
        ),
        (
            ChangeStatus::Refused(foreign),
            Status::False,
            Reason::CandidateRejected,
            "`hostname x` is not ours",
        ),
        (
            ChangeStatus::Refused(Refusal::NoText("frr".into())),
            Status::False,
            Reason::CandidateRejected,
            "frr",
        ),
        (ChangeStatus::Refused(conflict), Status::False, Reason::GlobalConflict, "`b` runs"),
        (
            ChangeStatus::Undone(failure(&lines, &["% Unknown"])),
            Status::False,
            Reason::ReadBackDiffers,
            "+ a, - b; the NOS said: % Unknown",
        ),
        (
            ChangeStatus::Undone(failure(&lines, &[])),
            Status::False,
            Reason::ReadBackDiffers,
            "did not read back: + a, - b",
        ),
        (
            ChangeStatus::Undone(Failure {
                cause: FailureCause::Verification,
                lines: vec!["203.0.113.10/32 lost next-hop 192.0.2.1".into()],
                complaints: Vec::new(),
                lost: vec!["session with 192.0.2.1 is down".into()],
            }),
            Status::False,
            Reason::RolledBack,
            "took away: 203.0.113.10/32 lost next-hop 192.0.2.1; not back yet: session with 192.0.2.1 is down",
        ),
        (
            ChangeStatus::NotArmed("no space left on device".into()),
            Status::False,
            Reason::JournalFailed,
            "could not be written down: no space left",
        ),
        (
            ChangeStatus::RollbackFailed { lines },
            Status::False,
            Reason::RollbackFailed,
            "still different: + a, - b",
        ),
        (
            ChangeStatus::Unreachable("bgpd does not answer".into()),
            Status::Unknown,
            Reason::DaemonUnreachable,
            "bgpd does not answer",
        ),
        (
            ChangeStatus::NotSaved("disk full".into()),
            Status::False,
            Reason::StartupNotSaved,
            "lose it: disk full",
        ),
    ] {
        let said = config_applied(Ok("r1"), &status);
        assert_eq!((said.status, said.reason), (expected, reason), "{status:?}");
        assert!(said.message.contains(words), "{}", said.message);
    }
}

#[test]
fn a_problem_of_the_input_is_said_before_anything_about_the_change() {
    let problem = InputProblem {
        status: Status::False,
        reason: Reason::SettingsInvalid,
        message: "switch.yaml:1:1: x".into(),
    };
    let said = config_applied(Err(&problem), &ChangeStatus::Applied);
    assert_eq!(said, Condition::new(Status::False, Reason::SettingsInvalid, "switch.yaml:1:1: x"));
}

#[test]
fn what_did_not_read_back_is_named_however_much_the_nos_has_to_say() {
    let lines = vec!["+ ip prefix-list SWITCHLET-A seq 5 permit 10.0.0.0/8 ge 7".to_owned()];
    let complaints: Vec<String> =
        (0..40).map(|number| format!("{number}: {}", "very much ".repeat(9))).collect();
    let complaints: Vec<&str> = complaints.iter().map(String::as_str).collect();
    let said = config_applied(Ok("r1"), &ChangeStatus::Undone(failure(&lines, &complaints)));
    assert!(said.message.contains(&lines[0]) && said.message.contains("0: very much"), "{}", said.message);
    assert!(said.message.ends_with("more") && said.message.chars().count() <= 1024, "{}", said.message);
}
