use jiff::SignedDuration;
use serde_json::{Value, json};

use super::drain::{Does, Drain};
use super::explain::{Holds, Is};
use super::*;

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW).unwrap() + SignedDuration::from_secs(seconds)
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": format!("{reason} it is")})
}

fn vip(state: &str, expected: &[&str], observed: &[&str]) -> Value {
    json!({
        "prefix": "203.0.113.10/32", "services": ["shop/web"], "state": state, "expected": expected, "observed": observed,
    })
}

/// A switch on which all is well: two workers, one Service address.
fn well(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "generation": 3},
        "spec": {"nos": "frr", "apply": {"policy": "Enforce"}},
        "status": {
            "observedGeneration": 3, "verdict": "ok", "vipsOk": "1/1", "heartbeat": at(-100).to_string(),
            "appliedRevision": "r1", "wantedRevision": "r1", "omittedVips": 0,
            "conditions": [
                condition("Ready", "True", "Applied"), condition("Applied", "True", "Applied"),
                condition("Verified", "True", "InSync"),
            ],
            "vips": [vip("ok", &["10.0.0.1", "10.0.0.2"], &["10.0.0.1", "10.0.0.2"])],
            "nextHops": [
                {"nextHop": "10.0.0.1", "node": "w1", "vips": 1, "since": at(-500).to_string()},
                {"nextHop": "10.0.0.2", "node": "w2", "vips": 1, "since": at(-500).to_string()},
                {"nextHop": "10.0.0.3", "node": "w3", "vips": 0, "since": at(-300).to_string()},
            ],
            "capabilities": {"policy": "enforced", "guard": "pod"},
        },
    })
}

fn with(mut object: Value, path: &str, value: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        other => other[key] = value,
    }
    object
}

fn fleet(objects: &[Value]) -> Fleet {
    let names = objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned());
    let nodes = names.chain(["w1", "w2", "w3", "w4"].map(str::to_owned));
    Fleet {
        switches: objects.iter().map(SwitchSeen::read).collect(),
        nodes: Ok(nodes.map(|name| (name, NodeSeen::default())).collect()),
        now: at(0),
        patience: PATIENCE,
    }
}

fn prefix() -> Prefix {
    "203.0.113.10/32".parse().unwrap()
}

fn diverged(name: &str) -> Value {
    let mut differs = vip("diverged", &["10.0.0.1", "10.0.0.2"], &["10.0.0.1"]);
    differs["rung"] = "SessionDown".into();
    differs["message"] = "Active for 40 s".into();
    differs["since"] = at(-60).to_string().into();
    differs["differences"] =
        json!([{"nextHop": "10.0.0.2", "node": "w2", "kind": "missing", "rung": "SessionDown"}]);
    let object = with(well(name), "/status/vips/0", differs);
    let object = with(object, "/status/conditions/2", condition("Verified", "False", "AnnouncerMissing"));
    with(object, "/status/verdict", "differs".into())
}

#[test]
fn all_is_well_only_if_everybody_says_so_and_was_heard() {
    let good = [well("leaf1"), well("leaf2")];
    let overview = fleet(&good).overview();
    assert_eq!((overview.verdict, overview.vips.len()), (Word::Ok, 0));
    assert_eq!(fleet(&[]).overview().verdict, Word::Unknown, "nobody is not everybody");
    let silent: &[(&str, Value, Health)] = &[
        ("/status/heartbeat", at(-601).to_string().into(), Health::Stale),
        ("/status/heartbeat", at(61).to_string().into(), Health::Stale),
        ("/status/heartbeat", Value::Null, Health::Stale),
        ("/status", json!({"observedGeneration": -1}), Health::Stale),
        ("/status/vips/0/state", "splendid".into(), Health::Stale),
        ("/status/verdict", "unknown".into(), Health::Unknown),
        ("/status/conditions/1", condition("Applied", "Unknown", "DaemonUnreachable"), Health::Unknown),
        ("/status/conditions/2", condition("Verified", "False", "SwitchDiverged"), Health::Degraded),
    ];
    for (path, value, health) in silent {
        let overview = fleet(&[well("leaf1"), with(well("leaf2"), path, value.clone())]).overview();
        assert_eq!(overview.switches[1].health, *health, "{path} {value}");
        assert_eq!(overview.switches[0].health, Health::Ok);
        let worst = if *health == Health::Degraded { Word::Differs } else { Word::Unknown };
        assert_eq!(overview.verdict, worst, "{path} {value}");
    }
}

