//! FRR without any program of its own (hand `socket`): commands go to the daemons' vty sockets, line by line.
//!
//! vtysh knows from tables that are made when FRR is built which daemon a line is for. Here the daemons are asked: each gets
//! every line, in the block where it stands, and one that does not know a line says so (code 2) and is left out of the block
//! that the line would have opened. So nothing has to be known of FRR's releases, and every line has an answer of its
//! own. No line is sent before all daemons are in configuration mode, and none after one of them has stopped answering.
#![expect(clippy::disallowed_methods, reason = "shell: files and time")]

use std::io;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use super::Places;
use crate::nos::NosError;
use crate::vty::{Reply, Vty};

#[cfg(test)]
mod tests;

/// For one command. Ending a batch with ten thousand entries of a filter takes FRR 10.3 two seconds.
const ANSWER: Duration = Duration::from_secs(20);
/// To get into configuration mode, where another connection may hold the lock for a moment.
const ENTER: Duration = Duration::from_secs(5);
const LOCK_WAIT: Duration = Duration::from_millis(50);
/// Above this the daemons are told that many lines come: FRR 10.3 needs 210 s for ten thousand single entries of a filter,
/// and 1.5 s for them in a batch. Then a refused line is told at the end only; reading back finds it anyway.
const BATCH: usize = 200;
/// vtysh's own words for it (`lib/command.c`, hidden commands).
const BATCH_BEGINS: &str = "XFRR_start_configuration";
const BATCH_ENDS: &str = "XFRR_end_configuration";

const MODE: &str = "configure terminal";
/// mgmtd takes a batch only from whoever holds its lock (`lib/vty.c`). Releases before 9 do not know the word.
const MODE_OF_A_BATCH: &str = "configure terminal file-lock";

/// A code of `lib/command.h`: no such command here.
const NO_MATCH: u8 = 2;
/// … the line is the beginning of several commands, or of a longer one.
const AMBIGUOUS: u8 = 3;
const INCOMPLETE: u8 = 4;

/// One daemon that takes lines.
struct Listener {
    name: String,
    vty: Vty,
    /// In how many blocks it is.
    depth: usize,
}

/// A line, the number of blocks around it, and whether it opens one.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    text: &'a str,
    depth: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Opens,
    Closes,
}

/// The blocks of `commands`, by their indentation: a plan's commands enter and leave each block that they need.
fn lines(commands: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = commands
        .lines()
        .filter(|line| !line.trim().is_empty() && line.trim() != "!")
        .map(|line| {
            let text = line.trim();
            let kind = if text == "exit" || text.starts_with("exit-") { Kind::Closes } else { Kind::Single };
            Line { text, depth: line.len() - line.trim_start().len(), kind }
        })
        .collect();
    for at in 0..lines.len() {
        let depth = lines[at].depth;
        let opens = lines
            .get(at + 1)
            .is_some_and(|next| next.depth > depth || (next.depth == depth && next.kind == Kind::Closes));
        if lines[at].kind == Kind::Single && opens {
            lines[at].kind = Kind::Opens;
        }
    }
    lines
}

/// Sends `commands`; what the daemons had to say about them. All of it within `deadline`.
pub(super) async fn send(
    places: &Places,
    commands: &str,
    deadline: Duration,
) -> Result<Vec<String>, NosError> {
    let until = Instant::now() + deadline;
    let lines = lines(commands);
    let is_batch = lines.len() > BATCH;
    let mut listeners = enter(places, if is_batch { MODE_OF_A_BATCH } else { MODE }).await?;
    let mut complaints = Vec::new();
    let sending = async {
        if is_batch {
            for said in all(&mut listeners, BATCH_BEGINS, |_| true).await? {
                tracing::debug!(daemon = said.0, code = said.1.code, "a batch begins");
            }
        }
        for line in &lines {
            complaints.extend(one(&mut listeners, line).await?);
        }
        if is_batch {
            let ended = all(&mut listeners, BATCH_ENDS, |_| true).await?;
            complaints.extend(ended.into_iter().filter_map(|(name, reply)| {
                (reply.code > INCOMPLETE).then(|| format!("{name}: {}", brief(&reply.text)))
            }));
        }
        // Releases the lock of those who have one; without a word they do so some time later.
        all(&mut listeners, "end", |_| true).await.map(drop)
    };
    match timeout_at(until, sending).await {
        Ok(sent) => sent?,
        Err(_) => {
            return Err(NosError::Unreachable {
                what: format!("FRR did not take all commands within {} s", deadline.as_secs()),
                source: io::ErrorKind::TimedOut.into(),
            });
        }
    }
    Ok(complaints)
}

