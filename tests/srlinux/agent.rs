//! The whole agent against a stand-in for SR Linux: configure, commit-confirm, verify, undo. Fed from folders.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::emulator::{Emulator, Fault, Listen, Speaker};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);
const VIP: &str = "1.1.1.100/32";
const BGP: &str = "/network-instance[name=ip-vrf-1]/protocols/bgp";

const SETTINGS: &str = "\
version: 1
asn: 65535
routerId: 10.0.0.1
networkInstance: ip-vrf-1
vips: {pools: [1.1.1.100-1.1.1.200]}
peering:
  peerAsn: internal
  nodes:
    static: [{node: cluster1, address: 192.168.1.11}, {node: cluster2, address: 192.168.1.12}]
    subnets: [192.168.1.0/24]
preference: 169
resilientHash: {maxPaths: 6, bucketsPerPath: 4}
verify: {convergence: 3s}
";

fn objects(nodes: &[u32]) -> String {
    let endpoints: Vec<String> =
        nodes.iter().map(|node| format!("{{addresses: [10.0.{node}.1], nodeName: cluster{node}}}")).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{type: LoadBalancer, externalTrafficPolicy: Local}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: 1.1.1.100}}]}}}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         endpoints: [{}]\n---\n\
         apiVersion: v1\nkind: Node\nmetadata: {{name: cluster1}}\nstatus: {{addresses: []}}\n---\n\
         apiVersion: v1\nkind: Node\nmetadata: {{name: cluster2}}\nstatus: {{addresses: []}}\n",
        endpoints.join(", ")
    )
}

struct Bench {
    emulator: Emulator,
    folder: tempfile::TempDir,
    more: Vec<String>,
}

