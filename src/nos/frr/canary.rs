//! A throw-away FRR that reads a candidate: FRR's own binaries, in namespaces where nothing forwards.
//!
//! The parent starts a child of the same binary, which leaves the network, the mounts and the processes of this machine
//! behind and starts a second one as the first process of the new world. That one mounts empty memory over
//! every place where FRR's daemons write, starts the daemons in FRR's own root, loads the candidate and tells what runs
//! then. When the parent gives up it kills both children, and when it dies they die with it; with the second one the
//! kernel ends every daemon of that world. Nothing is left behind, and no packet leaves an empty network namespace.
//!
//! vtysh's word is not enough: it returns 0 where bgpd refused a whole batch of filters, and 1 for lines that took effect.
//! So what runs is read back, and every line that does not is given to each daemon once more, alone, for its own code.
#![expect(clippy::disallowed_methods, reason = "shell: processes, mounts, files")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::change::dialect::frr::{self as dialect, Numbered};
use crate::change::diff::{Candidate, Checked, Complaint};
use crate::child::{self, Ended};
use crate::nos::frr::socket::brief;
use crate::nos::frr::{PROBE, Places};
use crate::nos::{Validator, ValidatorError};
use crate::vty::Vty;

/// The hidden subcommand of the child.
pub const SUBCOMMAND: &str = "canary";
/// … and of its child, the first process of the new world.
pub const INNER: &str = "canary-inner";

/// An ordinary candidate takes half a second.
const DEADLINE: Duration = Duration::from_secs(20);
/// An ordinary one has fewer lines.
const ORDINARY: usize = 500;
/// What each line beyond may take on top: on a busy control CPU ten thousand neighbours were seen to take 55 s, and of one
/// prefix-list a thousand entries 33 s, because 8.4 compares each of them with all others.
const PER_LINE: Duration = Duration::from_millis(25);
/// For one command, inside.
const ANSWER: Duration = Duration::from_secs(10);
/// Where the daemons are, in every distribution that packages FRR.
const BINARIES: &str = "/usr/lib/frr";
/// Without a running FRR to go by.
const DAEMONS: [&str; 5] = ["mgmtd", "zebra", "staticd", "bgpd", "bfdd"];
/// Places where FRR's daemons write, in the order in which they are covered: `/var/run` may be a link to `/run`.
const WRITABLE: [&str; 7] =
    ["/var/run", "/run", "/var/tmp", "/tmp", "/var/lib/frr", "/var/log/frr", "/etc/frr"];
/// A text of which more lines are missing was not read at all; the first ones tell why.
const MOST_PROBES: usize = 500;
/// From 10 on one connection at a time may configure, and one that was closed counts for a moment still.
const LOCK_TRIES: u32 = 40;
const LOCK_WAIT: Duration = Duration::from_millis(50);

#[derive(Serialize, Deserialize)]
struct Job {
    /// With secrets: it goes through a pipe, into a file that only root can read, in memory that dies with the child.
    text: String,
    daemons: Vec<String>,
    profile: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Loaded { running: String, complaints: Vec<Complaint> },
    Unavailable(String),
}

/// Validates for one FRR instance.
#[derive(Debug, Clone)]
pub struct Canary {
    pub(super) places: Places,
    pub(super) secrets: BTreeMap<String, String>,
}

