//! SR Linux over JSON-RPC: reads what is ours of running, sends one atomic request with the switch's own confirm timer, accepts
//! or rejects.
//!
//! A pending commit is the whole switch's, not a session's: whoever accepts it accepts everybody's. So the number of the last
//! commit is on disk before ours is sent, and a pending one that is not newer is somebody else's: we wait, and say whose. Where
//! no answer said that ours arrived, a newer one may be somebody else's too: it is ours if what we sent would change nothing.
#![expect(clippy::disallowed_methods, reason = "shell: files")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::change::dialect::srlinux::{self as dialect, OWNER, release};
use crate::change::diff::{Candidate, Checked, Complaint, Journal, Plan, Running};
use crate::intent::platform::Platform;
use crate::jsonrpc::{Error, Sent, Server};
use crate::nos::{Hold, NosDriver, NosError, Validator, ValidatorError};

mod commits;

use commits::{Pending, busy};

/// A busy management server takes some seconds for its whole configuration.
const ANSWER: Duration = Duration::from_secs(10);
/// A commit waits for every application that has a word.
const COMMIT: Duration = Duration::from_secs(60);
/// The shortest timer that the switch is given, seconds.
const SHORTEST: u64 = 5;

/// One switch.
#[derive(Debug)]
pub struct SrlinuxDriver {
    server: Server,
    /// Where [`Pending`] is kept.
    memo: PathBuf,
    /// The switch's startup document, for an agent on the switch itself: no datastore shows it.
    startup: Option<PathBuf>,
    /// What the texts to come speak of.
    instances: BTreeSet<String>,
    interfaces: bool,
    /// What the switch is, as it told last.
    platform: Option<Platform>,
    /// The last commands were sent, and so there is something to accept.
    sent: bool,
}

impl SrlinuxDriver {
    /// Of the switch behind `server`, with its memory in the folder `state`, and its startup document in `startup`.
    pub fn new(server: Server, state: &std::path::Path, startup: Option<PathBuf>) -> Self {
        Self {
            server,
            memo: state.join("srlinux-commit.json"),
            startup,
            instances: BTreeSet::new(),
            interfaces: false,
            platform: None,
            sent: true,
        }
    }

    async fn tools(&self, verb: &str) -> Result<(), NosError> {
        let path = format!("/system/configuration/{verb}");
        let params = json!({"datastore": "tools", "commands": [{"action": "update", "path": path}]});
        self.server.write("set", params, COMMIT).await.map(drop).map_err(error)
    }

    /// Ends a commit of ours that is still pending: the switch goes back.
    async fn reject_ours(&mut self) -> Result<(), NosError> {
        let (_, pending) = self.commits().await?;
        match pending {
            Some(pending) if self.is_ours(&pending).await? => {
                self.tools("confirmed-reject").await?;
                self.forget();
                Ok(())
            }
            Some(pending) => Err(busy(&pending)),
            None => Ok(()),
        }
    }

    /// True if these commands would change nothing.
    async fn changes_nothing(&self, commands: &[Value]) -> Result<bool, NosError> {
        let params = json!({"datastore": "candidate", "output-format": "text", "commands": commands});
        let answers = self.server.write("diff", params, ANSWER).await.map_err(error)?;
        Ok(answers.iter().all(is_nothing))
    }

    async fn release(&mut self) -> Result<Platform, NosError> {
        let paths = ["/system/information/version", "/platform/chassis/type"].map(str::to_owned);
        let answers: Vec<Value> = self.server.get("state", paths, ANSWER).await.map_err(error)?;
        let word = |index: usize| answers.get(index).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(release::platform(&word(0), &word(1)))
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.iter().all(is_nothing),
        _ => false,
    }
}

/// A member by its name, with or without its module.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.as_object()?.iter().find(|(key, _)| dialect::tree::bare(key) == name).map(|(_, value)| value)
}

fn error(error: Error) -> NosError {
    match error {
        Error::Unreachable { what, source, sent: _ } => NosError::Unreachable { what, source },
        Error::Restarting(what) => {
            NosError::Unreachable { what, source: io::ErrorKind::ConnectionReset.into() }
        }
        Error::Login(_) | Error::Malformed(_) => {
            NosError::Unreachable { what: error.to_string(), source: io::ErrorKind::PermissionDenied.into() }
        }
        Error::Refused(what) if is_locked(&what) => NosError::Busy { who: what },
        Error::Refused(what) => NosError::Refused { what },
    }
}

