//! Every rung of the ladder, produced on real parts: FRR in two releases, BIRD on the nodes, the kernel, and
//! `switchlet verify` as an operator runs it. What it says is set against the far end and the kernel's own word.

use std::cell::RefCell;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::frr::{Bird, Frr, Netns, can_run, eventually};
use crate::release::Release;
use serde_json::{Value, json};

on_each_frr!(
    sessions,
    a_node_that_falls_silent,
    a_node_without_bfd,
    a_listen_range_without_a_visitor,
    import_policy,
    paths_that_are_not_used,
    what_the_kernel_does_otherwise,
    a_speaker_that_promised_to_be_back,
    how_flows_are_spread,
);

const SOON: Duration = Duration::from_secs(45);
const VIP: &str = "203.0.113.10/32";

const SETTINGS: &str = "\
version: 1
asn: 65001
routerId: 10.0.0.1
vips: {pools: [203.0.113.0/24]}
peering:
  peerAsn: external
  nodes: {selector: {matchLabels: {role: worker}}, subnets: [10.9.0.0/16]}
";

/// How a node's speaker behaves.
#[derive(Clone, Copy, Default)]
struct Speaker {
    /// Statements of the filter through which it announces.
    filter: &'static str,
    /// Options of its BGP session.
    options: &'static str,
}

impl Speaker {
    fn config(self, n: u32) -> String {
        let Self { filter, options } = self;
        let bfd = if options.contains("bfd on") { "protocol bfd { interface \"*\"; }" } else { "" };
        format!(
            "router id 10.9.{n}.2;
             log \"/dev/null\" all;
             protocol device {{}}
             {bfd}
             protocol static vips {{ ipv4; route {VIP} blackhole; }}
             filter to_leaf {{ {filter} accept; }}
             protocol bgp leaf {{
                 local 10.9.{n}.2 as 6510{n}; neighbor 10.9.{n}.1 as 65001;
                 hold time 9; error wait time 1,2; error forget time 2; connect delay time 1; connect retry time 1;
                 {options}
                 ipv4 {{ import none; export filter to_leaf; }}; }}"
        )
    }
}

/// A leaf with three nodes, each of which announces the VIP and has an endpoint behind it.
struct Scene {
    leaf: Frr,
    nodes: Vec<Bird>,
    inputs: tempfile::TempDir,
    last: RefCell<Value>,
}

impl Scene {
    /// The leaf runs what `switchlet render` makes of `settings`.
    fn new(release: Release, settings: &str, speaker: Speaker) -> Self {
        let inputs = tempfile::tempdir().unwrap();
        for folder in ["bundle", "cluster"] {
            fs::create_dir(inputs.path().join(folder)).unwrap();
        }
        fs::write(inputs.path().join("bundle/switch.yaml"), settings).unwrap();
        let leaf = Netns::new("leaf");
        // Flows are spread as they should be.
        leaf.sysctl("net.ipv4.fib_multipath_hash_policy=1");
        let nodes: Vec<Bird> = (1..=3)
            .map(|n| {
                let node = Netns::new("node");
                leaf.cable(&format!("p{n}"), &node, "eth0");
                leaf.ip(&format!("addr add 10.9.{n}.1/24 dev p{n}"));
                node.ip(&format!("addr add 10.9.{n}.2/24 dev eth0"));
                Bird::start(node, &speaker.config(n))
            })
            .collect();
        let leaf = Frr::start(release, leaf, &["zebra", "bgpd", "bfdd"], "");
        let scene = Self { leaf, nodes, inputs, last: RefCell::default() };
        scene.endpoints(&[1, 2, 3]);
        let (_, text) = scene.switchlet("render", &[]);
        // Filters take effect after this long; 5 s otherwise.
        scene.leaf.configure(&format!("bgp route-map delay-timer 1\n{text}"));
        scene
    }

