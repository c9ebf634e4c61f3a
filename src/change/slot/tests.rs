#![expect(clippy::disallowed_methods, reason = "an instant to count from")]

use super::*;
use proptest::prelude::*;

const DURATION: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(5);

fn member(max_unavailable: u32) -> Member {
    Member { group: "racks".into(), max_unavailable, release: 0, paused: false, waits: true }
}

fn fabric(names: &[&str], max_unavailable: u32) -> Observed {
    let members = names.iter().map(|name| ((*name).to_owned(), member(max_unavailable))).collect();
    Observed { slots: Vec::new(), members }
}

fn holder(name: &str, outcome: Outcome, heard: Instant) -> Holder {
    Holder { name: name.into(), release: 0, outcome, heard, duration: DURATION }
}

fn slot(number: u32, turn: u64, last: &str, holder: Option<Holder>) -> Slot {
    let version = format!("{number}{turn}");
    Slot { group: "racks".into(), number, version, turn, last: Some(last.into()), holder }
}

fn held(number: u32, turn: u64, name: &str, outcome: Outcome, heard: Instant) -> Slot {
    slot(number, turn, name, Some(holder(name, outcome, heard)))
}

fn decide(observed: &Observed, me: &str, now: Instant) -> Decision {
    Queue::new(me, PATIENCE).decide(observed, now)
}

fn why(observed: &Observed, me: &str, now: Instant) -> Why {
    match decide(observed, me, now) {
        Decision::Wait(waiting) => waiting.why,
        Decision::Take(take) => panic!("{take:?}"),
    }
}

/// Name and version of the Lease.
fn taken(observed: &Observed, me: &str, now: Instant) -> (String, Option<String>) {
    match decide(observed, me, now) {
        Decision::Take(take) => (take.lease, take.version),
        Decision::Wait(waiting) => panic!("{waiting:?}"),
    }
}

#[test]
fn a_lease_has_one_group_and_one_number() {
    for (name, expected) in [
        ("racks-0", Some(("racks", 0))),
        ("racks-1-10", Some(("racks-1", 10))),
        ("racks", None),
        ("racks-", None),
        ("-0", None),
        ("racks-01", None),
        ("racks-+1", None),
        ("racks-99999999999", None),
    ] {
        assert_eq!(place(name), expected, "{name}");
        if let Some((group, number)) = expected {
            assert_eq!(lease(group, number), name);
        }
    }
}

#[test]
fn the_first_one_takes_what_is_free_and_the_others_wait_for_their_turn() {
    let now = Instant::now();
    let all = fabric(&["leaf1", "leaf2", "leaf3"], 1);
    assert_eq!(taken(&all, "leaf1", now), ("racks-0".into(), None));
    let Decision::Wait(waiting) = decide(&all, "leaf3", now) else { panic!() };
    let ahead = vec!["leaf1".to_owned(), "leaf2".to_owned()];
    assert_eq!(waiting, Waiting { why: Why::Turn, ahead, until: Some(now + PATIENCE * 2) });
    assert_eq!(waiting.words(), "a slot is free, and others come first; leaf1 and 1 more come first");
    // The one before it never came.
    let mut queue = Queue::new("leaf2", PATIENCE);
    assert!(matches!(queue.decide(&all, now), Decision::Wait(_)));
    assert!(matches!(
        queue.decide(&all, now + PATIENCE.saturating_sub(Duration::from_millis(1))),
        Decision::Wait(_)
    ));
    assert!(matches!(queue.decide(&all, now + PATIENCE), Decision::Take(_)));
    // Two slots: two go at once, for different ones.
    let two = fabric(&["leaf1", "leaf2", "leaf3"], 2);
    assert_eq!(taken(&two, "leaf1", now).0, "racks-0");
    assert_eq!(taken(&two, "leaf2", now).0, "racks-1");
    assert_eq!(why(&two, "leaf3", now), Why::Turn);
}

