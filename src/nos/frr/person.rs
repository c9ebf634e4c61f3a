//! Whether a person is at FRR's command line.
//!
//! FRR does not tell who is in configuration mode: vtysh keeps the mode to itself. So a vtysh on a terminal, of this instance,
//! that was not given its commands, is taken for somebody who may be in the middle of something. Seen are the processes that
//! share our view of `/proc`: in a pod without `hostPID` nobody is.
#![expect(clippy::disallowed_methods, reason = "shell: reads /proc")]

use std::fs;
use std::path::Path;

use super::Places;

/// Options of vtysh by which it does something and ends; the shorter ones may be joined to their value.
const NOT_BY_HAND: [&str; 9] = ["-c", "-f", "-b", "-C", "-w", "-m", "-h", "--command", "--inputfile"];

/// The first one found, as `vtysh on pts/3 (pid 1234)`.
pub(super) fn at_the_command_line(places: &Places) -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids: Vec<u32> =
        processes.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).collect();
    pids.sort_unstable();
    pids.into_iter().find_map(|pid| {
        let process = Path::new("/proc").join(pid.to_string());
        let name = fs::read_to_string(process.join("comm")).ok()?;
        if name.trim_end() != "vtysh" {
            return None;
        }
        let words = fs::read(process.join("cmdline")).ok()?;
        let root = fs::read_link(process.join("root")).ok()?;
        let terminal = fs::read_link(process.join("fd/0")).ok()?;
        let terminal = terminal.strip_prefix("/dev").ok().filter(|name| is_terminal(name))?;
        // A root of another mount namespace reads as `/`.
        let here = root == places.root || root == Path::new("/");
        (here && is_by_hand(&words, places.instance.as_deref()))
            .then(|| format!("vtysh on {} (pid {pid})", terminal.display()))
    })
}

fn is_terminal(name: &Path) -> bool {
    name.starts_with("pts") || name.to_str().is_some_and(|name| name.starts_with("tty"))
}

/// `words` is a command line as `/proc` has it, with a NUL after each word.
fn is_by_hand(words: &[u8], instance: Option<&str>) -> bool {
    let words: Vec<String> = words
        .split(|byte| *byte == 0)
        .skip(1)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let named = words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix("-N") {
        Some("") => words.get(at + 1).map(String::as_str),
        Some(joined) => Some(joined),
        None => word
            .strip_prefix("--pathspace=")
            .or_else(|| (word == "--pathspace").then(|| words.get(at + 1).map(String::as_str)).flatten()),
    });
    named == instance && !words.iter().any(|word| NOT_BY_HAND.iter().any(|option| is_option(word, option)))
}

fn is_option(word: &str, option: &str) -> bool {
    if option.starts_with("--") {
        word.starts_with(option)
    } else {
        word.starts_with(option) && !word.starts_with("--")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_vtysh_that_waits_for_a_person_counts() {
        for (words, instance, expected) in [
            ("vtysh\0", None, true),
            ("/usr/bin/vtysh\0-N\0leaf1\0", Some("leaf1"), true),
            ("vtysh\0-Nleaf1\0", Some("leaf1"), true),
            ("vtysh\0--pathspace=leaf1\0", Some("leaf1"), true),
            ("vtysh\0-N\0leaf2\0", Some("leaf1"), false),
            ("vtysh\0", Some("leaf1"), false),
            ("vtysh\0-c\0show version\0", None, false),
            ("vtysh\0-cshow version\0", None, false),
            ("vtysh\0--command\0show version\0", None, false),
            ("vtysh\0-f\0/tmp/x\0", None, false),
            ("vtysh\0-d\0bgpd\0", None, true),
            ("vtysh\0-E\0", None, true),
        ] {
            assert_eq!(is_by_hand(words.as_bytes(), instance), expected, "{words:?}");
        }
        assert!(is_terminal(Path::new("pts/3")) && is_terminal(Path::new("ttyS0")));
        assert!(!is_terminal(Path::new("null")));
    }
}