    fn endpoints(&self, nodes: &[u32]) {
        let node = |n: u32| {
            format!(
                "apiVersion: v1\nkind: Node\nmetadata: {{name: worker-{n}, labels: {{role: worker}}}}\n\
                 status: {{addresses: [{{type: InternalIP, address: 10.9.{n}.2}}]}}\n---\n"
            )
        };
        let list: Vec<String> =
            nodes.iter().map(|n| format!("{{addresses: [10.0.{n}.1], nodeName: worker-{n}}}")).collect();
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{type: LoadBalancer, externalTrafficPolicy: Local}}\n\
             status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.10}}]}}}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
             endpoints: [{}]\n",
            list.join(", ")
        );
        let text: String = [node(1), node(2), node(3), service].concat();
        fs::write(self.inputs.path().join("cluster/all.yaml"), text).unwrap();
    }

    /// A command in the leaf's namespace: exit code and output.
    fn switchlet(&self, command: &str, more: &[&str]) -> (Option<i32>, String) {
        let folder = |name: &str| self.inputs.path().join(name).display().to_string();
        let output = Command::new("ip")
            .args(["netns", "exec", self.leaf.instance(), env!("CARGO_BIN_EXE_switchlet"), command])
            .args(["--node", "leaf1", "--bundle", &folder("bundle"), "--cluster", &folder("cluster")])
            .args(["--state-dir", &folder("state"), "--frr-instance", self.leaf.instance()])
            .arg("--frr-root")
            .arg(&self.leaf.root)
            .args(more)
            .stdin(Stdio::null())
            .output()
            .expect("ip netns exec");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until `verify` says what `check` wants of the VIP.
    fn until(&self, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        let verdict = eventually(what, SOON, || {
            let (_, text) = self.switchlet("verify", &["-o", "json"]);
            let verdict: Value = serde_json::from_str(&text).unwrap_or_default();
            let done = check(&verdict["vips"][0]);
            self.last.replace(verdict.clone());
            done.then_some(verdict)
        });
        // The kernel's own word on what is observed.
        let observed: Vec<String> = serde_json::from_value(verdict["vips"][0]["observed"].clone()).unwrap();
        assert_eq!(self.kernel(), observed, "{verdict}");
        verdict
    }

    /// Waits until the third node is missing for this reason; the message.
    fn missing(&self, rung: &str) -> String {
        let verdict = self.until(rung, |vip| {
            vip["missing"] == json!(["10.9.3.2"]) && vip["differences"][0]["rung"] == rung
        });
        let vip = &verdict["vips"][0];
        assert_eq!(vip["differences"][0]["node"], "worker-3");
        assert_eq!(vip["observed"], json!(["10.9.1.2", "10.9.2.2"]));
        vip["message"].as_str().unwrap().to_owned()
    }

    fn all_is_well(&self) -> Value {
        self.until("all three nodes", |vip| {
            vip["state"] == "ok" && vip["observed"] == json!(["10.9.1.2", "10.9.2.2", "10.9.3.2"])
        })
    }

    /// The gateways that the kernel has for the VIP, by iproute2; none where it delivers locally.
    fn kernel(&self) -> Vec<String> {
        let text = self.leaf.netns.ip(&format!("-j route show exact {VIP}"));
        let local = self.leaf.netns.ip(&format!("-j route show table local exact {VIP}"));
        let routes: Value = serde_json::from_str(&text).unwrap();
        if local.contains("\"local\"") || routes.as_array().is_none_or(Vec::is_empty) {
            return Vec::new();
        }
        let route = &routes[0];
        let hops = route["nexthops"].as_array().cloned().unwrap_or_else(|| vec![route.clone()]);
        let mut hops: Vec<String> =
            hops.iter().map(|hop| hop["gateway"].as_str().unwrap_or("?").to_owned()).collect();
        hops.sort();
        hops
    }

    fn third(&self) -> &Bird {
        &self.nodes[2]
    }

    fn session_of_third(&self) -> String {
        self.third().ask("show protocols leaf")
    }

    /// Does the third node's speaker say that it announces the VIP?
    fn third_announces(&self) -> bool {
        self.third().ask("show route export leaf").contains(VIP)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("last verdict: {}", self.last.borrow());
        }
    }
}

