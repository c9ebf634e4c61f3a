//! `pause`: what somebody at the switch says, written down for the agent.
#![expect(clippy::disallowed_methods, reason = "the edge: the clock")]

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use nix::unistd::{Uid, User};
use serde_json::json;

use super::{FINE, print, print::structured};
use crate::agent::pause::PauseFile;
use crate::change::pause::{Found, Pause};
use crate::settings::{Output, PauseArgs};

pub(super) fn run_pause(args: &PauseArgs) -> anyhow::Result<u8> {
    let PauseArgs { length, reason, end, state_dir, output } = args;
    anyhow::ensure!(
        state_dir.is_dir(),
        "--state-dir {}: there is no such folder, so no agent has it either",
        state_dir.display()
    );
    let file = PauseFile::new(state_dir);
    if let (Some(length), Some(reason)) = (length, reason) {
        let since = Timestamp::now();
        let uid = Uid::effective();
        let pause = Pause {
            uid: uid.as_raw(),
            // A container may know no names.
            user: User::from_uid(uid).ok().flatten().map(|user| user.name),
            since,
            until: since.saturating_add(SignedDuration::try_from(*length)?)?,
            reason: reason.clone(),
        };
        file.write(&pause).with_context(|| format!("writing {}", file.path().display()))?;
    }
    if *end && !file.remove().with_context(|| format!("removing {}", file.path().display()))? {
        eprintln!("switchlet: was not paused");
    }
    print(&shown(&file.read(), Timestamp::now(), *output)?)?;
    Ok(FINE)
}

/// The state, for people or programs.
fn shown(found: &Found, now: Timestamp, output: Output) -> anyhow::Result<String> {
    let (paused, words) = match found {
        Found::Absent => (false, "not paused".to_owned()),
        Found::Pause(pause) if pause.ends() <= now => {
            (false, format!("not paused (over: {})", pause.words()))
        }
        Found::Pause(pause) => (true, pause.words()),
        Found::Unclear(why) => (true, format!("Paused without an end: {why}")),
    };
    if output == Output::Table {
        return Ok(words + "\n");
    }
    let value = match found {
        Found::Pause(pause) => json!({"paused": paused, "pause": pause, "message": words}),
        Found::Absent | Found::Unclear(_) => json!({"paused": paused, "pause": null, "message": words}),
    };
    structured(&value, output)
}
