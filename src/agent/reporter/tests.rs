use super::*;
use crate::cluster::report::Stamped;
use crate::health::condition::{CONFIG_APPLIED, Condition, Reason, Status};
use k8s_openapi::api::core::v1::NodeCondition;
use std::collections::BTreeMap;

fn report(status: Status) -> NodeReport {
    let condition = Condition::new(status, Reason::Applied, "x");
    NodeReport {
        conditions: BTreeMap::from([(CONFIG_APPLIED, Stamped { condition, since: Timestamp::UNIX_EPOCH })]),
        health: Some("ok"),
    }
}

/// The Node as the watch shows it after `status` was written.
fn node(uid: &str, status: Option<&str>) -> OwnNode {
    let condition = |status: &str| NodeCondition {
        type_: CONFIG_APPLIED.to_owned(),
        status: status.to_owned(),
        reason: Some("Applied".to_owned()),
        message: Some("x".to_owned()),
        ..NodeCondition::default()
    };
    OwnNode {
        uid: uid.to_owned(),
        conditions: status.map(|status| (CONFIG_APPLIED.to_owned(), condition(status))).into_iter().collect(),
        health: status.map(|_| "ok".to_owned()),
    }
}

fn say(status: Status, observed: OwnNode) -> ToSay {
    ToSay { node: Some(report(status)), observed: Some(observed), switch: None }
}

/// What has been written at `now`.
fn sent(uid: &str, status: Status, now: Instant) -> Sent {
    Sent {
        node: Some((uid.to_owned(), report(status))),
        written_at: Some(now),
        heartbeat_at: Some(now + HEARTBEAT),
        ..Sent::default()
    }
}

fn is_due(sent: &Sent, say: &ToSay, now: Instant) -> bool {
    matches!(sent.due(say, now), Due::Now)
}

#[test]
fn a_change_is_written_at_once_and_sameness_only_as_a_heartbeat() {
    let now = Instant::now();
    let state = sent("u1", Status::True, now);
    let same = say(Status::True, node("u1", Some("True")));
    assert!(!is_due(&state, &same, now + Duration::from_secs(299)));
    assert!(is_due(&state, &same, now + HEARTBEAT));
    assert!(is_due(&state, &say(Status::False, node("u1", Some("True"))), now));
}

#[test]
fn the_switch_has_a_heartbeat_of_its_own_and_only_where_there_is_one() {
    let now = Instant::now();
    let mut state = sent("u1", Status::True, now);
    state.switch = Some(("s1".to_owned(), json!({})));
    state.switch_beat_at = Some(now + Duration::from_secs(100));
    let mut same = say(Status::True, node("u1", Some("True")));
    assert!(!is_due(&state, &same, now + Duration::from_secs(200)), "there is no Switch any more");
    same.switch = state.switch.clone();
    assert!(!is_due(&state, &same, now + Duration::from_secs(99)));
    assert!(is_due(&state, &same, now + Duration::from_secs(100)));
}

#[test]
fn the_echo_of_a_write_is_waited_for_and_a_loss_is_mended() {
    let now = Instant::now();
    let state = sent("u1", Status::True, now);
    let before_the_echo = say(Status::True, node("u1", Some("False")));
    assert!(!is_due(&state, &before_the_echo, now + Duration::from_secs(1)), "the watch lags behind");
    assert!(is_due(&state, &before_the_echo, now + ECHO), "somebody took our words away");
    let made_again = say(Status::True, node("u2", None));
    assert!(
        is_due(&state, &made_again, now + Duration::from_secs(1)),
        "a Node of the same name is another Node"
    );
}

#[test]
fn a_restarted_agent_finds_its_words_and_writes_nothing() {
    let state = Sent { heartbeat_at: Some(Instant::now() + HEARTBEAT), ..Sent::default() };
    assert!(!is_due(&state, &say(Status::True, node("u1", Some("True"))), Instant::now()));
    assert!(is_due(&state, &say(Status::True, node("u1", None)), Instant::now()));
}

#[test]
fn a_failure_is_waited_out() {
    let now = Instant::now();
    let state = Sent { not_before: Some(now + Duration::from_secs(3)), ..sent("u1", Status::True, now) };
    let change = say(Status::False, node("u1", Some("True")));
    assert!(!is_due(&state, &change, now + Duration::from_secs(2)));
    assert!(is_due(&state, &change, now + Duration::from_secs(3)));
}

#[test]
fn heartbeats_are_only_ever_longer_and_differ_by_switch() {
    let jitter = |seed: u64| Sent { seed, ..Sent::default() }.jitter(HEARTBEAT_JITTER);
    let all: std::collections::BTreeSet<Duration> = (0..50).map(jitter).collect();
    assert!(all.len() > 10 && all.iter().all(|jitter| *jitter <= HEARTBEAT_JITTER), "{all:?}");
}
