//! A configuration document of SR Linux as leaves: one path and one value each.
//!
//! RFC 7951 writes the module in front of names and identities; the switch takes them with and without, and gives them with.
//! Here names and identities have none, so that two documents can be compared. Values are sent as they were written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use crate::net::Shared;

/// The keys of every list that we may meet, by the name of the list and that of the node around it (`*`: any).
const KEYS: &[(&str, &str, &[&str])] = &[
    ("network-instance", "", &["name"]),
    ("interface", "network-instance", &["name"]),
    ("interface", "dynamic-neighbors", &["interface-name"]),
    ("interface", "", &["name"]),
    ("subinterface", "*", &["index"]),
    ("address", "*", &["ip-prefix"]),
    ("resilient-hash-prefix", "*", &["ip-prefix"]),
    ("afi-safi", "*", &["afi-safi-name"]),
    ("group", "*", &["group-name"]),
    ("neighbor", "*", &["peer-address"]),
    ("match", "accept", &["prefix"]),
    ("policy", "*", &["name"]),
    ("statement", "*", &["name"]),
    ("prefix-set", "*", &["name"]),
    ("prefix", "prefix-set", &["ip-prefix", "mask-length-range"]),
    ("community-set", "*", &["name"]),
    ("as-path-set", "*", &["name"]),
    ("tag-set", "*", &["name"]),
];

/// Lists whose order is part of what they say.
const ORDERED: &[&str] = &["statement"];

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// Name of the node, without its module.
    pub name: String,
    /// Keys of a list's entry, in the order of the model.
    pub keys: Vec<(String, String)>,
}

/// A step that many paths have in common: a thousand leaves of one entry hold it once.
pub type Node = Shared<Step>;

/// A path from the root.
pub type Path = Vec<Node>;

/// Leaves by path.
pub type Leaves = BTreeMap<Path, Value>;

/// Why a document is no configuration that we can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Unreadable {
    /// Where.
    pub path: String,
    /// What is wrong, and what was expected.
    pub problem: String,
}

/// `name` without the module in front.
pub fn bare(name: &str) -> &str {
    match name.split_once(':') {
        Some((module, rest)) if module.starts_with("srl_nokia-") => rest,
        _ => name,
    }
}

/// As SR Linux and its users write it: `/network-instance[name=ip-vrf-1]/protocols/bgp`.
pub fn show(path: &[Node]) -> String {
    let mut text = String::new();
    for Step { name, keys } in path.iter().map(|step| &**step) {
        text.push('/');
        text.push_str(name);
        for (key, value) in keys {
            text.push('[');
            text.push_str(key);
            text.push('=');
            text.push_str(value);
            text.push(']');
        }
    }
    text
}

/// One leaf as a line.
pub fn line(path: &[Node], value: &Value) -> String {
    format!("{} {}", show(path), word(value))
}

