//! Renders templates in a child process of the same binary.
//!
//! A template comes from a ConfigMap: a chain of a thousand `elif` overflows the stack, a string doubled forty times
//! takes all memory, two nested loops run for hours. None of that may touch the agent. So the child limits itself, the
//! parent waits with a deadline, and a child that died is a mistake of the template.
#![expect(clippy::disallowed_methods, reason = "shell: starts a process")]

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::change::diff::Candidate;
use crate::intent::render::{self, Job};
use crate::intent::yaml::Mistake;

/// The hidden subcommand by which the binary calls itself.
pub const SUBCOMMAND: &str = "render-child";

/// Address space: a rendering of ten thousand neighbours takes 60 MiB.
const MEMORY: u64 = 256 << 20;
/// Processor time, seconds.
const CPU: u64 = 2;
/// The parent's patience: the child may wait for a processor.
const DEADLINE: Duration = Duration::from_secs(10);
/// JSON of the longest output.
const ANSWER_CAP: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
enum Answer {
    Rendered(Candidate),
    Mistaken(Mistake),
}

/// Renders `job` in a child. An error is always the template's mistake, except where the child could not be started.
pub async fn render(job: &Job) -> Result<Candidate, Mistake> {
    match tokio::time::timeout(DEADLINE, run(job)).await {
        Ok(result) => result,
        Err(_) => Err(mistake(format!("rendering did not end within {} s", DEADLINE.as_secs()))),
    }
}

fn mistake(problem: String) -> Mistake {
    Mistake { file: "templates".to_owned(), at: None, field: String::new(), problem }
}

async fn run(job: &Job) -> Result<Candidate, Mistake> {
    let broken =
        |what: &'static str| move |error: std::io::Error| mistake(format!("the renderer {what}: {error}"));
    let input = serde_json::to_vec(job).map_err(|error| mistake(error.to_string()))?;
    let mut child = Command::new("/proc/self/exe")
        .arg(SUBCOMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken("could not be started"))?;
    let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let send = async {
        if let Some(stdin) = &mut stdin {
            // A child that died early closes the pipe; its exit status says why.
            drop(stdin.write_all(&input).await);
        }
        stdin.take();
    };
    let receive = async {
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(ANSWER_CAP).read_to_end(&mut output).await?;
        }
        Ok::<_, std::io::Error>(output)
    };
    let ((), output) = tokio::join!(send, receive);
    let output = output.map_err(broken("could not be read"))?;
    let status = child.wait().await.map_err(broken("was lost"))?;
    if !status.success() {
        use std::os::unix::process::ExitStatusExt;
        return Err(mistake(match status.signal() {
            Some(nix::libc::SIGXCPU | nix::libc::SIGKILL) => {
                format!("a template used more than {CPU} s of processor time")
            }
            Some(nix::libc::SIGSEGV | nix::libc::SIGABRT) => format!(
                "a template crashed the renderer: it nests too deep, or needs more than {} MiB",
                MEMORY >> 20
            ),
            _ => format!("the renderer ended with {status}"),
        }));
    }
    match serde_json::from_slice(&output) {
        Ok(Answer::Rendered(candidate)) => Ok(candidate),
        Ok(Answer::Mistaken(mistake)) => Err(mistake),
        Err(error) => Err(mistake(format!("the renderer's answer cannot be read: {error}"))),
    }
}

/// The child: reads a job, limits itself, renders, answers.
pub fn child() -> anyhow::Result<()> {
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY)?;
    setrlimit(Resource::RLIMIT_CPU, CPU, CPU + 1)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?;
    let mut input = Vec::new();
    std::io::stdin().lock().read_to_end(&mut input)?;
    let job: Job = serde_json::from_slice(&input)?;
    let answer = match render::render(&job) {
        Ok(candidate) => Answer::Rendered(candidate),
        Err(mistake) => Answer::Mistaken(mistake),
    };
    std::io::stdout().lock().write_all(&serde_json::to_vec(&answer)?)?;
    // The end of the process frees it faster than taking ten thousand neighbours apart.
    std::mem::forget((job, answer));
    Ok(())
}