#[test]
fn a_lost_node_takes_its_words_along() {
    let mut lost = fleet(&[well("leaf1")]);
    let seen = NodeSeen { lost: true, ..NodeSeen::default() };
    lost.nodes.as_mut().unwrap().insert("leaf1".to_owned(), seen);
    assert_eq!(lost.voice(&lost.switches[0]), Voice::Stale("its Node is lost (Ready is Unknown)".to_owned()));
    lost.nodes.as_mut().unwrap().remove("leaf1");
    assert!(matches!(lost.voice(&lost.switches[0]), Voice::Stale(_)));
    lost.nodes = Err("forbidden".to_owned());
    assert_eq!(lost.voice(&lost.switches[0]), Voice::Heard, "who may not read Nodes goes by the heartbeat");
    assert_eq!(lost.overview().note.unwrap(), "Nodes could not be read: forbidden");
}

#[test]
fn one_that_disagrees_is_named() {
    let four = [well("leaf1"), well("leaf2"), well("leaf3"), diverged("leaf4")];
    let overview = fleet(&four).overview();
    assert_eq!(overview.verdict, Word::Differs);
    assert_eq!(
        overview.vips[0].words(),
        "203.0.113.10/32 (shop/web): via 3 of 4 switches; leaf4 disagrees: diverged, SessionDown: Active for 40 s"
    );
}

#[test]
fn not_listed_is_neither_there_nor_gone_and_the_silent_do_not_vote() {
    let cut = with(with(well("leaf2"), "/status/vips", json!([])), "/status/omittedVips", 900.into());
    let stale = with(well("leaf3"), "/status/heartbeat", at(-7000).to_string().into());
    let all = fleet(&[well("leaf1"), cut.clone(), stale]);
    let row = all.vip(prefix());
    assert!(!row.differs() && !row.is_uneven(), "{row:?}");
    assert_eq!(
        row.words(),
        "203.0.113.10/32 (shop/web): via 1 of 3 switches; leaf2: not listed; \
         leaf3: stale, its agent was last heard of 116 min ago"
    );
    // A list that is whole and does not have it: maybe on purpose, so it is shown and is no fault.
    let whole = with(cut, "/status/omittedVips", 0.into());
    let overview = fleet(&[well("leaf1"), whole]).overview();
    assert_eq!(overview.verdict, Word::Ok);
    assert_eq!(
        overview.vips[0].words(),
        "203.0.113.10/32 (shop/web): via 1 of 2 switches; leaf2: does not know it"
    );
}

fn drained(objects: &[Value], node: &str) -> (Word, String, Vec<Does>) {
    let Drain { verdict, message, switches, .. } = fleet(objects).drain(node, &[]);
    (verdict, message, switches.iter().map(|way| way.does).collect())
}

#[test]
fn safe_is_said_only_when_every_switch_says_so() {
    let good = [well("leaf1"), well("leaf2")];
    let (verdict, message, does) = drained(&good, "w3");
    assert_eq!((verdict, does), (Word::Ok, vec![Does::Clear, Does::Clear]));
    assert_eq!(message, format!("no switch forwards to w3 since {}", at(-300)));
    let (verdict, message, _) = drained(&good, "w2");
    assert_eq!((verdict, message.as_str()), (Word::Differs, "leaf1, leaf2 forward to w2"));
    // Each of these takes the yes away.
    let later = with(well("leaf2"), "/status/nextHops/2/since", at(-50).to_string().into());
    assert!(drained(&[well("leaf1"), later], "w3").1.ends_with(&at(-50).to_string()));
    let unsure: &[(&str, Value)] = &[
        ("/status/heartbeat", at(-601).to_string().into()),
        ("/status/heartbeat", Value::Null),
        ("/status/verdict", "unknown".into()),
        ("/status/verdict", Value::Null),
        ("/status/vips/0/state", "splendid".into()),
        ("/status/nextHops/2", json!({"nextHop": "10.0.0.3", "node": "w3"})),
        ("/status/nextHops/2", json!({"nextHop": "10.0.0.9", "vips": 4})),
        ("/spec/apply/policy", "Retired".into()),
    ];
    for (path, value) in unsure {
        let (verdict, message, does) =
            drained(&[well("leaf1"), with(well("leaf2"), path, value.clone())], "w3");
        assert_eq!((verdict, does[1]), (Word::Unknown, Does::Unknown), "{path} {value}: {message}");
        assert!(message.starts_with("leaf2 do not tell"), "{message}");
        let drain =
            fleet(&[well("leaf1"), with(well("leaf2"), path, value.clone())]).drain("w3", &["leaf2".into()]);
        assert_eq!(drain.verdict, Word::Ok, "left out by a person");
    }
    // One that cannot look and says that it forwards is believed.
    let (verdict, ..) = drained(&[with(well("leaf1"), "/status/verdict", "unknown".into())], "w2");
    assert_eq!(verdict, Word::Differs);
}

