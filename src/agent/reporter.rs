//! The one task that writes to the API server.
//!
//! It gets what should be said and what the Node was last seen to say; it writes on a difference at once, and otherwise
//! a heartbeat. A server that does not answer holds up only this task.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::OwnNode;
use crate::cluster::chain;
use crate::cluster::report::{NodeReport, ReportError, Writer, seconds};
use crate::net::{Backoff, spread};
use crate::telemetry::Counters;

#[cfg(test)]
mod tests;

/// Every write of a Node goes to everybody who watches Nodes, so rarely; jitter only lengthens.
const HEARTBEAT: Duration = Duration::from_secs(300);
const HEARTBEAT_JITTER: Duration = Duration::from_secs(60);
/// A write is seen in the watch a moment later; until then the old Node is no reason to write again.
const ECHO: Duration = Duration::from_secs(5);
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// What is to be said after a pass.
#[derive(Debug, Clone, Default)]
pub struct ToSay {
    /// To the Node; `None` before anything is known.
    pub node: Option<NodeReport>,
    /// The Node as the watch shows it.
    pub observed: Option<OwnNode>,
    /// To the Switch, with its UID.
    pub switch: Option<(String, Value)>,
}

/// Writes until the channel closes. `seed` spreads the heartbeats of many switches.
pub async fn run(writer: Writer, mut what: watch::Receiver<Arc<ToSay>>, counters: Counters, seed: u64) {
    let mut state = Sent { seed, heartbeat_at: Some(Instant::now() + HEARTBEAT), ..Sent::default() };
    loop {
        let say = Arc::clone(&what.borrow_and_update());
        let now = Instant::now();
        let wake = match state.due(&say, now) {
            Due::Now => {
                state.write(&writer, &say, &counters).await;
                state.wake()
            }
            Due::At(at) => at,
        };
        tokio::select! {
            changed = what.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

enum Due {
    Now,
    At(Instant),
}

#[derive(Default)]
struct Sent {
    node: Option<(String, NodeReport)>,
    switch: Option<(String, Value)>,
    /// The Switch's heartbeat, likewise.
    switch_beat_at: Option<Instant>,
    written_at: Option<Instant>,
    heartbeat_at: Option<Instant>,
    not_before: Option<Instant>,
    attempts: u32,
    seed: u64,
}

impl Sent {
    fn due(&self, say: &ToSay, now: Instant) -> Due {
        if let Some(at) = self.not_before.filter(|at| *at > now) {
            return Due::At(at);
        }
        let node_news = match (&say.node, &say.observed) {
            (Some(report), Some(observed)) => {
                let sent =
                    self.node.as_ref().is_some_and(|(uid, sent)| *uid == observed.uid && sent == report);
                let echoed = self.written_at.is_none_or(|at| now >= at + ECHO);
                // A restarted agent finds its words on the Node already.
                if sent {
                    echoed && !report.is_on(observed)
                } else {
                    self.node.is_some() || !report.is_on(observed)
                }
            }
            _ => false,
        };
        if node_news || (say.switch.is_some() && say.switch != self.switch) {
            return Due::Now;
        }
        let heartbeat = self.heartbeat_at.unwrap_or(now + HEARTBEAT);
        let beat = self.switch_beat_at.filter(|_| say.switch.is_some());
        let heartbeat = beat.map_or(heartbeat, |at| at.min(heartbeat));
        if heartbeat <= now { Due::Now } else { Due::At(heartbeat.min(now + ECHO.max(self.echo_left(now)))) }
    }

    /// After a write the Node is looked at once more; otherwise only the heartbeat wakes.
    fn echo_left(&self, now: Instant) -> Duration {
        match self.written_at {
            Some(at) if at + ECHO > now => at + ECHO - now,
            _ => HEARTBEAT,
        }
    }

    fn wake(&self) -> Instant {
        self.not_before.unwrap_or_else(|| Instant::now() + ECHO)
    }

    async fn write(&mut self, writer: &Writer, say: &ToSay, counters: &Counters) {
        let mut failed = false;
        if let (Some(report), Some(observed)) = (&say.node, &say.observed)
            // What is withdrawn needs no heartbeat.
            && !(report.conditions.is_empty() && report.is_on(observed))
        {
            let result = writer.node(observed, report, Timestamp::now()).await;
            counters.wrote("Node", result.is_ok());
            match result {
                Ok(()) => self.node = Some((observed.uid.clone(), report.clone())),
                Err(error) => failed |= self.complain(&error),
            }
        }
        // What is due a little later anyway goes along: one burst in five minutes, not two.
        let soon = Instant::now() + HEARTBEAT_JITTER;
        if let Some((uid, status)) = &say.switch
            && (self.switch.as_ref() != Some(&(uid.clone(), status.clone()))
                || self.switch_beat_at.is_none_or(|at| at <= soon))
        {
            let mut beating = status.clone();
            beating["heartbeat"] = json!(seconds(Timestamp::now()));
            let result = writer.switch(&beating).await;
            counters.wrote("Switch", result.is_ok());
            match result {
                Ok(()) => {
                    self.switch = Some((uid.clone(), status.clone()));
                    self.switch_beat_at = Some(Instant::now() + self.beat());
                }
                Err(error) => failed |= self.complain(&error),
            }
        }
        let now = Instant::now();
        if failed {
            self.not_before = Some(now + RETRY.wait(self.attempts, self.seed));
            self.attempts += 1;
        } else {
            self.attempts = 0;
            self.not_before = None;
            self.written_at = Some(now);
            self.heartbeat_at = Some(now + self.beat());
        }
    }

    fn complain(&self, error: &ReportError) -> bool {
        if self.attempts == 0 {
            tracing::warn!(error = %chain(error), "the API server did not take the report; retrying");
        }
        true
    }

    fn beat(&self) -> Duration {
        HEARTBEAT + self.jitter(HEARTBEAT_JITTER)
    }

    fn jitter(&self, most: Duration) -> Duration {
        spread(most, self.seed, self.attempts)
    }
}
