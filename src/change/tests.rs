#![expect(clippy::disallowed_methods, reason = "an instant to count from")]

use std::collections::BTreeSet;

use super::*;
use crate::change::consent::Why;
use crate::change::diff::OwnerPlan;
use crate::change::impact::{Class, Impact};
use crate::change::look::{Answer, Established, Forwarding, Measured, Pairs};
use crate::net::{NextHop, Prefix};
use proptest::prelude::*;

mod turns;

use std::collections::BTreeMap;

/// A language of lines without order: enough to drive the machine, and nothing of a NOS in it.
#[derive(Debug, Clone, Copy)]
struct Lines;

fn lines(text: Option<&String>) -> Vec<String> {
    text.map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}

fn difference(running: &Running, wanted: Option<&String>) -> Plan {
    let (have, want) = (lines(running.texts.get("nos")), lines(wanted));
    let add: Vec<String> = want.iter().filter(|line| !have.contains(line)).cloned().collect();
    let remove: Vec<String> = have.iter().filter(|line| !want.contains(line)).cloned().collect();
    if add.is_empty() && remove.is_empty() {
        return Plan::default();
    }
    let commands = add.iter().cloned().chain(remove.iter().map(|line| format!("no {line}"))).collect();
    let class = if remove.is_empty() { Class::Add } else { Class::SessionReset };
    let impact = Impact { class, sessions: remove.iter().cloned().collect(), ..Impact::default() };
    let plan = OwnerPlan { add, remove, commands, impact, ..OwnerPlan::default() };
    Plan { owners: BTreeMap::from([("nos".to_owned(), plan)]) }
}

impl Dialect for Lines {
    fn plan(&self, running: &Running, candidate: &Candidate, _: &Known<'_>) -> Result<Plan, Refusal> {
        let wanted = candidate.texts.get("nos");
        match wanted.filter(|text| text.contains("foreign")) {
            Some(text) => Err(Refusal::ForeignLine { line: text.clone() }),
            None => Ok(difference(running, wanted)),
        }
    }
    fn nothing(&self) -> Candidate {
        want("").target.candidate
    }
    fn canonical(&self, candidate: &Candidate, _: &Checked) -> Result<Candidate, Refusal> {
        Ok(candidate.clone())
    }

    fn remarks(&self, _: &Candidate) -> Vec<Issue> {
        Vec::new()
    }

    fn dwell(&self, _: &Plan, _: &Running) -> Duration {
        DWELL
    }

    fn undo(&self, now: &Running, before: &Running, _: &Candidate) -> Plan {
        difference(now, before.texts.get("nos"))
    }

    fn departures(&self, plan: &Plan) -> Vec<Departure> {
        let all = plan.owners.values();
        let found =
            |line: &String| Departure { path: String::new(), wanted: None, found: Some(line.clone()) };
        all.flat_map(|owner| owner.remove.iter().map(found)).collect()
    }
}

const DWELL: Duration = Duration::from_secs(3);

/// When it shows that somebody else is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    At,
}

/// A switch that obeys, or not.
#[expect(clippy::struct_excessive_bools, reason = "each is a way to fail, and they come together")]
#[derive(Debug, Clone, Default)]
struct Switch {
    running: Vec<String>,
    startup: Option<String>,
    /// Lines it silently does not take.
    deaf_to: Vec<String>,
    unreadable: bool,
    full_disk: bool,
    sent: usize,
    /// So many commands are lost on their way.
    lost: usize,
    /// These next-hops forward while the text has no line `cut N`.
    hops: Vec<u8>,
    /// The forwarding table cannot be read.
    blind: bool,
    /// The way back, as it is on disk.
    undo: Option<Undo>,
    /// The guard says no.
    strict: bool,
    /// Somebody else is at work.
    busy: Option<Moment>,
    /// Who has the configuration open.
    editor: Option<String>,
    /// Other switches come first.
    crowded: bool,
    /// Packets to the API server get no answer.
    cut_off: bool,
    /// Since when its sessions are up.
    born: Option<Instant>,
}

