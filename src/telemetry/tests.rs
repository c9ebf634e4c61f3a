#![allow(clippy::disallowed_methods, reason = "reads the README")]

use std::collections::BTreeMap;

use super::*;

const BEGIN: &str = "<!-- metrics: begin -->\n";
const END: &str = "<!-- metrics: end -->\n";

/// The table of all metrics, from what the endpoint itself says of them.
fn table() -> String {
    use crate::cluster::events::Tally;
    let (counters, registry) = Counters::new();
    // A family shows its labels with its first value.
    counters.wrote("Node", true);
    counters.said([("switchlet.io/FIBSynced", "True".to_owned(), "InSync".to_owned())].into_iter());
    counters.admission("enforced");
    counters.written();
    counters.vips.get_or_create(&StateLabel { state: StateValue::ok }).set(0);
    let mut text = String::new();
    text::encode(&mut text, &registry).unwrap();
    let mut kinds = BTreeMap::new();
    let mut helps = BTreeMap::new();
    let mut labels: BTreeMap<&str, String> = BTreeMap::new();
    let mut names = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, help] => {
                names.push(*name);
                helps.insert(*name, help.trim_end_matches('.'));
            }
            ["#", "TYPE", name, kind] => drop(kinds.insert(*name, *kind)),
            _ => {
                let Some((metric, rest)) = line.split_once('{') else { continue };
                let Some((inside, _)) = rest.split_once('}') else { continue };
                let all: Vec<&str> = inside.split(',').filter_map(|pair| pair.split('=').next()).collect();
                let Some(name) = names.iter().rev().find(|name| metric.starts_with(**name)) else { continue };
                let all: Vec<String> = all
                    .into_iter()
                    .filter(|label| *label != "le")
                    .map(|label| format!("`{label}`"))
                    .collect();
                labels.entry(name).or_insert_with(|| all.join(", "));
            }
        }
    }
    let rows: Vec<String> = names
        .iter()
        .map(|name| {
            let kind = kinds[name];
            let suffix = if kind == "counter" { "_total" } else { "" };
            let labels = labels.get(name).map_or("", String::as_str);
            format!("| `{name}{suffix}` | {kind} | {labels} | {} |\n", helps[name])
        })
        .collect();
    format!("| metric | type | labels | meaning |\n|---|---|---|---|\n{}", rows.concat())
}

/// `GOLDEN=overwrite` writes it anew.
#[test]
fn the_readme_lists_every_metric() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README has a place for the table");
    let (there, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var("GOLDEN").as_deref() == Ok("overwrite") {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(there, table, "GOLDEN=overwrite cargo test writes it anew");
}
