//! From `git push` to forwarding that was looked at, on both leaves, with agents in pods and Flux told as by a webhook; how late a
//! volume is against the API; and what an idle agent asks of the API server.
//!
//! `ROUNDS` and `IDLE` (seconds) may be set; the figures are of 10 rounds and 600 s. `VOLUME=0` leaves the volume out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a bench starts processes, writes files and waits")]
#![allow(missing_docs, clippy::too_many_lines, dead_code)]

#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/git.rs"]
mod git;
#[path = "../support/lab.rs"]
mod lab;
#[path = "../support/release.rs"]
mod release;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use figures::{Table, median, millis, worst};
use git::Git;
use lab::wait_for;

const SOON: Duration = Duration::from_secs(180);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A watch by kubectl: each line with the moment at which it came.
struct Watch {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Watch {
    fn of(lab: &lab::Lab, words: &[&str]) -> Self {
        let mut child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab"))
            .args([&["k", "get", "--watch", "--no-headers"], words].concat())
            .env("LAB", &lab.env["LAB"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if say.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The moment of the first line that `is` right.
    fn until(&self, what: &str, mut is: impl FnMut(&[&str]) -> bool) -> Instant {
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (at, line) = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("{what}: not in time"));
            if is(&line.split_whitespace().collect::<Vec<_>>()) {
                return at;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn main() -> ExitCode {
    if let Some(code) = figures::as_a_child() {
        return code;
    }
    let Some(git) = Git::up() else { return ExitCode::SUCCESS };
    // One ring for both, and both at a time.
    for leaf in ["leaf1", "leaf2"] {
        let file = format!("overlays/lab/{leaf}/switch-object.yaml");
        git.edit(&file, "spec:\n", "spec:\n  rollout: {maxUnavailable: 2}\n");
    }
    git.edit("overlays/flux/rings.yaml", "./overlays/lab/leaf1", "./overlays/lab");
    git.edit("overlays/flux/rings.yaml", "./overlays/lab/leaf2", "./overlays/health");
    git.push("the first commit");
    git.fabric.lab.kubectl(&["apply", "-k", git.fleet.join("overlays/flux").to_str().unwrap()]);
    let leaves = ["leaf1", "leaf2"];
    wait_for("the Switches", SOON, || {
        let output = git.fabric.lab.try_lab(&["k", "get", "switch", "leaf1", "-n", "switchlet"]);
        if output.status.success() { Ok(()) } else { Err("no Switch".to_owned()) }
    });
    for leaf in leaves {
        git.fabric.well(leaf);
    }
    pushes(&git);
    if number("VOLUME", 1) > 0 {
        volume(&git);
    }
    idle(&git);
    ExitCode::SUCCESS
}

fn pushes(git: &Git) {
    let columns = "custom-columns=N:.metadata.name,G:.metadata.generation,O:.status.observedGeneration,\
                   R:.status.conditions[?(@.type==\"Ready\")].status,V:.status.verdict";
    let (mut applied, mut ours, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..number("ROUNDS", 10) {
        let prefixes = 100 + round;
        let watch = Watch::of(&git.fabric.lab, &["switches", "-n", "switchlet", "-o", columns]);
        let generations: Vec<i64> = ["leaf1", "leaf2"]
            .map(|leaf| git.fabric.switch(leaf)["metadata"]["generation"].as_i64().unwrap())
            .into();
        for leaf in ["leaf1", "leaf2"] {
            let (from, to) = (format!("maxPrefixes: {prefixes}"), format!("maxPrefixes: {}", prefixes + 1));
            git.edit(&format!("overlays/lab/{leaf}/switch.yaml"), &from, &to);
        }
        let pushed = git.push(&format!("round {round}"));
        let mut seen = [None; 2];
        let mut given = [None; 2];
        let done = watch.until("both leaves", |fields| {
            let Some(at) = ["leaf1", "leaf2"].iter().position(|leaf| *leaf == fields[0]) else {
                return false;
            };
            let generation: i64 = fields[1].parse().unwrap();
            if generation > generations[at] {
                given[at].get_or_insert_with(Instant::now);
                if fields[2] == fields[1] && fields[3] == "True" && fields[4] == "ok" {
                    seen[at].get_or_insert_with(Instant::now);
                }
            }
            seen.iter().all(Option::is_some)
        });
        let last = given.iter().flatten().max().copied().unwrap();
        applied.push(last.duration_since(pushed));
        ours.push(done.duration_since(last));
        all.push(done.duration_since(pushed));
    }
    let mut table = Table::new(&["git push → both leaves", "median", "worst", "target"]);
    let mut row = |what: &str, times: &[Duration], target: &str| {
        table.row([what.to_owned(), millis(median(times)), millis(worst(times)), target.to_owned()]);
    };
    row("Switches changed by Flux", &applied, "");
    row("… → applied, looked at twice after the dwell (2 s), saved, Ready", &ours, "≤ 3 s + dwell");
    row("in all", &all, "≤ 15 s");
    table.print();
}

/// One ConfigMap, watched by the agent's way and mounted by kubelet's.
fn volume(git: &Git) {
    let lab = &git.fabric.lab;
    lab.apply(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late, namespace: switchlet}\ndata: {number: \"0\"}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: late, namespace: switchlet}\n\
         spec:\n  nodeName: leaf1\n  hostNetwork: true\n  tolerations: [{operator: Exists}]\n  \
         containers:\n  - {name: late, image: \"localhost/lab/pause:1\", imagePullPolicy: Never, volumeMounts: [{name: v, mountPath: /v}]}\n  \
         volumes: [{name: v, configMap: {name: late}}]\n",
    );
    lab.kubectl(&["wait", "-n", "switchlet", "--for=condition=Ready", "pod/late", "--timeout=60s"]);
    let uid = lab.get(&["pod", "late", "-n", "switchlet"])["metadata"]["uid"].as_str().unwrap().to_owned();
    let file =
        lab.scratch(&format!("node-leaf1/kubelet/pods/{uid}/volumes/kubernetes.io~configmap/v/number"));
    let (mut watched, mut mounted) = (Vec::new(), Vec::new());
    for round in 1..=3 {
        let columns = "custom-columns=N:.metadata.name,D:.data.number";
        let watch = Watch::of(lab, &["configmap", "late", "-n", "switchlet", "-o", columns]);
        watch.until("the list", |_| true);
        let began = Instant::now();
        let patch = format!("{{\"data\": {{\"number\": \"{round}\"}}}}");
        lab.kubectl(&["patch", "configmap", "late", "-n", "switchlet", "--type=merge", "-p", &patch]);
        watched.push(watch.until("the watch", |fields| fields[1] == round.to_string()).duration_since(began));
        let node = |path: &Path| lab.lab(&["node-in", "leaf1", "cat", path.to_str().unwrap()]);
        wait_for("the volume", SOON, || {
            if node(&file).trim() == round.to_string() { Ok(()) } else { Err("old".into()) }
        });
        mounted.push(began.elapsed());
    }
    let mut table = Table::new(&["a ConfigMap changes → seen", "median of 3", "worst"]);
    table.row(["through a watch".to_owned(), millis(median(&watched)), millis(worst(&watched))]);
    table.row([
        "in kubelet's volume (its defaults)".to_owned(),
        millis(median(&mounted)),
        millis(worst(&mounted)),
    ]);
    table.print();
    lab.kubectl(&["delete", "pod", "late", "-n", "switchlet", "--force", "--grace-period=0"]);
}

/// The API server's own count of what came while nothing happened, by user of the agents.
fn idle(git: &Git) {
    let seconds = number("IDLE", 600);
    let count = || -> Vec<(String, f64)> {
        let text = git.fabric.lab.kubectl(&["get", "--raw", "/metrics"]);
        let ours = |line: &&str| line.starts_with("apiserver_request_total{");
        let mut counts: std::collections::BTreeMap<String, f64> = std::collections::BTreeMap::new();
        for line in text.lines().filter(ours) {
            let label = |name: &str| {
                let rest = line.split_once(&format!("{name}=\""))?.1;
                Some(rest.split_once('"')?.0.to_owned())
            };
            let (verb, resource) = (label("verb").unwrap_or_default(), label("resource").unwrap_or_default());
            let written = matches!(verb.as_str(), "APPLY" | "PATCH" | "POST" | "PUT");
            let (about, sub) = (resource.as_str(), label("subresource").unwrap_or_default());
            // kubelets and the control plane write Leases, Nodes' heartbeats by PATCH, and Events of their own.
            // Flux applies the Switches themselves, again and again.
            let agents = sub == "status"
                && ((about == "switches" && written) || (about == "nodes" && verb == "APPLY"));
            if agents {
                let value = line.rsplit(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
                *counts.entry(format!("{verb} {about}")).or_default() += value;
            }
        }
        counts.into_iter().collect()
    };
    // The label improves a minute after the last difference, and that is no heartbeat.
    std::thread::sleep(Duration::from_secs(75));
    let before = count();
    std::thread::sleep(Duration::from_secs(seconds));
    let mut table = Table::new(&["two idle agents", "writes", "an agent in 10 minutes", "target"]);
    for (what, after) in count() {
        let began = before.iter().find(|(name, _)| *name == what).map_or(0.0, |(_, value)| *value);
        let writes = after - began;
        #[allow(clippy::cast_precision_loss, reason = "seconds")]
        let each = writes / 2.0 * 600.0 / seconds as f64;
        table.row([what, format!("{writes}"), format!("{each:.1}"), "≤ 4 in all".to_owned()]);
    }
    table.print();
}