impl Switch {
    fn carry_out(&mut self, step: &Step) -> Option<Seen> {
        Some(match step {
            Step::ReadRunning if self.unreadable => Seen::Unreadable("bgpd does not answer".into()),
            Step::ReadRunning => Seen::Running(self.text()),
            Step::Arm(_) if self.busy == Some(Moment::Before) => Seen::Busy("eve".into()),
            Step::Apply { .. } if self.busy == Some(Moment::At) => Seen::Busy("eve".into()),
            Step::Apply { .. } if self.lost > 0 => {
                (self.sent, self.lost) = (self.sent + 1, self.lost - 1);
                Seen::NotSent("connection reset".into())
            }
            Step::Apply { plan, window: _ } => {
                self.sent += 1;
                for command in plan.owners.values().flat_map(|owner| &owner.commands) {
                    let word = command.strip_prefix("no ").unwrap_or(command);
                    if self.deaf_to.iter().any(|deaf| deaf == word) {
                        continue;
                    }
                    self.running.retain(|line| line != word);
                    if word == command {
                        self.running.push(word.to_owned());
                    }
                }
                Seen::Sent(Vec::new())
            }
            Step::WriteStartup { .. } if self.full_disk => Seen::NotSaved("no space left on device".into()),
            Step::WriteStartup { candidate, .. } => {
                self.startup = candidate.texts.get("nos").cloned();
                Seen::Saved
            }
            Step::SeekEditor => Seen::Editor(self.editor.clone()),
            Step::TakeSlot if self.crowded => Seen::NoSlot("the change of leaf2 is under way".into()),
            Step::TakeSlot => Seen::Slot,
            Step::Measure(_) => Seen::Measured(Box::new(self.measured())),
            Step::Arm(_) if self.full_disk => Seen::NotArmed("no space left on device".into()),
            Step::Arm(undo) => {
                self.undo = Some(undo.clone());
                Seen::Armed
            }
            Step::Confirm if self.strict => Seen::NotAgreed("it is too late".into()),
            Step::Confirm => Seen::Agreed,
            Step::Disarm => {
                self.undo = None;
                Seen::Disarmed
            }
            Step::Wait(_) | Step::Rest => return None,
        })
    }

    fn measured(&self) -> Measured {
        let prefix: Prefix = "203.0.113.10/32".parse().unwrap();
        let hop = |number: &u8| format!("192.0.2.{number}").parse::<NextHop>().unwrap();
        let cut = |number: &&u8| !self.running.contains(&format!("cut {number}"));
        let pairs = Pairs {
            expected: (1..=9).map(|number| hop(&number)).collect::<BTreeSet<_>>().into(),
            observed: self.hops.iter().filter(cut).map(hop).collect::<BTreeSet<_>>().into(),
        };
        let forwarding = Forwarding(BTreeMap::from([(prefix, pairs)]));
        Measured {
            forwarding: if self.blind { Err("netlink".into()) } else { Ok(forwarding) },
            // Each line is a session; some are down.
            sessions: Ok(self
                .running
                .iter()
                .filter(|line| !line.starts_with("down"))
                .map(|line| (line.clone(), Established { since: self.born.unwrap(), dropped: 0 }))
                .collect()),
            probes: BTreeMap::from([("API server".to_owned(), self.answer())]),
        }
    }

    fn answer(&self) -> Answer {
        if self.cut_off { Answer::Silence } else { Answer::Came }
    }

    /// What of it can be seen: what cannot be read counts as nothing, and nothing cannot be missed.
    fn look(&self) -> Look {
        let forwards = !self.blind && !self.running.contains(&"cut 1".to_owned());
        Look { reached: !self.cut_off, forwards }
    }

    fn text(&self) -> Running {
        Running { texts: BTreeMap::from([("nos".to_owned(), self.running.join("\n"))]) }
    }
}

/// One look, in the words of the property below.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    /// Something came back from the API server.
    reached: bool,
    /// The first next-hop forwards.
    forwards: bool,
}

fn want(text: &str) -> Want {
    Want {
        target: Target {
            candidate: Candidate::rendered(BTreeMap::from([("nos".to_owned(), text.to_owned())])),
            bundle: text.to_owned(),
            peers: Peers::new(),
        },
        interim: None,
        consent: Consent::default(),
        policy: ApplyPolicy::Enforce,
        drift: DriftPolicy::Revert,
        adopt: Vec::new(),
        retry: 0,
        confirm_timeout: WINDOW,
    }
}

const WINDOW: Duration = Duration::from_secs(60);

/// Runs until there is nothing to do at `now`, or a minute later while a change is in flight; the steps that were taken.
fn settle(machine: &mut CommitMachine<Lines>, switch: &mut Switch, now: Instant) -> Vec<Step> {
    let (mut taken, mut at) = (Vec::new(), now);
    for _ in 0..400 {
        let step = machine.step(at);
        match (switch.carry_out(&step), &step) {
            (Some(seen), _) => machine.see(seen, at),
            (None, Step::Wait(until)) if machine.in_flight() && *until < now + WINDOW * 2 => at = *until,
            (None, _) => return taken,
        }
        if !matches!(step, Step::Wait(_)) {
            taken.push(step);
        }
    }
    panic!("it never comes to rest: {machine:?}");
}

fn start() -> (CommitMachine<Lines>, Switch, Instant) {
    let now = Instant::now();
    let switch = Switch { hops: vec![1, 2], born: Some(now), ..Switch::default() };
    (CommitMachine::new(Lines, 7, Memory::default(), None), switch, now)
}

/// One step carried out; time does not pass.
fn step(machine: &mut CommitMachine<Lines>, switch: &mut Switch, now: Instant) -> Step {
    let step = machine.step(now);
    if let Some(seen) = switch.carry_out(&step) {
        machine.see(seen, now);
    }
    step
}

