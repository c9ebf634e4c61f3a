//! A leaf on which three speakers announce a VIP, fed by a real API server, and commits for it.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]

use std::cell::Cell;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{Agent, Api, Lab, wait_for};
use crate::release::Release;

pub const SOON: Duration = Duration::from_secs(60);
pub const APPLIED: &str = "configuration applied, read back and saved";
pub const VIP: &str = "203.0.113.10/32";
pub const SETTINGS: &str = include_str!("../../overlays/lab/leaf1/switch.yaml");

/// leaf1 with an agent, three speakers and a VIP.
pub struct Scene {
    pub lab: Lab,
    pub agent: Agent,
    commits: Cell<u32>,
}

impl Scene {
    pub fn up(release: Release) -> Option<Self> {
        Self::with(release, |lab| lab.agent("leaf1"))
    }

    /// The same with another agent.
    pub fn with(release: Release, agent: impl FnOnce(&Lab) -> Agent) -> Option<Self> {
        let lab = Lab::up(Api::Real, release)?;
        lab.populate();
        lab.apply(
            &json!({"apiVersion": "v1", "kind": "List", "items": [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
                {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
                 "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}},
                {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                 "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
                 "endpoints": [{"addresses": ["10.0.1.1"], "nodeName": "worker-1"}], "ports": []},
            ]})
            .to_string(),
        );
        lab.give_address("web", "203.0.113.10");
        for server in ["s1", "s2", "s3"] {
            lab.lab(&["announce", server, VIP]);
        }
        let agent = agent(&lab);
        let scene = Self { lab, agent, commits: Cell::new(0) };
        scene.forwards("at the beginning");
        scene.ready("True/Applied");
        Some(scene)
    }

    /// The text of commit `number`: a harmless line that no other commit has.
    pub fn line(number: u32) -> String {
        format!("ip prefix-list SWITCHLET-SPARE seq {number} permit 198.51.100.0/24")
    }

    /// A commit with another harmless line; its number, and where the log was.
    pub fn commit(&self) -> (u32, usize) {
        let number = self.commits.get() + 1;
        (number, self.commit_of(&Self::template(number), SETTINGS))
    }

    /// A commit of these texts; where the log was.
    pub fn commit_of(&self, template: &str, settings: &str) -> usize {
        self.commits.set(self.commits.get() + 1);
        let (name, from) = (format!("commit-{}", self.commits.get()), self.agent.log().len());
        self.lab.apply(&Self::map_of(&name, template, settings).to_string());
        self.patch(&json!({"configMaps": [{"name": name}]}));
        from
    }

    /// The template of commit `number`.
    pub fn template(number: u32) -> String {
        format!(
            "{{% extends \"builtin/frr.conf.tera\" %}}\n{{% block end %}}{}\n{{% endblock %}}\n",
            Self::line(number)
        )
    }

    pub fn map(name: &str, number: u32) -> Value {
        Self::map_of(name, &Self::template(number), SETTINGS)
    }

    fn map_of(name: &str, template: &str, settings: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "switchlet"},
            "data": {"switch.yaml": settings, "frr.conf.tera": template},
        })
    }

    pub fn patch(&self, spec: &Value) {
        self.patch_of("leaf1", spec);
    }

    pub fn patch_of(&self, switch: &str, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.lab.kubectl(&["patch", "switch", switch, "-n", "switchlet", "--type=merge", "-p", &patch]);
    }

    pub fn log_has(&self, from: usize, text: &str) {
        wait_for(&format!("`{text}` in the log"), SOON, || {
            let log = self.agent.log();
            if log[from..].contains(text) { Ok(()) } else { Err(log[from..].to_owned()) }
        });
    }

    pub fn runs(&self, number: u32) -> bool {
        self.lab.running("leaf1").contains(&Self::line(number))
    }

    pub fn forwards(&self, what: &str) {
        wait_for(&format!("three next-hops: {what}"), SOON, || {
            match self.lab.kernel("leaf1", VIP).map_or(0, |hops| hops.len()) {
                3 => Ok(()),
                other => Err(format!("{other}: {}", self.agent.log())),
            }
        });
    }

    /// `STATUS/REASON` of the Switch's Ready, of this generation.
    pub fn ready(&self, expected: &str) {
        wait_for(&format!("Ready is {expected}"), SOON, || {
            let switch = self.lab.get(&["switch", "leaf1", "-n", "switchlet"]);
            let current = switch["status"]["observedGeneration"] == switch["metadata"]["generation"];
            let all = switch["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = all.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
            let said = format!(
                "{}/{}",
                ready["status"].as_str().unwrap_or("?"),
                ready["reason"].as_str().unwrap_or("?")
            );
            if current && said == expected { Ok(()) } else { Err(switch["status"].to_string()) }
        });
    }

    pub fn startup(&self) -> String {
        fs::read_to_string(self.lab.frr_conf("leaf1")).unwrap()
    }
}
