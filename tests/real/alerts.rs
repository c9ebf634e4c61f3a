//! The alerts, tried by promtool: each fires when it should, and stays silent before that and when all is well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const HOURS: usize = 8 * 60;
const READABLE: &str = "switchlet_condition{type=\"switchlet.io/FIBSynced\",";
const APPLIED: &str = "switchlet_condition{type=\"switchlet.io/ConfigApplied\",";
const WHY: &str = "switchlet_condition_reason{type=\"switchlet.io/ConfigApplied\",";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a healthy switch shows, minute by minute.
fn healthy() -> BTreeMap<String, String> {
    let constant = |value: u32| format!("{value}x{HOURS}");
    let counting = format!("0+60x{HOURS}");
    let mut series = BTreeMap::new();
    let mut add = |name: &str, values: &str| drop(series.insert(name.to_owned(), values.to_owned()));
    add("up{job=\"switchlet\",", &constant(1));
    add("switchlet_start_timestamp_seconds{", &constant(0));
    add("switchlet_last_look_timestamp_seconds{", &counting);
    add("switchlet_last_write_timestamp_seconds{", &counting);
    for condition in [READABLE, APPLIED] {
        for (status, value) in [("True", 1), ("False", 0), ("Unknown", 0)] {
            add(&format!("{condition}status=\"{status}\","), &constant(value));
        }
    }
    add(&format!("{WHY}reason=\"Applied\","), &constant(1));
    add("switchlet_config_drifts_total{", &constant(0));
    add("switchlet_paused{", &constant(0));
    add("switchlet_bundle_stale{", &constant(0));
    add("switchlet_guarded{", &constant(1));
    for (standing, value) in [("enforced", 1), ("absent", 0), ("unknown", 0)] {
        add(&format!("switchlet_policy{{standing=\"{standing}\","), &constant(value));
    }
    series
}

/// What is otherwise on leaf1, and what fires at which minute.
struct Case {
    changes: Vec<(String, Option<String>)>,
    both: bool,
    fires: Vec<(usize, Vec<(&'static str, &'static str)>)>,
}

