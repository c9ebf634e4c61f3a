//! What a commit checks: Nokia's own models through libyang where they are, else a few structural rules.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::tree::get;

/// Leaves by which the releases differ, and which releases know them.
fn wrong_leaf(release: (u32, u32), bgp: &Value) -> Option<String> {
    let letter = match release {
        r if r < (24, 7) => 'A',
        r if r < (25, 3) => 'B',
        _ => 'C',
    };
    for family in bgp["afi-safi"].as_array().into_iter().flatten() {
        let multipath = family["multipath"].as_object();
        for name in multipath.into_iter().flat_map(|members| members.keys()) {
            let known = match name.as_str() {
                "allow-multiple-as" => true,
                "max-paths-level-1" | "max-paths-level-2" => letter == 'A',
                "maximum-paths" => letter == 'B',
                "ebgp" | "ibgp" => letter == 'C',
                _ => false,
            };
            if !known {
                return Some(format!(
                    "Path not valid - unknown element '{name}'. Options are [allow-multiple-as]"
                ));
            }
        }
    }
    for group in bgp["group"].as_array().into_iter().flatten() {
        for name in ["import-policy", "export-policy"] {
            if let Some(value) = group.get(name)
                && value.is_array() == (letter == 'A')
            {
                return Some(format!("Invalid value for '{name}'"));
            }
        }
    }
    None
}

fn structural(document: &Value, release: (u32, u32), chassis: &str) -> Result<(), String> {
    let native = !chassis.contains("IXR-H") && !chassis.starts_with("7215");
    let policies = get(document, "/routing-policy/policy[name=*]");
    let policy = |name: &str| {
        policies["policy"].as_array().is_some_and(|all| all.iter().any(|policy| policy["name"] == name))
    };
    for instance in document["network-instance"].as_array().into_iter().flatten() {
        let name = instance["name"].as_str().unwrap_or_default();
        if instance.get("ip-load-balancing").is_some() && !native {
            return Err("Path not valid - unknown element 'ip-load-balancing'".to_owned());
        }
        let bgp = &instance["protocols"]["bgp"];
        if bgp.is_null() {
            continue;
        }
        if bgp.get("autonomous-system").is_none() || bgp.get("router-id").is_none() {
            return Err(format!(
                "/network-instance[name={name}]/protocols/bgp: Missing mandatory field 'autonomous-system'"
            ));
        }
        if let Some(wrong) = wrong_leaf(release, bgp) {
            return Err(wrong);
        }
        let group = |name: &Value| {
            bgp["group"].as_array().is_some_and(|all| all.iter().any(|g| g["group-name"] == *name))
        };
        for neighbor in bgp["neighbor"].as_array().into_iter().flatten() {
            if !group(&neighbor["peer-group"]) {
                return Err(format!(
                    "peer-group {} of neighbor {} does not exist",
                    neighbor["peer-group"], neighbor["peer-address"]
                ));
            }
        }
        for group in bgp["group"].as_array().into_iter().flatten() {
            for leaf in ["import-policy", "export-policy"] {
                let names: Vec<&Value> = match &group[leaf] {
                    Value::Array(names) => names.iter().collect(),
                    Value::Null => Vec::new(),
                    one => vec![one],
                };
                if let Some(missing) = names.iter().find(|name| !policy(name.as_str().unwrap_or_default())) {
                    return Err(format!("{leaf} {missing} does not exist"));
                }
            }
        }
    }
    Ok(())
}

/// The first complaint about a whole configuration.
pub fn check(
    document: &Value,
    release: (u32, u32),
    chassis: &str,
    models: Option<&Path>,
) -> Result<(), String> {
    structural(document, release, chassis)?;
    let Some(models) = models else { return Ok(()) };
    let name = models.file_name().unwrap().to_str().unwrap();
    let root = models.parent().unwrap().parent().unwrap();
    let known = fs::read_to_string(models.join("srl_nokia-features.yang")).unwrap();
    let wanted = fs::read_to_string(root.join("features").join(format!("{name}.txt"))).unwrap();
    let features: Vec<&str> = wanted
        .split_whitespace()
        .filter(|f| {
            [' ', '{', ';'].iter().any(|end| known.contains(&format!("feature {f}{end}")))
                || known.contains(&format!("feature \"{f}\""))
        })
        .collect();
    let mut whole = json!({});
    for (bare, module) in [("network-instance", "network-instance"), ("routing-policy", "routing-policy")] {
        if let Some(value) = document.get(bare) {
            whole[format!("srl_nokia-{module}:{bare}")] = value.clone();
        }
    }
    for instance in whole["srl_nokia-network-instance:network-instance"].as_array_mut().into_iter().flatten()
    {
        // Interfaces of the fabric are not part of what is checked here.
        instance.as_object_mut().unwrap().remove("interface");
        if let Some(protocols) = instance.get_mut("protocols").and_then(Value::as_object_mut)
            && let Some(bgp) = protocols.remove("bgp")
        {
            protocols.insert("srl_nokia-bgp:bgp".to_owned(), bgp);
        }
    }
    // Keys of a path have no module; the model wants one.
    let text = whole
        .to_string()
        .replace("\"afi-safi-name\":\"ipv4-unicast\"", "\"afi-safi-name\":\"srl_nokia-common:ipv4-unicast\"")
        .replace("\"afi-safi-name\":\"ipv6-unicast\"", "\"afi-safi-name\":\"srl_nokia-common:ipv6-unicast\"");
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(file.path(), text).unwrap();
    let modules = ["features", "common", "interfaces", "if-ip", "network-instance", "bgp", "routing-policy"];
    let output = Command::new("yanglint")
        .current_dir(models)
        .args([
            "-Q",
            "-D",
            "-p",
            ".",
            "-F",
            &format!("srl_nokia-features:{}", features.join(",")),
            "-t",
            "config",
            "-f",
            "json",
        ])
        .args(modules.map(|module| format!("srl_nokia-{module}.yang")))
        .arg(file.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = said.lines().find(|line| line.contains("libyang err")).unwrap_or(&said);
    Err(first.replace('"', "'"))
}
