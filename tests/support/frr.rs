//! A throw-away FRR, and a BIRD to talk to it, in network namespaces of their own.
//!
//! Everything is removed on drop, also after a panic: daemons (by the pids they wrote), namespaces, directories.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::{available, ip, ips, privileged};

const DAEMONS: &str = "/usr/lib/frr";

/// True if this machine can run FRR and BIRD in namespaces; says what is missing.
pub fn can_run() -> bool {
    available("root, to make network namespaces", privileged())
        && available("FRR (zebra, bgpd, bfdd, vtysh)", Path::new(DAEMONS).join("bgpd").exists())
        && available("BIRD 2 (bird)", found("bird"))
}

fn found(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists())
}

fn unique(role: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{role}{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A named network namespace.
pub struct Netns {
    pub name: String,
}

impl Netns {
    pub fn new(role: &str) -> Self {
        let name = unique(role);
        ip(&format!("netns add {name}"));
        let netns = Self { name };
        netns.ip("link set lo up");
        // Link-local addresses serve at once; else a BGP session may be up before they do, and speak otherwise.
        netns.run("sysctl", &["-w", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"]);
        netns
    }

    /// Runs `ip` in here; must succeed.
    pub fn ip(&self, words: &str) -> String {
        ip(&format!("-n {} {words}", self.name))
    }

    /// A cable: `port` here, `other_port` there.
    pub fn cable(&self, port: &str, other: &Netns, other_port: &str) {
        ips(&format!(
            "-n {} link add {port} type veth peer name {other_port} netns {}",
            self.name, other.name
        ));
        self.ip(&format!("link set {port} up"));
        other.ip(&format!("link set {other_port} up"));
    }

    /// Runs a program in here until it has put itself into the background. Its output goes nowhere: a daemon
    /// would hold a pipe open for ever.
    fn run(&self, program: &str, words: &[&str]) {
        let status = Command::new("ip")
            .args(["netns", "exec", &self.name, program])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{program} {words:?}: {status}");
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Ends the process whose pid is in `file`, even a frozen one.
fn end(file: &Path) {
    if let Some(pid) = pid_in(file) {
        let _ = kill(pid, Signal::SIGKILL);
        let _ = kill(pid, Signal::SIGCONT);
    }
}

fn pid_in(file: &Path) -> Option<Pid> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok().map(Pid::from_raw)
}

/// One FRR instance.
pub struct Frr {
    pub netns: Netns,
    daemons: Vec<&'static str>,
}

impl Frr {
    /// Starts the daemons and loads `config` (may be empty).
    pub fn start(netns: Netns, daemons: &[&'static str], config: &str) -> Self {
        let frr = Self { netns, daemons: daemons.to_vec() };
        for dir in [frr.etc(), frr.run()] {
            std::fs::create_dir_all(&dir).unwrap();
            own(&dir);
        }
        for (file, text) in [("vtysh.conf", ""), ("frr.conf", config)] {
            let path = frr.etc().join(file);
            std::fs::write(&path, text).unwrap();
            own(&path);
        }
        let name = frr.instance().to_owned();
        for daemon in daemons {
            let log = format!("file:{}", frr.run().join(format!("{daemon}.log")).display());
            let words = ["-d", "-N", &name, "-A", "127.0.0.1", "--log", &log];
            frr.netns.run(&format!("{DAEMONS}/{daemon}"), &words);
        }
        if !config.is_empty() {
            let loaded =
                Command::new("vtysh").args(["-N", &name, "-b"]).stdin(Stdio::null()).output().unwrap();
            let problem = String::from_utf8_lossy(&loaded.stderr);
            assert!(loaded.status.success(), "vtysh -b: {problem}");
        }
        frr
    }

    /// What it was started with as `-N`.
    pub fn instance(&self) -> &str {
        &self.netns.name
    }

    fn etc(&self) -> PathBuf {
        Path::new("/etc/frr").join(self.instance())
    }

    fn run(&self) -> PathBuf {
        Path::new("/var/run/frr").join(self.instance())
    }

    /// Sends a signal to one daemon.
    pub fn signal(&self, daemon: &str, signal: Signal) {
        let pid = pid_in(&self.run().join(format!("{daemon}.pid"))).expect("a running daemon");
        kill(pid, signal).unwrap();
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        for daemon in &self.daemons {
            end(&self.run().join(format!("{daemon}.pid")));
        }
        let _ = std::fs::remove_dir_all(self.run());
        let _ = std::fs::remove_dir_all(self.etc());
    }
}

fn own(path: &Path) {
    let frr = nix::unistd::User::from_name("frr").unwrap().expect("user frr");
    nix::unistd::chown(path, Some(frr.uid), Some(frr.gid)).unwrap();
}

/// One BIRD.
pub struct Bird {
    pub netns: Netns,
    dir: tempfile::TempDir,
}

impl Bird {
    pub fn start(netns: Netns, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("bird.conf"), config).unwrap();
        netns.run("bird", &["-c", &path("bird.conf"), "-s", &path("bird.ctl"), "-P", &path("bird.pid")]);
        Self { netns, dir }
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        end(&self.dir.path().join("bird.pid"));
    }
}

/// Repeats `probe` until it has an answer.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
