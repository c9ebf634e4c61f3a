//! The same slice from folders alone, without any API server; and what happens when FRR does not do as it is told.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use crate::lab::{Agent, Api, Lab, wait_for};
use crate::release::Release;
use crate::switch::{Volume, nodes};
use serde_json::Value;

on_each_frr!(
    folders_alone_configure_and_verify_a_switch,
    an_object_that_makes_no_sense_is_an_issue,
    what_does_not_read_back_is_undone_and_named,
    a_daemon_that_does_not_answer_stops_every_write,
    running_that_somebody_changed_is_put_back,
    a_password_is_a_placeholder_everywhere_but_in_frr,
);

const SOON: Duration = Duration::from_secs(45);

const SETTINGS: &str = "\
version: 1
asn: 65001
routerId: 10.0.0.1
vips: {pools: [203.0.113.0/24, \"2001:db8:113::/64\"], protected: [203.0.113.0/29]}
peering:
  peerAsn: external
  nodes:
    selector: {matchLabels: {role: worker}}
    subnets: [192.168.1.0/24, \"fd00:1::/32\"]
    removeAfter: 1s
verify: {convergence: 3s}
";

fn services(workers: &[u32]) -> String {
    let endpoints: Vec<String> = workers
        .iter()
        .map(|worker| format!("{{addresses: [10.0.{worker}.1], nodeName: worker-{worker}}}"))
        .collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{type: LoadBalancer, externalTrafficPolicy: Local}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.10}}, {{ip: \"2001:db8:113::10\"}}]}}}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         endpoints: [{}]\n",
        endpoints.join(", ")
    )
}

struct Switch {
    lab: Lab,
    bundle: Volume,
    cluster: PathBuf,
}

impl Switch {
    fn up(release: Release) -> Option<Self> {
        let lab = Lab::up(Api::None, release)?;
        let (bundle, cluster) = (Volume::new(lab.scratch("bundle")), lab.scratch("cluster"));
        fs::create_dir_all(&cluster).unwrap();
        let mut switch = Self { lab, bundle, cluster };
        switch.bundle.publish(&[("switch.yaml", SETTINGS)]);
        switch.cluster("nodes.yaml", &nodes());
        switch.cluster("services.yaml", &services(&[1, 2, 3]));
        Some(switch)
    }

    fn cluster(&self, name: &str, text: &str) {
        fs::write(self.cluster.join(name), text).unwrap();
    }

    fn inputs(&self) -> Vec<String> {
        ["--bundle", self.bundle.0.to_str().unwrap(), "--cluster", self.cluster.to_str().unwrap()]
            .map(str::to_owned)
            .to_vec()
    }

    fn agent(&self) -> Agent {
        let inputs = self.inputs();
        self.lab.agent_with("leaf1", &inputs.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Exit code, standard output, standard error of a one-shot command.
    fn once(&self, command: &str, more: &[&str]) -> (Option<i32>, String, String) {
        let inputs = self.inputs();
        let mut args = vec![command, "--node", "leaf1", "--frr-instance", &self.lab.env["FRR_LEAF1"]];
        args.extend(["--frr-root", &self.lab.env["FRR_ROOT"]]);
        args.extend(inputs.iter().map(String::as_str));
        args.extend(more);
        let output = self.lab.switchlet("leaf1", &args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn log_has(agent: &Agent, text: &str) {
        wait_for(&format!("`{text}` in the log"), SOON, || {
            let log = agent.log();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    }

    fn runs(&self, line: &str, expected: bool) {
        wait_for(&format!("`{line}` runs: {expected}"), SOON, || {
            let running = self.lab.running("leaf1");
            if running.lines().any(|found| found.trim() == line) == expected { Ok(()) } else { Err(running) }
        });
    }

    fn announce_all(&self) {
        for server in ["s1", "s2", "s3"] {
            self.lab.lab(&["announce", server, "203.0.113.10/32", "2001:db8:113::10/128"]);
        }
    }

    fn verdict_is(&self, check: impl Fn(&Value) -> bool, what: &str) {
        wait_for(what, Duration::from_secs(75), || {
            let verdict = self.lab.verdict("leaf1");
            if check(&verdict) { Ok(()) } else { Err(verdict.to_string()) }
        });
    }
}

fn folders_alone_configure_and_verify_a_switch(release: Release) {
    let Some(mut switch) = Switch::up(release) else { return };
    // Before anything: what would be done, and exit codes.
    let (code, text, _) = switch.once("render", &[]);
    assert_eq!(code, Some(0));
    assert!(text.contains("neighbor fd00:1:2::2 peer-group SWITCHLET-SPEAKERS"), "{text}");
    let (code, plan, _) = switch.once("plan", &["-o", "json"]);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(
        (code, plan["owners"]["frr"]["remove"].as_array().map(Vec::len)),
        (Some(1), Some(0)),
        "{plan}"
    );
    let (code, table, _) = switch.once("verify", &[]);
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("PeerNotConfigured"), "{table}");

    let agent = switch.agent();
    Switch::log_has(&agent, "configuration applied, read back and saved");
    switch.announce_all();
    switch.verdict_is(
        |verdict| verdict["verdict"] == "ok" && verdict["vips"].as_array().is_some_and(|v| v.len() == 2),
        "both families",
    );
    let hops = ["fd00:1:1::2", "fd00:1:2::2", "fd00:1:3::2"];
    assert_eq!(
        switch.lab.kernel("leaf1", "2001:db8:113::10/128").unwrap(),
        hops,
        "the kernel itself, in IPv6"
    );
    let (code, text, _) = switch.once("verify", &["-o", "json", "--wait", "5s"]);
    let verdict: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, verdict["verdict"].as_str()), (Some(0), Some("ok")), "{text}");
    let (code, text, _) = switch.once("plan", &[]);
    assert_eq!(code, Some(0), "{text}");

    // A Node leaves: its neighbour goes with it, through the volume of facts.
    switch.cluster(
        "nodes.yaml",
        &nodes().replace(
            "role: worker}}\nstatus: {addresses: [{type: InternalIP, address: 192.168.1.15",
            "role: gone}}\nstatus: {addresses: [{type: InternalIP, address: 192.168.1.15",
        ),
    );
    switch.runs("neighbor 192.168.1.15 peer-group SWITCHLET-SPEAKERS", false);
    switch.runs("neighbor 192.168.1.13 peer-group SWITCHLET-SPEAKERS", true);
    switch.verdict_is(
        |verdict| {
            verdict["vips"][0]["expected"] == serde_json::json!(["192.168.1.11", "192.168.1.13"])
                && verdict["verdict"] == "ok"
        },
        "two of three",
    );

    // The bundle as kubelet changes it: a new key, a changed key, a removed key.
    switch.bundle.publish(&[
        ("switch.yaml", &SETTINGS.replace("65001", "65001\necmp: {maxPaths: 8}")),
        ("unused.tera", "x"),
    ]);
    switch.runs("maximum-paths 8", true);
    switch.bundle.publish(&[("switch.yaml", SETTINGS)]);
    switch.runs("maximum-paths 64", true);
}

/// The others go on.
fn an_object_that_makes_no_sense_is_an_issue(release: Release) {
    let Some(mut switch) = Switch::up(release) else { return };
    let agent = switch.agent();
    Switch::log_has(&agent, "configuration applied, read back and saved");
    switch.bundle.publish(&[("switch.yaml", SETTINGS)]);
    switch.cluster("broken.yaml", "kind: Service\nmetadata: {name: bad\n");
    switch.announce_all();
    switch.verdict_is(
        |verdict| {
            let issue = verdict["issues"][0]["message"].as_str().unwrap_or_default().to_owned();
            verdict["verdict"] == "ok" && issue.contains("broken.yaml:")
        },
        "an issue, and a verdict",
    );
}

/// The validator knows the text alone. What contradicts the operator's part of what runs is found by reading back.
fn what_does_not_read_back_is_undone_and_named(release: Release) {
    let Some(mut switch) = Switch::up(release) else { return };
    let agent = switch.agent();
    Switch::log_has(&agent, "configuration applied, read back and saved");
    switch.announce_all();
    switch.verdict_is(|verdict| verdict["verdict"] == "ok", "all is well");
    let group = ["neighbor OPS peer-group", "neighbor OPS remote-as external"];
    let lines = ["configure terminal", "router bgp 65001", group[0], group[1]];
    let range = "bgp listen range 192.168.1.0/24 peer-group OPS";
    let words: Vec<&str> = lines.into_iter().chain([range]).flat_map(|line| ["-c", line]).collect();
    switch.lab.lab(&[["vtysh", "leaf1"].as_slice(), &words].concat());
    let (running, startup) = (switch.lab.running("leaf1"), fs::read(switch.lab.frr_conf("leaf1")).unwrap());
    switch.bundle.publish(&[(
        "switch.yaml",
        &SETTINGS.replace("  peerAsn: external", "  peerAsn: external\n  mode: listen"),
    )]);
    Switch::log_has(&agent, "ReadBackDiffers");
    Switch::log_has(
        &agent,
        "+ router bgp 65001 / bgp listen range 192.168.1.0/24 peer-group SWITCHLET-SPEAKERS",
    );
    assert_eq!(switch.lab.running("leaf1"), running, "the previous text is back");
    assert_eq!(
        fs::read(switch.lab.frr_conf("leaf1")).unwrap(),
        startup,
        "startup is never the candidate before it was read back"
    );
    // It is not tried again by itself.
    let sent = agent.log().matches("sent commands").count();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(agent.log().matches("sent commands").count(), sent);
    switch.verdict_is(|verdict| verdict["verdict"] == "ok", "and still well");
}

fn a_daemon_that_does_not_answer_stops_every_write(release: Release) {
    let Some(mut switch) = Switch::up(release) else { return };
    let path = switch.lab.frr_conf("leaf1");
    let before = fs::metadata(&path).unwrap();
    let agent = switch.agent();
    Switch::log_has(&agent, "configuration applied, read back and saved");
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.uid(), after.gid(), after.mode()),
        (before.uid(), before.gid(), before.mode()),
        "owner and mode are the operator's"
    );
    assert_ne!(after.ino(), before.ino(), "replaced in one step, not written over");
    for (action, undo) in [("freeze", "thaw"), ("kill", "start")] {
        let startup = fs::read(&path).unwrap();
        let connections = if action == "freeze" { "8" } else { "16" };
        let said = |text: &str| agent.log().matches(text).count();
        let (silent, saved) = (said("bgpd does not answer on"), said("read back and saved"));
        switch.lab.lab(&["frr", action, "leaf1", "bgpd"]);
        switch.bundle.publish(&[(
            "switch.yaml",
            &SETTINGS.replace("65001", &format!("65001\necmp: {{maxPaths: {connections}}}")),
        )]);
        wait_for("bgpd is named", SOON, || {
            if said("bgpd does not answer on") > silent { Ok(()) } else { Err(agent.log()) }
        });
        assert_eq!(fs::read(&path).unwrap(), startup, "{action}");
        let (code, _, error) = switch.once("plan", &[]);
        assert_eq!(code, Some(2), "could not look: {error}");
        // The forwarding table can be judged all the same; only reasons end.
        let (code, text, _) = switch.once("verify", &["-o", "json"]);
        assert!(code == Some(1) && text.contains("\"NotInFib\""), "{text}");
        switch.lab.lab(&["frr", undo, "leaf1", "bgpd"]);
        // The next try may be half a minute away by now.
        wait_for("it is applied after all", Duration::from_secs(90), || {
            if said("read back and saved") > saved { Ok(()) } else { Err(agent.log()) }
        });
        switch.runs(&format!("maximum-paths {connections}"), true);
    }
}

fn running_that_somebody_changed_is_put_back(release: Release) {
    let Some(switch) = Switch::up(release) else { return };
    let agent = switch.agent();
    Switch::log_has(&agent, "configuration applied, read back and saved");
    let change = ["vtysh", "leaf1", "-c", "configure terminal", "-c", "router bgp 65001"];
    switch.lab.lab(
        &[change.as_slice(), &["-c", "no neighbor 192.168.1.11", "-c", "neighbor 10.0.12.1 remote-as 65002"]]
            .concat(),
    );
    wait_for("our neighbour is back", Duration::from_secs(75), || {
        let running = switch.lab.running("leaf1");
        if running.contains("neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS") {
            Ok(())
        } else {
            Err(running)
        }
    });
    assert!(
        switch.lab.running("leaf1").contains("neighbor 10.0.12.1 remote-as 65002"),
        "what is not ours stays"
    );
    assert!(switch.lab.endpoint("leaf1", "/metrics").contains("switchlet_config_drifts_total 1"));
}

/// The password reaches FRR, and nothing else: no log, no plan, no render, no state; and no link leads out of the folder.
fn a_password_is_a_placeholder_everywhere_but_in_frr(release: Release) {
    let Some(mut switch) = Switch::up(release) else { return };
    let secrets = switch.lab.scratch("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("speakers"), "s3cr3t-of-the-speakers\n").unwrap();
    let settings = SETTINGS.replace("  peerAsn: external", "  peerAsn: external\n  passwordFile: speakers");
    switch.bundle.publish(&[("switch.yaml", &settings)]);
    let secrets_dir = secrets.to_str().unwrap();
    let mut inputs = switch.inputs();
    inputs.extend(["--secrets-dir".to_owned(), secrets_dir.to_owned()]);
    let mut said = String::new();
    for command in ["render", "plan"] {
        let (_, out, error) = switch.once(command, &["--secrets-dir", secrets_dir]);
        assert!(out.contains("password <secret:speakers>"), "{out}{error}");
        said += &(out + &error);
    }
    let agent = switch.lab.agent_with("leaf1", &inputs.iter().map(String::as_str).collect::<Vec<_>>());
    Switch::log_has(&agent, "configuration applied, read back and saved");
    let line = "neighbor SWITCHLET-SPEAKERS password s3cr3t-of-the-speakers";
    switch.runs(line, true);
    assert!(fs::read_to_string(switch.lab.frr_conf("leaf1")).unwrap().contains(line), "it survives a reboot");
    let state = switch.lab.scratch("agent-leaf1/confirmed.json");
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o7777, 0o600);
    said += &(fs::read_to_string(state).unwrap() + &switch.lab.endpoint("leaf1", "/v1/verdict"));
    said += &switch.lab.endpoint("leaf1", "/metrics");
    fs::remove_file(secrets.join("speakers")).unwrap();
    symlink("/etc/passwd", secrets.join("speakers")).unwrap();
    switch.bundle.publish(&[("switch.yaml", &settings.replace("3s", "4s"))]);
    Switch::log_has(
        &agent,
        "peering.passwordFile: \"speakers\" cannot be used: leads out of the secrets folder",
    );
    switch.runs(line, true);
    assert!(!(said + &agent.log()).contains("s3cr3t"), "the secret is out");
}
