//! What a commit costs the traffic: a stream of a thousand datagrams a second, from the client through the leaf to a VIP on
//! three workers, while the configuration changes under it. And how long a bad commit stays, against `frr-reload.py` with
//! the same bad text, which stays for good.
//!
//! Every change must have taken place before its packets are counted, and the stream must have reached all workers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench starts processes and looks at the clock"
)]

#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/lab.rs"]
mod lab;
#[path = "../support/release.rs"]
mod release;
#[path = "../support/switch.rs"]
mod switch;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use figures::{Table, median, millis, worst};
use jiff::Timestamp;
use lab::{Agent, eventually, wait_for};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};
use release::Release;
use switch::{SETTINGS, Switch};

/// `COMMIT_ROUNDS` for a quick look: so often a bad commit is made.
fn rounds() -> u32 {
    std::env::var("COMMIT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

const VIP: &str = "203.0.113.10";
const PREFIX: &str = "203.0.113.10/32";
const PORT: u16 = 7001;
const SERVERS: [&str; 3] = ["s1", "s2", "s3"];
/// So many flows, so that all workers get some.
const FLOWS: usize = 32;
const PACE: Duration = Duration::from_millis(1);
/// `spec.apply.confirmTimeout`.
const WINDOW: u64 = 20;
const SOON: Duration = Duration::from_secs(60);
/// Before a change, and after it has settled.
const AROUND: Duration = Duration::from_secs(2);
/// What the agent waits for by rule: `bgp route-map delay-timer` and a second, where policy changes; else two seconds.
const DWELL_OF_POLICY: Duration = Duration::from_secs(6);
const LEAST_DWELL: Duration = Duration::from_secs(2);
const APPLIED: &str = "configuration applied, read back and saved";
const UNDONE: &str = "was undone, because of what it took away";
const SENT: &str = "sent commands";

/// An import filter that drops all VIPs; bgpd obeys it five seconds later, long after vtysh has returned. `number` makes a
/// text that was not tried before.
fn deny_all(number: u32) -> String {
    let filter = format!(
        "ip prefix-list SWITCHLET-SPARE seq {number} permit 198.51.100.0/24\n\
         route-map SWITCHLET-FROM-SPEAKERS deny 1\nexit\n!\n"
    );
    template("policies", &filter)
}

/// One that drops something that nobody announces.
fn deny_spare(sequence: u32) -> String {
    let filter = format!(
        "ip prefix-list SWITCHLET-SPARE seq 1000 permit 198.51.100.0/24\n\
         route-map SWITCHLET-FROM-SPEAKERS deny {sequence}\n match ip address prefix-list SWITCHLET-SPARE\nexit\n!\n"
    );
    template("policies", &filter)
}

fn template(block: &str, text: &str) -> String {
    format!(
        "{{% extends \"builtin/frr.conf.tera\" %}}\n{{% block {block} %}}{{{{ super() }}}}{text}{{% endblock %}}\n"
    )
}

fn objects(workers: u32) -> String {
    let switch = format!(
        "apiVersion: switchlet.io/v1alpha1\nkind: Switch\nmetadata: {{name: leaf1}}\n\
         spec: {{nos: frr, configMaps: [{{name: leaf1}}], apply: {{confirmTimeout: {WINDOW}s}}}}\n"
    );
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{type: LoadBalancer, externalTrafficPolicy: Cluster}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: {VIP}}}]}}}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         endpoints: [{{addresses: [10.0.1.1]}}]\n"
    );
    let all = switch::nodes();
    let nodes: Vec<&str> =
        all.split("---\n").filter(|node| !node.is_empty()).take(workers as usize).collect();
    [nodes.join("---\n"), switch, service].join("---\n")
}