impl Canary {
    /// The daemons that the switch runs, and their profile, as far as they can be known.
    async fn like_the_switch(&self) -> (Vec<String>, Option<String>) {
        let folder = self.places.run().join("frr").join(self.places.instance.as_deref().unwrap_or_default());
        let mut running: Vec<String> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".vty").map(str::to_owned))
            .filter(|name| name != "watchfrr" && name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            .collect();
        running.sort();
        if running.is_empty() {
            return (DAEMONS.map(str::to_owned).to_vec(), None);
        }
        let socket = crate::vty::Daemon::Zebra.socket(&self.places.run(), self.places.instance.as_deref());
        let profile = async {
            let text = super::ask(&socket, PROBE, "show running-config").await.ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix("frr defaults "))
                .map(|name| name.trim().to_owned())
        };
        (running, profile.await)
    }

    fn conceal(&self, text: &str) -> String {
        dialect::secrets::conceal(text, |value| {
            let known = self.secrets.iter().find(|(_, known)| *known == value);
            known.map_or("<secret>", |(placeholder, _)| placeholder).to_owned()
        })
    }

    async fn ask(&self, job: &Job) -> Result<Answer, ValidatorError> {
        let input = serde_json::to_vec(job).map_err(|error| ValidatorError::Failed(error.to_string()))?;
        let arguments = [OsStr::new(SUBCOMMAND), self.places.root.as_os_str()];
        let ended = child::ask(arguments, &input).await.map_err(anyhow::Error::from);
        let Ended { said, status } =
            ended.map_err(|error| ValidatorError::Failed(format!("the validator {error:#}")))?;
        serde_json::from_slice(&said)
            .map_err(|_| ValidatorError::Failed(format!("the validator ended with {status} and no answer")))
    }
}

impl Validator for Canary {
    const NAME: &'static str = "frr";

    async fn check(&self, candidate: &Candidate) -> Result<Checked, ValidatorError> {
        let owned = candidate.literal.get(dialect::OWNER).or_else(|| candidate.texts.get(dialect::OWNER));
        let Some(text) = owned else { return Ok(Checked::default()) };
        let text = dialect::secrets::reveal(text, &self.secrets);
        let lines = u32::try_from(text.lines().count().saturating_sub(ORDINARY)).unwrap_or(u32::MAX);
        let patience = DEADLINE.saturating_add(PER_LINE.saturating_mul(lines));
        let checking = async {
            let (daemons, profile) = self.like_the_switch().await;
            self.ask(&Job { text, daemons, profile }).await
        };
        let answer = tokio::time::timeout(patience, checking).await.map_err(|_| {
            ValidatorError::Failed(format!("the validator did not end within {} s", patience.as_secs()))
        })??;
        match answer {
            Answer::Unavailable(why) => Err(ValidatorError::Unavailable(why)),
            Answer::Loaded { running, complaints } => Ok(Checked {
                complaints: complaints
                    .into_iter()
                    .map(|Complaint { line, text, said }| Complaint {
                        line,
                        text: self.conceal(&text),
                        said: self.hide(&said),
                    })
                    .collect(),
                texts: BTreeMap::from([(dialect::OWNER.to_owned(), self.conceal(&running))]),
            }),
        }
    }
}

impl Canary {
    /// What a daemon says may repeat a secret anywhere.
    fn hide(&self, said: &str) -> String {
        self.secrets
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .fold(self.conceal(said), |said, (placeholder, value)| said.replace(value.as_str(), placeholder))
    }
}

fn answer(answer: &Answer) -> anyhow::Result<()> {
    io::stdout().lock().write_all(&serde_json::to_vec(answer)?)?;
    Ok(())
}

/// The first child: makes the new world and starts its first process.
pub fn outer(root: &Path) -> anyhow::Result<()> {
    die_with_the_parent()?;
    let world = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if let Err(error) = unshare(world) {
        return answer(&Answer::Unavailable(format!("new namespaces need CAP_SYS_ADMIN ({error})")));
    }
    let status = Command::new("/proc/self/exe").arg(INNER).arg(root).status()?;
    anyhow::ensure!(status.success(), "{status}");
    Ok(())
}

/// A parent that dies before that leaves a child that ends by itself.
fn die_with_the_parent() -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
}

