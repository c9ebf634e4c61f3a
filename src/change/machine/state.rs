//! Where a change stands, and what it carries along.

use std::time::{Duration, Instant};

use super::WAY_BACK;
use crate::change::diff::{Journal, Plan, Running};
use crate::change::impact::Impact;
use crate::change::look::Measured;
use crate::change::{Failure, Target, Undo};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    /// An earlier life left a change unsettled.
    Recovering {
        undo: Undo,
        not_before: Option<Instant>,
    },
    Reading,
    /// Over the budget, unless the sessions in question are down already.
    Weighing {
        plan: Plan,
        running: Running,
    },
    /// Running left the confirmed text: is somebody at it?
    Suspecting {
        plan: Plan,
        running: Running,
        target: Target,
    },
    /// Nothing but the rollout slot is missing.
    Queueing {
        plan: Plan,
        running: Running,
    },
    Measuring {
        plan: Plan,
        flight: Box<Flight>,
    },
    Arming {
        plan: Plan,
        flight: Box<Flight>,
    },
    Applying {
        plan: Plan,
        flight: Box<Flight>,
    },
    /// The text is read back, at once and again with every look.
    ReadingBack {
        flight: Box<Flight>,
        not_before: Option<Instant>,
    },
    /// The text is as it should be; nothing is lost yet.
    Looking {
        flight: Box<Flight>,
    },
    Confirming {
        flight: Box<Flight>,
    },
    RollingBack {
        plan: Plan,
        flight: Box<Flight>,
        failure: Failure,
    },
    CheckingRollback {
        flight: Box<Flight>,
        failure: Failure,
        not_before: Option<Instant>,
    },
    RollbackFailed {
        plan: Plan,
        flight: Box<Flight>,
        failure: Failure,
        until: Instant,
    },
    /// The text is back; is what it did, too?
    LookingBack {
        flight: Box<Flight>,
        failure: Failure,
        not_before: Instant,
        until: Instant,
    },
    /// `journal` is what is set once the change is done; `None` where nothing was sent.
    Saving {
        target: Target,
        journal: Option<Journal>,
    },
    /// What is done is done: the way back goes.
    Settling {
        then: Settled,
        not_before: Option<Instant>,
    },
    Confirmed {
        until: Instant,
    },
    Waiting {
        until: Instant,
    },
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    /// It stands.
    Confirmed(Target),
    /// Nothing was sent.
    Untried,
    /// It is undone. With what was measured before it, what came back is looked at.
    Undone { flight: Box<Flight>, failure: Failure },
}

/// A change under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) target: Target,
    pub(super) retry: u64,
    pub(super) before: Running,
    pub(super) journal: Journal,
    pub(super) impact: Impact,
    /// What was there before it; absent where an earlier life knew it.
    pub(super) measured: Option<Measured>,
    pub(super) complaints: Vec<String>,
    /// Why nobody knows whether all of it arrived.
    pub(super) cut: Option<String>,
    /// Looks count from then on.
    pub(super) dwell_until: Instant,
    /// Undone if not confirmed by then.
    pub(super) until: Instant,
    /// Good looks in a row.
    pub(super) good: u8,
    /// Since when something has been lost, look by look.
    pub(super) lost_since: Option<Instant>,
    /// What the last look that was not good said, and whether it could look at all.
    pub(super) last: Option<Failure>,
}

impl Flight {
    /// How long from `now` until whoever holds the way back goes back by himself.
    pub(super) fn window(&self, now: Instant) -> Duration {
        self.until + WAY_BACK - now
    }
}
