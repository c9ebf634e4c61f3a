//! What the models let pass and the switch, or a night shift, would not: refused before anything is sent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::owned::{Kind, key, leaf, of_unit, units};
use super::release::{Grammar, grammar, limit_is_renamed};
use super::tree::{Leaves, Node, Path, leaves, show, word};
use crate::change::diff::Refusal;
use crate::intent::platform::Platform;
use crate::net::Prefix;

fn rule(path: &[Node], problem: impl Into<String>) -> Refusal {
    Refusal::Rule { path: show(path), problem: problem.into() }
}

/// Looks through a document for what the release or the chassis cannot take, and for what no model checks.
pub fn check(document: &Value, platform: &Platform) -> Result<(), Refusal> {
    let found = leaves(document)
        .map_err(|unreadable| Refusal::Rule { path: unreadable.path, problem: unreadable.problem })?;
    if let Ok(grammar) = grammar(platform.release) {
        wrong_release(&found, grammar, platform)?;
    }
    let units = units(&found);
    for (path, kind) in &units {
        host_bits(path, *kind)?;
        if *kind == Kind::Resilient {
            product(&found, path, platform)?;
        }
    }
    for path in found.keys() {
        for (at, step) in path.iter().enumerate().filter(|(_, step)| step.name == "prefix") {
            if step.keys.first().is_some_and(|(name, _)| name == "ip-prefix") {
                host_bits(&path[..=at], Kind::Resilient)?;
            }
        }
    }
    instance_types(&found, &units)
}

/// A resilient-hash prefix in an instance that has no IP routes.
fn instance_types(found: &Leaves, units: &BTreeMap<Path, Kind>) -> Result<(), Refusal> {
    let mut resilient: Vec<&Path> =
        units.iter().filter(|(_, kind)| **kind == Kind::Resilient).map(|(path, _)| path).collect();
    // One of each instance.
    resilient.dedup_by(|next, path| next[0] == path[0]);
    for path in resilient {
        let kind = leaf(found, &path[..1], "type").map(word);
        if let Some(kind) = kind.filter(|kind| kind != "ip-vrf" && kind != "default") {
            return Err(rule(
                path,
                format!("is not possible in a {kind} (expected an ip-vrf or the default instance)"),
            ));
        }
    }
    Ok(())
}

fn host_bits(path: &[Node], kind: Kind) -> Result<(), Refusal> {
    if !matches!(kind, Kind::Resilient | Kind::Range) {
        return Ok(());
    }
    let text = key(path).unwrap_or_default();
    if !text.contains('/') {
        return Err(rule(path, format!("`{text}` has no mask (expected ADDRESS/LENGTH)")));
    }
    text.parse::<Prefix>().map(drop).map_err(|error| rule(path, error.to_string()))
}

/// Next-hops times buckets: the model has the ranges of both and not of the product.
fn product(found: &Leaves, path: &Path, platform: &Platform) -> Result<(), Refusal> {
    let (mut paths, mut buckets) = (1, 1);
    for (leaf, value) in of_unit(found, path).filter(|(leaf, _)| leaf.len() == path.len() + 1) {
        match &*leaf[path.len()].name {
            "max-paths" => paths = value.as_u64().unwrap_or(1),
            "hash-buckets-per-path" => buckets = value.as_u64().unwrap_or(1),
            _ => {}
        }
    }
    for (name, value, most) in [("max-paths", paths, 64), ("hash-buckets-per-path", buckets, 32)] {
        if !(1..=most).contains(&value) {
            return Err(rule(path, format!("{name} {value} is out of range (expected 1 to {most})")));
        }
    }
    let Some(ceilings) = platform.ceilings else { return Ok(()) };
    let most = u64::from(ceilings.buckets);
    if paths * buckets > most {
        let chassis = platform.chassis_name();
        return Err(rule(
            path,
            format!(
                "max-paths {paths} × hash-buckets-per-path {buckets} is more than the {most} buckets of {chassis}"
            ),
        ));
    }
    Ok(())
}