/// The second child, process 1 of its world.
pub fn inner(root: &Path) -> anyhow::Result<()> {
    die_with_the_parent()?;
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input)?;
    let job: Job = serde_json::from_slice(&input)?;
    let world = match World::make(root) {
        Ok(world) => world,
        Err(why) => return answer(&Answer::Unavailable(why)),
    };
    let daemons = match world.start(&job) {
        Ok(daemons) => daemons,
        Err(why) => return answer(&Answer::Unavailable(why)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let loaded = runtime.block_on(world.load(&job.text, &daemons))?;
    answer(&loaded)
}

/// Where FRR runs, seen from inside.
struct World {
    run: PathBuf,
    /// `/dev/null`, which FRR's root need not have.
    null: std::fs::File,
}

impl World {
    fn make(root: &Path) -> Result<Self, String> {
        let none: Option<&str> = None;
        let step = |what: &str, result: nix::Result<()>| result.map_err(|error| format!("{what}: {error}"));
        let null = std::fs::File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| format!("/dev/null: {error}"))?;
        // Else the mounts below would appear outside too.
        step("making mounts private", mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))?;
        if root != Path::new("/") {
            step(&format!("entering {}", root.display()), nix::unistd::chroot(root))?;
        }
        std::env::set_current_dir("/").map_err(|error| error.to_string())?;
        if !Path::new(BINARIES).join("bgpd").exists() {
            return Err(format!("FRR's binaries are not in {}", root.join(&BINARIES[1..]).display()));
        }
        let owner = frr_user().ok_or("the user frr is not in etc/passwd of FRR's root")?;
        let empty = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        for place in WRITABLE.iter().filter(|place| Path::new(place).is_dir()) {
            let result = mount(Some("none"), *place, Some("tmpfs"), empty, Some("mode=755,size=64m"));
            step(&format!("mounting memory on {place}"), result)?;
        }
        // The daemons look at their world through it; without one they make do.
        if Path::new("/proc").is_dir() {
            let _ = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none);
        }
        let run = if Path::new("/var/run").is_dir() { "/var/run/frr" } else { "/run/frr" };
        let world = Self { run: PathBuf::from(run), null };
        let prepare = || -> io::Result<()> {
            for folder in
                [run, "/var/run/frr", "/run/frr", "/etc/frr", "/var/lib/frr", "/var/log/frr", "/var/tmp/frr"]
            {
                // Where there is no such place the daemons have no use for it.
                if std::fs::create_dir_all(folder).is_ok() {
                    std::os::unix::fs::chown(folder, Some(owner.0.as_raw()), Some(owner.1.as_raw()))?;
                }
            }
            Self::write("/etc/frr/vtysh.conf", "")
        };
        prepare().map_err(|error| format!("preparing {run}: {error}"))?;
        Ok(world)
    }

    /// A file for vtysh, which runs as root: for nobody else to read.
    fn write(path: impl AsRef<Path>, text: &str) -> io::Result<()> {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    }

    /// Starts the daemons, all at once; each comes back when it answers.
    fn start(&self, job: &Job) -> Result<Vec<String>, String> {
        let mut starting = Vec::new();
        for name in &job.daemons {
            let program = Path::new(BINARIES).join(name);
            if !program.exists() {
                continue;
            }
            let said = self.run.join(format!("{name}.said"));
            let output = std::fs::File::create(&said).map_err(|error| error.to_string())?;
            let mut command = Command::new(&program);
            command.args(["-d", "-A", "127.0.0.1", "-P", "0"]);
            if let Some(profile) = &job.profile {
                command.args(["-F", profile]);
            }
            if name == "bgpd" {
                // No port to listen on, and no power needed for one.
                command.args(["-p", "0"]);
            }
            command.env_clear().stdin(self.null()?).stdout(self.null()?).stderr(output);
            let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
            starting.push((name, child, said));
        }
        let mut started = Vec::new();
        for (name, mut child, said) in starting {
            let status = child.wait().map_err(|error| format!("{name}: {error}"))?;
            if !status.success() || !self.socket(name).exists() {
                let said = std::fs::read_to_string(said).unwrap_or_default();
                let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
                return Err(format!("{name} does not start there ({status}); it said: {}", said.trim()));
            }
            started.push(name.clone());
        }
        Ok(started)
    }

    fn null(&self) -> Result<Stdio, String> {
        self.null.try_clone().map(Stdio::from).map_err(|error| format!("/dev/null: {error}"))
    }

    fn socket(&self, daemon: &str) -> PathBuf {
        self.run.join(format!("{daemon}.vty"))
    }

    async fn load(&self, text: &str, daemons: &[String]) -> io::Result<Answer> {
        let path = self.run.join("candidate.conf");
        Self::write(&path, text)?;
        let output = Command::new("/usr/bin/vtysh")
            .arg("-f")
            .arg(&path)
            .env_clear()
            .stdin(self.null().map_err(io::Error::other)?)
            .output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let running = self.read(daemons).await?;
        let complaints = self.missing(text, &said, &running, daemons).await?;
        Ok(Answer::Loaded { running, complaints })
    }

    async fn read(&self, daemons: &[String]) -> io::Result<String> {
        let mut texts: BTreeMap<&str, String> = BTreeMap::new();
        for daemon in daemons {
            texts.insert(daemon, super::ask(&self.socket(daemon), ANSWER, "show running-config").await?);
        }
        Ok(dialect::merge(&texts))
    }

    /// The lines that do not run and that a daemon refuses when it is asked about them alone. A line that is taken and not
    /// shown is a default, or spelt otherwise.
    async fn missing(
        &self,
        text: &str,
        said: &str,
        running: &str,
        daemons: &[String],
    ) -> io::Result<Vec<Complaint>> {
        let has: BTreeSet<Vec<String>> =
            dialect::numbered(running).into_iter().map(|line| line.path).collect();
        let unknown = unknown_lines(said);
        let mut complaints: Vec<Complaint> = Vec::new();
        let mut refused: Vec<Vec<String>> = Vec::new();
        let lines = dialect::numbered(text).into_iter().filter(|line| !has.contains(&line.path));
        for Numbered { number, path } in lines.filter(|line| !is_header(&line.path)).take(MOST_PROBES) {
            // The lines of a block that was refused cannot be better than the block.
            if refused.iter().any(|block| path.starts_with(block)) {
                continue;
            }
            let mut known = false;
            let mut refusal = None;
            for daemon in daemons {
                match self.probe(daemon, &path).await? {
                    None => {}
                    Some((code, text)) if code > 1 => refusal = refusal.or(Some(text)),
                    Some(_) => known = true,
                }
            }
            let said = match (refusal, known) {
                (Some(said), _) => said,
                // A text without indentation is read in the wrong block here: only vtysh knows the right one.
                (None, false) if unknown.contains(&number) => "unknown command".to_owned(),
                _ => continue,
            };
            let text = path.last().cloned().unwrap_or_default();
            refused.push(path);
            complaints.push(Complaint { line: number, text, said });
        }
        Ok(complaints)
    }

    /// What a daemon says about one line in its blocks; `None` if it does not know it.
    async fn probe(&self, daemon: &str, path: &[String]) -> io::Result<Option<(u8, String)>> {
        let mut vty = Vty::open(&self.socket(daemon), ANSWER).await?;
        vty.enable().await?;
        vty.ask("configure terminal").await?;
        let (line, blocks) = path.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        for block in blocks {
            if vty.ask(block).await?.code > 1 {
                return Ok(None);
            }
        }
        let mut reply = vty.ask(line).await?;
        for _ in 0..LOCK_TRIES {
            if !reply.text.contains("could not lock") {
                break;
            }
            tokio::time::sleep(LOCK_WAIT).await;
            reply = vty.ask(line).await?;
        }
        // Without a word the daemon frees the lock some time later.
        vty.ask("end").await?;
        // 2 is no such command, 3 ambiguous, 4 incomplete (`lib/command.h`).
        Ok(match reply.code {
            2 => None,
            code => Some((code, brief(&reply.text))),
        })
    }
}

/// Lines that are vtysh's own or tell the machine's name: no daemon has to know them.
fn is_header(path: &[String]) -> bool {
    ["frr ", "hostname ", "domainname ", "service ", "log ", "no log ", "line ", "username ", "debug "]
        .iter()
        .any(|header| path[0].starts_with(header))
}

/// The numbers in vtysh's `line N: …`.
fn unknown_lines(said: &str) -> BTreeSet<usize> {
    said.lines()
        .filter_map(|line| line.trim().strip_prefix("line ")?.split_once(':')?.0.parse().ok())
        .collect()
}

/// User and group `frr`. Read from the files themselves: a static binary has no other way.
fn frr_user() -> Option<(nix::unistd::Uid, nix::unistd::Gid)> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = text.lines().find_map(|line| line.strip_prefix("frr:"))?.split(':').skip(1);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some((nix::unistd::Uid::from_raw(uid), nix::unistd::Gid::from_raw(gid)))
}
