//! A configuration document of SR Linux as leaves: one path and one value each.
//!
//! RFC 7951 writes the module in front of names and identities; the switch takes them with and without, and gives them with.
//! Here names and identities have none, so that two documents can be compared. Values are sent as they were written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
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

impl Step {
    /// A node that is no entry of a list.
    pub fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), keys: Vec::new() }
    }
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

/// True if two values have the same [`word`].
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => bare(one) == bare(other),
        (one, other) => one == other || word(one) == word(other),
    }
}

/// All leaves of a document.
pub fn leaves(document: &Value) -> Result<Leaves, Unreadable> {
    let Value::Object(members) = document else {
        return Err(wrong(&[], "is no JSON object (expected the top-level nodes of a configuration)"));
    };
    let mut reader = Reader::default();
    reader.walk(members, &[])?;
    Ok(reader.found)
}

/// The leaves below `value`, which stands at `path`.
pub fn leaves_at(path: &Path, value: &Value) -> Result<Leaves, Unreadable> {
    let mut reader = Reader { path: path.clone(), ..Reader::default() };
    match value {
        Value::Object(members) => reader.walk(members, &[])?,
        other => drop(reader.found.insert(path.clone(), other.clone())),
    }
    Ok(reader.found)
}

/// A document that is being read.
#[derive(Default)]
struct Reader<'a> {
    /// Where.
    path: Path,
    /// Nodes without keys, by name: the entries of a list have the same ones.
    plain: HashMap<&'a str, Node>,
    found: Leaves,
}

impl<'a> Reader<'a> {
    fn plain(&mut self, name: &'a str) -> Node {
        self.plain.entry(name).or_insert_with(|| Step::plain(name).into()).clone()
    }

    /// `keys` are the members that stand in the path already.
    fn walk(&mut self, members: &'a Map<String, Value>, keys: &[&str]) -> Result<(), Unreadable> {
        if members.len() == keys.len() && !self.path.is_empty() {
            // A container or an entry of which nothing is said is there all the same.
            self.found.insert(self.path.clone(), Value::Object(Map::new()));
        }
        for (name, value) in members.iter().filter(|(name, _)| !keys.contains(&name.as_str())) {
            let name = bare(name);
            match value {
                Value::Array(items) if items.iter().any(Value::is_object) => {
                    self.entries(name, items)?;
                    continue;
                }
                Value::Array(items) if items.is_empty() => continue,
                _ => {}
            }
            let step = self.plain(name);
            self.path.push(step);
            match value {
                Value::Object(inner) => self.walk(inner, &[])?,
                leaf if self.found.insert(self.path.clone(), leaf.clone()).is_some() => {
                    return Err(wrong(&self.path, "stands there twice"));
                }
                _ => {}
            }
            self.path.pop();
        }
        Ok(())
    }

    fn entries(&mut self, name: &str, items: &'a [Value]) -> Result<(), Unreadable> {
        let Some(names) = keys_of(name, &self.path) else {
            self.path.push(Step::plain(name).into());
            return Err(wrong(&self.path, "is a list that is not known here"));
        };
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for item in items {
            let Value::Object(members) = item else {
                return Err(wrong(&self.path, &format!("an entry of {name} is no object")));
            };
            let mut keys = Vec::new();
            for key in names {
                let value = members.get(*key).filter(|value| !value.is_object() && !value.is_array());
                let Some(value) = value else {
                    self.path.push(Step { name: name.to_owned(), keys }.into());
                    return Err(wrong(&self.path, &format!("an entry has no {key} (expected its key)")));
                };
                keys.push(((*key).to_owned(), word(value)));
            }
            let step = Node::from(Step { name: name.to_owned(), keys });
            self.path.push(step.clone());
            order.push(step.clone());
            if !seen.insert(step) {
                return Err(wrong(&self.path, "stands there twice"));
            }
            self.walk(members, names)?;
            self.path.pop();
        }
        if ORDERED.contains(&name) {
            let keys = |step: &Node| {
                let values: Vec<&str> = step.keys.iter().map(|(_, value)| value.as_str()).collect();
                Value::String(values.join(" "))
            };
            self.path.push(Step { name: format!("{name} order"), keys: Vec::new() }.into());
            self.found.insert(self.path.clone(), order.iter().map(keys).collect());
            self.path.pop();
        }
        Ok(())
    }
}

/// The keys of the list `name` in the node that `path` ends in.
fn keys_of(name: &str, path: &[Node]) -> Option<&'static [&'static str]> {
    let around = path.last().map_or("", |step| step.name.as_str());
    let known = KEYS.iter().find(|(list, parent, _)| *list == name && (*parent == around || *parent == "*"));
    known.map(|(_, _, names)| *names)
}

fn wrong(path: &[Node], problem: &str) -> Unreadable {
    let path = if path.is_empty() { "/".to_owned() } else { show(path) };
    Unreadable { path, problem: problem.to_owned() }
}

/// An entry of a list as the value of a command: its keys stand in the path.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    members: &'a Map<String, Value>,
    keys: &'static [&'static str],
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.members.iter().filter(|(name, _)| !self.keys.contains(&bare(name))))
    }
}

/// Every entry of a list that is `wanted`, by its path. Entries in an entry are part of it.
pub fn entries_of<'a>(document: &'a Value, wanted: &dyn Fn(&[Node]) -> bool) -> HashMap<Path, Entry<'a>> {
    let mut found = HashMap::new();
    collect(document, &mut Vec::new(), wanted, &mut found);
    found
}

fn collect<'a>(
    value: &'a Value,
    path: &mut Path,
    wanted: &dyn Fn(&[Node]) -> bool,
    found: &mut HashMap<Path, Entry<'a>>,
) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = bare(name);
        let (Some(keys), Some(items)) = (keys_of(name, path), value.as_array()) else {
            path.push(Step::plain(name).into());
            collect(value, path, wanted, found);
            path.pop();
            continue;
        };
        for item in items {
            let key = |key: &&str| ((*key).to_owned(), item.get(*key).map(word).unwrap_or_default());
            path.push(Step { name: name.to_owned(), keys: keys.iter().map(key).collect() }.into());
            match item {
                Value::Object(members) if wanted(path) => {
                    found.insert(path.clone(), Entry { members, keys });
                }
                item => collect(item, path, wanted, found),
            }
            path.pop();
        }
    }
}

/// A document in one form: members without module and in order, nothing that is empty. Two documents that say the same are
/// the same text.
#[derive(Debug, Clone, Copy)]
pub struct Canonical<'a>(pub &'a Value);

impl Serialize for Canonical<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => {
                let said = members.iter().filter(|(_, value)| !is_empty(value));
                let sorted: BTreeMap<&str, &Value> = said.map(|(name, value)| (bare(name), value)).collect();
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for (name, value) in sorted {
                    map.serialize_entry(name, &Canonical(value))?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Canonical(item))?;
                }
                list.end()
            }
            leaf => leaf.serialize(serializer),
        }
    }
}

/// Nothing is said in it, however deep.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        _ => false,
    }
}
