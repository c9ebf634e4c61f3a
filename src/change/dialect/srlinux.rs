//! SR Linux's configuration, as far as we write it.
//!
//! A text is a JSON document as the model has it (RFC 7951). *Ours* are whole entries of lists: policies, prefix sets and groups
//! that begin with `SWITCHLET-`, neighbours and ranges that belong to such a group, and entries without a name that the
//! candidate names (resilient-hash prefixes; everything that a literal document names). Beside them a closed list of single
//! leaves of BGP is set if absent. Nothing else is touched, and BGP as a whole is never replaced.
//!
//! The difference becomes commands of one atomic request: entries are replaced or deleted whole, single leaves updated.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};

use crate::change;
use crate::change::diff::{Candidate, Checked, Global, Plan, Refusal, Running};
use crate::change::drift::Departure;
use crate::change::impact::Class;
use crate::intent::snapshot::{Issue, digest};

mod difference;
mod impact;
pub mod lint;
mod owned;
mod place;
pub mod release;
pub mod rules;
#[cfg(test)]
mod tests;
pub mod tree;

use difference::Change;
use owned::{Kind, Settable, bgp_of, global, instance_of, named, of_unit, unit_of, units};
pub use place::line_of;
use tree::{Entry, Leaves, Node, Path, show};

/// All names of ours begin with this.
pub const NAME_PREFIX: &str = "SWITCHLET-";

/// The owner's name of SR Linux's document.
pub const OWNER: &str = "srlinux";

/// A commit is in the chip when it returns; sessions take longer.
const LEAST: Duration = Duration::from_secs(2);
/// `timers/hold-time` where nobody sets it, seconds.
const HOLD: u64 = 90;

/// SR Linux's dialect, for the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Srlinux;

/// Paths of entries.
type Entries<'a> = BTreeSet<&'a [Node]>;

/// A document and its leaves.
#[derive(Debug, Clone)]
struct Document {
    value: Value,
    leaves: Leaves,
    /// What of them is neither an entry nor has one around it.
    singles: Leaves,
    /// Its entries.
    units: BTreeMap<Path, Kind>,
    /// Those that carry our name.
    named: BTreeSet<Path>,
}

impl Document {
    fn read(text: &str) -> Result<Self, Refusal> {
        let value: Value = if text.trim().is_empty() {
            json!({})
        } else {
            serde_json::from_str(text).map_err(|error| Refusal::Rule {
                path: "/".to_owned(),
                problem: format!("is no JSON: {error}"),
            })?
        };
        let leaves = tree::leaves(&value)
            .map_err(|tree::Unreadable { path, problem }| Refusal::Rule { path, problem })?;
        let single = |(path, _): &(&Path, &Value)| unit_of(path).is_none();
        let singles =
            leaves.iter().filter(single).map(|(path, value)| (path.clone(), value.clone())).collect();
        let units = units(&leaves);
        let named = named(&leaves, &units);
        Ok(Self { value, leaves, singles, units, named })
    }

    fn of(texts: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        Self::read(texts.get(OWNER).map(String::as_str).unwrap_or_default())
    }

    /// Its entries as values of commands.
    fn entries(&self) -> HashMap<Path, Entry<'_>> {
        tree::entries_of(&self.value, &|path| unit_of(path).is_some_and(|unit| unit.path.len() == path.len()))
    }
}

impl change::Dialect for Srlinux {
    fn plan(
        &self,
        running: &Running,
        candidate: &Candidate,
        known: &change::Known<'_>,
    ) -> Result<Plan, Refusal> {
        let text = candidate.texts.get(OWNER).ok_or_else(|| Refusal::NoText(OWNER.to_owned()))?;
        let wanted = Document::read(text)?;
        let running = Document::of(&running.texts)?;
        let literal = candidate.literal.contains_key(OWNER);
        if !literal {
            refuse_foreign(&wanted)?;
        }
        rules::refuse_absent(&wanted.leaves, &running.leaves)?;
        let confirmed = match known.confirmed {
            Some(confirmed) => Document::of(&confirmed.texts)?,
            None => Document::read("")?,
        };
        let journal = known.journal.get(OWNER).map(Vec::as_slice).unwrap_or_default();
        if !literal {
            refuse_conflicts(&wanted, &running, &confirmed, known.adopt, journal)?;
        }
        let named = running.named.iter().chain(confirmed.units.keys()).chain(wanted.units.keys());
        let ours: Entries<'_> = named.map(Vec::as_slice).collect();
        let mut change = Change::default();
        change.entries(&running, &wanted, &ours);
        change.singles(&running, &wanted);
        let globals = settle_globals(&mut change, &running, &wanted, journal);
        change.take_away_empty_bgp(&running);
        Ok(change.plan(&running, start(&running, &ours), globals))
    }