struct Agent {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn wait_for<T>(what: &str, mut check: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match check() {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= deadline => panic!("{what}: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

impl Bench {
    fn new(listen: Listen) -> Self {
        Self::on("v25.3.2", "7220 IXR-D2L", listen)
    }

    fn on(version: &str, chassis: &str, listen: Listen) -> Self {
        let emulator = Emulator::start(version, chassis, ("ip-vrf-1", "ip-vrf"), listen);
        emulator.network(|network| {
            network.speakers = vec![
                Speaker::new("192.168.1.11", 65535, &[VIP]),
                Speaker::new("192.168.1.12", 65535, &[VIP]),
            ];
        });
        let folder = tempfile::tempdir().unwrap();
        for name in ["bundle", "cluster", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let bench = Self { emulator, folder, more: Vec::new() };
        bench.write("bundle/switch.yaml", SETTINGS);
        bench.write("cluster/objects.yaml", &objects(&[1, 2]));
        bench
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Waits until the switch's commits have ended so, one after the other.
    fn statuses_are(&self, agent: &Agent, expected: &[&str]) {
        wait_for(&expected.join(", "), || {
            let statuses = self.emulator.statuses();
            if statuses == expected { Ok(()) } else { Err(format!("{statuses:?}\n{}", agent.said())) }
        });
    }

    fn command(&self, verb: &str) -> Command {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchlet"));
        command.args([
            verb,
            "--node",
            "leaf1",
            "--nos",
            "srlinux",
            "--nos-address",
            &self.emulator.address(),
        ]);
        command.arg("--bundle").arg(path("bundle")).arg("--cluster").arg(path("cluster"));
        command.arg("--nos-startup").arg(&self.emulator.lock().startup_file);
        command.arg("--state-dir").arg(path("state")).args(&self.more).stdin(Stdio::null());
        command
    }

    fn once(&self, verb: &str, more: &[&str]) -> (Option<i32>, String) {
        let output = self.command(verb).args(more).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    fn agent(&self) -> Agent {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = self.folder.path().join(format!("log-{port}"));
        let child = self
            .command("agent")
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .stdout(fs::File::create(&log).unwrap())
            .stderr(fs::File::options().append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        Agent { child, port, log }
    }

    fn applied(&self) {
        wait_for("accepted and saved", || {
            let statuses = self.emulator.statuses();
            let done = !statuses.is_empty() && statuses.iter().all(|s| s == "complete");
            if done && self.emulator.startup_is_running() { Ok(()) } else { Err(format!("{statuses:?}")) }
        });
    }
}

impl Agent {
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn log_has(&self, text: &str) {
        wait_for(&format!("`{text}` in the log"), || {
            let said = self.said();
            if said.contains(text) { Ok(()) } else { Err(said) }
        });
    }

    fn verdict(&self) -> Value {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.write_all(b"GET /v1/verdict HTTP/1.0\r\nHost: x\r\n\r\n")?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            Ok(said)
        };
        let said = ask().unwrap_or_default();
        said.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default()
    }

    fn verdict_is(&self, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || {
            let verdict = self.verdict();
            if check(&verdict) { Ok(verdict) } else { Err(format!("{verdict:#}\n{}", self.said())) }
        })
    }

    fn vip_is(&self, state: &str, rung: &str) -> Value {
        self.verdict_is(&format!("{state} {rung}"), |verdict| {
            let vip = &verdict["vips"][0];
            vip["state"] == state && vip["rung"].as_str().unwrap_or_default() == rung
        })
    }
}

#[test]
fn a_switch_is_configured_accepted_saved_and_verified() {
    let bench = Bench::new(Listen::Unix);
    let (code, said) = bench.once("plan", &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("{BGP}/neighbor[peer-address=192.168.1.12]/peer-group SWITCHLET-SPEAKERS")),
        "{said}"
    );
    if let Some(path) = std::env::var_os("SHOW") {
        fs::write(path, said).unwrap();
    }
    let agent = bench.agent();
    bench.applied();
    let verdict = agent.verdict_is("all VIPs forward", |verdict| verdict["verdict"] == "ok");
    assert_eq!(verdict["vips"][0]["observed"], json!(["192.168.1.11", "192.168.1.12"]));
    assert_eq!(verdict["vips"][0]["networkInstance"], "ip-vrf-1");
    assert_eq!(bench.emulator.running(&format!("{BGP}/preference/ibgp")), 169);
    // One commit, whose timer was ended by us: nothing is left to send.
    assert_eq!(bench.emulator.statuses(), ["complete"]);
    assert_eq!(bench.emulator.asked("cli"), 1);
    let (code, said) = bench.once("plan", &[]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = bench.once("verify", &[]);
    assert_eq!(code, Some(0), "{said}");
    // A pod that moves away takes its node's next-hop with it.
    bench.write("cluster/objects.yaml", &objects(&[1]));
    bench.emulator.network(|network| network.speakers[1].announces.clear());
    agent.verdict_is("one next-hop", |verdict| {
        verdict["verdict"] == "ok" && verdict["vips"][0]["observed"] == json!(["192.168.1.11"])
    });
}

#[test]
fn a_startup_that_would_bring_something_else_is_told() {
    let bench = Bench::new(Listen::Unix);
    let before = serde_json::to_vec(&bench.emulator.lock().running).unwrap();
    let agent = bench.agent();
    bench.applied();
    let startup = |verdict: &Value| -> Option<String> {
        let issues = verdict["issues"].as_array()?;
        let issue = issues.iter().find(|issue| issue["reason"] == "StartupDiffers")?;
        Some(issue["message"].as_str()?.to_owned())
    };
    let verdict = agent.verdict_is("all VIPs forward", |verdict| verdict["verdict"] == "ok");
    assert_eq!(startup(&verdict), None, "what was saved does not differ: {verdict:#}");
    // Somebody brings an old file back. Running is as it should be, until the next reboot.
    let file = bench.emulator.lock().startup_file.clone();
    fs::write(&file, before).unwrap();
    let verdict = agent.verdict_is("it is told", |verdict| startup(verdict).is_some());
    let said = startup(&verdict).unwrap();
    assert!(
        said.contains("startup still needs")
            && said.contains("resilient-hash-prefix[ip-prefix=1.1.1.100/30]"),
        "{said}"
    );
    assert_eq!(verdict["verdict"], "ok", "it is an issue, and no difference: {verdict:#}");
    assert_eq!(bench.emulator.asked("cli"), 1, "nobody told us to save what somebody else did");
    // A file that is being written, or is not there, tells nothing.
    fs::write(&file, "{").unwrap();
    agent.verdict_is("nothing is known", |verdict| verdict["verdict"] == "ok" && startup(verdict).is_none());
    bench.emulator.lock().save();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(startup(&agent.verdict()), None);
}

#[test]
fn it_works_over_tls_with_a_password_from_a_file() {
    let mut bench = Bench::new(Listen::Tls);
    bench.write("password", "NokiaSrl1!\n");
    let folder = bench.folder.path().to_str().unwrap().to_owned();
    let ca = bench.emulator.ca().to_str().unwrap().to_owned();
    let flags =
        ["--nos-user", "admin", "--nos-password-file", &format!("{folder}/password"), "--nos-ca", &ca];
    bench.more = flags.map(str::to_owned).to_vec();
    let agent = bench.agent();
    bench.applied();
    agent.verdict_is("all VIPs forward", |verdict| verdict["verdict"] == "ok");
    assert!(!agent.said().contains("NokiaSrl1"), "{}", agent.said());
    bench.more = vec![];
    let (code, said) = bench.once("verify", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("needs the certificate authority"), "{said}");
}

/// A switch that was configured once; its agent is gone, and what it does is looked at by `verify`.
fn configured() -> Bench {
    let bench = Bench::new(Listen::Unix);
    let agent = bench.agent();
    bench.applied();
    drop(agent);
    bench
}

fn judged(bench: &Bench, state: &str, rung: &str, word: &str) {
    let output = bench.command("verify").args(["-o", "json"]).output().unwrap();
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    let vip = &verdict["vips"][0];
    assert_eq!(vip["state"], state, "{rung}: {verdict:#}");
    assert_eq!(vip["rung"].as_str().unwrap_or_default(), rung, "{verdict:#}");
    assert!(vip["message"].as_str().unwrap().contains(word), "{word} not in {verdict:#}");
}

#[test]
fn every_rung_of_the_switchs_own_words_is_told() {
    let bench = configured();
    judged(&bench, "ok", "", "192.168.1.12");
    let second = "192.168.1.12".to_owned();
    for (fault, rung, word) in [
        (Fault::Pending, "HardwareNotProgrammed", "add is pending"),
        (Fault::AddFailed, "HardwareNotProgrammed", "add failed on complex-1.0"),
        (Fault::ModifyFailed, "FibModifyFailed", "an older set of next-hops still forwards"),
        (Fault::Suppressed, "SuppressedByPolicy", "on purpose"),
        (Fault::FibDisabled, "SuppressedByPolicy", "on purpose"),
        (Fault::NoResource(second.clone()), "NoHardwareResource", "no room"),
        (Fault::Unresolved(second), "NextHopUnresolved", "192.168.1.12"),
    ] {
        bench.emulator.network(|network| drop(network.faults.insert(VIP.to_owned(), fault.clone())));
        judged(&bench, "diverged", rung, word);
    }
    bench.emulator.network(|network| network.faults.clear());
    judged(&bench, "ok", "", "");
}

#[test]
fn what_the_neighbours_do_is_told_apart() {
    let bench = configured();
    let with = |change: &dyn Fn(&mut crate::emulator::Network), rung: &str, word: &str| {
        let before = bench.emulator.lock().network.clone();
        bench.emulator.network(change);
        judged(&bench, if rung.is_empty() { "ok" } else { "diverged" }, rung, word);
        bench.emulator.network(|network| *network = before);
    };
    with(&|network| network.speakers[1].up = false, "SessionDown", "192.168.1.12");
    with(
        &|network| {
            network.speakers[1].up = false;
            network.speakers[1].transitions = 9;
        },
        "SessionFlapping",
        "came up 9 times",
    );
    with(&|network| network.speakers[1].announces.clear(), "PrefixNotReceived", "not announced by the node");
    with(
        &|network| {
            network.speakers.iter_mut().for_each(|speaker| speaker.announces.clear());
            network.discards = vec!["1.1.1.0/24".to_owned()];
        },
        "CaughtByOtherPrefix",
        "1.1.1.0/24 catches it",
    );
    let evpn = |network: &mut crate::emulator::Network| {
        network.evpn = vec![crate::emulator::Evpn { prefix: VIP.to_owned(), vtep: "10.0.1.2".to_owned() }];
    };
    with(&evpn, "", "192.168.1.11");
    // With 170 against 170 the fabric's route wins.
    let set = |preference: u64, paths: u64| {
        let mut switch = bench.emulator.lock();
        let bgp = &mut switch.running["network-instance"][0]["protocols"]["bgp"];
        bgp["preference"] = json!({"ibgp": preference, "ebgp": preference});
        bgp["afi-safi"][0]["multipath"] = json!({"ibgp": {"maximum-paths": paths}});
        switch.changed();
    };
    set(170, 64);
    with(&evpn, "UnexpectedNextHop", "rtm-pref: bgp-evpn, preference 170 is preferred");
    set(169, 1);
    with(&|_| {}, "EcmpLimit", "maximum-paths is 1");
    set(169, 64);
    {
        let mut switch = bench.emulator.lock();
        switch.running["routing-policy"]["prefix-set"][0]["prefix"] =
            json!([{"ip-prefix": "9.9.9.9/32", "mask-length-range": "exact"}]);
        switch.changed();
    }
    with(&|_| {}, "PolicyRejected", "refused by the import policy");
    bench.write("cluster/objects.yaml", &objects(&[1]));
    {
        let mut switch = bench.emulator.lock();
        switch.running["routing-policy"]["prefix-set"][0]["prefix"] =
            json!([{"ip-prefix": "1.1.1.0/24", "mask-length-range": "32..32"}]);
        switch.changed();
    }
    with(&|_| {}, "UnexpectedNextHop", "192.168.1.12");
}

/// The ancestor reported a missing second next-hop as up whenever another node was listed before it.
#[test]
fn a_missing_next_hop_is_never_up_whatever_the_order() {
    let bench = configured();
    for silent in [0, 1] {
        for reversed in [false, true] {
            bench.emulator.network(|network| {
                network.speakers = vec![
                    Speaker::new("192.168.1.11", 65535, &[VIP]),
                    Speaker::new("192.168.1.12", 65535, &[VIP]),
                ];
                network.speakers[silent].announces.clear();
            });
            let mut settings = SETTINGS.to_owned();
            let mut nodes = objects(&[1, 2]);
            if reversed {
                settings = settings.replace(
                    "{node: cluster1, address: 192.168.1.11}, {node: cluster2, address: 192.168.1.12}",
                    "{node: cluster2, address: 192.168.1.12}, {node: cluster1, address: 192.168.1.11}",
                );
                nodes = objects(&[2, 1]);
                bench.emulator.network(|network| network.speakers.reverse());
            }
            bench.write("bundle/switch.yaml", &settings);
            bench.write("cluster/objects.yaml", &nodes);
            let missing = ["192.168.1.11", "192.168.1.12"][silent];
            judged(
                &bench,
                "diverged",
                "PrefixNotReceived",
                &format!("{missing} (cluster{}) missing", silent + 1),
            );
        }
    }
}

#[test]
fn somebody_elses_commit_is_waited_for_and_named() {
    let bench = Bench::new(Listen::Unix);
    {
        let mut switch = bench.emulator.lock();
        let running = switch.running.clone();
        switch.somebody_commits("eve", running, Some(Duration::from_secs(4)));
    }
    let agent = bench.agent();
    agent.log_has("commit 1 of eve is not confirmed yet");
    assert_eq!(bench.emulator.asked("set"), 0, "nothing is sent meanwhile");
    // It goes back by itself, and then it is our turn.
    bench.statuses_are(&agent, &["reverted", "complete"]);
}

#[test]
fn a_locked_candidate_is_waited_for() {
    let bench = Bench::new(Listen::Unix);
    let agent = bench.agent();
    bench.applied();
    bench.emulator.knobs(|knobs| knobs.locked_by = Some("eve".to_owned()));
    bench.write("bundle/switch.yaml", &SETTINGS.replace("preference: 169", "preference: 168"));
    agent.log_has("exclusive session of user 'eve'");
    bench.emulator.knobs(|knobs| knobs.locked_by = None);
    wait_for("applied", || {
        let found = bench.emulator.running(&format!("{BGP}/preference/ibgp"));
        if found == 168 { Ok(()) } else { Err(format!("{found}\n{}", agent.said())) }
    });
}

#[test]
fn a_change_that_takes_something_away_is_rejected_and_stays_away() {
    let bench = Bench::new(Listen::Unix);
    let agent = bench.agent();
    bench.applied();
    agent.verdict_is("ok at first", |verdict| verdict["verdict"] == "ok");
    let before = bench.emulator.lock().running.clone();
    // A template that admits nothing: the VIP leaves, and the next-hops that were live are lost.
    bench.write(
        "bundle/srlinux.json.tera",
        &fs::read_to_string(
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("templates/srlinux/srlinux.json.tera"),
        )
        .unwrap()
        .replace(
            "\"action\": {\"policy-result\": \"accept\"}",
            "\"action\": {\"policy-result\": \"reject\"}",
        ),
    );
    agent.log_has("was undone, because of what it took away");
    assert_eq!(bench.emulator.statuses(), ["complete", "reverted"], "by the switch's own means");
    assert_eq!(bench.emulator.lock().running, before);
    assert!(bench.emulator.startup_is_running());
    agent.verdict_is("ok again", |verdict| verdict["verdict"] == "ok");
    let sets = bench.emulator.asked("set");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(bench.emulator.asked("set"), sets, "no outage repeats by itself");
}

#[test]
fn an_agent_that_dies_after_the_commit_finds_its_own_and_takes_it_back() {
    let bench = Bench::new(Listen::Unix);
    let agent = bench.agent();
    bench.applied();
    let before = bench.emulator.lock().running.clone();
    // Long timers and slow answers: it is killed while the commit is pending.
    bench.write("bundle/switch.yaml", &SETTINGS.replace("preference: 169", "preference: 168"));
    wait_for("pending", || {
        let statuses = bench.emulator.statuses();
        if statuses.last().is_some_and(|status| status == "unconfirmed") {
            Ok(())
        } else {
            Err(format!("{statuses:?}"))
        }
    });
    drop(agent);
    assert_eq!(bench.emulator.statuses(), ["complete", "unconfirmed"]);
    assert_ne!(bench.emulator.lock().running, before);
    let agent = bench.agent();
    agent.log_has("an earlier life left a change unsettled");
    // Taken back, and tried once more, because the text was not to blame.
    wait_for("tried again and accepted", || {
        let statuses = bench.emulator.statuses();
        if statuses == ["complete", "reverted", "complete"] {
            Ok(())
        } else {
            Err(format!("{statuses:?}\n{}", agent.said()))
        }
    });
    assert_eq!(bench.emulator.running(&format!("{BGP}/preference/ibgp")), 168);
}

#[test]
fn a_lost_answer_and_a_half_taken_commit_end_well() {
    let bench = Bench::new(Listen::Unix);
    let agent = bench.agent();
    bench.applied();
    // The commit arrives, its answer does not.
    bench.emulator.knobs(|knobs| knobs.drop_after_method = Some("set".to_owned()));
    bench.write("bundle/switch.yaml", &SETTINGS.replace("preference: 169", "preference: 168"));
    wait_for("168 runs and is accepted, whatever it took", || {
        let switch = bench.emulator.lock();
        let value = switch.running["network-instance"][0]["protocols"]["bgp"]["preference"]["ibgp"].clone();
        let settled = switch.pending().is_none();
        if value == 168 && settled { Ok(()) } else { Err(format!("{value}\n{}", agent.said())) }
    });
    bench.emulator.knobs(|knobs| knobs.half_applied = true);
    bench.write("bundle/switch.yaml", &SETTINGS.replace("preference: 169", "preference: 167"));
    agent.log_has("these lines did not read back");
    bench.emulator.knobs(|knobs| knobs.half_applied = false);
    wait_for("168 is back", || {
        let found = bench.emulator.running(&format!("{BGP}/preference/ibgp"));
        if found == 168 { Ok(()) } else { Err(format!("{found}")) }
    });
}

#[test]
fn both_families_are_peered_and_verified() {
    const SIX: &str = "2001:db8:113::64/128";
    for version in ["v23.7.1", "v24.10.3", "v25.3.2"] {
        let bench = Bench::on(version, "7220 IXR-D2L", Listen::Unix);
        let addresses = |n: u8| {
            format!(
                "{{node: cluster{n}, address: 192.168.1.1{n}}}, {{node: cluster{n}, address: \"fd00:1::1{n}\"}}"
            )
        };
        let settings = SETTINGS
            .replace("pools: [", "pools: [\"2001:db8:113::/64\", ")
            .replace("subnets: [", "subnets: [\"fd00:1::/64\", ")
            .replace(
                "{node: cluster1, address: 192.168.1.11}, {node: cluster2, address: 192.168.1.12}",
                &[1, 2].map(addresses).join(", "),
            );
        assert!(settings.contains("fd00:1::12"));
        bench.write("bundle/switch.yaml", &settings);
        bench.write(
            "cluster/objects.yaml",
            &objects(&[1, 2]).replace("ingress: [", "ingress: [{ip: \"2001:db8:113::64\"}, "),
        );
        bench.emulator.network(|network| {
            network.speakers.extend([1, 2].map(|n| Speaker::new(&format!("fd00:1::1{n}"), 65535, &[SIX])));
        });
        let agent = bench.agent();
        bench.applied();
        agent.verdict_is("both", |verdict| {
            let vips = verdict["vips"].as_array().cloned().unwrap_or_default();
            verdict["verdict"] == "ok" && vips.len() == 2 && vips.iter().all(|vip| vip["state"] == "ok")
        });
        // One family of one node goes: it alone is missed.
        bench.emulator.network(|network| network.speakers.retain(|speaker| speaker.address != "fd00:1::12"));
        agent.verdict_is("the sixth version of one node is missed", |verdict| {
            let vips = verdict["vips"].as_array().cloned().unwrap_or_default();
            let state = |prefix: &str| {
                vips.iter().find(|vip| vip["prefix"] == prefix).map(|vip| vip["state"].clone())
            };
            state(SIX).is_some_and(|state| state != "ok") && state(VIP) == Some(json!("ok"))
        });
    }
}

#[test]
fn nodes_that_come_by_themselves_are_taken_in_and_verified() {
    let bench = Bench::new(Listen::Unix);
    bench.write(
        "bundle/switch.yaml",
        &SETTINGS.replace("peerAsn: internal", "peerAsn: external\n  mode: listen"),
    );
    bench.emulator.network(|network| {
        let external = |n: u8| Speaker::new(&format!("192.168.1.1{n}"), 65100 + u64::from(n), &[VIP]);
        // The third one is nobody's node, and no part of the subnet.
        network.speakers = [1, 2].map(external).into();
        network.speakers.push(Speaker::new("192.168.2.13", 65103, &[VIP]));
    });
    let agent = bench.agent();
    bench.applied();
    agent.vip_is("ok", "");
    bench.emulator.network(|network| network.speakers[1].up = false);
    let verdict = agent.vip_is("diverged", "SessionDown");
    assert!(verdict["vips"][0]["message"].as_str().unwrap().contains("inside a listen range"), "{verdict}");
}

#[test]
fn an_acceptance_whose_answer_is_lost_is_one() {
    let bench = Bench::new(Listen::Unix);
    bench.emulator.knobs(|knobs| knobs.accept_unheard = true);
    let agent = bench.agent();
    bench.applied();
    bench.statuses_are(&agent, &["complete"]);
    agent.log_has("applied, read back and saved");
    assert!(!bench.emulator.lock().knobs.accept_unheard, "no answer was lost, so this proves nothing");
    assert_eq!(bench.emulator.statuses(), ["complete"], "{}", agent.said());
}

#[test]
fn a_commit_that_overtook_a_lost_one_is_not_taken_for_ours() {
    let bench = Bench::new(Listen::Unix);
    let agent = bench.agent();
    bench.applied();
    bench.emulator.knobs(|knobs| knobs.overtaken_by = Some("eve".to_owned()));
    bench.write("bundle/switch.yaml", &SETTINGS.replace("preference: 169", "preference: 168"));
    agent.log_has("of eve is not confirmed yet");
    std::thread::sleep(Duration::from_secs(8));
    let statuses = bench.emulator.statuses();
    assert_eq!(statuses.last().map(String::as_str), Some("unconfirmed"), "{statuses:?}\n{}", agent.said());
    assert_eq!(bench.emulator.running("/system/name")["host-name"], "eve");
}

#[test]
fn a_platform_without_resilient_groups_gets_all_the_rest() {
    let bench = Bench::on("v25.3.1", "7220 IXR-H3", Listen::Unix);
    let agent = bench.agent();
    bench.applied();
    let verdict = agent.verdict_is("remarked", |verdict| verdict["vips"][0]["rung"] == "ResilienceMissing");
    assert_eq!((&verdict["verdict"], &verdict["vips"][0]["state"]), (&json!("ok"), &json!("ok")));
    let message = verdict["vips"][0]["message"].as_str().unwrap();
    assert!(message.contains("UnsupportedPlatform: 7220 IXR-H3 has no resilient groups"), "{message}");
    assert_eq!(bench.emulator.running("/network-instance[name=ip-vrf-1]/ip-load-balancing"), json!({}));
}

#[test]
fn resilience_is_read_back() {
    let bench = Bench::new(Listen::Unix);
    let agent = bench.agent();
    bench.applied();
    agent.verdict_is("resilient", |v| v["verdict"] == "ok" && v["vips"][0]["rung"].is_null());
    bench.emulator.network(|network| drop(network.faults.insert(VIP.to_owned(), Fault::NotResilient)));
    agent.vip_is("ok", "ResilienceMissing");
    bench.emulator.network(|network| network.faults.clear());
    // Somebody made the groups smaller than they are.
    let mut switch = bench.emulator.lock();
    for entry in switch.running["network-instance"][0]["ip-load-balancing"]["resilient-hash-prefix"]
        .as_array_mut()
        .unwrap()
    {
        entry["max-paths"] = json!(1);
    }
    switch.changed();
    drop(switch);
    let verdict = agent.vip_is("ok", "ResilienceTruncated");
    assert!(
        verdict["vips"][0]["message"].as_str().unwrap().contains("1 next-hops get no traffic"),
        "{verdict:#}"
    );
}

#[test]
fn an_unknown_release_is_refused_unless_told() {
    let bench = Bench::on("v26.3.1", "7220 IXR-D2L", Listen::Unix);
    let (code, said) = bench.once("plan", &[]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("release 26.3 is newer than 25.10"), "{said}");
    bench.write("bundle/switch.yaml", &format!("{SETTINGS}assume: {{release: \"25.3\"}}\n"));
    let (code, said) = bench.once("plan", &[]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn nothing_reachable_is_unknown_and_not_wrong() {
    let mut bench = Bench::new(Listen::Unix);
    bench.more = vec!["--timeout".to_owned(), "5s".to_owned()];
    bench.emulator.knobs(|knobs| knobs.restarting = 1000);
    let (code, said) = bench.once("verify", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("the switch has not told it"), "{said}");
}

#[test]
fn a_timer_that_goes_off_too_early_is_noticed() {
    let bench = Bench::new(Listen::Unix);
    let agent = bench.agent();
    bench.applied();
    let before = bench.emulator.lock().running.clone();
    bench.write("bundle/switch.yaml", &SETTINGS.replace("preference: 169", "preference: 168"));
    wait_for("pending", || {
        let mut switch = bench.emulator.lock();
        match switch.pending() {
            Some(index) => {
                switch.commits[index].deadline = Some(Instant::now());
                Ok(())
            }
            None => Err(agent.said()),
        }
    });
    agent.log_has("these lines did not read back");
    assert_eq!(bench.emulator.lock().running, before);
    assert!(bench.emulator.startup_is_running());
    assert_eq!(bench.emulator.statuses(), ["complete", "reverted"]);
}

#[test]
fn a_switch_that_keeps_no_timer_is_not_trusted() {
    let bench = Bench::new(Listen::Unix);
    bench.emulator.knobs(|knobs| knobs.no_timer = true);
    let before = bench.emulator.lock().running.clone();
    let agent = bench.agent();
    agent.log_has("the switch holds no confirm timer for this commit");
    wait_for("what ran before", || {
        if bench.emulator.lock().running == before { Ok(()) } else { Err(agent.said()) }
    });
}

#[test]
fn recorded_requests_get_recorded_answers() {
    let Some(root) = crate::emulator::data_set() else { return };
    let folder = root.join("instances/jsonrpc");
    let bench = Bench::new(Listen::Unix);
    let ask = |text: &str| -> Value {
        let mut stream = std::os::unix::net::UnixStream::connect(bench.emulator.socket()).unwrap();
        write!(stream, "POST /jsonrpc HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{text}", text.len())
            .unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        serde_json::from_str(said.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let read = |name: &str| serde_json::from_str::<Value>(&text(name)).unwrap();
    {
        // Its sample adds to a BGP that is there.
        let mut switch = bench.emulator.lock();
        switch.running["network-instance"][0]["protocols"] =
            json!({"bgp": {"autonomous-system": 65535, "router-id": "192.168.1.1"}});
    }
    assert_eq!(
        ask(&text("07-verify-request.json"))["result"][0],
        read("92-response-absent.json")["result"][0]
    );
    assert!(ask(&text("01-diff-request.json"))["result"].as_array().is_some_and(|lines| !lines.is_empty()));
    assert!(ask(&text("02-validate-request.json")).get("result").is_some());
    assert_eq!(ask(&text("03-set-confirmed-request.json")), read("90-response-set-ok.json"));
    let pending = ask(&text("04-pending-commit-request.json"));
    assert_eq!(pending["result"][0]["commit"][0]["status"], "unconfirmed");
    assert!(ask(&text("03-set-confirmed-request.json")).get("error").is_some(), "one at a time");
    assert!(ask(&text("06-reject-request.json")).get("result").is_some());
    assert!(ask(&text("05-accept-request.json")).get("error").is_some(), "nothing is left to accept");
    bench.emulator.knobs(|knobs| knobs.restarting = 1);
    assert_eq!(ask(&text("07-verify-request.json")), read("93-response-restarting.json"));
}

#[test]
fn lint_asks_what_an_engineer_would() {
    let bench = Bench::new(Listen::Unix);
    let other = bench.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("switch.yaml"), SETTINGS).unwrap();
    let assumed = format!("{SETTINGS}assume: {{release: \"25.3\", chassis: 7220 IXR-D2L}}\n")
        .replace("  nodes:", "  bfd: {}\n  nodes:");
    bench.write("bundle/switch.yaml", &assumed);
    let output = Command::new(env!("CARGO_BIN_EXE_switchlet"))
        .args(["lint", "--nos", "srlinux", "--bundle"])
        .arg(bench.folder.path().join("bundle"))
        .arg("--beside")
        .arg(&other)
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for word in ["ReservedAsn", "RouterIdShared", "BfdTimersElsewhere"] {
        assert!(said.contains(word), "{word} not in {said}");
    }
}
