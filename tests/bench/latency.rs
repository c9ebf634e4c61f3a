//! How long until the Node says so, how long until a move is equal again, and what an idle agent costs.
//!
//! Measured in the lab with a real API server, FRR and kernel, by an observer in the switch's own namespace: it watches
//! the Node, polls the agent's endpoint and reads the kernel itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]
#![allow(missing_docs, clippy::format_push_string)]

#[path = "../support/lab.rs"]
mod lab;
#[path = "../support/release.rs"]
mod release;

use std::fs;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use lab::{Api as LabApi, Lab, eventually, wait_for};
use nix::sched::{CloneFlags, setns};
use release::Release;
use serde_json::{Value, json};
use switchlet::fib::netlink::NetlinkFib;

const ROUNDS: usize = 20;

/// Each round breaks another VIP: the third fault of the same one within ten minutes would be flapping.
fn vips() -> Vec<String> {
    (0..ROUNDS).map(|round| format!("203.0.113.{}", 10 + round)).collect()
}

fn main() {
    let Some(lab) = Lab::up(LabApi::Real, Release::V8_4) else { return };
    lab.populate();
    let mut objects = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n".to_owned();
    for round in 0..ROUNDS {
        let endpoints: Vec<String> =
            (1..=3).map(|w| format!("{{addresses: [10.0.{w}.1], nodeName: worker-{w}}}")).collect();
        objects += &format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: web-{round}, namespace: shop}}\n\
             spec: {{type: LoadBalancer, externalTrafficPolicy: Local, ports: [{{port: 80}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: web-{round}, namespace: shop, labels: {{kubernetes.io/service-name: web-{round}}}}}\n\
             addressType: IPv4\nports: [{{port: 80}}]\nendpoints: [{}]\n",
            endpoints.join(", ")
        );
    }
    lab.apply(&objects);
    for (round, vip) in vips().iter().enumerate() {
        lab.give_address(&format!("web-{round}"), vip);
    }
    let agent = lab.agent("leaf1");
    wait_for("the agent is ready", Duration::from_secs(30), || {
        let seen = lab.condition("leaf1", "FIBSynced").unwrap_or_default();
        if seen["status"].is_string() { Ok(()) } else { Err(seen.to_string()) }
    });
    let kubeconfig = lab.env["KUBECONFIG_ADMIN"].clone();
    let namespace = lab.env["NS_LEAF1"].clone();
    let (broken, moved) = std::thread::scope(|scope| {
        let lab = &lab;
        scope
            .spawn(move || {
                let file = File::open(format!("/run/netns/{namespace}")).expect("the switch's namespace");
                setns(file, CloneFlags::CLONE_NEWNET).expect("setns");
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap()
                    .block_on(measure(lab, &kubeconfig))
            })
            .join()
            .unwrap()
    });
    let (rss, cpu) = idle(agent.pid());
    println!();
    println!("| what | goal | median | p99 | rounds |");
    println!("|---|---|---|---|---|");
    row("kernel route broken → condition written", "≤ 1 s", broken);
    row("EndpointSlice and FIB both moved → verdict equal", "median ≤ 300 ms", moved);
    println!();
    println!("| idle agent, 60 s | goal | seen |");
    println!("|---|---|---|");
    println!("| resident memory | ≤ 15 MB | {:.1} MB |", rss / 1e6);
    println!("| processor | ≤ 0.2 % | {cpu:.3} % |");
}

fn row(what: &str, goal: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("| {what} | {goal} | {:.0} ms | {:.0} ms | {} |", at(50), at(99), times.len());
}

