#![expect(clippy::disallowed_methods, reason = "an instant to count from")]

use std::time::Instant;

use super::*;
use crate::change::drift::Patience;
use crate::health::condition::InputProblem;
use crate::intent::snapshot::ObjectName;
use crate::intent::snapshot::objects::Meta;
use crate::intent::switch::SwitchSpec;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + seconds)
}

/// A pass in which all is well but what a test changes.
struct Pass {
    desired: Desired,
    change: ChangeStatus,
    judgement: Judgement,
    generation: i64,
    policy: ApplyPolicy,
    pause: Standing,
    drift: Option<Drift>,
}

fn pass() -> Pass {
    let desired = Desired { revision: Some("r1".into()), wanted: "r1".into(), ..Desired::default() };
    Pass {
        desired,
        change: ChangeStatus::Applied,
        judgement: Judgement::default(),
        generation: 1,
        policy: ApplyPolicy::Enforce,
        pause: Standing::Free,
        drift: None,
    }
}

impl Pass {
    fn refused(mut self) -> Self {
        self.desired.problem = Some(InputProblem {
            status: Status::False,
            reason: Reason::RenderFailed,
            message: "frr.conf.tera:1:1: no".into(),
        });
        self
    }
    fn with(mut self, change: ChangeStatus) -> Self {
        self.change = change;
        self
    }
    fn of(mut self, generation: i64) -> Self {
        self.generation = generation;
        self
    }

    fn said(&self, speaker: &mut Speaker, now: Timestamp) -> (NodeReport, Value) {
        let verdict = verdict("leaf1", now, &self.desired, Some(Ok(&self.judgement)), "default");
        let metadata = Meta { generation: Some(self.generation), ..Meta::default() };
        let switch = SwitchObject { metadata, spec: SwitchSpec::default() };
        let outcome = Outcome {
            in_force: None,
            now,
            desired: &self.desired,
            change: &self.change,
            plan: &Plan::default(),
            policy: self.policy,
            pause: &self.pause,
            drift: self.drift.as_ref().map(|drift| (drift, Some(at(300)))),
            hand: "exec",
            fib: "kernel",
            validator: "frr",
            guard: "none",
            admission: "enforced",
            judged: Some(Ok(&self.judgement)),
            grace: false,
            switch: Some(&switch),
            verdict: &verdict,
        };
        (speaker.node(&outcome), speaker.switch(&outcome).unwrap())
    }
}

