//! Before and after: what forwards and who is connected, and whether a change has taken any of it away.
//!
//! A change is judged against what was there before it, never against what should be: a fix, or a revert, must be able to
//! pass while a worker is down. What a change adds is judged later, by conditions. What could not be looked at is neither
//! good nor bad; it keeps the change from passing, and that is all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::change::impact::Impact;
use crate::net::{NextHop, Prefix, Shared};

#[cfg(test)]
mod tests;

/// FRR tells the time of a session in whole seconds, and we count from when we asked.
const SAME_SESSION: Duration = Duration::from_secs(3);

/// One look at what a change might break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The forwarding table; why it could not be read.
    pub forwarding: Result<Forwarding, String>,
    /// The BGP sessions; why they could not be asked for.
    pub sessions: Result<BTreeMap<String, Established>, String>,
    /// Whether anything came back, by what was asked: `default gateway 192.0.2.1`, `API server 192.0.2.9:6443`.
    pub probes: BTreeMap<String, Answer>,
}

/// VIPs, each with the next-hops that are expected and those that forward.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding(pub BTreeMap<Prefix, Pairs>);

/// One VIP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pairs {
    /// Next-hops that are expected by the settings that are to be in force.
    pub expected: Shared<BTreeSet<NextHop>>,
    /// Next-hops that forward.
    pub observed: Shared<BTreeSet<NextHop>>,
}

/// A session that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Established {
    /// Since when, by our own clock.
    pub since: Instant,
    /// How often it went down since it was configured.
    pub dropped: u64,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Something: the path works, whatever it said.
    Came,
    /// Nothing.
    Silence,
}

/// Why a change has not passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that worked before, and is still wanted, works.
    Good,
    /// It may still come back.
    NotYet(Vec<String>),
    /// It has been interrupted, and no waiting makes that undone.
    Broken(Vec<String>),
    /// Nobody could look.
    Unseen(String),
}

/// Sets `after` against `before`, for a change of which `impact` was foretold.
pub fn judge(before: &Measured, after: &Measured, impact: &Impact) -> Verdict {
    let reset = match (&before.sessions, &after.sessions) {
        (Ok(before), Ok(after)) => sessions_lost(before, after, impact),
        // What was not seen before cannot be missed.
        (Err(_), _) => Lost::default(),
        (_, Err(why)) => return Verdict::Unseen(why.clone()),
    };
    let missing = match (&before.forwarding, &after.forwarding) {
        (Ok(before), Ok(after)) => pairs_lost(before, after),
        (Err(_), Ok(_)) => Vec::new(),
        (_, Err(why)) => return Verdict::Unseen(why.clone()),
    };
    let silent = before.probes.iter().filter(|(probe, answer)| {
        **answer == Answer::Came && after.probes.get(*probe) != Some(&Answer::Came)
    });
    let Lost { again, away } = reset;
    let waiting: Vec<String> = away
        .into_iter()
        .chain(missing)
        .chain(silent.map(|(probe, _)| format!("{probe} does not answer any more")))
        .collect();
    if !again.is_empty() {
        return Verdict::Broken(again.into_iter().chain(waiting).collect());
    }
    if waiting.is_empty() { Verdict::Good } else { Verdict::NotYet(waiting) }
}

/// What the way back has not brought back: sessions count as back whenever they are up again.
pub fn restored(before: &Measured, after: &Measured) -> Vec<String> {
    let up: BTreeSet<&String> = after.sessions.iter().flatten().map(|(peer, _)| peer).collect();
    let gone = before.sessions.iter().flatten().filter(|(peer, _)| !up.contains(peer));
    let sessions = gone.map(|(peer, _)| format!("session with {peer} is down"));
    let pairs = match (&before.forwarding, &after.forwarding) {
        (Ok(before), Ok(after)) => pairs_lost(before, after),
        _ => Vec::new(),
    };
    sessions.chain(pairs).collect()
}

#[derive(Default)]
struct Lost {
    /// Up, but not the session that it was.
    again: Vec<String>,
    /// Not up.
    away: Vec<String>,
}

fn sessions_lost(
    before: &BTreeMap<String, Established>,
    after: &BTreeMap<String, Established>,
    impact: &Impact,
) -> Lost {
    let mut lost = Lost::default();
    for (peer, old) in before.iter().filter(|(peer, _)| !impact.names(peer)) {
        match after.get(peer) {
            None => lost.away.push(format!("session with {peer} went down")),
            Some(new) => {
                let apart = new.since.max(old.since) - new.since.min(old.since);
                if new.dropped != old.dropped || apart > SAME_SESSION {
                    lost.again.push(format!("session with {peer} was reset"));
                }
            }
        }
    }
    lost
}

/// Pairs that were live before, are still expected, and are not live.
fn pairs_lost(before: &Forwarding, after: &Forwarding) -> Vec<String> {
    let both = before.0.iter().filter_map(|(prefix, old)| Some((prefix, old, after.0.get(prefix)?)));
    both.flat_map(|(prefix, old, new)| {
        let gone = old.live().filter(|hop| new.expected.contains(hop) && !new.observed.contains(hop));
        gone.map(move |hop| format!("{prefix} lost next-hop {hop}"))
    })
    .collect()
}

impl Pairs {
    fn live(&self) -> impl Iterator<Item = &NextHop> {
        self.observed.iter().filter(|hop| self.expected.contains(hop))
    }
}
