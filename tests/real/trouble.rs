//! The API server is away, silent, forgetful, or does not know us any more: nothing ends, nothing is undone, and what is said
//! late has its own times. All on real parts.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::lab::{Api, Lab, eventually, wait_for};
use crate::release::Release;
use serde_json::{Value, json};

on_each_frr!(away_at_the_start_the_last_good_bundle_is_kept_up, too_old_a_version_is_listed_again);

const SOON: Duration = Duration::from_secs(45);
const LATE: Duration = Duration::from_secs(100);

const NEIGHBOR: &str = "neighbor 192.168.1.13 peer-group SWITCHLET-SPEAKERS";

fn says(lab: &Lab, kind: &str, status: &str, reason: &str, limit: Duration) -> Value {
    wait_for(&format!("{kind} is {status}/{reason}"), limit, || {
        let seen = lab.condition("leaf1", kind).unwrap_or_default();
        if seen["status"] == status && seen["reason"] == reason { Ok(()) } else { Err(seen.to_string()) }
    });
    lab.condition("leaf1", kind).unwrap()
}

fn runs(lab: &Lab, line: &str) -> bool {
    lab.running("leaf1").lines().any(|found| found.trim() == line)
}

/// A stray route in a pool: a fault that needs no speaker.
fn stray(lab: &Lab, action: &str) {
    lab.lab(&["in", "leaf1", "ip", "route", action, "203.0.113.99/32", "via", "192.168.1.11"]);
}

