//! Kubernetes objects from a folder of YAML: the cluster without an API server.
#![expect(clippy::disallowed_methods, reason = "shell: files")]

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::intent::metallb::{self, MetalLb};
use crate::intent::snapshot::objects::{self, Endpoint, Meta, NodeStatus, ServiceSpec, ServiceStatus};
use crate::intent::snapshot::{ClusterFacts, Issue};
use crate::intent::switch::{SwitchObject, SwitchSpec};
use crate::intent::yaml;

/// Folders below the given one are read too, but not deeper than this.
const DEEPEST: usize = 4;

/// Everything the folder says about the cluster, and the `Switch` named `me` if it is there. A document that makes no
/// sense is an issue and the rest goes on.
pub fn read_cluster(folder: &Path, me: &str) -> io::Result<(ClusterFacts, Option<SwitchObject>)> {
    let mut texts = super::at_one_moment(folder, |folder| {
        let mut texts = Vec::new();
        collect(folder, 0, &mut texts)?;
        Ok(texts)
    })?;
    texts.sort();
    let mut read = Read { me, facts: ClusterFacts::default(), metallb: None, switch: None };
    for (name, text) in texts {
        match text {
            Ok(text) => documents(&text).for_each(|document| read.document(&name, &document)),
            Err(problem) => read.issue(format!("File {name}"), problem),
        }
    }
    read.facts.metallb = read.metallb.map(Arc::new);
    Ok((read.facts, read.switch))
}

type Text = (String, Result<String, String>);

fn collect(folder: &Path, depth: usize, texts: &mut Vec<Text>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) =
            path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.'))
        else {
            continue;
        };
        if path.is_dir() && depth < DEEPEST {
            collect(&path, depth + 1, texts)?;
        } else if path.is_file() && [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read(&path)?;
            texts.push((name.to_owned(), String::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())));
        }
    }
    Ok(())
}

/// The documents of a stream, each padded with the lines before it so that its mistakes keep their place.
fn documents(text: &str) -> impl Iterator<Item = String> {
    let mut all: Vec<(usize, String)> = vec![(0, String::new())];
    for (number, line) in text.lines().enumerate() {
        if line == "---" || line == "..." {
            all.push((number + 1, String::new()));
        } else if let Some(rest) = line.strip_prefix("--- ") {
            all.push((number, format!("    {rest}\n")));
        } else if let Some((_, document)) = all.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    all.into_iter()
        .filter(|(_, document)| {
            document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        })
        .map(|(before, document)| "\n".repeat(before) + &document)
}

struct Read<'a> {
    me: &'a str,
    facts: ClusterFacts,
    /// Absent as long as there is none of its objects, for then its CRDs are not there either.
    metallb: Option<MetalLb>,
    switch: Option<SwitchObject>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Object {
    api_version: String,
    kind: String,
    metadata: Meta,
    items: Vec<Value>,
    spec: Value,
    status: Value,
    endpoints: Value,
}

impl Read<'_> {
    fn issue(&mut self, object: String, problem: String) {
        self.facts.issues.push(Issue::new(object, "InvalidObject", problem));
    }

    fn document(&mut self, file: &str, text: &str) {
        match yaml::parse::<Value>(file, text) {
            Ok(Value::Null) => {}
            Ok(value) => self.object(file, "", value),
            Err(mistake) => self.issue(format!("File {file}"), mistake.to_string()),
        }
    }

    /// `implied`: the kind of an object that does not name its own, as in a typed list.
    fn object(&mut self, file: &str, implied: &str, value: Value) {
        let object: Object = match serde_json::from_value(value) {
            Ok(object) => object,
            Err(error) => {
                return self.issue(format!("File {file}"), format!("is no Kubernetes object: {error}"));
            }
        };
        let Object { api_version, mut kind, metadata, items, spec, status, endpoints } = object;
        if kind.is_empty() {
            implied.clone_into(&mut kind);
        }
        let named = format!("{kind} {}", metadata.namespaced());
        // The API server refuses such names; they would enter texts and messages.
        let wrong = [Some(&metadata.name), metadata.namespace.as_ref()]
            .into_iter()
            .flatten()
            .find(|name| !objects::may_be_name(name));
        // An item of a typed list names neither its kind nor its group.
        let group = api_version.split('/').next().unwrap_or_default();
        let of_metallb = group == metallb::objects::GROUP || (group.is_empty() && !implied.is_empty());
        let is_read = |kind: &str| READ.contains(&kind) || metallb::objects::KINDS.contains(&kind);
        if let Some(wrong) = wrong.filter(|_| is_read(&kind)) {
            let problem = "is not a name (expected letters, digits, `-` and `.`, at most 253)";
            return self.issue(format!("File {file}"), format!("{kind}: metadata: {wrong:?} {problem}"));
        }
        match kind.as_str() {
            kind if of_metallb && metallb::objects::KINDS.contains(&kind) => {
                let all = self.metallb.get_or_insert_default();
                if let Some(object) = metallb::read::object(kind, &metadata, &spec, &status) {
                    all.add(object);
                }
            }
            "CustomResourceDefinition" if spec["group"] == metallb::objects::GROUP => {
                self.metallb.get_or_insert_default();
            }
            kind if kind == "List" || kind.strip_suffix("List").is_some_and(is_read) => {
                let implied = kind.trim_end_matches("List");
                for item in items {
                    self.object(file, implied, item);
                }
            }
            "Service" => match (part::<ServiceSpec>(spec), part::<ServiceStatus>(status)) {
                (Ok(spec), Ok(status)) => match objects::service(&metadata, &spec, &status) {
                    Ok(service) => self.facts.services.extend(service.map(Arc::new)),
                    Err(issue) => self.facts.issues.push(issue),
                },
                (Err(problem), _) | (_, Err(problem)) => self.issue(named, problem),
            },
            "EndpointSlice" => match part::<Vec<Endpoint>>(endpoints) {
                Ok(endpoints) => {
                    self.facts.slices.extend(objects::slice(&metadata, &endpoints).map(Arc::new));
                }
                Err(problem) => self.issue(named, problem),
            },
            "Node" => match part::<NodeStatus>(status) {
                Ok(status) => {
                    let (node, issues) = objects::node(&metadata, &status);
                    self.facts.nodes.push(Arc::new(node));
                    self.facts.issues.extend(issues);
                }
                Err(problem) => self.issue(format!("Node {}", metadata.name), problem),
            },
            "Switch" => {
                self.facts.switches.insert(metadata.name.clone());
                if metadata.name == self.me {
                    match part::<SwitchSpec>(spec) {
                        Ok(spec) => self.switch = Some(SwitchObject { metadata, spec }),
                        Err(problem) => self.issue(named, problem),
                    }
                }
            }
            _ => {}
        }
    }
}

/// The kinds that are read; all others are skipped unseen.
const READ: [&str; 4] = ["Service", "EndpointSlice", "Node", "Switch"];

/// An absent part is an empty one.
fn part<T: DeserializeOwned + Default>(value: Value) -> Result<T, String> {
    match value {
        Value::Null => Ok(T::default()),
        value => serde_json::from_value(value).map_err(|error| error.to_string()),
    }
}
