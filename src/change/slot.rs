//! Rollout slots: how many switches of a group may be in the middle of a change.
//!
//! A slot is a Lease of the group, `GROUP-0`, `GROUP-1` …. Whoever holds one may change its switch, and gives it back once the
//! change has settled good. A change that was rolled back keeps its slot, and so does a holder that has fallen silent: a bad
//! commit stops at its first switch. Such a slot is freed by Git alone: the Switch is deleted or paused, or its
//! `spec.rollout.release` is a higher number than when the slot was taken.
//!
//! An agent may write only a Lease that is empty or its own. So a slot that Git has freed keeps the name of its dead holder;
//! it merely counts no longer, and the next number is used instead. Therefore counting decides, not the number: who has
//! written its name looks once more, and gives back if there are too many ([`fits`]). The last one to write sees all others.
//!
//! **The queue.** Those wait whose Switch says so. The turn goes round by name, beginning behind the one that had the last turn
//! (each Lease remembers the number of its turn): nobody is served twice before everybody who waits was served once, and nobody
//! loses a place by anything but a turn. A free slot is taken by the first at once; each of the others lets the ones before it
//! have [`Queue::patience`] each, so that a dead switch at the head holds up nobody for long.
//!
//! No machine's wall clock is compared with another's: a holder is silent when *we* saw no renewal for the Lease's duration.
//! Nothing is ever taken from a holder because of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// The reason by which a Switch's `Ready` condition says that it waits for a slot.
pub const AWAITING: &str = "AwaitingSlot";

/// What a switch needs of its slot. A level: saying it twice is saying it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    /// Nothing is known of a change yet.
    #[default]
    Nothing,
    /// A slot, as long as this is said.
    Slot,
    /// The change has ended, like this.
    Settled(End),
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Well, or it was not begun: the slot is given back.
    Good,
    /// It was rolled back: the slot is kept.
    Failed,
}

/// What became of a holder's change, as far as its Lease says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is under way.
    Running,
    /// It was rolled back.
    Failed,
}

/// Whoever holds a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Name of its Switch.
    pub name: String,
    /// Its `spec.rollout.release` when it took the slot.
    pub release: u64,
    /// Its change.
    pub outcome: Outcome,
    /// When we last saw the Lease renewed; for one that we have just met, when we met it.
    pub heard: Instant,
    /// Silence for longer than this counts as failure.
    pub duration: Duration,
}

/// A Lease of some group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its group.
    pub group: String,
    /// Its number in the group.
    pub number: u32,
    /// Its `resourceVersion`.
    pub version: String,
    /// Number of its last turn; turns are counted by group.
    pub turn: u64,
    /// Who had that turn.
    pub last: Option<String>,
    /// Who holds it.
    pub holder: Option<Holder>,
}

/// A Switch of the namespace, as far as slots are concerned. A deleted one is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `spec.rollout.group`.
    pub group: String,
    /// `spec.rollout.maxUnavailable`; the smallest one of a group counts.
    pub max_unavailable: u32,
    /// `spec.rollout.release`.
    pub release: u64,
    /// `spec.apply.policy` is `Paused`.
    pub paused: bool,
    /// It says that it waits for a slot.
    pub waits: bool,
}

/// All that matters, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// All slots of the namespace.
    pub slots: Vec<Slot>,
    /// All Switches of the namespace, by name.
    pub members: BTreeMap<String, Member>,
}

/// What to do next about a slot that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Write our name into this one, and look whether it fits.
    Take(Take),
    /// Nothing for now.
    Wait(Waiting),
}

/// A slot that may be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Name of the Lease.
    pub lease: String,
    /// The `resourceVersion` that it must still have; `None` if there must be no such Lease.
    pub version: Option<String>,
    /// Number of the turn.
    pub turn: u64,
    /// Our `spec.rollout.release` now.
    pub release: u64,
    /// It is ours already, and this is what it says of our last change.
    pub ours: Option<Outcome>,
}

/// Why no slot may be taken now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Why.
    pub why: Why,
    /// Who comes before us, first one first.
    pub ahead: Vec<String>,
    /// When to decide again if nothing changes.
    pub until: Option<Instant>,
}

