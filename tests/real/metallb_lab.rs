//! MetalLB itself, as the lab has it: real controller, real speakers, their rights as published. What is announced is read from
//! the kernels of the leaves, which an FRR without an agent feeds; and MetalLB's rule, asked as a program, must say the same.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::{Api, Lab, eventually, wait_for};
use crate::metallb::{Crds, Kind, Metallb, Rule, balancer, crds, vip};
use crate::release::Release;

const SOON: Duration = Duration::from_secs(90);
const POOL: &str = "203.0.113.0/26";
const WORKERS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];
/// All that a speaker reads.
const KINDS: &str =
    "nodes,namespaces,services,endpointslices,ipaddresspools,bgpadvertisements,bgppeers,communities";

/// An FRR on each leaf that takes what servers announce.
fn configure_leaves(lab: &Lab) {
    for leaf in 1..=2 {
        let neighbors =
            [11, 13, 15].map(|host| format!(" neighbor 192.168.{leaf}.{host} remote-as external\n")).concat();
        let path = lab.scratch(&format!("leaf{leaf}.conf"));
        let text = format!(
            "bgp route-map delay-timer 1\nrouter bgp 6500{leaf}\n bgp router-id 10.0.0.{leaf}\n no bgp ebgp-requires-policy\n \
             bgp bestpath as-path multipath-relax\n{neighbors}exit\n"
        );
        fs::write(&path, text).unwrap();
        lab.lab(&["vtysh", &format!("leaf{leaf}"), "-f", path.to_str().unwrap()]);
    }
}

