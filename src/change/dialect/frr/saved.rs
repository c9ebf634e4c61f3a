//! A running text as somebody saved it: `show running-config` by vtysh, or a `frr.conf` that FRR wrote.

use super::{own, release, telling, tree};
use crate::intent::platform::Platform;

/// The text without what vtysh says around it, and the FRR that it came from.
pub fn saved(text: &str) -> (String, Platform) {
    let head = ["Building configuration", "Current configuration:"];
    let said = |line: &&str| !head.iter().any(|head| line.starts_with(head));
    let text: String = text.lines().filter(said).flat_map(|line| [line, "\n"]).collect();
    let release = release::of_text(&text);
    (text, release::as_platform(release))
}

/// Something that carries our name runs.
pub fn carries_our_name(running: &str) -> bool {
    !own(&telling(tree::flatten(running))).is_empty()
}