fn undone(cause: FailureCause, lines: &[&str]) -> ChangeStatus {
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    ChangeStatus::Undone(Failure { cause, lines, complaints: Vec::new(), lost: Vec::new() })
}

fn cause(machine: &CommitMachine<Lines>) -> Option<FailureCause> {
    match machine.status() {
        ChangeStatus::Undone(failure) => Some(failure.cause),
        _ => None,
    }
}

#[test]
fn a_good_candidate_is_applied_read_back_saved_and_confirmed() {
    let (mut machine, mut switch, now) = start();
    machine.want(want("a\nb"));
    settle(&mut machine, &mut switch, now);
    assert_eq!(*machine.status(), ChangeStatus::Applied);
    assert_eq!((switch.running.len(), switch.startup.as_deref()), (2, Some("a\nb")));
    assert_eq!(machine.confirmed(), Some(&want("a\nb").target));
}

#[test]
fn nothing_changed_sends_nothing() {
    let (mut machine, mut switch, now) = start();
    machine.want(want("a"));
    settle(&mut machine, &mut switch, now);
    machine.want(want("a"));
    for seconds in [10, 40, 80] {
        settle(&mut machine, &mut switch, now + Duration::from_secs(seconds));
    }
    assert_eq!(switch.sent, 1);
}

#[test]
fn what_does_not_read_back_is_undone_and_held_until_the_text_changes() {
    let (mut machine, mut switch, now) = start();
    machine.want(want("a"));
    settle(&mut machine, &mut switch, now);
    switch.deaf_to = vec!["c".into()];
    machine.want(want("b\nc"));
    settle(&mut machine, &mut switch, now);
    assert_eq!(switch.running, ["a"], "the previous text is back");
    assert_eq!(
        switch.startup.as_deref(),
        Some("a"),
        "startup is never the candidate before it was confirmed"
    );
    assert_eq!(*machine.status(), undone(FailureCause::ReadBack, &["+ c"]));
    let sent = switch.sent;
    settle(&mut machine, &mut switch, now + Duration::from_secs(3600));
    assert_eq!(switch.sent, sent, "an outage is never repeated by itself");
    switch.deaf_to.clear();
    machine.want(Want { retry: 1, ..want("b\nc") });
    settle(&mut machine, &mut switch, now + Duration::from_secs(3601));
    assert_eq!(*machine.status(), ChangeStatus::Applied);
}

#[test]
fn a_rollback_that_fails_says_so_and_tries_only_the_undo_again() {
    let (mut machine, mut switch, now) = start();
    switch.running = vec!["a".into()];
    switch.deaf_to = vec!["a".into(), "c".into()];
    machine.want(want("a\nb\nc"));
    step(&mut machine, &mut switch, now);
    // The first commands take "a" away by accident.
    switch.running.clear();
    settle(&mut machine, &mut switch, now);
    assert!(matches!(machine.status(), ChangeStatus::RollbackFailed { .. }), "{:?}", machine.status());
    switch.deaf_to.clear();
    settle(&mut machine, &mut switch, now + Duration::from_secs(120));
    assert_eq!(switch.running, ["a"]);
    assert_eq!(cause(&machine), Some(FailureCause::ReadBack));
}

#[test]
fn could_not_look_is_its_own_status_and_is_tried_again_later_and_later() {
    let (mut machine, mut switch, now) = start();
    switch.unreadable = true;
    machine.want(want("a"));
    settle(&mut machine, &mut switch, now);
    assert_eq!(*machine.status(), ChangeStatus::Unreachable("bgpd does not answer".into()));
    let Step::Wait(first) = machine.step(now) else { panic!() };
    settle(&mut machine, &mut switch, first);
    let Step::Wait(second) = machine.step(first) else { panic!() };
    assert!(second - first > first - now, "back-off");
    assert_eq!(switch.sent, 0);
    switch.unreadable = false;
    settle(&mut machine, &mut switch, second);
    let Step::Wait(third) = machine.step(second) else { panic!() };
    settle(&mut machine, &mut switch, third);
    assert_eq!(*machine.status(), ChangeStatus::Applied);
}

#[test]
fn what_loads_its_startup_text_is_not_written_to() {
    let (mut machine, mut switch, mut now) = start();
    switch.unreadable = true;
    machine.want(want("x\ny\na"));
    // It is back with nothing, then with a part of its text, then with all of it.
    for running in [vec![], vec!["x"], vec!["x", "y"]] {
        settle(&mut machine, &mut switch, now);
        switch.unreadable = false;
        switch.running = running.into_iter().map(str::to_owned).collect();
        let Step::Wait(until) = machine.step(now) else { panic!() };
        now = until;
    }
    settle(&mut machine, &mut switch, now);
    assert_eq!(switch.sent, 0);
    // Asked again at once, for whatever reason, it is still too early.
    machine.want(want("x\ny\nb"));
    settle(&mut machine, &mut switch, now);
    assert_eq!(switch.sent, 0);
    let Step::Wait(until) = machine.step(now) else { panic!() };
    settle(&mut machine, &mut switch, until);
    assert_eq!((machine.status(), switch.running.join(" ").as_str()), (&ChangeStatus::Applied, "x y b"));
}