#[test]
fn the_turn_goes_round_behind_the_last_one() {
    let now = Instant::now();
    let mut all = fabric(&["leaf1", "leaf2", "leaf3", "leaf4"], 1);
    all.slots = vec![slot(0, 7, "leaf2", None), slot(1, 3, "leaf3", None)];
    let ahead = |me: &str| match decide(&all, me, now) {
        Decision::Wait(waiting) => waiting.ahead,
        Decision::Take(_) => Vec::new(),
    };
    assert_eq!(taken(&all, "leaf3", now), ("racks-0".into(), Some("07".into())));
    assert_eq!(ahead("leaf4"), ["leaf3"]);
    assert_eq!(ahead("leaf1"), ["leaf3", "leaf4"]);
    assert_eq!(ahead("leaf2"), ["leaf3", "leaf4", "leaf1"]);
    // Who does not wait, is paused or in another group, stands in nobody's way.
    for change in [
        |member: &mut Member| member.waits = false,
        |member: &mut Member| member.paused = true,
        |member: &mut Member| member.group = "other".into(),
    ] {
        let mut all = all.clone();
        change(all.members.get_mut("leaf3").unwrap());
        assert_eq!(taken(&all, "leaf4", now).0, "racks-0");
    }
    // Nobody knows who has gone last: the order is that of the names.
    all.slots.clear();
    assert_eq!(taken(&all, "leaf1", now).0, "racks-0");
}

#[test]
fn a_failure_keeps_its_slot_until_git_frees_it() {
    let now = Instant::now();
    let mut all = fabric(&["leaf1", "leaf2"], 1);
    all.slots = vec![held(0, 1, "leaf1", Outcome::Failed, now)];
    let failed = Why::HeldByFailure(vec![Failed { name: "leaf1".into(), how: How::RolledBack }]);
    let for_ever = now + DURATION * 10_000;
    assert_eq!(why(&all, "leaf2", for_ever), failed);
    // Its own next commit goes by the slot that it kept.
    assert_eq!(taken(&all, "leaf1", now), ("racks-0".into(), Some("01".into())));
    // A number that is not higher is no word.
    for (taken_under, now_is) in [(0, 0), (2, 1), (2, 2)] {
        let mut same = all.clone();
        same.slots[0].holder.as_mut().unwrap().release = taken_under;
        same.members.get_mut("leaf1").unwrap().release = now_is;
        assert_eq!(why(&same, "leaf2", now), failed, "{taken_under} {now_is}");
    }
    // Nobody else's Lease can be written: the next number is used.
    for (what, change) in [
        ("released", (|all: &mut Observed| all.members.get_mut("leaf1").unwrap().release = 1) as fn(&mut _)),
        ("paused", |all| all.members.get_mut("leaf1").unwrap().paused = true),
        ("deleted", |all| drop(all.members.remove("leaf1"))),
    ] {
        let mut freed = all.clone();
        // It says that it waits, for another slot.
        change(&mut freed);
        freed.members.entry("leaf1".into()).and_modify(|member| member.waits = false);
        assert_eq!(taken(&freed, "leaf2", now), ("racks-1".into(), None), "{what}");
    }
    // Its own it takes as an empty one, in its turn.
    all.members.get_mut("leaf1").unwrap().release = 1;
    all.members.get_mut("leaf2").unwrap().waits = false;
    assert_eq!(taken(&all, "leaf1", now), ("racks-0".into(), Some("01".into())));
    all.slots.push(held(1, 2, "leaf2", Outcome::Running, now));
    assert_eq!(why(&all, "leaf1", now), Why::Held(vec!["leaf2".into()]));
}

#[test]
fn a_silent_holder_counts_as_failed_after_what_we_saw_ourselves() {
    let now = Instant::now();
    let mut all = fabric(&["leaf1", "leaf2"], 1);
    all.slots = vec![held(0, 1, "leaf1", Outcome::Running, now)];
    let Decision::Wait(waiting) = decide(&all, "leaf2", now) else { panic!() };
    assert_eq!((waiting.why, waiting.until), (Why::Held(vec!["leaf1".into()]), Some(now + DURATION)));
    let silent = Why::HeldByFailure(vec![Failed { name: "leaf1".into(), how: How::Silent }]);
    assert_eq!(why(&all, "leaf2", now + DURATION), silent);
    assert_eq!(why(&all, "leaf2", now + DURATION * 10_000), silent, "its slot is never free because of that");
    // It is heard again.
    all.slots[0].holder.as_mut().unwrap().heard = now + DURATION;
    assert_eq!(why(&all, "leaf2", now + DURATION), Why::Held(vec!["leaf1".into()]));
}

