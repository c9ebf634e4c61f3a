//! What FRR does to its sessions when a line comes, goes or is written over.
//!
//! Here is who is concerned: the members of a group, whoever came by a range, everybody. What a line does to them is in
//! [`rules`]. A session that resets and was not named is a mistake; one that was named and stays up is none, where a rule
//! says that it is cautious.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Path, neighbor, show};
use crate::change::impact::{Class, Impact};
use crate::intent::platform::Release;
use crate::net::Prefix;

mod rules;
#[cfg(test)]
mod tests;

use rules::{Edit, Effect, effect};

/// What is sent, and what it meets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    /// FRR's, if it is known.
    pub release: Option<Release>,
    /// All that runs.
    pub running: &'a [Path],
    /// Lines that are written.
    pub add: &'a [&'a Path],
    /// Lines that are taken away.
    pub remove: &'a [&'a Path],
    /// Running lines that others take the place of.
    pub replaced: &'a [&'a Path],
    /// Instance and name of neighbours that are taken away before anything else, and made anew.
    pub anew: &'a BTreeSet<(String, String)>,
}

/// What the change will do.
pub(super) fn foretell(change: Change<'_>) -> Impact {
    let Change { release, running, add, remove, replaced, anew } = change;
    let gone: HashSet<&Path> = remove.iter().chain(replaced).copied().collect();
    let after = running.iter().filter(|path| !gone.contains(path)).chain(add.iter().copied());
    let mut oracle = Oracle {
        release,
        replaced,
        before: rosters(running.iter()),
        after: rosters(after),
        impact: Impact::default(),
    };
    for (instance, name) in anew {
        let roster = oracle.before.get(instance.as_str());
        if roster.is_some_and(|roster| roster.neighbors.contains_key(name.as_str())) {
            oracle.impact.class = oracle.impact.class.max(Class::SessionReset);
            oracle.impact.sessions.insert(name.clone());
        }
    }
    for path in add {
        oracle.line(path, Edit::Written);
    }
    for path in remove {
        oracle.line(path, Edit::Removed);
    }
    oracle.impact
}

/// Who peers in one instance.
#[derive(Debug, Default)]
struct Roster<'a> {
    groups: BTreeSet<&'a str>,
    /// With their group.
    neighbors: HashMap<&'a str, Option<&'a str>>,
    /// With their group.
    ranges: BTreeMap<&'a str, &'a str>,
}

fn rosters<'a>(paths: impl IntoIterator<Item = &'a Path>) -> BTreeMap<&'a str, Roster<'a>> {
    let mut rosters: BTreeMap<&str, Roster<'_>> = BTreeMap::new();
    for path in paths {
        let Some(instance) = path.first().filter(|top| top.starts_with("router bgp ")) else { continue };
        let roster = rosters.entry(instance).or_default();
        if path.len() != 2 {
            continue;
        }
        let mut words = path[1].split(' ');
        let mut next = || words.next().unwrap_or_default();
        match [next(), next(), next()] {
            ["neighbor", name, "peer-group"] => match words.next() {
                None => {
                    roster.groups.insert(name);
                }
                Some(group) => {
                    roster.neighbors.insert(name, Some(group));
                }
            },
            ["neighbor", name, "interface"] => {
                let group = words.skip_while(|word| *word != "peer-group").nth(1);
                let known = roster.neighbors.entry(name).or_default();
                *known = known.or(group);
            }
            ["neighbor", name, "remote-as"] => drop(roster.neighbors.entry(name).or_default()),
            ["bgp", "listen", "range"] => {
                if let [Some(range), Some("peer-group"), Some(group)] =
                    [words.next(), words.next(), words.next()]
                {
                    roster.ranges.insert(range, group);
                }
            }
            _ => {}
        }
    }
    for roster in rosters.values_mut() {
        let Roster { groups, neighbors, ranges: _ } = roster;
        neighbors.retain(|name, _| !groups.contains(name));
    }
    rosters
}

struct Oracle<'a> {
    release: Option<Release>,
    replaced: &'a [&'a Path],
    before: BTreeMap<&'a str, Roster<'a>>,
    after: BTreeMap<&'a str, Roster<'a>>,
    impact: Impact,
}

