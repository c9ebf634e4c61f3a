//! Ten thousand VIPs with sixteen next-hops each, through a real API server: memory, also over a list of everything anew,
//! and the time of a pass. And what it costs to ask FRR for reasons, against asking it for its table.
//!
//! Every VIP has its route in the kernel, and what is measured counts only while the agent says that all of them are as
//! expected. `SWITCHLET_BINARY` is what is measured.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a bench starts processes, writes files and waits")]
#![allow(missing_docs, clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/lab.rs"]
mod lab;
#[path = "../support/release.rs"]
mod release;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use figures::Table;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use lab::{Api as LabApi, Lab, wait_for};
use nix::sched::{CloneFlags, setns};
use release::Release;
use serde_json::{Value, json};

/// `SCALE_VIPS` for a quick look.
fn vips() -> u32 {
    std::env::var("SCALE_VIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}
const NODES: u32 = 16;
/// Requests to the API server under way at once.
const AT_ONCE: usize = 48;
/// Far from the next-hops that zebra numbers for itself.
const GROUP: u32 = 10_000_000;
const ROUNDS: u32 = 10;
const LONG: Duration = Duration::from_secs(120);

const SETTINGS: &str = "\
version: 1
asn: 65001
routerId: 10.0.0.1
vips: {pools: [20.0.0.0/16]}
peering:
  peerAsn: external
  nodes: {selector: {matchLabels: {role: worker}}, subnets: [10.66.0.0/24]}
  timers: {hold: 9s, keepalive: 3s}
ecmp: {maxPaths: 16}
verify: {convergence: 5m}
";

fn vip(number: u32) -> String {
    format!("20.0.{}.{}", number / 256, number % 256)
}

fn hop(node: u32) -> String {
    format!("10.66.0.{}", 10 + node)
}

fn main() {
    let Some(lab) = Lab::up(LabApi::Real, Release::V8_4) else { return };
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    lab.kubectl(&["apply", "-k", concat!(env!("CARGO_MANIFEST_DIR"), "/manifests")]);
    lab.lab(&["node", "leaf1", "--ip", "172.31.0.11", "--label", "switchlet.io/switch=true"]);
    lab.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "leaf1", "namespace": "switchlet"},
        "data": {"switch.yaml": SETTINGS},
    });
    lab.apply(&map.to_string());
    let switch = json!({
        "apiVersion": "switchlet.io/v1alpha1", "kind": "Switch",
        "metadata": {"name": "leaf1", "namespace": "switchlet"},
        "spec": {"nos": "frr", "configMaps": [{"name": "leaf1"}]},
    });
    lab.apply(&switch.to_string());
    let began = Instant::now();
    with_client(&lab, |client| Box::pin(populate(client, 0..vips())));
    eprintln!("{} Services with their EndpointSlices made in {:.0} s", vips(), began.elapsed().as_secs_f64());
    routes(&lab);

    let agent = lab.agent("leaf1");
    let pid = agent.pid();
    let mut memory = Table::new(&["resident memory of the agent", "now", "peak", "target"]);
    let mut remember = |what: &str, target: &str| {
        memory.row([what.to_owned(), rss(pid, "VmRSS"), rss(pid, "VmHWM"), target.to_owned()]);
    };
    all_ok(&lab, vips());
    std::thread::sleep(Duration::from_secs(12));
    remember("after the first lists", "");

    // Passes: by a hint of the kernel (a look, and the whole table for strays), and by a change of a Node.
    let mut passes = Table::new(&["a pass", "passes", "mean", "looking", "target"]);
    for (what, by_node) in [("by the kernel's hint", false), ("by a changed Node: derived anew", true)] {
        let before = Times::of(&lab);
        for round in 0..ROUNDS {
            if by_node {
                lab.kubectl(&["label", "--overwrite", "node", "worker-1", &format!("round=r{round}")]);
            } else {
                let action = if round % 2 == 0 { "add" } else { "del" };
                lab.lab(&["in", "leaf1", "ip", "route", action, "99.9.9.9/32", "dev", "fan"]);
            }
            std::thread::sleep(Duration::from_secs(3));
        }
        let Times { passes: count, pass, looks, look } = Times::of(&lab).since(&before);
        let millis = |sum: f64, count: f64| {
            if count > 0.0 { format!("{:.0} ms", sum / count * 1e3) } else { "?".to_owned() }
        };
        passes.row([
            what.to_owned(),
            count.to_string(),
            millis(pass, count),
            millis(look, looks),
            "≤ 200 ms".to_owned(),
        ]);
    }
    all_ok(&lab, vips());
    remember("after twenty passes", "");

    // Everything is listed anew: the server has forgotten what happened while the agent was asleep.
    signal(pid, "STOP");
    with_client(&lab, |client| Box::pin(populate(client, vips()..vips() + 1)));
    lab.lab(&[
        "in",
        "leaf1",
        "ip",
        "route",
        "add",
        &vip(vips()),
        "nhid",
        &GROUP.to_string(),
        "proto",
        "static",
        "metric",
        "20",
    ]);
    forget(&lab);
    reset_peak(pid);
    signal(pid, "CONT");
    all_ok(&lab, vips() + 1);
    std::thread::sleep(Duration::from_secs(5));
    let log = agent.log();
    assert!(
        log.contains("too old resource version") || log.contains("Expired") || log.contains("410"),
        "nothing was listed anew:\n{log}"
    );
    remember("all listed anew (from the peak's reset)", "peak ≤ 80 MB");

    // Reasons for what differs, against the table of zebra.
    let gone: Vec<String> = (0..100).map(|number| format!("route del {}/32\n", vip(number))).collect();
    let gone = gone.concat();
    let before = reset_peak(pid);
    batch(&lab, &gone);
    wait_for("the differences are seen", LONG, || {
        let seen = lab.endpoint("leaf1", "/metrics");
        if metric(&seen, "switchlet_vips{state=\"ok\"}") == Some(f64::from(vips() + 1 - 100)) {
            Ok(())
        } else {
            Err(seen)
        }
    });
    std::thread::sleep(Duration::from_secs(30));
    let after = number(pid, "VmHWM");
    remember("100 VIPs differ, reasons asked for", "");
    lab.endpoint("leaf1", "/v1/verdict");
    remember("after one GET of /v1/verdict", "");

    let zebra: u32 = fs::read_to_string(format!("{}/zebra.pid", lab.env["FRR_RUN_LEAF1"]))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let table = lab.lab(&["vtysh", "leaf1", "-c", "show ip route summary"]);
    let zebra_before = reset_peak(zebra);
    let vtysh = show_route(&lab);
    let zebra_after = number(zebra, "VmHWM");
    let mut reasons = Table::new(&["why do 100 of these VIPs differ", "grows by"]);
    reasons.row(["the agent, small questions to FRR".to_owned(), kib(after.saturating_sub(before))]);
    reasons.row([
        "zebra, `show ip route json` (peer)".to_owned(),
        kib(zebra_after.saturating_sub(zebra_before)),
    ]);
    reasons.row(["vtysh, the same".to_owned(), kib(vtysh)]);

    println!("{} VIPs with {NODES} next-hops each, {}", vips(), lab::binary());
    memory.print();
    passes.print();
    println!(
        "{}",
        table
            .lines()
            .filter(|line| line.contains("kernel") || line.contains("Totals"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    reasons.print();
}

type Work<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs `work` with an administrator's client, where the API server is.
fn with_client(lab: &Lab, work: impl for<'a> FnOnce(&'a kube::Client) -> Work<'a> + Send) {
    let (kubeconfig, namespace) = (lab.env["KUBECONFIG_ADMIN"].clone(), lab.env["NS_API"].clone());
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let file = File::open(format!("/run/netns/{namespace}")).expect("the server's namespace");
            setns(file, CloneFlags::CLONE_NEWNET).expect("setns");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let file = Kubeconfig::read_from(kubeconfig).unwrap();
                let config =
                    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
                work(&kube::Client::try_from(config).unwrap()).await;
            });
        });
        thread.join().unwrap();
    });
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a Kubernetes object")
}

