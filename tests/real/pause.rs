//! `switchlet pause`: while it lasts nothing is written, and the forwarding table is looked at as ever.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{eventually, wait_for};
use crate::release::Release;
use crate::switch::{SETTINGS, Switch, nodes};
use serde_json::Value;

on_each_frr!(nothing_is_written_while_it_lasts, it_ends_by_itself_and_drift_waits_for_that);

const APPLIED: &str = "configuration applied, read back and saved";
const SOON: Duration = Duration::from_secs(45);
/// Long enough for the drift timer (30 s) and for several looks.
const A_WHILE: Duration = Duration::from_secs(33);

/// Exit code, standard output, standard error.
fn pause(switch: &Switch, args: &[&str]) -> (Option<i32>, String, String) {
    let state = switch.lab.scratch("agent-leaf1");
    let output =
        switch.lab.switchlet("leaf1", &[&["pause", "--state-dir", state.to_str().unwrap()], args].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn metric(switch: &Switch) -> bool {
    switch.lab.endpoint("leaf1", "/metrics").lines().any(|line| line == "switchlet_paused 1")
}

fn wider() -> String {
    SETTINGS.replace("routerId: 10.0.0.1", "routerId: 10.0.0.1\necmp: {maxPaths: 8}")
}

fn nothing_is_written_while_it_lasts(release: Release) {
    let Some(mut switch) = Switch::up(release, SETTINGS, &nodes()) else { return };
    let agent = switch.agent();
    Switch::log_has(&agent, 0, APPLIED);
    assert_eq!(pause(&switch, &[]), (Some(0), "not paused\n".to_owned(), String::new()));
    let (running, startup) = (switch.lab.running("leaf1"), switch.startup());

    let from = agent.log().len();
    let began = Instant::now();
    let (code, said, error) = pause(&switch, &["--for", "2h", "--reason", "new optics"]);
    assert!(code == Some(0) && said.starts_with("Paused by root until "), "{said}{error}");
    Switch::log_has(&agent, from, "nothing is written: Paused by root until");
    let noticed = began.elapsed();
    assert!(noticed < Duration::from_secs(8), "at once, not at the next look: {noticed:?}");
    assert!(metric(&switch));

    let from = agent.log().len();
    switch.bundle.publish(&[("switch.yaml", &wider())]);
    Switch::log_has(&agent, from, "differs from what runs");
    assert!(agent.log()[from..].contains("new optics; revision"), "{}", &agent.log()[from..]);
    // The look goes on, and a restart forgets nothing.
    let foreign = ["in", "leaf1", "ip", "route", "add", "203.0.113.77/32", "via", "192.168.1.11"];
    switch.lab.lab(&foreign);
    let seen = |verdict: &Value| {
        verdict["vips"].as_array().is_some_and(|vips| {
            vips.iter().any(|vip| {
                vip["prefix"] == "203.0.113.77/32" && vip["unexpected"] == serde_json::json!(["192.168.1.11"])
            })
        })
    };
    wait_for("the foreign route is seen", SOON, || {
        let verdict = switch.lab.verdict("leaf1");
        if seen(&verdict) { Ok(()) } else { Err(verdict.to_string()) }
    });
    agent.stop();
    let agent = switch.agent();
    wait_for("paused after a restart", SOON, || {
        if metric(&switch) && seen(&switch.lab.verdict("leaf1")) { Ok(()) } else { Err(agent.log()) }
    });
    std::thread::sleep(A_WHILE);
    assert_eq!(switch.lab.running("leaf1"), running);
    assert_eq!(switch.startup(), startup, "frr.conf, byte for byte");
    // The same text by another hand: that is no reason to write frr.conf.
    let from = agent.log().len();
    let by_hand = ["router bgp 65001", "address-family ipv4 unicast", "maximum-paths 8", "exit"];
    let by_hand =
        [&["configure terminal"][..], &by_hand, &["address-family ipv6 unicast", "maximum-paths 8"]].concat();
    let words: Vec<&str> = by_hand.into_iter().flat_map(|line| ["-c", line]).collect();
    switch.lab.lab(&[&["vtysh", "leaf1"], words.as_slice()].concat());
    Switch::log_has(&agent, from, "but a reboot would lose it");
    assert_eq!(switch.startup(), startup, "frr.conf, byte for byte");
    let (code, said, _) = pause(&switch, &["-o", "json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["paused"], &said["pause"]["uid"]), (Some(0), &true.into(), &0.into()), "{said}");

    let from = agent.log().len();
    assert_eq!(pause(&switch, &["--end"]), (Some(0), "not paused\n".to_owned(), String::new()));
    Switch::log_has(&agent, from, "the pause is over");
    Switch::log_has(&agent, from, APPLIED);
    switch.runs("maximum-paths 8", true);
    assert!(String::from_utf8_lossy(&switch.startup()).contains("maximum-paths 8"));
    assert!(!metric(&switch));

    // What nobody understands is a pause too, and named.
    let file = switch.lab.scratch("agent-leaf1").join("pause.json");
    let from = agent.log().len();
    fs::write(&file, "{\"uid\": 0, \"user\": \"ro").unwrap();
    Switch::log_has(&agent, from, "pause.json is no pause: not understood");
    switch.bundle.publish(&[("switch.yaml", SETTINGS)]);
    Switch::log_has(&agent, from, "differs from what runs");
    switch.runs("maximum-paths 8", true);
    let (code, said, _) = pause(&switch, &[]);
    assert!(code == Some(0) && said.contains("Paused without an end"), "{said}");
    assert_eq!(pause(&switch, &["--end"]).0, Some(0));
    switch.runs("maximum-paths 64", true);
}

fn it_ends_by_itself_and_drift_waits_for_that(release: Release) {
    let Some(switch) = Switch::up(release, SETTINGS, &nodes()) else { return };
    let agent = switch.agent();
    Switch::log_has(&agent, 0, APPLIED);
    let began = Instant::now();
    let (code, ..) = pause(&switch, &["--for", "40s", "--reason", "a look"]);
    assert_eq!(code, Some(0));
    let drift = ["vtysh", "leaf1", "-c", "configure terminal", "-c", "router bgp 65001", "-c"];
    switch.lab.lab(&[&drift[..], &["no neighbor 192.168.1.11"]].concat());
    let ours = "neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS";
    let back = || switch.lab.running("leaf1").lines().any(|line| line.trim() == ours);
    // The drift timer comes by within 30 s.
    assert!(
        !eventually(Duration::from_secs(38).saturating_sub(began.elapsed()), back),
        "put back while paused"
    );
    switch.runs(ours, true);
    assert!(began.elapsed() >= Duration::from_secs(40), "put back while paused");
    Switch::log_has(&agent, 0, "the pause is over");
    let (code, said, _) = pause(&switch, &[]);
    assert!(code == Some(0) && said.starts_with("not paused (over: Paused by root"), "{said}");
}

/// Exit code 64, and a word on what was expected.
#[test]
fn wrong_usage_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let state = state.path().to_str().unwrap();
        let output = Command::new(crate::lab::binary())
            .args(["pause", "--state-dir", state])
            .args(args)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (long, blank) = ("x".repeat(201), " ");
    for (args, expected) in [
        (&["--for", "0s", "--reason", "x"][..], "out of range"),
        (&["--for", "169h", "--reason", "x"], "at most 168h"),
        (&["--for", "-2h", "--reason", "x"], "unexpected argument"),
        (&["--for=-2h", "--reason", "x"], "expected a number with unit"),
        (&["--for", "2", "--reason", "x"], "expected a number with unit"),
        (&["--for", "2h"], "--reason"),
        (&["--reason", "x"], "--for"),
        (&["--for", "2h", "--reason", &long], "too long"),
        (&["--for", "2h", "--reason", blank], "empty"),
        (&["--for", "2h", "--reason", "a\nb"], "control characters"),
        (&["--for", "2h", "--reason", "x", "--end"], "cannot be used with"),
    ] {
        let (code, error) = run(args);
        assert!(code == Some(64) && error.contains(expected), "{args:?}: {code:?} {error}");
    }
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0, "nothing is written");
    assert_eq!(run(&["--end"]).0, Some(0));
    let nowhere =
        Command::new(crate::lab::binary()).args(["pause", "--state-dir", "/nowhere"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("no such folder"));
}