#[test]
fn a_name_that_nobody_knows_is_not_safe() {
    assert_eq!(drained(&[well("leaf1")], "w4").0, Word::Ok, "a Node, and a peer of no switch");
    assert_eq!(drained(&[well("leaf1")], "w44").0, Word::Unknown, "most likely a typing error");
    let mut unread = fleet(&[well("leaf1")]);
    unread.nodes = Err("forbidden".to_owned());
    assert_eq!(unread.drain("w4", &[]).verdict, Word::Unknown);
    assert_eq!(unread.drain("w3", &[]).verdict, Word::Ok);
    assert_eq!(drained(&[], "w3").0, Word::Unknown, "nobody was asked");
    assert_eq!(drained(&[well("leaf1")], "leaf1").0, Word::Unknown, "a switch is not asked about itself");
}

#[test]
fn a_next_hop_is_explained_up_to_its_first_failing_rung() {
    let skipped = json!([
        {"object": "Service shop/web", "reason": "InvalidObject", "message": "no"},
        {"object": "Service shop/webshop", "reason": "InvalidObject", "message": "no"},
        {"object": "EndpointSlice shop/web-1", "reason": "InvalidObject", "message": "no"},
        {"object": "Node w9", "reason": "InvalidObject", "message": "203.0.113.10, 203.0.113.20 are taken"},
        {"object": "Node w8", "reason": "InvalidObject", "message": "203.0.113.100 is taken"},
        {"object": "BGPAdvertisement metallb/a", "reason": "NoSuchPeer", "message": "names no peer that there is"},
    ]);
    let object = with(diverged("leaf1"), "/status/failedResources", skipped);
    let stale = with(well("leaf2"), "/status/heartbeat", Value::Null);
    let explained = fleet(&[object, stale]).explain(prefix(), &["shop/web".to_owned()]);
    let on = &explained.switches[0];
    assert_eq!((on.what, on.rung.as_deref(), on.since), (What::Diverged, Some("SessionDown"), Some(at(-60))));
    assert_eq!((on.hops[0].is, on.hops[0].node.as_deref()), (Is::Forwards, Some("w1")));
    assert_eq!((on.hops[1].is, on.hops[1].node.as_deref()), (Is::Missing, Some("w2")));
    let holds: Vec<Holds> = on.hops[1].ladder.iter().map(|step| step.holds).collect();
    assert_eq!(holds[..3], [Holds::Yes, Holds::No, Holds::NotReached]);
    assert!(on.hops[0].ladder.iter().all(|step| step.holds == Holds::Yes), "the table is the proof");
    let objects: Vec<&str> = on.skipped.iter().map(|one| one.object.as_str()).collect();
    assert_eq!(
        objects,
        ["Service shop/web", "EndpointSlice shop/web-1", "Node w9", "BGPAdvertisement metallb/a"]
    );
    assert_eq!((explained.switches[1].what, explained.switches[1].hops.len()), (What::Stale, 0));
}

#[test]
fn every_rung_of_a_missing_next_hop_has_its_place() {
    use crate::health::ladder::Rung;
    let all = [
        Rung::PeerNotConfigured,
        Rung::SessionDown,
        Rung::BfdDown,
        Rung::SessionFlapping,
        Rung::PrefixNotReceived,
        Rung::PolicyRejected,
        Rung::NotBestPath,
        Rung::EcmpLimit,
        Rung::NextHopUnresolved,
        Rung::NotInFib,
        Rung::WrongRouteKind,
        Rung::SuppressedByPolicy,
        Rung::CaughtByOtherPrefix,
        Rung::HardwareNotProgrammed,
        Rung::FibModifyFailed,
        Rung::NoHardwareResource,
    ];
    for rung in all {
        let name = format!("{rung:?}");
        let object = with(diverged("leaf1"), "/status/vips/0/differences/0/rung", name.clone().into());
        let explained = fleet(&[object]).explain(prefix(), &[]);
        let failing =
            explained.switches[0].hops[1].ladder.iter().filter(|step| step.holds == Holds::No).count();
        assert_eq!(failing, 1, "{name}");
    }
    let newer = with(diverged("leaf1"), "/status/vips/0/differences/0/rung", "SomethingNew".into());
    let hop = fleet(&[newer]).explain(prefix(), &[]).switches.remove(0).hops.remove(1);
    assert_eq!((hop.rung.as_deref(), hop.ladder.len()), (Some("SomethingNew"), 0), "nothing is made up");
}

