//! Drift: running has left the confirmed text, and nobody asked for it.
//!
//! It is put back, unless the Switch wants it only reported. Two things are waited for, so that an agent is no adversary: a
//! person who has the switch's configuration open gets five minutes, counted from when the drift was first seen; and in a
//! tug-of-war with another program each round takes longer. Neither waits for ever. What was found is kept to be shown after
//! it was put back: on-call looks in the morning.

use std::time::{Duration, Instant};

use super::DriftPolicy;

#[cfg(test)]
mod tests;

/// A person who has the configuration open gets so long.
pub const COURTESY: Duration = Duration::from_secs(300);
/// What was put back longer ago does not count as the same tug-of-war.
const ROUND: Duration = Duration::from_secs(3600);
/// Put back so often at once, then later and later.
const AT_ONCE: usize = 3;
const FIRST_GAP: Duration = Duration::from_secs(60);
const LONGEST_GAP: Duration = Duration::from_secs(900);

/// A place where running is not what was confirmed. At least one of the two texts is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The blocks around it, outermost first, as `router bgp 65001 / address-family ipv4 unicast`; empty outside of any.
    pub path: String,
    /// What was confirmed.
    pub wanted: Option<String>,
    /// What runs.
    pub found: Option<String>,
}

/// Drift that was seen, the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Where running differed.
    pub departures: Vec<Departure>,
    /// What became of it.
    pub fate: Fate,
}

/// What becomes of drift.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is put back, or was.
    PutBack,
    /// The Switch wants it only reported.
    Reported,
    /// It will be put back when this time has passed.
    Later {
        /// When.
        at: Instant,
        /// What is waited for.
        why: Patience,
    },
}

/// What putting back waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patience {
    /// Somebody has the configuration open; who.
    Person(String),
    /// It was put back so often within an hour.
    TugOfWar(usize),
}

impl std::fmt::Display for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Person(who) => write!(f, "{who} has the configuration open"),
            Self::TugOfWar(times) => write!(f, "put back {times} times within an hour, and changed again"),
        }
    }
}

/// What is remembered of drift, for the life of the agent.
#[derive(Debug, Default)]
pub struct Memory {
    /// Since when running has differed without a break.
    since: Option<Instant>,
    /// When it was put back, within the last hour.
    rounds: Vec<Instant>,
    last: Option<Drift>,
    count: u64,
}

impl Memory {
    /// How often running was found changed by somebody else.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last drift.
    pub fn last(&self) -> Option<&Drift> {
        self.last.as_ref()
    }

    /// Running is the confirmed text.
    pub fn gone(&mut self) {
        self.since = None;
        if let Some(last) = &mut self.last
            && matches!(last.fate, Fate::Later { .. } | Fate::Reported)
        {
            // Somebody else has put it back.
            self.last = None;
        }
    }

    /// Running differs in `departures`; `editor` is a person who has the configuration open, if one was seen.
    pub fn seen(
        &mut self,
        departures: Vec<Departure>,
        policy: DriftPolicy,
        editor: Option<String>,
        now: Instant,
    ) -> Fate {
        let since = *self.since.get_or_insert_with(|| {
            self.count += 1;
            now
        });
        self.rounds.retain(|at| now.duration_since(*at) < ROUND);
        let person = editor.map(|who| (since + COURTESY, Patience::Person(who)));
        let late = u32::try_from(self.rounds.len().saturating_sub(AT_ONCE)).unwrap_or(u32::MAX);
        let gap = FIRST_GAP.saturating_mul(1_u32.checked_shl(late).unwrap_or(u32::MAX)).min(LONGEST_GAP);
        let war = self.rounds.last().filter(|_| self.rounds.len() >= AT_ONCE);
        let war = war.map(|last| (*last + gap, Patience::TugOfWar(self.rounds.len())));
        let wait = [person, war].into_iter().flatten().filter(|(at, _)| *at > now).max_by_key(|(at, _)| *at);
        let fate = match (policy, wait) {
            (DriftPolicy::Report, _) => Fate::Reported,
            (DriftPolicy::Revert, Some((at, why))) => Fate::Later { at, why },
            (DriftPolicy::Revert, None) => {
                self.rounds.push(now);
                Fate::PutBack
            }
        };
        self.last = Some(Drift { departures, fate: fate.clone() });
        fate
    }
}
