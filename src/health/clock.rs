//! When a difference is a fault.
//!
//! Every difference (prefix, next-hop, missing or unexpected) has its own clock, which starts when *it* first
//! differed; nothing else restarts it, and it survives a restart of the agent. A difference between the switch's own
//! control plane and its FIB is a fault after two looks; one on which both agree may be the cluster's change under
//! way and gets the time that speakers need.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::health::compare::Compared;
use crate::health::control::Sessions;
use crate::health::ladder::{self, ControlPlane, Evidence, Fault, Puzzle, Rung};
use crate::health::verdict::{self, Common};
use crate::health::{Difference, DifferenceKind, State, VipVerdict};
use crate::intent::snapshot::{Issue, ObjectName};
use crate::net::{Hashing, NextHop, Prefix, Shared};

#[cfg(test)]
mod tests;

/// Two looks this far apart make a difference of the switch with itself a fault: a route that is just being replaced
/// is back by then.
pub const SECOND_LOOK: Duration = Duration::from_millis(200);
/// How long the second look waits while the route manager says that the prefix is still queued.
const LONGEST_QUEUE: Duration = Duration::from_secs(5);
/// A fault is over after this long without it.
pub const GOOD_AGAIN: Duration = Duration::from_secs(10);
/// Three faults of one difference within this time are flapping.
const FLAP_WINDOW: Duration = Duration::from_secs(600);
const FLAP_COUNT: usize = 3;
/// How long the API's yes to a Service counts: the last look before a fault asks again, unless it was asked just now.
const CONFIRMED: Duration = Duration::from_secs(10);
/// How long its silence counts.
const UNANSWERED: Duration = Duration::from_secs(60);
/// After this long a question that is still open is put again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Ends of a countdown this near to each other are one.
const SAME_END: SignedDuration = SignedDuration::from_secs(2);

/// Identity of a difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    prefix: Prefix,
    next_hop: String,
    kind: DifferenceKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Clock {
    since: Timestamp,
    /// First of an unbroken run of looks at which the switch contradicted itself.
    ours_since: Option<Timestamp>,
    diverged: bool,
    fault: Fault,
    rung: Rung,
    /// It will be over by itself then.
    #[serde(default)]
    until: Option<Timestamp>,
    /// Not seen since then.
    gone: Option<Timestamp>,
    /// When it became a fault, within the flap window.
    departures: Vec<Timestamp>,
}

/// All clocks; what survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks(Vec<(Key, Clock)>);

/// Has the API confirmed the expectation of a Service?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It was read again then, and is as we believed.
    Confirmed(Timestamp),
    /// It was asked then and gave no answer.
    Unanswered(Timestamp),
}

/// What one judging needs to know beside the comparison.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// Of the look.
    pub now: Timestamp,
    /// `verify.convergence`.
    pub convergence: Duration,
    /// `networkInstance`.
    pub network_instance: &'a str,
    /// Sessions, if the control plane could be asked.
    pub sessions: Option<&'a Sessions>,
    /// Evidence by prefix; absent where the control plane was not, or could not be, asked.
    pub evidence: &'a BTreeMap<Prefix, Evidence>,
    /// The node behind each peer's next-hop.
    pub node_of: &'a BTreeMap<NextHop, String>,
    /// What the API said when it was asked again.
    pub fresh: &'a BTreeMap<ObjectName, Freshness>,
}

/// The result of one judging.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judgement {
    /// Every judged VIP, in order.
    pub vips: Shared<Vec<VipVerdict>>,
    /// Faults that stand or have not been gone long enough, worst first.
    pub standing: Vec<Standing>,
    /// Services to read again from the API before a difference of theirs becomes a fault.
    pub to_confirm: BTreeSet<ObjectName>,
    /// What is worth knowing although nothing differs.
    pub issues: Vec<Issue>,
    /// What of a packet chooses its next-hop.
    pub hashing: Hashing,
    /// When to look again even if nothing happens.
    pub next: Option<Timestamp>,
}

/// A fault, for the condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which prefix.
    pub prefix: Prefix,
    /// Which next-hop.
    pub next_hop: String,
    /// Missing or unexpected.
    pub kind: DifferenceKind,
    /// Who is at fault.
    pub fault: Fault,
    /// First failing rung.
    pub rung: Rung,
    /// Since when.
    pub since: Timestamp,
    /// It comes and goes.
    pub flapping: bool,
    /// Seen at this look.
    pub present: bool,
}

/// Keeps the clocks. One for the life of the agent.
#[derive(Debug, Default)]
pub struct Judge {
    clocks: BTreeMap<Key, Clock>,
    /// Of the last look.
    last: Option<Timestamp>,
}

impl Judge {
    /// Goes on with the clocks of an earlier life.
    pub fn resume(Clocks(clocks): Clocks) -> Self {
        Self { clocks: clocks.into_iter().collect(), last: None }
    }

