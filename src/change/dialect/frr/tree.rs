//! A configuration text as a list of lines with their blocks.

use std::collections::BTreeSet;

use super::{Path, is_block};

/// Lines that end a block or the text and say nothing themselves.
const CLOSERS: [&str; 4] = ["exit", "exit-address-family", "exit-vrf", "end"];

/// All lines in order, each with the blocks around it (by indentation); comments, closers and FRR's own headers are
/// left out. A block's first line is listed once, however often the text opens it.
pub fn flatten(text: &str) -> Vec<Path> {
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut paths = Vec::new();
    let mut blocks: BTreeSet<Path> = BTreeSet::new();
    for raw in text.lines() {
        let line = raw.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty()
            || line.starts_with('!')
            || line.starts_with('#')
            || CLOSERS.contains(&line.as_str())
        {
            continue;
        }
        let indent = raw.len() - raw.trim_start().len();
        while open.last().is_some_and(|(depth, _)| *depth >= indent) {
            open.pop();
        }
        let mut path: Path = open.iter().map(|(_, block)| block.clone()).collect();
        path.push(line.clone());
        open.push((indent, line));
        if !is_block(&path) || blocks.insert(path.clone()) {
            paths.push(path);
        }
    }
    paths
}
