//! The guard: a process of its own that goes back from a change nobody confirmed.
//!
//! It lives outside the agent's container and memory limit. The agent writes the way back down and tells the guard; later
//! it asks the guard to let the change stand. The guard alone decides: before the deadline on `CLOCK_BOOTTIME` it says yes
//! and writes that down first; at the deadline it ends the agent, takes the agent's lock, and goes back itself. It renders
//! nothing, plans nothing and asks no API. It sleeps unless it is spoken to or a deadline is near.
#![expect(clippy::disallowed_methods, reason = "shell: a process of its own")]

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::change::Dialect;
use crate::cluster::chain;
use crate::files;
use crate::nos::{Hold, NosDriver};

mod client;
pub mod record;

pub use client::{Form, Guarding, Need};
use record::{Phase, Record, Records};

/// Where the agent speaks to it, in the state folder.
pub const SOCKET: &str = "guard.sock";
/// A question is a line; nobody needs longer to send one.
const PATIENCE: Duration = Duration::from_secs(2);
/// Asleep the kernel's timers stand still and `CLOCK_BOOTTIME` goes on: look at it now and then.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// An agent that was killed frees its lock at once; one that cannot be seen from here does not.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// So often the way back is tried before it is left to the agent, which goes on trying and says so.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// What the guard works on.
pub struct Guard<D, N> {
    /// The state folder.
    pub records: Records,
    /// The agent's locks.
    pub locks: Vec<PathBuf>,
    /// The NOS.
    pub driver: N,
    /// Its language.
    pub dialect: D,
    /// What it is.
    pub form: Form,
}

/// Why a guard serves no longer.
#[derive(Debug)]
pub enum Ended {
    /// It was told to end.
    Told,
    /// It listens, and there is nothing to watch over yet, or any more: what it did until now need not stay in memory. Who
    /// asks meanwhile waits at this socket.
    Idle(UnixListener),
}

