//! The startup text: the file's own lines with our part replaced.
//!
//! The file is the operator's as much as ours, so it is edited, not regenerated: foreign lines and comments keep their
//! order and their spelling.

use std::collections::{BTreeSet, HashSet};

use super::{Path, STAGES, Stage, context, is_block, is_global, is_ours, members};
use super::{slot_or_line, stage_of, tree};
use crate::change::diff::Global;

/// Our part stands between these comments. FRR drops them when it writes the file itself; then our lines are found
/// by their names.
const BEGIN: &str = "! switchlet: begin (generated; edits are lost)";
const END: &str = "! switchlet: end";

/// `file` with our lines replaced by those of `candidate`. Globals of somebody else stay where they are: ours come after
/// them, and the last one counts. Where `journal` knows a global of ours that `candidate` no longer sets, the line that
/// was found comes back.
pub fn splice(file: &str, candidate: &str, journal: &[Global]) -> String {
    let wanted = super::telling(tree::flatten(candidate));
    let mut owners: HashSet<String> = members(&tree::flatten(file));
    owners.extend(members(&wanted));
    let globals: BTreeSet<&Path> = wanted.iter().filter(|path| is_global(path) && !is_block(path)).collect();
    // FRR's own `write` drops our comments, so a line of ours may stand anywhere.
    let is_set_by_us = |path: &Path| {
        globals.contains(path)
            || journal.iter().any(|global| {
                global.context == context(path) && path.last() == Some(&global.set) && !is_block(path)
            })
    };
    let mut dropped = false;

    let mut kept: Vec<String> = Vec::new();
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut dropped_block: Option<usize> = None;
    let mut between = false;
    for raw in file.lines() {
        if between || raw == BEGIN {
            between = raw != END;
            dropped = true;
            continue;
        }
        let line = raw.split_whitespace().collect::<Vec<_>>().join(" ");
        let indent = raw.len() - raw.trim_start().len();
        let closes = matches!(line.as_str(), "exit" | "exit-address-family" | "exit-vrf");
        if let Some(depth) = dropped_block {
            // The block's lines and its closer go with it.
            if indent > depth {
                continue;
            }
            dropped_block = None;
            if closes && indent == depth {
                continue;
            }
        }
        if line == "end" {
            continue;
        }
        if line.is_empty() || line.starts_with('!') || line.starts_with('#') || closes {
            kept.push(raw.to_owned());
            continue;
        }
        while open.last().is_some_and(|(depth, _)| *depth >= indent) {
            open.pop();
        }
        let mut path: Path = open.iter().map(|(_, block)| block.clone()).collect();
        path.push(line.clone());
        open.push((indent, line.clone()));
        let shared = line == "bfd" || line.starts_with("address-family ");
        if !shared && (is_ours(&path, &owners) || is_set_by_us(&path)) {
            dropped = true;
            if is_block(&path) {
                dropped_block = Some(indent);
            }
            continue;
        }
        kept.push(raw.to_owned());
    }
    if !dropped && wanted.is_empty() {
        return file.to_owned();
    }
    let mut text = tidy(&kept);
    let back = restored(&text, &wanted, journal);
    if !back.is_empty() {
        text.extend(["!\n", &written(&back)]);
    }
    if !wanted.is_empty() {
        text.extend([BEGIN, "\n", &written(&wanted), END, "\n"]);
    }
    text
}

/// The lines that stood in place of ours, unless the file has a line in that place.
fn restored(file: &str, wanted: &[Path], journal: &[Global]) -> Vec<Path> {
    let there = tree::flatten(file);
    let taken = |paths: &[Path], global: &Global| {
        let same = |path: &&Path| context(path) == global.context && slot_or_line(path).is(&global.slot);
        paths.iter().any(|path| same(&path))
    };
    journal
        .iter()
        .filter(|global| !taken(wanted, global) && !taken(&there, global))
        .filter_map(|global| Some(global.context.iter().chain([global.found.as_ref()?]).cloned().collect()))
        .collect()
}

/// Lines as a text of their own. FRR merges blocks that are opened twice, so it need not be woven in.
fn written(wanted: &[Path]) -> String {
    let of_stage = |stage: Stage| tree::write(wanted.iter().filter(|path| stage_of(path) == stage));
    STAGES.map(of_stage).concat()
}

/// Drops runs of separators that removed blocks leave behind, and empty blocks' remains.
fn tidy(lines: &[String]) -> String {
    let mut text = String::new();
    let mut separators = 0;
    for line in lines {
        if line.trim() == "!" || line.trim().is_empty() {
            separators += 1;
            if separators > 1 {
                continue;
            }
        } else {
            separators = 0;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}