    /// The clocks as they stand, to survive a restart.
    pub fn clocks(&self) -> Clocks {
        Clocks(self.clocks.iter().map(|(key, clock)| (key.clone(), clock.clone())).collect())
    }

    /// Judges one look.
    pub fn judge(&mut self, compared: &BTreeMap<Prefix, Compared>, about: &Circumstances<'_>) -> Judgement {
        self.follow(about.now);
        let mut judgement = Judgement::default();
        let mut present: BTreeSet<Key> = BTreeSet::new();
        let mut common = Common::new(about.network_instance);
        let vips: Vec<VipVerdict> = compared
            .iter()
            .map(|(prefix, compared)| {
                self.judge_vip((*prefix, compared), about, &mut common, &mut present, &mut judgement)
            })
            .collect();
        judgement.vips = vips.into();
        self.age(&present, about.now, &mut judgement);
        judgement
            .standing
            .sort_by(|a, b| (a.fault, a.prefix, &a.next_hop).cmp(&(b.fault, b.prefix, &b.next_hop)));
        judgement
    }

    /// A wall clock that was set back takes the clocks with it: a difference is as old as it was. After a restart there
    /// is no last look to tell by how much, and what lies ahead can only begin now.
    fn follow(&mut self, now: Timestamp) {
        if let Some(back) = self.last.map(|last| elapsed(now, last)).filter(|back| !back.is_zero()) {
            self.clocks.values_mut().flat_map(Clock::times).for_each(|at| *at = before(*at, back));
        }
        self.clocks.values_mut().flat_map(Clock::times).for_each(|at| *at = (*at).min(now));
        self.last = Some(now);
    }

    fn judge_vip(
        &mut self,
        (prefix, compared): (Prefix, &Compared),
        about: &Circumstances<'_>,
        common: &mut Common,
        present: &mut BTreeSet<Key>,
        judgement: &mut Judgement,
    ) -> VipVerdict {
        let control = ControlPlane { sessions: about.sessions, evidence: about.evidence.get(&prefix) };
        let mut differences = Vec::new();
        for (kind, name, hop) in compared.differences() {
            let behind = hop.as_ref().and_then(|hop| compared.expected.get(hop));
            let peer = behind.and_then(|behind| behind.peer.as_ref());
            let wrong_kind = compared.wrong_kind.is_some();
            let puzzle = Puzzle { prefix, kind, hop: hop.as_ref(), peer, wrong_kind };
            let mut explained = ladder::explain(puzzle, &control);
            // A remote switch need not be a neighbour of ours: its path comes from somewhere, or it does not come.
            let remote = hop.as_ref().is_some_and(|hop| !about.node_of.contains_key(peer.unwrap_or(hop)));
            if remote && explained.rung == Rung::PeerNotConfigured {
                (explained.rung, explained.fault) = (Rung::PrefixNotReceived, Fault::AnnouncerMissing);
            }
            let node = behind
                .and_then(|behind| behind.nodes.first().cloned())
                .or_else(|| hop.as_ref().and_then(|hop| about.node_of.get(hop).cloned()));
            let key = Key { prefix, next_hop: name.clone(), kind };
            present.insert(key.clone());
            let (rung, fault) = (explained.rung, explained.fault);
            let clock = self.clocks.entry(key).or_insert_with(|| Clock::start(about.now, fault, rung));
            let state = clock.tick(fault, rung, &control, compared, about, judgement);
            let until = clock.lasting(explained.lasts, about.now).map(|until| format!("until {until}"));
            let (since, detail) = (clock.since, until.or(explained.detail));
            differences.push(Difference { next_hop: name, node, kind, rung, since, state, fault, detail });
        }
        differences.sort_by(|a, b| (b.state, b.rung, &a.next_hop).cmp(&(a.state, a.rung, &b.next_hop)));
        verdict::of_vip(prefix, compared, differences, common)
    }

    /// Lets go of what has been gone long enough, and collects what stands.
    fn age(&mut self, present: &BTreeSet<Key>, now: Timestamp, judgement: &mut Judgement) {
        self.clocks.retain(|key, clock| {
            let here = present.contains(key);
            if !here {
                let gone = *clock.gone.get_or_insert(now);
                clock.ours_since = None;
                if elapsed(gone, now) >= GOOD_AGAIN {
                    clock.diverged = false;
                } else {
                    judgement.wake(gone, GOOD_AGAIN);
                }
            }
            clock.departures.retain(|at| elapsed(*at, now) < FLAP_WINDOW);
            let flapping = clock.departures.len() >= FLAP_COUNT;
            if let (true, Some(oldest)) = (flapping, clock.departures.iter().nth_back(FLAP_COUNT - 1)) {
                judgement.wake(*oldest, FLAP_WINDOW);
            }
            if clock.diverged || flapping {
                judgement.standing.push(Standing {
                    prefix: key.prefix,
                    next_hop: key.next_hop.clone(),
                    kind: key.kind,
                    fault: clock.fault,
                    rung: clock.rung,
                    since: clock.since,
                    flapping,
                    present: here,
                });
            }
            here || clock.diverged || !clock.departures.is_empty()
        });
    }
}

