//! A stand-in for SR Linux's management server: JSON-RPC with candidate, running and startup, a confirm timer that
//! really reverts, and state that a small forwarding model makes from the accepted configuration and the announcements.
//!
//! It names nothing of the product: it follows Nokia's models and documents, and recordings of a real switch. It is no SR Linux:
//! what it does not know it refuses.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "a test opens sockets, starts threads and looks at the clock")]

mod http;
pub mod model;
mod rpc;
mod tree;
mod validate;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

#[allow(unused_imports, reason = "not every user has every fault")]
pub use model::{Evpn, Fault, Network, Speaker};

/// Ways to misbehave. Counters count down.
#[derive(Debug, Clone, Default)]
pub struct Knobs {
    /// Every answer takes so long.
    pub slow: Duration,
    /// So many requests are cut off before an answer.
    pub drop_before: u32,
    /// So many requests are carried out, and then cut off without an answer.
    pub drop_after: u32,
    /// The next request of this method is carried out, and then cut off without an answer.
    pub drop_after_method: Option<String>,
    /// The next acceptance is carried out, and its answer lost.
    pub accept_unheard: bool,
    /// The next change is lost on its way, and somebody's commit, with a timer of a minute, comes instead.
    pub overtaken_by: Option<String>,
    /// So many requests get this error, with status 200.
    pub errors: Vec<String>,
    /// So many requests are told that the server is restarting.
    pub restarting: u32,
    /// A commit takes only the first half of its commands.
    pub half_applied: bool,
    /// Somebody has the candidate for himself.
    pub locked_by: Option<String>,
    /// The confirm timer is ignored.
    pub no_timer: bool,
    /// Group numbers change between the answers to one request, so many times.
    pub renumber: u32,
}

/// One commit.
#[derive(Debug, Clone)]
pub struct Commit {
    pub id: u64,
    pub username: String,
    pub status: String,
    pub before: Value,
    pub deadline: Option<Instant>,
}

/// All that the switch holds.
#[derive(Debug)]
pub struct Switch {
    pub version: String,
    pub chassis: String,
    pub running: Value,
    pub startup: Value,
    /// Where that is kept on disk: `/etc/opt/srlinux/config.json`.
    pub startup_file: PathBuf,
    pub commits: Vec<Commit>,
    pub network: Network,
    /// Served as it is instead of what the model makes.
    pub shown: Option<Value>,
    pub knobs: Knobs,
    pub log: Vec<Value>,
    /// Of groups and next-hops: changes with every change.
    pub numbers: u64,
    pub models: Option<PathBuf>,
    pub(crate) state: Option<(u64, Value, HashMap<String, Value>)>,
    pub(crate) changes: u64,
}

impl Switch {
    /// `24.10` as (24, 10).
    pub fn release(&self) -> (u32, u32) {
        let mut parts = self.version.trim_start_matches('v').split(['.', '-']);
        let mut part = || parts.next().unwrap().parse().unwrap();
        (part(), part())
    }

    pub fn changed(&mut self) {
        self.changes += 1;
        self.numbers += 1000;
        self.state = None;
    }

    /// What runs becomes what survives a reboot.
    pub fn save(&mut self) {
        self.startup = self.running.clone();
        let text = serde_json::to_vec_pretty(&with_modules(&self.startup)).unwrap();
        std::fs::write(&self.startup_file, text).unwrap();
    }

    /// A commit whose time is over goes back.
    pub fn tick(&mut self) {
        let now = Instant::now();
        let due = self
            .commits
            .iter()
            .position(|c| c.status == "unconfirmed" && c.deadline.is_some_and(|at| now >= at));
        if let Some(index) = due {
            self.revert(index);
        }
    }

    pub fn revert(&mut self, index: usize) {
        self.running = self.commits[index].before.clone();
        "reverted".clone_into(&mut self.commits[index].status);
        self.changed();
    }

    pub fn pending(&self) -> Option<usize> {
        self.commits.iter().position(|commit| commit.status == "unconfirmed")
    }

    /// Somebody at the CLI commits a document, with or without a timer.
    /// True if a request was lost, and somebody was quicker.
    pub fn is_overtaken(&mut self, asked: &Value) -> bool {
        let is_change = asked["method"] == "set" && asked["params"]["datastore"] != "tools";
        let Some(who) = self.knobs.overtaken_by.take_if(|_| is_change) else { return false };
        let mut running = self.running.clone();
        running["system"]["name"] = json!({"host-name": who});
        self.somebody_commits(&who, running, Some(Duration::from_secs(60)));
        true
    }

