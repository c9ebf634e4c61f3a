//! A throw-away FRR, and a BIRD to talk to it, in network namespaces of their own.
//!
//! Two releases of FRR: the machine's own, 8.4, and 10.3 in a root file system of its own. Everything is removed on drop, also after a panic: daemons (by the pids they wrote), namespaces, directories.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::{available, ip, ips, privileged};
use crate::release::Release;

const DAEMONS: &str = "/usr/lib/frr";

/// FRR's view of the file system; `None`, loudly, where this release cannot be had.
fn root_of(release: Release) -> Option<PathBuf> {
    static OTHER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if release == Release::V8_4 {
        return Some(PathBuf::from("/"));
    }
    let made = OTHER.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/frr/root.sh");
        let output = Command::new(script).stdin(Stdio::null()).output().expect("the script");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.code() {
            Some(0) => Ok(PathBuf::from(text(&output.stdout))),
            Some(77) => Err(text(&output.stderr)),
            _ => panic!("tests/lab/frr/root.sh: {}", text(&output.stderr)),
        }
    });
    match made {
        Ok(root) => Some(root.clone()),
        Err(why) => {
            available(&format!("FRR 10.3 ({why})"), false);
            None
        }
    }
}

/// True if this machine can run this FRR, and BIRD, in namespaces; says what is missing.
pub fn can_run(release: Release) -> bool {
    available("root, to make network namespaces", privileged())
        && available("FRR (zebra, bgpd, bfdd, vtysh)", Path::new(DAEMONS).join("bgpd").exists())
        && available("BIRD 2 (bird)", found("bird"))
        && root_of(release).is_some()
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
    pub fn run(&self, program: &str, words: &[&str]) {
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

impl Netns {
    /// A sysctl of the namespace, such as `net.ipv4.ip_forward=1`.
    pub fn sysctl(&self, setting: &str) {
        self.run("sysctl", &["-qw", setting]);
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
    fs::read_to_string(file).ok()?.trim().parse().ok().map(Pid::from_raw)
}

/// One FRR instance.
pub struct Frr {
    pub netns: Netns,
    /// FRR's view of the file system.
    pub root: PathBuf,
    daemons: Vec<&'static str>,
}

impl Frr {
    /// Starts the daemons and loads `config` (may be empty).
    pub fn start(release: Release, netns: Netns, daemons: &[&'static str], config: &str) -> Self {
        let root = root_of(release).expect("asked before by can_run");
        let mut frr = Self { netns, root, daemons: daemons.to_vec() };
        // From 10 on it hands out the configuration.
        if frr.root.join("usr/lib/frr/mgmtd").exists() {
            frr.daemons.insert(0, "mgmtd");
        }
        for dir in [frr.etc(), frr.run()] {
            fs::create_dir_all(&dir).unwrap();
            frr.own(&dir);
        }
        for (file, text) in [("vtysh.conf", ""), ("frr.conf", config)] {
            let path = frr.etc().join(file);
            fs::write(&path, text).unwrap();
            frr.own(&path);
        }
        for daemon in frr.daemons.clone() {
            frr.start_daemon(daemon);
        }
        if !config.is_empty() {
            let loaded = frr.vtysh(&["-b"]);
            let problem = String::from_utf8_lossy(&loaded.stderr);
            assert!(loaded.status.success(), "vtysh -b: {problem}");
        }
        frr
    }

    fn start_daemon(&self, daemon: &str) {
        let log = format!("file:/run/frr/{}/{daemon}.log", self.instance());
        let words =
            [&format!("{DAEMONS}/{daemon}"), "-d", "-N", self.instance(), "-A", "127.0.0.1", "--log", &log];
        if self.root == Path::new("/") {
            self.netns.run(words[0], &words[1..]);
        } else {
            // `ip netns exec` gives a mount namespace of its own, which ends with the daemon.
            let enter = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
            let root = self.root.display().to_string();
            self.netns.run("sh", &[["-c", enter, &root].as_slice(), &words].concat());
        }
    }

    /// Starts a daemon again that ended, and gives it its part of `frr.conf`.
    pub fn restart(&self, daemon: &str) {
        self.start_daemon(daemon);
        let loaded = self.vtysh(&["-b", "-d", daemon]);
        assert!(loaded.status.success(), "vtysh -b: {}", String::from_utf8_lossy(&loaded.stderr));
    }

    /// vtysh with these words.
    pub fn vtysh(&self, words: &[&str]) -> Output {
        let mut command = if self.root == Path::new("/") {
            Command::new("vtysh")
        } else {
            let mut command = Command::new("chroot");
            command.arg(&self.root).arg("vtysh");
            command
        };
        command.args(["-N", self.instance()]).args(words).stdin(Stdio::null()).output().unwrap()
    }

    /// Sends configuration lines to it; every one of them must be taken.
    pub fn configure(&self, lines: &str) {
        let name = format!("run/frr/{}/test.conf", self.instance());
        fs::write(self.root.join(&name), format!("{lines}\n")).unwrap();
        let output = self.vtysh(&["-f", &format!("/{name}")]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{lines}: {said}");
    }

    /// What it answers to one command.
    pub fn show(&self, command: &str) -> String {
        String::from_utf8_lossy(&self.vtysh(&["-c", command]).stdout).into_owned()
    }

    /// What it was started with as `-N`.
    pub fn instance(&self) -> &str {
        &self.netns.name
    }

    fn etc(&self) -> PathBuf {
        self.root.join("etc/frr").join(self.instance())
    }

    fn run(&self) -> PathBuf {
        self.run_parent().join("frr").join(self.instance())
    }

    /// The folder above its sockets.
    pub fn run_parent(&self) -> PathBuf {
        self.root.join("run")
    }

    fn own(&self, path: &Path) {
        let its = fs::metadata(self.root.join("etc/frr")).unwrap();
        std::os::unix::fs::chown(path, Some(its.uid()), Some(its.gid())).unwrap();
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
        let _ = fs::remove_dir_all(self.run());
        let _ = fs::remove_dir_all(self.etc());
    }
}

/// One BIRD.
pub struct Bird {
    pub netns: Netns,
    dir: tempfile::TempDir,
}

impl Bird {
    pub fn start(netns: Netns, config: &str) -> Self {
        let bird = Self { netns, dir: tempfile::tempdir().unwrap() };
        fs::write(bird.path("bird.conf"), config).unwrap();
        bird.run();
        bird
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Starts it again after it was killed.
    pub fn run(&self) {
        let (config, socket, pid) = (self.path("bird.conf"), self.path("bird.ctl"), self.path("bird.pid"));
        self.netns.run("bird", &["-c", &config, "-s", &socket, "-P", &pid]);
    }

    /// Ends it without a word to its peers, but for what the kernel says when a socket is closed.
    pub fn kill(&self) {
        end(Path::new(&self.path("bird.pid")));
    }

    /// Another configuration from now on, without a new session where none is needed.
    pub fn configure(&self, config: &str) {
        fs::write(self.path("bird.conf"), config).unwrap();
        let said = self.ask("configure");
        assert!(said.contains("Reconfig"), "{said}");
    }

    /// What it answers.
    pub fn ask(&self, words: &str) -> String {
        let socket = self.path("bird.ctl");
        let output =
            Command::new("birdc").args(["-s", &socket]).args(words.split(' ')).output().expect("birdc");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        self.kill();
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