/// Leaves of another release: the switch would refuse them, and here it can be said which one is meant.
fn wrong_release(found: &Leaves, grammar: Grammar, platform: &Platform) -> Result<(), Refusal> {
    let release = platform.release.map(|release| release.to_string()).unwrap_or_default();
    let mut names: Vec<&str> = Vec::new();
    for (path, value) in found {
        names.clear();
        names.extend(path.iter().map(|step| &*step.name));
        let expected = match names.as_slice() {
            [.., "multipath", "max-paths-level-1" | "max-paths-level-2"] if grammar != Grammar::A => {
                multipath(grammar)
            }
            [.., "multipath", "maximum-paths"] if grammar != Grammar::B => multipath(grammar),
            [.., "multipath", "ebgp" | "ibgp", "maximum-paths"] if grammar != Grammar::C => {
                multipath(grammar)
            }
            [.., "bgp" | "group" | "neighbor", "import-policy" | "export-policy"] => {
                match (grammar, value.is_array()) {
                    (Grammar::A, true) => "one name, no list",
                    (Grammar::B | Grammar::C, false) => "a list of names",
                    _ => continue,
                }
            }
            [.., "match", "prefix-set"] if grammar == Grammar::C => "match/prefix/prefix-set",
            [.., "match", "prefix", "prefix-set"] if grammar != Grammar::C => "match/prefix-set",
            [.., "prefix-limit", _] if limit_is_renamed(platform.release) => "prefix-limit-received",
            [.., "prefix-limit-received" | "prefix-limit-accepted", _]
                if !limit_is_renamed(platform.release) =>
            {
                "prefix-limit"
            }
            _ => continue,
        };
        return Err(rule(path, format!("is not known to release {release} (expected {expected})")));
    }
    Ok(())
}

fn multipath(grammar: Grammar) -> &'static str {
    match grammar {
        Grammar::A => "multipath/max-paths-level-1",
        Grammar::B => "multipath/maximum-paths",
        Grammar::C => "multipath/ebgp/maximum-paths and multipath/ibgp/maximum-paths",
    }
}

/// A document without its resilient-hash prefixes, and those that were left out: a chassis that has none refuses the whole
/// commit because of them.
pub fn without_resilience(document: &mut Value) -> Vec<String> {
    let mut left_out = Vec::new();
    let Some(members) = document.as_object_mut() else { return left_out };
    for (_, instances) in members.iter_mut().filter(|(name, _)| super::tree::bare(name) == "network-instance")
    {
        for instance in instances.as_array_mut().into_iter().flatten() {
            let Some(instance) = instance.as_object_mut() else { continue };
            let name = instance.keys().find(|name| super::tree::bare(name) == "ip-load-balancing").cloned();
            let Some(balancing) = name.and_then(|name| instance.remove(&name)) else { continue };
            let prefixes = balancing.get("resilient-hash-prefix").and_then(Value::as_array);
            let named = prefixes.into_iter().flatten().filter_map(|entry| entry.get("ip-prefix")?.as_str());
            left_out.extend(named.map(str::to_owned));
        }
    }
    left_out
}

/// What the candidate stands on must run: the network instance, and the subinterfaces that it names.
pub fn refuse_absent(wanted: &Leaves, running: &Leaves) -> Result<(), Refusal> {
    let there: BTreeSet<&Node> = running.keys().filter_map(|path| path.first()).collect();
    let mut interfaces: BTreeSet<String> = BTreeSet::new();
    for path in running.keys().chain(wanted.keys()) {
        // `interface[name=irb1]/subinterface[index=1]` is what others call irb1.1.
        if let [interface, subinterface, ..] = path.as_slice()
            && interface.name == "interface"
            && subinterface.name == "subinterface"
            && let (Some((_, name)), Some((_, index))) = (interface.keys.first(), subinterface.keys.first())
        {
            interfaces.insert(format!("{name}.{index}"));
        }
    }
    for path in running.keys() {
        if let [_, interface, ..] = path.as_slice()
            && interface.name == "interface"
            && let Some((_, name)) = interface.keys.first()
        {
            interfaces.insert(name.clone());
        }
    }
    for path in wanted.keys() {
        let Some(first) = path.first().filter(|step| step.name == "network-instance") else { continue };
        if !there.contains(first) {
            return Err(rule(&path[..1], "does not run (expected a network instance that the fabric has)"));
        }
        let named = path.iter().find(|step| {
            step.name == "interface" && step.keys.first().is_some_and(|(key, _)| key.ends_with("name"))
        });
        if let Some((_, name)) = named.and_then(|step| step.keys.first())
            && !interfaces.contains(name)
        {
            return Err(rule(&path[..1], format!("subinterface {name} does not run")));
        }
    }
    Ok(())
}
