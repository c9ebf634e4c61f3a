//! Paths and documents, as the JSON interface guide has them.

use serde_json::{Map, Value, json};

/// Name and keys of each step.
type Steps = Vec<(String, Vec<(String, String)>)>;

/// Names without their module.
pub fn bare(name: &str) -> &str {
    match name.split_once(':') {
        Some((module, rest)) if module.starts_with("srl_nokia") => rest,
        _ => name,
    }
}

pub fn parse(path: &str) -> Steps {
    let mut steps = Vec::new();
    let mut rest = path.trim_start_matches('/');
    while !rest.is_empty() {
        let end = rest.find(['/', '[']).unwrap_or(rest.len());
        let (name, mut tail) = rest.split_at(end);
        let mut keys = Vec::new();
        while let Some(inner) = tail.strip_prefix('[') {
            let (key, after) = inner.split_once(']').expect("a closing bracket");
            let (name, value) = key.split_once('=').expect("a key");
            keys.push((name.to_owned(), value.to_owned()));
            tail = after;
        }
        steps.push((bare(name).to_owned(), keys));
        rest = tail.trim_start_matches('/');
    }
    steps
}

fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.as_object()?.iter().find(|(key, _)| bare(key) == name).map(|(_, value)| value)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => bare(text).to_owned(),
        other => other.to_string(),
    }
}

fn matches(entry: &Value, keys: &[(String, String)]) -> bool {
    keys.iter().all(|(key, wanted)| {
        wanted == "*" || member(entry, key).is_some_and(|found| text(found) == bare(wanted))
    })
}

/// What a `get` of `path` answers: `{}` where nothing is.
pub fn get(document: &Value, path: &str) -> Value {
    let steps = parse(path);
    find(document, &steps).unwrap_or_else(|| json!({}))
}

fn find(value: &Value, steps: &[(String, Vec<(String, String)>)]) -> Option<Value> {
    let Some(((name, keys), rest)) = steps.split_first() else { return Some(value.clone()) };
    let inner = member(value, name)?;
    let Value::Array(entries) = inner else { return find(inner, rest) };
    if !entries.iter().any(Value::is_object) {
        return rest.is_empty().then(|| inner.clone());
    }
    let chosen: Vec<&Value> = entries.iter().filter(|entry| matches(entry, keys)).collect();
    if !keys.is_empty() && keys.iter().all(|(_, value)| value != "*") {
        return find(chosen.first()?, rest);
    }
    if rest.is_empty() {
        return (!chosen.is_empty()).then(|| json!({ name: chosen }));
    }
    // Below a wildcard every entry keeps its keys.
    let below: Vec<Value> = chosen
        .iter()
        .filter_map(|entry| {
            let found = find(entry, rest)?;
            let mut kept = Map::new();
            for (key, _) in keys {
                kept.insert(key.clone(), member(entry, key)?.clone());
            }
            kept.insert(rest[0].0.clone(), found);
            Some(Value::Object(kept))
        })
        .collect();
    (!below.is_empty()).then(|| json!({ name: below }))
}

/// Carries out one command on a document.
pub fn change(document: &mut Value, action: &str, path: &str, value: &Value) -> Result<(), String> {
    let steps = parse(path);
    if action == "delete" {
        delete(document, &steps);
        return Ok(());
    }
    let place = reach(document, &steps)?;
    let keys: Map<String, Value> = steps
        .last()
        .map(|(_, keys)| keys)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), Value::String(value.clone())))
        .collect();
    match (action, value) {
        ("replace", value) => *place = value.clone(),
        ("update", value) => merge(place, value),
        _ => return Err(format!("Invalid action '{action}'")),
    }
    if let Value::Object(members) = place {
        for (key, value) in keys {
            members.entry(key).or_insert(value);
        }
    }
    Ok(())
}

fn delete(value: &mut Value, steps: &[(String, Vec<(String, String)>)]) {
    let Some(((name, keys), rest)) = steps.split_first() else { return };
    let Some(members) = value.as_object_mut() else { return };
    let Some(key) = members.keys().find(|key| bare(key) == name).cloned() else { return };
    if let (Some(Value::Array(entries)), false) = (members.get_mut(&key), keys.is_empty()) {
        if rest.is_empty() {
            entries.retain(|entry| !matches(entry, keys));
            if entries.is_empty() {
                members.remove(&key);
            }
        } else {
            entries.iter_mut().filter(|entry| matches(entry, keys)).for_each(|entry| delete(entry, rest));
        }
    } else if rest.is_empty() {
        members.remove(&key);
    } else if let Some(inner) = members.get_mut(&key) {
        delete(inner, rest);
    }
}

/// The place of a path, made where it is not there.
fn reach<'a>(
    value: &'a mut Value,
    steps: &[(String, Vec<(String, String)>)],
) -> Result<&'a mut Value, String> {
    let Some(((name, keys), rest)) = steps.split_first() else { return Ok(value) };
    if !value.is_object() {
        *value = json!({});
    }
    let members = value.as_object_mut().unwrap();
    let key = members.keys().find(|key| bare(key) == name).cloned().unwrap_or_else(|| name.clone());
    let inner = members.entry(key).or_insert_with(|| if keys.is_empty() { Value::Null } else { json!([]) });
    if keys.is_empty() {
        return reach(inner, rest);
    }
    let entries = inner.as_array_mut().ok_or_else(|| format!("Path not valid - '{name}' is no list"))?;
    let at = match entries.iter().position(|entry| matches(entry, keys)) {
        Some(at) => at,
        None => {
            let made = keys.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
            entries.push(Value::Object(made));
            entries.len() - 1
        }
    };
    reach(&mut entries[at], rest)
}

fn merge(place: &mut Value, value: &Value) {
    match (place, value) {
        (Value::Object(there), Value::Object(new)) => {
            for (key, value) in new {
                merge(there.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (place, value) => *place = value.clone(),
    }
}
