//! What the safety of rendering costs: the same job in a limited child, and in the process itself.
//!
//! Both must give the same text before their time counts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a bench starts processes and looks at the clock")]

#[path = "../support/figures.rs"]
mod figures;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use figures::{Table, median, millis, timed, worst};
use switchlet::change::diff::Candidate;
use switchlet::intent::nexthops::Peers;
use switchlet::intent::platform::Platform;
use switchlet::intent::render::{self, Job, Texts};
use switchlet::intent::snapshot::Bundle;
use switchlet::intent::{render as templates, settings};
use switchlet::net::NextHop;
use switchlet::sandbox;

const LINES: usize = 10_000;
const RUNS: usize = 15;
const TARGET: Duration = Duration::from_millis(50);

const SETTINGS: &str = "
version: 1
asn: 65001
vips: {pools: [203.0.113.0/24]}
peering:
  peerAsn: external
  nodes: {selector: {matchLabels: {role: worker}}, subnets: [10.0.0.0/8]}
  timers: {hold: 9s, keepalive: 3s}
";

fn main() -> ExitCode {
    if let Some(code) = figures::as_a_child() {
        return code;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut table = Table::new(&[
        "rendering",
        "lines",
        "in a child",
        "worst",
        "target",
        "in process (peer)",
        "child ÷ peer",
        "the static binary's child",
    ]);
    for (what, job) in [
        ("nothing but the start", nothing()),
        ("neighbours by the built-in", neighbours()),
        ("a loop of its own", looped()),
        ("plain text in a template", plain()),
    ] {
        let here = render::render(&job).expect("a good template");
        let in_process = measure(&here, || render::render(&job).unwrap());
        let in_child = measure(&here, || runtime.block_on(sandbox::render(&job)).unwrap());
        let shipped = std::env::var("SWITCHLET_BINARY").ok();
        let shipped = shipped.map(|binary| millis(median(&measure(&here, || by(&binary, &job)))));
        let lines: usize = here.texts.values().map(|text| text.lines().count()).sum();
        let ratio = median(&in_child).as_secs_f64() / median(&in_process).as_secs_f64();
        table.row([
            what.to_owned(),
            lines.to_string(),
            millis(median(&in_child)),
            millis(worst(&in_child)),
            if lines >= LINES { format!("≤ {}", millis(TARGET)) } else { String::new() },
            millis(median(&in_process)),
            format!("{ratio:.1}"),
            shipped.unwrap_or_else(|| "no SWITCHLET_BINARY".to_owned()),
        ]);
    }
    println!("{RUNS} runs each, medians");
    table.print();
    ExitCode::SUCCESS
}

fn measure(expected: &Candidate, mut work: impl FnMut() -> Candidate) -> Vec<Duration> {
    let once = |_| {
        let (candidate, took) = timed(&mut work);
        assert_eq!(&candidate, expected, "a wrong text has no speed");
        took
    };
    (0..RUNS).map(once).collect()
}

/// The child of another binary, by hand.
fn by(binary: &str, job: &Job) -> Candidate {
    let mut child = Command::new(binary)
        .arg(sandbox::SUBCOMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the static release");
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(job).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let mut answer: BTreeMap<String, Candidate> = serde_json::from_slice(&output.stdout).unwrap();
    answer.remove("Rendered").expect("a rendering")
}

fn job(settings: &str, peers: &Peers, own: Option<&str>) -> Job {
    let settings = settings::parse(settings).expect("good settings");
    let texts: BTreeMap<String, String> =
        own.map(|text| ("frr.conf.tera".to_owned(), text.to_owned())).into_iter().collect();
    let bundle = Bundle { texts };
    render::job(
        "leaf1",
        &settings,
        peers,
        &Platform::default(),
        Texts { bundle: &bundle, built_in: templates::FRR },
    )
}

fn nothing() -> Job {
    job(SETTINGS, &Peers::new(), Some("! nothing\n"))
}

fn neighbours() -> Job {
    let peer = |n: usize| {
        let address = format!("10.{}.{}.{}", n / 65_536, n / 256 % 256, n % 256).parse().unwrap();
        (format!("worker-{n}"), [NextHop::via(address)].into())
    };
    job(SETTINGS, &(1..=LINES).map(peer).collect(), None)
}

fn looped() -> Job {
    let mut settings = format!("{SETTINGS}vars:\n  blocked:\n");
    for n in 0..LINES {
        writeln!(settings, "  - 10.{}.{}.0/24", n / 256, n % 256).unwrap();
    }
    let template = "{% for prefix in vars.blocked -%}
ip prefix-list SWITCHLET-BLOCKED seq {{ loop.index }} deny {{ prefix }}
{% endfor -%}
";
    job(&settings, &Peers::new(), Some(template))
}

fn plain() -> Job {
    let mut text = String::new();
    for n in 0..LINES {
        writeln!(text, "ip prefix-list SWITCHLET-BLOCKED seq {} deny 10.{}.{}.0/24", n + 1, n / 256, n % 256)
            .unwrap();
    }
    job(SETTINGS, &Peers::new(), Some(&text))
}