fn away_at_the_start_the_last_good_bundle_is_kept_up(release: Release) {
    let Some(lab) = Lab::up(Api::Real, release) else { return };
    lab.populate();
    let kubeconfig = lab.kubeconfig("leaf1");
    let args = ["--namespace", "switchlet", "--kubeconfig", &kubeconfig];
    let agent = lab.agent_with("leaf1", &args);
    says(&lab, "ConfigApplied", "True", "Applied", SOON);
    agent.stop();
    let running = lab.running("leaf1");
    lab.lab(&["api", "kill"]);
    // Somebody takes a neighbour away while nobody looks.
    lab.lab(&[
        "vtysh",
        "leaf1",
        "-c",
        "configure terminal",
        "-c",
        "router bgp 65001",
        "-c",
        "no neighbor 192.168.1.13",
    ]);
    assert!(!runs(&lab, NEIGHBOR));
    let agent = lab.agent_with("leaf1", &args);
    wait_for("the last good text is put back", Duration::from_secs(60), || {
        if runs(&lab, NEIGHBOR) { Ok(()) } else { Err(agent.log()) }
    });
    assert_eq!(lab.running("leaf1"), running, "and nothing else");
    let verdict = lab.verdict("leaf1");
    assert_eq!(
        (&verdict["verdict"], &verdict["vips"]),
        (&json!("unknown"), &json!([])),
        "nobody knows what is expected"
    );
    assert_eq!(verdict["issues"][0]["reason"], "StaleBundle", "{verdict}");
    assert!(lab.endpoint("leaf1", "/metrics").contains("switchlet_bundle_stale 1"));
    assert_ne!(lab.endpoint("leaf1", "/readyz"), "ok\n");
    lab.lab(&["api", "start"]);
    says(&lab, "FIBSynced", "True", "NothingExpected", LATE);
    wait_for("the bundle is fresh again", LATE, || {
        let verdict = lab.verdict("leaf1");
        if verdict["issues"] == json!([]) { Ok(()) } else { Err(verdict.to_string()) }
    });
    assert!(lab.endpoint("leaf1", "/metrics").contains("switchlet_bundle_stale 0"));
    assert_eq!(lab.running("leaf1"), running);

    // A switch that Git had paused stays as it is, also without Git.
    let patch = r#"{"spec":{"apply":{"policy":"Paused"}}}"#;
    lab.kubectl(&["patch", "switch", "leaf1", "-n", "switchlet", "--type=merge", "-p", patch]);
    wait_for("the policy is heard", SOON, || {
        let seen = lab.get(&["switch", "leaf1", "-n", "switchlet"]);
        if seen["status"]["observedGeneration"] == seen["metadata"]["generation"] {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    });
    agent.stop();
    lab.lab(&["api", "kill"]);
    lab.lab(&[
        "vtysh",
        "leaf1",
        "-c",
        "configure terminal",
        "-c",
        "router bgp 65001",
        "-c",
        "no neighbor 192.168.1.13",
    ]);
    let agent = lab.agent_with("leaf1", &args);
    assert!(
        eventually(SOON, || agent.log().matches("the last good bundle is kept up").count() == 2),
        "{}",
        agent.log()
    );
    std::thread::sleep(Duration::from_secs(3));
    assert!(!runs(&lab, NEIGHBOR), "paused is paused");
}

#[test]
fn what_is_said_late_has_its_own_time() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    lab.populate();
    let mut agent = lab.agent("leaf1");
    says(&lab, "FIBSynced", "True", "NothingExpected", SOON);
    lab.lab(&["api", "freeze"]);
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let at = now();
    stray(&lab, "add");
    // Seen on the switch at once, although every answer of the server is waited for.
    wait_for("the fault is seen", SOON, || {
        let verdict = lab.verdict("leaf1");
        if verdict["vips"][0]["state"] == "diverged" { Ok(()) } else { Err(verdict.to_string()) }
    });
    let shown = now();
    std::thread::sleep(Duration::from_secs(15));
    assert!(agent.is_running());
    assert_eq!(lab.endpoint("leaf1", "/healthz"), "ok\n");
    let thaw = now();
    lab.lab(&["api", "thaw"]);
    let seen = says(&lab, "FIBSynced", "False", "SwitchDiverged", LATE);
    let seconds = |field: &str| {
        let output =
            Command::new("date").args(["-d", seen[field].as_str().unwrap(), "+%s"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().unwrap()
    };
    // The fault has its own time, and the word of it the time at which it could be said.
    assert!((at..=shown).contains(&seconds("lastTransitionTime")), "{seen}");
    assert!(seconds("lastHeartbeatTime") >= thaw, "{seen}");
}

/// The server has forgotten what happened while the agent was asleep: everything is listed again.
fn too_old_a_version_is_listed_again(release: Release) {
    let Some(lab) = Lab::up(Api::Real, release) else { return };
    lab.populate();
    let agent = lab.agent("leaf1");
    says(&lab, "ConfigApplied", "True", "Applied", SOON);
    let signal = |name: &str| {
        let done =
            Command::new("kill").args([&format!("-{name}"), &agent.pid().to_string()]).status().unwrap();
        assert!(done.success());
    };
    signal("STOP");
    lab.lab(&["node", "worker-4", "--ip", "192.168.1.17", "--label", "role=worker"]);
    lab.kubectl(&["delete", "node", "worker-3"]);
    for round in 0..5 {
        lab.lab(&["node", "worker-1", "--label", &format!("round=r{round}")]);
    }
    // etcd forgets its history; the API server, made anew, never knew it.
    let etcd = |path: &str, body: &str| -> Value {
        let url = format!("http://127.0.0.1:2379{path}");
        serde_json::from_str(&lab.lab(&["in", "api", "curl", "-s", "--max-time", "5", &url, "-d", body]))
            .unwrap()
    };
    let revision = etcd("/v3/maintenance/status", "{}")["header"]["revision"].as_str().unwrap().to_owned();
    etcd("/v3/kv/compaction", &format!(r#"{{"revision":"{revision}","physical":true}}"#));
    lab.lab(&["api", "kill", "apiserver"]);
    lab.lab(&["api", "start", "apiserver"]);
    signal("CONT");
    wait_for("the new neighbour", LATE, || {
        if runs(&lab, "neighbor 192.168.1.17 peer-group SWITCHLET-SPEAKERS") {
            Ok(())
        } else {
            Err(agent.log())
        }
    });
    // What was deleted meanwhile has left too: neither expected, nor removed at once.
    wait_for("the deletion", SOON, || {
        let next_hops = lab.get(&["switch", "leaf1", "-n", "switchlet"])["status"]["nextHops"].clone();
        let text = next_hops.to_string();
        if text.contains("192.168.1.17") && !text.contains("192.168.1.15") { Ok(()) } else { Err(text) }
    });
    assert!(runs(&lab, "neighbor 192.168.1.15 peer-group SWITCHLET-SPEAKERS"));
    let log = agent.log();
    assert!(
        log.contains("too old resource version") || log.contains("Expired") || log.contains("410"),
        "no 410 was seen:\n{log}"
    );
}

/// A token that has expired is a refusal, not an end; a new one in its file is taken up.
#[test]
fn an_expired_token_is_replaced_by_the_next_one() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    lab.populate();
    let kubeconfig = lab.kubeconfig("leaf1");
    let bound = ["--bound-object-kind", "Pod", "--bound-object-name", "leaf1"];
    let create =
        [["create", "token", "agent", "-n", "switchlet", "--duration=1h"].as_slice(), &bound].concat();
    let token = lab.kubectl(&create).trim().to_owned();
    let (file, config) = (lab.scratch("token"), lab.scratch("by-token.conf"));
    // The same token, signed by the same key, that ended an hour ago.
    let key = lab.scratch("pki/sa.key");
    let script = "
import base64, json, subprocess, sys
b = lambda raw: base64.urlsafe_b64encode(raw).rstrip(b'=').decode()
head, body, _ = sys.argv[2].split('.')
claims = json.loads(base64.urlsafe_b64decode(body + '=' * (-len(body) % 4)))
claims['exp'] = claims['iat'] - 3600; claims['nbf'] = claims['iat'] = claims['iat'] - 7200
text = head + '.' + b(json.dumps(claims).encode())
sign = ['openssl', 'dgst', '-sha256', '-sign', sys.argv[1]]
print(text + '.' + b(subprocess.run(sign, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout))
";
    let expired =
        Command::new("python3").args(["-c", script, key.to_str().unwrap(), &token]).output().unwrap();
    assert!(expired.status.success(), "{}", String::from_utf8_lossy(&expired.stderr));
    fs::write(&file, String::from_utf8_lossy(&expired.stdout).trim()).unwrap();
    let text = fs::read_to_string(kubeconfig).unwrap();
    let start = text.find("user: {").unwrap();
    let end = start + text[start..].find('}').unwrap();
    fs::write(
        &config,
        format!("{}user: {{tokenFile: {}}}{}", &text[..start], file.display(), &text[end + 1..]),
    )
    .unwrap();

    let mut agent =
        lab.agent_with("leaf1", &["--namespace", "switchlet", "--kubeconfig", config.to_str().unwrap()]);
    assert!(eventually(SOON, || agent.log().contains("Unauthorized")), "{}", agent.log());
    assert!(!agent.log().contains(token.split('.').nth(1).unwrap()), "a token in the log");
    assert!(lab.condition("leaf1", "ConfigApplied").is_none());
    fs::write(&file, &token).unwrap();
    says(&lab, "ConfigApplied", "True", "Applied", Duration::from_secs(150));
    assert!(agent.is_running());
}

/// A second kube-apiserver beside the lab's own, on the same etcd.
struct Second(Child);

impl Second {
    fn start(lab: &Lab) -> Self {
        let assets = fs::read_to_string(lab.scratch("assets")).unwrap();
        let pki = |name: &str| lab.scratch(&format!("pki/{name}")).to_str().unwrap().to_owned();
        let log = fs::File::create(lab.scratch("log/apiserver2.log")).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", &lab.env["NS_API"], &format!("{}/kube-apiserver", assets.trim())])
            .args(["--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0", "--secure-port=6444"])
            .args(["--advertise-address=172.31.0.1", "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112"])
            .args([
                "--authorization-mode=Node,RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
            ])
            .args([
                format!("--client-ca-file={}", pki("ca.crt")),
                format!("--tls-cert-file={}", pki("apiserver.crt")),
                format!("--tls-private-key-file={}", pki("apiserver.key")),
                format!("--service-account-key-file={}", pki("sa.pub")),
                format!("--service-account-signing-key-file={}", pki("sa.key")),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let ready = ["in", "api", "curl", "-sk", "--max-time", "2", "https://127.0.0.1:6444/readyz"];
        assert!(
            eventually(Duration::from_secs(75), || lab.try_lab(&ready).stdout == b"ok"),
            "no second API server"
        );
        Self(child)
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_next_api_server_is_used_when_one_dies_or_is_silent() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    lab.populate();
    let _second = Second::start(&lab);
    let kubeconfig = lab.kubeconfig("leaf1");
    let agent = lab.agent_with(
        "leaf1",
        &[
            "--namespace",
            "switchlet",
            "--kubeconfig",
            &kubeconfig,
            "--api-server",
            "https://172.31.0.1:6443",
            "--api-server",
            "https://172.31.0.1:6444",
            "--api-device",
            "mgmt",
        ],
    );
    says(&lab, "FIBSynced", "True", "NothingExpected", SOON);
    let open = |port: u16| {
        let filter = format!("( dport = :{port} )");
        lab.lab(&["in", "leaf1", "ss", "-Htn", "state", "established", &filter])
    };
    assert!(open(6443).lines().count() >= 5, "{}", open(6443));
    assert!(
        open(6443).lines().all(|line| line.contains("%mgmt:")),
        "not bound to the device: {}",
        open(6443)
    );
    lab.lab(&["api", "kill", "apiserver"]);
    stray(&lab, "add");
    let admin = lab.lab(&["kubeconfig", "--admin"]).trim().to_owned();
    let node = || -> Value {
        let assets = fs::read_to_string(lab.scratch("assets")).unwrap();
        let output = Command::new("ip")
            .args([
                "netns",
                "exec",
                &lab.env["NS_API"],
                &format!("{}/kubectl", assets.trim()),
                "--kubeconfig",
                &admin,
            ])
            .args(["--server", "https://127.0.0.1:6444", "get", "node", "leaf1", "-o", "json"])
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    let synced = |reason: &str| {
        wait_for(&format!("FIBSynced is {reason} by the second server"), Duration::from_secs(75), || {
            let node = node();
            let all = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let found = all.iter().any(|c| c["type"] == "switchlet.io/FIBSynced" && c["reason"] == reason);
            if found { Ok(()) } else { Err(format!("{node}\n{}", agent.log())) }
        });
    };
    synced("SwitchDiverged");
    assert!(agent.log().contains("another API server"), "{}", agent.log());
    wait_for("the watches have moved too", Duration::from_secs(90), || {
        let open = open(6444);
        if open.lines().count() >= 5 { Ok(()) } else { Err(open) }
    });
    stray(&lab, "del");
    synced("NothingExpected");

    // The second one falls silent: its packets are dropped. The first one is back.
    lab.lab(&["api", "start", "apiserver"]);
    let rules = lab.scratch("silent.nft");
    let drop_all = "table inet silent {\nchain o { type filter hook output priority 0; tcp dport 6444 drop; }\n\
                    chain i { type filter hook input priority 0; tcp sport 6444 drop; }\n}\n";
    fs::write(&rules, drop_all).unwrap();
    lab.lab(&["in", "leaf1", "nft", "-f", rules.to_str().unwrap()]);
    stray(&lab, "add");
    let seen = says(&lab, "FIBSynced", "False", "SwitchDiverged", Duration::from_secs(75));
    assert!(seen["message"].as_str().unwrap().contains("203.0.113.99"), "{seen}");
}

#[test]
fn a_device_that_does_not_exist_is_refused_and_one_that_leads_nowhere_is_waited_for() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    lab.populate();
    let kubeconfig = lab.kubeconfig("leaf1");
    let args = |device: &'static str| {
        vec!["--namespace", "switchlet", "--kubeconfig", kubeconfig.as_str(), "--api-device", device]
    };
    let wrong = lab.agent_with("leaf1", &args("nowhere9"));
    assert!(
        eventually(SOON, || wrong.log().contains("--api-device nowhere9: there is no such network device")),
        "{}",
        wrong.log()
    );
    drop(wrong);
    let mut waiting = lab.agent_with("leaf1", &args("up"));
    std::thread::sleep(Duration::from_secs(5));
    assert!(waiting.is_running() && lab.condition("leaf1", "ConfigApplied").is_none());
    drop(waiting);
    let _agent = lab.agent_with("leaf1", &args("mgmt"));
    says(&lab, "ConfigApplied", "True", "Applied", SOON);
}
