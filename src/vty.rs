//! The wire to one FRR daemon: its vty socket.
//!
//! vtysh starts a process per question and waits for ever if any one daemon is frozen; a daemon's own socket
//! answers in a tenth of a millisecond with a code per command. This is the wire only: it decides nothing,
//! retries nothing, and never lets an answer of one command be taken for that of another. A connection on
//! which anything went wrong is therefore never used again.
//!
//! A command is sent with a NUL after it; the answer is text, three NULs and one byte of return code.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

#[cfg(test)]
mod tests;

/// Even a busy daemon lets the kernel accept for it at once.
const CONNECT: Duration = Duration::from_secs(1);
/// No sane answer is longer; whole-table dumps are not sane.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
const CHUNK: usize = 16 * 1024;
const TERMINATOR: [u8; 3] = [0; 3];

/// A daemon of FRR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Daemon {
    /// The route manager.
    Zebra,
    /// BGP.
    Bgpd,
    /// BFD.
    Bfdd,
    /// Static routes.
    Staticd,
    /// Configuration of zebra, staticd and filters, from FRR 9 on.
    Mgmtd,
}

impl Daemon {
    /// The name of its program and socket.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zebra => "zebra",
            Self::Bgpd => "bgpd",
            Self::Bfdd => "bfdd",
            Self::Staticd => "staticd",
            Self::Mgmtd => "mgmtd",
        }
    }

    /// Its socket under `run`, usually `/var/run`; `instance` is the `-N` the daemon was started with.
    pub fn socket(self, run: &Path, instance: Option<&str>) -> PathBuf {
        let mut path = run.join("frr");
        path.extend(instance);
        path.join(format!("{}.vty", self.name()))
    }
}

/// What a daemon answered to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Everything it printed; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// 0 is success, 1 a warning, 2 an unknown command, 13 refused; the others are in FRR's `lib/command.h`.
    pub code: u8,
}

impl Reply {
    /// Done, and nothing to say about it.
    pub fn is_success(&self) -> bool {
        self.code == 0
    }
}

/// One connection to one daemon.
#[derive(Debug)]
pub struct Vty {
    /// Absent while a command is under way, and for good once one failed or was abandoned.
    stream: Option<UnixStream>,
    deadline: Duration,
}

impl Vty {
    /// Connects within one second; `deadline` limits each command from its sending to the end of its answer.
    pub async fn open(path: &Path, deadline: Duration) -> io::Result<Self> {
        let stream = timeout(CONNECT, UnixStream::connect(path)).await??;
        Ok(Self { stream: Some(stream), deadline })
    }

    /// Enters the mode that configuration needs, and some questions too (`show bfd peers`).
    pub async fn enable(&mut self) -> io::Result<Reply> {
        self.ask("enable").await
    }

    /// Sends one command and waits for its answer, whatever its return code.
    ///
    /// Fails with `TimedOut` (frozen or overwhelmed daemon), `UnexpectedEof` (it hung up), `InvalidData` (more
    /// than 64 MiB) or `NotConnected` (an earlier command failed or was abandoned).
    pub async fn ask(&mut self, command: &str) -> io::Result<Reply> {
        self.ask_within(command, self.deadline).await
    }

    /// [`Self::ask`] with a deadline of its own, for the slow ones.
    pub async fn ask_within(&mut self, command: &str, deadline: Duration) -> io::Result<Reply> {
        if command.contains(['\0', '\n', '\r']) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a command is one line"));
        }
        let mut stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        let reply = timeout(deadline, exchange(&mut stream, command)).await??;
        self.stream = Some(stream);
        Ok(reply)
    }

    /// False once a command failed or was abandoned: open a new one.
    pub fn is_usable(&self) -> bool {
        self.stream.is_some()
    }
}

async fn exchange(stream: &mut UnixStream, command: &str) -> io::Result<Reply> {
    let mut line = Vec::with_capacity(command.len() + 1);
    line.extend_from_slice(command.as_bytes());
    line.push(0);
    stream.write_all(&line).await?;
    let mut answer = Vec::with_capacity(CHUNK);
    loop {
        answer.reserve(CHUNK);
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((text, code)) = split(&answer) {
            return Ok(Reply { text: String::from_utf8_lossy(text).into_owned(), code });
        }
        if answer.len() > MAX_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer has no end"));
        }
    }
}

/// Text and return code of a complete answer.
fn split(answer: &[u8]) -> Option<(&[u8], u8)> {
    let (&code, rest) = answer.split_last()?;
    Some((rest.strip_suffix(&TERMINATOR)?, code))
}
