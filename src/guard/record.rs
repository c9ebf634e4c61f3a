//! The way back from a change under way, on disk.
//!
//! One file, replaced whole, readable by its owner only: it holds the passwords that the way back needs. It is written
//! before the first command and removed when the change is settled, so whoever finds it after a crash knows what to do.
#![expect(clippy::disallowed_methods, reason = "shell: files and clocks")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::change::Undo;
use crate::files;

/// Of the file's grammar. A file with a higher one is not touched.
const VERSION: u32 = 1;
/// Its name in the state folder.
pub const FILE: &str = "change.json";

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Of the grammar.
    pub version: u32,
    /// Tells two changes apart.
    pub id: String,
    /// `/proc/sys/kernel/random/boot_id` of when it was written: after a reboot there is nothing to go back from.
    pub boot: String,
    /// How far it is.
    pub phase: Phase,
    /// Whether a guard has promised to watch.
    pub guarded: bool,
    /// `CLOCK_BOOTTIME` at which the guard goes back, ms.
    pub deadline: u64,
    /// Process id of the agent, as the agent sees it, and its start in clock ticks after boot (`/proc/PID/stat`, field 22).
    pub agent: (u32, u64),
    /// The way back.
    pub undo: Undo,
    /// Values by placeholder, for the texts of `undo`.
    pub secrets: BTreeMap<String, String>,
}

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Commands may have been sent.
    Armed,
    /// It stands; startup may not say so yet.
    Agreed,
    /// The guard has gone back.
    Undone,
    /// The guard has tried to go back, and could not.
    Failed,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Nobody knows what it says.
    #[error("{} is not understood", .0.display())]
    Torn(PathBuf, #[source] serde_json::Error),
    /// It was written by a newer release.
    #[error("{} has version {found}, this release knows {VERSION}", .path.display())]
    Newer {
        /// Where it is.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The disk.
    #[error("{}", .0.display())]
    Disk(PathBuf, #[source] io::Error),
}

/// The state folder, as far as changes under way are concerned.
#[derive(Debug, Clone)]
pub struct Records(PathBuf);

impl Records {
    /// In this state folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The state folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// What is there.
    pub fn read(&self) -> Result<Option<Record>, RecordError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let path = self.0.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RecordError::Disk(path, error)),
        };
        let torn = |error| RecordError::Torn(path.clone(), error);
        let Head { version } = serde_json::from_slice(&bytes).map_err(torn)?;
        if version > VERSION {
            return Err(RecordError::Newer { path, found: version });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(torn)
    }

    /// A new change, with `id`. One that is there and not understood is not written over.
    pub fn begin(&self, record: &Record) -> Result<(), RecordError> {
        self.read()?;
        self.write(record)
    }

    /// It has got this far.
    pub fn advance(&self, mut record: Record, phase: Phase) -> Result<(), RecordError> {
        record.phase = phase;
        self.write(&record)
    }

    fn write(&self, record: &Record) -> Result<(), RecordError> {
        let path = self.0.join(FILE);
        let bytes = serde_json::to_vec(record).map_err(|error| RecordError::Torn(path.clone(), error))?;
        files::replace_private(&path, &bytes).map_err(|error| RecordError::Disk(path, error))
    }

    /// It is settled.
    pub fn end(&self) -> Result<(), RecordError> {
        let path = self.0.join(FILE);
        files::remove(&path).map(drop).map_err(|error| RecordError::Disk(path, error))
    }
}

impl Record {
    /// A change that begins now.
    pub fn new(undo: Undo, secrets: BTreeMap<String, String>, guarded: bool) -> io::Result<Self> {
        let now = boottime();
        let deadline = now + undo.window;
        let me = std::process::id();
        Ok(Self {
            version: VERSION,
            id: format!("{:x}-{:x}", me, now.as_nanos()),
            boot: boot_id()?,
            phase: Phase::Armed,
            guarded,
            deadline: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            agent: (me, started(me).unwrap_or_default()),
            undo,
            secrets,
        })
    }

    /// The machine has been started anew since.
    pub fn is_of_another_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot != self.boot)
    }

    /// How long until the guard goes back.
    pub fn left(&self) -> Duration {
        Duration::from_millis(self.deadline).saturating_sub(boottime())
    }
}

/// Time since the machine was started, asleep or not: no clock that is set moves it.
pub fn boottime() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When a process was started, in clock ticks after boot: with its number it is one process for ever.
pub fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
