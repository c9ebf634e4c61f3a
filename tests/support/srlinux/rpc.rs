//! The methods: get, set, validate, diff, cli.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::tree::{change, get, parse};
use super::{Commit, Switch, model, validate};

/// The text of the answer to one request.
pub fn answer(switch: &Mutex<Switch>, request: &Value) -> String {
    let mut switch = switch.lock().unwrap();
    switch.tick();
    switch.log.push(json!({"method": request["method"], "params": request["params"]}));
    let id = &request["id"];
    if switch.knobs.restarting > 0 {
        switch.knobs.restarting -= 1;
        return json!({"jsonrpc": "2.0", "id": id, "error": {"id": 0, "message": "Server down or restarting"}}).to_string();
    }
    if let Some(error) = switch.knobs.errors.pop() {
        return json!({"jsonrpc": "2.0", "id": id, "error": {"code": -1, "message": error}}).to_string();
    }
    let params = &request["params"];
    let result = match request["method"].as_str().unwrap_or_default() {
        "get" => gets(&mut switch, params),
        "set" if params["datastore"] == "tools" => tools(&mut switch, params),
        "set" => set(&mut switch, params),
        "validate" => candidate(&switch, params).map(|_| vec![json!({})]),
        "diff" => candidate(&switch, params)
            .map(|after| if after == switch.running { Vec::new() } else { vec![json!("+ something\n")] }),
        "cli" => cli(&mut switch, params),
        other => Err(format!("Method '{other}' not found")),
    };
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string(),
        Err(message) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": -1, "message": message}}).to_string()
        }
    }
}

fn commands(params: &Value) -> Vec<Value> {
    params["commands"].as_array().cloned().unwrap_or_default()
}

fn gets(switch: &mut Switch, params: &Value) -> Result<Vec<Value>, String> {
    let datastore = params["datastore"].as_str().unwrap_or("running").to_owned();
    let mut answers = Vec::new();
    let mut renumbered = false;
    for command in commands(params) {
        let path = command["path"].as_str().ok_or("Path is missing")?.to_owned();
        let answer = match datastore.as_str() {
            "running" => {
                known(switch, &path)?;
                get(&switch.running, &path)
            }
            "state" => {
                known(switch, &path)?;
                // What was read a moment ago belongs to other numbers by now.
                if path.contains("/next-hop-group[") && switch.knobs.renumber > 0 && !renumbered {
                    switch.knobs.renumber -= 1;
                    renumbered = true;
                    switch.changed();
                }
                state(switch, &path)
            }
            other => return Err(format!("Datastore '{other}' is not supported for get")),
        };
        answers.push(answer);
    }
    Ok(answers)
}

/// Elements that this release does not have are an error, not an empty answer.
fn known(switch: &Switch, path: &str) -> Result<(), String> {
    let names: Vec<String> = parse(path).into_iter().map(|(name, _)| name).collect();
    let has = |pair: [&str; 2]| names.windows(2).any(|window| window[0] == pair[0] && window[1] == pair[1]);
    let unknown = |name: &str| {
        Err(format!("Path not valid - unknown element '{name}'. Options are [attr-sets, local-rib]"))
    };
    let newer = switch.release() >= (24, 10);
    if has(["bgp-rib", "afi-safi"]) && !newer {
        return unknown("afi-safi");
    }
    let native = !switch.chassis.contains("IXR-H") && !switch.chassis.starts_with("7215");
    if names.iter().any(|name| name == "ip-load-balancing") && !native {
        return unknown("ip-load-balancing");
    }
    if has(["bgp-rib", "ipv4-unicast"]) && newer {
        return unknown("ipv4-unicast");
    }
    Ok(())
}

fn state(switch: &mut Switch, path: &str) -> Value {
    match path {
        "/system/information/version" => return json!(format!("{}-312-gabcdef", switch.version)),
        "/platform/chassis/type" => return json!(switch.chassis),
        _ => {}
    }
    if path.starts_with("/system/configuration/commit") {
        let list: Vec<Value> = switch
            .commits
            .iter()
            .map(|c| json!({"id": c.id, "username": c.username, "status": c.status}))
            .collect();
        return get(&json!({"system": {"configuration": {"commit": list}}}), path);
    }
    if let Some(shown) = &switch.shown {
        return get(shown, path);
    }
    if switch.state.as_ref().is_none_or(|(of, ..)| *of != switch.changes) {
        let made = model::state(switch);
        let routes = by_prefix(&made);
        switch.state = Some((switch.changes, made, routes));
    }
    let (_, made, routes) = switch.state.as_ref().unwrap();
    let steps = parse(path);
    // A walk through fifty thousand routes for each of a thousand questions would take the stand-in minutes.
    if let [(_, instance), (table, _), (_, _), (_, keys)] = steps.as_slice()
        && table == "route-table"
        && let (Some((_, name)), Some((_, prefix))) = (instance.first(), keys.first())
        && prefix != "*"
    {
        return routes.get(&format!("{name} {prefix}")).cloned().unwrap_or_else(|| json!({}));
    }
    get(made, path)
}

