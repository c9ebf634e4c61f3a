//! Who may name whom, read from the source.
//!
//! Pure modules (vocabulary, intent, change, health) know no file, no clock, no environment, no API and no shell. Ports
//! name pure modules only. A shell never names a sibling shell. Only the top composes. Test modules are free.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test that reads the sources")]

use std::fs;
use std::path::{Path, PathBuf};

/// The pure core: values in, values out.
const PURE: &[&str] = &["net", "intent", "change", "health"];

/// What the agent needs of the outside; only the file of the port itself, not the shells below it.
const PORTS: &[&str] = &["fib", "nos", "rib"];

/// All I/O.
const SHELLS: &[&str] = &[
    "child",
    "cluster",
    "fib::netlink",
    "fib::srlinux",
    "files",
    "jsonrpc",
    "nos::frr",
    "nos::srlinux",
    "probe",
    "rib::frr",
    "rib::srlinux",
    "sandbox",
    "vty",
];

/// May name everything.
const TOP: &[&str] = &["agent", "cli", "guard", "lib", "main", "settings", "telemetry"];

/// What makes code impure.
const OUTSIDE: &[&str] = &[
    "axum::",
    "k8s_openapi::",
    "kube::",
    "netlink_sys::",
    "nix::",
    "notify::",
    "reqwest::",
    "tokio::",
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::os",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
];

/// Grouped and climbing paths hide what they name.
const OPAQUE: &[&str] = &["crate::{", "std::{", "super::super"];

/// Shell, sibling, and why.
const SIBLINGS: &[(&str, &str, &str)] = &[
    ("nos::frr", "vty", "the wire that every daemon of FRR speaks"),
    ("rib::frr", "vty", "the wire that every daemon of FRR speaks"),
    ("sandbox", "child", "a process of our own is started and ended in one way"),
    ("nos::frr", "child", "a process of our own is started and ended in one way"),
    ("nos::srlinux", "jsonrpc", "the wire that SR Linux's management server speaks"),
    ("fib::srlinux", "jsonrpc", "the wire that SR Linux's management server speaks"),
    ("rib::srlinux", "jsonrpc", "the wire that SR Linux's management server speaks"),
    ("rib::srlinux", "fib::srlinux", "the chain from route to next-hop is read in one way"),
    ("nos::srlinux", "files", "what must outlive the process is replaced in one step, like every other file"),
    ("nos::frr", "files", "the startup file is replaced in one step, like every other file"),
];

/// `agent`, `fib::netlink::wire`, …
fn module(path: &Path) -> String {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    parts.join("::").trim_end_matches(".rs").to_owned()
}

/// `name` is `module` or lies in it.
fn within(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn within_any(name: &str, modules: &[&str]) -> bool {
    modules.iter().any(|module| within(name, module))
}

/// The code without comments and without the texts in quotes.
fn code(source: &str) -> String {
    let mut code = String::new();
    for line in source.lines() {
        let mut quoted = false;
        let mut previous = ' ';
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if quoted => drop(characters.next()),
                '"' if previous != '\'' => quoted = !quoted,
                '/' if !quoted && characters.peek() == Some(&'/') => break,
                _ if quoted => {}
                other => code.push(other),
            }
            previous = character;
        }
        code.push('\n');
    }
    code
}

/// `word` stands in `code` and does not merely end a longer name.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let longer = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        !longer || word.ends_with("::now")
    })
}

/// Every path that begins with `crate::`, up to the first name that is no module.
fn crate_paths(code: &str) -> Vec<String> {
    code.match_indices("crate::")
        .map(|(at, found)| {
            let path: String = code[at + found.len()..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':'))
                .collect();
            path.trim_end_matches(':').to_owned()
        })
        .collect()
}