impl<D: Dialect, N: NosDriver> Guard<D, N> {
    /// Serves until it is told to end, and then until the change it watches over is settled: a pod's containers are told
    /// at the same time, and the agent needs a yes to settle. Comes back also when it has become idle, with what it listens on;
    /// `kept` is that of an earlier life, which was idle. An error is one of the socket or of signals, at the start.
    pub fn run(&mut self, kept: Option<UnixListener>) -> io::Result<Ended> {
        let path = self.records.folder().join(SOCKET);
        // Nothing is armed without a question first; and to read what an agent is about to take away costs memory.
        let mut is_idle = kept.is_some();
        let mut watches = !is_idle;
        let listener = match kept {
            Some(listener) => listener,
            None => {
                let listener = listen(&path)?;
                tracing::info!(socket = %path.display(), "the guard is ready");
                listener
            }
        };
        let ends: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
        ends.thread_block()?;
        let told = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let mut is_told = false;
        loop {
            let left =
                if std::mem::take(&mut is_idle) { None } else { self.watched().map(|record| record.left()) };
            if is_told && left.is_none() {
                return Ok(Ended::Told);
            }
            if watches && left.is_none() {
                return Ok(Ended::Idle(listener));
            }
            watches = left.is_some();
            if left == Some(Duration::ZERO) {
                self.go_back();
                continue;
            }
            let sleep = left.map(|left| left.min(LONGEST_SLEEP));
            let timeout = sleep
                .map_or(PollTimeout::NONE, |sleep| PollTimeout::try_from(sleep).unwrap_or(PollTimeout::ZERO));
            let mut wakers = [
                PollFd::new(listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(told.as_fd(), PollFlags::POLLIN),
            ];
            if !poll(&mut wakers, timeout).is_ok_and(|ready| ready > 0) {
                continue;
            }
            let [asked, ended] = wakers.map(|waker| waker.any() == Some(true));
            if ended && told.read_signal()?.is_some() {
                tracing::info!("told to end");
                is_told = true;
            }
            if asked
                && let Ok((stream, _)) = listener.accept()
                && let Err(error) = self.answer(&stream)
            {
                tracing::warn!(%error, "a question was not answered");
            }
        }
    }

    /// The change that is to be undone unless it is confirmed.
    fn watched(&self) -> Option<Record> {
        match self.records.read() {
            Ok(record) => record.filter(|record| {
                record.phase == Phase::Armed && record.guarded && !record.is_of_another_boot()
            }),
            // The agent says so too, where it is seen.
            Err(_) => None,
        }
    }

    fn answer(&self, mut stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        io::Read::take(BufReader::new(stream), 256).read_line(&mut line)?;
        let said = match line.trim_end().split_once(' ') {
            None if line.trim_end() == "who" => format!("yes {}", self.form.name()),
            Some(("watch", id)) => self.promise(id),
            Some(("confirm", id)) => self.confirm(id),
            _ => "no such question".to_owned(),
        };
        stream.write_all(format!("{said}\n").as_bytes())
    }

    fn promise(&self, id: &str) -> String {
        match self.watched() {
            Some(record) if record.id == id => {
                tracing::info!(seconds = record.left().as_secs(), "watching over a change");
                "yes".to_owned()
            }
            _ => "no: there is no such change in the guard's folder".to_owned(),
        }
    }

    fn confirm(&self, id: &str) -> String {
        match self.watched() {
            Some(record) if record.id == id && record.left() > Duration::ZERO => {
                match self.records.advance(record, Phase::Agreed) {
                    Ok(()) => "yes".to_owned(),
                    Err(error) => format!("no: {}", chain(&error)),
                }
            }
            Some(record) if record.id == id => "no: it is too late".to_owned(),
            _ => "no: the guard watches over no such change".to_owned(),
        }
    }

    /// Ends the agent, takes its locks, goes back, and says so in the record.
    fn go_back(&mut self) {
        let Some(record) = self.watched() else { return };
        tracing::error!("nobody confirmed the change in time; going back");
        let (pid, start) = record.agent;
        if record::started(pid) == Some(start)
            && let Ok(pid) = i32::try_from(pid)
            && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGKILL)
        {
            tracing::warn!(pid, %error, "the agent was not ended");
        }
        let _locks = self.take_locks();
        // The agent may have settled it in its last moment.
        let Some(record) = self.watched() else { return };
        let phase = match self.undo(&record) {
            Ok(()) => Phase::Undone,
            Err(why) => {
                tracing::error!(why, "could not go back; the agent will go on trying");
                Phase::Failed
            }
        };
        match self.records.advance(record, phase) {
            Ok(()) => tracing::info!(?phase, "the change is settled"),
            Err(error) => {
                tracing::error!(error = chain(&error), "not written down");
                std::thread::sleep(BETWEEN_TRIES);
            }
        }
    }

    fn take_locks(&self) -> Vec<files::Lock> {
        let until = Instant::now() + LOCK_PATIENCE;
        let mut locks = Vec::new();
        for path in &self.locks {
            loop {
                match files::lock(path) {
                    Ok(lock) => {
                        locks.push(lock);
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    // A frozen agent that cannot be reached from here writes nothing; going back must not wait for it.
                    Err(error) => {
                        tracing::warn!(lock = %path.display(), %error, "going on without the agent's lock");
                        break;
                    }
                }
            }
        }
        locks
    }

    fn undo(&mut self, record: &Record) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        self.driver.set_secrets(record.secrets.clone());
        let mut left = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                std::thread::sleep(BETWEEN_TRIES);
            }
            match runtime.block_on(self.once(record)) {
                Ok(lines) if lines.is_empty() => return Ok(()),
                Ok(lines) => left = format!("still different: {}", lines.join(", ")),
                Err(why) => left = why,
            }
        }
        Err(left)
    }

    /// Goes back once; the lines that still differ.
    async fn once(&mut self, record: &Record) -> Result<Vec<String>, String> {
        let (before, failed) = (&record.undo.before, &record.undo.target.candidate);
        let now = self.driver.running().await.map_err(|error| chain(&error))?;
        let plan = self.dialect.undo(&now, before, failed);
        if plan.is_empty() {
            return Ok(Vec::new());
        }
        self.driver.apply(&plan, Hold::None).await.map_err(|error| chain(&error))?;
        let now = self.driver.running().await.map_err(|error| chain(&error))?;
        Ok(self.dialect.undo(&now, before, failed).lines())
    }
}

/// A socket that only its owner may use; one that a dead guard left is replaced, one that answers is not.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another guard serves this folder"));
    }
    files::remove(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}