/// A value for people and for comparison: identities without module, lists in brackets.
pub fn word(value: &Value) -> String {
    match value {
        Value::String(text) => bare(text).to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(word).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

/// All leaves of a document.
pub fn leaves(document: &Value) -> Result<Leaves, Unreadable> {
    let mut found = Leaves::new();
    let Value::Object(members) = document else {
        return Err(wrong(&[], "is no JSON object (expected the top-level nodes of a configuration)"));
    };
    walk(&mut Vec::new(), members, &[], &mut found)?;
    Ok(found)
}

/// The leaves below `value`, which stands at `path`.
pub fn leaves_at(path: &Path, value: &Value) -> Result<Leaves, Unreadable> {
    let mut found = Leaves::new();
    let mut at = path.clone();
    match value {
        Value::Object(members) => walk(&mut at, members, &[], &mut found)?,
        other => drop(found.insert(at, other.clone())),
    }
    Ok(found)
}

/// `keys` are the members that stand in the path already.
fn walk(
    path: &mut Path,
    members: &Map<String, Value>,
    keys: &[&str],
    found: &mut Leaves,
) -> Result<(), Unreadable> {
    if members.len() == keys.len() && !path.is_empty() {
        // A container or an entry of which nothing is said is there all the same.
        found.insert(path.clone(), Value::Object(Map::new()));
    }
    for (name, value) in members {
        if keys.contains(&name.as_str()) {
            continue;
        }
        let name = bare(name).to_owned();
        match value {
            Value::Object(inner) => {
                path.push(Step { name, keys: Vec::new() }.into());
                walk(path, inner, &[], found)?;
                path.pop();
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                entries(path, &name, items, found)?;
            }
            Value::Array(items) if items.is_empty() => {}
            leaf => {
                path.push(Step { name, keys: Vec::new() }.into());
                if found.insert(path.clone(), leaf.clone()).is_some() {
                    return Err(wrong(path, "stands there twice"));
                }
                path.pop();
            }
        }
    }
    Ok(())
}

fn entries(path: &mut Path, name: &str, items: &[Value], found: &mut Leaves) -> Result<(), Unreadable> {
    let around = path.last().map_or("", |step| step.name.as_str());
    let names = KEYS.iter().find(|(list, parent, _)| *list == name && (*parent == around || *parent == "*"));
    let Some((_, _, names)) = names else {
        path.push(Step { name: name.to_owned(), keys: Vec::new() }.into());
        return Err(wrong(path, "is a list that is not known here"));
    };
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for item in items {
        let Value::Object(members) = item else {
            return Err(wrong(path, &format!("an entry of {name} is no object")));
        };
        let mut keys = Vec::new();
        for key in *names {
            let value = members.get(*key).filter(|value| !value.is_object() && !value.is_array());
            let Some(value) = value else {
                path.push(Step { name: name.to_owned(), keys }.into());
                return Err(wrong(path, &format!("an entry has no {key} (expected its key)")));
            };
            keys.push(((*key).to_owned(), word(value)));
        }
        order.push(Value::String(keys.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ")));
        path.push(Step { name: name.to_owned(), keys }.into());
        if !seen.insert(path.last().cloned()) {
            return Err(wrong(path, "stands there twice"));
        }
        walk(path, members, names, found)?;
        path.pop();
    }
    if ORDERED.contains(&name) {
        path.push(Step { name: format!("{name} order"), keys: Vec::new() }.into());
        found.insert(path.clone(), Value::Array(order));
        path.pop();
    }
    Ok(())
}

fn wrong(path: &[Node], problem: &str) -> Unreadable {
    let path = if path.is_empty() { "/".to_owned() } else { show(path) };
    Unreadable { path, problem: problem.to_owned() }
}

/// Every entry of a list as the value of a command, by its path: its keys stand in the path.
pub fn entries_of(document: &Value, wanted: &dyn Fn(&[Node]) -> bool) -> HashMap<Path, Value> {
    let mut found = HashMap::new();
    collect(document, &mut Vec::new(), wanted, &mut found);
    found
}

fn collect(
    value: &Value,
    path: &mut Path,
    wanted: &dyn Fn(&[Node]) -> bool,
    found: &mut HashMap<Path, Value>,
) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = bare(name).to_owned();
        let around = path.last().map_or("", |step| step.name.as_str());
        let names =
            KEYS.iter().find(|(list, parent, _)| *list == name && (*parent == around || *parent == "*"));
        let (Some((_, _, names)), Some(items)) = (names, value.as_array()) else {
            path.push(Step { name, keys: Vec::new() }.into());
            collect(value, path, wanted, found);
            path.pop();
            continue;
        };
        for item in items {
            let key = |key: &&str| ((*key).to_owned(), item.get(*key).map(word).unwrap_or_default());
            path.push(Step { name: name.clone(), keys: names.iter().map(key).collect() }.into());
            if wanted(path) {
                let mut value = item.clone();
                if let Some(members) = value.as_object_mut() {
                    members.retain(|member, _| !names.contains(&bare(member)));
                }
                found.insert(path.clone(), value);
            } else {
                collect(item, path, wanted, found);
            }
            path.pop();
        }
    }
}

/// A document in one form: members without module and in order, nothing that is empty. Two documents that say the same are
/// the same text.
pub fn canonical(document: &Value) -> Value {
    match document {
        Value::Object(members) => {
            let sorted: BTreeMap<&str, Value> = members
                .iter()
                .map(|(name, value)| (bare(name), canonical(value)))
                .filter(|(_, value)| !is_empty(value))
                .collect();
            Value::Object(sorted.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        leaf => leaf.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}
