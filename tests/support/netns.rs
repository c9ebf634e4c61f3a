//! Fresh network namespaces for tests on the real kernel.
//!
//! Each runs on a thread of its own, which dies with it: a thread that has changed its namespace must never go
//! back to a pool. Commands started from that thread inherit the namespace.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr
)]

use std::io::Write;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

/// Says whether the machine lends itself to `need`; in CI a missing thing is a failure, elsewhere a loud skip.
pub fn available(need: &str, present: bool) -> bool {
    if !present {
        assert!(std::env::var_os("CI").is_none(), "this test needs {need}, and in CI nothing is skipped");
        eprintln!("SKIPPED: this test needs {need}");
    }
    present
}

/// True if the process may make namespaces.
pub fn privileged() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs `work` in a fresh network namespace with `lo` up. A panic inside is a panic outside.
pub fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    if !available("root, to make network namespaces", privileged()) {
        return None;
    }
    let result = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("unshare(CLONE_NEWNET)");
                ip("link set lo up");
                work()
            })
            .join()
    });
    Some(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// Runs `ip` with these words, which must succeed; its output.
pub fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("ip (iproute2)");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {problem}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs several `ip` commands, one per line.
pub fn ips(lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        ip(line);
    }
}

/// Feeds `ip -batch`; with `force` failing lines are passed over.
pub fn ip_batch(lines: &str, force: bool) {
    let mut command = Command::new("ip");
    if force {
        command.arg("-force");
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(if force { Stdio::null() } else { Stdio::inherit() })
        .spawn()
        .expect("ip (iproute2)");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let status = child.wait().unwrap();
    assert!(force || status.success(), "ip -batch: {status}");
}

/// Sets a sysctl of the namespace, e.g. `net/ipv4/nexthop_compat_mode`.
pub fn sysctl(key: &str, value: &str) {
    std::fs::write(format!("/proc/sys/{key}"), value).unwrap_or_else(|error| panic!("{key}: {error}"));
}

/// Three ports `p1`–`p3`, each with a neighbour: `10.9.N.0/24` and `fd00:N::/64`, ours `.1`, theirs `.2`.
/// `link set qN down` takes port N's carrier away.
pub fn three_ports() {
    for n in 1..=3 {
        ips(&format!(
            "link add p{n} type veth peer name q{n}
             link set p{n} up
             link set q{n} up
             addr add 10.9.{n}.1/24 dev p{n}
             -6 addr add fd00:{n}::1/64 dev p{n} nodad"
        ));
    }
}

/// Waits until `ip` says that a device has no carrier (or is down).
pub fn wait_for_carrier_loss(device: &str) {
    for _ in 0..200 {
        let link = ip(&format!("link show dev {device}"));
        if link.contains("NO-CARRIER") || link.contains("M-DOWN") || link.contains("state DOWN") {
            // The routes follow by a work queue of their own.
            std::thread::sleep(std::time::Duration::from_millis(50));
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{device} kept its carrier");
}
