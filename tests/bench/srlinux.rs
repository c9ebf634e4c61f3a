//! SR Linux: what deriving and verifying a thousand VIPs costs us, and what reading the whole table once for every endpoint
//! costs, as the ancestor did, on the same stand-in in the same run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a bench starts processes and looks at the clock")]

#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/srlinux/mod.rs"]
mod srlinux;

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use figures::{Table, median, millis, timed, times_faster, worst};
use serde_json::Value;
use srlinux::{Emulator, Listen, Speaker};
use switchlet::change::dialect::srlinux::{OWNER, Srlinux, release};
use switchlet::change::diff::{Checked, Journal, Running};
use switchlet::change::{Dialect as _, Known};
use switchlet::fib::FibReader as _;
use switchlet::fib::srlinux::SrlinuxFib;
use switchlet::intent::language::SRLINUX;
use switchlet::intent::nexthops::Peers;
use switchlet::intent::render::{self, Texts};
use switchlet::intent::settings;
use switchlet::intent::snapshot::Bundle;
use switchlet::jsonrpc::Server;
use switchlet::net::{NextHop, Prefix};

const VIPS: usize = 1000;
const NODES: usize = 4;
const BACKGROUND: usize = 50_000;
const RUNS: usize = 9;

fn vip(index: usize) -> String {
    format!("203.0.{}.{}/32", 112 + index / 256, index % 256)
}

fn settings_text() -> String {
    // One pool a VIP, every second one, so that no two of them make one prefix: the most that a thousand VIPs can need.
    let mut pools = String::new();
    for index in 0..VIPS {
        write!(pools, "203.{}.{}.{}/32, ", index / 32_768, (index / 128) % 256, 2 * (index % 128)).unwrap();
    }
    format!(
        "version: 1\nasn: 65535\nrouterId: 10.0.0.1\nnetworkInstance: ip-vrf-1\nvips: {{pools: [{pools}203.0.112.0/20]}}\n\
         peering:\n  peerAsn: internal\n  nodes: {{selector: {{}}, subnets: [192.168.1.0/24]}}\n\
         resilientHash: {{maxPaths: 6, bucketsPerPath: 4}}\n"
    )
}

/// Processor time of this thread: the stand-in's threads do not count.
fn cpu() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

fn deriving(table: &mut Table) {
    let platform = release::platform("v25.3.2", "7220 IXR-D2L");
    let text = settings_text();
    let peers: Peers = (1..=NODES)
        .map(|node| {
            (format!("n{node}"), [NextHop::via(format!("192.168.1.1{node}").parse().unwrap())].into())
        })
        .collect();
    let fabric = Running {
        texts: [(
            OWNER.to_owned(),
            r#"{"network-instance":[{"name":"ip-vrf-1","type":"ip-vrf"}]}"#.to_owned(),
        )]
        .into(),
    };
    let settings = settings::parse(&text).unwrap();
    let times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let (commands, time) = timed(|| {
                let bundle = Bundle::default();
                let texts = Texts { bundle: &bundle, built_in: render::SRLINUX };
                let job = render::job("leaf1", &settings, &peers, &platform, texts);
                let (fitted, _) = (SRLINUX.fit)(render::render(&job).unwrap(), &platform).unwrap();
                let candidate = Srlinux.canonical(&fitted, &Checked::default()).unwrap();
                let journal = Journal::new();
                let known = Known { confirmed: None, adopt: &[], journal: &journal };
                Srlinux.plan(&fabric, &candidate, &known).unwrap().owners[OWNER].commands.len()
            });
            assert!(commands >= VIPS, "{commands}");
            time
        })
        .collect();
    table.row([
        "render, check, difference".to_owned(),
        "1000 prefixes".to_owned(),
        millis(median(&times)),
        millis(worst(&times)),
        "50 ms".to_owned(),
        "–".to_owned(),
    ]);
}

fn switch(background: usize) -> Emulator {
    let emulator = Emulator::start("v25.3.2", "7220 IXR-D2L", ("ip-vrf-1", "ip-vrf"), Listen::Unix);
    let mut switch = emulator.lock();
    let neighbors: Vec<Value> = (1..=NODES)
        .map(|n| serde_json::json!({"peer-address": format!("192.168.1.1{n}"), "peer-group": "g"}))
        .collect();
    switch.running["network-instance"][0]["protocols"] = serde_json::json!({"bgp": {"autonomous-system": 65535, "router-id": "10.0.0.1",
        "afi-safi": [{"afi-safi-name": "srl_nokia-common:ipv4-unicast", "admin-state": "enable", "multipath": {"ibgp": {"maximum-paths": 8}}}],
        "group": [{"group-name": "g", "peer-as": 65535}], "neighbor": neighbors}});
    let all: Vec<String> = (0..VIPS).map(vip).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    switch.network.speakers =
        (1..=NODES).map(|n| Speaker::new(&format!("192.168.1.1{n}"), 65535, &all)).collect();
    switch.network.background = background;
    switch.changed();
    drop(switch);
    emulator
}

