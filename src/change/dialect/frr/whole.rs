//! A text of which every line is the bundle's: a literal `frr.conf`.
//!
//! The difference is over all that runs, foreign lines included. What the machine itself adds to its running text is no
//! configuration and is never touched.

use std::collections::BTreeSet;

use super::{
    Change, Path, Refusal, commands, context, impact, is_named_block, neighbor, release, show, slot, telling,
    tree, wanted_blocks,
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
    let mut seen = BTreeSet::new();
    telling(tree::flatten(text))
        .into_iter()
        .filter(|path| !is_environment(&path[0]))
        .filter(|path| path.len() > 1 || !CONTAINERS.iter().any(|container| path[0].starts_with(container)))
        .filter(|path| seen.insert(path.clone()))
        .collect()
}

fn is_environment(top: &str) -> bool {
    ENVIRONMENT
        .iter()
        .any(|line| top.strip_prefix(line).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')))
}

/// From all that runs to `wanted`, a canonical text; `None` if they are equal.
pub fn plan(running: &str, wanted: &str) -> Result<Option<OwnerPlan>, Refusal> {
    let release = release::of_text(&tree::flatten(running));
    let (running, wanted) = (said(running), said(wanted));
    // Another AS is another instance: all of its sessions would go, and its lines would land in the wrong one.
    let instance = |paths: &[Path]| {
        paths.iter().find(|path| path.len() == 1 && slot(path).as_deref() == Some("router bgp")).cloned()
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
    difference(&said(now), &said(before), release::of_text(&tree::flatten(now)))
}

fn difference(running: &[Path], wanted: &[Path], release: Option<Release>) -> Option<OwnerPlan> {
    let (moved, first) = moved(running, wanted);
    let all = running;
    let stays = |path: &&Path| !neighbor_of(path).is_some_and(|neighbor| moved.contains(&neighbor));
    let running: Vec<&Path> = all.iter().filter(stays).collect();
    let has: BTreeSet<&Path> = running.iter().copied().collect();
    let want: BTreeSet<&Path> = wanted.iter().collect();
    let slots: BTreeSet<(&[String], String)> =
        wanted.iter().filter_map(|path| slot(path).map(|slot| (context(path), slot))).collect();
    let overwritten = |path: &Path| slot(path).is_some_and(|slot| slots.contains(&(context(path), slot)));
    let add: Vec<&Path> = wanted.iter().filter(|path| !has.contains(path)).collect();
    let gone: Vec<&Path> = running.into_iter().filter(|path| !want.contains(path)).collect();
    let remove: Vec<&Path> = gone.iter().copied().filter(|path| !overwritten(path)).collect();
    if add.is_empty() && gone.is_empty() {
        return None;
    }
    let goes_whole = |line: &str| is_named_block(line) || line.starts_with("router ");
    // What is shown is what changes; the lines of a neighbour that is made anew come back as they were.
    let before: BTreeSet<&Path> = all.iter().collect();
    let lost: Vec<&Path> = all.iter().filter(|path| !stays(path) && !want.contains(path)).collect();
    let replaced: Vec<&Path> =
        gone.iter().copied().filter(|path| overwritten(path)).chain(lost.iter().copied()).collect();
    let written: Vec<&Path> = add.iter().copied().filter(|path| !before.contains(path)).collect();
    let change =
        Change { release, running: all, add: &written, remove: &remove, replaced: &replaced, anew: &moved };
    Some(OwnerPlan {
        impact: impact::foretell(change),
        add: written.iter().map(|path| show(path)).collect(),
        remove: gone.iter().copied().chain(lost).map(show).collect(),
        commands: first
            .into_iter()
            .chain(commands(&add, &remove, &replaced, &wanted_blocks(wanted), &goes_whole))
            .collect(),
        ..OwnerPlan::default()
    })
}

/// Instance and name of the neighbour that a line is about.
fn neighbor_of(path: &Path) -> Option<(String, String)> {
    let instance = path.first().filter(|top| path.len() > 1 && top.starts_with("router bgp "))?;
    Some((instance.clone(), neighbor(&path[path.len() - 1])?.to_owned()))
}

/// Neighbours that FRR would not let change their peer-group, and the commands that take them away before anything else.
fn moved(running: &[Path], wanted: &[Path]) -> (BTreeSet<(String, String)>, Vec<String>) {
    let want: BTreeSet<&Path> = wanted.iter().collect();
    let remain: BTreeSet<(String, String)> = wanted.iter().filter_map(neighbor_of).collect();
    let mut moved = BTreeSet::new();
    let mut commands = Vec::new();
    for path in running.iter().filter(|path| !want.contains(path)) {
        let line = &path[path.len() - 1];
        let joins = line.split(' ').skip_while(|word| *word != "peer-group").nth(1).is_some();
        if let Some(neighbor) = neighbor_of(path).filter(|neighbor| joins && remain.contains(neighbor)) {
            let whole =
                if line.contains(" interface ") { line.clone() } else { format!("neighbor {}", neighbor.1) };
            commands.extend([neighbor.0.clone(), format!(" no {whole}"), "exit".to_owned()]);
            moved.insert(neighbor);
        }
    }
    (moved, commands)
}
