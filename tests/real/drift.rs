//! Drift on a real switch: put back and shown, reported where the policy says so, and left alone for a while when a person is at
//! the command line.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::lab::{Agent, Api, Lab, wait_for};
use crate::release::Release;
use serde_json::{Value, json};

on_each_frr!(drift_is_put_back_or_reported_and_a_person_gets_time);

/// A look for drift comes every 30 s.
const SOON: Duration = Duration::from_secs(75);

fn status(lab: &Lab) -> Value {
    lab.get(&["switch", "leaf1", "-n", "switchlet"])["status"].clone()
}

fn ready(lab: &Lab) {
    wait_for("Ready", SOON, || {
        let said = lab.switch_condition("leaf1", "Ready").unwrap_or_default();
        if said["status"] == "True" { Ok(()) } else { Err(said.to_string()) }
    });
}

/// What the Switch says of drift, once `right` is true of it.
fn says(lab: &Lab, what: &str, right: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("the Switch says {what}"), SOON, || {
        let status = status(lab);
        if right(&status["drift"]) { Ok(()) } else { Err(status.to_string()) }
    });
    status(lab)["drift"].clone()
}

/// It was put back and confirmed: nothing is under way any more. Ready speaks of the generation, and tells nothing of that.
fn settled(agent: &Agent, from: usize) {
    wait_for("the putting back is confirmed", SOON, || {
        let log = agent.log();
        if log[from..].contains("configuration applied, read back and saved") { Ok(()) } else { Err(log) }
    });
}

fn change(lab: &Lab, lines: &[&str]) {
    let words: Vec<&str> = ["configure terminal"].iter().chain(lines).flat_map(|line| ["-c", line]).collect();
    lab.lab(&[&["vtysh", "leaf1"], words.as_slice()].concat());
}

fn paths(lab: &Lab, paths: u32) {
    change(lab, &["router bgp 65001", "address-family ipv4 unicast", &format!("maximum-paths {paths}")]);
}

fn run(lab: &Lab, paths: u32) {
    wait_for(&format!("maximum-paths {paths} runs"), SOON, || {
        let running = lab.running("leaf1");
        if running.contains(&format!("maximum-paths {paths}\n")) { Ok(()) } else { Err(running) }
    });
}

/// Somebody at vtysh, who does nothing for now.
struct Person(Child);

impl Person {
    fn at(lab: &Lab) -> Self {
        let vtysh = format!("{}/tests/lab/lab vtysh leaf1", env!("CARGO_MANIFEST_DIR"));
        let name = lab.scratch("").file_name().unwrap().to_str().unwrap().to_owned();
        let mut script = Command::new("script");
        script.args(["-qec", &vtysh, "/dev/null"]).env("LAB", name);
        Self(script.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn drift_is_put_back_or_reported_and_a_person_gets_time(release: Release) {
    let Some(lab) = Lab::up(Api::Real, release) else { return };
    lab.populate();
    let agent = lab.agent("leaf1");
    ready(&lab);
    assert!(status(&lab).get("drift").is_none());
    let wanted = json!([{
        "path": "router bgp 65001 / address-family ipv4 unicast",
        "wanted": "maximum-paths 64", "found": "maximum-paths 2",
    }]);

    // Put back, and still shown.
    let from = agent.log().len();
    paths(&lab, 2);
    let drift = says(&lab, "PutBack", |drift| drift["fate"] == "PutBack");
    run(&lab, 64);
    settled(&agent, from);
    assert_eq!((&drift["differences"], &drift["omitted"]), (&wanted, &json!(0)));
    ready(&lab);

    // A person at the command line.
    let person = Person::at(&lab);
    std::thread::sleep(Duration::from_secs(1));
    paths(&lab, 3);
    let drift = says(&lab, "Later", |drift| drift["fate"] == "Later");
    let why = drift["why"].as_str().unwrap();
    assert!(why.starts_with("vtysh on pts/") && why.ends_with("has the configuration open"), "{why}");
    let left = |field: &str| -> jiff::Timestamp { drift[field].as_str().unwrap().parse().unwrap() };
    let minutes = (left("until") - left("since")).total(jiff::Unit::Minute).unwrap();
    assert!((4.8..=5.1).contains(&minutes), "{minutes} min");
    let said = lab.condition("leaf1", "ConfigApplied").unwrap();
    assert_eq!((&said["status"], &said["reason"]), (&json!("False"), &json!("Drifted")), "{said}");
    std::thread::sleep(Duration::from_secs(40));
    run(&lab, 3);
    let from = agent.log().len();
    drop(person);
    run(&lab, 64);
    settled(&agent, from);
    says(&lab, "PutBack", |drift| drift["fate"] == "PutBack");

    // Only reported.
    let patch = json!({"spec": {"apply": {"drift": "Report"}}}).to_string();
    lab.kubectl(&["patch", "switch", "leaf1", "-n", "switchlet", "--type=merge", "-p", &patch]);
    ready(&lab);
    paths(&lab, 2);
    let drift = says(&lab, "Reported", |drift| drift["fate"] == "Reported");
    assert_eq!(drift["differences"], wanted);
    run(&lab, 2);
    let message = lab.condition("leaf1", "ConfigApplied").unwrap()["message"].as_str().unwrap().to_owned();
    let place =
        "router bgp 65001 / address-family ipv4 unicast: wanted `maximum-paths 64`, found `maximum-paths 2`";
    assert!(message.contains(place), "{message}");
    assert!(agent.log().contains(place));
    // Whoever did it takes it back: nothing is left to say.
    paths(&lab, 64);
    wait_for("nothing is said any more", SOON, || {
        let status = status(&lab);
        if status.get("drift").is_none() { Ok(()) } else { Err(status.to_string()) }
    });
}