/// Nodes, Services with their addresses, EndpointSlices.
async fn populate(client: &kube::Client, numbers: std::ops::Range<u32>) {
    let services: Api<Service> = Api::namespaced(client.clone(), "shop");
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "shop");
    let nodes: Api<Node> = Api::all(client.clone());
    let post = PostParams::default();
    if numbers.start == 0 {
        for node in 1..=NODES {
            let name = format!("worker-{node}");
            let labels = json!({"role": "worker", "kubernetes.io/hostname": name});
            nodes
                .create(&post, &object(json!({"metadata": {"name": name, "labels": labels}})))
                .await
                .unwrap();
            let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": hop(node)}]}});
            nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        }
    }
    let endpoints: Vec<Value> = (1..=NODES)
        .map(|node| json!({"addresses": [format!("10.200.{node}.1")], "nodeName": format!("worker-{node}"), "conditions": {"ready": true, "serving": true, "terminating": false}}))
        .collect();
    let one = |number: u32| {
        let (services, slices, post, endpoints) = (&services, &slices, &post, &endpoints);
        async move {
            let name = format!("web-{number}");
            // Policy Local would need a port for health checks, of which there are 2 768 in all.
            let service = object(json!({
                "metadata": {"name": name, "labels": {"app": "web"}},
                "spec": {
                    "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                    "ports": [{"port": 80}],
                },
            }));
            services.create(post, &service).await.unwrap();
            let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": vip(number)}]}}});
            services.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
            let slice = object(json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": endpoints,
            }));
            slices.create(post, &slice).await.unwrap();
        }
    };
    stream::iter(numbers).map(one).buffer_unordered(AT_ONCE).for_each(|()| std::future::ready(())).await;
}

