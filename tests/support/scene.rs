//! A leaf on which three speakers announce a VIP, fed from folders, and what must still be true of it after a change.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::lab::{Agent, wait_for};
use crate::release::Release;
use crate::switch::{SETTINGS, Switch, nodes};

pub const SOON: Duration = Duration::from_secs(60);
pub const VIP: &str = "203.0.113.10/32";
pub const APPLIED: &str = "configuration applied, read back and saved";
/// What everything below is measured by.
pub const WINDOW: u64 = 20;
/// A filter in front of all others. bgpd obeys it five seconds later, long after vtysh has returned.
pub const DENY_ALL: &str = "{% extends \"builtin/frr.conf.tera\" %}\n\
     {% block policies %}{{ super() }}route-map SWITCHLET-FROM-SPEAKERS deny 1\nexit\n!\n{% endblock %}\n";
/// Something harmless that is as new.
pub const HARMLESS: &str = "{% extends \"builtin/frr.conf.tera\" %}\n\
     {% block end %}ip prefix-list SWITCHLET-SPARE seq 10 permit 198.51.100.0/24\n{% endblock %}\n";

pub fn switch_object() -> String {
    format!(
        "apiVersion: switchlet.io/v1alpha1\nkind: Switch\nmetadata: {{name: leaf1}}\n\
         spec: {{nos: frr, configMaps: [{{name: leaf1}}], apply: {{confirmTimeout: {WINDOW}s}}}}\n"
    )
}

pub fn service() -> String {
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
     spec: {type: LoadBalancer, externalTrafficPolicy: Cluster}\n\
     status: {loadBalancer: {ingress: [{ip: 203.0.113.10}]}}\n---\n\
     apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
     metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}\n\
     endpoints: [{addresses: [10.0.1.1]}]\n"
        .to_owned()
}

/// A leaf on which three speakers announce a VIP, and all is well.
pub struct Scene {
    pub switch: Switch,
    pub startup: Vec<u8>,
    pub sessions: Vec<(String, u64)>,
}

impl Scene {
    pub fn up(release: Release) -> Option<Self> {
        let objects = [nodes(), switch_object(), service()].join("---\n");
        let switch = Switch::up(release, SETTINGS, &objects)?;
        for server in ["s1", "s2", "s3"] {
            switch.lab.lab(&["announce", server, VIP]);
        }
        Some(Self { switch, startup: Vec::new(), sessions: Vec::new() })
    }

    pub fn well(&mut self, agent: &Agent) {
        Switch::log_has(agent, 0, APPLIED);
        self.forwards("all is well");
        wait_for("the verdict", SOON, || {
            let verdict = self.switch.lab.verdict("leaf1");
            if verdict["verdict"] == "ok" { Ok(()) } else { Err(verdict.to_string()) }
        });
        self.startup = self.switch.startup();
        self.sessions = self.sessions();
    }

    pub fn hops(&self) -> usize {
        self.switch.lab.kernel("leaf1", VIP).map_or(0, |hops| hops.len())
    }

    pub fn forwards(&self, what: &str) {
        let limit = Duration::from_secs(WINDOW) + SOON;
        wait_for(&format!("three next-hops: {what}"), limit, || match self.hops() {
            3 => Ok(()),
            other => Err(format!("{other} next-hops\n{}", self.switch.lab.running("leaf1"))),
        });
    }

    /// Each speaker's session, and how often it was dropped.
    pub fn sessions(&self) -> Vec<(String, u64)> {
        self.switch.lab.sessions("leaf1")
    }

    pub fn bundle(&mut self, template: Option<&str>) {
        let mut texts = vec![("switch.yaml", SETTINGS)];
        texts.extend(template.map(|text| ("frr.conf.tera", text)));
        self.switch.bundle.publish(&texts);
    }

    /// What runs, what survives a reboot, the sessions and the table are what they were.
    pub fn untouched(&self, what: &str) {
        self.forwards(what);
        let running = self.switch.lab.running("leaf1");
        assert!(!running.contains("route-map SWITCHLET-FROM-SPEAKERS deny"), "{what}: {running}");
        assert_eq!(self.switch.startup(), self.startup, "{what}: startup was touched");
        assert_eq!(self.sessions(), self.sessions, "{what}: a session was dropped");
    }

    pub fn record(&self) -> PathBuf {
        self.switch.lab.scratch("agent-leaf1/change.json")
    }
}

pub fn kill(agent: &Agent, signal: &str) {
    assert!(Command::new("kill").args([signal, &agent.pid().to_string()]).status().unwrap().success());
}
