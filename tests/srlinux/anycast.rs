//! The anycast lab's four leaves: one base and four overlays, configured and judged for each policy and each placement of pods.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::emulator::{Emulator, Evpn, Listen, Speaker};
use switchlet::change::dialect::srlinux::Srlinux;
use switchlet::change::diff::{Candidate, Checked, Journal};
use switchlet::change::{Dialect as _, Known};
use switchlet::fib::FibReader as _;
use switchlet::fib::srlinux::SrlinuxFib;
use switchlet::files::objects::read_cluster;
use switchlet::health::compare::{self, Look};
use switchlet::intent::language::SRLINUX;
use switchlet::intent::nexthops::{self, Expectation};
use switchlet::intent::render::{self, Texts};
use switchlet::intent::settings::{self, SwitchSettings};
use switchlet::intent::snapshot::Bundle;
use switchlet::jsonrpc::Server;
use switchlet::nos::srlinux::SrlinuxDriver;
use switchlet::nos::{Hold, NosDriver as _};

const VIP: &str = "1.1.1.100/32";

fn overlays() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays/anycast-lab")
}

/// As kustomize does it: the words in quotes are replaced by the leaf's own.
fn switch_yaml(leaf: usize) -> String {
    let base = fs::read_to_string(overlays().join("base/switch.yaml")).unwrap();
    let values = fs::read_to_string(overlays().join(format!("leaf{leaf}/values.yaml"))).unwrap();
    let value = |name: &str| {
        let line = values.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
        line.to_owned()
    };
    let mut parts: Vec<String> = base.split('"').map(str::to_owned).collect();
    assert_eq!(parts.len(), 5, "two words in quotes");
    parts[1] = value("routerId");
    parts[3] = value("leaf");
    parts.join("\"")
}

fn leaf_settings(leaf: usize) -> SwitchSettings {
    settings::parse(&switch_yaml(leaf)).unwrap()
}

fn cluster(policy: &str, pods: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: nginx, namespace: default}}\n\
         spec: {{type: LoadBalancer, externalTrafficPolicy: {policy}}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: 1.1.1.100}}]}}}}\n"
    );
    let endpoints: Vec<String> = (1..=pods)
        .map(|node| format!("{{addresses: [10.244.{node}.1], nodeName: {}}}", NODES[node - 1]))
        .collect();
    text += &format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: nginx-1, namespace: default, labels: {{kubernetes.io/service-name: nginx}}}}\nendpoints: [{}]\n",
        endpoints.join(", ")
    );
    for (node, name) in (1..).zip(NODES) {
        text += &format!(
            "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels: {{switchlet.io/leaf: leaf{node}}}\n  \
             annotations: {{switchlet.io/vip-peer: 192.168.1.1{node}}}\n\
             status: {{addresses: [{{type: InternalIP, address: 192.168.49.{}}}]}}\n",
            node + 1
        );
    }
    fs::write(folder.path().join("objects.yaml"), text).unwrap();
    folder
}

const NODES: [&str; 3] = ["cluster1", "cluster1-m02", "cluster1-m03"];

fn expected(leaf: usize, policy: &str, pods: usize) -> (Expectation, SwitchSettings) {
    let settings = leaf_settings(leaf);
    let folder = cluster(policy, pods);
    let (facts, _) = read_cluster(folder.path(), &format!("leaf{leaf}")).unwrap();
    assert_eq!(facts.issues, []);
    (nexthops::expect(&format!("leaf{leaf}"), &settings, &facts), settings)
}

fn candidate(leaf: usize, expectation: &Expectation, settings: &SwitchSettings) -> Candidate {
    let platform = switchlet::change::dialect::srlinux::release::platform("v25.3.2", "7220 IXR-D2L");
    let bundle = Bundle::default();
    let texts = Texts { bundle: &bundle, built_in: render::SRLINUX };
    let job = render::job(&format!("leaf{leaf}"), settings, &expectation.peers, &platform, texts);
    let (fitted, _) = (SRLINUX.fit)(render::render(&job).unwrap(), &platform).unwrap();
    Srlinux.canonical(&fitted, &Checked::default()).unwrap()
}