const GROUP: &str = "router bgp 65001\n neighbor";

fn sessions(release: Release) {
    if !can_run(release) {
        return;
    }
    let scene = Scene::new(release, SETTINGS, Speaker::default());
    scene.all_is_well();

    scene.leaf.configure("router bgp 65001\n no neighbor 10.9.3.2");
    scene.missing("PeerNotConfigured");
    eventually("the node's own word", SOON, || {
        (!scene.session_of_third().contains("Established")).then_some(())
    });
    scene.leaf.configure(&format!("{GROUP} 10.9.3.2 peer-group SWITCHLET-SPEAKERS"));
    scene.all_is_well();

    scene.third().kill();
    let message = scene.missing("SessionDown");
    assert!(message.contains("SessionDown (last reset: "), "{message}");
    scene.third().run();
    scene.all_is_well();

    scene.third().configure(&Speaker { filter: "reject;", ..Speaker::default() }.config(3));
    let message = scene.missing("PrefixNotReceived");
    assert!(scene.session_of_third().contains("Established") && !scene.third_announces());
    // 8.4 neither keeps nor counts what it refuses.
    let expected = match release {
        Release::V8_4 => "PrefixNotReceived (or refused by the import policy: that cannot be told",
        Release::V10_3 => "PrefixNotReceived (not announced by the node)",
    };
    assert!(message.contains(expected), "{message}");

    // Reasons end where nobody can be asked; the difference stays.
    scene.leaf.signal("bgpd", nix::sys::signal::Signal::SIGSTOP);
    let message = scene.missing("NotInFib");
    assert!(message.contains("NotInFib (the control plane could not be asked)"), "{message}");
    scene.leaf.signal("bgpd", nix::sys::signal::Signal::SIGCONT);
}

fn a_node_that_falls_silent(release: Release) {
    if !can_run(release) {
        return;
    }
    let settings = format!("{SETTINGS}  bfd: {{interval: 100ms, multiplier: 3}}\n");
    let speaker = Speaker { options: "bfd on;", ..Speaker::default() };
    let scene = Scene::new(release, &settings, speaker);
    scene.all_is_well();
    eventually("BFD up at both ends", SOON, || {
        scene.third().ask("show bfd sessions").contains(" Up ").then_some(())
    });
    // Not a link that is lost: nobody hears the other any more.
    let filter = scene.inputs.path().join("silence.nft");
    let chain =
        |hook: &str| format!("chain {hook} {{\ntype filter hook {hook} priority 0; policy drop;\n}}\n");
    fs::write(&filter, format!("table ip dead {{\n{}{}}}\n", chain("input"), chain("output"))).unwrap();
    scene.third().netns.run("nft", &["-f", filter.to_str().unwrap()]);
    let message = scene.missing("BfdDown");
    assert!(message.contains("BfdDown (BFD: control detection time expired, last reset: "), "{message}");
    assert!(!scene.third().ask("show bfd sessions").contains(" Up "));
    scene.third().netns.run("nft", &["delete", "table", "ip", "dead"]);
    scene.all_is_well();
}

/// The leaf asks for BFD and the node does not know it. 8.4 peers all the same; 10.3 opens no session before BFD is up.
fn a_node_without_bfd(release: Release) {
    if !can_run(release) {
        return;
    }
    let settings = format!("{SETTINGS}  bfd: {{interval: 100ms, multiplier: 3}}\n");
    let scene = Scene::new(release, &settings, Speaker { options: "bfd on;", ..Speaker::default() });
    scene.all_is_well();
    scene.third().configure(&Speaker::default().config(3));
    scene.third().ask("restart leaf");
    if release == Release::V8_4 {
        eventually("a new session", SOON, || scene.session_of_third().contains("Established").then_some(()));
        scene.all_is_well();
        return;
    }
    // What it lost stays lost in its memory; a neighbour made anew has never been there.
    scene.leaf.configure("router bgp 65001\n no neighbor 10.9.3.2");
    scene.leaf.configure(&format!("{GROUP} 10.9.3.2 peer-group SWITCHLET-SPEAKERS"));
    let message = scene.missing("SessionDown");
    assert!(message.contains("SessionDown (BFD has not come up"), "{message}");
    assert!(!scene.session_of_third().contains("Established"));
}

