//! FRR's configuration language, as far as we write it.
//!
//! A text is a tree by indentation. *Ours* is what carries our name: prefix-lists, route-maps, BFD profiles and
//! peer-groups that begin with `SWITCHLET-`, and the neighbours in such a peer-group. Beside that there is a closed
//! list of globals that we set if absent. Everything else belongs to somebody else and is never touched.
//!
//! The difference between two texts becomes commands, adds before deletes; a changed single-valued line is only
//! written over, because deleting it first would interrupt what it serves.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use crate::change;
use crate::change::diff::{Candidate, Checked, Global, OwnerPlan, Plan, Refusal, Running};
use crate::change::drift::Departure;
use crate::intent::platform::Release;
use crate::intent::snapshot::{Issue, digest};

mod commands;
mod dwell;
mod globals;
pub mod hunks;
mod impact;
pub mod lint;
mod release;
mod saved;
pub mod secrets;
mod slot;
mod startup;
#[cfg(test)]
mod tests;
mod tree;
mod whole;

use commands::{STAGES, Stage, Writer, commands, default_of, is_block, is_named_block, stage_of};
use globals::{Globals, is_global};
use impact::Change;
pub use release::platform;
pub use saved::{carries_our_name, saved};
use slot::{Slot, slot, slot_or_line};
pub use startup::splice;
pub use tree::{Numbered, numbered};

/// All names of ours begin with this.
pub const NAME_PREFIX: &str = "SWITCHLET-";

/// The owner's name of FRR's text.
pub const OWNER: &str = "frr";

/// One configuration line with the blocks around it, outermost first.
type Path = Vec<String>;

/// What the planner knows besides the two texts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// The text that was confirmed last: its globals were set by us.
    pub confirmed: Option<&'a str>,
    /// Running lines of globals that may be overwritten.
    pub adopt: &'a [String],
    /// The globals that we have set, and what they replaced.
    pub journal: &'a [Global],
}

/// FRR's dialect, for the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frr;

impl change::Dialect for Frr {
    fn plan(
        &self,
        running: &Running,
        candidate: &Candidate,
        known: &change::Known<'_>,
    ) -> Result<Plan, Refusal> {
        let text = |texts: &BTreeMap<String, String>| texts.get(OWNER).cloned();
        let wanted = text(&candidate.texts).ok_or_else(|| Refusal::NoText(OWNER.to_owned()))?;
        if candidate.literal.contains_key(OWNER) {
            return Ok(of_owner(whole::plan(&text(&running.texts).unwrap_or_default(), &wanted)?));
        }
        let confirmed = known.confirmed.and_then(|confirmed| text(&confirmed.texts));
        let running = text(&running.texts).unwrap_or_default();
        let journal = known.journal.get(OWNER).map(Vec::as_slice).unwrap_or_default();
        let known = Known { confirmed: confirmed.as_deref(), adopt: known.adopt, journal };
        Ok(of_owner(plan(&running, &wanted, known)?))
    }

    fn nothing(&self) -> Candidate {
        Candidate::rendered(BTreeMap::from([(OWNER.to_owned(), String::new())]))
    }

    fn undo(&self, now: &Running, before: &Running, failed: &Candidate) -> Plan {
        let text = |running: &Running| running.texts.get(OWNER).cloned().unwrap_or_default();
        let undo = if failed.literal.contains_key(OWNER) { whole::undo } else { undo };
        of_owner(undo(&text(now), &text(before)))
    }

    fn dwell(&self, plan: &Plan, running: &Running) -> Duration {
        let running = running.texts.get(OWNER).map(String::as_str).unwrap_or_default();
        plan.owners.get(OWNER).map_or(Duration::ZERO, |plan| dwell::of(plan, running))
    }

    fn departures(&self, plan: &Plan) -> Vec<Departure> {
        plan.owners.values().flat_map(hunks::departures).collect()
    }

