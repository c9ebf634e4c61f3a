//! How long FRR takes to show what a change has done.
//!
//! vtysh returns in a fiftieth of a second, and a filter takes its VIP away five seconds later: bgpd waits for more
//! changes of policy before it looks at its routes again.

use std::time::Duration;

use super::{neighbor, tree};
use crate::change::diff::OwnerPlan;
use crate::change::impact::Class;

/// `bgp route-map delay-timer`, seconds: FRR's default (`bgpd/bgpd.h`, `RMAP_DEFAULT_UPDATE_TIMER`).
const DELAY_TIMER: u64 = 5;
/// Hold time, seconds: FRR's default (`bgpd/bgpd.h`, `BGP_DEFAULT_HOLDTIME`), and that of its profile `datacenter`.
const HOLD: u64 = 180;
const DATACENTER_HOLD: u64 = 9;
/// Everything else is in the kernel by then.
const LEAST: Duration = Duration::from_secs(2);

/// How long until the effect of `plan` on `running` can be seen.
pub(super) fn of(plan: &OwnerPlan, running: &str) -> Duration {
    let OwnerPlan { add, remove, impact, commands: _, start: _, globals: _ } = plan;
    let second = Duration::from_secs(1);
    let mut dwell = LEAST;
    let speaks = tree::flatten(running)
        .iter()
        .any(|path| path[0].starts_with("router bgp ") && neighbor(&path[path.len() - 1]).is_some());
    // Without a neighbour there is no route that policy could change.
    if speaks && add.iter().chain(remove).any(|line| is_policy(line)) {
        dwell = dwell.max(Duration::from_secs(delay_timer(running)) + second);
    }
    if impact.class >= Class::SessionReset {
        dwell = dwell.max(Duration::from_secs(hold_time(running)) + second);
    }
    dwell
}

fn is_policy(line: &str) -> bool {
    let filters = [
        "ip prefix-list ",
        "ipv6 prefix-list ",
        "route-map ",
        "bgp community-list ",
        "bgp large-community-list ",
    ];
    filters.iter().any(|filter| line.starts_with(filter))
        || [" route-map ", " prefix-list ", " filter-list "].iter().any(|word| line.contains(word))
}

fn delay_timer(running: &str) -> u64 {
    numbers(running, "bgp route-map delay-timer ")
        .next()
        .and_then(|seconds| seconds.first().copied())
        .unwrap_or(DELAY_TIMER)
}

/// The longest that any neighbour has.
fn hold_time(running: &str) -> u64 {
    let datacenter = running.lines().any(|line| line.trim() == "frr defaults datacenter");
    let default = if datacenter { DATACENTER_HOLD } else { HOLD };
    let global =
        numbers(running, "timers bgp ").next().and_then(|pair| pair.get(1).copied()).unwrap_or(default);
    let lines = running.lines().map(str::trim);
    let of_peer = lines.filter_map(|line| {
        let (_, timers) = line.strip_prefix("neighbor ")?.split_once(" timers ")?;
        timers.split(' ').nth(1)?.parse::<u64>().ok()
    });
    of_peer.max().map_or(global, |longest| longest.max(if global == default { 0 } else { global }))
}

/// The numbers behind `words`, of every line that begins so.
fn numbers<'a>(running: &'a str, words: &'a str) -> impl Iterator<Item = Vec<u64>> + 'a {
    running
        .lines()
        .filter_map(move |line| line.trim().strip_prefix(words))
        .map(|rest| rest.split(' ').filter_map(|word| word.parse().ok()).collect())
}