async fn measure(lab: &Lab, kubeconfig: &str) -> (Vec<Duration>, Vec<Duration>) {
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "shop");
    let nodes: Api<Node> = Api::all(client);
    let mut moved = Vec::new();
    for round in 0..=ROUNDS {
        let workers: &[u32] = if round % 2 == 0 { &[1, 2, 3] } else { &[1, 2] };
        let took = one_move(lab, &slices, workers).await;
        // The first one only brings the VIP up.
        if round > 0 {
            moved.push(took);
        }
    }
    let only = watcher::Config::default().fields("metadata.name=leaf1");
    let mut events = watcher(nodes, only).applied_objects().boxed();
    let mut broken = Vec::new();
    for vip in vips() {
        status(&mut events, "True").await;
        let began = Instant::now();
        ip(&["route", "replace", &vip, "proto", "bgp", "metric", "20", "nexthop", "via", "192.168.1.11"]);
        status(&mut events, "False").await;
        broken.push(began.elapsed());
        ip(&["route", "del", &vip, "proto", "bgp", "metric", "20"]);
    }
    (broken, moved)
}

/// Waits until the watch shows this status of `FIBSynced`.
async fn status(events: &mut (impl futures::Stream<Item = watcher::Result<Node>> + Unpin), wanted: &str) {
    let mut next = async || {
        tokio::time::timeout(Duration::from_secs(60), events.try_next()).await.expect("the Node says nothing")
    };
    while let Some(node) = next().await.unwrap() {
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        if conditions.iter().any(|c| c.type_ == "switchlet.io/FIBSynced" && c.status == wanted) {
            return;
        }
    }
}

/// From the later of the API's answer and the kernel's change to a verdict that is equal.
async fn one_move(lab: &Lab, slices: &Api<EndpointSlice>, workers: &[u32]) -> Duration {
    let endpoints: Vec<Value> = workers
        .iter()
        .map(|worker| json!({"addresses": [format!("10.0.{worker}.1")], "nodeName": format!("worker-{worker}")}))
        .collect();
    let patch = Patch::Merge(json!({"endpoints": endpoints}));
    slices.patch("web-0", &PatchParams::default(), &patch).await.unwrap();
    let cluster_at = Instant::now();
    for server in 1..=3 {
        let name = format!("s{server}");
        let all: Vec<String> = vips().iter().map(|vip| format!("{vip}/32")).collect();
        // Only the first VIP moves.
        let prefixes = if workers.contains(&server) { &all[..] } else { &all[1..] };
        let mut args = vec!["announce", &name];
        args.extend(prefixes.iter().map(String::as_str));
        lab.lab(&args);
    }
    let mut fib = NetlinkFib::open().unwrap();
    let prefixes = [vips()[0].parse().unwrap()];
    let in_kernel = eventually_fast(|| {
        let routes = fib.exact_now(&prefixes).unwrap();
        routes[0].as_ref().is_some_and(|route| route.live().len() == workers.len())
    });
    let began = cluster_at.max(in_kernel);
    let equal = eventually_fast(|| {
        let verdict = verdict();
        verdict["verdict"] == "ok"
            && verdict["vips"][0]["expected"].as_array().map(Vec::len) == Some(workers.len())
    });
    equal.saturating_duration_since(began)
}

/// The first moment at which `check` held, to 2 ms.
fn eventually_fast(mut check: impl FnMut() -> bool) -> Instant {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !check() {
        assert!(Instant::now() < deadline, "it never comes; the agent says {}", verdict());
        std::thread::sleep(Duration::from_millis(2));
    }
    Instant::now()
}

fn verdict() -> Value {
    let mut stream = TcpStream::connect("127.0.0.1:9855").unwrap();
    stream.write_all(b"GET /v1/verdict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default()
}

fn ip(args: &[&str]) {
    assert!(Command::new("ip").args(args).status().unwrap().success(), "ip {args:?}");
}

/// Resident bytes, and processor time in percent of one core, over a quiet minute.
fn idle(pid: u32) -> (f64, f64) {
    let settled = eventually(Duration::from_secs(1), || fs::read(format!("/proc/{pid}/stat")).is_ok());
    assert!(settled);
    // The label improves a minute after the last fault; that is no idle time.
    std::thread::sleep(Duration::from_secs(15));
    let ticks = || -> f64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(60));
    // 100 ticks a second on Linux (USER_HZ).
    let cpu = (ticks() - before) / 100.0 / 60.0 * 100.0;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap();
    (kib * 1024.0, cpu)
}