fn main() {
    let Some(mut scene) = Scene::up() else { return };
    let guard = scene.switch.lab.guard("leaf1");
    let mut memory = Table::new(&["the guard", "resident", "peak", "target"]);
    let mut remember = |when: &str| {
        let status = fs::read_to_string(format!("/proc/{}/status", guard.pid())).unwrap();
        let [resident, peak] = ["VmRSS:", "VmHWM:"].map(|field| mebibytes(&status, field));
        memory.row([when.to_owned(), resident, peak, "≤ 4 MiB".to_owned()]);
    };
    let mut traffic = Table::new(&[
        "while the stream runs",
        "sent",
        "lost",
        "longest gap",
        "until FRR got it",
        "until settled",
        "of that dwell, by rule",
        "target",
    ]);
    let agent = scene.switch.agent();
    Switch::log_has(&agent, 0, APPLIED);
    scene.forwards(2);
    remember("idle");
    good(&mut scene, &agent, &mut traffic);
    remember("after it has watched over good commits");
    let (restored, dark) = bad(&mut scene, &agent, &mut traffic);
    remember("after bad ones too");
    drop(agent);
    by_hand(&scene, &mut traffic);

    println!("{}; window {WINDOW} s", lab::binary());
    traffic.print();
    let mut times = Table::new(&["a bad commit", "rounds", "median", "worst"]);
    let row = |what: &str, all: &[Duration]| {
        [what.to_owned(), all.len().to_string(), millis(median(all)), millis(worst(all))]
    };
    times.row(row("from its publication to the restored FIB", &restored));
    times.row(row("without traffic", &dark));
    times.print();
    memory.print();
}

/// Commits that must cost nothing.
fn good(scene: &mut Scene, agent: &Agent, traffic: &mut Table) {
    let none = "0 lost";
    let stream = Stream::start(scene);
    scene.switch.bundle.publish(&[("switch.yaml", &format!("# nothing new\n{SETTINGS}"))]);
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(agent.log().matches(SENT).count(), 1, "nothing was to be sent: {}", agent.log());
    traffic.row(stream.finish().row(["a no-op (a comment)", "", "", "", none]));

    let mut row = |stream: Stream, what: &str, [sent, settled, dwell]: [Duration; 3]| {
        let [sent, settled, dwell] = [sent, settled, dwell].map(millis);
        traffic.row(stream.finish().row([what, &sent, &settled, &dwell, none]));
    };
    let stream = Stream::start(scene);
    let (sent, settled) = scene.commit(agent, &deny_spare(1), APPLIED);
    scene.switch.runs("route-map SWITCHLET-FROM-SPEAKERS deny 1", true);
    row(stream, "a policy edit", [sent, settled, DWELL_OF_POLICY]);

    let stream = Stream::start(scene);
    let (began, from) = (Timestamp::now(), agent.log().len());
    fs::write(scene.switch.cluster.join("objects.yaml"), objects(3)).unwrap();
    let (sent, settled) = times(agent, from, began, APPLIED);
    scene.forwards(3);
    row(stream, "a neighbour comes", [sent, settled, LEAST_DWELL]);

    // A worker is away before and after: what was wrong may stay wrong.
    scene.switch.lab.lab(&["speaker", "kill", "s3"]);
    scene.forwards(2);
    let stream = Stream::start(scene);
    let (sent, settled) = scene.commit(agent, &deny_spare(2), APPLIED);
    row(stream, "a policy edit while one worker is down: confirmed", [sent, settled, DWELL_OF_POLICY]);
    scene.switch.lab.lab(&["speaker", "start", "s3"]);
    scene.switch.lab.lab(&["announce", "s3", PREFIX]);
    scene.forwards(3);
}

/// Commits that take all traffic away: how long until the table is restored, and how long nothing came.
fn bad(scene: &mut Scene, agent: &Agent, traffic: &mut Table) -> (Vec<Duration>, Vec<Duration>) {
    let (mut restored, mut dark) = (Vec::new(), Vec::new());
    for round in 1..=rounds() {
        // Without it the text of the last round is held.
        scene.commit(agent, &deny_spare(100 + round), APPLIED);
        let stream = Stream::start(scene);
        let began = Instant::now();
        let (sent, settled) = scene.commit(agent, &deny_all(round), UNDONE);
        scene.forwards(3);
        restored.push(began.elapsed());
        let seen = stream.finish();
        assert!(seen.lost() > 0, "the filter took no traffic away, so this proves nothing");
        dark.push(seen.longest());
        eprintln!("bad commit {round}: {} lost, undone after {}", seen.lost(), millis(settled));
        if round == 1 {
            traffic.row(seen.row([
                "a bad commit (drops all VIPs), undone",
                &millis(sent),
                &millis(settled),
                &millis(DWELL_OF_POLICY),
                &format!("≤ {WINDOW} s dark"),
            ]));
        }
    }
    (restored, dark)
}