#[test]
fn drift_is_put_back_or_only_reported() {
    let found = vec![Departure { path: String::new(), wanted: None, found: Some("x".into()) }];
    let reported = Drift { departures: found.clone(), fate: drift::Fate::Reported };
    for (drift, running, status) in [
        (DriftPolicy::Revert, vec!["a"], ChangeStatus::Applied),
        (DriftPolicy::Report, vec!["a", "x"], ChangeStatus::Drifted(reported)),
    ] {
        let (mut machine, mut switch, now) = start();
        machine.want(Want { drift, ..want("a") });
        settle(&mut machine, &mut switch, now);
        switch.running.push("x".into());
        settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 2);
        assert_eq!(
            (switch.running.clone(), machine.status().clone()),
            (running.iter().map(|s| (*s).to_owned()).collect(), status)
        );
        assert_eq!(machine.drifts(), 1);
        assert_eq!(machine.drift().map(|drift| drift.departures.clone()), Some(found.clone()));
    }
}

#[test]
fn somebody_at_the_switch_gets_time_and_a_commit_does_not_wait_for_it() {
    let (mut machine, mut switch, now) = start();
    machine.want(want("a"));
    settle(&mut machine, &mut switch, now);
    switch.editor = Some("root on pts/3".into());
    switch.running.push("x".into());
    let first = now + DRIFT_PERIOD * 2;
    for seconds in [0, 30, 120, 290] {
        settle(&mut machine, &mut switch, first + Duration::from_secs(seconds));
        assert!(matches!(machine.status(), ChangeStatus::Drifted(_)), "{:?}", machine.status());
        assert!(switch.running.contains(&"x".to_owned()), "after {seconds} s");
    }
    settle(&mut machine, &mut switch, first + drift::COURTESY);
    assert_eq!(
        (switch.running.as_slice(), machine.status()),
        (&["a".to_owned()][..], &ChangeStatus::Applied)
    );
    switch.running.push("x".into());
    settle(&mut machine, &mut switch, first + drift::COURTESY * 2);
    assert!(matches!(machine.status(), ChangeStatus::Drifted(_)));
    machine.want(want("a\nb"));
    settle(&mut machine, &mut switch, first + drift::COURTESY * 2);
    assert_eq!((switch.running.join(" ").as_str(), machine.status()), ("a b", &ChangeStatus::Applied));
}

#[test]
fn whoever_changes_what_is_being_put_back_does_not_get_the_confirmed_text_held() {
    let (mut machine, mut switch, now) = start();
    machine.want(want("a"));
    settle(&mut machine, &mut switch, now);
    switch.running.push("x".into());
    let mut at = now + DRIFT_PERIOD * 2;
    while switch.sent < 2 {
        step(&mut machine, &mut switch, at);
    }
    switch.running.push("y".into());
    for _ in 0..4 {
        settle(&mut machine, &mut switch, at);
        at += DRIFT_PERIOD;
    }
    assert_eq!(
        (switch.running.as_slice(), machine.status()),
        (&["a".to_owned()][..], &ChangeStatus::Applied)
    );
    assert_eq!(machine.memory().tried, [], "it was read back once: the text is not to blame");
}

#[test]
fn plan_only_and_paused_write_nothing() {
    for policy in [ApplyPolicy::PlanOnly, ApplyPolicy::Paused] {
        let (mut machine, mut switch, now) = start();
        machine.want(Want { policy, ..want("a") });
        settle(&mut machine, &mut switch, now);
        assert_eq!((switch.sent, machine.status()), (0, &ChangeStatus::Planned));
        assert_eq!(machine.plan().lines(), ["+ a"]);
        // Somebody types it in: the startup text is not ours to write either.
        switch.running = vec!["a".into()];
        settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 2);
        assert!(matches!(machine.status(), ChangeStatus::NotSaved(_)), "{:?}", machine.status());
        assert_eq!(switch.startup, None);
    }
}

#[test]
fn a_refused_text_touches_nothing() {
    let (mut machine, mut switch, now) = start();
    machine.want(want("foreign"));
    settle(&mut machine, &mut switch, now);
    assert!(matches!(machine.status(), ChangeStatus::Refused(_)));
    assert_eq!((switch.sent, switch.startup), (0, None));
}

#[test]
fn what_runs_but_is_not_saved_is_said() {
    let (mut machine, mut switch, mut now) = start();
    machine.want(want("a"));
    while !matches!(machine.step(now), Step::WriteStartup { .. }) {
        if let Step::Wait(until) = step(&mut machine, &mut switch, now) {
            now = until;
        }
    }
    switch.full_disk = true;
    settle(&mut machine, &mut switch, now);
    assert!(matches!(machine.status(), ChangeStatus::NotSaved(_)));
    switch.full_disk = false;
    settle(&mut machine, &mut switch, now + Duration::from_secs(5));
    assert_eq!(*machine.status(), ChangeStatus::Applied);
    assert_eq!(switch.sent, 1, "it is not applied again");
}

