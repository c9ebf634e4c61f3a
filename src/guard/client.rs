//! The agent's side of the guard: writing the way back down, having it watched over, asking for the yes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::record::{Phase, Record, Records};
use crate::change::Undo;
use crate::cluster::chain;

/// The guard only writes a small file before it answers.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the guard runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A process of the host.
    Host,
    /// Another container of the agent's pod.
    Pod,
}

impl Form {
    /// The form of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Host, Self::Pod].into_iter().find(|form| form.name() == name)
    }

    /// As in the capabilities.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Pod => "pod",
        }
    }
}

/// Whether a change may be made without a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Need {
    /// It may; the agent goes back itself as long as it lives.
    #[default]
    IfThere,
    /// It may not.
    Required,
}

/// The record and the guard, seen by the agent.
#[derive(Debug)]
pub struct Guarding {
    records: Records,
    need: Need,
    /// The change under way.
    record: Option<Record>,
    /// What the guard said that it is; `None` where none answers.
    form: Option<String>,
    holder: Holder,
}

/// Who goes back when nobody confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The guard, if there is one.
    Guard,
    /// The NOS, by a timer of its own.
    Nos,
}

impl Guarding {
    /// In this state folder.
    pub fn new(folder: &Path, need: Need) -> Self {
        Self { records: Records::new(folder), need, record: None, form: None, holder: Holder::Guard }
    }

    /// In this state folder, for a NOS that has a confirm timer of its own: no guard is needed and none is asked.
    pub fn native(folder: &Path) -> Self {
        Self { holder: Holder::Nos, form: Some("native".to_owned()), ..Self::new(folder, Need::IfThere) }
    }

    /// The change that an earlier life did not settle. One that stands, or that a reboot has undone, is no change any more.
    pub fn left_behind(&mut self) -> Result<Option<Record>, String> {
        let Some(record) = self.records.read().map_err(|error| chain(&error))? else { return Ok(None) };
        if record.phase == Phase::Agreed || record.is_of_another_boot() {
            self.records.end().map_err(|error| chain(&error))?;
            return Ok(None);
        }
        Ok(Some(record))
    }

    /// `host`, `pod`, `native`, or `none`.
    pub fn form(&self) -> &str {
        self.form.as_deref().unwrap_or("none")
    }

    /// Looks for a guard.
    pub async fn look(&mut self) {
        if self.holder == Holder::Guard {
            self.form = self.ask("who").await.ok();
        }
    }

    /// Writes the way back down and has the guard watch over it.
    pub async fn arm(&mut self, undo: Undo, secrets: BTreeMap<String, String>) -> Result<(), String> {
        self.look().await;
        let guarded = self.form.is_some() && self.holder == Holder::Guard;
        if self.form.is_none() && self.need == Need::Required {
            return Err("no guard answers, and --guard=required forbids a change without one".to_owned());
        }
        let record = Record::new(undo, secrets, guarded).map_err(|error| error.to_string())?;
        self.records.begin(&record).map_err(|error| chain(&error))?;
        if guarded && let Err(why) = self.ask(&format!("watch {}", record.id)).await {
            self.records.end().map_err(|error| chain(&error))?;
            return Err(format!("the guard does not watch: {why}"));
        }
        self.record = Some(record);
        Ok(())
    }

    /// Asks to let the change stand.
    pub async fn confirm(&mut self) -> Result<(), String> {
        let record = self.record.clone().ok_or("there is no change under way")?;
        if record.guarded {
            return self.ask(&format!("confirm {}", record.id)).await.map(drop);
        }
        if record.left().is_zero() {
            return Err("it is too late".to_owned());
        }
        self.records.advance(record, Phase::Agreed).map_err(|error| chain(&error))
    }

    /// The way back is not needed any more.
    pub fn disarm(&mut self) -> Result<(), String> {
        self.records.end().map_err(|error| chain(&error))?;
        self.record = None;
        Ok(())
    }

    /// What comes after the guard's yes; its no, or its silence, is the error.
    async fn ask(&self, question: &str) -> Result<String, String> {
        let path = self.records.folder().join(super::SOCKET);
        let asking = async {
            let mut stream = UnixStream::connect(&path).await?;
            stream.write_all(format!("{question}\n").as_bytes()).await?;
            let mut said = String::new();
            stream.take(1024).read_to_string(&mut said).await?;
            Ok::<_, io::Error>(said)
        };
        let said = tokio::time::timeout(PATIENCE, asking)
            .await
            .map_err(|_| format!("the guard does not answer within {} s", PATIENCE.as_secs()))?
            .map_err(|error| format!("the guard cannot be asked: {error}"))?;
        let said = said.trim_end();
        said.strip_prefix("yes")
            .map(|rest| rest.trim().to_owned())
            .ok_or_else(|| format!("the guard says {said}"))
    }
}
