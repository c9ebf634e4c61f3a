//! The lab as seen from a test: real API server, FRR, kernel, speakers; and agents in it.
//!
//! A lab goes down with the test, also if the test is killed: it watches its owner's process.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]
#![allow(
    clippy::too_many_lines,
    clippy::format_collect,
    clippy::doc_markdown,
    reason = "a story is told in one piece"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::release::Release;

#[path = "asks.rs"]
mod asks;
#[path = "turns.rs"]
pub mod turns;

use turns::Turns;

/// A lab that comes up, with its API server, keeps both cores of a small machine busy.
static COMING_UP: Turns = Turns::of(3);

/// The binary under test; `SWITCHLET_BINARY` puts another one in its place, such as the static release.
pub fn binary() -> String {
    std::env::var("SWITCHLET_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_switchlet").to_owned())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a lab is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Real,
    None,
}

pub struct Lab {
    name: String,
    pub env: BTreeMap<String, String>,
}

impl Lab {
    /// A lab of its own for one test. `None`, loudly, where the machine lacks something; in CI that is a failure.
    pub fn up(api: Api, release: Release) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // One program has many labs; another one's are elsewhere.
        let number = std::process::id() * 128 + NEXT.fetch_add(1, Ordering::Relaxed);
        let mut lab = Self { name: format!("t{:05x}", number & 0xF_FFFF), env: BTreeMap::new() };
        let owner = std::process::id().to_string();
        let mut args = vec!["up", "--owner", &owner];
        if api == Api::None {
            args.push("--no-api");
        }
        if release == Release::V10_3 {
            args.extend(["--frr", "10.3"]);
        }
        let turn = COMING_UP.take();
        let output = lab.command(&args).output().expect("the lab's script");
        drop(turn);
        if output.status.code() == Some(77) {
            let missing = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {missing}");
            eprintln!("SKIPPED: {missing}");
            return None;
        }
        assert!(output.status.success(), "lab up: {}", String::from_utf8_lossy(&output.stderr));
        let env = lab.lab(&["env"]);
        lab.env =
            env.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
        Some(lab)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(root().join("tests/lab/lab"));
        command.args(args).env("LAB", &self.name).stdin(Stdio::null());
        command
    }

    /// A command of the lab; must succeed.
    pub fn lab(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("the lab's script");
        assert!(
            output.status.success(),
            "lab {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command of the lab, whatever comes of it.
    pub fn try_lab(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the lab's script")
    }

    /// kubectl as admin.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.lab(&[&["k"], args].concat())
    }

    /// kubectl apply of a text.
    pub fn apply(&self, yaml: &str) {
        let path = self.scratch("apply.yaml");
        fs::write(&path, yaml).unwrap();
        self.kubectl(&["apply", "-f", path.to_str().unwrap()]);
    }

    /// An object, or a list of them, as JSON: the words are those of `kubectl get`.
    pub fn get(&self, words: &[&str]) -> Value {
        let text = match asks::path(words) {
            Some(path) => self.answer(&path),
            None => self.kubectl(&[&["get"], words, &["-o", "json"]].concat()),
        };
        serde_json::from_str(&text).expect("JSON from the API server")
    }

    /// What the API server answers an admin.
    fn answer(&self, path: &str) -> String {
        let pki = |name: &str| self.scratch("pki").join(name);
        let output = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.env["NS_API"],
                "curl",
                "-sS",
                "--fail-with-body",
                "--max-time",
                "30",
            ])
            .arg("--cacert")
            .arg(&self.env["API_CA"])
            .arg("--cert")
            .arg(pki("admin.crt"))
            .arg("--key")
            .arg(pki("admin.key"))
            .arg(format!("{}{path}", self.env["API_URL"]))
            .stdin(Stdio::null())
            .output()
            .expect("ip netns exec");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "GET {path}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Gives a Service of the namespace `shop` its address, as the controller of load balancers would.
    pub fn give_address(&self, service: &str, address: &str) {
        let patch = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}).to_string();
        let what = ["patch", "service", service, "-n", "shop", "--subresource=status"];
        self.kubectl(&[&what[..], &["--type=merge", "-p", &patch]].concat());
    }

    /// The folder of this lab's state.
    pub fn scratch(&self, name: &str) -> PathBuf {
        Path::new(&self.env["STATE"]).join(name)
    }

    /// FRR's `frr.conf` of a leaf.
    pub fn frr_conf(&self, leaf: &str) -> PathBuf {
        Path::new(&self.env[&format!("FRR_ETC_{}", leaf.to_uppercase())]).join("frr.conf")
    }

    /// FRR's running configuration, by vtysh.
    pub fn running(&self, leaf: &str) -> String {
        self.lab(&["vtysh", leaf, "-c", "show running-config"])
    }

    /// Each BGP session of IPv4, and how often it was dropped.
    pub fn sessions(&self, leaf: &str) -> Vec<(String, u64)> {
        let text = self.lab(&["vtysh", leaf, "-c", "show bgp ipv4 unicast summary json"]);
        let json: Value = serde_json::from_str(&text).expect("JSON from bgpd");
        let peers = json["peers"].as_object().cloned().unwrap_or_default();
        peers.iter().map(|(peer, of)| (peer.clone(), of["connectionsDropped"].as_u64().unwrap())).collect()
    }

    /// The kernel's word on a prefix, by iproute2: gateways, sorted; `None` without a route for exactly it.
    pub fn kernel(&self, leaf: &str, prefix: &str) -> Option<Vec<String>> {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        let text = self.lab(&["in", leaf, "ip", family, "-j", "route", "show", "exact", prefix]);
        let routes: Value = serde_json::from_str(&text).expect("JSON from ip");
        let route = routes.as_array().and_then(|routes| routes.first())?.clone();
        let gateway = |hop: &Value| hop["gateway"].as_str().unwrap_or("?").to_owned();
        let mut hops: Vec<String> = match route["nexthops"].as_array() {
            Some(hops) => hops.iter().map(gateway).collect(),
            None => vec![gateway(&route)],
        };
        hops.sort();
        Some(hops)
    }

    /// A condition of a Node.
    pub fn condition(&self, node: &str, kind: &str) -> Option<Value> {
        let node = self.get(&["node", node]);
        let kind = format!("switchlet.io/{kind}");
        node["status"]["conditions"]
            .as_array()?
            .iter()
            .find(|condition| condition["type"] == kind.as_str())
            .cloned()
    }

    /// A condition of a Switch.
    pub fn switch_condition(&self, name: &str, kind: &str) -> Option<Value> {
        let switch = self.get(&["switch", name, "-n", "switchlet"]);
        switch["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind).cloned()
    }

    /// The objects of the lab's overlay, and Nodes for switches and servers.
    pub fn populate(&self) {
        self.kubectl(&["apply", "-k", root().join("manifests").to_str().unwrap()]);
        self.kubectl(&["apply", "-k", root().join("overlays/lab").to_str().unwrap()]);
        self.lab(&["node", "leaf1", "--ip", "172.31.0.11", "--label", "switchlet.io/switch=true"]);
        self.lab(&["node", "leaf2", "--ip", "172.31.0.12", "--label", "switchlet.io/switch=true"]);
        for (server, address) in [(1, 11), (2, 13), (3, 15)] {
            let (v4, v6) = (format!("192.168.1.{address}"), format!("fd00:1:{server}::2"));
            self.lab(&["node", &format!("worker-{server}"), "--ip", &v4, &v6, "--label", "role=worker"]);
        }
    }

    /// The token of the agent's pod on a node, in a kubeconfig: what the ServiceAccount may do, and by the policy only for
    /// that node.
    pub fn kubeconfig(&self, node: &str) -> String {
        self.lab(&["kubeconfig", "--sa", "switchlet/agent", "--node", node]).trim().to_owned()
    }

    /// An agent on a leaf, with the ServiceAccount's own rights.
    pub fn agent(&self, leaf: &str) -> Agent {
        let kubeconfig = self.kubeconfig(leaf);
        self.agent_with(leaf, &["--namespace", "switchlet", "--kubeconfig", &kubeconfig])
    }

    /// An agent with these inputs.
    pub fn agent_with(&self, leaf: &str, args: &[&str]) -> Agent {
        self.agent_under(leaf, &[], args)
    }

    /// An agent with these inputs, started by another program.
    pub fn agent_under(&self, leaf: &str, starter: &[&str], args: &[&str]) -> Agent {
        let log = self.scratch(&format!("log/agent-{leaf}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let state = self.scratch(&format!("agent-{leaf}"));
        let child = Command::new("ip")
            .args(["netns", "exec", &self.env[&format!("NS_{}", leaf.to_uppercase())]])
            .args(starter)
            .args([&binary(), "agent"])
            .args(["--node", leaf, "--frr-instance", &self.env[&format!("FRR_{}", leaf.to_uppercase())]])
            .args(["--frr-root", &self.env["FRR_ROOT"]])
            .args(args)
            .env("SWITCHLET_STATE_DIR", state)
            .env("SWITCHLET_LISTEN", "127.0.0.1:9855")
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("ip netns exec");
        Agent { child, log }
    }

    /// The guard beside an agent.
    pub fn guard(&self, leaf: &str) -> Agent {
        let log = self.scratch(&format!("log/guard-{leaf}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", &self.env[&format!("NS_{}", leaf.to_uppercase())], &binary(), "guard"])
            .args(["--frr-instance", &self.env[&format!("FRR_{}", leaf.to_uppercase())]])
            .args(["--frr-root", &self.env["FRR_ROOT"]])
            .env("SWITCHLET_STATE_DIR", self.scratch(&format!("agent-{leaf}")))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("ip netns exec");
        let guard = Agent { child, log };
        wait_for("the guard", Duration::from_secs(20), || {
            let log = guard.log();
            if log.contains("the guard is ready") { Ok(()) } else { Err(log) }
        });
        guard
    }

    /// A one-shot command in a leaf's namespace.
    pub fn switchlet(&self, leaf: &str, args: &[&str]) -> Output {
        Command::new("ip")
            .args(["netns", "exec", &self.env[&format!("NS_{}", leaf.to_uppercase())], &binary()])
            .args(args)
            .env_remove("KUBECONFIG")
            .output()
            .expect("ip netns exec")
    }

    /// Runs `work` where the API server can be reached, on a thread of its own.
    pub fn inside<F: Future<Output = ()>>(&self, work: impl FnOnce() -> F + Send) {
        let namespace = File::open(Path::new("/run/netns").join(&self.env["NS_API"])).unwrap();
        let result = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(work());
                })
                .join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    /// What an agent's endpoint answers.
    pub fn endpoint(&self, leaf: &str, path: &str) -> String {
        let url = format!("http://127.0.0.1:9855{path}");
        let output = self.try_lab(&["in", leaf, "curl", "-s", "--max-time", "15", &url]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The verdict at an agent's endpoint.
    pub fn verdict(&self, leaf: &str) -> Value {
        serde_json::from_str(&self.endpoint(leaf, "/v1/verdict")).unwrap_or_default()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.env.get("STATE").cloned().unwrap_or_default();
            for entry in fs::read_dir(Path::new(&logs).join("log")).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with("agent-") || name.starts_with("guard-") {
                    let text = fs::read_to_string(entry.path()).unwrap_or_default();
                    let tail: Vec<&str> = text.lines().rev().take(40).collect();
                    eprintln!("--- {}", entry.path().display());
                    tail.iter().rev().for_each(|line| eprintln!("{line}"));
                }
            }
        }
        drop(self.command(&["down"]).output());
    }
}

pub struct Agent {
    child: Child,
    pub log: PathBuf,
}

impl Agent {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) {
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        // A change under way is settled first.
        let ended = eventually(Duration::from_secs(40), || self.child.try_wait().unwrap().is_some());
        assert!(ended, "the agent does not stop at SIGTERM");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// True as soon as `check` is, within `limit`.
pub fn eventually(limit: Duration, mut check: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    // To ask kubectl or vtysh costs a machine of two cores more than what is asked about.
    let mut pause = Duration::from_millis(60);
    loop {
        if check() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 5 / 4).min(Duration::from_millis(700));
    }
}

/// Waits for `check`, or fails with the last thing that `show` says.
pub fn wait_for(what: &str, limit: Duration, mut show: impl FnMut() -> Result<(), String>) {
    let mut last = String::new();
    let done = eventually(limit, || match show() {
        Ok(()) => true,
        Err(seen) => {
            last = seen;
            false
        }
    });
    assert!(done, "{what}: not within {} s; last seen: {last}", limit.as_secs());
}
