//! A difference between two documents that grows, and becomes a plan: lines for people, commands for the switch, and what the
//! impact is foretold from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::owned::{Kind, bgp_of, of_unit, unit_of};
use super::tree::{Entry, Node, Path, line, same, show, word};
use super::{Document, Entries, OWNER, impact, names_only};
use crate::change::diff::{Global, OwnerPlan, Plan};

/// A command, as the switch reads it.
#[derive(Serialize)]
struct Command<'a, V> {
    action: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<V>,
}

impl<V: Serialize> Command<'_, V> {
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn delete(path: &[Node]) -> String {
    Command { action: "delete", path: &show(path), value: None::<()> }.text()
}

/// A difference that grows.
#[derive(Debug, Default)]
pub(super) struct Change<'a> {
    add: Vec<String>,
    remove: Vec<String>,
    pub(super) commands: Vec<String>,
    touched: Vec<impact::Touched<'a>>,
    /// Leaves outside of entries that go.
    unset: BTreeSet<&'a Path>,
    /// Entries that go.
    gone: Entries<'a>,
    /// Something is set inside these containers of BGP.
    kept: BTreeSet<&'a [Node]>,
}

impl<'a> Change<'a> {
    /// Entries of ours: those that are wanted and differ are replaced, those that are not wanted are deleted.
    pub(super) fn entries(&mut self, from: &'a Document, to: &'a Document, ours: &Entries<'a>) {
        let mut deletes = Vec::new();
        let values = to.entries();
        for path in ours.iter().copied() {
            let kind = unit_of(path).map_or(Kind::Policy, |unit| unit.kind);
            let old: Vec<impact::Leaf<'a>> = of_unit(&from.leaves, path).collect();
            let new: Vec<impact::Leaf<'a>> = of_unit(&to.leaves, path).collect();
            let mut both = old.iter().zip(&new);
            if old.len() == new.len() && both.all(|(old, new)| old.0 == new.0 && same(old.1, new.1)) {
                continue;
            }
            let lines = |leaves: &[impact::Leaf<'_>]| -> BTreeSet<String> {
                leaves.iter().map(|(leaf, value)| line(leaf, value)).collect()
            };
            let (before, after) = (lines(&old), lines(&new));
            self.add.extend(after.difference(&before).cloned());
            self.remove.extend(before.difference(&after).cloned());
            if new.is_empty() {
                self.gone.insert(path);
                deletes.push(delete(path));
            } else {
                self.kept.extend(bgp_of(path));
                self.replace(path, values.get(path));
            }
            self.touched.push(impact::Touched::Entry { kind, path, old, new });
        }
        // What refers goes before what it refers to, for those who read it; the switch takes all at once.
        deletes.reverse();
        self.commands.append(&mut deletes);
    }

    /// The entry at `path` becomes `value`, whatever it was.
    pub(super) fn replace(&mut self, path: &[Node], value: Option<&Entry<'_>>) {
        self.commands.push(Command { action: "replace", path: &show(path), value: Some(value) }.text());
    }

    /// Leaves outside of entries: set where they differ.
    pub(super) fn singles(&mut self, from: &'a Document, to: &'a Document) {
        for (path, value) in to.singles.iter().filter(|(path, value)| !names_only(path, value)) {
            self.kept.extend(bgp_of(path));
            let found = from.leaves.get(path);
            if !found.is_some_and(|found| same(found, value)) {
                self.set(path, value, found);
            }
        }
    }

    /// A leaf outside of entries becomes `value`; `found` is what it is now.
    pub(super) fn set(&mut self, path: &'a Path, value: &Value, found: Option<&Value>) {
        self.kept.extend(bgp_of(path));
        self.add.push(line(path, value));
        self.remove.extend(found.map(|found| line(path, found)));
        let action = if value.is_array() { "replace" } else { "update" };
        self.commands.push(Command { action, path: &show(path), value: Some(value) }.text());
        self.touched.push(impact::Touched::Leaf { path, old: found.map(word) });
    }

    /// A leaf outside of entries goes; `found` is what it is now.
    pub(super) fn unset(&mut self, path: &'a Path, found: &Value) {
        self.unset.insert(path);
        self.remove.push(line(path, found));
        self.commands.push(delete(path));
        self.touched.push(impact::Touched::Leaf { path, old: Some(word(found)) });
    }

    /// A BGP of which nothing is left goes whole: without its AS number the switch would refuse what is left.
    pub(super) fn take_away_empty_bgp(&mut self, running: &Document) {
        let emptied: BTreeSet<&[Node]> = self
            .unset
            .iter()
            .filter(|path| path.last().is_some_and(|step| step.name == "autonomous-system"))
            .filter_map(|path| bgp_of(path))
            .collect();
        for bgp in emptied.into_iter().filter(|bgp| !self.kept.contains(bgp)) {
            let goes = |path: &Path| {
                self.unset.contains(path) || unit_of(path).is_some_and(|unit| self.gone.contains(&unit.path))
            };
            let left = of_unit(&running.leaves, bgp)
                .any(|(path, value)| !goes(path) && (unit_of(path).is_some() || !names_only(path, value)));
            if !left {
                let inside = format!("\"path\":\"{}", show(bgp));
                self.commands.retain(|command| !command.contains(&inside));
                self.commands.push(delete(bgp));
            }
        }
    }

    /// The plan, of what `running` is; none where there is nothing to do.
    pub(super) fn plan(self, running: &Document, start: String, globals: Vec<Global>) -> Plan {
        if self.commands.is_empty() {
            return Plan::default();
        }
        let impact = impact::foretell(&self.touched, &running.leaves);
        let Self { add, remove, commands, .. } = self;
        let plan = OwnerPlan { add, remove, commands, start, globals, impact };
        Plan { owners: BTreeMap::from([(OWNER.to_owned(), plan)]) }
    }
}