#[test]
fn a_newer_text_waits_until_the_change_in_flight_has_settled() {
    let (mut machine, mut switch, now) = start();
    machine.want(want("a"));
    while switch.sent == 0 {
        step(&mut machine, &mut switch, now);
    }
    assert!(machine.in_flight());
    machine.want(want("b"));
    settle(&mut machine, &mut switch, now);
    assert_eq!((switch.running.clone(), switch.startup.as_deref()), (vec!["b".to_owned()], Some("b")));
}

/// `text` of `bundle`, wanted by a Switch.
fn by_switch(bundle: &str, text: &str) -> Want {
    let mut want = want(text);
    want.target.bundle = bundle.into();
    want.consent.approver = consent::Approver::Switch;
    want
}

#[test]
fn a_change_over_budget_waits_for_its_hash() {
    let (mut machine, mut switch, now) = start();
    machine.want(by_switch("one", "a\nb"));
    settle(&mut machine, &mut switch, now);
    assert_eq!(*machine.status(), ChangeStatus::Applied, "the first change only added");
    let interim = machine.confirmed().cloned();
    let second = Want { interim: interim.clone(), ..by_switch("two", "a\nc") };
    machine.want(second.clone());
    settle(&mut machine, &mut switch, now);
    let ChangeStatus::AwaitingApproval { hold, hash, lines } = machine.status().clone() else {
        panic!("{:?}", machine.status())
    };
    assert!(matches!(hold, Hold { why: Why::OverBudget(_), approved: None }), "{hold:?}");
    assert_eq!(
        (switch.running.as_slice(), lines.as_slice()),
        (&["a".to_owned(), "b".into()][..], &["+ c".to_owned(), "- b".into()][..])
    );
    let wrong = Consent { approved: Some("000000000000".into()), ..second.consent.clone() };
    machine.want(Want { consent: wrong, ..second.clone() });
    settle(&mut machine, &mut switch, now);
    assert!(matches!(machine.status(), ChangeStatus::AwaitingApproval { .. }));

    // Meanwhile a neighbour comes by the bundle in force, and drift is put back.
    let more =
        Target { candidate: want("a\nb\nn").target.candidate, bundle: "one".into(), peers: Peers::new() };
    let second = Want { interim: Some(more.clone()), ..by_switch("two", "a\nc\nn") };
    switch.running.push("x".into());
    machine.want(second.clone());
    settle(&mut machine, &mut switch, now);
    assert_eq!(switch.running, ["a", "b", "n"]);
    assert_eq!(switch.startup.as_deref(), Some("a\nb\nn"));
    assert_eq!(machine.confirmed(), Some(&more));
    assert!(matches!(machine.status(), ChangeStatus::AwaitingApproval { hash: same, .. } if *same == hash));

    let approved = Consent { approved: Some(hash), ..second.consent.clone() };
    machine.want(Want { consent: approved, ..second });
    settle(&mut machine, &mut switch, now);
    assert_eq!((machine.status(), switch.running.len()), (&ChangeStatus::Applied, 3));
    assert!(switch.running.contains(&"c".to_owned()));
}

#[test]
fn a_session_that_is_down_already_needs_nobodys_word() {
    let (mut machine, mut switch, now) = start();
    machine.want(by_switch("one", "a\ndown 1\nup 1"));
    settle(&mut machine, &mut switch, now);
    let interim = machine.confirmed().cloned();
    let without_one_that_is_up = Want { interim: interim.clone(), ..by_switch("two", "a\ndown 1") };
    machine.want(without_one_that_is_up);
    settle(&mut machine, &mut switch, now);
    let ChangeStatus::AwaitingApproval { hold, .. } = machine.status() else {
        panic!("{:?}", machine.status())
    };
    assert_eq!(hold.to_string(), "would reset 1 session (up 1), budget 0");
    assert!(!machine.in_flight(), "what waits may be replaced");
    machine.want(Want { interim, ..by_switch("three", "a\nup 1") });
    settle(&mut machine, &mut switch, now);
    assert_eq!((machine.status(), switch.running.join(" ").as_str()), (&ChangeStatus::Applied, "a up 1"));
}

