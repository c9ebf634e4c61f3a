//! The guard's later starts, with plain words for a command line.
//!
//! It lives for as long as the switch does and shares its small memory. Reading flags and environment touches megabytes of the
//! program that it never needs again, and so does a change that it watches over, or goes back from. So it starts anew in its
//! own place, under the same number, when its flags are read, when it listens, and whenever a change is settled; it takes what
//! was read as words in a fixed order. Its socket stays open, as its standard input: who asks meanwhile waits for a moment and
//! is answered. Nothing here is a secret.

use std::io::stdin;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::guard::Form;
use crate::nos::frr::Hand;
use crate::settings::GuardArgs;

/// After `guard`; no flag that a person would write.
const WORD: &str = "--as-read";
/// Whether the socket is there already.
const KEPT: &str = "kept";
const NEW: &str = "new";

/// Starts anew; comes back only where that cannot be done. `socket` is what it listens on.
pub(super) fn again(args: &GuardArgs, socket: Option<&UnixListener>) {
    let GuardArgs { frr_root, frr_instance, frr_hand, state_dir, form, log_json } = args;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("switchlet").args(["guard", WORD]).arg(frr_root).arg(state_dir);
    command.args([form.name(), frr_hand.name(), if *log_json { "json" } else { "plain" }]);
    match socket.map(|socket| socket.as_fd().try_clone_to_owned()) {
        None => drop(command.arg(NEW)),
        Some(Ok(socket)) => drop(command.arg(KEPT).stdin(Stdio::from(socket))),
        // Without its socket it would be deaf.
        Some(Err(error)) => return tracing::debug!(%error, "the guard was not started anew"),
    }
    let error = command.args(frr_instance).exec();
    tracing::debug!(%error, "the guard was not started anew");
}

/// What was read before, and what it listens on, if this is a later start.
pub(super) fn words() -> Option<(GuardArgs, Option<UnixListener>)> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != "guard" || words.next()? != WORD {
        return None;
    }
    let (frr_root, state_dir) = (PathBuf::from(words.next()?), PathBuf::from(words.next()?));
    let form = Form::named(words.next()?.to_str()?)?;
    let frr_hand = Hand::named(words.next()?.to_str()?)?;
    let log_json = words.next()? == "json";
    let socket = if words.next()? == KEPT { stdin().as_fd().try_clone_to_owned().ok() } else { None };
    let frr_instance = words.next().and_then(|word| word.into_string().ok());
    let args = GuardArgs { frr_root, frr_instance, frr_hand, state_dir, form, log_json };
    Some((args, socket.map(UnixListener::from)))
}
