//! A configuration document of SR Linux as leaves: one path and one value each.
//!
//! RFC 7951 writes the module in front of names and identities; the switch takes them with and without, and gives them with.
//! Here names and identities have none, so that two documents can be compared. Values are sent as they were written.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

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
    pub name: Cow<'static, str>,
    /// Keys of a list's entry, in the order of the model.
    pub keys: Vec<(Cow<'static, str>, String)>,
}

impl Step {
    /// A node that is no entry of a list.
    pub fn plain(name: &str) -> Self {
        Self { name: Cow::Owned(name.to_owned()), keys: Vec::new() }
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
    let of_keys =
        |step: &Node| step.keys.iter().map(|(key, value)| key.len() + value.len() + 3).sum::<usize>();
    let mut text = String::with_capacity(path.iter().map(|step| step.name.len() + 1 + of_keys(step)).sum());
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
    let mut line = show(path);
    line.push(' ');
    line.push_str(&word(value));
    line
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
    Ok(reader.found.into_iter().collect())
}

/// The leaves below `value`, which stands at `path`.
pub fn leaves_at(path: &Path, value: &Value) -> Result<Leaves, Unreadable> {
    let mut reader = Reader { path: path.clone(), ..Reader::default() };
    match value {
        Value::Object(members) => reader.walk(members, &[])?,
        other => reader.find(other.clone()),
    }
    Ok(reader.found.into_iter().collect())
}

/// A document that is being read. Members and entries are walked in the order of their steps, so that leaves are found in
/// theirs: sorting thousands of them one by one was most of the time that reading took.
#[derive(Default)]
struct Reader<'a> {
    /// Where.
    path: Path,
    /// Nodes without keys, by name: the entries of a list have the same ones.
    plain: HashMap<&'a str, Node>,
    found: Vec<(Path, Value)>,
}

impl<'a> Reader<'a> {
    fn plain(&mut self, name: &'a str) -> Node {
        self.plain.entry(name).or_insert_with(|| Step::plain(name).into()).clone()
    }

    fn find(&mut self, leaf: Value) {
        self.found.push((self.path.clone(), leaf));
    }

    /// `keys` are the members that stand in the path already.
    fn walk(&mut self, members: &'a Map<String, Value>, keys: &[&str]) -> Result<(), Unreadable> {
        if members.len() == keys.len() && !self.path.is_empty() {
            // A container or an entry of which nothing is said is there all the same.
            self.find(Value::Object(Map::new()));
            return Ok(());
        }
        let inside = members.iter().filter(|(name, _)| !keys.contains(&name.as_str()));
        let mut inside: Vec<(&str, &Value)> = inside.map(|(name, value)| (bare(name), value)).collect();
        inside.sort_by_key(|(name, _)| *name);
        // With its module and without: written out, one of them would be lost.
        if let Some(twice) = inside.windows(2).find(|two| two[0].0 == two[1].0) {
            self.path.push(Step::plain(twice[0].0).into());
            return Err(wrong(&self.path, "stands there twice"));
        }
        for (name, value) in inside {
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
                leaf => self.find(leaf.clone()),
            }
            self.path.pop();
        }
        Ok(())
    }

    fn entries(&mut self, name: &'a str, items: &'a [Value]) -> Result<(), Unreadable> {
        let Some(list) = list_of(name, &self.path) else {
            self.path.push(Step::plain(name).into());
            return Err(wrong(&self.path, "is a list that is not known here"));
        };
        let mut entries: Vec<(Node, &Map<String, Value>)> = Vec::with_capacity(items.len());
        for item in items {
            let Value::Object(members) = item else {
                return Err(wrong(&self.path, &format!("an entry of {name} is no object")));
            };
            match list.step(members) {
                Ok(step) => entries.push((step.into(), members)),
                Err((step, key)) => {
                    self.path.push(step.into());
                    return Err(wrong(&self.path, &format!("an entry has no {key} (expected its key)")));
                }
            }
        }
        let order = ORDERED.contains(&name).then(|| entries.iter().map(|(step, _)| in_order(step)).collect());
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        let twice = entries.windows(2).find(|two| two[0].0 == two[1].0);
        if let Some(step) = twice.map(|two| two[0].0.clone()) {
            self.path.push(step);
            return Err(wrong(&self.path, "stands there twice"));
        }
        for (step, members) in entries {
            self.path.push(step);
            self.walk(members, list.keys)?;
            self.path.pop();
        }
        if let Some(order) = order {
            self.path.push(Step::plain(&format!("{name} order")).into());
            self.find(Value::Array(order));
            self.path.pop();
        }
        Ok(())
    }
}

/// An entry's keys, as they stand in the order of its list.
fn in_order(step: &Node) -> Value {
    let values: Vec<&str> = step.keys.iter().map(|(_, value)| value.as_str()).collect();
    Value::String(values.join(" "))
}

/// A list of the model.
#[derive(Clone, Copy)]
struct List {
    name: &'static str,
    keys: &'static [&'static str],
}

impl List {
    /// The step of one of its entries; without one of its keys as far as it goes, and that key.
    fn step(self, members: &Map<String, Value>) -> Result<Step, (Step, &'static str)> {
        let mut step = Step { name: Cow::Borrowed(self.name), keys: Vec::with_capacity(self.keys.len()) };
        for key in self.keys {
            match members.get(*key) {
                None | Some(Value::Object(_) | Value::Array(_)) => return Err((step, *key)),
                Some(value) => step.keys.push((Cow::Borrowed(*key), word(value))),
            }
        }
        Ok(step)
    }
}

/// The list `name` in the node that `path` ends in.
fn list_of(name: &str, path: &[Node]) -> Option<List> {
    let around = path.last().map_or("", |step| &*step.name);
    let known = KEYS.iter().find(|(list, parent, _)| *list == name && (*parent == around || *parent == "*"));
    known.map(|(name, _, keys)| List { name, keys })
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
        let (Some(list), Some(items)) = (list_of(name, path), value.as_array()) else {
            path.push(Step::plain(name).into());
            collect(value, path, wanted, found);
            path.pop();
            continue;
        };
        for item in items {
            let Some(step) = item.as_object().and_then(|members| list.step(members).ok()) else { continue };
            path.push(step.into());
            match item {
                Value::Object(members) if wanted(path) => {
                    found.insert(path.clone(), Entry { members, keys: list.keys });
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
                let mut said: Vec<(&str, &Value)> = said.map(|(name, value)| (bare(name), value)).collect();
                said.sort_by_key(|(name, _)| *name);
                let mut map = serializer.serialize_map(Some(said.len()))?;
                for (name, value) in said {
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