    fn canonical(&self, candidate: &Candidate, checked: &Checked) -> Result<Candidate, Refusal> {
        let mut canonical = candidate.clone();
        let (Some(text), Some(loaded)) = (candidate.texts.get(OWNER), checked.texts.get(OWNER)) else {
            return Ok(canonical);
        };
        let literal = candidate.literal.contains_key(OWNER);
        if !literal {
            refuse_foreign(&telling(tree::flatten(text)))?;
        }
        if let Some(first) = checked.complaints.first() {
            let file = if literal { "frr.conf" } else { "the rendered frr.conf" };
            let others = checked.complaints.len() - 1;
            return Err(Refusal::Invalid { file: file.to_owned(), first: first.clone(), others });
        }
        let loaded = if literal { whole::said(loaded) } else { own_and_globals(text, loaded) };
        if loaded.iter().collect::<HashSet<_>>() != telling(tree::flatten(text)).iter().collect() {
            canonical.texts.insert(OWNER.to_owned(), tree::write(&loaded));
        }
        Ok(canonical)
    }

    fn remarks(&self, candidate: &Candidate) -> Vec<Issue> {
        let owned = |(owner, text): (&String, &String)| {
            let text = candidate.literal.get(owner).unwrap_or(text).clone();
            let what = if candidate.literal.contains_key(owner) { "frr.conf" } else { "rendered frr.conf" };
            lint::lint(&text).into_iter().map(move |lint| {
                let place = lint.line.map(|line| format!(" line {line}")).unwrap_or_default();
                Issue::new(format!("{what}{place}"), lint.rule.name(), lint.message)
            })
        };
        candidate.texts.iter().filter(|(owner, _)| *owner == OWNER).flat_map(owned).collect()
    }
}

fn of_owner(plan: Option<OwnerPlan>) -> Plan {
    Plan { owners: plan.map(|plan| (OWNER.to_owned(), plan)).into_iter().collect() }
}

/// Of what runs after loading `text` that which is ours, and the globals that it sets.
fn own_and_globals(text: &str, loaded: &str) -> Vec<Path> {
    fn place(path: &Path) -> (&[String], Slot<'_>) {
        (context(path), slot_or_line(path))
    }
    let text = tree::flatten(text);
    let places: BTreeSet<_> = text.iter().filter(|path| is_global(path)).map(place).collect();
    let loaded = telling(tree::flatten(loaded));
    let members = members(&loaded);
    let wanted = |path: &Path| is_ours(path, &members) || (is_global(path) && places.contains(&place(path)));
    loaded.into_iter().filter(wanted).collect()
}

fn refuse_foreign(wanted: &[Path]) -> Result<(), Refusal> {
    let members = members(wanted);
    match wanted.iter().find(|path| !is_ours(path, &members) && !is_global(path)) {
        Some(path) => Err(Refusal::ForeignLine { line: show(path) }),
        None => Ok(()),
    }
}

/// The daemons' own running texts as one: of each kind of line only the word of the daemon that acts on it.
///
/// vtysh gives filters to every daemon that knows them. Taking zebra's copy for bgpd's would hide that a restarted bgpd
/// has lost them.
pub fn merge<D: AsRef<str> + Ord>(texts: &BTreeMap<D, String>) -> String {
    let mut merged = String::new();
    for (daemon, text) in texts {
        let mut taken = false;
        for raw in text.lines() {
            if !raw.starts_with([' ', '!']) && !raw.is_empty() && !matches!(raw, "exit" | "end") {
                let filter = ["ip prefix-list ", "ipv6 prefix-list ", "route-map ", "no route-map "]
                    .iter()
                    .any(|f| raw.starts_with(f));
                taken = match daemon.as_ref() {
                    "bgpd" => true,
                    // `bfd` and `router bgp` are their daemons' own; every daemon repeats what is common to all.
                    "bfdd" => raw == "bfd",
                    _ => !filter,
                };
            }
            if taken {
                merged.push_str(raw);
                merged.push('\n');
            }
        }
    }
    merged
}

