//! MetalLB in the lab, and its own rule as a program.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{Lab, wait_for};

/// Which BGP a speaker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// MetalLB's own.
    Native,
    /// An FRR beside it.
    Frr,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Frr => "frr",
        }
    }
}

/// Whether MetalLB's kinds exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crds {
    On,
    /// All objects of these kinds are gone too.
    Off,
}

/// A test that needs MetalLB, where it cannot be had.
fn skipped(code: Option<i32>, said: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said);
    if code == Some(77) {
        assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {said}");
        eprintln!("SKIPPED: {said}");
        return true;
    }
    assert_eq!(code, Some(0), "{said}");
    false
}

/// MetalLB's controller, and a speaker on each server in the place of BIRD: that of `worker-N` runs on `sN`.
pub struct Metallb<'a> {
    lab: &'a Lab,
    pub kind: Kind,
}

impl<'a> Metallb<'a> {
    /// All run; nothing is configured. `None`, loudly, where the machine lacks something; in CI that is a failure.
    pub fn up(lab: &'a Lab, kind: Kind) -> Option<Self> {
        let output = lab.try_lab(&["metallb", "up", "--type", kind.name()]);
        if skipped(output.status.code(), &output.stderr) { None } else { Some(Self { lab, kind }) }
    }

    /// MetalLB with its objects is gone, and BIRD announces what it did before.
    pub fn down(self) {
        self.lab.lab(&["metallb", "down"]);
    }

    /// SIGKILL to all that would be the pod of a server.
    pub fn kill(&self, server: &str) {
        self.lab.lab(&["metallb", "kill", server]);
    }

    /// SIGTERM.
    pub fn stop(&self, server: &str) {
        self.lab.lab(&["metallb", "stop", server]);
    }

    pub fn start(&self, server: &str) {
        self.lab.lab(&["metallb", "start", server]);
    }

    /// SIGSTOP.
    pub fn freeze(&self, server: &str) {
        self.lab.lab(&["metallb", "freeze", server]);
    }

    /// SIGCONT.
    pub fn thaw(&self, server: &str) {
        self.lab.lab(&["metallb", "thaw", server]);
    }

    /// A `BGPPeer` for each session that BIRD would have: `s1-leaf1` to `s3-leaf2`.
    pub fn peers(&self) {
        self.lab.lab(&["metallb", "peers"]);
    }

    /// As [`advertise`].
    pub fn advertise(&self, addresses: &[&str], fields: &Value) {
        advertise(self.lab, addresses, fields);
    }
}

/// An `IPAddressPool` named `vips`, and a `BGPAdvertisement` named `vips` of it with these further fields.
pub fn advertise(lab: &Lab, addresses: &[&str], fields: &Value) {
    let mut spec = json!({"ipAddressPools": ["vips"]});
    spec.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap_or_default());
    let object = |kind: &str, spec: &Value| {
        let metadata = json!({"name": "vips", "namespace": "metallb-system"});
        json!({"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec})
    };
    lab.apply(&format!(
        "{}\n---\n{}\n",
        object("IPAddressPool", &json!({"addresses": addresses})),
        object("BGPAdvertisement", &spec)
    ));
}

/// The address that MetalLB's controller gave to a Service of namespace `default`, as a prefix.
pub fn vip(lab: &Lab, service: &str) -> String {
    let mut vip = String::new();
    wait_for("an address for the Service", Duration::from_secs(90), || {
        let service = lab.get(&["service", service]);
        let address = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
        vip = format!("{}/32", address.ok_or_else(|| service["status"].to_string())?);
        Ok(())
    });
    vip
}

/// Makes or takes away MetalLB's kinds, whether its processes run or not.
pub fn crds(lab: &Lab, crds: Crds) -> bool {
    let word = if crds == Crds::On { "on" } else { "off" };
    let output = lab.try_lab(&["metallb", "crds", word]);
    !skipped(output.status.code(), &output.stderr)
}

/// A Service of type `LoadBalancer` in namespace `default` for MetalLB to give an address to, with a ready endpoint on each of
/// these nodes.
pub fn balancer(lab: &Lab, name: &str, policy: &str, nodes: &[&str]) {
    let mut endpoints = String::new();
    for (index, node) in nodes.iter().enumerate() {
        let address = format!("10.244.0.{}", index + 1);
        writeln!(endpoints, "- {{addresses: [{address}], nodeName: {node}, conditions: {{ready: true}}}}")
            .unwrap();
    }
    if endpoints.is_empty() {
        "[]\n".clone_into(&mut endpoints);
    }
    lab.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{type: LoadBalancer, externalTrafficPolicy: {policy}, ports: [{{port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         addressType: IPv4\nports: [{{port: 80}}]\nendpoints:\n{endpoints}"
    ));
}

/// MetalLB's own rule: the code of its speaker, asked without a cluster. `tests/lab/metallb/source/speaker/rule.go` has the
/// shape of cases and answers.
pub struct Rule {
    program: PathBuf,
}

impl Rule {
    /// `None`, loudly, where the machine lacks something; in CI that is a failure. The first one builds it, in minutes.
    pub fn new() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/metallb/assets.sh");
        let output = Command::new(script).stdin(Stdio::null()).output().expect("assets.sh");
        if skipped(output.status.code(), &output.stderr) {
            return None;
        }
        let folder = String::from_utf8(output.stdout).unwrap();
        Some(Self { program: Path::new(folder.trim()).join("rule") })
    }

    /// The answers, in the order of the cases. The case's own `id` comes back with it.
    pub fn ask(&self, cases: &[Value]) -> Vec<Value> {
        let mut child = Command::new(&self.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("MetalLB's rule");
        let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut text = String::new();
        for case in cases {
            writeln!(text, "{case}").unwrap();
        }
        // It answers while it is being asked: both pipes are served at once.
        let asking = std::thread::spawn(move || to.write_all(text.as_bytes()));
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let answer: Value = serde_json::from_str(&line.unwrap()).expect("JSON from MetalLB's rule");
                tell.send(answer).unwrap_or_default();
            }
        });
        let mut answers = Vec::new();
        for case in cases {
            let Ok(answer) = told.recv_timeout(Duration::from_secs(60)) else {
                drop(child.kill());
                panic!("no answer from MetalLB's rule, for {case}");
            };
            assert_eq!(answer["id"], case["id"], "{answer}");
            answers.push(answer);
        }
        asking.join().unwrap().unwrap();
        assert!(child.wait().unwrap().success());
        answers
    }
}
