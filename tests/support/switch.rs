//! A switch of the lab that is fed from folders, without any API server.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lab::{Agent, Api, Lab, wait_for};
use crate::release::Release;

const SOON: Duration = Duration::from_secs(45);

/// A folder that is written as kubelet writes a volume: a new generation, then one rename of `..data`.
pub struct Volume(pub PathBuf, u32);

impl Volume {
    pub fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        Self(path, 0)
    }

    pub fn publish(&mut self, texts: &[(&str, &str)]) {
        self.1 += 1;
        let generation = format!("..{}", self.1);
        let folder = self.0.join(&generation);
        fs::create_dir(&folder).unwrap();
        for (name, text) in texts {
            fs::write(folder.join(name), text).unwrap();
        }
        let link = self.0.join("..data_tmp");
        symlink(&generation, &link).unwrap();
        fs::rename(&link, self.0.join("..data")).unwrap();
        // kubelet makes and removes the visible links only after that.
        for (name, _) in texts {
            if !self.0.join(name).exists() {
                symlink(Path::new("..data").join(name), self.0.join(name)).unwrap();
            }
        }
    }
}

/// leaf1, its bundle, its cluster's objects.
pub struct Switch {
    pub lab: Lab,
    pub bundle: Volume,
    pub cluster: PathBuf,
    /// Flags beside the folders.
    pub more: Vec<String>,
}

impl Switch {
    /// With `settings` as `switch.yaml` and `objects` as the cluster.
    pub fn up(release: Release, settings: &str, objects: &str) -> Option<Self> {
        let lab = Lab::up(Api::None, release)?;
        let (bundle, cluster) = (Volume::new(lab.scratch("bundle")), lab.scratch("cluster"));
        fs::create_dir_all(&cluster).unwrap();
        let mut switch = Self { lab, bundle, cluster, more: Vec::new() };
        switch.bundle.publish(&[("switch.yaml", settings)]);
        fs::write(switch.cluster.join("objects.yaml"), objects).unwrap();
        Some(switch)
    }

    fn inputs(&self) -> Vec<String> {
        let folders =
            ["--bundle", self.bundle.0.to_str().unwrap(), "--cluster", self.cluster.to_str().unwrap()];
        folders.map(str::to_owned).into_iter().chain(self.more.iter().cloned()).collect()
    }

    pub fn agent(&self) -> Agent {
        self.agent_under(&[])
    }

    /// An agent that another program starts.
    pub fn agent_under(&self, starter: &[&str]) -> Agent {
        let inputs = self.inputs();
        self.lab.agent_under("leaf1", starter, &inputs.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Exit code, and all that a one-shot command said.
    pub fn once(&self, command: &str, more: &[&str]) -> (Option<i32>, String) {
        let inputs = self.inputs();
        let place = ["--frr-root", &self.lab.env["FRR_ROOT"], "--frr-instance", &self.lab.env["FRR_LEAF1"]];
        let mut args = vec![command, "--node", "leaf1"];
        args.extend(place);
        let state = self.lab.scratch("agent-leaf1");
        args.extend(["--state-dir", state.to_str().unwrap()]);
        args.extend(inputs.iter().map(String::as_str));
        args.extend(more);
        let output = self.lab.switchlet("leaf1", &args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    /// Waits for `text` in what the log got since it had `from` bytes.
    pub fn log_has(agent: &Agent, from: usize, text: &str) {
        wait_for(&format!("`{text}` in the log"), SOON, || {
            let log = agent.log();
            if log[from..].contains(text) { Ok(()) } else { Err(log[from..].to_owned()) }
        });
    }

    pub fn runs(&self, line: &str, expected: bool) {
        wait_for(&format!("`{line}` runs: {expected}"), SOON, || {
            let running = self.lab.running("leaf1");
            if running.lines().any(|found| found.trim() == line) == expected { Ok(()) } else { Err(running) }
        });
    }

    pub fn startup(&self) -> Vec<u8> {
        fs::read(self.lab.frr_conf("leaf1")).unwrap()
    }
}

/// The settings that the tests begin with.
pub const SETTINGS: &str = "\
version: 1
asn: 65001
routerId: 10.0.0.1
vips: {pools: [203.0.113.0/24, \"2001:db8:113::/64\"], protected: [203.0.113.0/29]}
peering:
  peerAsn: external
  nodes:
    selector: {matchLabels: {role: worker}}
    subnets: [192.168.1.0/24, \"fd00:1::/32\"]
verify: {convergence: 3s}
";

/// Three workers.
pub fn nodes() -> String {
    let node = |worker: u32| {
        let address = 9 + 2 * worker;
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: worker-{worker}, labels: {{role: worker}}}}\n\
             status: {{addresses: [{{type: InternalIP, address: 192.168.1.{address}}}, {{type: InternalIP, address: \"fd00:1:{worker}::2\"}}]}}\n"
        )
    };
    (1..=3).map(node).collect::<Vec<_>>().concat()
}