/// The routes, on a port of their own; each uses one group of sixteen.
fn routes(lab: &Lab) {
    let mut lines = "link add fan type veth peer name fan-end\nlink set fan up\nlink set fan-end up\naddr add 10.66.0.1/24 dev fan\n".to_owned();
    for node in 1..=NODES {
        writeln!(lines, "nexthop add id {} via {} dev fan", GROUP + node, hop(node)).unwrap();
    }
    let group: Vec<String> = (1..=NODES).map(|node| (GROUP + node).to_string()).collect();
    writeln!(lines, "nexthop add id {GROUP} group {}", group.join("/")).unwrap();
    for number in 0..vips() {
        writeln!(lines, "route add {}/32 nhid {GROUP} proto static metric 20", vip(number)).unwrap();
    }
    batch(lab, &lines);
}

fn batch(lab: &Lab, lines: &str) {
    let mut child = Command::new("ip")
        .args(["-n", &lab.env["NS_LEAF1"], "-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("ip (iproute2)");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip -batch");
}

fn all_ok(lab: &Lab, vips: u32) {
    wait_for("every VIP is as expected", LONG, || {
        let seen = lab.endpoint("leaf1", "/metrics");
        let ok = metric(&seen, "switchlet_vips{state=\"ok\"}") == Some(f64::from(vips));
        let others = ["unknown", "converging", "diverged"]
            .iter()
            .all(|state| metric(&seen, &format!("switchlet_vips{{state=\"{state}\"}}")) == Some(0.0));
        if ok && others { Ok(()) } else { Err(seen) }
    });
}

fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Counts and sums of seconds since the agent's start.
struct Times {
    passes: f64,
    pass: f64,
    looks: f64,
    look: f64,
}

impl Times {
    fn of(lab: &Lab) -> Self {
        let seen = lab.endpoint("leaf1", "/metrics");
        let of = |name: &str| metric(&seen, name).unwrap_or(0.0);
        Self {
            passes: of("switchlet_pass_duration_seconds_count"),
            pass: of("switchlet_pass_duration_seconds_sum"),
            looks: of("switchlet_look_duration_seconds_count"),
            look: of("switchlet_look_duration_seconds_sum"),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            passes: self.passes - before.passes,
            pass: self.pass - before.pass,
            looks: self.looks - before.looks,
            look: self.look - before.look,
        }
    }
}

fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(done.success());
}

/// etcd forgets its history; the API server, made anew, never knew it.
fn forget(lab: &Lab) {
    for round in 0..5 {
        lab.lab(&["node", "worker-1", "--label", &format!("asleep=r{round}")]);
    }
    let etcd = |path: &str, body: &str| -> Value {
        let url = format!("http://127.0.0.1:2379{path}");
        serde_json::from_str(&lab.lab(&["in", "api", "curl", "-s", "--max-time", "20", &url, "-d", body]))
            .unwrap()
    };
    let revision = etcd("/v3/maintenance/status", "{}")["header"]["revision"].as_str().unwrap().to_owned();
    etcd("/v3/kv/compaction", &format!(r#"{{"revision":"{revision}","physical":true}}"#));
    lab.lab(&["api", "kill", "apiserver"]);
    lab.lab(&["api", "start", "apiserver"]);
}

/// A field of `/proc/PID/status`, KiB.
fn number(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
fn kib(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 * 1024.0 / 1e6)
}

fn rss(pid: u32, field: &str) -> String {
    kib(number(pid, field))
}

/// From now on the peak is that of now, which is returned.
fn reset_peak(pid: u32) -> u64 {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("clear_refs");
    number(pid, "VmRSS")
}

/// The peak of vtysh while it shows the whole table as JSON.
fn show_route(lab: &Lab) -> u64 {
    let mut child = Command::new("vtysh")
        .args(["-N", &lab.env["FRR_LEAF1"], "-c", "show ip route json"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("vtysh");
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(number(child.id(), "VmHWM"));
        std::thread::sleep(Duration::from_millis(1));
    }
    peak
}
