//! One changed line in a long configuration: from "the candidate is valid" to "read back and equal", against
//! `frr-reload.py` making the same change on an instance of its own.
//!
//! Both must really have made it before their time counts: vtysh is asked afterwards, not either of them. The text is a
//! literal `frr.conf`, so that both sides answer for every line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench starts processes and looks at the clock"
)]

#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/frr.rs"]
mod frr;
#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/release.rs"]
mod release;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use figures::{Table, median, millis, timed, times_faster};
use frr::{Frr, Netns};
use release::Release;
use switchlet::change::dialect::frr::Frr as FrrDialect;
use switchlet::change::diff::Candidate;
use switchlet::change::{Dialect, Known};
use switchlet::nos::frr::{FrrDriver, Hand, Places};
use switchlet::nos::{Hold, NosDriver, Validator};

/// `CHANGES_RUNS` for a quick look.
fn runs() -> u32 {
    std::env::var("CHANGES_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// `CHANGES_ONLY`, a part of `10.3 neighbour's AS 1000`, for a quick look.
fn is_wanted(release: Release, what: &str, lines: u32) -> bool {
    let name = format!("{} {what} {lines}", release.number());
    std::env::var("CHANGES_ONLY").map_or(true, |only| name.contains(&only))
}

const DAEMONS: [&str; 4] = ["zebra", "staticd", "bgpd", "bfdd"];

fn main() -> ExitCode {
    if let Some(code) = figures::as_a_child() {
        return code;
    }
    let mut changes = Table::new(&[
        "change",
        "FRR",
        "lines",
        "switchlet",
        "frr-reload (peer)",
        "ratio",
        "target",
        "valid: switchlet",
        "--test (peer)",
    ]);
    for release in [Release::V8_4, Release::V10_3] {
        if !frr::can_run(release) {
            continue;
        }
        for kind in [Kind::Network, Kind::Neighbor, Kind::PrefixList] {
            for lines in [1_000, 10_000] {
                // Its load is quadratic in 8.4: half an hour.
                let endless = (release, kind, lines) == (Release::V8_4, Kind::PrefixList, 10_000);
                if !endless && is_wanted(release, kind.name(), lines) {
                    changes.row(Pair::start(release, kind, lines).one_line());
                }
            }
        }
        if is_wanted(release, "100 go", 1_000) {
            changes.row(Pair::start(release, Kind::Neighbor, 1_000).deletions());
        }
    }
    println!("{} runs each, medians", runs());
    changes.print();
    ExitCode::SUCCESS
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Network,
    Neighbor,
    PrefixList,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Neighbor => "neighbour's AS",
            Self::PrefixList => "prefix-list entry",
        }
    }

    /// `lines` lines in FRR's own spelling, of which one says `round`, and the last `fewer` are not there.
    fn text(self, lines: u32, round: u32, fewer: u32) -> String {
        let mut text = "frr defaults datacenter\n".to_owned();
        let address = |n: u32| format!("{}.{}", n / 256, n % 256);
        match self {
            Self::Network => {
                text += "router bgp 65001\n !\n address-family ipv4 unicast\n";
                for n in 0..lines - fewer {
                    let first = if n == lines / 2 { 30 + round } else { 20 };
                    writeln!(text, "  network {first}.0.{}/32", address(n)).unwrap();
                }
                text += " exit-address-family\nexit\n";
            }
            Self::Neighbor => {
                text += "router bgp 65001\n";
                for n in 0..lines - fewer {
                    let asn = if n == lines / 2 { 65_100 + round } else { 65_002 };
                    writeln!(text, " neighbor 10.1.{} remote-as {asn}", address(n)).unwrap();
                }
                text += "exit\n";
            }
            Self::PrefixList => {
                for n in 0..lines - fewer {
                    let length = if n == lines / 2 { 24 + round } else { 24 };
                    writeln!(text, "ip prefix-list LONG seq {} permit 10.{}.0/{length}", n + 1, address(n))
                        .unwrap();
                }
            }
        }
        text + "end\n"
    }
}

/// Two instances of FRR with the same text: one for each side.
struct Pair {
    ours: Frr,
    theirs: Frr,
    release: Release,
    kind: Kind,
    lines: u32,
}

/// What the rounds of one row took.
#[derive(Default)]
struct Rounds {
    ours: Vec<Duration>,
    theirs: Vec<Duration>,
    checks: Vec<Duration>,
    tests: Vec<Duration>,
}

impl Pair {
    fn start(release: Release, kind: Kind, lines: u32) -> Self {
        eprintln!("FRR {}, {lines} lines of kind {}", release.number(), kind.name());
        let text = kind.text(lines, 0, 0);
        let start = |role: &str| Frr::start(release, Netns::new(role), &DAEMONS, &text);
        Self { ours: start("o"), theirs: start("t"), release, kind, lines }
    }

    /// One line says something else in each round.
    fn one_line(&self) -> [String; 9] {
        let mut rounds = Rounds::default();
        for round in 1..=runs() {
            self.round(&self.kind.text(self.lines, round, 0), &mut rounds);
        }
        self.show(&format!("one {}", self.kind.name()), "≥ 3×", &rounds)
    }

