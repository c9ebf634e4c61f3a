//! `switchlet plan`, live and from a saved text: what it says, what it keeps to itself, and how it ends.

use std::fs;
use std::time::Duration;

use crate::lab::wait_for;
use crate::release::Release;
use crate::switch::{SETTINGS, Switch, nodes};
use serde_json::{Value, json};

on_each_frr!(a_plan_says_what_it_would_do_live_and_from_a_saved_text);

const SOON: Duration = Duration::from_secs(45);
const FIRST: &str = "192.168.1.11";

/// The switch's object, with this budget.
fn object(budget: &str) -> String {
    format!(
        "---\napiVersion: switchlet.io/v1alpha1\nkind: Switch\nmetadata: {{name: leaf1, namespace: switchlet}}\n\
         spec: {{configMaps: [{{name: leaf1}}], budget: {{{budget}}}}}\n"
    )
}

fn a_plan_says_what_it_would_do_live_and_from_a_saved_text(release: Release) {
    let objects = |budget: &str| nodes() + &object(budget);
    let Some(mut switch) = Switch::up(release, SETTINGS, &objects("")) else { return };
    let cluster = switch.cluster.join("objects.yaml");
    let agent = switch.agent();
    Switch::log_has(&agent, 0, "configuration applied, read back and saved");
    agent.stop();
    let up = |switch: &Switch| {
        let text = switch.lab.lab(&["vtysh", "leaf1", "-c", "show bgp summary json"]);
        let text = text.trim();
        let summary: Value = serde_json::from_str(text).unwrap_or_default();
        let count = |family: &str| {
            let peers = summary[family]["peers"].as_object().cloned().unwrap_or_default();
            peers.values().filter(|peer| peer["state"] == "Established").count()
        };
        count("ipv4Unicast") + count("ipv6Unicast")
    };
    wait_for("six sessions", SOON, || if up(&switch) == 6 { Ok(()) } else { Err(up(&switch).to_string()) });
    let saved = switch.lab.scratch("running.conf");
    let inputs = [&switch.bundle.0, &switch.cluster].map(|folder| folder.display().to_string());
    let offline = |switch: &Switch, file: &str| {
        let root = &switch.lab.env["FRR_ROOT"];
        // Nobody answers in this instance, and there is no such folder for state.
        let args = ["plan", "--node", "leaf1", "--frr-root", root, "--frr-instance", "nobody-there"];
        let more = ["--state-dir", "/nonexistent", "--bundle", &inputs[0], "--cluster", &inputs[1]];
        let output =
            switch.lab.switchlet("leaf1", &[&args[..], &more, &["--running", file, "-o", "json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), plan, error)
    };
    let text = switch.lab.running("leaf1");
    let (_, text) = text.split_once("Current configuration:\n").unwrap();
    let path = saved.display().to_string();
    fs::write(&saved, format!("Building configuration...\n\nCurrent configuration:\n{text}")).unwrap();
    let (code, plan, error) = offline(&switch, &path);
    assert_eq!((code, plan["hash"].clone()), (Some(0), Value::Null), "{plan}{error}");
    let (code, said) = switch.once("plan", &[]);
    assert_eq!(code, Some(0), "{said}");

    // Timers end nothing.
    switch.bundle.publish(&[("switch.yaml", &SETTINGS.replace("verify:", "ecmp: {maxPaths: 8}\nverify:"))]);
    let (code, said) = switch.once("plan", &[]);
    assert_eq!(code, Some(1), "{said}");
    let hunk =
        "\n@@ router bgp 65001 / address-family ipv4 unicast @@\n-maximum-paths 64\n+maximum-paths 8\n";
    assert!(said.starts_with("--- running\n+++ candidate\n") && said.contains(hunk), "{said}");
    assert!(said.contains(": policy\n") && !said.contains("sessions") && !said.contains('\u{1b}'), "{said}");
    let (_, coloured) = switch.once("plan", &["--color", "always"]);
    assert!(coloured.contains("\n\u{1b}[31m-maximum-paths 64\u{1b}[m\n\u{1b}[32m+maximum-paths 8\u{1b}[m\n"));

    // Another router-id ends all of them.
    let other = SETTINGS.replace("routerId: 10.0.0.1", "routerId: 10.0.0.9");
    switch.bundle.publish(&[("switch.yaml", &other)]);
    let all = ["192.168.1.11", "192.168.1.13", "192.168.1.15", "fd00:1:1::2", "fd00:1:2::2", "fd00:1:3::2"];
    let (code, said) = switch.once("plan", &["-o", "json"]);
    let live: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &live["class"], &live["sessions"]), (Some(3), &json!("session-reset"), &json!(all)));
    assert_eq!(live["hold"]["reason"], "ApprovalRequired");
    assert!(
        live["hold"]["message"].as_str().unwrap().starts_with("the plan would reset 6 sessions ("),
        "{live}"
    );
    let (code, said) = switch.once("plan", &[]);
    let hash = live["hash"].as_str().unwrap();
    assert_eq!(code, Some(3));
    for part in [
        &format!("\nplan {hash} for revision "),
        &format!("sessions that are reset: {}\n", all.join(", ")),
        "ApprovalRequired: the plan would reset 6 sessions (",
        ", budget 0\n",
        &format!("it waits for spec.approvedPlan: \"{hash}\"\n"),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, from_file, error) = offline(&switch, &path);
    assert_eq!(
        (code, &from_file["hash"], &from_file["hold"]),
        (Some(3), &live["hash"], &live["hold"]),
        "{error}"
    );

    // One is down already: live five count, and a file knows nothing of it.
    switch.lab.lab(&[
        "vtysh",
        "leaf1",
        "-c",
        "clear bgp 192.168.1.11",
        "-c",
        "conf t",
        "-c",
        "router bgp 65001",
        "-c",
        &format!("neighbor {FIRST} shutdown"),
    ]);
    wait_for("five sessions", SOON, || if up(&switch) == 5 { Ok(()) } else { Err(up(&switch).to_string()) });
    fs::write(&cluster, objects("sessionResets: 5")).unwrap();
    let (code, said) = switch.once("plan", &["-o", "json"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, plan, _) = offline(&switch, &path);
    assert_eq!((code, plan["hold"]["reason"].as_str()), (Some(3), Some("ApprovalRequired")), "{plan}");
    fs::write(&cluster, objects("sessionResets: 6, until: \"2026-01-01T00:00:00Z\"")).unwrap();
    assert_eq!(offline(&switch, &path).0, Some(3), "that night is over");
    fs::write(&cluster, objects("sessionResets: 6")).unwrap();
    assert_eq!(offline(&switch, &path).0, Some(1));

    // What nobody knows needs a word whatever the budget, and passwords are nobody's business.
    let literal = format!(
        "{text}router bgp 65001\n no bgp fast-external-failover\n neighbor {FIRST} password n3w-0ne\n"
    );
    switch.bundle.publish(&[("switch.yaml", SETTINGS), ("frr.conf", &literal)]);
    let old = format!("{text}router bgp 65001\n neighbor {FIRST} password 0ld-0ne\n");
    fs::write(&saved, old).unwrap();
    let (code, plan, error) = offline(&switch, &path);
    let message = plan["hold"]["message"].as_str().unwrap_or_default();
    let unknown =
        "the plan has lines whose effect no rule knows: `router bgp 65001 / no bgp fast-external-failover`";
    assert_eq!((code, message), (Some(3), unknown), "{plan}{error}");
    assert_eq!(plan["class"], "instance-delete");
    let (_, said) = switch.once("plan", &["--running", &path]);
    assert!(said.contains(&format!("-neighbor {FIRST} password <")), "{said}");
    for secret in ["n3w-0ne", "0ld-0ne"] {
        assert!(!format!("{plan}{error}{said}").contains(secret), "{secret}: {plan}{error}{said}");
    }

    // What is no running text is one clear error.
    let bad = |text: &[u8], expected: &str| {
        fs::write(&saved, text).unwrap();
        let (code, _, error) = offline(&switch, &path);
        assert_eq!((code, error.contains(expected)), (Some(65), true), "{expected}: {error}");
    };
    bad(b"\n!\n", "has no configuration line (expected a running configuration");
    bad(b"router bgp 1\n neighbor\x07\n", "running.conf:2:10: a control character");
    bad(b"\xff\xfe", "is not UTF-8");
    let (code, _, error) = offline(&switch, "/nonexistent/file");
    assert_eq!((code, error.contains("/nonexistent/file: ")), (Some(65), true), "{error}");

    // Nobody answers: that is neither equal nor different.
    switch.bundle.publish(&[("switch.yaml", &other)]);
    switch.lab.lab(&["frr", "freeze", "leaf1", "bgpd"]);
    let (code, said) = switch.once("plan", &[]);
    assert_eq!((code, said.contains("bgpd does not answer")), (Some(2), true), "{said}");
    switch.lab.lab(&["frr", "thaw", "leaf1", "bgpd"]);
}