/// Words by which the switch says that somebody else holds the candidate.
fn is_locked(what: &str) -> bool {
    let what = what.to_ascii_lowercase();
    ["exclusive", "locked", "in progress", "unconfirmed", "not confirmed", "confirmed commit"]
        .iter()
        .any(|word| what.contains(word))
}

/// Lets the switch itself read a candidate; its running configuration is untouched.
#[derive(Debug, Clone)]
pub struct OnBox {
    server: Server,
}

impl Validator for OnBox {
    const NAME: &'static str = "srlinux";

    async fn check(&self, candidate: &Candidate) -> Result<Checked, ValidatorError> {
        let text = candidate.texts.get(OWNER).map(String::as_str).unwrap_or_default();
        let commands = dialect::commands(text).unwrap_or_default();
        let commands: Vec<Value> =
            commands.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let texts = candidate.texts.clone();
        if commands.is_empty() {
            return Ok(Checked { complaints: Vec::new(), texts });
        }
        match self.server.write("validate", json!({"commands": commands}), COMMIT).await {
            Ok(_) => Ok(Checked { complaints: Vec::new(), texts }),
            Err(Error::Refused(said)) if is_locked(&said) => Err(ValidatorError::Failed(said)),
            Err(Error::Refused(said)) => {
                let shown = candidate.literal.get(OWNER).map_or(text, String::as_str);
                let word = said.split('\'').nth(1).unwrap_or_default();
                let line = dialect::line_of(shown, word);
                let text = shown.lines().nth(line - 1).unwrap_or_default().trim().to_owned();
                Ok(Checked { complaints: vec![Complaint { line, text, said }], texts })
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                Err(ValidatorError::Failed(format!("{error}{}", source.unwrap_or_default())))
            }
        }
    }
}

impl NosDriver for SrlinuxDriver {
    type Validator = OnBox;

