//! FRR: reads over the daemons' vty sockets, writes by one of two hands.
//!
//! `exec` gives all commands to FRR's own `vtysh -f`. vtysh waits for ever if any one daemon is frozen, returns 0 when bgpd
//! is dead, and 1 for lines that took effect. So every daemon is asked for an answer first, vtysh has a deadline, and its exit
//! code is only a complaint. `socket` needs no program of FRR's: the commands go where the questions go, line by line.
#![expect(clippy::disallowed_methods, reason = "shell: processes and files")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use tokio::process::Command;

use crate::change::dialect::frr as dialect;
use crate::change::diff::{Candidate, Journal, Plan, Running};
use crate::files;
use crate::intent::platform::Platform;
use crate::nos::{Hold, NosDriver, NosError};
use crate::vty::{Daemon, Vty};

pub mod canary;
mod person;
mod socket;

use canary::Canary;

/// An answer of a healthy daemon takes a tenth of a millisecond, its whole configuration with ten thousand lines some
/// hundred.
const ANSWER: Duration = Duration::from_secs(5);
/// A daemon that does not answer this within a second is frozen, and vtysh would hang.
const PROBE: Duration = Duration::from_secs(1);
/// Ten thousand neighbours take vtysh 13 s on a slow control CPU.
const SENDING: Duration = Duration::from_secs(60);
/// Where every distribution has it.
const VTYSH: &str = "/usr/bin/vtysh";
/// The daemons whose text we read or write, if they run.
const DAEMONS: [Daemon; 5] = [Daemon::Mgmtd, Daemon::Zebra, Daemon::Bgpd, Daemon::Bfdd, Daemon::Staticd];
/// What vtysh says is cut to this many lines.
const MOST_COMPLAINTS: usize = 20;

/// Where one FRR instance lives.
#[derive(Debug, Clone)]
pub struct Places {
    /// FRR's view of the file system; `/` for the host's own.
    pub root: PathBuf,
    /// FRR's `-N`.
    pub instance: Option<String>,
}

impl Places {
    /// Parent of the folder with the sockets, as [`Daemon::socket`] takes it. Not `/var/run`: in another root that is
    /// a link out of it.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// `frr.conf`.
    pub fn startup(&self) -> PathBuf {
        self.etc().join("frr.conf")
    }

    /// The lock beside FRR's sockets; `None` while FRR has no folder there.
    pub fn lock(&self) -> Option<PathBuf> {
        let folder = self.root.join(self.run_inside());
        folder.is_dir().then(|| folder.join("switchlet.lock"))
    }

    fn etc(&self) -> PathBuf {
        let mut path = self.root.join("etc/frr");
        path.extend(self.instance.as_deref());
        path
    }

    fn run_inside(&self) -> PathBuf {
        let mut path = PathBuf::from("run/frr");
        path.extend(self.instance.as_deref());
        path
    }
}

/// How commands get to FRR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Hand {
    /// By its own vtysh where that lies beneath the root, else by the sockets.
    #[default]
    Auto,
    /// By its own vtysh.
    Exec,
    /// By the daemons' vty sockets alone.
    Socket,
}

impl Hand {
    /// The hand of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Auto, Self::Exec, Self::Socket].into_iter().find(|hand| hand.name() == name)
    }

    /// As the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Exec => "exec",
            Self::Socket => "socket",
        }
    }
}

/// One FRR instance.
pub struct FrrDriver {
    places: Places,
    hand: Hand,
    secrets: BTreeMap<String, String>,
    /// Passwords that run and are not the wanted one, each behind a placeholder of its own: an undo needs them.
    others: BTreeMap<String, String>,
}

impl FrrDriver {
    /// A driver; nothing is opened before it is used.
    pub fn new(places: Places, hand: Hand) -> Self {
        Self { places, hand, secrets: BTreeMap::new(), others: BTreeMap::new() }
    }