    /// A hundred go; what is not measured is how they come again.
    fn deletions(&self) -> [String; 9] {
        let mut rounds = Rounds::default();
        let (all, fewer) = (self.kind.text(self.lines, 0, 0), self.kind.text(self.lines, 0, 100));
        for _ in 0..runs() {
            self.round(&fewer, &mut rounds);
            self.round(&all, &mut Rounds::default());
        }
        self.show(&format!("100 neighbours of {} go", self.lines), "≥ 10×", &rounds)
    }

    fn round(&self, text: &str, rounds: &mut Rounds) {
        let (change, check) = self.switchlet(text);
        rounds.ours.push(change);
        rounds.checks.push(check);
        rounds.tests.push(self.reload(text, "--test"));
        rounds.theirs.push(self.reload(text, "--reload"));
    }

    fn show(&self, what: &str, target: &str, rounds: &Rounds) -> [String; 9] {
        let Rounds { ours, theirs, checks, tests } = rounds;
        let [ours, theirs, checks, tests] = [ours, theirs, checks, tests].map(|times| median(times));
        let row = [
            what.to_owned(),
            self.release.number().to_owned(),
            self.lines.to_string(),
            millis(ours),
            millis(theirs),
            times_faster(theirs, ours),
            target.to_owned(),
            millis(checks),
            millis(tests),
        ];
        eprintln!("{}", row.join(" | "));
        row
    }

    /// The library's own way; the time of the change, and that of the validator before it.
    fn switchlet(&self, text: &str) -> (Duration, Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let places =
                Places { root: self.ours.root.clone(), instance: Some(self.ours.instance().to_owned()) };
            let mut driver = FrrDriver::new(places, Hand::Auto);
            let texts = BTreeMap::from([("frr".to_owned(), text.to_owned())]);
            let candidate = Candidate { literal: texts.clone(), texts };
            let began = std::time::Instant::now();
            let candidate = match driver.validator().check(&candidate).await {
                Ok(checked) => FrrDialect.canonical(&candidate, &checked).expect("a valid text"),
                // The text is in FRR's own spelling already: the change can be measured without that word.
                Err(error) => {
                    eprintln!("validating: {error}");
                    candidate
                }
            };
            let valid = began.elapsed();
            let known = Known { confirmed: None, adopt: &[], journal: &BTreeMap::new() };
            let began = std::time::Instant::now();
            let running = driver.running().await.expect("running");
            let plan = FrrDialect.plan(&running, &candidate, &known).expect("a plan");
            let read = began.elapsed();
            assert!(!plan.is_empty(), "nothing to do");
            let complaints = driver.apply(&plan, Hold::None).await.expect("applied");
            let applied = began.elapsed();
            let running = driver.running().await.expect("running");
            let left = FrrDialect.plan(&running, &candidate, &known).expect("a plan");
            let change = began.elapsed();
            assert!(left.is_empty(), "{:?} {complaints:?}", left.lines());
            if std::env::var_os("CHANGES_STEPS").is_some() {
                eprintln!(
                    "read and planned {read:?}, applied {:?}, read back {:?}",
                    applied.saturating_sub(read),
                    change.saturating_sub(applied)
                );
            }
            is_in_force(&self.ours, text);
            (change, valid)
        })
    }

    /// frr-reload.py of the same release.
    fn reload(&self, text: &str, how: &str) -> Duration {
        let (root, instance) = (&self.theirs.root, self.theirs.instance());
        let inside = format!("/etc/frr/{instance}/wanted.conf");
        fs::write(root.join(&inside[1..]), text).unwrap();
        let mut command = if root == Path::new("/") {
            Command::new("/usr/lib/frr/frr-reload.py")
        } else {
            // Only what is entered may see another /proc, and Python wants none.
            let mut command = Command::new("chroot");
            command.arg(root).args(["/usr/bin/python3", "/usr/lib/frr/frr-reload.py"]);
            command
        };
        let (confdir, rundir) = ("/etc/frr", "/var/run/frr");
        command
            .args([
                how,
                "--pathspace",
                instance,
                "--bindir",
                "/usr/bin",
                "--confdir",
                confdir,
                "--rundir",
                rundir,
            ])
            .arg(&inside)
            .stdin(Stdio::null());
        let (output, took) = timed(|| command.output().expect("frr-reload.py"));
        if how == "--reload" {
            let said = || {
                format!(
                    "{}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                )
            };
            assert!(matches(&self.theirs, text), "frr-reload.py did not make the change: {}", said());
        }
        took
    }
}

/// The lines that tell: what vtysh shows beside them is FRR's own.
fn telling(text: &str) -> Vec<&str> {
    let ours = |line: &&str| {
        ["network ", "neighbor ", "ip prefix-list "].iter().any(|start| line.starts_with(start))
    };
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(ours).collect();
    lines.sort_unstable();
    lines
}

fn matches(frr: &Frr, text: &str) -> bool {
    let shown = frr.show("show running-config");
    let unsaid = |line: &&str| !line.ends_with(" activate");
    telling(&shown).into_iter().filter(unsaid).eq(telling(text))
}

fn is_in_force(frr: &Frr, text: &str) {
    assert!(matches(frr, text), "vtysh shows something else");
}