#[test]
fn the_smallest_number_of_a_group_counts() {
    let now = Instant::now();
    let mut all = fabric(&["leaf1", "leaf2", "leaf3"], 3);
    all.slots = vec![held(0, 1, "leaf1", Outcome::Running, now)];
    assert_eq!(taken(&all, "leaf2", now).0, "racks-1");
    all.members.get_mut("leaf3").unwrap().max_unavailable = 1;
    assert_eq!(why(&all, "leaf2", now), Why::Held(vec!["leaf1".into()]));
    all.members.get_mut("leaf3").unwrap().group = "other".into();
    assert_eq!(taken(&all, "leaf2", now).0, "racks-1");
    // Two are under way when the number is lowered: even the one that kept its slot waits.
    all.slots = vec![held(0, 1, "leaf1", Outcome::Failed, now), held(1, 2, "leaf2", Outcome::Running, now)];
    all.members.get_mut("leaf1").unwrap().max_unavailable = 1;
    assert_eq!(why(&all, "leaf1", now), Why::Held(vec!["leaf2".into()]));
}

#[test]
fn a_switch_that_is_paused_or_gone_gets_nothing() {
    let now = Instant::now();
    let mut all = fabric(&["leaf1"], 1);
    all.members.get_mut("leaf1").unwrap().paused = true;
    assert_eq!(why(&all, "leaf1", now), Why::Paused);
    all.members.clear();
    assert_eq!(why(&all, "leaf1", now), Why::NoSwitch);
    assert!(!fits(&all, "leaf1"));
}

#[test]
fn one_of_two_failures_leaves_one_slot() {
    let now = Instant::now();
    let mut all = fabric(&["leaf1", "leaf2", "leaf3"], 2);
    all.slots = vec![held(0, 1, "leaf1", Outcome::Failed, now)];
    assert_eq!(taken(&all, "leaf2", now).0, "racks-1");
    all.slots.push(held(1, 2, "leaf2", Outcome::Running, now));
    assert_eq!(why(&all, "leaf3", now), Why::Held(vec!["leaf1".into(), "leaf2".into()]));
    all.slots[1].holder.as_mut().unwrap().outcome = Outcome::Failed;
    let Decision::Wait(waiting) = decide(&all, "leaf3", now) else { panic!() };
    assert!(
        waiting.words().starts_with("leaf1 rolled back, leaf2 rolled back and keeps the slot"),
        "{waiting:?}"
    );
}

/// One agent of the model: what the shell does, with nothing real below.
#[derive(Debug)]
struct Agent {
    name: String,
    queue: Queue,
    phase: Phase,
    /// May be older than the store.
    seen: Observed,
    turns: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Waits,
    /// Has written its name and not looked yet.
    Wrote(Take),
    Runs(Take),
    Failed,
    Done,
}

/// The API server: every write needs the version that is there.
#[derive(Debug, Default)]
struct Server {
    observed: Observed,
    writes: u64,
}

impl Server {
    fn write(&mut self, take: &Take, holder: Option<Holder>, me: &str) -> bool {
        let (group, number) = place(&take.lease).unwrap();
        let at = self.observed.slots.iter().position(|slot| slot.group == group && slot.number == number);
        let there = at.map(|at| self.observed.slots[at].clone());
        if there.as_ref().map(|slot| &slot.version) != take.version.as_ref() {
            return false;
        }
        let lawful = |holder: &Option<Holder>| holder.as_ref().is_none_or(|holder| holder.name == me);
        assert!(
            lawful(&holder) && there.is_none_or(|slot| lawful(&slot.holder)),
            "the policy refuses {take:?}"
        );
        self.writes += 1;
        let (group, version) = (group.to_owned(), self.writes.to_string());
        let new = Slot { group, number, version, turn: take.turn, last: Some(me.to_owned()), holder };
        match at {
            Some(at) => self.observed.slots[at] = new,
            None => self.observed.slots.push(new),
        }
        true
    }

    /// The version that our own slot has now.
    fn current(&self, take: &Take) -> Take {
        let (group, number) = place(&take.lease).unwrap();
        let slot = self.observed.slots.iter().find(|slot| slot.group == group && slot.number == number);
        Take { version: slot.map(|slot| slot.version.clone()), ..take.clone() }
    }

    fn counts(&self, name: &str) -> bool {
        self.observed.held("racks").any(|(_, holder)| holder.name == name)
    }
}