#[test]
fn a_bad_bundle_is_not_tried_again_with_other_neighbours() {
    let (mut machine, mut switch, now) = start();
    machine.want(by_switch("one", "a"));
    settle(&mut machine, &mut switch, now);
    switch.deaf_to = vec!["bad".into()];
    let interim = machine.confirmed().cloned();
    machine.want(Want { interim, ..by_switch("two", "a\nbad") });
    settle(&mut machine, &mut switch, now);
    assert_eq!(cause(&machine), Some(FailureCause::ReadBack), "{:?}", machine.status());
    let sent = switch.sent;
    let more = Target { candidate: want("a\nn").target.candidate, bundle: "one".into(), peers: Peers::new() };
    machine.want(Want { interim: Some(more), ..by_switch("two", "a\nbad\nn") });
    settle(&mut machine, &mut switch, now);
    assert_eq!((switch.running.as_slice(), switch.sent), (&["a".to_owned(), "n".into()][..], sent + 1));
    assert_eq!(cause(&machine), Some(FailureCause::ReadBack), "{:?}", machine.status());
    // A mended bundle is another one.
    machine.want(by_switch("three", "a\nn\ngood"));
    settle(&mut machine, &mut switch, now);
    assert_eq!(*machine.status(), ChangeStatus::Applied);
}

#[test]
fn a_refused_bundle_leaves_the_one_in_force_kept_up() {
    let (mut machine, mut switch, now) = start();
    machine.want(by_switch("one", "a"));
    settle(&mut machine, &mut switch, now);
    let more = Target { candidate: want("a\nn").target.candidate, bundle: "one".into(), peers: Peers::new() };
    machine.want(Want { interim: Some(more), ..by_switch("two", "foreign") });
    settle(&mut machine, &mut switch, now);
    assert_eq!(switch.running, ["a", "n"]);
    assert!(matches!(machine.status(), ChangeStatus::Refused(_)));
}

#[test]
fn a_retired_switch_is_emptied_once_and_then_left_alone() {
    let (mut machine, mut switch, now) = start();
    machine.want(by_switch("one", "a\nb"));
    settle(&mut machine, &mut switch, now);
    let retired = Want { policy: ApplyPolicy::Retired, ..by_switch("one", "a\nb") };
    machine.want(retired.clone());
    settle(&mut machine, &mut switch, now);
    assert_eq!((switch.running.len(), switch.startup.as_deref()), (0, Some("")));
    assert_eq!(*machine.status(), ChangeStatus::Retired);
    switch.running.push("a".into());
    settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 3);
    assert_eq!(switch.running, ["a"], "what somebody does afterwards is theirs");
    machine.want(by_switch("one", "a\nb"));
    settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 4);
    assert_eq!(*machine.status(), ChangeStatus::Applied);
}

#[test]
fn what_a_change_takes_away_undoes_it_unless_it_was_gone_before() {
    for (text, before, expected) in [
        ("a\ncut 3", vec![1, 2], None),
        (
            "a\ncut 2",
            vec![1, 2],
            Some(undone(FailureCause::Verification, &["203.0.113.10/32 lost next-hop 192.0.2.2"])),
        ),
        ("a\ncut 2", vec![1], None),
    ] {
        let (mut machine, mut switch, now) = start();
        switch.hops = before;
        machine.want(want("a"));
        settle(&mut machine, &mut switch, now);
        machine.want(want(text));
        let steps = settle(&mut machine, &mut switch, now);
        match expected {
            None => assert_eq!(
                (machine.status(), switch.startup.as_deref()),
                (&ChangeStatus::Applied, Some(text))
            ),
            Some(expected) => {
                assert_eq!((machine.status(), switch.running.as_slice()), (&expected, &["a".to_owned()][..]));
                assert_eq!(switch.startup.as_deref(), Some("a"));
                assert!(!steps.contains(&Step::Confirm), "an unverified change was offered for confirmation");
            }
        }
        assert_eq!(switch.undo, None, "the way back is gone when all is settled");
    }
}

#[test]
fn a_look_counts_only_after_the_dwell_and_only_the_second_good_one_confirms() {
    let (mut machine, mut switch, now) = start();
    machine.want(want("a"));
    let (mut at, mut looks) = (now, Vec::new());
    loop {
        match step(&mut machine, &mut switch, at) {
            Step::Wait(until) => at = until,
            Step::Measure(_) => looks.push(at - now),
            Step::Confirm => break,
            _ => {}
        }
    }
    assert_eq!(looks, [Duration::ZERO, DWELL, DWELL + Duration::from_secs(1)]);
}

#[test]
fn a_change_that_nobody_could_look_at_is_undone_and_tried_once_more() {
    let (mut machine, mut switch, now) = start();
    machine.want(want("a"));
    settle(&mut machine, &mut switch, now);
    switch.sent = 0;
    machine.want(want("a\nb"));
    while switch.sent == 0 {
        step(&mut machine, &mut switch, now);
    }
    switch.blind = true;
    settle(&mut machine, &mut switch, now);
    assert_eq!(
        (cause(&machine), switch.running.as_slice()),
        (Some(FailureCause::CouldNotLook), &["a".to_owned()][..])
    );
    let sent = switch.sent;
    settle(&mut machine, &mut switch, now + DRIFT_PERIOD * 60);
    assert_eq!(switch.sent, sent, "twice, and not a third time");
}

