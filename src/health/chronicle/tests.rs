use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::*;
use crate::change::diff::OwnerPlan;
use crate::change::impact::Impact;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn said(status: Status, reason: Reason) -> Condition {
    Condition::new(status, reason, "m")
}

fn plan(line: &str) -> Plan {
    let impact = Impact { class: Class::Policy, ..Impact::default() };
    let owner = OwnerPlan { add: vec![line.to_owned()], impact, ..OwnerPlan::default() };
    Plan { owners: BTreeMap::from([("frr".to_owned(), owner)]) }
}

/// Revision, result, reason, class of each.
fn told(chronicle: &Chronicle) -> Vec<(String, End, String, Option<String>)> {
    let row = |one: &Settled| (one.revision.clone(), one.result, one.reason.clone(), one.class.clone());
    chronicle.settled().iter().map(row).collect()
}

#[test]
fn a_change_is_told_once_it_has_ended_with_the_plan_that_it_had() {
    let mut chronicle = Chronicle::default();
    let none = Plan::default();
    chronicle.note(at(0), "r1", &said(Status::Unknown, Reason::Starting), &none);
    chronicle.note(at(1), "r1", &said(Status::True, Reason::Applied), &none);
    chronicle.note(at(2), "r1", &said(Status::True, Reason::Applied), &none);
    chronicle.note(at(3), "r2", &said(Status::False, Reason::ApprovalRequired), &plan("a"));
    chronicle.note(at(4), "r2", &said(Status::Unknown, Reason::InProgress), &plan("a"));
    assert_eq!(chronicle.settled().len(), 1);
    chronicle.note(at(5), "r2", &said(Status::False, Reason::RolledBack), &none);
    chronicle.note(at(6), "r2", &said(Status::False, Reason::RolledBack), &none);
    let r1 = ("r1".to_owned(), End::Applied, "Applied".to_owned(), None);
    let r2 = ("r2".to_owned(), End::Failed, "RolledBack".to_owned(), Some("policy".to_owned()));
    assert_eq!(told(&chronicle), [r2.clone(), r1.clone()]);
    assert_eq!((chronicle.settled()[0].at, &chronicle.settled()[0].plan), (at(5), &plan("a").hash()));
    // Tried again, it is another change.
    chronicle.note(at(7), "r2", &said(Status::Unknown, Reason::InProgress), &plan("a"));
    chronicle.note(at(8), "r2", &said(Status::False, Reason::RolledBack), &none);
    assert_eq!(told(&chronicle), [r2.clone(), r2, r1]);
}

#[test]
fn a_plan_of_another_revision_is_not_put_down_to_this_one() {
    let mut chronicle = Chronicle::default();
    chronicle.note(at(0), "r1", &said(Status::Unknown, Reason::InProgress), &plan("a"));
    chronicle.note(at(1), "r2", &said(Status::False, Reason::RenderFailed), &Plan::default());
    assert_eq!(chronicle.settled()[0].plan, None);
}

#[test]
fn the_last_ten_are_kept_through_a_restart() {
    let mut chronicle = Chronicle::default();
    for number in 0..25 {
        let revision = format!("r{number}");
        chronicle.note(at(number), &revision, &said(Status::True, Reason::Applied), &Plan::default());
    }
    assert_eq!((chronicle.settled().len(), chronicle.settled()[0].revision.as_str()), (MOST, "r24"));
    let text = serde_json::to_string(&chronicle).unwrap();
    let mut again: Chronicle = serde_json::from_str(&text).unwrap();
    assert_eq!(again, chronicle);
    again.note(at(99), "r24", &said(Status::True, Reason::Applied), &Plan::default());
    assert_eq!(again, chronicle, "what an earlier life did is no news");
}

#[test]
fn what_waits_or_is_unknown_has_not_ended() {
    for reason in
        [Reason::Paused, Reason::PlanOnly, Reason::MassRemoval, Reason::PlanChanged, Reason::Drifted]
    {
        assert_eq!(end(&said(Status::False, reason)), None, "{reason:?}");
    }
    for reason in [Reason::AwaitingSlot, Reason::DaemonUnreachable, Reason::ValidatorTimeout, Reason::Busy] {
        assert_eq!(end(&said(Status::Unknown, reason)), None, "{reason:?}");
    }
    for reason in [Reason::CandidateRejected, Reason::RolledBack, Reason::SettingsInvalid] {
        assert_eq!(end(&said(Status::False, reason)), Some(End::Failed), "{reason:?}");
    }
    assert_eq!(end(&said(Status::True, Reason::Retired)), Some(End::Applied));
}
