//! Validation beside the loop: one candidate at a time, in a task of its own, so that no look waits for it.
//!
//! An answer is remembered by the candidate's hash. A validator that gives none is asked again, later and later; until
//! then the candidate is neither good nor bad.
#![expect(clippy::disallowed_methods, reason = "the agent's clock")]

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::change::diff::{Candidate, Checked};
use crate::net::Backoff;
use crate::nos::{Validator, ValidatorError};

/// Candidates whose answers are kept: the wanted one, the one in force, and what a revert goes back to, each as rendered
/// and in canonical form; and some more for neighbours that come and go.
const MOST_KEPT: usize = 8;
const RETRY: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(120) };

/// What is known of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The NOS's own parser has read it.
    Checked(Checked),
    /// There is no parser here; why.
    Unavailable(String),
    /// It gave no answer in time and is asked again; why.
    Late(String),
    /// It is being asked.
    Pending,
}

/// Asks, waits and remembers.
#[derive(Default)]
pub struct Validation {
    known: Vec<(String, Result<Checked, String>)>,
    under_way: Option<UnderWay>,
    late: Option<Late>,
    /// What the last answer was given by; `None` before the first one.
    by: Option<&'static str>,
    said: String,
    seed: u64,
}

struct UnderWay {
    name: &'static str,
    hash: String,
    began: Instant,
    answer: oneshot::Receiver<Result<Checked, ValidatorError>>,
}

struct Late {
    hash: String,
    why: String,
    attempts: u32,
    again: Instant,
}

impl Validation {
    /// Nothing is known. `seed` spreads the retries of many switches.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// What is known of `candidate` now; starts asking if nothing is.
    pub fn ask<V: Validator>(&mut self, candidate: &Candidate, validator: impl FnOnce() -> V) -> Answer {
        let hash = candidate.hash();
        if let Some((_, known)) = self.known.iter().find(|(known, _)| *known == hash) {
            return match known {
                Ok(checked) => Answer::Checked(checked.clone()),
                Err(why) => Answer::Unavailable(why.clone()),
            };
        }
        let again = self.late.as_ref().filter(|late| late.hash == hash).map(|late| late.again);
        if self.under_way.as_ref().is_none_or(|under_way| under_way.hash != hash)
            && again.is_none_or(|again| Instant::now() >= again)
        {
            self.start(hash.clone(), candidate.clone(), validator());
        }
        match &self.late {
            Some(late) if late.hash == hash => Answer::Late(late.why.clone()),
            _ => Answer::Pending,
        }
    }

    /// True if `candidate` has been read before, or cannot be.
    pub fn knows(&self, candidate: &Candidate) -> bool {
        let hash = candidate.hash();
        self.known.iter().any(|(known, _)| *known == hash)
    }

    /// The answer for another spelling of the same text.
    pub fn knows_too(&mut self, candidate: &Candidate, checked: Checked) {
        if !self.knows(candidate) {
            self.known.truncate(MOST_KEPT - 1);
            self.known.insert(0, (candidate.hash(), Ok(checked)));
        }
    }

    fn start<V: Validator>(&mut self, hash: String, candidate: Candidate, validator: V) {
        let (tell, answer) = oneshot::channel();
        let began = Instant::now();
        // Replacing what is under way ends it: nobody waits for its answer any more.
        self.under_way = Some(UnderWay { name: V::NAME, hash, began, answer });
        tokio::spawn(async move {
            let mut tell = tell;
            tokio::select! {
                checked = validator.check(&candidate) => drop(tell.send(checked)),
                () = tell.closed() => {}
            }
        });
    }

    /// Waits for the answer to what is being asked; for ever if nothing is. May be abandoned.
    pub async fn answered(&mut self) {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        let answer = (&mut under_way.answer).await;
        let answer =
            answer.unwrap_or_else(|_| Err(ValidatorError::Failed("the validator is gone".to_owned())));
        let Some(UnderWay { name, hash, began, .. }) = self.under_way.take() else { return };
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let known = match answer {
            Ok(checked) => {
                tracing::info!(
                    millis,
                    complaints = checked.complaints.len(),
                    by = name,
                    "validated by the NOS's own parser"
                );
                self.by = Some(name);
                Ok(checked)
            }
            Err(ValidatorError::Unavailable(why)) => {
                if self.said != why {
                    tracing::warn!("no validator, only our own rules: {why}");
                    self.said.clone_from(&why);
                }
                self.by = Some("rules");
                Err(why)
            }
            Err(ValidatorError::Failed(why)) => {
                let attempts = match &self.late {
                    Some(late) if late.hash == hash => late.attempts + 1,
                    _ => 0,
                };
                let wait = RETRY.wait(attempts, self.seed);
                let again = Instant::now() + wait;
                tracing::warn!("{why}; asked again in {} s", wait.as_secs());
                self.late = Some(Late { hash, why, attempts, again });
                return;
            }
        };
        self.late = None;
        self.known.truncate(MOST_KEPT - 1);
        self.known.insert(0, (hash, known));
    }

    /// When a validator that was late is asked again.
    pub fn wakes(&self) -> Option<Instant> {
        self.late.as_ref().filter(|_| self.under_way.is_none()).map(|late| late.again)
    }

    /// `frr`, `srlinux` or `rules`, for the capabilities.
    pub fn by(&self) -> &'static str {
        self.by.unwrap_or("rules")
    }
}
