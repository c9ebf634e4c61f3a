//! Inputs that somebody got wrong. Each folder of `tests/bad` is a case: texts that stand in for, or beside, the good ones;
//! `expected`, a part of the one message, or on further lines what else may be said instead; and `exit`, the exit codes of one-shot commands, a line each.
//!
//! All run against one agent on one real FRR, whose running text and startup file must stay as they are to the last byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::lab::wait_for;
use crate::release::Release;
use crate::switch::{SETTINGS, Switch, nodes};

on_each_frr!(bad_input_is_named_and_changes_nothing);

const SOON: Duration = Duration::from_secs(60);

struct Case {
    name: String,
    texts: BTreeMap<String, String>,
    expected: String,
    exits: Vec<(String, i32)>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut texts: BTreeMap<String, String> = fs::read_dir(&path)
            .unwrap()
            .map(|file| file.unwrap().path())
            .map(|file| {
                let name = file.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(file).unwrap())
            })
            .collect();
        let expected = texts.remove("expected").unwrap().trim_end().to_owned();
        let exits = texts.remove("exit").unwrap();
        let exits = exits.lines().map(|line| line.split_once(' ').unwrap());
        let exits = exits.map(|(command, code)| (command.to_owned(), code.parse().unwrap())).collect();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        cases.push(Case { name, texts, expected, exits });
    }
    // Too long to be kept as a file.
    let long = format!("{{% if asn == 0 %}}a{}{{% endif %}}", "{% elif asn == 1 %}b".repeat(20_000));
    cases.push(Case {
        name: "tera-elif-chain".to_owned(),
        texts: BTreeMap::from([("frr.conf.tera".to_owned(), long)]),
        expected: "a template crashed the renderer".to_owned(),
        exits: vec![("render".to_owned(), 65), ("plan".to_owned(), 65)],
    });
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() > 40);
    cases
}

fn is_named(expected: &str, said: &str) -> bool {
    expected.lines().any(|line| said.contains(line))
}

fn bad_input_is_named_and_changes_nothing(release: Release) {
    let Some(mut switch) = Switch::up(release, SETTINGS, &nodes()) else { return };
    let secrets = switch.lab.scratch("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(switch.lab.scratch("token"), "the-token").unwrap();
    fs::write(secrets.join("long"), vec![b'x'; 1 << 20]).unwrap();
    symlink(switch.lab.scratch("token"), secrets.join("link")).unwrap();
    switch.more = vec!["--secrets-dir".to_owned(), secrets.to_str().unwrap().to_owned()];
    let agent = switch.agent();
    Switch::log_has(&agent, 0, "configuration applied, read back and saved");
    let (running, startup) = (switch.lab.running("leaf1"), switch.startup());
    for Case { name, texts, expected, exits } in cases() {
        // The same mistake twice in a row is said once.
        switch.bundle.publish(&[("switch.yaml", SETTINGS)]);
        std::thread::sleep(Duration::from_millis(300));
        let before = agent.log().len();
        let mut published = BTreeMap::from([("switch.yaml", SETTINGS)]);
        published.extend(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        switch.bundle.publish(&published.into_iter().collect::<Vec<_>>());
        wait_for(&format!("{name} is named"), SOON, || {
            let log = agent.log();
            if is_named(&expected, &log[before..]) { Ok(()) } else { Err(log[before..].to_owned()) }
        });
        for (command, code) in exits {
            let (found, said) = switch.once(&command, &[]);
            assert_eq!(found, Some(code), "{name}: {command}: {said}");
            assert!(is_named(&expected, &said), "{name}: {command}: {said}");
            assert_eq!(said.lines().count(), 1, "{name}: {command}: one clear message: {said}");
        }
        assert_eq!(switch.lab.running("leaf1"), running, "{name}");
        assert_eq!(switch.startup(), startup, "{name}");
    }
    let log = agent.log();
    assert_eq!(log.matches("sent commands").count(), 1, "nothing was sent but the good text: {log}");
    assert!(!log.contains("the-token"));
}
