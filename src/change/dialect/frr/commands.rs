//! A difference as the commands that carry it out: in the order in which nothing unfiltered gets in, each in its context, and
//! with the removal of a whole thing in place of the removal of its lines.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{NAME_PREFIX, Path, context, neighbor};

/// `replaced` are the lines that some of `add` overwrite.
pub(super) fn commands(
    add: &[&Path],
    remove: &[&Path],
    replaced: &[&Path],
    wanted: &[Path],
    goes_whole: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let mut writer = Writer::default();
    let moved = renumbered(add, remove.iter().chain(replaced).copied());
    for path in &moved {
        writer.write(context(path), &negation(path), false);
    }
    for stage in STAGES {
        for path in add.iter().filter(|path| stage_of(path) == stage) {
            writer.write(context(path), &path[path.len() - 1], is_block(path));
        }
        writer.leave();
    }
    let moved: HashSet<&Path> = moved.into_iter().collect();
    let remove: Vec<&Path> = remove.iter().copied().filter(|path| !moved.contains(path)).collect();
    let removals = collapse(&remove, wanted, goes_whole);
    for stage in STAGES.into_iter().rev() {
        for path in removals.iter().filter(|path| stage_of(path) == stage) {
            writer.write(context(path), &negation(path), false);
        }
        writer.leave();
    }
    writer.lines
}

/// Entries of prefix-lists that only get another number: FRR silently takes no entry that says what another one of the list
/// says already, so these go first. What that leaves out for a moment nobody sees: route-maps wait for their delay timer.
fn renumbered<'a>(add: &[&Path], gone: impl Iterator<Item = &'a Path>) -> Vec<&'a Path> {
    let new: HashSet<(&str, &str)> = add.iter().filter_map(|path| entry(path)).collect();
    gone.filter(|path| entry(path).is_some_and(|entry| new.contains(&entry))).collect()
}

/// The list of an entry, and what it says whatever its number.
fn entry(path: &[String]) -> Option<(&str, &str)> {
    let [line] = path else { return None };
    let (list, rest) = line.split_once(" seq ")?;
    let is_list = ["ip prefix-list ", "ipv6 prefix-list "].iter().any(|word| list.starts_with(word));
    let (_, says) = rest.split_once(' ').filter(|_| is_list)?;
    Some((list, says))
}

/// The order in which lines become effective without letting anything unfiltered in; they go in reverse.
pub(super) const STAGES: [Stage; 6] =
    [Stage::Global, Stage::Filter, Stage::Profile, Stage::Policy, Stage::Group, Stage::Member];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Global,
    Filter,
    Profile,
    Policy,
    /// The instance, its globals, and the peer-group with its policy: before any member exists.
    Group,
    Member,
}

pub(super) fn stage_of(path: &[String]) -> Stage {
    let top = path[0].as_str();
    if top.starts_with("ip prefix-list ") || top.starts_with("ipv6 prefix-list ") || top.starts_with("bgp ") {
        Stage::Filter
    } else if top == "bfd" {
        Stage::Profile
    } else if top.strip_prefix("no ").unwrap_or(top).starts_with("route-map ") {
        Stage::Policy
    } else if top.starts_with("router bgp ") {
        let line = path[path.len() - 1].as_str();
        match neighbor(line) {
            Some(name) if !name.starts_with(NAME_PREFIX) => Stage::Member,
            _ if line.starts_with("bgp listen range ") => Stage::Member,
            _ => Stage::Group,
        }
    } else {
        Stage::Global
    }
}

/// Writes lines into their contexts, entering and leaving blocks as needed.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) lines: Vec<String>,
    pub(super) open: Path,
}

impl Writer {
    pub(super) fn write(&mut self, context: &[String], line: &str, opens: bool) {
        let common = self.open.iter().zip(context).take_while(|(a, b)| a == b).count();
        self.close_to(common);
        for block in &context[common..] {
            self.lines.push(format!("{}{block}", " ".repeat(self.open.len())));
            self.open.push(block.clone());
        }
        self.lines.push(format!("{}{line}", " ".repeat(self.open.len())));
        if opens {
            self.open.push(line.to_owned());
        }
    }

    fn close_to(&mut self, depth: usize) {
        while self.open.len() > depth {
            let block = self.open.pop().unwrap_or_default();
            let word = if block.starts_with("address-family ") { "exit-address-family" } else { "exit" };
            self.lines.push(format!("{}{word}", " ".repeat(self.open.len())));
        }
    }

    pub(super) fn leave(&mut self) {
        self.close_to(0);
    }
}