/// The difference between what runs and what is wanted; `None` if there is none.
pub fn plan(running: &str, candidate: &str, known: Known<'_>) -> Result<Option<OwnerPlan>, Refusal> {
    let release = release::of_text(running);
    let running = tree::flatten(running);
    let wanted = telling(tree::flatten(candidate));
    refuse_foreign(&wanted)?;
    globals::check(&running, &wanted, known)?;
    check_members(&running, &members(&wanted), known)?;
    let mut ours = own(&telling(running.clone()));
    let start = start(&ours);
    let Globals { journal, restored, given_up, replaced } =
        globals::settle(&running, &wanted, known.journal, &ours);
    let all: Vec<Path> = wanted.into_iter().chain(restored).collect();
    ours.extend(given_up);
    ours.extend(replaced);
    Ok(difference(&ours, &running, &all, release).map(|plan| OwnerPlan { start, globals: journal, ..plan }))
}

/// Neighbours come and go with their nodes: a plan that somebody has seen stays the same plan meanwhile.
fn start(ours: &[Path]) -> String {
    let mut lines: Vec<String> =
        ours.iter().filter(|path| stage_of(path) != Stage::Member).map(show).collect();
    lines.sort();
    digest(lines.iter().map(String::as_bytes))
}

/// The plan that brings our part of `now` back to what it was in `before`, globals that were absent included.
pub fn undo(now: &str, before: &str) -> Option<OwnerPlan> {
    let release = release::of_text(now);
    let (now, before) = (tree::flatten(now), tree::flatten(before));
    let restored = |paths: &[Path]| -> Vec<Path> {
        let members = members(paths);
        telling(paths.to_vec())
            .into_iter()
            .filter(|path| {
                is_ours(path, &members)
                    || (is_global(path) && !path[path.len() - 1].starts_with("router bgp "))
            })
            .collect()
    };
    let wanted = restored(&before);
    let mut plan = difference(&restored(&now), &now, &wanted, release).unwrap_or_default();
    // An instance that was not there before is ours to take away.
    for path in now
        .iter()
        .filter(|path| path.len() == 1 && path[0].starts_with("router bgp ") && !before.contains(path))
    {
        plan.remove.push(show(path));
        plan.commands.push(format!("no {}", path[0]));
        let whole: Vec<&Path> = now.iter().filter(|other| other[0] == path[0]).collect();
        plan.impact = plan.impact.and(impact::foretell(Change {
            release,
            running: &now,
            add: &[],
            remove: &whole,
            replaced: &[],
            anew: &BTreeSet::new(),
        }));
    }
    (!plan.commands.is_empty()).then_some(plan)
}

fn difference(
    ours: &[Path],
    running: &[Path],
    wanted: &[Path],
    release: Option<Release>,
) -> Option<OwnerPlan> {
    let has: HashSet<&Path> = running.iter().collect();
    let want: HashSet<&Path> = wanted.iter().collect();
    let add: Vec<&Path> = wanted.iter().filter(|path| !has.contains(path)).collect();
    let gone = ours.iter().filter(|path| !want.contains(path));
    // A line that is written over is shown as removed too: a person wants to see what it was.
    let (replaced, remove) = written_over(gone, wanted);
    if add.is_empty() && remove.is_empty() {
        return None;
    }
    let change =
        Change { release, running, add: &add, remove: &remove, replaced: &replaced, anew: &BTreeSet::new() };
    Some(OwnerPlan {
        impact: impact::foretell(change),
        add: add.iter().map(|path| show(path)).collect(),
        remove: remove.iter().chain(&replaced).map(|path| show(path)).collect(),
        commands: commands(&add, &remove, &replaced, wanted, &is_named_block),
        ..OwnerPlan::default()
    })
}