fn lab_with_metallb(kind: Kind, test: impl FnOnce(&Lab, Metallb<'_>)) {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    configure_leaves(&lab);
    let Some(metallb) = Metallb::up(&lab, kind) else { return };
    metallb.peers();
    metallb.advertise(&[POOL], &json!({}));
    test(&lab, metallb);
}

/// Both leaves forward `prefix` to exactly these servers; how long that took.
fn forwarded_to(lab: &Lab, prefix: &str, servers: &[u32]) -> Duration {
    let began = Instant::now();
    for leaf in 1..=2 {
        let wanted: Vec<String> =
            servers.iter().map(|server| format!("192.168.{leaf}.{}", 9 + 2 * server)).collect();
        wait_for(&format!("{prefix} on leaf{leaf}"), SOON, || {
            let hops = lab.kernel(&format!("leaf{leaf}"), prefix).unwrap_or_default();
            if hops == wanted { Ok(()) } else { Err(format!("{hops:?}, not {wanted:?}")) }
        });
    }
    began.elapsed()
}

/// What MetalLB's own code says of the cluster as it is: node, peer and prefix.
fn ruled(lab: &Lab, rule: &Rule, kind: Kind) -> BTreeSet<(String, String, String)> {
    let objects = lab.get(&[KINDS, "-A"])["items"].clone();
    let answer = &rule.ask(&[json!({"id": "lab", "type": kind.name(), "objects": objects})])[0];
    assert_eq!(answer["error"], Value::Null, "{answer}");
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let nodes = answer["nodes"].as_object().unwrap().iter();
    nodes
        .flat_map(|(node, says)| {
            assert_eq!(says["error"], "", "{answer}");
            let announced = says["announcements"].as_array().unwrap().iter();
            announced
                .map(|path| (node.clone(), word(&path["peer"]), word(&path["prefix"])))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// That these servers announce `prefix` to both leaves.
fn paths(servers: &[u32], prefix: &str) -> BTreeSet<(String, String, String)> {
    let both = |server: &u32| {
        let server = *server;
        (1..=2)
            .map(move |leaf| (format!("worker-{server}"), format!("s{server}-leaf{leaf}"), prefix.to_owned()))
    };
    servers.iter().flat_map(both).collect()
}

#[test]
fn native_speakers_are_in_the_kernel() {
    let Some(rule) = Rule::new() else { return };
    lab_with_metallb(Kind::Native, |lab, metallb| {
        balancer(lab, "web", "Cluster", &["worker-1"]);
        let web = vip(lab, "web");
        assert!(web.starts_with("203.0.113."), "{web} is not of the pool");
        let took = forwarded_to(lab, &web, &[1, 2, 3]);
        eprintln!("announced by all: {:.1} s", took.as_secs_f32());
        assert_eq!(ruled(lab, &rule, metallb.kind), paths(&[1, 2, 3], &web));

        // The rule knows nothing of a speaker that is dead; the kernel does.
        metallb.kill("s3");
        let took = forwarded_to(lab, &web, &[1, 2]);
        eprintln!("a speaker killed: {:.1} s", took.as_secs_f32());
        metallb.start("s3");
        let took = forwarded_to(lab, &web, &[1, 2, 3]);
        eprintln!("and started: {:.1} s", took.as_secs_f32());

        balancer(lab, "web", "Local", &["worker-2"]);
        forwarded_to(lab, &web, &[2]);
        assert_eq!(ruled(lab, &rule, metallb.kind), paths(&[2], &web));

        metallb.advertise(&[POOL], &json!({"aggregationLength": 28, "peers": ["s1-leaf1", "s1-leaf2"]}));
        balancer(lab, "web", "Cluster", &["worker-2"]);
        forwarded_to(lab, &web, &[]);
        let wider = web.replace(&web[web.rfind('.').unwrap()..], ".0/28");
        forwarded_to(lab, &wider, &[1]);
        assert_eq!(ruled(lab, &rule, metallb.kind), paths(&[1], &wider));

        // Its kinds go, and with them all that was configured; they come back at run time.
        assert!(crds(lab, Crds::Off));
        forwarded_to(lab, &wider, &[]);
        let gone = lab.try_lab(&["k", "get", "bgppeers", "-A"]);
        assert!(!gone.status.success(), "BGPPeers are still known");
        assert!(crds(lab, Crds::On));
        metallb.peers();
        metallb.advertise(&[POOL], &json!({}));
        let took = forwarded_to(lab, &web, &[1, 2, 3]);
        eprintln!("its kinds again: {:.1} s", took.as_secs_f32());

        // What MetalLB publishes as its rights is enough for it.
        for name in ["metallb-controller", "s1-metallb", "s2-metallb", "s3-metallb"] {
            let log = fs::read_to_string(lab.scratch(&format!("log/{name}.log"))).unwrap();
            assert!(log.contains("Starting Manager") && !log.contains("forbidden: User "), "{name}: {log}");
        }

        // BIRD comes back with what it was told to announce.
        metallb.down();
        forwarded_to(lab, &web, &[]);
        lab.lab(&["announce", "s1", "203.0.113.9/32"]);
        forwarded_to(lab, "203.0.113.9/32", &[1]);
    });
}

#[test]
fn speakers_with_frr_are_in_the_kernel() {
    let Some(rule) = Rule::new() else { return };
    lab_with_metallb(Kind::Frr, |lab, metallb| {
        balancer(lab, "web", "Local", &WORKERS);
        let web = vip(lab, "web");
        let took = forwarded_to(lab, &web, &[1, 2, 3]);
        eprintln!("announced by all: {:.1} s", took.as_secs_f32());
        assert_eq!(ruled(lab, &rule, metallb.kind), paths(&[1, 2, 3], &web));

        metallb.kill("s1");
        let took = forwarded_to(lab, &web, &[2, 3]);
        eprintln!("a server's speaker and FRR killed: {:.1} s", took.as_secs_f32());
        metallb.start("s1");
        let took = forwarded_to(lab, &web, &[1, 2, 3]);
        eprintln!("and started: {:.1} s", took.as_secs_f32());

        balancer(lab, "web", "Local", &["worker-1", "worker-3"]);
        let took = forwarded_to(lab, &web, &[1, 3]);
        eprintln!("an endpoint gone: {:.1} s", took.as_secs_f32());
        assert_eq!(ruled(lab, &rule, metallb.kind), paths(&[1, 3], &web));

        // Nothing of it outlives the lab's own end.
        lab.lab(&["down"]);
        assert!(eventually(SOON, || lab.try_lab(&["leftovers"]).status.success()), "something is left");
    });
}

#[test]
fn the_rule_answers_in_order() {
    let Some(rule) = Rule::new() else { return };
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    let unknown = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p1"}});
    let cases: Vec<Value> = (0..500)
        .map(|number| {
            let object = if number % 7 == 0 { &unknown } else { &node };
            json!({"id": number.to_string(), "type": "native", "objects": [object]})
        })
        .collect();
    let began = Instant::now();
    let answers = rule.ask(&cases);
    eprintln!("500 cases: {:.2} s", began.elapsed().as_secs_f32());
    assert_eq!(answers.len(), 500);
    for (number, answer) in answers.iter().enumerate() {
        if number % 7 == 0 {
            assert_eq!(answer["error"], "a speaker does not read v1 Pod", "{answer}");
        } else {
            assert_eq!(
                answer["nodes"]["n1"],
                json!({"error": "", "announcements": [], "silent": {}}),
                "{answer}"
            );
        }
    }
}