    fn dwell(&self, plan: &Plan, running: &Running) -> Duration {
        if plan.impact().class < Class::SessionReset {
            return LEAST;
        }
        let leaves = Document::of(&running.texts).map(|document| document.leaves).unwrap_or_default();
        let holds = leaves
            .iter()
            .filter(|(path, _)| path.last().is_some_and(|step| step.name == "hold-time"))
            .filter_map(|(_, value)| value.as_u64());
        Duration::from_secs(holds.max().unwrap_or(HOLD).min(HOLD) + 1)
    }

    fn nothing(&self) -> Candidate {
        Candidate::rendered(BTreeMap::from([(OWNER.to_owned(), "{}\n".to_owned())]))
    }

    fn undo(&self, now: &Running, before: &Running, failed: &Candidate) -> Plan {
        let literal = failed.literal.contains_key(OWNER);
        let read = |texts| Document::of(texts).or_else(|_| Document::read("")).ok();
        let (Some(now), Some(before), Some(failed)) =
            (read(&now.texts), read(&before.texts), read(&failed.texts))
        else {
            return Plan::default();
        };
        // What the attempt took away carries no name of ours: nobody else could commit meanwhile.
        let nameless = |kind: &Kind| literal || *kind == Kind::Resilient;
        let nameless = before.units.iter().filter(|(_, kind)| nameless(kind)).map(|(path, _)| path);
        let named = now.named.iter().chain(&before.named).chain(failed.units.keys());
        let ours: Entries<'_> = named.chain(nameless).map(Vec::as_slice).collect();
        let mut change = Change::default();
        change.entries(&now, &before, &ours);
        let touched = |path: &Path| global(path).is_some() || failed.leaves.contains_key(path);
        for (path, value) in before.singles.iter().filter(|(path, _)| touched(path)) {
            let found = now.leaves.get(path);
            if !found.is_some_and(|found| tree::same(found, value)) {
                change.set(path, value, found);
            }
        }
        for (path, value) in now.singles.iter().filter(|(path, _)| touched(path)) {
            if !before.leaves.contains_key(path) && !names_only(path, value) {
                change.unset(path, value);
            }
        }
        change.take_away_empty_bgp(&now);
        change.plan(&now, String::new(), Vec::new())
    }

    fn departures(&self, plan: &Plan) -> Vec<Departure> {
        let mut leaves: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
        for plan in plan.owners.values() {
            let split = |line: &String| -> (String, String) {
                let (path, value) = line.split_once(' ').unwrap_or((line, ""));
                (path.to_owned(), value.to_owned())
            };
            for (path, value) in plan.add.iter().map(split) {
                leaves.entry(path).or_default().0 = Some(value);
            }
            for (path, value) in plan.remove.iter().map(split) {
                leaves.entry(path).or_default().1 = Some(value);
            }
        }
        let one = |(path, (wanted, found))| Departure { path, wanted, found };
        leaves.into_iter().map(one).collect()
    }

    fn canonical(&self, candidate: &Candidate, checked: &Checked) -> Result<Candidate, Refusal> {
        let mut canonical = candidate.clone();
        let Some(text) = candidate.texts.get(OWNER) else { return Ok(canonical) };
        let document = Document::read(text)?;
        let literal = candidate.literal.contains_key(OWNER);
        if !literal {
            refuse_foreign(&document)?;
        }
        if let Some(first) = checked.complaints.first() {
            let file = if literal { "srlinux.json" } else { "the rendered srlinux.json" };
            let others = checked.complaints.len() - 1;
            return Err(Refusal::Invalid { file: file.to_owned(), first: first.clone(), others });
        }
        canonical.texts.insert(OWNER.to_owned(), write(&document.value));
        Ok(canonical)
    }

    fn remarks(&self, candidate: &Candidate) -> Vec<Issue> {
        let Some(text) = candidate.texts.get(OWNER) else { return Vec::new() };
        let what =
            if candidate.literal.contains_key(OWNER) { "srlinux.json" } else { "rendered srlinux.json" };
        lint::lint(text)
            .into_iter()
            .map(|lint| Issue::new(format!("{what} {}", lint.path), lint.rule.name(), lint.message))
            .collect()
    }
}

/// A document as text: indented, members in order, names without module, a newline at the end.
pub fn write(document: &Value) -> String {
    let mut text = serde_json::to_string_pretty(&tree::Canonical(document)).unwrap_or_default();
    text.push('\n');
    text
}

/// The network instances that a text speaks of.
pub fn instances(text: &str) -> BTreeSet<String> {
    let leaves = Document::read(text).map(|document| document.leaves).unwrap_or_default();
    leaves.keys().filter_map(|path| instance_of(path)).map(str::to_owned).collect()
}

/// The commands that write a whole candidate, whatever runs: for a validation.
pub fn commands(text: &str) -> Result<Vec<String>, Refusal> {
    let document = Document::read(text)?;
    let mut change = Change::default();
    let values = document.entries();
    for path in document.units.keys() {
        change.replace(path, values.get(path));
    }
    for (path, value) in document.singles.iter().filter(|(path, value)| !names_only(path, value)) {
        change.set(path, value, None);
    }
    Ok(change.commands)
}