/// Replaces the removal of all of a thing's lines by the removal of the thing.
fn collapse(remove: &[&Path], wanted: &[Path], goes_whole: &dyn Fn(&str) -> bool) -> Vec<Path> {
    if remove.is_empty() {
        return Vec::new();
    }
    // The blocks that stay, the lines among them.
    let remaining: HashSet<&[String]> =
        wanted.iter().flat_map(|path| (1..=path.len()).map(|depth| &path[..depth])).collect();
    let kept: HashSet<(&str, &str)> = wanted
        .iter()
        .filter_map(|path| neighbor(&path[path.len() - 1]).map(|name| (path[0].as_str(), name)))
        .collect();
    let lines = || remove.iter().map(|path| path[path.len() - 1].as_str());
    let groups: BTreeSet<&str> =
        lines().filter_map(|line| line.strip_prefix("neighbor ")?.strip_suffix(" peer-group")).collect();
    let neighbors: BTreeSet<&str> = lines()
        .filter(|line| {
            matches!(line.split(' ').nth(2), Some("remote-as" | "interface"))
                || line.split(' ').nth(2) == Some("peer-group") && line.split(' ').nth(3).is_some()
        })
        .filter_map(neighbor)
        .collect();
    // Instances that go as a whole, and unnumbered neighbours with the line that made them.
    let instances: BTreeSet<&[String]> =
        remove.iter().map(|path| path.as_slice()).filter(|path| path[0].starts_with("router bgp ")).collect();
    let interfaces: BTreeMap<&str, &String> = remove
        .iter()
        .rev()
        .map(|path| &path[path.len() - 1])
        .filter(|line| line.starts_with("neighbor ") && line.split(' ').nth(2) == Some("interface"))
        .filter_map(|line| Some((neighbor(line)?, line)))
        .collect();
    let mut result: Vec<Path> = Vec::new();
    let mut seen: BTreeSet<Path> = BTreeSet::new();
    let mut push = |path: Path| {
        if seen.insert(path.clone()) {
            result.push(path);
        }
    };
    for path in remove {
        // A block that goes takes its lines along.
        if let Some(depth) = (1..path.len()).find(|depth| {
            let block = &path[..*depth];
            (goes_whole(&block[block.len() - 1]) && !remaining.contains(block)) || instances.contains(block)
        }) {
            push(path[..depth].to_vec());
            continue;
        }
        let line = &path[path.len() - 1];
        if let Some(name) = neighbor(line)
            && path[0].starts_with("router bgp ")
        {
            let gone = !kept.contains(&(path[0].as_str(), name));
            if gone && groups.contains(name) {
                push(vec![path[0].clone(), format!("neighbor {name} peer-group")]);
                continue;
            }
            if gone && neighbors.contains(name) {
                let whole =
                    interfaces.get(name).map_or_else(|| format!("neighbor {name}"), |&line| line.clone());
                push(vec![path[0].clone(), whole]);
                continue;
            }
        }
        push((*path).clone());
    }
    result
}

pub(super) fn is_named_block(line: &str) -> bool {
    line.starts_with("route-map ") || line.starts_with("profile ")
}

pub(super) fn is_block(path: &[String]) -> bool {
    let line = path[path.len() - 1].as_str();
    ["router ", "route-map ", "profile ", "address-family ", "interface ", "vrf "]
        .iter()
        .any(|opener| line.starts_with(opener))
        || line == "bfd"
}

fn negation(path: &[String]) -> String {
    let line = &path[path.len() - 1];
    if let Some(value) = default_of(path) {
        return value;
    }
    if line.starts_with("zebra nexthop-group resilience ") {
        return "no zebra nexthop-group resilience".to_owned();
    }
    // Of an interface `no description TEXT` is no command.
    if path[0].starts_with("interface ") && line.starts_with("description ") {
        return "no description".to_owned();
    }
    match line.strip_prefix("no ") {
        Some(positive) => positive.to_owned(),
        None => format!("no {line}"),
    }
}

/// A BFD profile hides values that equal FRR's defaults (`bfdd/bfd.h`), so they never count as a difference, and
/// going back to one means writing it.
const PROFILE_DEFAULTS: [(&str, &str); 3] =
    [("detect-multiplier", "3"), ("receive-interval", "300"), ("transmit-interval", "300")];

pub(super) fn default_of(path: &[String]) -> Option<String> {
    let in_profile = path.len() == 3 && path[0] == "bfd" && path[1].starts_with("profile ");
    let word = path[path.len() - 1].split(' ').next().unwrap_or_default();
    let (_, value) = PROFILE_DEFAULTS.iter().find(|(name, _)| in_profile && *name == word)?;
    Some(format!("{word} {value}"))
}
