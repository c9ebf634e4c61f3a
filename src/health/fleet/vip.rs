//! One Service address, as all switches tell of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::{Said, VipSeen};
use crate::health::State;
use crate::net::Prefix;

/// What one switch says about a Service address.
pub(super) fn view(said: &Said, found: Option<&VipSeen>) -> View {
    let Some(vip) = found else {
        let what = if said.omitted_vips > 0 { What::NotListed } else { What::NotKnown };
        return View { what, why: None, hops: Vec::new() };
    };
    let what = match vip.state {
        State::Ok if vip.expected.is_empty() => What::Absent,
        State::Ok => What::Forwards,
        State::Unknown => What::Unknown,
        State::Converging => What::Converging,
        State::Diverged => What::Diverged,
    };
    let message = Some(vip.message.clone()).filter(|message| !message.is_empty());
    let why = match (&vip.rung, message) {
        (_, None) | (None, _) if matches!(what, What::Forwards) => None,
        (Some(rung), Some(message)) if !matches!(what, What::Forwards | What::Absent) => {
            Some(format!("{rung}: {message}"))
        }
        (Some(rung), _) => Some(rung.clone()),
        (None, message) => message,
    };
    View { what, why, hops: vip.observed.clone() }
}

/// What a switch does with a Service address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It forwards to exactly the expected next-hops.
    Forwards,
    /// It has no route, and shall have none.
    Absent,
    /// It differs, for no longer than is lawful.
    Converging,
    /// It differs for longer.
    Diverged,
    /// It could not look.
    Unknown,
    /// The list of the switch is cut, and this address is not among the worst: healthy, as far as it says.
    NotListed,
    /// Its list is whole, and does not have this address: nothing is expected there, and there is no route.
    NotKnown,
    /// Its word is too old.
    Stale,
}

impl What {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Forwards => "forwards",
            Self::Absent => "absent, as it shall be",
            Self::Converging => "converging",
            Self::Diverged => "diverged",
            Self::Unknown => "could not look",
            Self::NotListed => "not listed",
            Self::NotKnown => "does not know it",
            Self::Stale => "stale",
        }
    }
}

/// What one switch says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    /// In one word.
    pub what: What,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Next-hops that it forwards to.
    pub hops: Vec<String>,
}

/// One Service address on all switches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VipRow {
    /// The address.
    pub prefix: Prefix,
    /// Who owns it.
    pub services: Vec<String>,
    /// By switch.
    pub views: BTreeMap<String, View>,
}

impl VipRow {
    fn count(&self, what: &[What]) -> usize {
        self.views.values().filter(|view| what.contains(&view.what)).count()
    }

    /// Somebody was heard who says something of it, or whose list has it not because it is well.
    pub fn is_told(&self) -> bool {
        self.count(&[What::Stale, What::Unknown]) == 0 && !self.views.is_empty()
    }

    /// Switches that said something of it.
    fn told(&self) -> usize {
        self.views.len() - self.count(&[What::Stale, What::NotListed])
    }

    /// Some switch differs from what is expected of it.
    pub fn differs(&self) -> bool {
        self.count(&[What::Diverged, What::Converging]) > 0
    }

    /// Some forward, and others that were heard do not. That may be so on purpose: not every switch has every pool.
    pub fn is_uneven(&self) -> bool {
        let forwards = self.count(&[What::Forwards]);
        forwards > 0 && forwards < self.told()
    }

    pub(super) fn is_worth_seeing(&self) -> bool {
        self.differs() || self.is_uneven() || self.count(&[What::Unknown]) > 0
    }

    /// `203.0.113.10/32 (shop/web): via 3 of 4 switches; leaf4 disagrees: diverged, SessionDown: …`
    pub fn words(&self) -> String {
        let services =
            if self.services.is_empty() { String::new() } else { format!(" ({})", self.services.join(", ")) };
        let mut text = format!(
            "{}{services}: via {} of {} switches",
            self.prefix,
            self.count(&[What::Forwards]),
            self.views.len()
        );
        for (name, View { what, why, .. }) in &self.views {
            let why = why.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
            match what {
                What::Forwards => {}
                What::Diverged | What::Converging => {
                    let _ = write!(text, "; {name} disagrees: {}{why}", what.words());
                }
                _ => {
                    let _ = write!(text, "; {name}: {}{why}", what.words());
                }
            }
        }
        text
    }
}