impl Clock {
    fn start(now: Timestamp, fault: Fault, rung: Rung) -> Self {
        Self {
            since: now,
            ours_since: None,
            diverged: false,
            fault,
            rung,
            until: None,
            gone: None,
            departures: Vec::new(),
        }
    }

    fn times(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        let Self { since, ours_since, gone, departures, diverged: _, fault: _, rung: _, until: _ } = self;
        std::iter::once(since).chain(ours_since).chain(gone).chain(departures)
    }

    /// The whole second at which it will be over, told to last so long from now. An end that moves by a second or two is
    /// the same, counted down in whole seconds: what is said about it must stay the same too.
    fn lasting(&mut self, lasts: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
        let lasts = lasts.and_then(|lasts| SignedDuration::try_from(lasts).ok());
        let end = lasts.and_then(|lasts| now.checked_add(lasts).ok()?.round(jiff::Unit::Second).ok());
        let same = |(known, end): (Timestamp, Timestamp)| known.duration_since(end).abs() <= SAME_END;
        if !self.until.zip(end).is_some_and(same) {
            self.until = end;
        }
        self.until
    }

    /// One look at which the difference is there.
    fn tick(
        &mut self,
        fault: Fault,
        rung: Rung,
        control: &ControlPlane<'_>,
        compared: &Compared,
        about: &Circumstances<'_>,
        judgement: &mut Judgement,
    ) -> State {
        let now = about.now;
        if let Some(gone) = self.gone.take()
            && elapsed(gone, now) >= GOOD_AGAIN
        {
            // A new difference of the same name: only its history counts on.
            self.since = now;
            self.diverged = false;
        }
        (self.fault, self.rung) = (fault, rung);
        if fault == Fault::Switch {
            let first = *self.ours_since.get_or_insert(now);
            let queued = control.evidence.is_some_and(|evidence| evidence.managed.queued);
            let wait = if queued { LONGEST_QUEUE } else { SECOND_LOOK };
            if elapsed(first, now) >= wait {
                return self.depart(now);
            }
            judgement.wake(now, SECOND_LOOK);
        } else {
            self.ours_since = None;
            if elapsed(self.since, now) >= about.convergence {
                return self.due(compared, about, judgement);
            }
            judgement.wake(self.since, about.convergence);
        }
        if self.diverged { State::Diverged } else { State::Converging }
    }

    /// The deadline has passed: a fault, if the cluster still says so.
    fn due(&mut self, compared: &Compared, about: &Circumstances<'_>, judgement: &mut Judgement) -> State {
        if self.diverged {
            return State::Diverged;
        }
        let (mut open, mut unanswered) = (false, false);
        for service in &compared.vip.services {
            match about.fresh.get(service) {
                // What was said before the difference began was said about something else.
                Some(Freshness::Confirmed(at))
                    if *at >= self.since && elapsed(*at, about.now) < CONFIRMED =>
                {
                    continue;
                }
                Some(Freshness::Unanswered(at)) if elapsed(*at, about.now) < UNANSWERED => unanswered = true,
                _ => open = true,
            }
            judgement.to_confirm.insert(service.clone());
        }
        if open || unanswered {
            judgement.wake(about.now, ASK_AGAIN);
        }
        if unanswered {
            self.rung = Rung::ExpectationStale;
            return State::Unknown;
        }
        if open {
            return State::Converging;
        }
        self.depart(about.now)
    }

    fn depart(&mut self, now: Timestamp) -> State {
        if !self.diverged {
            self.diverged = true;
            self.departures.retain(|at| elapsed(*at, now) < FLAP_WINDOW);
            self.departures.push(now);
        }
        State::Diverged
    }
}

impl Judgement {
    /// Look again `wait` after `from` at the latest.
    fn wake(&mut self, from: Timestamp, wait: Duration) {
        let at = from
            .saturating_add(SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX))
            .unwrap_or(Timestamp::MAX);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

fn before(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_sub(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MIN)
}

/// Never negative.
fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// What `verify` says: it cannot wait, so whatever still differs at the second look is a fault.
pub fn without_patience(vips: &mut [VipVerdict]) {
    for vip in vips {
        for difference in &mut vip.differences {
            difference.state = State::Diverged;
        }
        if !vip.differences.is_empty() {
            vip.state = State::Diverged;
        }
    }
}
