//! What of a configuration is ours: entries of lists that carry our name, those that the candidate or the confirmed text
//! names, and a closed list of single leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::NAME_PREFIX;
use super::tree::{Leaves, Node, Path, Step};

/// What an entry is to the rest of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A policy, or a set that policies name.
    Policy,
    /// Resilient hashing of a prefix.
    Resilient,
    /// A group of neighbours.
    Group,
    /// One neighbour.
    Neighbor,
    /// A range of dynamic neighbours.
    Range,
    /// An interface of dynamic neighbours.
    Interface,
}

/// An entry that is written and deleted as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit<'a> {
    pub(super) kind: Kind,
    pub(super) path: &'a [Node],
}

const BGP: [&str; 3] = ["network-instance", "protocols", "bgp"];

/// The names of the steps that lead to an entry, and what the entry is.
const UNITS: &[(&[&str], Kind)] = &[
    (&["routing-policy", "policy"], Kind::Policy),
    (&["routing-policy", "prefix-set"], Kind::Policy),
    (&["routing-policy", "community-set"], Kind::Policy),
    (&["network-instance", "ip-load-balancing", "resilient-hash-prefix"], Kind::Resilient),
    (&["network-instance", "protocols", "bgp", "group"], Kind::Group),
    (&["network-instance", "protocols", "bgp", "neighbor"], Kind::Neighbor),
    (&["network-instance", "protocols", "bgp", "dynamic-neighbors", "accept", "match"], Kind::Range),
    (&["network-instance", "protocols", "bgp", "dynamic-neighbors", "interface"], Kind::Interface),
];

fn begins(path: &[Node], names: &[&str]) -> bool {
    path.len() >= names.len() && path.iter().zip(names).all(|(step, name)| step.name == *name)
}

/// The entry that `path` lies in.
pub(super) fn unit_of(path: &[Node]) -> Option<Unit<'_>> {
    let (names, kind) = UNITS.iter().find(|(names, _)| begins(path, names))?;
    // A bare list without an entry is nothing to own.
    let entry = &path[..names.len()];
    (!entry[names.len() - 1].keys.is_empty()).then_some(Unit { kind: *kind, path: entry })
}

/// The container of BGP that `path` lies in.
pub(super) fn bgp_of(path: &[Node]) -> Option<&[Node]> {
    begins(path, &BGP).then(|| &path[..BGP.len()])
}

/// The network instance that `path` lies in.
pub(super) fn instance_of(path: &[Node]) -> Option<&str> {
    let step = path.first().filter(|step| step.name == "network-instance")?;
    step.keys.first().map(|(_, name)| name.as_str())
}

/// A leaf that we set if it is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settable {
    /// What the model says where nobody does.
    pub(super) default: Option<&'static str>,
}

/// The closed list of leaves that we set if absent.
pub(super) fn global(path: &[Node]) -> Option<Settable> {
    let inside: Vec<&str> = path.get(BGP.len()..)?.iter().map(|step| &*step.name).collect();
    bgp_of(path)?;
    let default = match inside.as_slice() {
        ["admin-state"] => Some("enable"),
        ["autonomous-system" | "router-id"] => None,
        ["preference", "ebgp" | "ibgp"] => Some("170"),
        ["afi-safi", "admin-state"] => Some("disable"),
        ["afi-safi", "multipath", "allow-multiple-as"] => Some("true"),
        ["afi-safi", "multipath", "max-paths-level-1" | "max-paths-level-2" | "maximum-paths"]
        | ["afi-safi", "multipath", "ebgp" | "ibgp", "maximum-paths"] => Some("1"),
        _ => return None,
    };
    Some(Settable { default })
}

/// All entries of `leaves`, in order.
pub(super) fn units(leaves: &Leaves) -> BTreeMap<Path, Kind> {
    let mut found: Vec<Unit<'_>> = leaves.keys().filter_map(|path| unit_of(path)).collect();
    // The leaves of one entry stand together.
    found.dedup();
    found.into_iter().map(|unit| (unit.path.to_vec(), unit.kind)).collect()
}

/// Of the entries of `leaves` those that carry our name: their own, or that of the group they belong to.
pub(super) fn named(leaves: &Leaves, units: &BTreeMap<Path, Kind>) -> BTreeSet<Path> {
    let ours = |(path, kind): (&Path, &Kind)| match kind {
        Kind::Policy | Kind::Group => key(path).is_some_and(|name| name.starts_with(NAME_PREFIX)),
        Kind::Neighbor | Kind::Range | Kind::Interface => {
            group(leaves, path).is_some_and(|name| name.starts_with(NAME_PREFIX))
        }
        Kind::Resilient => false,
    };
    units.iter().filter(|(path, kind)| ours((path, kind))).map(|(path, _)| path.clone()).collect()
}

/// The first key of the last step: the name of an entry.
pub(super) fn key(path: &[Node]) -> Option<&str> {
    path.last()?.keys.first().map(|(_, value)| value.as_str())
}

/// The leaf `name` directly below `path`.
pub(super) fn leaf<'a>(leaves: &'a Leaves, path: &[Node], name: &str) -> Option<&'a serde_json::Value> {
    let mut whole = path.to_vec();
    whole.push(Step::plain(name).into());
    leaves.get(&whole)
}

/// The group that a neighbour, range or interface belongs to.
pub(super) fn group<'a>(leaves: &'a Leaves, path: &[Node]) -> Option<&'a str> {
    leaf(leaves, path, "peer-group")?.as_str()
}

/// The leaves of the entry at `path`.
pub(super) fn of_unit<'a>(
    leaves: &'a Leaves,
    path: &'a [Node],
) -> impl Iterator<Item = (&'a Path, &'a serde_json::Value)> {
    let from = (Bound::Included(path), Bound::Unbounded);
    leaves.range::<[Node], _>(from).take_while(move |(leaf, _)| leaf.starts_with(path))
}
