//! Work that must not happen in the agent: handed to a child process of the same binary, answered on its standard output.
//!
//! A child may hang, crash, or be stopped by somebody. Whoever asks sets a deadline by dropping the future; then the
//! child ends with everything that it has started, even where that was frozen before it could arrange for its own end.
#![expect(clippy::disallowed_methods, reason = "shell: starts a process")]

use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// The longest answer in octets; what comes after it is cut off.
const ANSWER_CAP: u64 = 64 << 20;

/// What a child said, and how it ended.
pub struct Ended {
    /// Its standard output.
    pub said: Vec<u8>,
    /// Whether it ended by itself, and how.
    pub status: ExitStatus,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No process could be made.
    #[error("could not be started")]
    Start(#[source] io::Error),
    /// Its output ended with an error.
    #[error("could not be read")]
    Read(#[source] io::Error),
    /// Its end could not be waited for.
    #[error("was lost")]
    Lost(#[source] io::Error),
}

/// The child's process group, killed unless the child has been waited for.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already, which is what is wanted.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Runs this binary with `arguments` and an empty environment, sends `input`, and waits for its end.
pub async fn ask<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    input: &[u8],
) -> Result<Ended, Error> {
    let mut child = Command::new("/proc/self/exe")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::Start)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    // Declared after the child, so dropped before it: the number is still the child's.
    let mut group = Group(pid.map(Pid::from_raw));
    let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let send = async {
        if let Some(stdin) = &mut stdin {
            // A child that died early closes the pipe; its answer or its status says why.
            drop(stdin.write_all(input).await);
        }
        stdin.take();
    };
    let receive = async {
        let mut said = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(ANSWER_CAP).read_to_end(&mut said).await?;
        }
        Ok(said)
    };
    let ((), said) = tokio::join!(send, receive);
    let said = said.map_err(Error::Read)?;
    let status = child.wait().await.map_err(Error::Lost)?;
    group.0 = None;
    Ok(Ended { said, status })
}