/// What `source`, the text of `module`, names and must not.
fn offences(module: &str, source: &str) -> Vec<String> {
    if within_any(module, TOP) {
        return Vec::new();
    }
    let code = code(source);
    let named = crate_paths(&code);
    let mut found = Vec::new();
    let mut offend = |what: String| found.push(format!("{module} {what}"));
    let pure = within_any(module, PURE);
    let port = PORTS.contains(&module);
    if pure || port {
        for word in OPAQUE.iter().filter(|word| code.contains(**word)) {
            offend(format!("writes `{word}`, which hides what it names"));
        }
        if !module.contains("::") && names(&code, "super::") {
            offend("climbs to the crate's root, which hides what it names".to_owned());
        }
        let lawful = |path: &str| within_any(path, PURE) || (port && within(path, module));
        for path in named.iter().filter(|path| !lawful(path)) {
            offend(format!("names crate::{path}"));
        }
    }
    if pure {
        for word in OUTSIDE.iter().filter(|word| names(&code, word)) {
            offend(format!("names {word}"));
        }
        return found;
    }
    if port {
        return found;
    }
    let Some(home) = SHELLS.iter().copied().find(|shell| within(module, shell)) else {
        offend("is in no layer: list it in tests/layering.rs".to_owned());
        return found;
    };
    let allowed = |sibling: &str| {
        SIBLINGS.iter().any(|(shell, other, _)| *shell == home && *other == sibling) || sibling == home
    };
    if code.contains("crate::{") {
        offend("writes `crate::{`, which hides what it names".to_owned());
    }
    for path in &named {
        let sibling = SHELLS.iter().copied().find(|shell| within(path, shell));
        if let Some(sibling) = sibling.filter(|sibling| !allowed(sibling)) {
            offend(format!("names its sibling {sibling}"));
        }
        if within_any(path, TOP) {
            offend(format!("names crate::{path}, which is above it"));
        }
    }
    found
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            all.push(path);
        }
    }
}

#[test]
fn every_module_names_only_what_lies_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    sources(&root, &mut all);
    assert!(all.len() > 40, "only {} sources found", all.len());
    let found: Vec<String> = all
        .iter()
        .flat_map(|path| {
            offences(&module(path.strip_prefix(&root).unwrap()), &fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_exception_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (shell, sibling, reason) in SIBLINGS {
        let folder = root.join(shell.replace("::", "/"));
        let mut all = vec![folder.with_extension("rs")];
        if folder.is_dir() {
            sources(&folder, &mut all);
        }
        let of = |path: &PathBuf| crate_paths(&code(&fs::read_to_string(path).unwrap()));
        let named: Vec<String> = all.iter().flat_map(of).collect();
        assert!(
            named.iter().any(|path| within(path, sibling)),
            "{shell} → {sibling} ({reason}) is not needed"
        );
    }
}

#[test]
fn the_check_sees_what_is_forbidden() {
    for (module, source, offence) in [
        ("intent::nexthops", "use tokio::sync::mpsc;", "names tokio::"),
        ("net", "fn f() { let _ = std::fs::read(\"x\"); }", "names std::fs"),
        ("health::clock", "let now = Instant::now();", "names Instant::now"),
        ("health::clock", "let now = jiff::Timestamp::now();", "names Timestamp::now"),
        ("change::diff", "use crate::{net::Prefix, nos::Running};", "hides what it names"),
        ("change::diff", "use super::super::nos;", "hides what it names"),
        ("change", "use super::nos::NosDriver;", "climbs to the crate's root"),
        ("health::ladder", "use crate::rib::Session;", "names crate::rib"),
        ("intent", "fn f(x: &crate::files::Lock) {}", "names crate::files"),
        ("fib", "use crate::cluster::Rereader;", "names crate::cluster"),
        ("rib", "use crate::vty::Vty;", "names crate::vty"),
        ("cluster::report", "use crate::files::replace;", "names its sibling files"),
        ("fib::netlink::wire", "use crate::vty::Vty;", "names its sibling vty"),
        ("nos::frr", "use crate::rib::frr::Frr;", "names its sibling rib::frr"),
        ("files", "use crate::agent::Agent;", "names crate::agent, which is above it"),
        ("gadget", "", "is in no layer"),
    ] {
        let found = offences(module, source);
        assert!(found.iter().any(|found| found.contains(offence)), "{module}: {source:?} gave {found:?}");
    }
}

#[test]
fn the_check_lets_pass_what_is_lawful() {
    for (module, source) in [
        ("net", "// tokio:: is not for us\n/// nor is std::fs\nconst S: &str = \"kube::\"; // crate::nos"),
        ("intent::render", "use crate::change::diff::Candidate;\nuse std::io::{self, Write};"),
        ("fib", "use crate::net::Prefix;"),
        ("rib", "pub use crate::health::control::Session;"),
        ("fib::netlink::kernel", "use crate::fib::FibError;\nuse crate::fib::netlink::wire;"),
        ("nos::frr", "use crate::vty::Vty;"),
        ("agent::verify", "use crate::cluster::Rereader; let now = tokio::time::Instant::now();"),
        ("health", "let quote = '\"'; let x = my_tokio::f();"),
    ] {
        assert_eq!(offences(module, source), Vec::<String>::new(), "{module}: {source:?}");
    }
}
