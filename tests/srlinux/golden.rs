//! Cases as folders: `switch.yaml`, `cluster` and `platform` (release and chassis) give `candidate.json`, byte for byte, and Nokia's
//! own models take it for that release and chassis, and for no release with another grammar.
//! `GOLDEN=overwrite cargo test --test srlinux golden` writes the results anew.

use std::fs;
use std::path::{Path, PathBuf};

use crate::yang::{self, Kind, Models};
use serde_json::Value;
use switchlet::change::Dialect as _;
use switchlet::change::dialect::srlinux::release::{self, Grammar};
use switchlet::change::dialect::srlinux::{OWNER, Srlinux};
use switchlet::change::diff::{Candidate, Checked};
use switchlet::files::objects::read_cluster;
use switchlet::intent::language::SRLINUX;
use switchlet::intent::platform::Platform;
use switchlet::intent::render::{self, Texts};
use switchlet::intent::snapshot::Bundle;
use switchlet::intent::{nexthops, settings};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/srlinux");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 12, "only {} cases", cases.len());
    cases
}

fn platform(case: &Path) -> Platform {
    let words = fs::read_to_string(case.join("platform")).unwrap();
    let (version, chassis) = words.trim().split_once(' ').unwrap();
    release::platform(version, chassis)
}

fn candidate(case: &Path, platform: &Platform) -> Candidate {
    let settings = settings::parse(&fs::read_to_string(case.join("switch.yaml")).unwrap()).unwrap();
    let (facts, _) = read_cluster(&case.join("cluster"), "leaf1").unwrap();
    assert_eq!(facts.issues, []);
    let expectation = nexthops::expect("leaf1", &settings, &facts);
    let bundle = Bundle::default();
    let texts = Texts { bundle: &bundle, built_in: render::SRLINUX };
    let job = render::job("leaf1", &settings, &expectation.peers, platform, texts);
    let rendered = render::render(&job).unwrap();
    let (fitted, _) =
        (SRLINUX.fit)(rendered, platform).unwrap_or_else(|why| panic!("{}: {why}", case.display()));
    Srlinux.canonical(&fitted, &Checked::default()).unwrap()
}

/// The name of the closure that belongs to a case: the end of its folder's name.
fn closure(case: &Path) -> String {
    let name = case.file_name().unwrap().to_str().unwrap();
    format!("v{}", name.split_once('-').unwrap().1)
}

/// The model's own names of the top-level nodes and of BGP, which our canonical form leaves out.
fn with_modules(text: &str) -> String {
    let mut document: Value = serde_json::from_str(text).unwrap();
    let root = document.as_object_mut().unwrap();
    for (name, module) in [
        ("network-instance", "network-instance"),
        ("routing-policy", "routing-policy"),
        ("interface", "interfaces"),
    ] {
        if let Some(value) = root.remove(name) {
            root.insert(format!("srl_nokia-{module}:{name}"), value);
        }
    }
    let instances = root.get_mut("srl_nokia-network-instance:network-instance").and_then(Value::as_array_mut);
    for instance in instances.into_iter().flatten() {
        if let Some(protocols) = instance.get_mut("protocols").and_then(Value::as_object_mut)
            && let Some(bgp) = protocols.remove("bgp")
        {
            protocols.insert("srl_nokia-bgp:bgp".to_owned(), bgp);
        }
    }
    document.to_string()
}