    /// Never [`Hand::Auto`].
    fn effective_hand(&self) -> Hand {
        match self.hand {
            Hand::Auto if self.places.root.join(VTYSH.trim_start_matches('/')).exists() => Hand::Exec,
            Hand::Auto => Hand::Socket,
            chosen => chosen,
        }
    }

    /// True if an FRR runs in its place.
    pub fn is_running(&self) -> bool {
        Daemon::Zebra.socket(&self.places.run(), self.places.instance.as_deref()).exists()
    }

    fn reveal(&self, text: &str) -> String {
        dialect::secrets::reveal(text, self.secrets.iter().chain(&self.others))
    }

    /// `text` with a placeholder for every password, ours or not: FRR prints them in clear.
    pub fn conceal(&mut self, text: &str) -> String {
        dialect::secrets::conceal(text, |value| self.placeholder(value))
    }

    fn placeholder(&mut self, value: &str) -> String {
        let known = self.secrets.iter().chain(&self.others).find(|(_, known)| *known == value);
        if let Some((placeholder, _)) = known {
            return placeholder.clone();
        }
        // What an earlier life has met may have come back by `set_secrets`.
        let free = |name: &String| !self.others.contains_key(name) && !self.secrets.contains_key(name);
        let mut names = (1_u32..).map(|number| format!("<secret:?{number}>"));
        let placeholder = names.find(free).unwrap_or_default();
        self.others.insert(placeholder.clone(), value.to_owned());
        placeholder
    }

    async fn texts(
        &self,
        deadline: Duration,
        command: &str,
    ) -> Result<BTreeMap<&'static str, String>, NosError> {
        // At the same time: each of them takes a while to write down a long filter.
        let asked = DAEMONS.into_iter().filter_map(|daemon| {
            let socket = daemon.socket(&self.places.run(), self.places.instance.as_deref());
            // A daemon that was never started has no socket; one that died left it.
            let required = matches!(daemon, Daemon::Zebra | Daemon::Bgpd);
            (required || socket.exists()).then_some(async move {
                let text = ask(&socket, deadline, command).await;
                let text = text.map_err(|source| NosError::Unreachable {
                    what: format!("{} does not answer on {}", daemon.name(), socket.display()),
                    source,
                });
                text.map(|text| (daemon.name(), text))
            })
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn vtysh(&mut self, commands: &str) -> Result<Vec<String>, NosError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| NosError::Unreachable { what, source }
        };
        let inside = self.places.run_inside().join(format!("switchlet-{}.conf", std::process::id()));
        let path = self.places.root.join(&inside);
        files::write_private(&path, commands.as_bytes())
            .map_err(failed(&format!("{} cannot be written", path.display())))?;
        let output =
            tokio::time::timeout(SENDING, self.command(&Path::new("/").join(&inside)).output()).await;
        // Left behind it would be overwritten next time; it holds nothing that frr.conf does not.
        drop(std::fs::remove_file(&path));
        let output = match output {
            Err(_) => {
                return Err(NosError::Unreachable {
                    what: format!("vtysh did not finish within {} s", SENDING.as_secs()),
                    source: io::ErrorKind::TimedOut.into(),
                });
            }
            Ok(output) => output.map_err(failed("vtysh cannot be started"))?,
        };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let mut complaints = self.complaints(said.lines().map(str::trim).filter(|line| !is_progress(line)));
        if !output.status.success() && complaints.is_empty() {
            complaints.push(format!("vtysh: {}", output.status));
        }
        Ok(complaints)
    }

    async fn sockets(&mut self, commands: &str) -> Result<Vec<String>, NosError> {
        let said = socket::send(&self.places, commands, SENDING).await?;
        Ok(self.complaints(said.iter().map(String::as_str)))
    }

