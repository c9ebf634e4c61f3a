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
use crate::health::chronicle::Chronicle;
use crate::health::clock::{Clocks, Judge};

/// What every version of `confirmed.json` has.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    version: u32,
}

/// Files that survive a restart of the agent.
#[derive(Debug, Clone)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// The folder at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The clocks of an earlier life; none if they cannot be read, because a lost clock only delays an alarm.
    pub fn judge(&self) -> Judge {
        let clocks: Clocks = self.read("clocks.json").unwrap_or_default();
        Judge::resume(clocks)
    }

    /// What an earlier life confirmed, and what was in force lately. Without it nobody knows what is ours: an error is why
    /// nothing may be changed.
    pub fn confirmed(&self) -> Result<Confirmed, String> {
        let path = self.0.join("confirmed.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Confirmed::default()),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let torn = |error| format!("{} is not understood: {error}", path.display());
        let Head { version } = serde_json::from_slice(&bytes).map_err(torn)?;
        if version > VERSION {
            return Err(format!(
                "{} has version {version}, this release knows {VERSION}; a newer switchlet wrote it",
                path.display()
            ));
        }
        serde_json::from_slice(&bytes).map_err(torn)
    }

    /// How the changes of an earlier life ended; none if that cannot be read, because nothing depends on it.
    pub fn chronicle(&self) -> Chronicle {
        self.read("chronicle.json").unwrap_or_default()
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
        if let Err(why) = self.keep(name, value) {
            tracing::warn!(why, "not written");
        }
    }

    /// As [`Self::write`], for what a change depends on.
    pub(super) fn keep<T: serde::Serialize>(&self, name: &str, value: &T) -> Result<(), String> {
        let path = self.0.join(name);
        serde_json::to_vec(value)
            .map_err(std::io::Error::other)
            .and_then(|bytes| files::replace_private(&path, &bytes))
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Of the grammar of `confirmed.json`.
pub const VERSION: u32 = 1;

/// What is known about changes after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confirmed {
    /// Of the grammar; a file with a higher one is left alone.
    #[serde(default)]
    pub version: u32,
    /// The machine's memory.
    pub memory: Memory,
    /// What was in force lately.
    pub history: History,
    /// UID and generation of the Switch whose change is done.
    pub ready: Option<(String, i64)>,
}