#[test]
fn candidates_are_as_recorded() {
    for case in cases() {
        let text = candidate(&case, &platform(&case)).texts[OWNER].clone();
        let path = case.join("candidate.json");
        if std::env::var_os("GOLDEN").is_some_and(|word| word == "overwrite") {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{}", case.display());
    }
}

#[test]
fn nokias_models_take_every_candidate_of_their_own_grammar_and_no_other() {
    if yang::all().is_none() {
        return;
    }
    let closures = ["v23.7.1-d2l", "v24.3.3-d2l", "v24.10.3-d2l", "v25.3.1-d2l"];
    for case in cases() {
        let own = platform(&case);
        let document = with_modules(&candidate(&case, &own).texts[OWNER]);
        let said =
            Models::of(&closure(&case)).expect("the closure of the case").validate(&document, Kind::Config);
        assert_eq!(said, Ok(()), "{}", case.display());
        let grammar = release::grammar(own.release).unwrap();
        for other in closures {
            let release = release::platform(other, "").release;
            if release::grammar(release).unwrap() != grammar {
                let said = Models::of(other).unwrap().validate(&document, Kind::Config);
                assert!(said.is_err(), "{} is taken by {other}", case.display());
            }
        }
    }
}

#[test]
fn a_document_of_another_grammar_is_refused_by_ours_too() {
    for (file, grammar, path) in [
        ("pos-23.x-24.3.json", Grammar::A, "multipath"),
        ("pos-24.7-24.10.json", Grammar::B, "multipath"),
        ("pos-25.3.json", Grammar::C, "multipath"),
    ] {
        let Some(root) = yang::data_set() else { return };
        let text = fs::read_to_string(root.join("instances/positive").join(file)).unwrap();
        for (version, other) in [("v23.7.1", Grammar::A), ("v24.10.3", Grammar::B), ("v25.3.1", Grammar::C)] {
            let taken = fit(&text, version, "7220 IXR-D2L");
            if other == grammar {
                assert_eq!(taken, Ok(()), "{file} on {version}");
            } else {
                let why = taken.unwrap_err();
                assert!(why.contains(path) || why.contains("policy"), "{file} on {version}: {why}");
                assert!(why.contains("expected"), "{why}");
            }
        }
    }
}

fn fit(text: &str, version: &str, chassis: &str) -> Result<(), String> {
    let none = std::collections::BTreeMap::new();
    let literal = (SRLINUX.take)(text, &none, &none).map_err(|mistake| mistake.to_string())?;
    (SRLINUX.fit)(literal.candidate, &release::platform(version, chassis))
        .map(drop)
        .map_err(|refusal| refusal.to_string())
}

#[test]
fn every_positive_instance_is_taken_by_us_and_by_its_model() {
    if yang::all().is_none() {
        return;
    }
    let root = yang::data_set().unwrap().join("instances/positive");
    let models = |name: &str| match name {
        "pos-23.x-24.3.json" => "v23.7.1-d2l",
        "pos-24.7-24.10.json" => "v24.10.3-d2l",
        _ => "v25.3.1-d2l",
    };
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let closure = models(&name);
        assert_eq!(fit(&text, closure, "7220 IXR-D2L"), Ok(()), "{name}");
        let none = std::collections::BTreeMap::new();
        let canonical = (SRLINUX.take)(&text, &none, &none).unwrap().candidate.texts[OWNER].clone();
        let said = Models::of(closure).unwrap().validate(&with_modules(&canonical), Kind::Config);
        assert_eq!(said, Ok(()), "{name}");
    }
}

#[test]
fn every_negative_instance_is_refused_by_us_or_by_the_model_at_the_right_place() {
    if yang::all().is_none() {
        return;
    }
    let models = Models::of("v25.3.1-d2l").unwrap();
    let places = [
        ("01-max-paths-65", "max-paths"),
        ("02-hash-buckets-33", "hash-buckets-per-path"),
        ("03-max-paths-0", "max-paths"),
        ("04-unknown-leaf", "max-path"),
        ("05-prefix-without-mask", "resilient-hash-prefix"),
        ("06-resilient-hash-on-mac-vrf", "resilient-hash-prefix"),
        ("07-neighbor-without-peer-group", "peer-group"),
        ("08-dangling-peer-group", "peer-group"),
        ("09-dangling-import-policy", "import-policy"),
        ("10-no-address-family-enabled", "address famil"),
        ("11-as-0", "autonomous-system"),
        ("12-missing-autonomous-system", "autonomous-system"),
        ("13-preference-ibgp-0", "ibgp"),
        ("14-evpn-afi-in-ip-vrf", "EVPN"),
    ];
    let root = yang::data_set().unwrap().join("instances/negative");
    let there = fs::read_dir(&root).unwrap().count() - 1;
    assert_eq!(there, places.len(), "every file has its place");
    for (name, place) in places {
        let text = fs::read_to_string(root.join(format!("{name}.json"))).unwrap();
        let said = match fit(&text, "v25.3.1", "7220 IXR-D2L") {
            Err(said) => said,
            Ok(()) => {
                let none = std::collections::BTreeMap::new();
                let canonical = (SRLINUX.take)(&text, &none, &none).unwrap().candidate.texts[OWNER].clone();
                models.validate(&with_modules(&canonical), Kind::Config).expect_err(name)
            }
        };
        assert!(said.contains(place), "{name}: {said}");
    }
}
