//! Renders templates in a child process of the same binary.
//!
//! A template comes from a ConfigMap: a chain of a thousand `elif` overflows the stack, a string doubled forty times
//! takes all memory, two nested loops run for hours. None of that may touch the agent. So the child limits itself, the
//! parent waits with a deadline, and a child that died is a mistake of the template.

use std::io::{Read, Write};
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};

use crate::change::diff::Candidate;
use crate::child::{self, Ended};
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
    let input = serde_json::to_vec(job).map_err(|error| mistake(error.to_string()))?;
    let ended = child::ask([SUBCOMMAND], &input).await.map_err(anyhow::Error::from);
    let Ended { said, status } = ended.map_err(|error| mistake(format!("the renderer {error:#}")))?;
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
    match serde_json::from_slice(&said) {
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
