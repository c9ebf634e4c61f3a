//! What it costs to verify 1 000 VIPs among 100 000 routes: the netlink reader against `ip -j route`.
//!
//! Both sides answer the same question, "does each VIP forward to exactly its expected next-hops?", and both
//! must answer it correctly before their time counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

#[path = "../support/netns.rs"]
mod netns;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use netns::{in_namespace, ip_batch, three_ports};
use switchlet::fib::netlink::NetlinkFib;
use switchlet::net::{NextHop, Prefix};

const ROUTES: u32 = 100_000;
const VIPS: u32 = 1_000;
const RUNS: usize = 9;
const HOPS: [&str; 3] = ["10.9.1.2", "10.9.2.2", "10.9.3.2"];

fn main() {
    in_namespace(|| {
        three_ports();
        load();
        let vips: Vec<Prefix> = (0..VIPS).map(|n| Prefix::host(vip(n))).collect();
        let hops: Vec<NextHop> = HOPS.iter().map(|hop| NextHop::via(hop.parse().unwrap())).collect();
        let expected: HashMap<Prefix, Vec<NextHop>> = vips.iter().map(|vip| (*vip, hops.clone())).collect();
        let mut fib = NetlinkFib::open().unwrap();

        let look_ups = measure(|| by_look_up(&mut fib, &vips, &expected));
        let dump = measure(|| by_dump(&mut fib, &expected));
        let pools = measure(|| few_pools(&mut fib));
        let json = measure(|| by_json(&expected));

        println!("{VIPS} VIPs of {ROUTES} routes with 3 next-hops each, {RUNS} runs");
        println!("{:<44} {:>10} {:>10} {:>10} {:>8}", "way", "median", "best", "worst", "ratio");
        for (name, times) in [
            ("ip -j route, parsed and compared", &json),
            ("dump, all routes kept, compared", &dump),
            ("dump, 4 pools of 256 routes kept", &pools),
            ("point look-ups, hops resolved, compared", &look_ups),
        ] {
            let ratio = median(&json).as_secs_f64() / median(times).as_secs_f64();
            println!(
                "{name:<44} {:>10} {:>10} {:>10} {ratio:>7.1}x",
                show(median(times)),
                show(times[0]),
                show(times[RUNS - 1])
            );
        }
    });
}

fn vip(number: u32) -> IpAddr {
    // Spread over the table, so that neither side profits from neighbours.
    let n = number * (ROUTES / VIPS);
    let [_, b, c, d] = n.to_be_bytes();
    IpAddr::from([20, b, c, d])
}

fn load() {
    let mut batch = String::new();
    for n in 0..ROUTES {
        let [_, b, c, d] = n.to_be_bytes();
        writeln!(
            batch,
            "route add 20.{b}.{c}.{d}/32 proto bgp nexthop via {} nexthop via {} nexthop via {}",
            HOPS[0], HOPS[1], HOPS[2]
        )
        .unwrap();
    }
    ip_batch(&batch, false);
}

fn by_look_up(fib: &mut NetlinkFib, vips: &[Prefix], expected: &HashMap<Prefix, Vec<NextHop>>) -> usize {
    let answers = fib.exact_now(vips).unwrap();
    answers.iter().flatten().filter(|route| expected.get(&route.prefix) == Some(&route.live())).count()
}

fn by_dump(fib: &mut NetlinkFib, expected: &HashMap<Prefix, Vec<NextHop>>) -> usize {
    let pool: Prefix = "20.0.0.0/8".parse().unwrap();
    let routes = fib.within_now(&[pool]).unwrap();
    routes.iter().filter(|route| expected.get(&route.prefix) == Some(&route.live())).count()
}

/// The reading for routes nobody asked for: the table streams by, and a hundredth of it is kept.
fn few_pools(fib: &mut NetlinkFib) -> usize {
    let pools =
        ["20.0.1.0/24", "20.0.77.0/24", "20.1.0.0/24", "20.1.100.0/24"].map(|pool| pool.parse().unwrap());
    let kept = fib.within_now(&pools).unwrap().len();
    assert_eq!(kept, 4 * 256);
    VIPS as usize
}

fn by_json(expected: &HashMap<Prefix, Vec<NextHop>>) -> usize {
    let output = Command::new("ip").args(["-j", "route", "show", "table", "main"]).output().unwrap();
    let routes: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut right = 0;
    for route in &routes {
        let Some(prefix) = route["dst"].as_str().and_then(|dst| dst.parse::<Prefix>().ok()) else { continue };
        let Some(expected) = expected.get(&prefix) else { continue };
        let hops: BTreeSet<IpAddr> = route["nexthops"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|hop| hop["flags"].as_array().is_none_or(Vec::is_empty))
            .filter_map(|hop| hop["gateway"].as_str()?.parse().ok())
            .collect();
        right += usize::from(expected.iter().filter_map(|hop| hop.address).eq(hops));
    }
    right
}

/// Times of all runs, ascending.
fn measure(mut work: impl FnMut() -> usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        let right = work();
        times.push(start.elapsed());
        assert_eq!(right, VIPS as usize, "a wrong answer has no speed");
    }
    times.sort();
    times
}

fn median(times: &[Duration]) -> Duration {
    times[times.len() / 2]
}

fn show(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
