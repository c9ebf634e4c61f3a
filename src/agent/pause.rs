//! The file of a pause, as the agent reads it and `switchlet pause` writes it.
//!
//! It is read whenever its folder changes and in every pass besides: inotify can run out. The agent never writes it.
#![expect(clippy::disallowed_methods, reason = "shell: files and the clock")]

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::change::pause::{FILE, Found, LONGEST_FILE, Pause, Pauses, Standing};
use crate::files;
use crate::files::watch::FolderWatch;

/// The file's place.
#[derive(Debug, Clone)]
pub struct PauseFile(PathBuf);

impl PauseFile {
    /// In the folder `state`.
    pub fn new(state: &Path) -> Self {
        Self(state.join(FILE))
    }

    /// Where that is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What lies there. What cannot be read is unclear, and so a pause.
    pub fn read(&self) -> Found {
        let unclear = |why: String| Found::Unclear(format!("{} {why}", self.0.display()));
        match self.bytes() {
            Ok(bytes) if bytes.len() as u64 > LONGEST_FILE => {
                unclear(format!("is longer than {LONGEST_FILE} bytes"))
            }
            Ok(bytes) => match Pause::parse(&bytes) {
                Ok(pause) => Found::Pause(pause),
                Err(error) => unclear(format!("is no pause: {error}")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Absent,
            Err(error) => unclear(format!("cannot be read: {error}")),
        }
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Opening a pipe must not wait for its writer.
        let file =
            OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(&self.0)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("is not a file"));
        }
        file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes it, in one step.
    pub fn write(&self, pause: &Pause) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(pause).map_err(io::Error::other)?;
        files::replace_private(&self.0, &[bytes.as_slice(), b"\n"].concat())
    }

    /// Takes it away; false if there was none.
    pub fn remove(&self) -> io::Result<bool> {
        files::remove(&self.0)
    }
}

/// Follows the file for the agent.
#[derive(Debug)]
pub struct PauseWatch {
    file: PauseFile,
    folder: Option<FolderWatch>,
    pauses: Pauses,
    standing: Standing,
}

impl PauseWatch {
    /// Begins with what lies there.
    pub fn open(file: PauseFile) -> Self {
        let folder = file.path().parent().and_then(|folder| {
            FolderWatch::open(&[folder])
                .inspect_err(
                    |error| tracing::warn!(%error, "no inotify; a pause is looked for in every pass"),
                )
                .ok()
        });
        let mut watch = Self { file, folder, pauses: Pauses::default(), standing: Standing::Free };
        watch.look();
        watch
    }

    /// Reads the file and the clocks; true if another thing is paused than before, or nothing any more.
    pub fn look(&mut self) -> bool {
        let now = Instant::now().into_std();
        self.pauses.found(self.file.read(), now);
        let standing = self.pauses.standing(Timestamp::now(), now);
        if standing == self.standing {
            return false;
        }
        match standing.words() {
            Some(words) => tracing::warn!("nothing is written: {words}"),
            None => tracing::info!("the pause is over; the switch is written to again"),
        }
        self.standing = standing;
        true
    }

    /// How things stood at the last look.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// How long until the pause ends by itself.
    pub fn left(&self) -> Option<Duration> {
        self.pauses.left(Timestamp::now(), Instant::now().into_std())
    }

    /// Waits until a look finds something else. The agent's own files lie in the same folder: they are no news. May be
    /// abandoned at any time: what was found and not told is found again by the next look.
    pub async fn changed(&mut self) {
        loop {
            match &mut self.folder {
                Some(folder) => folder.changed().await,
                None => std::future::pending().await,
            }
            let now = Instant::now().into_std();
            self.pauses.found(self.file.read(), now);
            if self.pauses.standing(Timestamp::now(), now) != self.standing {
                return;
            }
        }
    }
}