fn a_listen_range_without_a_visitor(release: Release) {
    if !can_run(release) {
        return;
    }
    let settings = SETTINGS.replace("  nodes:", "  mode: listen\n  nodes:");
    let scene = Scene::new(release, &settings, Speaker::default());
    scene.all_is_well();
    scene.third().kill();
    let message = scene.missing("SessionDown");
    assert!(message.contains("inside a listen range, and it has not connected"), "{message}");
    let known = scene.leaf.show("show bgp neighbors 10.9.3.2 json");
    assert!(known.contains("bgpNoSuchNeighbor"), "FRR has forgotten it: {known}");
    scene.leaf.configure("router bgp 65001\n no bgp listen range 10.9.0.0/16 peer-group SWITCHLET-SPEAKERS");
    scene.until("no range, no neighbour", |vip| vip["differences"][0]["rung"] == "PeerNotConfigured");
}

fn import_policy(release: Release) {
    if !can_run(release) {
        return;
    }
    let scene = Scene::new(release, SETTINGS, Speaker::default());
    scene.all_is_well();
    // A template of one's own may be stricter than the pools.
    scene.leaf.configure(
        "ip prefix-list STRICT seq 5 deny 203.0.113.10/32\nip prefix-list STRICT seq 10 permit any\n\
         router bgp 65001\n address-family ipv4 unicast\n  neighbor 10.9.3.2 prefix-list STRICT in",
    );
    scene.leaf.show("clear bgp ipv4 unicast 10.9.3.2 soft in");
    let message = scene.missing("PrefixNotReceived");
    assert!(scene.third_announces(), "it is announced, and FRR has not kept it");
    assert!(message.contains("cannot be told without soft-reconfiguration inbound"), "{message}");
    let soft = "neighbor 10.9.3.2 soft-reconfiguration inbound";
    scene.leaf.configure(&format!("router bgp 65001\n address-family ipv4 unicast\n  {soft}"));
    let message = scene.missing("PolicyRejected");
    assert!(message.contains("PolicyRejected (announced, and refused by the import policy)"), "{message}");
    // Where everything is kept, what is not there was not sent.
    scene.third().configure(&Speaker { filter: "reject;", ..Speaker::default() }.config(3));
    let message = scene.missing("PrefixNotReceived");
    assert!(message.contains("(not announced by the node)"), "{message}");
    scene.third().configure(&Speaker::default().config(3));
    scene.leaf.configure(&format!(
        "router bgp 65001\n address-family ipv4 unicast\n  no {soft}\n  no neighbor 10.9.3.2 prefix-list STRICT in"
    ));
    scene.all_is_well();

    // RFC 8212: without policies an external session carries nothing.
    scene.leaf.configure(
        "router bgp 65001\n bgp ebgp-requires-policy\n address-family ipv4 unicast\n\
         \x20 no neighbor SWITCHLET-SPEAKERS route-map SWITCHLET-FROM-SPEAKERS in\n\
         \x20 no neighbor SWITCHLET-SPEAKERS route-map SWITCHLET-TO-SPEAKERS out",
    );
    let verdict = scene.until("(Policy)", |vip| {
        let differences = vip["differences"].as_array().cloned().unwrap_or_default();
        differences.len() == 3 && differences.iter().all(|one| one["rung"] == "PolicyRejected")
    });
    let message = verdict["vips"][0]["message"].as_str().unwrap();
    assert!(message.contains("has no import or export policy"), "{message}");
    assert!(scene.session_of_third().contains("Established") && scene.third_announces());
}

