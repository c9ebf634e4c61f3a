//! The guard's second start, with plain words for a command line.
//!
//! It lives for as long as the switch does and shares its small memory. Reading flags, environment and the log's filter touches
//! megabytes of the program that it never needs again, so it starts anew in its own place, under the same number, and
//! takes what was read as words in a fixed order. Nothing here is a secret.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;

use crate::guard::Form;
use crate::nos::frr::Hand;
use crate::settings::GuardArgs;

/// After `guard`; no flag that a person would write.
const WORD: &str = "--as-read";

/// Starts anew; comes back only where that cannot be done.
pub(super) fn again(args: &GuardArgs) {
    let GuardArgs { frr_root, frr_instance, frr_hand, state_dir, form, log_json } = args;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("switchlet").args(["guard", WORD]).arg(frr_root).arg(state_dir);
    command.args([form.name(), frr_hand.name(), if *log_json { "json" } else { "plain" }]).args(frr_instance);
    let error = command.exec();
    tracing::debug!(%error, "the guard was not started anew");
}

/// What was read before, if this is the second start.
pub(super) fn words() -> Option<GuardArgs> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != "guard" || words.next()? != WORD {
        return None;
    }
    let (frr_root, state_dir) = (PathBuf::from(words.next()?), PathBuf::from(words.next()?));
    let form = Form::from_str(words.next()?.to_str()?, false).ok()?;
    let frr_hand = Hand::from_str(words.next()?.to_str()?, false).ok()?;
    let log_json = words.next()? == "json";
    let frr_instance = words.next().and_then(|word| word.into_string().ok());
    Some(GuardArgs { frr_root, frr_instance, frr_hand, state_dir, form, log_json })
}