fn step(agent: &mut Agent, server: &mut Server, choice: u8, now: Instant) {
    let holder = |take: &Take, outcome| {
        let Take { release, .. } = *take;
        Some(Holder { name: agent.name.clone(), release, outcome, heard: now, duration: DURATION })
    };
    match agent.phase.clone() {
        // Watches are late.
        Phase::Waits if choice.is_multiple_of(4) => agent.seen = server.observed.clone(),
        Phase::Waits => {
            if let Decision::Take(take) = agent.queue.decide(&agent.seen, now)
                && server.write(&take, holder(&take, Outcome::Running), &agent.name)
            {
                agent.phase = Phase::Wrote(take);
            }
        }
        Phase::Wrote(take) => {
            if fits(&server.observed, &agent.name) {
                agent.turns += 1;
                agent.phase = Phase::Runs(take);
            } else {
                let back =
                    if take.ours == Some(Outcome::Failed) { holder(&take, Outcome::Failed) } else { None };
                assert!(server.write(&server.current(&take), back, &agent.name));
                agent.phase = Phase::Waits;
            }
        }
        Phase::Runs(take) => {
            let failed = choice.is_multiple_of(2);
            let now_is = if failed { holder(&take, Outcome::Failed) } else { None };
            assert!(server.write(&server.current(&take), now_is, &agent.name));
            agent.phase = if failed { Phase::Failed } else { Phase::Done };
        }
        // Git's word, or a fix.
        Phase::Failed if choice >= 128 => {
            server.observed.members.get_mut(&agent.name).unwrap().release += 1;
        }
        Phase::Failed | Phase::Done if choice < 64 => agent.phase = Phase::Waits,
        Phase::Failed | Phase::Done => {}
    }
    let waits = matches!(agent.phase, Phase::Waits | Phase::Wrote(_));
    server.observed.members.get_mut(&agent.name).unwrap().waits = waits;
}

fn agents(count: usize) -> Vec<Agent> {
    (0..count)
        .map(|number| {
            let name = format!("leaf{number}");
            let queue = Queue::new(&name, PATIENCE);
            Agent { name, queue, phase: Phase::Waits, seen: Observed::default(), turns: 0 }
        })
        .collect()
}

fn server(count: usize, max_unavailable: u32) -> Server {
    let members = (0..count).map(|number| (format!("leaf{number}"), member(max_unavailable))).collect();
    Server { observed: Observed { slots: Vec::new(), members }, writes: 0 }
}

proptest! {
    /// However late the watches are and whoever writes when: no more changes run, and no more failures stand that Git has not
    /// freed, than may be; and nobody writes a Lease that is somebody else's.
    #[test]
    fn never_more_than_may_be(
        most in 1_u32..4,
        steps in proptest::collection::vec((0_usize..6, any::<u8>(), 0_u64..4), 1..400),
    ) {
        let (mut agents, mut server) = (agents(6), server(6, most));
        let mut now = Instant::now();
        for (who, choice, seconds) in steps {
            now += Duration::from_secs(seconds);
            step(&mut agents[who], &mut server, choice, now);
            let counting = |agent: &&Agent| match agent.phase {
                Phase::Runs(_) | Phase::Failed => server.counts(&agent.name),
                _ => false,
            };
            let count = agents.iter().filter(counting).count();
            prop_assert!(count <= most as usize, "{count} of {most}: {agents:?} {server:?}");
        }
    }

    /// All go, and nobody twice before all of those who wait went once.
    #[test]
    fn the_turn_goes_round(count in 2_usize..8, rounds in 1_u32..4, first in 0_usize..8) {
        let (mut agents, mut server) = (agents(count), server(count, 1));
        let mut now = Instant::now();
        let mut order = Vec::new();
        while order.len() < count * rounds as usize {
            // Looked at in any order, each with fresh eyes.
            for turn in 0..count {
                let agent = &mut agents[(turn + first) % count];
                let before = agent.turns;
                agent.seen = server.observed.clone();
                for _ in 0..3 {
                    // 1: never late, never failing.
                    step(agent, &mut server, 1, now);
                }
                if agent.turns > before {
                    order.push(agent.name.clone());
                    agent.phase = Phase::Waits;
                    server.observed.members.get_mut(&agent.name).unwrap().waits = true;
                }
            }
            now += Duration::from_millis(1);
        }
        for round in order.chunks(count) {
            let mut names = round.to_vec();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), round.len(), "{:?}", order);
        }
    }
}