fn paths_that_are_not_used(release: Release) {
    if !can_run(release) {
        return;
    }
    let scene = Scene::new(release, SETTINGS, Speaker::default());
    scene.all_is_well();
    let third = |filter: &'static str| {
        scene.third().configure(&Speaker { filter, ..Speaker::default() }.config(3));
    };
    third("bgp_path.prepend(65103); bgp_path.prepend(65103);");
    let message = scene.missing("NotBestPath");
    assert!(message.contains("its AS path has 3 steps, that of a used path 1"), "{message}");
    assert!(scene.third_announces());

    third("bgp_next_hop = 192.0.2.99;");
    let message = scene.missing("NextHopUnresolved");
    assert!(message.contains("NextHopUnresolved (no route to 192.0.2.99)"), "{message}");

    // A next-hop that is there, and is not the node: BGP and the kernel do as they are told.
    third("bgp_next_hop = 10.9.3.77;");
    let verdict = scene
        .until("another next-hop", |vip| vip["observed"] == json!(["10.9.1.2", "10.9.2.2", "10.9.3.77"]));
    let vip = &verdict["vips"][0];
    assert_eq!((&vip["missing"], &vip["unexpected"]), (&json!(["10.9.3.2"]), &json!(["10.9.3.77"])));
    let rungs: Vec<&Value> = vip["differences"].as_array().unwrap().iter().map(|one| &one["rung"]).collect();
    assert_eq!(rungs, ["UnexpectedNextHop", "UnexpectedNextHop"]);
    assert!(vip["message"].as_str().unwrap().contains("announced with next-hop 10.9.3.77"), "{vip}");

    third("");
    scene.all_is_well();
    scene.leaf.configure("router bgp 65001\n address-family ipv4 unicast\n  maximum-paths 2");
    // Which one is left out is FRR's choice.
    let verdict = scene.until("EcmpLimit", |vip| vip["rung"] == "EcmpLimit");
    let vip = &verdict["vips"][0];
    assert_eq!(vip["differences"].as_array().map(Vec::len), Some(1), "{vip}");
    assert_eq!(scene.kernel().len(), 2);
    assert!(vip["message"].as_str().unwrap().contains("EcmpLimit (maximum-paths is 2 for IPv4)"), "{vip}");
}

fn what_the_kernel_does_otherwise(release: Release) {
    if !can_run(release) {
        return;
    }
    let scene = Scene::new(release, SETTINGS, Speaker::default());
    scene.all_is_well();
    let leaf = &scene.leaf.netns;
    // Once more until it is seen: FRR may just be writing for reasons of its own.
    let replace = |hops: &str| leaf.ip(&format!("route replace {VIP} proto bgp metric 20 {hops}"));
    let two = "nexthop via 10.9.1.2 nexthop via 10.9.2.2";
    eventually("a route that FRR did not write", SOON, || {
        replace(two);
        (scene.switchlet("verify", &[]).0 == Some(1)).then_some(())
    });
    let message = scene.missing("NotInFib");
    assert!(message.contains("NotInFib (zebra holds it for installed)"), "{message}");
    let zebra = scene.leaf.show(&format!("show ip route {VIP} json"));
    assert_eq!(zebra.matches("\"fib\":true").count(), 3, "zebra is wrong: {zebra}");
    replace(&format!("{two} nexthop via 10.9.3.2 nexthop via 10.9.3.77"));
    let verdict = scene.until("UnexpectedNextHop", |vip| vip["unexpected"] == json!(["10.9.3.77"]));
    assert_eq!(verdict["vips"][0]["rung"], "UnexpectedNextHop");
    leaf.ip(&format!("addr add {VIP} dev lo"));
    let verdict = scene.until("WrongRouteKind", |vip| vip["rung"] == "WrongRouteKind");
    assert_eq!(verdict["vips"][0]["missing"], json!(["10.9.1.2", "10.9.2.2", "10.9.3.2"]));
}