/// The same text by frr-reload.py, and nobody who would undo it.
fn by_hand(scene: &Scene, traffic: &mut Table) {
    let watched = WINDOW + 20;
    let stream = Stream::start(scene);
    scene.reload();
    std::thread::sleep(Duration::from_secs(watched));
    assert_eq!(scene.hops(), 0, "somebody has undone what frr-reload.py did");
    let what = format!("the same by frr-reload.py --reload (peer), watched for {watched} s");
    traffic.row(stream.finish().row([&what, "", "never", "", ""]));
}

/// How long after `began` the agent sent commands, and said that it was over.
fn times(agent: &Agent, from: usize, began: Timestamp, end: &str) -> (Duration, Duration) {
    wait_for(end, Duration::from_secs(WINDOW) + SOON, || {
        let log = agent.log();
        if log[from..].contains(end) { Ok(()) } else { Err(log[from..].to_owned()) }
    });
    let log = agent.log();
    let at = |words: &str| {
        let line = log[from..].lines().find(|line| line.contains(words)).expect("a line of the log");
        let stamp: Timestamp = line.split_whitespace().next().unwrap().parse().expect("a time");
        Duration::try_from(stamp.duration_since(began)).unwrap()
    };
    (at(SENT), at(end))
}

/// A leaf on which speakers announce a VIP that their servers answer to.
struct Scene {
    switch: Switch,
}

impl Scene {
    fn up() -> Option<Self> {
        let switch = Switch::up(Release::V8_4, SETTINGS, &objects(2))?;
        for server in SERVERS {
            switch.lab.lab(&["vip", server, "add", VIP]);
            switch.lab.lab(&["announce", server, PREFIX]);
        }
        Some(Self { switch })
    }

    fn hops(&self) -> usize {
        self.switch.lab.kernel("leaf1", PREFIX).map_or(0, |hops| hops.len())
    }

    fn forwards(&self, to: usize) {
        wait_for(&format!("{to} next-hops"), SOON, || match self.hops() {
            hops if hops == to => Ok(()),
            other => Err(format!("{other} next-hops\n{}", self.switch.lab.running("leaf1"))),
        });
    }

    /// A bundle with this template; the times of the agent's words.
    fn commit(&mut self, agent: &Agent, template: &str, end: &str) -> (Duration, Duration) {
        let from = agent.log().len();
        let began = Timestamp::now();
        let mut texts = vec![("switch.yaml", SETTINGS)];
        if !template.is_empty() {
            texts.push(("frr.conf.tera", template));
        }
        self.switch.bundle.publish(&texts);
        times(agent, from, began, end)
    }
}

impl Scene {
    /// frr-reload.py with the bad text: what is saved now, and the filter.
    fn reload(&self) {
        let instance = &self.switch.lab.env["FRR_LEAF1"];
        let saved = fs::read_to_string(self.switch.lab.frr_conf("leaf1")).unwrap();
        let path = self.switch.lab.scratch("bad.conf");
        fs::write(&path, format!("{saved}route-map SWITCHLET-FROM-SPEAKERS deny 1\nexit\n")).unwrap();
        let output = Command::new("/usr/lib/frr/frr-reload.py")
            .args(["--reload", "--pathspace", instance, "--bindir", "/usr/bin", "--confdir", "/etc/frr"])
            .args(["--rundir", "/var/run/frr"])
            .arg(&path)
            .output()
            .expect("frr-reload.py");
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        self.switch.runs("route-map SWITCHLET-FROM-SPEAKERS deny 1", true);
        assert!(eventually(SOON, || self.hops() == 0), "the filter has no effect: {}", said());
    }
}

