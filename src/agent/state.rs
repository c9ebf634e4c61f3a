//! What the agent writes down for its next life.
//!
//! Every file is replaced whole and readable by its owner only. A file that is not understood is as good as none: the agent
//! starts without, and says so.
#![expect(clippy::disallowed_methods, reason = "shell: files")]

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::desired::Remembered;
use crate::change::Memory;
use crate::change::consent::History;
use crate::files;
use crate::health::clock::{Clocks, Judge};

/// Files that survive a restart of the agent.
#[derive(Debug, Clone)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// The folder at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The clocks of an earlier life; none if they cannot be read, because a lost clock only delays an alarm.
    pub fn judge(&self) -> Judge {
        let clocks: Clocks = self.read("clocks.json").unwrap_or_default();
        Judge::resume(clocks)
    }

    /// What an earlier life confirmed, and what was in force lately.
    pub fn confirmed(&self) -> Confirmed {
        self.read("confirmed.json").unwrap_or_default()
    }

    /// The bundle in force and its neighbours.
    pub fn remembered(&self) -> Remembered {
        self.read("bundle.json").unwrap_or_default()
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.0.join(name);
        let bytes = std::fs::read(&path).ok()?;
        serde_json::from_slice(&bytes)
            .inspect_err(
                |error| tracing::warn!(path = %path.display(), %error, "not understood; starting without"),
            )
            .ok()
    }

    pub(super) fn write<T: serde::Serialize>(&self, name: &str, value: &T) {
        let path = self.0.join(name);
        let written = serde_json::to_vec(value)
            .map_err(std::io::Error::other)
            .and_then(|bytes| files::replace_private(&path, &bytes));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "not written");
        }
    }
}

/// What is known about changes after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confirmed {
    /// The machine's memory.
    pub memory: Memory,
    /// What was in force lately.
    pub history: History,
    /// UID and generation of the Switch whose change is done.
    pub ready: Option<(String, i64)>,
}