    pub fn somebody_commits(&mut self, who: &str, running: Value, timer: Option<Duration>) -> u64 {
        let id = self.commits.last().map_or(1, |commit| commit.id + 1);
        let status = if timer.is_some() { "unconfirmed" } else { "complete" };
        let before = std::mem::replace(&mut self.running, running);
        let deadline = timer.map(|timer| Instant::now() + timer);
        self.commits.push(Commit {
            id,
            username: who.to_owned(),
            status: status.to_owned(),
            before,
            deadline,
        });
        self.changed();
        id
    }
}

/// A running emulator; ends with its handle.
pub struct Emulator {
    pub switch: Arc<Mutex<Switch>>,
    pub folder: PathBuf,
    stop: Arc<AtomicBool>,
    /// Of TLS, if it listens there.
    pub port: Option<u16>,
    pub login: Option<(String, String)>,
    _temp: tempfile::TempDir,
}

/// How it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    Unix,
    /// On 127.0.0.1, with a certificate of an authority of its own in `ca.pem`; Basic authentication is asked for.
    Tls,
}

impl Emulator {
    /// A switch with nothing but the instance `name` of that type, and its interfaces.
    pub fn start(version: &str, chassis: &str, instance: (&str, &str), listen: Listen) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (name, kind) = instance;
        let running = json!({
            "network-instance": [{"name": name, "type": format!("srl_nokia-network-instance:{kind}"), "admin-state": "enable",
                "interface": [{"name": "irb1.1"}]}],
            "interface": [{"name": "irb1", "subinterface": [{"index": 1, "ipv4": {"admin-state": "enable", "address": [
                {"ip-prefix": "192.168.1.1/24", "anycast-gw": true}]}}]}],
        });
        let switch = Arc::new(Mutex::new(Switch {
            version: version.to_owned(),
            chassis: chassis.to_owned(),
            startup: running.clone(),
            startup_file: temp.path().join("config.json"),
            running,
            commits: Vec::new(),
            network: Network::default(),
            shown: None,
            knobs: Knobs::default(),
            log: Vec::new(),
            numbers: 16_357_608_000,
            models: None,
            state: None,
            changes: 1,
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let login = (listen == Listen::Tls).then(|| ("admin".to_owned(), "NokiaSrl1!".to_owned()));
        let port = http::listen(temp.path(), listen, &switch, &stop, login.clone());
        let (timer, ended) = (Arc::clone(&switch), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                timer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).tick();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { switch, folder: temp.path().to_owned(), stop, port, login, _temp: temp }
    }

    pub fn lock(&self) -> MutexGuard<'_, Switch> {
        self.switch.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("json-rpc.sock")
    }

    /// As `--nos-address` has it.
    pub fn address(&self) -> String {
        match self.port {
            Some(port) => format!("https://localhost:{port}"),
            None => format!("unix:{}", self.socket().display()),
        }
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// What the announcers say changes.
    pub fn network(&self, change: impl FnOnce(&mut Network)) {
        let mut switch = self.lock();
        change(&mut switch.network);
        switch.changed();
    }

    pub fn knobs(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.lock().knobs);
    }

    /// What stands at `path` of running.
    pub fn running(&self, path: &str) -> Value {
        tree::get(&self.lock().running, path)
    }

    pub fn startup_is_running(&self) -> bool {
        let switch = self.lock();
        switch.startup == switch.running
    }

    /// How many requests of a method came.
    pub fn asked(&self, method: &str) -> usize {
        self.lock().log.iter().filter(|request| request["method"] == method).count()
    }

    pub fn statuses(&self) -> Vec<String> {
        self.lock().commits.iter().map(|commit| commit.status.clone()).collect()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// `2026-06-12T16:29:39.861Z`, of now minus `ago`.
pub(crate) fn stamp(ago: Duration) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().saturating_sub(ago);
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to civil date, Howard Hinnant's algorithm.
    let z = i64::try_from(days).unwrap() + 719_468;
    let era = z / 146_097;
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Where the data set is, if it is here.
pub fn data_set() -> Option<PathBuf> {
    let here = std::env::var_os("SRLINUX_TESTDATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/srlinux");
    here.into_iter().chain([beside]).find(|path| path.join("yang").is_dir())
}

/// The document as the switch writes it: the module in front of each name at the top.
fn with_modules(document: &Value) -> Value {
    let members = document.as_object().cloned().unwrap_or_default();
    let named = members.into_iter().map(|(name, value)| {
        let module = match name.as_str() {
            "interface" => "interfaces",
            other => other,
        };
        (format!("srl_nokia-{module}:{name}"), value)
    });
    Value::Object(named.collect())
}