/// Numbered datagrams, one a millisecond, over several flows; the workers write down which have come.
struct Stream {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    sender: JoinHandle<u32>,
    receivers: Vec<JoinHandle<BTreeSet<u32>>>,
}

impl Stream {
    fn start(scene: &Scene) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let namespace = |name: &str| scene.switch.lab.env[&format!("NS_{}", name.to_uppercase())].clone();
        let listening = Arc::new(Barrier::new(SERVERS.len() + 1));
        let receivers = SERVERS.map(|server| {
            let (namespace, done, listening) = (namespace(server), done.clone(), listening.clone());
            std::thread::spawn(move || receive(&namespace, &done, &listening))
        });
        listening.wait();
        let (client, stopped) = (namespace("client"), stop.clone());
        let sender = std::thread::spawn(move || send(&client, &stopped));
        std::thread::sleep(AROUND);
        Self { stop, done, sender, receivers: receivers.into() }
    }

    /// Goes on for a moment, and ends.
    fn finish(self) -> Seen {
        std::thread::sleep(AROUND);
        self.stop.store(true, Ordering::SeqCst);
        let sent = self.sender.join().unwrap();
        // What is under way arrives.
        std::thread::sleep(Duration::from_millis(500));
        self.done.store(true, Ordering::SeqCst);
        let come = self.receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
        Seen { sent, come }
    }
}

fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace");
    setns(file, CloneFlags::CLONE_NEWNET).expect("setns");
}

fn send(namespace: &str, stop: &AtomicBool) -> u32 {
    enter(namespace);
    let flows: Vec<UdpSocket> = (0..FLOWS).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect();
    let began = Instant::now();
    let mut number = 0_u32;
    while !stop.load(Ordering::SeqCst) {
        let flow = &flows[number as usize % FLOWS];
        // Without a route the kernel of the leaf says so, to the sender too: that datagram is lost.
        let _ = flow.send_to(&number.to_be_bytes(), (VIP, PORT));
        number += 1;
        std::thread::sleep((began + PACE * number).saturating_duration_since(Instant::now()));
    }
    number
}

fn receive(namespace: &str, done: &AtomicBool, listening: &Barrier) -> BTreeSet<u32> {
    enter(namespace);
    let socket = UdpSocket::bind((VIP, PORT)).expect("the VIP is the server's");
    // A receiver that waits for a processor must not be what loses anything.
    setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    listening.wait();
    let mut come = BTreeSet::new();
    while !done.load(Ordering::SeqCst) {
        let mut number = [0; 4];
        if socket.recv(&mut number).is_ok() {
            come.insert(u32::from_be_bytes(number));
        }
    }
    come
}

/// What became of a stream.
struct Seen {
    sent: u32,
    come: BTreeSet<u32>,
}

impl Seen {
    fn lost(&self) -> usize {
        self.sent as usize - self.come.len()
    }

    /// So long nothing came; one datagram is a millisecond.
    fn longest(&self) -> Duration {
        let (mut longest, mut gap) = (0, 0);
        for number in 0..self.sent {
            gap = if self.come.contains(&number) { 0 } else { gap + 1 };
            longest = longest.max(gap);
        }
        PACE * longest
    }

    fn row(&self, [what, applied, settled, dwell, target]: [&str; 5]) -> [String; 8] {
        assert!(!self.come.is_empty(), "nothing came at all");
        let row = [
            what.to_owned(),
            self.sent.to_string(),
            self.lost().to_string(),
            millis(self.longest()),
            applied.to_owned(),
            settled.to_owned(),
            dwell.to_owned(),
            target.to_owned(),
        ];
        eprintln!("{}", row.join(" | "));
        row
    }
}

/// A field of `/proc/PID/status`.
fn mebibytes(status: &str, field: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field of /proc");
    let kib: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    format!("{:.1} MiB", kib / 1024.0)
}
