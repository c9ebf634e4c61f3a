//! What is worth an Event: transitions, told once.
//!
//! Conditions say how things are, Events that they changed. So nothing is told twice, nothing is told because an agent was
//! started, and work under way is no news. Each Event goes to the object whose owner it concerns: the Node for the switch,
//! the Service for its address.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::cluster::report::Stamped;
use crate::health::condition::{CONFIG_APPLIED, Condition, FIB_SYNCED, Reason, Status};
use crate::health::{State, VipVerdict};
use crate::intent::snapshot::{Issue, ObjectName};
use crate::net::Prefix;

#[cfg(test)]
mod tests;

/// Services told of after one pass, at most: a switch that loses all of its uplinks is one fault.
const MOST_SERVICES: usize = 20;

/// An Event before it has a UID and a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Whom it concerns.
    pub about: About,
    /// Good or bad.
    pub kind: Kind,
    /// CamelCase, from the closed list of reasons and rungs.
    pub reason: String,
    /// What the agent was doing, CamelCase.
    pub action: &'static str,
    /// For people.
    pub note: String,
    /// When it happened.
    pub at: Timestamp,
}

/// The object that an Event belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// This switch.
    Node,
    /// A Service whose address it forwards.
    Service(ObjectName),
}

/// `type` of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Remembers what was told.
#[derive(Debug, Default)]
pub struct Teller {
    diverged: BTreeSet<Prefix>,
    issues: BTreeSet<Issue>,
    /// A verdict was seen: what stands since before is no news.
    began: bool,
}

impl Teller {
    /// News of the conditions: `before` is what was said until now, also by an earlier life of the agent.
    pub fn conditions(
        before: &BTreeMap<&'static str, Stamped>,
        now: &BTreeMap<&'static str, Stamped>,
        at: Timestamp,
    ) -> Vec<News> {
        now.iter()
            .filter(|(kind, stamped)| is_news(kind, before.get(*kind), &stamped.condition))
            .map(|(kind, stamped)| {
                let Condition { status, reason, message } = &stamped.condition;
                News {
                    about: About::Node,
                    kind: if *status == Status::True { Kind::Normal } else { Kind::Warning },
                    reason: format!("{reason:?}"),
                    action: if *kind == CONFIG_APPLIED { "Configure" } else { "Verify" },
                    note: message.clone(),
                    at,
                }
            })
            .collect()
    }

    /// News of the VIPs, to their Services. `stood` says that an earlier life of the agent spoke of a fault already.
    pub fn vips(&mut self, switch: &str, vips: &[VipVerdict], stood: bool, at: Timestamp) -> Vec<News> {
        let mut news = Vec::new();
        let silent = !self.began && stood;
        self.began = true;
        let mut diverged = BTreeSet::new();
        for vip in vips {
            let was = self.diverged.contains(&vip.prefix);
            // Time to converge does not end a fault.
            let is = vip.state == State::Diverged || (was && vip.state != State::Ok);
            if is {
                diverged.insert(vip.prefix);
            }
            if is == was || silent {
                continue;
            }
            let (kind, reason) = match (is, vip.rung) {
                (true, Some(rung)) => (Kind::Warning, format!("{rung:?}")),
                (true, None) => (Kind::Warning, "Diverged".to_owned()),
                (false, _) => (Kind::Normal, format!("{:?}", Reason::InSync)),
            };
            for service in vip.services.iter().take(MOST_SERVICES.saturating_sub(news.len())) {
                news.push(News {
                    about: About::Service(service.clone()),
                    kind,
                    reason: reason.clone(),
                    action: "Verify",
                    note: format!("{switch}: {}: {}", vip.prefix, vip.message),
                    at,
                });
            }
        }
        self.diverged = diverged;
        news
    }

    /// Inputs that are skipped from now on: on the Node, where the one who mends the switch looks. An address that is not
    /// ours is no mistake.
    pub fn issues(&mut self, issues: &[Issue], at: Timestamp) -> Vec<News> {
        let now: BTreeSet<Issue> = issues.iter().filter(|issue| issue.reason != "NotOurs").cloned().collect();
        let fresh: Vec<News> = now
            .difference(&self.issues)
            .take(MOST_SERVICES)
            .map(|Issue { object, reason, message }| News {
                about: About::Node,
                kind: Kind::Warning,
                reason: (*reason).to_owned(),
                action: "Read",
                note: format!("{object}: {message}"),
                at,
            })
            .collect();
        self.issues = now;
        fresh
    }
}

fn is_news(kind: &str, before: Option<&Stamped>, now: &Condition) -> bool {
    if matches!(now.reason, Reason::Starting | Reason::InProgress | Reason::AwaitingSlot | Reason::Converging)
    {
        return false;
    }
    let Some(Stamped { condition: before, since: _ }) = before else {
        return now.status != Status::True || kind != FIB_SYNCED;
    };
    // Another mistake in the same file is news; another VIP that fails for the same reason is its Service's.
    (before.status, before.reason) != (now.status, now.reason)
        || (kind == CONFIG_APPLIED && before.message != now.message)
}