    /// What was said, without secrets, each thing once: every daemon that was given a line says the same about it.
    fn complaints<'a>(&mut self, said: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut seen = BTreeSet::new();
        said.map(|line| self.conceal(line))
            .filter(|line| seen.insert(line.clone()))
            .take(MOST_COMPLAINTS)
            .collect()
    }

    fn command(&self, file: &Path) -> Command {
        let mut command = if self.places.root == Path::new("/") {
            Command::new(VTYSH)
        } else {
            let mut command = Command::new("/proc/self/exe");
            command.arg("exec-in").arg(&self.places.root).arg(VTYSH);
            command
        };
        if let Some(instance) = &self.places.instance {
            command.args(["-N", instance]);
        }
        command.arg("-f").arg(file);
        command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// What vtysh of FRR 10 says while it works (`vtysh/vtysh_main.c`): `[10306|mgmtd] sending configuration`.
fn is_progress(line: &str) -> bool {
    let of_daemon = line.starts_with('[') && line.contains('|');
    line.is_empty()
        || (of_daemon && (line.ends_with("] sending configuration") || line.ends_with("] done")))
        || line.starts_with("Waiting for children to finish applying config")
}

async fn ask(socket: &Path, deadline: Duration, command: &str) -> io::Result<String> {
    let mut vty = Vty::open(socket, deadline).await?;
    vty.enable().await?;
    let reply = vty.ask(command).await?;
    if !reply.is_success() {
        return Err(io::Error::other(format!("`{command}` gave code {}", reply.code)));
    }
    Ok(reply.text)
}

impl NosDriver for FrrDriver {
    type Validator = Canary;

    fn hand(&self) -> &'static str {
        self.effective_hand().name()
    }

    fn validator(&self) -> Canary {
        Canary { places: self.places.clone(), secrets: self.secrets.clone() }
    }

    fn set_secrets(&mut self, secrets: BTreeMap<String, String>) {
        self.secrets = secrets;
    }

    fn secrets(&self) -> BTreeMap<String, String> {
        self.secrets.iter().chain(&self.others).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    async fn platform(&mut self) -> Result<Platform, NosError> {
        let socket = Daemon::Zebra.socket(&self.places.run(), self.places.instance.as_deref());
        let version = ask(&socket, PROBE, "show version").await.map_err(|source| NosError::Unreachable {
            what: format!("zebra does not answer on {}", socket.display()),
            source,
        })?;
        Ok(dialect::platform(&version))
    }

    async fn running(&mut self) -> Result<Running, NosError> {
        let texts = self.texts(ANSWER, "show running-config").await?;
        let text = dialect::merge(&texts);
        Ok(Running { texts: BTreeMap::from([(dialect::OWNER.to_owned(), self.conceal(&text))]) })
    }

    async fn editor(&mut self) -> Option<String> {
        person::at_the_command_line(&self.places)
    }

    async fn apply(&mut self, plan: &Plan, _: Hold) -> Result<Vec<String>, NosError> {
        let Some(plan) = plan.owners.get(dialect::OWNER) else { return Ok(Vec::new()) };
        self.texts(PROBE, "echo alive").await?;
        let commands: String = plan.commands.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let commands = self.reveal(&commands);
        match self.effective_hand() {
            Hand::Socket => self.sockets(&commands).await,
            Hand::Auto | Hand::Exec => self.vtysh(&commands).await,
        }
    }

    async fn save(&mut self, candidate: &Candidate, journal: &Journal) -> Result<(), NosError> {
        let Some(text) = candidate.texts.get(dialect::OWNER) else { return Ok(()) };
        self.texts(PROBE, "echo alive").await?;
        let path = self.places.startup();
        let failed =
            |source| NosError::Unreachable { what: format!("{} cannot be written", path.display()), source };
        let file = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let wanted = match candidate.literal.get(dialect::OWNER) {
            Some(whole) => self.reveal(whole),
            None => {
                let journal = journal.get(dialect::OWNER).map(Vec::as_slice).unwrap_or_default();
                self.reveal(&dialect::splice(&file, text, journal))
            }
        };
        if wanted == file {
            return Ok(());
        }
        files::replace(&path, wanted.as_bytes()).map_err(failed)
    }
}
