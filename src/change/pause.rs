//! A pause: somebody at the switch has said that nothing may be written for a while.
//!
//! `switchlet pause` writes the file, the agent obeys it; neither API server nor Git is asked. A pause always ends by itself:
//! at `until` by the wall clock (UTC), or as soon as the agent has itself seen it last for as long as it was meant to, by a
//! clock that does not jump; whichever comes first. So a clock that is set back cannot make a pause longer, and one that is
//! over does not come back. A file that is not understood is a pause without an end, because whoever wrote it wanted
//! something; it is said, with the file's name, until the file is taken away.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// The file beneath `--state-dir`.
pub const FILE: &str = "pause.json";
/// No pause is longer, whatever its file says.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest reason, characters; so that the condition's message has room for what is paused.
pub const LONGEST_REASON: usize = 200;
/// Longest name of a user that is shown, characters. Linux allows 32.
const LONGEST_USER: usize = 64;
/// No file of ours is longer.
pub const LONGEST_FILE: u64 = 4096;

/// Who has paused this switch, until when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Number of the user.
    pub uid: u32,
    /// The user's name, if there is one.
    pub user: Option<String>,
    /// When it began.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Why; one line.
    pub reason: String,
}

/// Why a pause is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not JSON, not whole, or with other fields.
    #[error("{0}")]
    NotOurs(String),
    /// The end is not after the beginning.
    #[error("until is not after since")]
    NoLength,
    /// The reason is no line of text.
    #[error("the reason is {0} (expected one line of 1 to {LONGEST_REASON} characters)")]
    Reason(&'static str),
    /// The user's name is no name.
    #[error("user is not a name (expected one line of 1 to {LONGEST_USER} characters)")]
    User,
    /// The length is not allowed.
    #[error("`{0}` is out of range (expected more than nothing and at most 168h, that is 7 days)")]
    Length(String),
}

/// A reason as it may be shown: one line, not empty, not too long, without control characters.
pub fn reason(text: &str) -> Result<String, Unfit> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Unfit::Reason("empty"));
    }
    if text.chars().count() > LONGEST_REASON {
        return Err(Unfit::Reason("too long"));
    }
    if text.chars().any(char::is_control) {
        return Err(Unfit::Reason("not one line, or has control characters"));
    }
    Ok(text.to_owned())
}

/// A length that a pause may have. `text` is how it was written.
pub fn length(length: Duration, text: &str) -> Result<Duration, Unfit> {
    if length.is_zero() || length > LONGEST { Err(Unfit::Length(text.to_owned())) } else { Ok(length) }
}

impl Pause {
    /// What a file says.
    pub fn parse(text: &[u8]) -> Result<Self, Unfit> {
        let pause: Self = serde_json::from_slice(text)
            .map_err(|error| Unfit::NotOurs(format!("not understood: {error}")))?;
        reason(&pause.reason)?;
        let fits = |user: &String| {
            !user.is_empty() && user.chars().count() <= LONGEST_USER && !user.chars().any(char::is_control)
        };
        if pause.user.as_ref().is_some_and(|user| !fits(user)) {
            return Err(Unfit::User);
        }
        if pause.until <= pause.since {
            return Err(Unfit::NoLength);
        }
        Ok(pause)
    }

    /// When it ends by the wall clock; never later than [`LONGEST`] after its beginning.
    pub fn ends(&self) -> Timestamp {
        self.since.saturating_add(self.length()).unwrap_or(self.until)
    }

    /// How long it was meant to last, cut to what is allowed.
    fn length(&self) -> SignedDuration {
        let longest = SignedDuration::try_from(LONGEST).unwrap_or(SignedDuration::MAX);
        self.until.duration_since(self.since).min(longest)
    }

    /// Whoever began it.
    pub fn who(&self) -> String {
        self.user.clone().unwrap_or_else(|| format!("uid {}", self.uid))
    }

    /// `Paused by root until 14:00Z: reason`; with the day where that is another one.
    pub fn words(&self) -> String {
        let ends = self.ends();
        let day =
            if ends.strftime("%F").to_string() == self.since.strftime("%F").to_string() { "" } else { "%FT" };
        let seconds = if ends.as_second() % 60 == 0 { "" } else { ":%S" };
        let ends = ends.strftime(&format!("{day}%H:%M{seconds}Z")).to_string();
        format!("Paused by {} until {ends}: {}", self.who(), self.reason)
    }
}

/// What lies at the file's place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Found {
    /// Nothing.
    #[default]
    Absent,
    /// A pause.
    Pause(Pause),
    /// Something else, or it cannot be read; why, with the file's name.
    Unclear(String),
}

/// Whether writing is forbidden now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// No.
    #[default]
    Free,
    /// Yes.
    Paused(Pause),
    /// Yes, because nobody knows what the file means; why, with the file's name.
    Unclear(String),
}

impl Standing {
    /// For people; `None` where nothing is paused.
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Free => None,
            Self::Paused(pause) => Some(pause.words()),
            Self::Unclear(why) => {
                Some(format!("Paused without an end: {why}; `switchlet pause --end` takes the file away"))
            }
        }
    }
}

/// Follows the file through time.
#[derive(Debug, Default)]
pub struct Pauses {
    found: Found,
    /// When the agent first saw this very pause.
    seen: Option<Instant>,
    /// This very pause has ended. It stays so, whatever the wall clock says later.
    over: bool,
}

impl Pauses {
    /// Takes over what lies there now.
    pub fn found(&mut self, found: Found, now: Instant) {
        if found != self.found {
            *self = Self { found, seen: Some(now), over: false };
        }
    }

    /// How things stand. `wall` is the wall clock, `now` one that does not jump.
    pub fn standing(&mut self, wall: Timestamp, now: Instant) -> Standing {
        if self.left(wall, now).is_some_and(|left| left.is_zero()) {
            self.over = true;
        }
        match &self.found {
            Found::Absent => Standing::Free,
            Found::Pause(_) if self.over => Standing::Free,
            Found::Pause(pause) => Standing::Paused(pause.clone()),
            Found::Unclear(why) => Standing::Unclear(why.clone()),
        }
    }

    /// How long the pause will go on; `None` without one, or without an end.
    pub fn left(&self, wall: Timestamp, now: Instant) -> Option<Duration> {
        let Found::Pause(pause) = &self.found else { return None };
        if self.over {
            return None;
        }
        let lasted = self.seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
        let by_ours = Duration::try_from(pause.length()).unwrap_or_default().saturating_sub(lasted);
        let by_wall = Duration::try_from(pause.ends().duration_since(wall)).unwrap_or_default();
        Some(by_ours.min(by_wall))
    }
}
