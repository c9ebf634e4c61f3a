//! A plan as a person reads it: FRR's blocks, and what changes in each of them.

use super::{Path, is_block, slot};
use crate::change::diff::OwnerPlan;
use crate::change::drift::Departure;

/// What changes in one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// The blocks around the lines, outermost first; empty for lines outside of any.
    pub block: String,
    /// What changes, in order; a line that is written over stands before the one that takes its place.
    pub lines: Vec<Changed>,
}

/// A line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It comes.
    Added(String),
    /// It goes.
    Removed(String),
}

/// The changes of `plan`, block by block.
pub fn hunks(plan: &OwnerPlan) -> Vec<Hunk> {
    let mut hunks: Vec<Hunk> = Vec::new();
    for Departure { path: block, wanted, found } in departures(plan) {
        let lines = found.map(Changed::Removed).into_iter().chain(wanted.map(Changed::Added));
        match hunks.iter_mut().find(|hunk| hunk.block == block) {
            Some(hunk) => hunk.lines.extend(lines),
            None => hunks.push(Hunk { block, lines: lines.collect() }),
        }
    }
    hunks
}

/// Where running is not what `plan` leads to: block by block, in each first what only goes, then what comes, beside the
/// line that it takes the place of.
pub fn departures(plan: &OwnerPlan) -> Vec<Departure> {
    let added: Vec<Path> = plan.add.iter().map(|line| split(line)).collect();
    let removed: Vec<Path> = plan.remove.iter().map(|line| split(line)).collect();
    let mut blocks: Vec<&[String]> = Vec::new();
    for path in added.iter().chain(&removed) {
        let block = &path[..path.len() - 1];
        if !blocks.contains(&block) {
            blocks.push(block);
        }
    }
    let mut departures = Vec::new();
    for block in blocks {
        let of_block = |path: &&Path| path[..path.len() - 1] == *block;
        let mut gone: Vec<&Path> = removed.iter().filter(of_block).collect();
        let new: Vec<(&Path, Option<&Path>)> = added
            .iter()
            .filter(of_block)
            .map(|path| {
                let same = |other: &&Path| slot(other).is_some_and(|other| slot(path) == Some(other));
                (path, gone.iter().position(same).map(|at| gone.remove(at)))
            })
            .collect();
        let both = gone.into_iter().map(|found| (None, Some(found)));
        let both = both.chain(new.into_iter().map(|(path, found)| (Some(path), found)));
        departures.extend(both.map(|(wanted, found)| Departure {
            path: block.join(" / "),
            wanted: wanted.and_then(|path| path.last().cloned()),
            found: found.and_then(|path| path.last().cloned()),
        }));
    }
    departures
}

/// The blocks of a line of a plan, and the line. A description may hold the separator itself, so only what opens a block is
/// taken for one.
fn split(line: &str) -> Path {
    let mut path: Path = Vec::new();
    let mut rest = line;
    while let Some((block, inner)) = rest.split_once(" / ") {
        path.push(block.to_owned());
        if !is_block(&path) {
            path.pop();
            break;
        }
        rest = inner;
    }
    path.push(rest.to_owned());
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_stand_in_their_blocks() {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let plan = OwnerPlan {
            add: lines(&[
                "ip prefix-list A seq 5 permit 10.0.0.0/8",
                "router bgp 1 / neighbor X timers 5 15",
                "router bgp 1 / neighbor X description a / b",
                "router bgp 1 / address-family ipv4 unicast / maximum-paths 8",
            ]),
            remove: lines(&[
                "router bgp 1 / neighbor Y peer-group",
                "router bgp 1 / neighbor X timers 3 9",
                "route-map M permit 10",
            ]),
            ..OwnerPlan::default()
        };
        let (plus, minus) =
            (|line: &str| Changed::Added(line.to_owned()), |line: &str| Changed::Removed(line.to_owned()));
        let hunk = |block: &str, lines: &[Changed]| Hunk { block: block.to_owned(), lines: lines.to_vec() };
        assert_eq!(
            hunks(&plan),
            [
                hunk("", &[minus("route-map M permit 10"), plus("ip prefix-list A seq 5 permit 10.0.0.0/8")]),
                hunk(
                    "router bgp 1",
                    &[
                        minus("neighbor Y peer-group"),
                        minus("neighbor X timers 3 9"),
                        plus("neighbor X timers 5 15"),
                        plus("neighbor X description a / b"),
                    ]
                ),
                hunk("router bgp 1 / address-family ipv4 unicast", &[plus("maximum-paths 8")]),
            ]
        );
    }
}