/// An entry of a list of which nothing is said but its keys, such as the network instance itself.
fn names_only(path: &[Node], value: &Value) -> bool {
    value.is_object() || path.last().is_some_and(|step| step.name.ends_with(" order"))
}

fn refuse_foreign(wanted: &Document) -> Result<(), Refusal> {
    let carries = &wanted.named;
    let foreign =
        wanted.units.iter().find(|(path, kind)| **kind != Kind::Resilient && !carries.contains(*path));
    if let Some((path, _)) = foreign {
        return Err(Refusal::ForeignLine { line: show(path) });
    }
    match wanted.singles.iter().find(|(path, value)| global(path).is_none() && !names_only(path, value)) {
        Some((path, value)) => Err(Refusal::ForeignLine { line: tree::line(path, value) }),
        None => Ok(()),
    }
}

/// What somebody else configured in a place that we want.
fn refuse_conflicts(
    wanted: &Document,
    running: &Document,
    confirmed: &Document,
    adopt: &[String],
    journal: &[Global],
) -> Result<(), Refusal> {
    let adopted = |line: &String| adopt.iter().any(|adopted| adopted.trim() == line);
    let (mine, before) = (&running.named, &confirmed.units);
    for path in wanted.units.keys() {
        if mine.contains(path) || before.contains_key(path) || !is_there(running, path) {
            continue;
        }
        let found: Vec<String> =
            of_unit(&running.leaves, path).map(|(leaf, value)| tree::line(leaf, value)).collect();
        let same = of_unit(&wanted.leaves, path)
            .all(|(leaf, value)| running.leaves.get(leaf).is_some_and(|found| tree::same(found, value)));
        if !same && !adopted(&show(path)) {
            let found = found.first().cloned().unwrap_or_else(|| show(path));
            return Err(Refusal::GlobalConflict { wanted: show(path), found });
        }
    }
    for (path, value) in &wanted.singles {
        let (Some(Settable { default }), Some(found)) = (global(path), running.leaves.get(path)) else {
            continue;
        };
        let (wants, runs) = (tree::word(value), tree::word(found));
        let ours = confirmed.leaves.get(path).map(tree::word).as_deref() == Some(runs.as_str())
            || journal
                .iter()
                .any(|global| global.slot == show(path) && global.set == tree::line(path, found));
        // A value that the model has anyway was set by nobody, as far as anybody can tell.
        if wants != runs && !ours && default != Some(runs.as_str()) && !adopted(&tree::line(path, found)) {
            return Err(Refusal::GlobalConflict {
                wanted: tree::line(path, value),
                found: tree::line(path, found),
            });
        }
    }
    Ok(())
}

fn is_there(document: &Document, unit: &Path) -> bool {
    of_unit(&document.leaves, unit).next().is_some()
}

/// Neighbours come and go with their nodes: a plan that somebody has seen stays the same plan meanwhile.
fn start(running: &Document, ours: &Entries<'_>) -> String {
    let members = [Kind::Neighbor, Kind::Interface];
    let lines: Vec<String> = running
        .leaves
        .iter()
        .filter(|(path, _)| {
            unit_of(path).is_some_and(|unit| ours.contains(&unit.path) && !members.contains(&unit.kind))
        })
        .map(|(path, value)| tree::line(path, value))
        .collect();
    digest(lines.iter().map(String::as_bytes))
}

/// The journal after the change, and what becomes of leaves that are given up.
fn settle_globals<'a>(
    change: &mut Change<'a>,
    running: &'a Document,
    wanted: &'a Document,
    journal: &[Global],
) -> Vec<Global> {
    let mut kept = Vec::new();
    for (path, value) in wanted.singles.iter().filter(|(path, value)| !names_only(path, value)) {
        let slot = show(path);
        let known = journal.iter().find(|global| global.slot == slot);
        let found = match known {
            Some(global) => global.found.clone(),
            None => running.leaves.get(path).map(|found| tree::line(path, found)),
        };
        let context = bgp_of(path).map(|bgp| vec![show(bgp)]).unwrap_or_default();
        kept.push(Global { context, slot, set: tree::line(path, value), found });
    }
    for given_up in journal.iter().filter(|old| !kept.iter().any(|new| new.slot == old.slot)) {
        let Some((path, runs)) = running.singles.iter().find(|(path, _)| show(path) == given_up.slot) else {
            continue;
        };
        // Somebody else has set it since: it is his.
        if tree::line(path, runs) != given_up.set {
            continue;
        }
        match given_up.found.as_deref().and_then(|found| found.strip_prefix(&format!("{} ", given_up.slot))) {
            Some(found) if found != tree::word(runs) => change.set(path, &typed(found), Some(runs)),
            Some(_) => {}
            None => change.unset(path, runs),
        }
    }
    kept
}

/// A value from its word.
fn typed(word: &str) -> Value {
    serde_json::from_str(word).unwrap_or_else(|_| Value::String(word.to_owned()))
}
