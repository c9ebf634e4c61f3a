//! What `ip -j route` says of the kernel's routes: the judge of our own reader.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::panic)]

use std::collections::BTreeMap;

use serde_json::Value;
use switchlet::net::{Hop, HopState, NextHop, Prefix, Route};

use crate::netns::ip;

/// A route reduced to what both sides can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: String,
    pub metric: u32,
    pub hops: Vec<Hop>,
}

/// Our route, reduced.
pub fn reduce(route: &Route) -> Seen {
    let mut hops = route.hops.to_vec();
    hops.sort();
    Seen { kind: route.kind.to_string(), metric: route.metric, hops }
}

/// The best route per prefix of table main (`-4`, `-6`), overlaid with the local addresses.
pub fn routes() -> BTreeMap<Prefix, Seen> {
    let mut best: BTreeMap<Prefix, Seen> = BTreeMap::new();
    for family in ["-4", "-6"] {
        for table in ["main", "local type local"] {
            let text = ip(&format!("-j {family} route show table {table}"));
            let listed: Vec<Value> =
                if text.trim().is_empty() { vec![] } else { serde_json::from_str(&text).unwrap() };
            for entry in &listed {
                let (prefix, seen) = read(family, entry);
                let local = table.starts_with("local");
                match best.get(&prefix) {
                    Some(old) if !local && old.metric <= seen.metric => {}
                    _ => drop(best.insert(prefix, seen)),
                }
            }
        }
    }
    best
}

fn read(family: &str, entry: &Value) -> (Prefix, Seen) {
    let prefix = match entry["dst"].as_str().unwrap() {
        "default" if family == "-4" => "0.0.0.0/0".parse().unwrap(),
        "default" => "::/0".parse().unwrap(),
        text => text.parse().unwrap(),
    };
    let kind = entry["type"].as_str().unwrap_or("unicast").to_owned();
    let hops = match entry["nexthops"].as_array() {
        _ if kind != "unicast" && kind != "local" => vec![],
        Some(hops) => hops.iter().map(hop).collect(),
        None if entry["dev"].is_null() => vec![],
        None => vec![hop(entry)],
    };
    let metric = entry["metric"].as_u64().map_or(0, |metric| u32::try_from(metric).unwrap());
    let mut seen = Seen { kind, metric, hops };
    seen.hops.sort();
    (prefix, seen)
}

fn hop(entry: &Value) -> Hop {
    let gateway = entry["gateway"].as_str().or_else(|| entry["via"]["host"].as_str());
    let flags: Vec<&str> = entry["flags"]
        .as_array()
        .map(|flags| flags.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let state = if flags.contains(&"dead") {
        HopState::Dead
    } else if flags.contains(&"linkdown") {
        HopState::LinkDown
    } else {
        HopState::Live
    };
    let device = entry["dev"].as_str().map(str::to_owned);
    Hop { next_hop: NextHop { address: gateway.map(|text| text.parse().unwrap()), device }, state }
}