/// What the leaves forward to, by seeds of the lab: the own node if it announces, else the VTEPs of the leaves whose
/// nodes do.
#[test]
fn every_leaf_forwards_as_the_labs_table_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for leaf in 1..=4 {
        let emulator = Emulator::start("v25.3.2", "7220 IXR-D2L", ("ip-vrf-1", "ip-vrf"), Listen::Unix);
        let server = Server::new(emulator.address().parse().unwrap(), None, None).unwrap();
        let state = tempfile::tempdir().unwrap();
        let mut driver = SrlinuxDriver::new(server.clone(), state.path(), None);
        let (expectation, settings) = expected(leaf, "Cluster", 3);
        let wanted = candidate(leaf, &expectation, &settings);
        driver.attend(&wanted);
        let journal = Journal::new();
        let known = Known { confirmed: None, adopt: &[], journal: &journal };
        runtime.block_on(async {
            let plan = Srlinux.plan(&driver.running().await.unwrap(), &wanted, &known).unwrap();
            driver.apply(&plan, Hold::None).await.unwrap();
            assert!(Srlinux.plan(&driver.running().await.unwrap(), &wanted, &known).unwrap().is_empty());
        });
        let mut fib = SrlinuxFib::new(server);
        fib.enter("ip-vrf-1");
        for policy in ["Cluster", "Local"] {
            for pods in 1..=3 {
                let announces = |node: usize| policy == "Cluster" || node <= pods;
                emulator.network(|network| {
                    let own = (leaf < 4).then(|| {
                        let vips: &[&str] = if announces(leaf) { &[VIP] } else { &[] };
                        Speaker::new(&format!("192.168.1.1{leaf}"), 65535, vips)
                    });
                    network.speakers = own.into_iter().collect();
                    let others = (1..=3).filter(|other| *other != leaf && announces(*other));
                    network.evpn = others
                        .map(|other| Evpn { prefix: VIP.to_owned(), vtep: format!("10.0.1.{other}") })
                        .collect();
                });
                let (expectation, _) = expected(leaf, policy, pods);
                let routes = runtime.block_on(fib.exact(&[VIP.parse().unwrap()])).unwrap();
                let look = Look {
                    routes: BTreeMap::from([(VIP.parse().unwrap(), routes[0].clone())]),
                    ..Look::default()
                };
                let compared = compare::compare(&expectation, &look).remove(&VIP.parse().unwrap()).unwrap();
                let what = format!("leaf{leaf}, policy {policy}, pods on {pods} nodes");
                assert!(compared.is_equal(), "{what}: {compared:?}");
                let table: BTreeSet<String> = match (leaf, policy) {
                    (1..=3, "Cluster") => BTreeSet::from([format!("192.168.1.1{leaf}")]),
                    (1..=3, _) if leaf <= pods => BTreeSet::from([format!("192.168.1.1{leaf}")]),
                    (_, "Cluster") => (1..=3).map(|other| format!("10.0.1.{other}")).collect(),
                    _ => (1..=pods).map(|other| format!("10.0.1.{other}")).collect(),
                };
                let observed: BTreeSet<String> = compared.observed.iter().map(ToString::to_string).collect();
                assert_eq!(observed, table, "{what}");
            }
        }
    }
}

#[test]
fn the_leaves_differ_only_in_their_own_values() {
    let text = |leaf: usize| {
        let (expectation, settings) = expected(leaf, "Cluster", 3);
        let text = candidate(leaf, &expectation, &settings).texts["srlinux"].clone();
        text.replace(&format!("10.0.1.{leaf}"), "ROUTER-ID").replace(&format!("192.168.1.1{leaf}"), "NODE")
    };
    assert_eq!(text(1), text(2));
    assert_eq!(text(1), text(3));
    assert!(text(1).contains("NODE") && !text(4).contains("peer-address"), "leaf 4 has no local peers");
}

#[test]
fn kustomize_writes_what_is_tested_here() {
    let ran = Command::new("kubectl").arg("kustomize").arg(overlays()).stdin(Stdio::null()).output();
    let Ok(output) = ran else {
        eprintln!("SKIPPED: needs kubectl");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    for leaf in 1..=4 {
        let indented: String = switch_yaml(leaf).lines().map(|line| format!("    {line}\n")).collect();
        assert!(said.contains(&indented), "leaf{leaf}:\n{said}");
        assert!(said.contains(&format!("  name: leaf{leaf}\n")), "{said}");
    }
    assert_eq!(said.matches("nos: srlinux").count(), 4);
    assert!(!said.contains("kind: Values"));
}