fn by_prefix(state: &Value) -> HashMap<String, Value> {
    let mut routes: HashMap<String, Value> = HashMap::new();
    for instance in state["network-instance"].as_array().into_iter().flatten() {
        let name = instance["name"].as_str().unwrap_or_default();
        let of_family =
            |family: &str| instance["route-table"][family]["route"].as_array().into_iter().flatten();
        for route in of_family("ipv4-unicast").chain(of_family("ipv6-unicast")) {
            let prefix = route["ipv4-prefix"].as_str().or(route["ipv6-prefix"].as_str());
            let key = format!("{name} {}", prefix.unwrap_or_default());
            let entry = routes.entry(key).or_insert_with(|| json!({"route": []}));
            entry["route"].as_array_mut().unwrap().push(route.clone());
        }
    }
    routes
}

/// The candidate with the commands carried out, if a commit would take it.
fn candidate(switch: &Switch, params: &Value) -> Result<Value, String> {
    if let Some(who) = &switch.knobs.locked_by {
        return Err(format!("Candidate is locked: exclusive session of user '{who}'"));
    }
    let mut after = switch.running.clone();
    for command in commands(params) {
        let (action, path) =
            (command["action"].as_str().unwrap_or_default(), command["path"].as_str().unwrap_or_default());
        change(&mut after, action, path, &command["value"])?;
    }
    prune(&mut after);
    validate::check(&after, switch.release(), &switch.chassis, switch.models.as_deref())?;
    Ok(after)
}

/// Containers without content are not there.
fn prune(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(prune);
            members.retain(|_, value| {
                !matches!(value, Value::Object(m) if m.is_empty())
                    && !matches!(value, Value::Array(a) if a.is_empty())
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

fn set(switch: &mut Switch, params: &Value) -> Result<Vec<Value>, String> {
    if let Some(index) = switch.pending() {
        let Commit { id, username, .. } = &switch.commits[index];
        return Err(format!(
            "Commit {id} of user '{username}' is not confirmed: another commit is not possible"
        ));
    }
    let mut params = params.clone();
    if switch.knobs.half_applied {
        let half = commands(&params).len() / 2;
        params["commands"].as_array_mut().unwrap().truncate(half.max(1));
    }
    let after = candidate(switch, &params)?;
    let timer = params.get("confirm-timeout").and_then(Value::as_u64).filter(|_| !switch.knobs.no_timer);
    let id = switch.commits.last().map_or(1, |commit| commit.id + 1);
    let before = std::mem::replace(&mut switch.running, after);
    switch.commits.push(Commit {
        id,
        username: "admin".to_owned(),
        status: if timer.is_some() { "unconfirmed" } else { "complete" }.to_owned(),
        before,
        deadline: timer.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
    });
    switch.changed();
    Ok(vec![json!({})])
}

fn tools(switch: &mut Switch, params: &Value) -> Result<Vec<Value>, String> {
    for command in commands(params) {
        let path = command["path"].as_str().unwrap_or_default();
        let index = switch.pending().ok_or("There is no commit to confirm")?;
        match path {
            "/system/configuration/confirmed-accept" => {
                "complete".clone_into(&mut switch.commits[index].status);
            }
            "/system/configuration/confirmed-reject" => switch.revert(index),
            _ => return Err(format!("Path not valid - {path}")),
        }
    }
    Ok(vec![json!({})])
}

fn cli(switch: &mut Switch, params: &Value) -> Result<Vec<Value>, String> {
    let mut said = Vec::new();
    for line in commands(params) {
        match line.as_str().unwrap_or_default() {
            "save startup" => {
                switch.save();
                said.push(json!(
                    "/system: Saved current running configuration as initial (startup) configuration\n"
                ));
            }
            other => return Err(format!("Unknown command '{other}'")),
        }
    }
    Ok(said)
}
