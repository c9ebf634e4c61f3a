//! The cluster of [`crate::cluster`], with a Git repository and Flux on top.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::Fabric;
use crate::lab::wait_for;
use crate::release::Release;

const SOON: Duration = Duration::from_secs(180);

/// A repository on the lab's Git server, a clone to edit, and Flux.
pub struct Git {
    pub fabric: Fabric,
    pub fleet: PathBuf,
    /// What was pushed last.
    revision: RefCell<String>,
}

impl Git {
    pub fn up() -> Option<Self> {
        let fabric = Fabric::bare(Release::V8_4)?;
        let output = fabric.lab.try_lab(&["flux", "up"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(77) {
            assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {said}");
            eprintln!("SKIPPED: {said}");
            return None;
        }
        assert!(output.status.success(), "{said}");
        let git = Self { fleet: fabric.lab.scratch("fleet"), fabric, revision: RefCell::default() };
        for folder in ["manifests", "overlays"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            assert!(Command::new("cp").arg("-r").args([&from, &git.fleet]).status().unwrap().success());
        }
        // Where this lab's repository is, and no more patience than the story needs.
        git.edit("overlays/flux/source.yaml", "https://git.example.com", "http://172.31.0.1:8090");
        for leaf in ["leaf1", "leaf2"] {
            let file = format!("overlays/lab/{leaf}/switch-object.yaml");
            git.edit(&file, "spec:\n", "spec:\n  apply: {confirmTimeout: 25s}\n");
        }
        Some(git)
    }

    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.fleet.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// leaf1 gets this template beside its settings; `None` takes it away.
    pub fn template(&self, text: Option<&str>) {
        let file = self.fleet.join("overlays/lab/leaf1/frr.conf.tera");
        let kustomization = "overlays/lab/leaf1/kustomization.yaml";
        match text {
            Some(text) => {
                if !file.exists() {
                    self.edit(kustomization, "files: [switch.yaml]", "files: [switch.yaml, frr.conf.tera]");
                }
                fs::write(file, text).unwrap();
            }
            None => {
                self.edit(kustomization, "files: [switch.yaml, frr.conf.tera]", "files: [switch.yaml]");
                fs::remove_file(file).unwrap();
            }
        }
    }

    /// Commits what lies in the clone, and tells Flux as a webhook would; when it began to.
    pub fn push(&self, message: &str) -> Instant {
        let began = Instant::now();
        let said = self.fabric.lab.lab(&["flux", "push", message]);
        said.trim().clone_into(&mut self.revision.borrow_mut());
        self.fabric.lab.lab(&["flux", "notify"]);
        began
    }

    /// `git revert HEAD`, pushed.
    pub fn revert(&self) -> Instant {
        let status =
            Command::new("git").arg("-C").arg(&self.fleet).args(["revert", "--no-edit", "HEAD"]).output();
        assert!(status.unwrap().status.success());
        self.push("after the revert")
    }

    pub fn kustomization(&self, name: &str) -> Value {
        self.fabric.lab.get(&["kustomization", name, "-n", "flux-system"])
    }

    /// A Kustomization's Ready: status, reason, message, and the revision that it was tried with.
    pub fn ready(&self, name: &str) -> (String, String, String, String) {
        let object = self.kustomization(name);
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tried = word(&object["status"]["lastAttemptedRevision"]);
        (word(&ready["status"]), word(&ready["reason"]), word(&ready["message"]), tried)
    }

    /// Waits until `name` has an answer for the newest commit; how long after `since` it came.
    pub fn answers(&self, name: &str, status: &str, since: Instant) -> (Duration, String) {
        let revision = self.revision.borrow().clone();
        let mut message = String::new();
        wait_for(&format!("{name} is Ready={status} with {revision}"), SOON, || {
            let ready = self.ready(name);
            message.clone_from(&ready.2);
            if ready.0 == status && ready.3 == revision { Ok(()) } else { Err(format!("{ready:?}")) }
        });
        (since.elapsed(), message)
    }
}