/// One line to each daemon that is in its block.
async fn one(listeners: &mut [Listener], line: &Line<'_>) -> Result<Vec<String>, NosError> {
    if line.kind == Kind::Closes {
        let left = all(listeners, line.text, |listener| listener.depth > line.depth).await?;
        for listener in listeners.iter_mut() {
            listener.depth = listener.depth.min(line.depth);
        }
        return Ok(complaints_about(line.text, &left, Unknown::IsSaid));
    }
    let replies = all(listeners, line.text, |listener| listener.depth == line.depth).await?;
    if line.kind == Kind::Opens {
        for (name, reply) in &replies {
            // A warning opens it all the same.
            if reply.code <= 1
                && let Some(listener) = listeners.iter_mut().find(|listener| listener.name == *name)
            {
                listener.depth += 1;
            }
        }
    }
    // The lines of a block that nobody opened are not worse than the block.
    let unknown = if replies.is_empty() { Unknown::GoesWithoutSaying } else { Unknown::IsSaid };
    Ok(complaints_about(line.text, &replies, unknown))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    IsSaid,
    GoesWithoutSaying,
}

fn complaints_about(line: &str, replies: &[(String, Reply)], unknown: Unknown) -> Vec<String> {
    let knows = |reply: &Reply| !matches!(reply.code, NO_MATCH | AMBIGUOUS | INCOMPLETE);
    if !replies.iter().any(|(_, reply)| knows(reply)) {
        return match unknown {
            Unknown::GoesWithoutSaying => Vec::new(),
            Unknown::IsSaid => vec![format!("no daemon knows `{line}`")],
        };
    }
    let said = replies.iter().filter(|(_, reply)| knows(reply) && reply.code != 0);
    said.map(|(name, reply)| format!("{name}: `{line}`: {}", brief(&reply.text))).collect()
}

/// Asks those that `which` names, all at the same time.
async fn all(
    listeners: &mut [Listener],
    command: &str,
    which: impl Fn(&Listener) -> bool,
) -> Result<Vec<(String, Reply)>, NosError> {
    let asked = listeners.iter_mut().filter(|listener| which(listener)).map(async |listener| {
        let reply = patiently(&mut listener.vty, command).await;
        let reply = reply.map_err(|source| NosError::Unreachable {
            what: format!("{} stopped answering at `{}`", listener.name, first_words(command)),
            source,
        });
        reply.map(|reply| (listener.name.clone(), reply))
    });
    join_all(asked).await.into_iter().collect()
}

/// From 10 on one connection at a time may configure, and one that was closed counts for a moment still.
async fn patiently(vty: &mut Vty, command: &str) -> io::Result<Reply> {
    let until = Instant::now() + ENTER;
    loop {
        let reply = vty.ask(command).await?;
        if reply.code <= 1 || !is_locked(&reply.text) || Instant::now() >= until {
            return Ok(reply);
        }
        sleep(LOCK_WAIT).await;
    }
}

fn is_locked(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("could not lock") || text.contains("locked by")
}

/// Connects to every daemon that runs and brings it into configuration mode. Nothing is changed by that.
async fn enter(places: &Places, mode: &str) -> Result<Vec<Listener>, NosError> {
    let folder = places.root.join(places.run_inside());
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .map_err(|source| NosError::Unreachable {
            what: format!("{} cannot be read", folder.display()),
            source,
        })?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".vty").map(str::to_owned))
        // It supervises, and takes no configuration.
        .filter(|name| name != "watchfrr")
        .collect();
    names.sort();
    let entered = join_all(names.iter().map(|name| open(&folder, name, mode))).await;
    let listeners = entered.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    Ok(listeners)
}

/// `None` for a daemon that left its socket behind when it died and without which FRR can be configured.
async fn open(folder: &Path, name: &str, mode: &str) -> Result<Option<Listener>, NosError> {
    let opening = async {
        let mut vty = Vty::open(&folder.join(format!("{name}.vty")), ANSWER).await?;
        vty.enable().await?;
        let mut reply = patiently(&mut vty, mode).await?;
        if matches!(reply.code, NO_MATCH | AMBIGUOUS | INCOMPLETE) {
            reply = patiently(&mut vty, MODE).await?;
        }
        Ok::<_, io::Error>((vty, reply))
    };
    match opening.await {
        Ok((vty, reply)) if reply.code <= 1 => Ok(Some(Listener { name: name.to_owned(), vty, depth: 0 })),
        Ok((_, reply)) => {
            Err(NosError::Busy { who: format!("{name} lets nobody else configure: {}", brief(&reply.text)) })
        }
        Err(error)
            if error.kind() == io::ErrorKind::ConnectionRefused && !matches!(name, "zebra" | "bgpd") =>
        {
            Ok(None)
        }
        Err(source) => Err(NosError::Unreachable { what: format!("{name} cannot be configured"), source }),
    }
}

/// Enough to find a line by, and no password.
fn first_words(command: &str) -> String {
    command.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// The telling line of a daemon's answer.
pub(super) fn brief(text: &str) -> String {
    let lines =
        text.lines().map(|line| line.trim().trim_start_matches(['%', ' '])).filter(|line| !line.is_empty());
    let described = lines.clone().find_map(|line| line.strip_prefix("Error description:"));
    let said = described.or_else(|| lines.clone().next()).unwrap_or("refused");
    said.trim().chars().take(200).collect()
}