fn case(changes: &[(&str, &str)], fires: &[(usize, &[&'static str])]) -> Case {
    let text = |values: &str| if values == "-" { None } else { Some(values.to_owned()) };
    Case {
        changes: changes.iter().map(|(name, values)| ((*name).to_owned(), text(values))).collect(),
        both: false,
        fires: fires
            .iter()
            .map(|(at, all)| (*at, all.iter().map(|name| (*name, "leaf1")).collect()))
            .collect(),
    }
}

/// A condition turns, and gives a reason.
fn turned(condition: &str, status: &str, reason: Option<&str>, fires: &[(usize, &[&'static str])]) -> Case {
    let mut turned = case(&[], fires);
    let one = Some(format!("1x{HOURS}"));
    turned.changes.push((format!("{condition}status=\"True\","), Some(format!("0x{HOURS}"))));
    turned.changes.push((format!("{condition}status=\"{status}\","), one.clone()));
    if let Some(reason) = reason {
        turned.changes.push((format!("{WHY}reason=\"Applied\","), None));
        turned.changes.push((format!("{WHY}reason=\"{reason}\","), one));
    }
    turned
}

fn cases() -> Vec<Case> {
    let zero: &str = &format!("0x{HOURS}");
    let one: &str = &format!("1x{HOURS}");
    let mut nobody = case(&[("up{job=\"switchlet\",", zero)], &[(4, &[])]);
    nobody.both = true;
    let down = [("SwitchletAgentDown", "leaf1"), ("SwitchletAgentDown", "leaf2")];
    nobody.fires.push((12, [&[("SwitchletNoAgent", "")], &down[..]].concat()));
    let mut retired = case(&[("switchlet_last_look_timestamp_seconds{", zero)], &[(30, &[])]);
    for condition in [READABLE, APPLIED] {
        for status in ["True", "False", "Unknown"] {
            retired.changes.push((format!("{condition}status=\"{status}\","), None));
        }
    }
    vec![
        case(&[], &[(1, &[]), (5, &[]), (60, &[]), (HOURS - 1, &[])]),
        nobody,
        retired,
        case(&[("up{job=\"switchlet\",", zero)], &[(4, &[]), (6, &["SwitchletAgentDown"])]),
        case(
            &[("switchlet_start_timestamp_seconds{", "0x5 _x475")],
            &[(14, &[]), (25, &["SwitchletAgentGone"]), (380, &[])],
        ),
        case(&[("switchlet_last_look_timestamp_seconds{", zero)], &[(4, &[]), (7, &["SwitchletLookStale"])]),
        case(
            &[("switchlet_last_write_timestamp_seconds{", zero)],
            &[(18, &[]), (22, &["SwitchletReportStale"])],
        ),
        case(
            &[("switchlet_start_timestamp_seconds{", "0x2 60x2 120x2 180x2 240x500")],
            &[(8, &[]), (14, &["SwitchletRestarts"]), (80, &[])],
        ),
        turned(READABLE, "False", None, &[(0, &[]), (2, &["SwitchletFIBNotSynced"])]),
        turned(READABLE, "Unknown", None, &[(8, &[]), (11, &["SwitchletFIBUnknown"])]),
        turned(APPLIED, "False", Some("RolledBack"), &[(0, &[]), (2, &["SwitchletCommitFailed"])]),
        turned(APPLIED, "False", Some("RenderFailed"), &[(2, &["SwitchletCommitFailed"])]),
        turned(APPLIED, "False", Some("RollbackFailed"), &[(1, &["SwitchletRollbackFailed"])]),
        turned(APPLIED, "False", Some("StartupNotSaved"), &[(4, &[]), (6, &["SwitchletStartupNotSaved"])]),
        turned(APPLIED, "False", Some("ApprovalRequired"), &[(50, &[]), (61, &["SwitchletCommitWaits"])]),
        turned(APPLIED, "False", Some("Drifted"), &[(10, &[]), (16, &["SwitchletDriftStands"])]),
        turned(APPLIED, "False", Some("Paused"), &[(HOURS - 1, &[])]),
        turned(
            APPLIED,
            "Unknown",
            Some("DaemonUnreachable"),
            &[(10, &[]), (16, &["SwitchletConfigUnknown"])],
        ),
        case(
            &[("switchlet_config_drifts_total{", "0x10 1x470")],
            &[(9, &[]), (13, &["SwitchletDrift"]), (60, &[])],
        ),
        case(&[("switchlet_paused{", one)], &[(230, &[]), (241, &["SwitchletPausedLong"])]),
        case(&[("switchlet_bundle_stale{", one)], &[(10, &[]), (16, &["SwitchletBundleStale"])]),
        case(&[("switchlet_guarded{", zero)], &[(10, &[]), (16, &["SwitchletUnguarded"])]),
        case(
            &[
                ("switchlet_policy{standing=\"absent\",", one),
                ("switchlet_policy{standing=\"enforced\",", zero),
            ],
            &[(8, &[]), (11, &["SwitchletPolicyAbsent"])],
        ),
    ]
}

/// As promtool wants it.
fn test(case: &Case) -> Value {
    let mut series = Vec::new();
    for leaf in ["leaf1", "leaf2"] {
        let mut shown = healthy();
        if leaf == "leaf1" || case.both {
            for (name, values) in &case.changes {
                match values {
                    Some(values) => drop(shown.insert(name.clone(), values.clone())),
                    None => drop(shown.remove(name)),
                }
            }
        }
        for (name, values) in shown {
            series.push(json!({"series": format!("{name}node=\"{leaf}\"}}"), "values": values}));
        }
    }
    let expected: Vec<Value> = case
        .fires
        .iter()
        .map(|(minute, all)| {
            let samples: Vec<Value> = all
                .iter()
                .map(|(name, node)| {
                    let node = if node.is_empty() { String::new() } else { format!(", node=\"{node}\"") };
                    json!({"labels": format!("{{alertname=\"{name}\"{node}}}"), "value": 1})
                })
                .collect();
            json!({
                "expr": "count by (alertname, node) (ALERTS{alertstate=\"firing\"})",
                "eval_time": format!("{minute}m"), "exp_samples": samples,
            })
        })
        .collect();
    json!({"interval": "1m", "input_series": series, "promql_expr_test": expected})
}

fn rules() -> Value {
    let text = fs::read_to_string(root().join("manifests/monitoring/rules.yaml")).unwrap();
    let object: Value = serde_yaml::from_str(&text).unwrap();
    object["spec"].clone()
}

fn alerts(rules: &Value) -> Vec<&Value> {
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect()
}

/// Runs promtool, or says loudly that it is not there.
fn promtool(folder: &Path, args: &[&str]) -> bool {
    let output = Command::new("promtool").args(args).current_dir(folder).stdin(Stdio::null()).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: promtool: {error}");
            eprintln!("SKIPPED: promtool (Debian's prometheus): {error}");
            return false;
        }
    };
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&text));
    true
}

#[test]
fn each_alert_fires_when_it_should_and_is_silent_else() {
    let rules = rules();
    let folder = tempfile::tempdir().unwrap();
    // JSON is YAML.
    fs::write(folder.path().join("rules.yaml"), rules.to_string()).unwrap();
    let tests: Vec<Value> = cases().iter().map(test).collect();
    let tests = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests});
    fs::write(folder.path().join("tests.yaml"), tests.to_string()).unwrap();
    if !promtool(folder.path(), &["check", "rules", "rules.yaml"]) {
        return;
    }
    promtool(folder.path(), &["test", "rules", "tests.yaml"]);
    let tried: BTreeSet<String> = cases()
        .iter()
        .flat_map(|case| {
            case.fires.iter().flat_map(|(_, all)| all.iter().map(|(name, _)| (*name).to_owned()))
        })
        .collect();
    let there: BTreeSet<String> =
        alerts(&rules).iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect();
    assert_eq!(tried, there, "every alert is tried");
}

#[test]
fn the_alerts_name_metrics_and_reasons_that_there_are() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    // A test of the library holds this table against the registry.
    let table = readme
        .split("<!-- metrics: begin -->")
        .nth(1)
        .unwrap()
        .split("<!-- metrics: end -->")
        .next()
        .unwrap();
    let rules = rules();
    let mut names = BTreeSet::new();
    for rule in alerts(&rules) {
        let expr = rule["expr"].as_str().unwrap();
        let words = expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        names.extend(words.filter(|word| word.starts_with("switchlet_")).map(str::to_owned));
        for reasons in expr.split("reason=").skip(1) {
            let list = reasons.split('"').nth(1).unwrap();
            for reason in list.split('|') {
                let known: Result<switchlet::health::condition::Reason, _> =
                    serde_json::from_value(reason.into());
                assert!(known.is_ok(), "{}: there is no reason {reason}", rule["alert"]);
            }
        }
        let annotations = &rule["annotations"];
        assert!(annotations["summary"].is_string() && annotations["description"].is_string(), "{rule}");
    }
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(table.contains(&format!("| `{name}` |")), "there is no metric {name}");
    }
}