/// Of the lines that go those whose place a wanted one takes, and those that have to be taken away.
fn written_over<'a>(gone: impl Iterator<Item = &'a Path>, wanted: &[Path]) -> (Vec<&'a Path>, Vec<&'a Path>) {
    let mut gone = gone.peekable();
    if gone.peek().is_none() {
        return (Vec::new(), Vec::new());
    }
    let slots: HashSet<(&[String], Slot<'_>)> =
        wanted.iter().filter_map(|path| slot(path).map(|slot| (context(path), slot))).collect();
    gone.partition(|path| slot(path).is_some_and(|slot| slots.contains(&(context(path), slot))))
}

/// The lines that say something: neither a hidden default nor a mere container, which may belong to anybody.
fn telling(paths: Vec<Path>) -> Vec<Path> {
    paths
        .into_iter()
        .filter(|path| default_of(path).as_ref() != path.last())
        .filter(|path| path.last().is_none_or(|line| line != "bfd" && !line.starts_with("address-family ")))
        .collect()
}

fn context(path: &[String]) -> &[String] {
    &path[..path.len() - 1]
}

fn show(path: &Path) -> String {
    path.join(" / ")
}

/// `X` of `neighbor X …`.
fn neighbor(line: &str) -> Option<&str> {
    line.strip_prefix("no ").unwrap_or(line).strip_prefix("neighbor ")?.split(' ').next()
}

/// The neighbours in a peer-group of ours.
fn members(paths: &[Path]) -> HashSet<String> {
    paths
        .iter()
        .filter(|path| path[0].starts_with("router bgp "))
        .filter_map(|path| {
            let line = &path[path.len() - 1];
            let name = neighbor(line)?;
            let group = line.split(' ').skip_while(|word| *word != "peer-group").nth(1)?;
            (group.starts_with(NAME_PREFIX) && !name.starts_with(NAME_PREFIX)).then(|| name.to_owned())
        })
        .collect()
}

fn own(paths: &[Path]) -> Vec<Path> {
    let members = members(paths);
    paths.iter().filter(|path| is_ours(path, &members)).cloned().collect()
}

fn is_ours(path: &[String], members: &HashSet<String>) -> bool {
    let top = path[0].as_str();
    let line = path[path.len() - 1].as_str();
    let word = |text: &str, index: usize| {
        text.split(' ').nth(index).is_some_and(|name| name.starts_with(NAME_PREFIX))
    };
    if top.starts_with("ip prefix-list ") || top.starts_with("ipv6 prefix-list ") {
        return word(top, 2);
    }
    if top.starts_with("bgp community-list ") || top.starts_with("bgp large-community-list ") {
        return word(top, 3);
    }
    if top.starts_with("route-map ") {
        return word(top, 1);
    }
    // `no route-map NAME optimization`
    if top.starts_with("no route-map ") {
        return word(top, 2);
    }
    if top == "bfd" {
        return path.len() > 1 && word(&path[1], 1);
    }
    if top.starts_with("router bgp ") {
        if path.len() == 2 && line.starts_with("bgp listen range ") {
            return line.rsplit(' ').next().is_some_and(|group| group.starts_with(NAME_PREFIX));
        }
        return neighbor(line).is_some_and(|name| name.starts_with(NAME_PREFIX) || members.contains(name));
    }
    false
}

/// A neighbour that runs and is in no group of ours belongs to somebody: taken into ours it would obey our policy.
fn check_members(running: &[Path], wanted: &HashSet<String>, known: Known<'_>) -> Result<(), Refusal> {
    let already = members(running);
    let foreign = running.iter().filter(|path| path[0].starts_with("router bgp ")).find(|path| {
        let line = &path[path.len() - 1];
        neighbor(line).is_some_and(|name| wanted.contains(name) && !already.contains(name))
    });
    let Some(found) = foreign else { return Ok(()) };
    let adopted = |line: &String| *line == show(found) || *line == found[found.len() - 1];
    if known.adopt.iter().any(adopted) {
        return Ok(());
    }
    let name = neighbor(&found[found.len() - 1]).unwrap_or_default();
    Err(Refusal::GlobalConflict { wanted: format!("neighbor {name}"), found: show(found) })
}