/// The reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// As many changes are under way as may be; who makes them.
    Held(Vec<String>),
    /// All slots are held by changes that failed: nothing moves until Git frees one.
    HeldByFailure(Vec<Failed>),
    /// A slot is free, and others come first.
    Turn,
    /// Our own Switch is paused.
    Paused,
    /// There is no Switch of our name.
    NoSwitch,
}

/// A holder that keeps its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Whose.
    pub name: String,
    /// How.
    pub how: How,
}

/// How a change failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It was rolled back.
    RolledBack,
    /// Nobody has heard of its agent.
    Silent,
}

impl Waiting {
    /// For people.
    pub fn words(&self) -> String {
        let why = match &self.why {
            Why::Held(names) => format!("{} under way", changes(names)),
            Why::HeldByFailure(failed) => {
                let how = |failed: &Failed| match failed.how {
                    How::RolledBack => format!("{} rolled back", failed.name),
                    How::Silent => format!("{} fell silent in the middle of its change", failed.name),
                };
                let all: Vec<String> = failed.iter().map(how).collect();
                format!(
                    "{} and keeps the slot (free it by a good commit, or a higher spec.rollout.release of that Switch)",
                    all.join(", ")
                )
            }
            Why::Turn => "a slot is free, and others come first".to_owned(),
            Why::Paused => "this Switch is paused".to_owned(),
            Why::NoSwitch => "there is no Switch of this name".to_owned(),
        };
        let ahead = match self.ahead.as_slice() {
            [] => String::new(),
            [one] => format!("; {one} comes first"),
            [first, rest @ ..] => format!("; {first} and {} more come first", rest.len()),
        };
        format!("{why}{ahead}")
    }
}

fn changes(names: &[String]) -> String {
    let what = if names.len() == 1 { "the change of" } else { "the changes of" };
    let are = if names.len() == 1 { "is" } else { "are" };
    format!("{what} {} {are}", names.join(", "))
}

/// Name of a group's Lease.
pub fn lease(group: &str, number: u32) -> String {
    format!("{group}-{number}")
}

/// Group and number of a Lease; `None` for one that is no slot.
pub fn place(lease: &str) -> Option<(&str, u32)> {
    let (group, number) = lease.rsplit_once('-')?;
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = number == "0" || !number.starts_with('0');
    let number = number.parse().ok().filter(|_| digits && canonical)?;
    (!group.is_empty()).then_some((group, number))
}

impl Observed {
    /// Git has freed it: it counts no longer.
    fn freed(&self, holder: &Holder) -> bool {
        self.members.get(&holder.name).is_none_or(|switch| switch.paused || switch.release > holder.release)
    }

    /// Slots of `group` that count, with their holders.
    fn held<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a Slot, &'a Holder)> {
        let slots = self.slots.iter().filter(move |slot| slot.group == group);
        slots.filter_map(|slot| Some((slot, slot.holder.as_ref().filter(|holder| !self.freed(holder))?)))
    }

    /// How many changes of `group` may be under way.
    fn most(&self, group: &str) -> usize {
        let all = self.members.values().filter(|member| member.group == group);
        let most = all.map(|member| member.max_unavailable).min().unwrap_or(1).max(1);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Who waits, first one first; `me` is among them.
    fn queue(&self, group: &str, me: &str) -> Vec<String> {
        let holds = |name: &str| self.held(group).any(|(_, holder)| holder.name == name);
        let waits = |(name, member): &(&String, &Member)| {
            *name == me || (member.group == group && member.waits && !member.paused && !holds(name))
        };
        // In the order of names.
        let mut queue: Vec<String> =
            self.members.iter().filter(waits).map(|(name, _)| name.clone()).collect();
        let turns = self.slots.iter().filter(|slot| slot.group == group);
        if let Some(last) =
            turns.max_by_key(|slot| (slot.turn, slot.number)).and_then(|slot| slot.last.as_ref())
        {
            let behind = queue.partition_point(|name| name <= last);
            let whole = queue.len().max(1);
            queue.rotate_left(behind % whole);
        }
        queue
    }
}

/// After our name was written: whether there are no more changes than may be. `after` was read after that.
pub fn fits(after: &Observed, me: &str) -> bool {
    let Some(member) = after.members.get(me) else { return false };
    let others = after.held(&member.group).filter(|(_, holder)| holder.name != me).count();
    others < after.most(&member.group)
}