fn word(status: &Value, kind: &str) -> String {
    let all = status["conditions"].as_array().unwrap();
    let found = all.iter().find(|condition| condition["type"] == kind).unwrap();
    format!("{}/{}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
}

#[test]
fn whoever_waits_for_a_slot_is_as_healthy_as_it_was() {
    let mut speaker = Speaker::default();
    pass().said(&mut speaker, at(0));
    let waits = || pass().of(2).with(ChangeStatus::AwaitingSlot("the change of leaf2 is under way".into()));
    let (node, status) = waits().said(&mut speaker, at(1));
    assert_eq!(node.conditions[CONFIG_APPLIED].condition.reason, Reason::Applied);
    assert_eq!(node.health, Some("ok"));
    assert_eq!(
        [word(&status, "Ready"), word(&status, "Reconciling"), word(&status, "Stalled")],
        ["False/AwaitingSlot", "True/AwaitingSlot", "False/AwaitingSlot"]
    );
}

#[test]
fn drift_is_shown_by_place_with_the_time_it_was_first_seen() {
    let departure =
        Departure { path: "router bgp 65001".into(), wanted: Some("maximum-paths 8".into()), found: None };
    let drift = |fate| Some(Drift { departures: vec![departure.clone(); 60], fate });
    let mut speaker = Speaker::default();
    let (_, status) = pass().said(&mut speaker, at(0));
    assert_eq!(status.get("drift"), None);
    let why = Patience::Person("vtysh on pts/3 (pid 7)".into());
    let later = Pass { drift: drift(Fate::Later { at: Instant::now(), why }), ..pass() };
    for second in [1, 20] {
        let (_, status) = later.said(&mut speaker, at(second));
        let shown = &status["drift"];
        assert_eq!((&shown["since"], &shown["until"]), (&json!(seconds(at(1))), &json!(seconds(at(300)))));
        assert_eq!((&shown["fate"], &shown["omitted"]), (&json!("Later"), &json!(10)));
        assert_eq!(shown["differences"][0], json!({"path": "router bgp 65001", "wanted": "maximum-paths 8"}));
        assert_eq!(shown["why"], "vtysh on pts/3 (pid 7) has the configuration open");
    }
}

#[test]
fn ready_speaks_of_its_generation_only_and_stays() {
    let mut speaker = Speaker::default();
    let (_, status) = pass().said(&mut speaker, at(0));
    assert_eq!(
        (word(&status, "Ready"), word(&status, "Stalled")),
        ("True/Applied".into(), "False/Applied".into())
    );
    let lost = ChangeStatus::Unreachable("bgpd does not answer".into());
    let (_, status) = pass().with(lost.clone()).said(&mut speaker, at(1));
    assert_eq!(word(&status, "Ready"), "True/Applied", "a later fault is not this commit's");
    assert_eq!(word(&status, "Applied"), "Unknown/DaemonUnreachable");
    let (_, status) = pass().of(2).refused().said(&mut speaker, at(2));
    assert_eq!(
        [word(&status, "Ready"), word(&status, "Stalled"), word(&status, "Reconciling")],
        ["False/RenderFailed", "True/RenderFailed", "False/RenderFailed"]
    );
    let (_, status) = pass().of(3).with(ChangeStatus::InProgress).said(&mut speaker, at(3));
    assert_eq!(
        [word(&status, "Ready"), word(&status, "Reconciling")],
        ["False/InProgress", "True/InProgress"]
    );
    let (_, status) = pass().of(3).with(lost).said(&mut speaker, at(4));
    assert_eq!(
        [word(&status, "Ready"), word(&status, "Reconciling")],
        ["False/DaemonUnreachable", "True/DaemonUnreachable"]
    );
    let (_, status) = pass().of(3).said(&mut speaker, at(5));
    assert_eq!(word(&status, "Ready"), "True/Applied");
}

#[test]
fn work_under_way_is_no_fault_of_the_node() {
    let mut speaker = Speaker::default();
    pass().said(&mut speaker, at(0));
    let (node, _) = pass().of(2).with(ChangeStatus::InProgress).said(&mut speaker, at(1));
    assert_eq!(node.conditions[CONFIG_APPLIED].condition.status, Status::True);
    assert_eq!(node.health, Some("ok"));
}

#[test]
fn the_label_worsens_at_once_and_improves_after_a_minute() {
    let mut speaker = Speaker::default();
    let health =
        |speaker: &mut Speaker, pass: Pass, seconds| pass.said(speaker, at(seconds)).0.health.unwrap();
    assert_eq!(health(&mut speaker, pass(), 0), "ok");
    assert_eq!(health(&mut speaker, pass().refused(), 1), "degraded");
    assert_eq!(health(&mut speaker, pass(), 2), "degraded");
    assert_eq!(speaker.improves_in(at(12)), Some(Duration::from_secs(50)));
    assert_eq!(health(&mut speaker, pass().refused(), 50), "degraded");
    assert_eq!(health(&mut speaker, pass(), 61), "degraded", "the minute began again");
    assert_eq!(health(&mut speaker, pass(), 121), "ok");
}

#[test]
fn the_time_of_a_transition_moves_only_when_the_status_does() {
    let mut speaker = Speaker::default();
    pass().said(&mut speaker, at(0));
    let (node, _) = pass().said(&mut speaker, at(9));
    assert_eq!(node.conditions[FIB_SYNCED].since, at(0));
    let (node, _) = pass().refused().said(&mut speaker, at(10));
    assert_eq!((node.conditions[CONFIG_APPLIED].since, node.conditions[FIB_SYNCED].since), (at(10), at(0)));
}

#[test]
fn words_of_an_earlier_life_stand_if_they_are_young() {
    for (age, stands) in [(599, true), (600, false)] {
        let conditions = [CONFIG_APPLIED, FIB_SYNCED].map(|kind| {
            let condition = NodeCondition {
                type_: kind.to_owned(),
                status: "True".to_owned(),
                reason: Some("InSync".to_owned()),
                message: None,
                last_heartbeat_time: Some(Time(at(0))),
                last_transition_time: Some(Time(at(-500))),
            };
            (kind.to_owned(), condition)
        });
        let node = OwnNode { uid: "u".into(), conditions: conditions.into(), health: Some("ok".into()) };
        let mut speaker = Speaker::default();
        speaker.adopt(&node, at(age));
        assert_eq!(speaker.stands(), stands, "{age} s");
        if stands {
            let (report, _) = pass().said(&mut speaker, at(age));
            assert_eq!(report.conditions[FIB_SYNCED].since, at(-500), "the transition is as old as it is");
        }
    }
}

#[test]
fn a_plan_that_may_not_be_applied_is_all_there_is_to_do() {
    let mut speaker = Speaker::default();
    let planned = Pass { policy: ApplyPolicy::PlanOnly, ..pass().with(ChangeStatus::Planned) };
    let (node, status) = planned.said(&mut speaker, at(0));
    assert_eq!(word(&status, "Ready"), "True/PlanOnly");
    assert_eq!(node.conditions[CONFIG_APPLIED].condition.status, Status::False);
}

#[test]
fn a_start_does_not_show_a_label_that_takes_a_minute_to_improve() {
    let mut speaker = Speaker::default();
    let (node, _) = pass().with(ChangeStatus::InProgress).said(&mut speaker, at(0));
    assert_eq!(node.health, None);
    let (node, _) = pass().said(&mut speaker, at(1));
    assert_eq!(node.health, Some("ok"));
    let lost = ChangeStatus::Unreachable("bgpd does not answer".into());
    let (node, _) = pass().with(lost).said(&mut speaker, at(2));
    assert_eq!(node.health, Some("unknown"));
}

fn vip(number: u32, state: State) -> VipVerdict {
    let address = std::net::Ipv4Addr::from(0xCB00_7100 + number);
    VipVerdict {
        prefix: crate::net::Prefix::host(address.into()),
        network_instance: "default".into(),
        services: vec![ObjectName { namespace: "shop".into(), name: format!("web-{number}") }],
        state,
        rung: None,
        expected: vec!["192.168.1.11".parse().unwrap(), "192.168.1.12".parse().unwrap()].into(),
        observed: vec!["192.168.1.11".parse().unwrap(), "192.168.1.12".parse().unwrap()].into(),
        missing: Vec::new(),
        unexpected: Vec::new(),
        since: None,
        message: "forwards to 192.168.1.11, 192.168.1.12".into(),
        differences: Vec::new(),
    }
}

/// The status of a switch with so many VIPs, of which every hundredth is in trouble and says so at this length.
fn great(vips: u32, message: usize) -> Value {
    let mut pass = pass();
    pass.judgement.vips = (0..vips)
        .map(|number| {
            let mut vip = vip(number, if number % 100 == 99 { State::Diverged } else { State::Ok });
            if vip.state == State::Diverged {
                vip.message = "x".repeat(message).into();
            }
            vip
        })
        .collect();
    let issue = |number| Issue::new(format!("Service shop/bad-{number}"), "InvalidObject", "no");
    pass.desired.expectation.issues = (0..2000).map(issue).collect();
    pass.said(&mut Speaker::default(), at(0)).1
}

#[test]
fn the_status_of_two_thousand_vips_is_bounded_and_shows_the_worst() {
    let status = great(2000, 40);
    let vips = status["vips"].as_array().unwrap();
    assert_eq!((vips.len(), &status["omittedVips"]), (200, &json!(1800)));
    assert_eq!(vips.iter().filter(|vip| vip["state"] == "diverged").count(), 20, "all of the worst");
    assert_eq!(vips[0]["state"], "diverged");
    assert_eq!(status["vipsOk"], "1980/2000");
    let counted: Vec<_> = status["nextHops"].as_array().unwrap().iter().map(|hop| &hop["vips"]).collect();
    assert_eq!(counted, [&json!(2000), &json!(2000)], "next-hops count what is omitted too");
    assert_eq!(status["failedResources"].as_array().unwrap().len(), 100);
    assert_eq!(status["omittedResources"], 1900);
    assert!(status.to_string().len() < 400 << 10);
}

#[test]
fn long_stories_do_not_make_it_longer() {
    let status = great(2000, 20_000);
    let vips = status["vips"].as_array().unwrap();
    let bytes: usize = vips.iter().map(|vip| vip.to_string().len()).sum();
    assert!(bytes <= 256 << 10, "{bytes}");
    assert!((10..=13).contains(&vips.len()), "{}", vips.len());
    assert_eq!(status["omittedVips"], json!(2000 - vips.len()));
}

#[test]
fn a_pause_is_shown_and_leaves_a_commit_undone() {
    let mut speaker = Speaker::default();
    let pause = Pause {
        uid: 0,
        user: Some("root".into()),
        since: "2026-11-21T12:00:00Z".parse().unwrap(),
        until: "2026-11-21T14:00:00Z".parse().unwrap(),
        reason: "new optics".into(),
    };
    let paused = |pass: Pass| Pass { pause: Standing::Paused(pause.clone()), ..pass };
    // Nothing to write: all is well, and it is said.
    let (node, status) = paused(pass()).said(&mut speaker, at(0));
    let applied = &node.conditions[CONFIG_APPLIED].condition;
    assert_eq!((applied.status, applied.reason), (Status::True, Reason::Applied));
    assert!(
        applied.message.starts_with("Paused by root until 14:00Z: new optics; revision r1 runs"),
        "{applied:?}"
    );
    let expected = json!({
        "by": "root", "since": "2026-11-21T12:00:00Z", "until": "2026-11-21T14:00:00Z", "reason": "new optics",
    });
    assert_eq!(status["paused"], expected);
    // A commit: not done, not stuck either.
    let (node, status) = paused(pass().with(ChangeStatus::Planned).of(2)).said(&mut speaker, at(1));
    let applied = &node.conditions[CONFIG_APPLIED].condition;
    assert_eq!((applied.status, applied.reason), (Status::False, Reason::Paused));
    assert!(
        applied.message.starts_with("Paused by root until 14:00Z: new optics; revision r1"),
        "{applied:?}"
    );
    let words = ["Ready", "Reconciling", "Stalled"].map(|kind| word(&status, kind));
    assert_eq!(words, ["False/Paused", "True/Paused", "False/Paused"]);
    // It is over.
    let (node, status) = pass().of(2).said(&mut speaker, at(2));
    assert_eq!(node.conditions[CONFIG_APPLIED].condition.message, "revision r1 runs, read back and saved");
    assert_eq!((&status["paused"], word(&status, "Ready")), (&Value::Null, "True/Applied".to_owned()));
    // A file that nobody understands has no end.
    let unclear = Standing::Unclear("/x/pause.json is no pause: not understood".into());
    let (node, status) = Pass { pause: unclear, ..pass().of(2) }.said(&mut speaker, at(3));
    let message = &node.conditions[CONFIG_APPLIED].condition.message;
    assert!(message.starts_with("Paused without an end: /x/pause.json is no pause"), "{message}");
    assert_eq!(status["paused"], json!({"reason": "/x/pause.json is no pause: not understood"}));
}