fn a_speaker_that_promised_to_be_back(release: Release) {
    if !can_run(release) {
        return;
    }
    let speaker = Speaker { options: "graceful restart on; graceful restart time 12;", ..Speaker::default() };
    let scene = Scene::new(release, SETTINGS, speaker);
    scene.all_is_well();
    scene.third().kill();
    scene.endpoints(&[1, 2]);
    let verdict = scene.until("StaleByGracefulRestart", |vip| vip["rung"] == "StaleByGracefulRestart");
    let vip = &verdict["vips"][0];
    assert_eq!(vip["unexpected"], json!(["10.9.3.2"]), "the kernel goes on forwarding to a dead speaker");
    let message = vip["message"].as_str().unwrap();
    let (_, rest) = message.split_once("StaleByGracefulRestart (until ").expect(message);
    let until: jiff::Timestamp = rest.split(')').next().unwrap().parse().unwrap();
    let left = until.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((0..=12).contains(&left), "{left} s of 12: {message}");
    let verdict = scene.until("it is over by itself", |vip| vip["state"] == "ok");
    assert_eq!(verdict["vips"][0]["observed"], json!(["10.9.1.2", "10.9.2.2"]));
    let late = jiff::Timestamp::now().duration_since(until).as_secs();
    assert!((-2..=4).contains(&late), "over {late} s after the time that was told");
}

fn how_flows_are_spread(release: Release) {
    if !can_run(release) {
        return;
    }
    let settings = format!("{SETTINGS}resilientHash: {{prefixes: pools, maxPaths: 6, bucketsPerPath: 4}}\n");
    let scene = Scene::new(release, &settings, Speaker::default());
    let verdict = scene.until("a remark", |vip| vip["rung"] == "ResilienceMissing");
    let vip = &verdict["vips"][0];
    assert_eq!((&vip["state"], &vip["differences"]), (&json!("ok"), &json!([])), "{vip}");
    let cause = format!("UnsupportedByFRR: FRR {}", release.number());
    assert!(vip["message"].as_str().unwrap().contains(&cause), "{vip}");
    assert_eq!((&verdict["verdict"], &verdict["issues"]), (&json!("ok"), &json!([])));
    assert_eq!(scene.switchlet("verify", &[]).0, Some(0), "a remark is no difference");
    // A route by a group: first a plain one, then one that is resilient. FRR makes neither of them here.
    let leaf = &scene.leaf.netns;
    for n in 1..=3 {
        leaf.ip(&format!("nexthop add id 90{n} via 10.9.{n}.2 dev p{n}"));
    }
    leaf.ip("nexthop add id 910 group 901/902/903");
    leaf.ip(
        "nexthop add id 911 group 901/902/903 type resilient buckets 64 idle_timer 60 unbalanced_timer 0",
    );
    for (group, form) in
        [(910, "a plain group"), (911, "a resilient group (64 buckets, idle 60 s, unbalanced 0 s)")]
    {
        leaf.ip(&format!("route replace {VIP} metric 5 nhid {group}"));
        scene.until(form, |vip| {
            vip["rung"] == "ResilienceMissing" && vip["message"].as_str().unwrap().contains(form)
        });
    }

    for (setting, said) in [
        ("fib_multipath_hash_policy=0", true),
        ("fib_multipath_hash_policy=1", false),
        ("fib_multipath_hash_policy=3", true),
        ("fib_multipath_hash_fields=0x37", false),
        ("fib_multipath_hash_policy=2", true),
    ] {
        leaf.sysctl(&format!("net.ipv4.{setting}"));
        let verdict = scene.until(setting, |vip| vip["state"] == "ok");
        let issues: Vec<&Value> =
            verdict["issues"].as_array().unwrap().iter().map(|issue| &issue["reason"]).collect();
        assert_eq!(issues.iter().any(|reason| **reason == "HashPolicyLayer3"), said, "{setting}: {issues:?}");
    }
}