#[test]
fn what_was_lost_on_its_way_is_not_held_against_the_text() {
    for (lost, running) in [(1, &["a".to_owned(), "b".to_owned()][..]), (2, &["a".to_owned()])] {
        let (mut machine, mut switch, now) = start();
        machine.want(want("a"));
        settle(&mut machine, &mut switch, now);
        (switch.sent, switch.lost) = (0, lost);
        machine.want(want("a\nb"));
        settle(&mut machine, &mut switch, now);
        assert_eq!((switch.running.as_slice(), switch.sent), (running, 2), "lost {lost}");
        let expected = (lost == 2).then_some(FailureCause::Interrupted);
        assert_eq!(cause(&machine), expected, "lost {lost}");
    }
}

#[test]
fn a_session_that_the_plan_did_not_name_must_stay_what_it_was() {
    let (mut machine, mut switch, now) = start();
    machine.want(want("a"));
    settle(&mut machine, &mut switch, now);
    switch.strict = true;
    machine.want(want("a\nb"));
    settle(&mut machine, &mut switch, now);
    assert_eq!(
        (cause(&machine), switch.running.len()),
        (Some(FailureCause::CouldNotLook), 1),
        "the guard's no is a no"
    );
}

#[test]
fn without_a_way_back_on_disk_nothing_is_sent() {
    let (mut machine, mut switch, now) = start();
    switch.full_disk = true;
    machine.want(want("a"));
    settle(&mut machine, &mut switch, now);
    assert_eq!(
        (machine.status(), switch.sent),
        (&ChangeStatus::NotArmed("no space left on device".into()), 0)
    );
    switch.full_disk = false;
    settle(&mut machine, &mut switch, now + Duration::from_secs(60));
    assert_eq!(*machine.status(), ChangeStatus::Applied);
}

#[test]
fn wherever_the_agent_ends_the_next_life_settles() {
    for end in 1..40 {
        let (mut machine, mut switch, now) = start();
        machine.want(want("a"));
        settle(&mut machine, &mut switch, now);
        machine.want(want("b\nc"));
        let mut at = now;
        for _ in 0..end {
            if let Step::Wait(until) = step(&mut machine, &mut switch, at) {
                at = until;
            }
        }
        let memory = machine.memory().clone();
        let mut machine = CommitMachine::new(Lines, 7, memory, switch.undo.clone());
        let was = switch.undo.is_some();
        settle(&mut machine, &mut switch, at);
        assert_eq!(switch.undo, None);
        if was {
            assert_eq!(switch.running, ["a"], "after {end} steps");
        }
        machine.want(want("b\nc"));
        settle(&mut machine, &mut switch, at);
        assert_eq!(*machine.status(), ChangeStatus::Applied, "after {end} steps it is tried once more");
        assert_eq!(switch.startup.as_deref(), Some("b\nc"));
    }
}

/// As it is wanted while the API server lists four Nodes.
fn served(text: &str) -> Want {
    let mut want = want(text);
    let peer = |number: u8| (format!("n{number}"), [format!("192.0.2.{number}").parse().unwrap()].into());
    want.target.peers = (1..=4).map(peer).collect();
    want
}