#[test]
fn a_service_is_found_by_its_whole_name_or_its_last_part() {
    let fleet = fleet(&[well("leaf1")]);
    assert_eq!(fleet.prefixes_of("shop/web"), [prefix()]);
    assert_eq!(fleet.prefixes_of("web"), [prefix()]);
    for other in ["we", "shop/we", "other/web", "shop"] {
        assert_eq!(fleet.prefixes_of(other), [], "{other}");
    }
}

#[test]
fn what_runs_differs_or_not_or_nobody_knows() {
    let of = |object: Value| fleet(&[object]).gaps(&[]).remove(0);
    assert_eq!(of(well("leaf1")).verdict, Word::Ok);
    let late = with(well("leaf1"), "/metadata/generation", 4.into());
    assert_eq!(of(late).verdict, Word::Unknown, "the agent has not seen this generation");
    assert_eq!(of(with(well("leaf1"), "/status/heartbeat", Value::Null)).verdict, Word::Unknown);
    assert_eq!(of(with(well("leaf1"), "/status/wantedRevision", "r2".into())).verdict, Word::Differs);
    let drift = json!({"since": at(-5).to_string(), "fate": "Reported", "differences": [{"path": "", "wanted": "a"}]});
    assert_eq!(of(with(well("leaf1"), "/status/drift", drift.clone())).verdict, Word::Differs);
    let put_back = with(drift, "/fate", "PutBack".into());
    let gap = of(with(well("leaf1"), "/status/drift", put_back));
    assert_eq!((gap.verdict, gap.drift), (Word::Ok, None));
    let waits =
        with(well("leaf1"), "/status/conditions/1", condition("Applied", "False", "ApprovalRequired"));
    let waits = with(
        waits,
        "/status/plan",
        json!({"hash": "0123456789ab", "class": "session-reset", "lines": ["+ a"]}),
    );
    let gap = of(waits.clone());
    assert_eq!(gap.remedy.as_deref(), Some("to carry it out set spec.approvedPlan: \"0123456789ab\""));
    let other = with(waits, "/spec/approvedPlan", "ba9876543210".into());
    assert!(of(other).remedy.unwrap().starts_with("spec.approvedPlan is \"ba9876543210\""));
}

#[test]
fn a_retired_switch_is_nobodys_fault_and_no_part_of_a_yes() {
    let object = with(well("leaf2"), "/status/conditions/1", condition("Applied", "True", "Retired"));
    let object = with(object, "/status/conditions/2", condition("Ready", "True", "Retired"));
    let object = with(object, "/status/verdict", "unknown".into());
    let object = with(object, "/status/appliedRevision", Value::Null);
    let retired = with(object, "/status/vips", json!([]));
    let all = fleet(&[well("leaf1"), retired.clone()]);
    let overview = all.overview();
    assert_eq!((overview.verdict, overview.switches[1].health), (Word::Ok, Health::Retired));
    assert_eq!(overview.vips, [], "it does not disagree");
    assert_eq!(all.gaps(&[])[1].verdict, Word::Ok);
    assert_eq!(all.explain(prefix(), &[]).switches.len(), 1);
    assert_eq!(all.drain("w3", &[]).verdict, Word::Unknown, "it may forward there all the same");
    assert_eq!(fleet(&[retired]).overview().verdict, Word::Unknown, "nobody is left");
}

#[test]
fn remarks_say_what_conditions_do_not() {
    let object = with(well("leaf1"), "/spec/apply/policy", "PlanOnly".into());
    let object = with(
        object,
        "/status/paused",
        json!({"by": "ann", "until": at(60).to_string(), "reason": "cabling"}),
    );
    let object = with(object, "/status/capabilities", json!({"policy": "absent", "guard": "none"}));
    let object = with(object, "/metadata/generation", 4.into());
    let remarks = fleet(&[object]).overview().switches.remove(0).remarks.join("\n");
    for part in
        ["policy PlanOnly", "paused by ann until", "cabling", "not in force", "no guard", "generation 4"]
    {
        assert!(remarks.contains(part), "{part}: {remarks}");
    }
}