impl<'a> Oracle<'a> {
    fn at_least(&mut self, class: Class) {
        self.impact.class = self.impact.class.max(class);
    }

    fn line(&mut self, path: &'a Path, edit: Edit) {
        let instance = path[0].as_str();
        let coming = if edit == Edit::Written { Class::Add } else { Class::Remove };
        if !instance.starts_with("router bgp ") {
            return self.effect(path, effect(path, edit, self.release), coming);
        }
        match (self.before.contains_key(instance), self.after.contains_key(instance)) {
            (false, _) => return self.at_least(Class::Add),
            (true, false) => return self.delete(instance),
            (true, true) if path.len() == 1 => return self.at_least(Class::Policy),
            (true, true) => {}
        }
        if let Some(range) = path[path.len() - 1].strip_prefix("bgp listen range ") {
            let range = range.split(' ').next().unwrap_or_default();
            let had = self.before[instance].ranges.contains_key(range);
            let has = self.after[instance].ranges.contains_key(range);
            if had {
                self.range(instance, range);
            }
            return self.at_least(if had && has { Class::SessionReset } else { coming });
        }
        let Some(name) = neighbor(&path[path.len() - 1]) else {
            return self.effect(path, effect(path, edit, self.release), coming);
        };
        let is_there = |rosters: &BTreeMap<&str, Roster<'_>>| {
            let Roster { groups, neighbors, ranges: _ } = &rosters[instance];
            groups.contains(name) || neighbors.contains_key(name)
        };
        match (is_there(&self.before), is_there(&self.after)) {
            // FRR takes no neighbour that has come by a range already: whoever is up stays so.
            (false, true) => self.at_least(Class::Add),
            (true, false) => self.goes(instance, name),
            (true, true) => {
                let effect =
                    if self.is_raised(path) { Effect::Quiet } else { effect(path, edit, self.release) };
                self.effect(path, effect, coming);
            }
            (false, false) => self.unknown(path),
        }
    }

    /// A limit of prefixes that takes the place of a lower one.
    fn is_raised(&self, path: &Path) -> bool {
        let limit = |path: &Path| {
            let words: Vec<&str> = path[path.len() - 1].split(' ').collect();
            match words.as_slice() {
                ["neighbor", name, "maximum-prefix", limit, ..] => limit
                    .parse::<u32>()
                    .ok()
                    .map(|limit| (path[..path.len() - 1].to_vec(), (*name).to_owned(), limit)),
                _ => None,
            }
        };
        let Some((context, name, new)) = limit(path) else { return false };
        self.replaced
            .iter()
            .filter_map(|path| limit(path))
            .any(|(around, of, old)| (&around, &of) == (&context, &name) && old <= new)
    }

    /// A neighbour that goes; with a group go all of its members that have nothing else to live by.
    fn goes(&mut self, instance: &str, name: &str) {
        self.at_least(Class::Remove);
        if self.before[instance].neighbors.contains_key(name) {
            self.impact.sessions.insert(name.to_owned());
            self.impact.gone.insert(name.to_owned());
            return;
        }
        let stay: Vec<&str> = self.members(instance, name).collect();
        for member in stay {
            if self.after[instance].neighbors.contains_key(member) {
                self.impact.sessions.insert(member.to_owned());
                self.at_least(Class::SessionReset);
            }
        }
    }

    fn delete(&mut self, instance: &str) {
        if !self.impact.instances.insert(instance.to_owned()) {
            return;
        }
        self.at_least(Class::InstanceDelete);
        let all: Vec<String> =
            self.before[instance].neighbors.keys().map(|name| (*name).to_owned()).collect();
        self.impact.gone.extend(all.iter().cloned());
        self.everyone(instance);
    }

    fn effect(&mut self, path: &'a Path, effect: Effect<'_>, coming: Class) {
        let instance = path[0].as_str();
        match effect {
            Effect::Quiet => self.at_least(Class::Policy),
            Effect::Origin(prefix) => {
                self.at_least(coming);
                if coming == Class::Remove {
                    self.impact.prefixes.extend(prefix.map(str::to_owned));
                }
            }
            Effect::Way(prefix) => {
                self.at_least(coming);
                self.way(prefix);
            }
            Effect::Session => {
                let name = neighbor(&path[path.len() - 1]).unwrap_or_default();
                self.reset(instance, name);
            }
            Effect::Every => {
                let instances: Vec<&str> =
                    if path.len() > 1 { vec![instance] } else { self.before.keys().copied().collect() };
                self.at_least(Class::Policy);
                for instance in instances {
                    if self.everyone(instance) {
                        self.at_least(Class::SessionReset);
                    }
                }
            }
            Effect::Unknown => self.unknown(path),
        }
    }

    fn unknown(&mut self, path: &Path) {
        self.at_least(Class::InstanceDelete);
        self.impact.unknown.insert(show(path));
    }

    /// Neighbours beyond the prefix, and ranges that touch it (cautious: what is directly connected needs no such way).
    fn way(&mut self, prefix: &str) {
        let Ok(prefix) = prefix.parse::<Prefix>() else { return };
        let mut named: Vec<String> = Vec::new();
        let mut ranges: Vec<(&str, &str)> = Vec::new();
        for (instance, roster) in &self.before {
            let inside = |name: &&&str| name.parse().is_ok_and(|address| prefix.contains(address));
            named.extend(roster.neighbors.keys().filter(inside).map(|name| (*name).to_owned()));
            let touches =
                |range: &Prefix| !prefix.is_default() && (prefix.covers(*range) || range.covers(prefix));
            let ranges_there =
                roster.ranges.keys().filter(|range| range.parse().is_ok_and(|range| touches(&range)));
            ranges.extend(ranges_there.map(|range| (*instance, *range)));
        }
        if prefix.is_default() {
            // Whoever is reached by the default route alone cannot be told from those who are not.
            named.clear();
        }
        if !named.is_empty() || !ranges.is_empty() {
            self.at_least(Class::SessionReset);
        }
        self.impact.sessions.extend(named);
        for (instance, range) in ranges {
            self.range(instance, range);
        }
    }

    /// The neighbour, or all members of the group, that were there before.
    fn reset(&mut self, instance: &str, name: &str) {
        self.at_least(Class::Policy);
        if self.before[instance].neighbors.contains_key(name) {
            self.at_least(Class::SessionReset);
            self.impact.sessions.insert(name.to_owned());
            return;
        }
        let members: Vec<String> = self.members(instance, name).map(str::to_owned).collect();
        let ranges = &self.before[instance].ranges;
        let ranges: Vec<&str> =
            ranges.iter().filter(|(_, group)| **group == name).map(|(range, _)| *range).collect();
        if !members.is_empty() || !ranges.is_empty() {
            self.at_least(Class::SessionReset);
        }
        self.impact.sessions.extend(members);
        for range in ranges {
            self.range(instance, range);
        }
    }

    fn members<'b>(&'b self, instance: &str, group: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        let neighbors = &self.before[instance].neighbors;
        neighbors.iter().filter(move |(_, of)| **of == Some(group)).map(|(name, _)| *name)
    }

    /// True if there is anybody.
    fn everyone(&mut self, instance: &str) -> bool {
        let roster = &self.before[instance];
        let names: Vec<String> = roster.neighbors.keys().map(|name| (*name).to_owned()).collect();
        let ranges: Vec<&str> = roster.ranges.keys().copied().collect();
        let anybody = !names.is_empty() || !ranges.is_empty();
        self.impact.sessions.extend(names);
        for range in ranges {
            self.range(instance, range);
        }
        anybody
    }

    /// Whoever has come by a range.
    fn range(&mut self, instance: &str, range: &str) {
        let Ok(range) = range.parse::<Prefix>() else { return };
        let inside = |name: &&&str| name.parse().is_ok_and(|address| range.contains(address));
        let apart = self.before[instance].neighbors.keys().filter(inside).map(|name| (*name).to_owned());
        self.impact.apart.extend(apart);
        self.impact.ranges.insert(range);
    }
}
