//! Globals: lines that carry nobody's name. We set those of a closed list if they are absent, never write over a value of
//! somebody else without being told to, and put back what we found when we no longer want ours.

use std::collections::BTreeSet;

use super::{Known, Path, context, show, slot, slot_or_line, telling, tree};
use crate::change::diff::{Global, Refusal};

/// The closed list of globals: set if absent, refused if another value runs.
pub(super) fn is_global(path: &[String]) -> bool {
    let line = path[path.len() - 1].as_str();
    match path.len() {
        1 => {
            line.starts_with("router bgp ")
                || line == "zebra nexthop proto only"
                || line.starts_with("zebra nexthop-group resilience ")
        }
        2 if path[0].starts_with("router bgp ") => {
            line.starts_with("bgp router-id ")
                || line.starts_with("bgp bestpath as-path multipath-relax")
                || line.starts_with("bgp listen limit ")
        }
        3 if path[1].starts_with("address-family ") => line.starts_with("maximum-paths "),
        _ => false,
    }
}

/// Refuses what would write over somebody else's value.
pub(super) fn check(running: &[Path], wanted: &[Path], known: Known<'_>) -> Result<(), Refusal> {
    let was_confirmed =
        |found: &Path| known.confirmed.is_some_and(|confirmed| tree::flatten(confirmed).contains(found));
    for path in wanted.iter().filter(|path| is_global(path)) {
        let Some(wanted_slot) = slot(path) else { continue };
        // Another AS is another instance: its lines would land in the wrong one.
        let instance = wanted_slot.is("router bgp");
        let found = running.iter().find(|other| {
            *other != path && context(other) == context(path) && slot(other) == Some(wanted_slot)
        });
        // Ours was confirmed there: another value is drift.
        let drifted = || {
            let set = known.journal.iter().any(|global| {
                global.context == context(path)
                    && wanted_slot.is(&global.slot)
                    && global.set == path[path.len() - 1]
            });
            set && was_confirmed(path)
        };
        if let Some(found) = found
            && (instance || !(drifted() || was_confirmed(found)))
            && !known
                .adopt
                .iter()
                .any(|line| !instance && (*line == show(found) || *line == found[found.len() - 1]))
        {
            return Err(Refusal::GlobalConflict { wanted: show(path), found: show(found) });
        }
    }
    Ok(())
}

/// What becomes of the globals.
pub(super) struct Globals {
    /// Those that we will have set.
    pub journal: Vec<Global>,
    /// Lines that stood there before ours, which we no longer want.
    pub restored: Vec<Path>,
    /// Lines of ours in whose place nothing was.
    pub given_up: Vec<Path>,
    /// Running lines that ours write over.
    pub replaced: Vec<Path>,
}

/// Sets the globals of `wanted` against what runs and what we have set before.
pub(super) fn settle(running: &[Path], wanted: &[Path], known: &[Global], ours: &[Path]) -> Globals {
    let mut result = Globals { journal: Vec::new(), restored: vec![], given_up: vec![], replaced: vec![] };
    let in_slot = |paths: &[Path], around: &[String], slot: &str| {
        paths.iter().find(|path| context(path) == around && slot_or_line(path).is(slot)).cloned()
    };
    for path in wanted.iter().filter(|path| is_global(path)) {
        let (around, slot) = (context(path), slot_or_line(path).to_string());
        let entry = known.iter().find(|global| global.context == around && global.slot == slot);
        let runs = in_slot(running, around, &slot);
        let found = match (&runs, entry) {
            // What runs is what we set: what was there before is known already.
            (Some(runs), Some(entry)) if entry.set == runs[runs.len() - 1] => entry.found.clone(),
            // Ours has drifted; what was there before us is still that.
            (Some(_), Some(entry)) if entry.set == path[path.len() - 1] => entry.found.clone(),
            // It was like that before us, and stays so after us.
            (Some(runs), _) if runs == path => continue,
            (runs, _) => runs.as_ref().and_then(|runs| runs.last().cloned()),
        };
        result.replaced.extend(runs.filter(|runs| runs != path));
        let set = path[path.len() - 1].clone();
        result.journal.push(Global { context: around.to_vec(), slot, set, found });
    }
    for Global { context: around, slot, set, found } in known {
        let ends = in_slot(wanted, around, slot).is_none();
        let path: Path = around.iter().chain([set]).cloned().collect();
        // Somebody else has changed it since: it is no longer ours to restore.
        if !ends || !running.contains(&path) {
            continue;
        }
        match found {
            Some(found) => {
                result.restored.push(around.iter().chain([found]).cloned().collect());
                result.replaced.push(path);
            }
            None => result.given_up.push(path),
        }
    }
    // An instance of ours in which somebody else has configured something is theirs by now.
    let ours: BTreeSet<&Path> = ours.iter().collect();
    let foreign = |instance: &String, given_up: &[Path]| {
        telling(running.to_vec()).iter().any(|path| {
            path.len() > 1 && path[0] == *instance && !ours.contains(path) && !given_up.contains(path)
        })
    };
    let kept: Vec<Path> = result.given_up.clone();
    result
        .given_up
        .retain(|path| !(path.len() == 1 && path[0].starts_with("router bgp ") && foreign(&path[0], &kept)));
    result
}
