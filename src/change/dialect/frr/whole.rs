//! A text of which every line is the bundle's: a literal `frr.conf`.
//!
//! The difference is over all that runs, foreign lines included. What the machine itself adds to its running text is no
//! configuration and is never touched.

use std::collections::{BTreeSet, HashSet};

use super::{
    Change, Path, Refusal, commands, impact, is_named_block, neighbor, release, show, slot, telling, tree,
    written_over,
};
use crate::change::diff::OwnerPlan;
use crate::intent::platform::Release;

/// Lines that the machine or its start scripts put there.
const ENVIRONMENT: [&str; 12] = [
    "frr version",
    "frr defaults",
    "hostname",
    "domainname",
    "service integrated-vtysh-config",
    "ip forwarding",
    "no ip forwarding",
    "ipv6 forwarding",
    "no ipv6 forwarding",
    "log",
    "no log",
    "line vty",
];

/// Blocks that mean nothing when they are empty, and exist without us.
const CONTAINERS: [&str; 2] = ["interface ", "vrf "];

/// All lines of a running text that are configuration, each once.
pub fn said(text: &str) -> Vec<Path> {
    let mut said = telling(tree::flatten(text));
    said.retain(|path| {
        let is_container = CONTAINERS.iter().any(|container| path[0].starts_with(container));
        !is_environment(&path[0]) && (path.len() > 1 || !is_container)
    });
    let mut seen = HashSet::new();
    let first: Vec<bool> = said.iter().map(|path| seen.insert(path)).collect();
    let mut first = first.into_iter();
    said.retain(|_| first.next().unwrap_or(true));
    said
}

fn is_environment(top: &str) -> bool {
    ENVIRONMENT
        .iter()
        .any(|line| top.strip_prefix(line).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')))
}

/// From all that runs to `wanted`, a canonical text; `None` if they are equal.
pub fn plan(running: &str, wanted: &str) -> Result<Option<OwnerPlan>, Refusal> {
    let release = release::of_text(running);
    let (running, wanted) = (said(running), said(wanted));
    // Another AS is another instance: all of its sessions would go, and its lines would land in the wrong one.
    let instance = |paths: &[Path]| {
        let is_it = |path: &&Path| path.len() == 1 && slot(path).is_some_and(|slot| slot.is("router bgp"));
        paths.iter().find(is_it).cloned()
    };
    if let (Some(wanted), Some(found)) = (instance(&wanted), instance(&running))
        && wanted != found
    {
        return Err(Refusal::GlobalConflict { wanted: show(&wanted), found: show(&found) });
    }
    Ok(difference(&running, &wanted, release))
}

/// From all that runs now to all that ran `before`.
pub fn undo(now: &str, before: &str) -> Option<OwnerPlan> {
    difference(&said(now), &said(before), release::of_text(now))
}

fn difference(running: &[Path], wanted: &[Path], release: Option<Release>) -> Option<OwnerPlan> {
    let (moved, first) = moved(running, wanted);
    let all = running;
    let stays =
        |path: &&Path| moved.is_empty() || !neighbor_of(path).is_some_and(|of| moved.contains(&owned(of)));
    let running: Vec<&Path> = all.iter().filter(stays).collect();
    let has: HashSet<&Path> = running.iter().copied().collect();
    let want: HashSet<&Path> = wanted.iter().collect();
    let add: Vec<&Path> = wanted.iter().filter(|path| !has.contains(path)).collect();
    let gone: Vec<&Path> = running.into_iter().filter(|path| !want.contains(path)).collect();
    if add.is_empty() && gone.is_empty() {
        return None;
    }
    let (overwritten, remove) = written_over(gone.iter().copied(), wanted);
    let goes_whole = |line: &str| is_named_block(line) || line.starts_with("router ");
    // What is shown is what changes; the lines of a neighbour that is made anew come back as they were.
    let (made_anew, lost): (Vec<&Path>, Vec<&Path>) =
        all.iter().filter(|path| !stays(path)).partition(|path| want.contains(path));
    let made_anew: HashSet<&Path> = made_anew.into_iter().collect();
    let replaced: Vec<&Path> = overwritten.into_iter().chain(lost.iter().copied()).collect();
    let written: Vec<&Path> = add.iter().copied().filter(|path| !made_anew.contains(path)).collect();
    let change =
        Change { release, running: all, add: &written, remove: &remove, replaced: &replaced, anew: &moved };
    Some(OwnerPlan {
        impact: impact::foretell(change),
        add: written.iter().map(|path| show(path)).collect(),
        remove: gone.iter().copied().chain(lost).map(show).collect(),
        commands: first.into_iter().chain(commands(&add, &remove, &replaced, wanted, &goes_whole)).collect(),
        ..OwnerPlan::default()
    })
}

/// Instance and name of the neighbour that a line is about.
fn neighbor_of(path: &Path) -> Option<(&str, &str)> {
    let instance = path.first().filter(|top| path.len() > 1 && top.starts_with("router bgp "))?;
    Some((instance, neighbor(&path[path.len() - 1])?))
}

fn owned((instance, name): (&str, &str)) -> (String, String) {
    (instance.to_owned(), name.to_owned())
}

/// Neighbours that FRR would not let change their peer-group, and the commands that take them away before anything else.
fn moved(running: &[Path], wanted: &[Path]) -> (BTreeSet<(String, String)>, Vec<String>) {
    let joins = |path: &&Path| {
        let mut words = path[path.len() - 1].split(' ').skip_while(|word| *word != "peer-group");
        neighbor_of(path).is_some() && words.nth(1).is_some()
    };
    let want: HashSet<&Path> = wanted.iter().filter(joins).collect();
    let leave: Vec<&Path> = running.iter().filter(joins).filter(|path| !want.contains(path)).collect();
    let mut moved = BTreeSet::new();
    let mut commands = Vec::new();
    if leave.is_empty() {
        return (moved, commands);
    }
    let remain: HashSet<(&str, &str)> = wanted.iter().filter_map(neighbor_of).collect();
    for path in leave {
        let line = &path[path.len() - 1];
        if let Some((instance, name)) = neighbor_of(path).filter(|neighbor| remain.contains(neighbor)) {
            let whole = if line.contains(" interface ") { line.clone() } else { format!("neighbor {name}") };
            commands.extend([instance.to_owned(), format!(" no {whole}"), "exit".to_owned()]);
            moved.insert(owned((instance, name)));
        }
    }
    (moved, commands)
}
