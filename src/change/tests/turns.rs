//! What the machine needs of its rollout slot, and what it does without one.

use super::*;
use crate::change::slot::{End, Need};

const CROWDED: &str = "the change of leaf2 is under way";

fn awaiting() -> ChangeStatus {
    ChangeStatus::AwaitingSlot(CROWDED.to_owned())
}

/// A switch on which `a` of bundle `one` is in force.
fn in_force() -> (CommitMachine<Lines>, Switch, Instant) {
    let (mut machine, mut switch, now) = start();
    machine.want(by_switch("one", "a"));
    settle(&mut machine, &mut switch, now);
    assert_eq!((machine.status(), machine.slot()), (&ChangeStatus::Applied, Need::Settled(End::Good)));
    switch.sent = 0;
    (machine, switch, now)
}

#[test]
fn a_commit_waits_for_its_slot_and_gives_it_back_when_all_is_well() {
    let (mut machine, mut switch, now) = in_force();
    switch.crowded = true;
    machine.want(by_switch("two", "a\nb"));
    settle(&mut machine, &mut switch, now);
    assert_eq!((machine.status(), machine.slot(), switch.sent), (&awaiting(), Need::Slot, 0));
    assert!(!machine.in_flight(), "what waits may be replaced");
    switch.crowded = false;
    machine.slots_changed();
    let mut needed = Vec::new();
    let mut at = now;
    while *machine.status() != ChangeStatus::Applied {
        match step(&mut machine, &mut switch, at) {
            Step::Wait(until) => at = until,
            _ if *machine.status() != ChangeStatus::Applied => needed.push(machine.slot()),
            _ => {}
        }
    }
    assert!(needed.iter().all(|need| *need == Need::Slot), "it is kept until all is settled: {needed:?}");
    assert_eq!(machine.slot(), Need::Settled(End::Good));
}

#[test]
fn a_slot_that_comes_free_is_taken_at_once() {
    let (mut machine, mut switch, now) = in_force();
    switch.crowded = true;
    // As the agent asks: what is in force is kept up meanwhile.
    let interim = machine.confirmed().cloned();
    assert!(interim.is_some());
    machine.want(Want { interim, ..by_switch("two", "a\nb") });
    settle(&mut machine, &mut switch, now);
    assert_eq!(*machine.status(), awaiting());
    machine.slots_changed();
    assert_eq!(machine.step(now), Step::ReadRunning);
}

#[test]
fn neighbours_and_drift_wait_for_nobody() {
    let (mut machine, mut switch, now) = in_force();
    switch.crowded = true;
    machine.want(by_switch("one", "a\nn"));
    let steps = settle(&mut machine, &mut switch, now);
    assert!(!steps.contains(&Step::TakeSlot));
    assert_eq!(switch.running, ["a", "n"]);
    switch.running.push("x".into());
    let steps = settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 2);
    assert!(!steps.contains(&Step::TakeSlot));
    assert_eq!(switch.running, ["a", "n"]);
    // Also while a commit waits, which keeps its place.
    let more =
        Target { candidate: want("a\nn\nm").target.candidate, bundle: "one".into(), peers: Peers::new() };
    machine.want(Want { interim: Some(more), ..by_switch("two", "a\nb\nn\nm") });
    settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 3);
    assert_eq!((switch.running.join(" ").as_str(), machine.slot()), ("a n m", Need::Slot));
    assert_eq!(*machine.status(), awaiting());
}

#[test]
fn a_rolled_back_change_keeps_its_slot_until_something_settles_good() {
    let (mut machine, mut switch, now) = in_force();
    switch.deaf_to = vec!["bad".into()];
    machine.want(by_switch("two", "a\nbad"));
    settle(&mut machine, &mut switch, now);
    assert_eq!((cause(&machine), machine.slot()), (Some(FailureCause::ReadBack), Need::Settled(End::Failed)));
    settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 4);
    assert_eq!(machine.slot(), Need::Settled(End::Failed), "time heals nothing");
    // Another commit that may not begin heals nothing either.
    machine.want(by_switch("three", "foreign"));
    settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 5);
    assert_eq!(machine.slot(), Need::Settled(End::Failed));
    // A routine change of the bundle in force neither.
    let more = Target { candidate: want("a\nn").target.candidate, bundle: "one".into(), peers: Peers::new() };
    machine.want(Want { interim: Some(more), ..by_switch("two", "a\nbad\nn") });
    settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 6);
    assert_eq!((switch.running.join(" ").as_str(), machine.slot()), ("a n", Need::Settled(End::Failed)));
    // The revert does.
    machine.want(by_switch("one", "a\nn"));
    settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 7);
    assert_eq!((machine.status(), machine.slot()), (&ChangeStatus::Applied, Need::Settled(End::Good)));
}

#[test]
fn whoever_no_longer_waits_gives_its_place_back() {
    for (what, next) in [
        ("reverted", by_switch("one", "a")),
        ("refused", by_switch("three", "foreign")),
        ("paused", Want { policy: ApplyPolicy::Paused, ..by_switch("two", "a\nb") }),
    ] {
        let (mut machine, mut switch, now) = in_force();
        switch.crowded = true;
        machine.want(by_switch("two", "a\nb"));
        settle(&mut machine, &mut switch, now);
        assert_eq!(machine.slot(), Need::Slot);
        machine.want(next);
        settle(&mut machine, &mut switch, now);
        assert_eq!((machine.slot(), switch.sent), (Need::Settled(End::Good), 0), "{what}");
    }
    // A disk that takes no way back must not hold up the others.
    let (mut machine, mut switch, now) = in_force();
    switch.full_disk = true;
    machine.want(by_switch("two", "a\nb"));
    settle(&mut machine, &mut switch, now);
    assert!(matches!(machine.status(), ChangeStatus::NotArmed(_)));
    assert_eq!(machine.slot(), Need::Settled(End::Good));
}

#[test]
fn an_agent_that_ended_in_its_change_says_how_that_ended() {
    let (mut machine, mut switch, now) = in_force();
    machine.want(by_switch("two", "a\nb"));
    while switch.sent == 0 {
        step(&mut machine, &mut switch, now);
    }
    let mut machine = CommitMachine::new(Lines, 7, machine.memory().clone(), switch.undo.clone());
    assert_eq!(machine.slot(), Need::Nothing, "until it knows");
    settle(&mut machine, &mut switch, now);
    assert_eq!((switch.running.join(" ").as_str(), machine.slot()), ("a", Need::Settled(End::Failed)));
    // Nobody knows whether the text was to blame: once more, in the slot that it kept.
    machine.want(by_switch("two", "a\nb"));
    settle(&mut machine, &mut switch, now);
    assert_eq!((machine.status(), machine.slot()), (&ChangeStatus::Applied, Need::Settled(End::Good)));
}