/// The place of one switch in the queue of its group.
#[derive(Debug)]
pub struct Queue {
    me: String,
    patience: Duration,
    /// Since when a slot is free, and who held the others then.
    free: Option<(Vec<String>, Instant)>,
}

impl Queue {
    /// For the switch `me`. `patience` is how long a free slot is left to each of those who come first; a few times as long as
    /// a watch and a write take.
    pub fn new(me: &str, patience: Duration) -> Self {
        Self { me: me.to_owned(), patience, free: None }
    }

    /// How long a free slot is left to each of those who come first.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// What to do about the slot that is needed.
    pub fn decide(&mut self, observed: &Observed, now: Instant) -> Decision {
        let wait = |why, ahead, until| Decision::Wait(Waiting { why, ahead, until });
        let Some(member) = observed.members.get(&self.me) else {
            return wait(Why::NoSwitch, Vec::new(), None);
        };
        if member.paused {
            return wait(Why::Paused, Vec::new(), None);
        }
        let group = member.group.as_str();
        let (ours, others): (Vec<_>, Vec<_>) =
            observed.held(group).partition(|(_, holder)| holder.name == self.me);
        let most = observed.most(group);
        let mut ahead = observed.queue(group, &self.me);
        ahead.truncate(ahead.iter().position(|name| *name == self.me).unwrap_or(0));
        if others.len() >= most {
            self.free = None;
            let (why, until) = blocked(&others, now);
            return wait(why, ahead, until);
        }
        let turns = observed.slots.iter().filter(|slot| slot.group == group).map(|slot| slot.turn);
        let turn = turns.max().unwrap_or(0).saturating_add(1);
        let take = |number: u32, ours: Option<Outcome>| {
            let there = observed.slots.iter().find(|slot| slot.group == group && slot.number == number);
            Decision::Take(Take {
                lease: lease(group, number),
                version: there.map(|slot| slot.version.clone()),
                turn,
                release: member.release,
                ours,
            })
        };
        // What we kept through a failure, or through a restart, is ours without waiting.
        if let Some((slot, holder)) = ours.first() {
            return take(slot.number, Some(holder.outcome));
        }
        let free = most - others.len();
        let mut names: Vec<String> = others.iter().map(|(_, holder)| holder.name.clone()).collect();
        names.sort();
        if self.free.as_ref().is_none_or(|(then, _)| *then != names) {
            self.free = Some((names, now));
        }
        let since = self.free.as_ref().map_or(now, |(_, since)| *since);
        let late = u32::try_from((ahead.len() + 1).saturating_sub(free)).unwrap_or(u32::MAX);
        let due = since + self.patience.saturating_mul(late);
        if now < due {
            return wait(Why::Turn, ahead, Some(due));
        }
        // Those who go at the same time go for different ones.
        let nth = ahead.len().min(free - 1);
        let takeable = |number: &u32| {
            let there = observed.slots.iter().find(|slot| slot.group == group && slot.number == *number);
            there.and_then(|slot| slot.holder.as_ref()).is_none_or(|holder| holder.name == self.me)
        };
        let number = (0..).filter(takeable).nth(nth).unwrap_or(0);
        take(number, None)
    }
}

/// Why there is no free slot, and when that may become another reason.
fn blocked(held: &[(&Slot, &Holder)], now: Instant) -> (Why, Option<Instant>) {
    let failed = |holder: &Holder| match holder.outcome {
        Outcome::Failed => Some(How::RolledBack),
        Outcome::Running if now >= holder.heard + holder.duration => Some(How::Silent),
        Outcome::Running => None,
    };
    let holders = || held.iter().map(|(_, holder)| *holder);
    let all: Option<Vec<Failed>> =
        holders().map(|holder| Some(Failed { name: holder.name.clone(), how: failed(holder)? })).collect();
    if let Some(all) = all {
        return (Why::HeldByFailure(all), None);
    }
    let until = holders().filter(|holder| failed(holder).is_none()).map(|h| h.heard + h.duration).min();
    (Why::Held(holders().map(|holder| holder.name.clone()).collect()), until)
}