/// Reads VIPs our way; the processor time and the wall time of one look.
fn ours(emulator: &Emulator, prefixes: &[Prefix]) -> (Duration, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Server::new(emulator.address().parse().unwrap(), None, None).unwrap();
    let mut fib = SrlinuxFib::new(server);
    fib.enter("ip-vrf-1");
    let mut times = Vec::new();
    let mut walls = Vec::new();
    for _ in 0..RUNS {
        let (began, wall) = (cpu(), Instant::now());
        let routes = runtime.block_on(fib.exact(prefixes)).unwrap();
        times.push(cpu().saturating_sub(began));
        walls.push(wall.elapsed());
        assert!(routes.iter().all(|route| route.as_ref().is_some_and(|route| route.live().len() == NODES)));
    }
    (median(&times), median(&walls))
}

/// The ancestor's way: the whole table for every endpoint address, taken apart, and one prefix looked for in it.
fn theirs(emulator: &Emulator, endpoints: usize) -> (Duration, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Server::new(emulator.address().parse().unwrap(), None, None).unwrap();
    let (began, wall) = (cpu(), Instant::now());
    for _ in 0..endpoints {
        let path = "/network-instance[name=ip-vrf-1]/route-table".to_owned();
        let table: Vec<Value> =
            runtime.block_on(server.get("state", [path], Duration::from_secs(120))).unwrap();
        let routes = table[0]["ipv4-unicast"]["route"].as_array().unwrap();
        let wanted = vip(0);
        assert!(routes.iter().any(|route| route["ipv4-prefix"] == *wanted));
    }
    (cpu().saturating_sub(began), wall.elapsed())
}

/// Resident memory of an agent that looks after a thousand VIPs on a switch with a large table, kB: now and at most.
fn agent(emulator: &Emulator) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["bundle", "cluster", "state"] {
        fs::create_dir(path(name)).unwrap();
    }
    let listed: Vec<String> =
        (1..=NODES).map(|n| format!("{{node: n{n}, address: 192.168.1.1{n}}}")).collect();
    fs::write(path("bundle/switch.yaml"), format!(
        "version: 1\nasn: 65535\nrouterId: 10.0.0.1\nnetworkInstance: ip-vrf-1\nvips: {{pools: [203.0.112.0/20]}}\n\
         peering:\n  peerAsn: internal\n  maxPrefixes: 2000\n  nodes: {{static: [{}], subnets: [192.168.1.0/24]}}\n", listed.join(", "))).unwrap();
    let mut objects = String::new();
    for n in 1..=NODES {
        write!(
            objects,
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: n{n}}}\nstatus: {{addresses: []}}\n"
        )
        .unwrap();
    }
    for index in 0..VIPS {
        write!(objects, "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{index}, namespace: d}}\nspec: {{type: LoadBalancer}}\n\
            status: {{loadBalancer: {{ingress: [{{ip: {}}}]}}}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
            metadata: {{name: s{index}, namespace: d, labels: {{kubernetes.io/service-name: s{index}}}}}\n\
            endpoints: [{{addresses: [10.0.0.1], nodeName: n1}}]\n", vip(index).trim_end_matches("/32")).unwrap();
    }
    fs::write(path("cluster/objects.yaml"), objects).unwrap();
    let binary =
        std::env::var_os("SWITCHLET_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_switchlet").into());
    let log = fs::File::create(path("log")).unwrap();
    let mut child = Command::new(binary)
        .args([
            "agent",
            "--node",
            "leaf1",
            "--nos",
            "srlinux",
            "--nos-address",
            &emulator.address(),
            "--listen",
            "127.0.0.1:0",
        ])
        .arg("--bundle")
        .arg(path("bundle"))
        .arg("--cluster")
        .arg(path("cluster"))
        .arg("--state-dir")
        .arg(path("state"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(25));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let number = |name: &str| -> u64 {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{}", fs::read_to_string(path("log")).unwrap()));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let found = (number("VmRSS"), number("VmHWM"));
    drop(child.kill());
    drop(child.wait());
    found
}

fn main() -> ExitCode {
    if let Some(code) = figures::as_a_child() {
        return code;
    }
    let mut table =
        Table::new(&["what", "of", "ours", "worst, or wall", "target", "the ancestor's way, 16 endpoints"]);
    deriving(&mut table);
    let prefixes: Vec<Prefix> = (0..VIPS).map(|index| vip(index).parse().unwrap()).collect();
    for background in [0, BACKGROUND] {
        let emulator = switch(background);
        let (time, wall) = ours(&emulator, &prefixes);
        // Of sixteen endpoints two are measured: the others are the same again.
        let (theirs, _) = theirs(&emulator, 2);
        table.row([
            "verify, our processor time".to_owned(),
            format!("1000 VIPs, {background} other routes"),
            millis(time),
            millis(wall),
            "100 ms".to_owned(),
            format!("{} ({})", millis(theirs * 8), times_faster(theirs * 8, time)),
        ]);
    }
    let emulator = switch(BACKGROUND);
    let (now, most) = agent(&emulator);
    table.row([
        "agent's memory".to_owned(),
        format!("{BACKGROUND} other routes"),
        format!("{} MB", now / 1000),
        format!("{} MB at most", most / 1000),
        "25 MB".to_owned(),
        "–".to_owned(),
    ]);
    table.print();
    ExitCode::SUCCESS
}