    fn hand(&self) -> &'static str {
        "jsonrpc"
    }

    fn validator(&self) -> OnBox {
        OnBox { server: self.server.clone() }
    }

    fn set_secrets(&mut self, _: BTreeMap<String, String>) {}

    fn secrets(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn attend(&mut self, candidate: &Candidate) {
        let text = candidate.texts.get(OWNER).map(String::as_str).unwrap_or_default();
        self.instances.extend(dialect::instances(text));
        self.interfaces |= candidate.literal.contains_key(OWNER) && text.contains("\"interface\"");
    }

    async fn platform(&mut self) -> Result<Platform, NosError> {
        let platform = self.release().await?;
        self.platform = Some(platform.clone());
        Ok(platform)
    }

    async fn running(&mut self) -> Result<Running, NosError> {
        const PARTS: [&str; 5] = ["type", "admin-state", "interface", "ip-load-balancing", "protocols/bgp"];
        if self.platform.is_none() {
            // A path that this chassis does not have fails the whole request.
            self.platform().await?;
        }
        let native = self.platform.as_ref().is_none_or(|platform| {
            platform.resilience != Some(crate::intent::platform::Resilience::UnsupportedPlatform)
        });
        let parts: Vec<&str> =
            PARTS.into_iter().filter(|part| native || *part != "ip-load-balancing").collect();
        let mut paths = vec!["/routing-policy".to_owned()];
        if self.interfaces {
            paths.push("/interface".to_owned());
        }
        for instance in &self.instances {
            paths.extend(parts.iter().map(|part| format!("/network-instance[name={instance}]/{part}")));
        }
        let answers: Vec<Value> = self.server.get("running", paths, ANSWER).await.map_err(error)?;
        let mut answers = answers.into_iter();
        let mut document = Map::new();
        let mut take = |document: &mut Map<String, Value>, name: &str| {
            if let Some(value) = answers.next().filter(|value| !is_nothing(value)) {
                document.insert(name.to_owned(), unwrapped(value, name));
            }
        };
        take(&mut document, "routing-policy");
        if self.interfaces {
            take(&mut document, "interface");
        }
        let mut instances = Vec::new();
        for name in &self.instances {
            let mut instance = Map::new();
            for part in &parts {
                take(&mut instance, part);
            }
            if instance.is_empty() {
                continue;
            }
            if let Some(bgp) = instance.remove("protocols/bgp") {
                instance.insert("protocols".to_owned(), json!({"bgp": bgp}));
            }
            instance.insert("name".to_owned(), name.clone().into());
            instances.push(Value::Object(instance));
        }
        document.insert("network-instance".to_owned(), instances.into());
        let text = dialect::write(&Value::Object(document));
        Ok(Running { texts: BTreeMap::from([(OWNER.to_owned(), text)]) })
    }

    async fn startup(&mut self) -> Option<Running> {
        let path = self.startup.as_ref()?;
        let bytes = std::fs::read(path)
            .inspect_err(|error| tracing::debug!(%error, path = %path.display(), "startup cannot be read"))
            .ok()?;
        // While it is being written it is no document.
        let document: Value = serde_json::from_slice(&bytes).ok()?;
        Some(Running { texts: BTreeMap::from([(OWNER.to_owned(), dialect::write(&document))]) })
    }

    async fn editor(&mut self) -> Option<String> {
        match self.free().await {
            Err(NosError::Busy { who }) => Some(who),
            _ => None,
        }
    }

    async fn free(&mut self) -> Result<(), NosError> {
        match self.commits().await? {
            (_, Some(pending)) if !self.is_ours(&pending).await? => Err(busy(&pending)),
            _ => Ok(()),
        }
    }

    async fn apply(&mut self, plan: &Plan, hold: Hold) -> Result<Vec<String>, NosError> {
        let Some(plan) = plan.owners.get(OWNER) else { return Ok(Vec::new()) };
        // What is pending of ours is not wanted any more, whoever asks for something else.
        self.reject_ours().await?;
        let commands: Vec<Value> =
            plan.commands.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        self.sent = !self.changes_nothing(&commands).await?;
        if !self.sent {
            return Ok(Vec::new());
        }
        let mut params = json!({"datastore": "candidate", "commands": commands});
        let mut held_after = None;
        if let Hold::For(window) = hold {
            params["confirm-timeout"] = window.as_secs().max(SHORTEST).into();
            let (after, _) = self.commits().await?;
            self.record(&Pending { after, id: None, commands })?;
            held_after = Some(after);
        }
        match self.server.write("set", params, COMMIT).await {
            Ok(_) => {}
            Err(refused @ (Error::Refused(_) | Error::Unreachable { sent: Sent::No, .. })) => {
                self.forget();
                return Err(error(refused));
            }
            // It may have arrived: the memo stays.
            Err(unknown) => return Err(error(unknown)),
        }
        let Some(after) = held_after else { return Ok(Vec::new()) };
        let (_, pending) = self.commits().await?;
        match pending {
            // It was answered, so what is newer is ours, whatever the switch made of it.
            Some(pending) if pending.id > after => {
                self.record(&Pending { after, id: Some(pending.id), commands: Vec::new() })?;
                Ok(Vec::new())
            }
            // A switch that took the commit without its timer would not go back by itself.
            _ => Ok(vec!["the switch holds no confirm timer for this commit".to_owned()]),
        }
    }

    async fn accept(&mut self) -> Result<(), NosError> {
        let (_, pending) = self.commits().await?;
        match pending {
            Some(pending) if self.is_ours(&pending).await? => {
                match self.tools("confirmed-accept").await {
                    Ok(()) => {}
                    // Lost is the answer, or the question: the switch knows which.
                    Err(lost @ NosError::Unreachable { .. }) => {
                        if !self.stands(pending.id).await? {
                            return Err(lost);
                        }
                    }
                    Err(other) => return Err(other),
                }
                self.forget();
                Ok(())
            }
            Some(pending) => Err(busy(&pending)),
            None if !self.sent => Ok(()),
            None => Err(NosError::Refused {
                what: "nothing is pending any more: the switch's confirm timer has gone off".to_owned(),
            }),
        }
    }

    async fn save(&mut self, _: &Candidate, _: &Journal) -> Result<(), NosError> {
        let params = json!({"commands": ["save startup"], "output-format": "text"});
        self.server.write("cli", params, COMMIT).await.map(drop).map_err(error)
    }
}

/// The switch gives a list as `{"interface": […]}` and a container as its members.
fn unwrapped(value: Value, name: &str) -> Value {
    match member(&value, name) {
        Some(Value::Array(list)) => Value::Array(list.clone()),
        Some(inner @ Value::Object(_)) if value.as_object().is_some_and(|members| members.len() == 1) => {
            inner.clone()
        }
        _ => value,
    }
}
