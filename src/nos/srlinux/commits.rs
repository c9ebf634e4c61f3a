//! The switch's commits: which one waits for its confirmation, and whether it is ours.
#![expect(clippy::disallowed_methods, reason = "shell: files")]

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ANSWER, SrlinuxDriver, error, member};
use crate::files;
use crate::nos::NosError;

/// What must outlive us about a commit under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// The newest commit before ours.
    pub(super) after: u64,
    /// Ours, once it is known.
    pub(super) id: Option<u64>,
    /// What was sent, until then.
    #[serde(default)]
    pub(super) commands: Vec<Value>,
}

/// A commit that waits for its confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unconfirmed {
    pub(super) id: u64,
    pub(super) who: String,
}

impl SrlinuxDriver {
    pub(super) fn recorded(&self) -> Option<Pending> {
        serde_json::from_slice(&std::fs::read(&self.memo).ok()?).ok()
    }

    pub(super) fn record(&self, pending: &Pending) -> Result<(), NosError> {
        let failed = |source| NosError::Unreachable {
            what: format!("{} cannot be written", self.memo.display()),
            source,
        };
        let bytes = serde_json::to_vec(pending).map_err(|error| failed(error.into()))?;
        files::replace_private(&self.memo, &bytes).map_err(failed)
    }

    pub(super) fn forget(&self) {
        // Left behind it would only name a commit that is settled.
        drop(files::remove(&self.memo));
    }

    async fn all_commits(&self) -> Result<Vec<Value>, NosError> {
        let path = "/system/configuration/commit[id=*]".to_owned();
        let answers: Vec<Value> = self.server.get("state", [path], ANSWER).await.map_err(error)?;
        let list = answers.into_iter().next().unwrap_or_default();
        Ok(member(&list, "commit").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// The newest commit, and the one that is not confirmed.
    pub(super) async fn commits(&self) -> Result<(u64, Option<Unconfirmed>), NosError> {
        let list = self.all_commits().await?;
        let newest = list.iter().filter_map(id).max().unwrap_or(0);
        let pending = list
            .iter()
            .filter(|commit| commit.get("status").and_then(Value::as_str) == Some("unconfirmed"))
            .find_map(|commit| {
                let word = |name: &str| commit.get(name).and_then(Value::as_str);
                let who = ["username", "user", "name", "session-type"].into_iter().find_map(word);
                Some(Unconfirmed { id: id(commit)?, who: who.unwrap_or("somebody").to_owned() })
            });
        Ok((newest, pending))
    }

    pub(super) async fn is_ours(&self, pending: &Unconfirmed) -> Result<bool, NosError> {
        match self.recorded() {
            None => Ok(false),
            Some(Pending { id: Some(id), .. }) => Ok(id == pending.id),
            Some(Pending { after, id: None, commands }) => {
                Ok(pending.id > after && self.changes_nothing(&commands).await?)
            }
        }
    }

    /// Whether the switch has accepted a commit for good.
    pub(super) async fn stands(&self, commit: u64) -> Result<bool, NosError> {
        let list = self.all_commits().await?;
        let found = list.iter().find(|one| id(one) == Some(commit));
        Ok(found.is_some_and(|one| one.get("status").and_then(Value::as_str) == Some("complete")))
    }
}

fn id(commit: &Value) -> Option<u64> {
    let id = commit.get("id")?;
    id.as_u64().or_else(|| id.as_str()?.parse().ok())
}

pub(super) fn busy(pending: &Unconfirmed) -> NosError {
    NosError::Busy { who: format!("commit {} of {} is not confirmed yet", pending.id, pending.who) }
}
