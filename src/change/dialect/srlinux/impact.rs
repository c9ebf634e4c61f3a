//! What a change does to what runs: which sessions end, and how bad the worst of it is.
//!
//! SR Linux applies policies to the routes it has; a group's AS, timers, transport or families end the sessions of
//! its neighbours. A leaf that stands in no rule here is of the worst class.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::owned::{Kind, bgp_of, group, key, unit_of, units};
use super::tree::{Leaves, Node, Path, same, show};
use crate::change::impact::{Class, Impact};
use crate::net::Prefix;

/// Something that a change touches, as it was and as it will be.
#[derive(Debug, Clone)]
pub(super) enum Touched<'a> {
    /// An entry; its leaves.
    Entry { kind: Kind, path: &'a [Node], old: Vec<Leaf<'a>>, new: Vec<Leaf<'a>> },
    /// A leaf outside of entries; its value until now.
    Leaf { path: &'a Path, old: Option<String> },
}

/// One leaf and its value.
pub(super) type Leaf<'a> = (&'a Path, &'a Value);

pub(super) fn foretell(touched: &[Touched<'_>], running: &Leaves) -> Impact {
    touched.iter().map(|one| of_one(one, running)).fold(Impact::default(), Impact::and)
}

fn of_one(touched: &Touched<'_>, running: &Leaves) -> Impact {
    match touched {
        Touched::Leaf { path, old } => of_leaf(path, old.as_deref(), running),
        Touched::Entry { kind: Kind::Policy | Kind::Resilient, .. } => class(Class::Policy),
        Touched::Entry { kind, path, old, new } => {
            let name = key(path).unwrap_or_default().to_owned();
            match (kind, old.is_empty(), new.is_empty()) {
                (_, true, _) => class(Class::Add),
                (Kind::Group, false, true) => {
                    Impact { class: Class::Remove, ..members(path, &name, running) }
                }
                (Kind::Group, false, false) => of_group(path, &name, (old, new), running),
                (Kind::Range, false, gone) => {
                    let ranges = name.parse::<Prefix>().into_iter().collect();
                    let class = if gone { Class::Remove } else { Class::SessionReset };
                    Impact { class, ranges, apart: configured(running), ..Impact::default() }
                }
                (_, false, gone) => {
                    let sessions = BTreeSet::from([name]);
                    if gone {
                        Impact { class: Class::Remove, gone: sessions.clone(), sessions, ..Impact::default() }
                    } else {
                        Impact { class: Class::SessionReset, sessions, ..Impact::default() }
                    }
                }
            }
        }
    }
}

fn class(class: Class) -> Impact {
    Impact { class, ..Impact::default() }
}

/// The configured neighbours: they do not come by a range.
fn configured(running: &Leaves) -> BTreeSet<String> {
    let all = units(running);
    all.iter()
        .filter(|(_, kind)| **kind == Kind::Neighbor)
        .filter_map(|(path, _)| key(path))
        .map(str::to_owned)
        .collect()
}

/// All that belongs to the group `name` of the BGP that `path` lies in.
fn members(path: &[Node], name: &str, running: &Leaves) -> Impact {
    let mut impact = class(Class::SessionReset);
    for (unit, kind) in units(running) {
        if bgp_of(&unit) != bgp_of(path) || group(running, &unit) != Some(name) {
            continue;
        }
        let Some(member) = key(&unit) else { continue };
        match kind {
            Kind::Range => impact.ranges.extend(member.parse::<Prefix>()),
            _ => drop(impact.sessions.insert(member.to_owned())),
        }
    }
    impact.apart = configured(running);
    impact
}

/// A group that goes on: the worst of its leaves that differ.
fn of_group(path: &[Node], name: &str, (old, new): (&[Leaf<'_>], &[Leaf<'_>]), running: &Leaves) -> Impact {
    let old: BTreeMap<&Path, &Value> = old.iter().copied().collect();
    let new: BTreeMap<&Path, &Value> = new.iter().copied().collect();
    let differs = |leaf: &&Path| match (old.get(*leaf), new.get(*leaf)) {
        (Some(old), Some(new)) => !same(old, new),
        _ => true,
    };
    let all: BTreeSet<&Path> = old.keys().chain(new.keys()).copied().collect();
    let mut impact = Impact::default();
    for leaf in all.into_iter().filter(differs) {
        let inside: Vec<&str> = leaf[path.len()..].iter().map(|step| &*step.name).collect();
        impact = impact.and(match inside.as_slice() {
            ["description" | "import-policy" | "export-policy"] => class(Class::Policy),
            ["afi-safi", _, "prefix-limit" | "prefix-limit-received" | "prefix-limit-accepted", ..] => {
                class(Class::Policy)
            }
            ["timers", "minimum-advertisement-interval"] => class(Class::Policy),
            [
                "admin-state" | "peer-as" | "local-as" | "timers" | "transport" | "authentication"
                | "multihop" | "failure-detection" | "afi-safi",
                ..,
            ] => members(path, name, running),
            _ => unknown(leaf).and(members(path, name, running)),
        });
    }
    impact
}

fn of_leaf(path: &Path, old: Option<&str>, running: &Leaves) -> Impact {
    let Some(bgp) = bgp_of(path) else { return unknown(path) };
    let inside: Vec<&str> = path[bgp.len()..].iter().map(|step| &*step.name).collect();
    let runs = units(running).keys().any(|unit| bgp_of(unit) == Some(bgp));
    match inside.as_slice() {
        ["preference", ..] | ["afi-safi", "multipath", ..] => class(Class::Policy),
        // Nothing ran that it could end.
        ["autonomous-system" | "router-id" | "admin-state"] | ["afi-safi", "admin-state"] if !runs => {
            class(Class::Add)
        }
        ["afi-safi", "admin-state"] if old.is_none_or(|old| old == "disable") => class(Class::Add),
        ["router-id" | "admin-state"] if old.is_none() => class(Class::Add),
        ["autonomous-system" | "router-id" | "admin-state"] | ["afi-safi", "admin-state"] => {
            let sessions = units(running)
                .into_iter()
                .filter(|(unit, _)| bgp_of(unit) == Some(bgp) && unit_of(unit).is_some())
                .filter(|(_, kind)| matches!(kind, Kind::Neighbor | Kind::Interface));
            let mut impact = class(Class::SessionReset);
            impact.sessions.extend(sessions.filter_map(|(unit, _)| key(&unit).map(str::to_owned)));
            let ranges = units(running).into_iter().filter(|(_, kind)| *kind == Kind::Range);
            impact.ranges.extend(ranges.filter_map(|(unit, _)| key(&unit)?.parse::<Prefix>().ok()));
            impact.apart = configured(running);
            impact
        }
        _ => unknown(path),
    }
}

fn unknown(path: &Path) -> Impact {
    Impact { class: Class::InstanceDelete, unknown: BTreeSet::from([show(path)]), ..Impact::default() }
}