#[derive(Debug, Clone)]
enum Event {
    Want(String, u64),
    Deaf(Vec<String>),
    Readable(bool),
    Blind(bool),
    Full(bool),
    Strict(bool),
    /// Other switches come first, or the API server does not say.
    Crowded(bool),
    /// Packets to the API server vanish.
    CutOff(bool),
    /// The lists of the API server are empty now.
    Emptied,
    Crash,
    Tamper(String),
    Pass(u64),
    Steps(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let line = prop::sample::select(vec!["a", "b", "c", "cut 1"]).prop_map(str::to_owned);
    let text =
        prop::collection::btree_set(line.clone(), 0..4).prop_map(|set| set.into_iter().collect::<Vec<_>>());
    // Mostly well, and time passes: else no change would ever come to be confirmed.
    let well = || prop::bool::weighted(0.8);
    let ill = || prop::bool::weighted(0.2);
    prop_oneof![
        3 => (text.clone(), 0..2_u64).prop_map(|(lines, retry)| Event::Want(lines.join("\n"), retry)),
        1 => prop_oneof![3 => Just(Vec::new()), 1 => text].prop_map(Event::Deaf),
        1 => well().prop_map(Event::Readable),
        1 => ill().prop_map(Event::Blind),
        1 => ill().prop_map(Event::Full),
        1 => ill().prop_map(Event::Strict),
        1 => ill().prop_map(Event::Crowded),
        2 => any::<bool>().prop_map(Event::CutOff),
        1 => Just(Event::Emptied),
        1 => Just(Event::Crash),
        1 => line.prop_map(Event::Tamper),
        1 => (0..100_u64).prop_map(Event::Pass),
        6 => (1..5_u64).prop_map(Event::Pass),
        10 => (1..12_usize).prop_map(Event::Steps),
    ]
}

proptest! {
    /// Whatever happens, crashes and an API server that is silent or empty included: what is confirmed was read back and took
    /// nothing away, not the way to that server either, startup is what was confirmed, no command is sent without a way back
    /// on disk, none of a commit without its slot, none that would take all neighbours away, and it comes to rest.
    #[test]
    fn an_unverified_change_is_never_confirmed(events in prop::collection::vec(event(), 1..60)) {
        let (_, mut switch, mut now) = start();
        let memory = Memory { confirmed: Some(want("").target), ..Memory::default() };
        let mut machine = CommitMachine::new(Lines, 7, memory, None);
        let mut granted = false;
        // Of the change under way: what was seen before it, and when it was looked at last.
        let (mut before, mut last) = (Look::default(), Look::default());
        let mut wanted = String::new();
        for event in events {
            match event {
                Event::Want(text, retry) => {
                    wanted.clone_from(&text);
                    machine.want(Want { retry, ..served(&text) });
                }
                // The bundle is known by heart; the Nodes, and with them the neighbours' lines, are gone.
                Event::Emptied => {
                    let mut emptied = served(&wanted);
                    emptied.target.candidate = served("").target.candidate;
                    emptied.target.peers = Peers::new();
                    machine.want(emptied);
                }
                Event::CutOff(yes) => switch.cut_off = yes,
                Event::Deaf(lines) => switch.deaf_to = lines,
                Event::Readable(yes) => switch.unreadable = !yes,
                Event::Blind(yes) => switch.blind = yes,
                Event::Full(yes) => switch.full_disk = yes,
                Event::Strict(yes) => switch.strict = yes,
                Event::Crowded(yes) => {
                    switch.crowded = yes;
                    machine.slots_changed();
                }
                Event::Tamper(line) => switch.running.push(line),
                Event::Pass(seconds) => now += Duration::from_secs(seconds),
                Event::Crash => {
                    granted = false;
                    machine = CommitMachine::new(Lines, 7, machine.memory().clone(), switch.undo.clone());
                }
                Event::Steps(count) => for _ in 0..count {
                    let (sent, needed) = (switch.sent, machine.slot());
                    let step = step(&mut machine, &mut switch, now);
                    match &step {
                        Step::TakeSlot => granted = !switch.crowded,
                        Step::Measure(_) => last = switch.look(),
                        Step::Arm(undo) if machine.memory().cause(&undo.target) != Cause::Routine => {
                            prop_assert!(granted && needed == slot::Need::Slot, "began without a slot");
                        }
                        _ => {}
                    }
                    granted &= machine.slot() == slot::Need::Slot;
                    prop_assert!(switch.sent == sent || switch.undo.is_some(), "sent without a way back");
                    if let Step::Arm(undo) = &step {
                        before = last;
                        let confirmed = machine.confirmed().map(|target| target.peers.len()).unwrap_or_default();
                        prop_assert!(confirmed < 4 || !undo.target.peers.is_empty(), "an empty list takes all neighbours away");
                    }
                    if let (Step::Confirm, Some(undo)) = (&step, &switch.undo) {
                        prop_assert!(!before.reached || last.reached, "it took the way to the API server away");
                        prop_assert!(!before.forwards || last.forwards, "it took a next-hop away");
                        prop_assert!(!switch.blind || switch.strict || !machine.in_flight() || undo.window > Duration::ZERO);
                    }
                    if matches!(step, Step::Wait(_) | Step::Rest) {
                        break;
                    }
                    if *machine.status() == ChangeStatus::Applied && matches!(step, Step::WriteStartup { .. }) {
                        prop_assert_eq!(machine.confirmed().and_then(|c| c.candidate.texts.get("nos")), switch.startup.as_ref());
                    }
                },
            }
        }
        switch = Switch { running: switch.running, startup: switch.startup, undo: switch.undo, hops: vec![1, 2], born: switch.born, ..Switch::default() };
        machine.want(served("z"));
        for _ in 0..20 {
            settle(&mut machine, &mut switch, now);
            now += Duration::from_secs(200);
        }
        prop_assert_eq!(machine.status(), &ChangeStatus::Applied);
        prop_assert_eq!(machine.slot(), slot::Need::Settled(slot::End::Good));
        prop_assert_eq!(&switch.running, &["z".to_owned()]);
        prop_assert_eq!(&switch.undo, &None);
    }
}

#[test]
fn a_switch_that_somebody_else_is_changing_is_waited_for_and_the_text_is_not_to_blame() {
    for moment in [Moment::Before, Moment::At] {
        let (mut machine, mut switch, now) = start();
        switch.busy = Some(moment);
        machine.want(want("a\n"));
        settle(&mut machine, &mut switch, now);
        assert_eq!(machine.status(), &ChangeStatus::Busy("eve".into()), "{moment:?}");
        assert_eq!(
            (switch.sent, &switch.undo),
            (0, &None),
            "nothing was sent, and no way back is left lying"
        );
        assert!(!machine.in_flight());
        switch.busy = None;
        settle(&mut machine, &mut switch, now + Duration::from_secs(120));
        assert_eq!(machine.status(), &ChangeStatus::Applied, "{moment:?}");
    }
}
