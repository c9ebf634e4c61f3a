//! The vty client and the FRR reader against a real FRR, with a real BGP speaker.

use std::io;
use std::time::{Duration, Instant};

use crate::frr::{Bird, Frr, Netns, can_run, eventually};
use crate::release::Release;
use nix::sys::signal::Signal;
use switchlet::net::{Prefix, is_link_local};
use switchlet::rib::frr::FrrRib;
use switchlet::rib::{Bfd, Managed, RibError, RibReader};
use switchlet::vty::{Daemon, Vty};
use tokio::runtime::Runtime;

const DEADLINE: Duration = Duration::from_millis(500);

on_each_frr!(
    sessions_paths_and_routes_of_a_real_leaf,
    a_frozen_daemon_is_an_error_in_time,
    commands_over_the_wire,
);

const LEAF: &str = "
frr defaults datacenter
hostname leaf
router bgp 65000
 bgp router-id 10.0.0.1
 bgp bestpath as-path multipath-relax
 no bgp ebgp-requires-policy
 neighbor SPEAKER peer-group
 neighbor SPEAKER remote-as external
 neighbor SPEAKER timers 3 9
 neighbor SPEAKER timers connect 1
 neighbor 10.9.1.2 peer-group SPEAKER
 neighbor 10.9.1.2 bfd
 neighbor 10.9.2.2 peer-group SPEAKER
 neighbor 10.9.1.77 peer-group SPEAKER
 neighbor p9 interface peer-group SPEAKER
 neighbor fd00:1::2 peer-group SPEAKER
 address-family ipv6 unicast
  neighbor fd00:1::2 activate
 exit-address-family
exit
";

fn speaker(port: u8, asn: u32, v6: bool) -> String {
    let timing = "hold time 9; error wait time 1,2; connect delay time 1; connect retry time 1;";
    let second = if v6 {
        format!(
            "protocol static vips6 {{ ipv6; route fd99::10/128 blackhole; }}
             protocol bgp leaf6 {{ local fd00:{port}::2 as {asn}; neighbor fd00:{port}::1 as 65000; {timing}
                 ipv6 {{ import none; export where source = RTS_STATIC; next hop self; }}; }}
             protocol bfd {{ interface \"*\"; }}"
        )
    } else {
        String::new()
    };
    let bfd = if v6 { "bfd on;" } else { "" };
    format!(
        "router id 10.9.{port}.2;
         log \"/dev/null\" all;
         protocol device {{}}
         protocol static vips {{ ipv4; route 203.0.113.10/32 blackhole; }}
         protocol bgp leaf {{ local 10.9.{port}.2 as {asn}; neighbor 10.9.{port}.1 as 65000; {timing} {bfd}
             ipv4 {{ import none; export where source = RTS_STATIC; next hop self; }}; }}
         {second}"
    )
}

/// A leaf with two speakers, both of which announce `203.0.113.10/32`, the first also `fd99::10/128`.
fn lab(release: Release) -> (Frr, Vec<Bird>) {
    let leaf = Netns::new("leaf");
    let birds = [(1u8, 65001, true), (2, 65002, false)].map(|(port, asn, v6)| {
        let node = Netns::new("node");
        leaf.cable(&format!("p{port}"), &node, "eth0");
        leaf.ip(&format!("addr add 10.9.{port}.1/24 dev p{port}"));
        leaf.ip(&format!("addr add fd00:{port}::1/64 dev p{port} nodad"));
        node.ip(&format!("addr add 10.9.{port}.2/24 dev eth0"));
        node.ip(&format!("addr add fd00:{port}::2/64 dev eth0 nodad"));
        Bird::start(node, &speaker(port, asn, v6))
    });
    (Frr::start(release, leaf, &["zebra", "bgpd", "bfdd"], LEAF), birds.into())
}

fn rib(frr: &Frr) -> FrrRib {
    FrrRib::new(frr.run_parent(), Some(frr.instance().to_owned()), DEADLINE)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn vip(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn sessions_paths_and_routes_of_a_real_leaf(release: Release) {
    if !can_run(release) {
        return;
    }
    let (leaf, _birds) = lab(release);
    let runtime = runtime();
    let mut rib = rib(&leaf);

    let sessions = eventually("three sessions up, BFD too", Duration::from_secs(60), || {
        let sessions = runtime.block_on(rib.sessions()).unwrap();
        let up = sessions.by_peer.values().filter(|session| session.is_up()).count();
        (up == 3 && sessions.by_peer["10.9.1.2"].bfd == Some(Bfd::Up)).then_some(sessions)
    });
    assert_eq!(
        sessions.by_peer.keys().collect::<Vec<_>>(),
        ["10.9.1.2", "10.9.1.77", "10.9.2.2", "fd00:1::2", "p9"]
    );
    assert!(!sessions.by_peer["10.9.1.77"].is_up());
    assert!(sessions.by_peer["10.9.1.77"].last_reset.is_some());
    let waits = match release {
        Release::V8_4 => "Waiting for Peer IPv6 LLA",
        Release::V10_3 => "Peer-group add member",
    };
    assert_eq!(sessions.by_peer["p9"].last_reset.as_deref(), Some(waits));
    assert_eq!((sessions.by_peer["p9"].uptime, &sessions.by_peer["10.9.2.2"].bfd), (None, &None));

    let managed = eventually("two hops in zebra", Duration::from_secs(60), || {
        let managed = runtime.block_on(rib.managed(vip("203.0.113.10/32"))).unwrap();
        (managed.installed.len() == 2 && !managed.queued).then_some(managed)
    });
    assert_eq!(managed.selected.as_deref(), Some("bgp"));
    let hops: Vec<_> = managed.installed.iter().map(ToString::to_string).collect();
    assert_eq!(hops, ["10.9.1.2%p1", "10.9.2.2%p2"]);

    let mut paths = runtime.block_on(rib.paths(vip("203.0.113.10/32"))).unwrap();
    paths.sort_by(|a, b| a.peer.cmp(&b.peer));
    assert_eq!(paths.iter().map(|path| path.peer.as_str()).collect::<Vec<_>>(), ["10.9.1.2", "10.9.2.2"]);
    assert!(paths.iter().all(|path| path.valid && path.chosen && path.stale.is_none()));
    let paths = eventually("a path to the IPv6 VIP", Duration::from_secs(60), || {
        let paths = runtime.block_on(rib.paths(vip("fd99::10/128"))).unwrap();
        (!paths.is_empty()).then_some(paths)
    });
    // The speaker offers its global and its link-local address, and FRR forwards to the latter.
    let installed = eventually("the IPv6 VIP in zebra", Duration::from_secs(60), || {
        runtime.block_on(rib.managed(vip("fd99::10/128"))).unwrap().installed.into_iter().next()
    });
    let path = &paths[0];
    let next_hop = path.next_hop.as_ref().unwrap();
    assert_eq!(path.peer, "fd00:1::2");
    assert!(is_link_local(next_hop.address.unwrap()), "{next_hop}");
    assert!(next_hop.is_met_by(&installed), "{next_hop} and {installed}");

    for absent in ["203.0.113.99/32", "fd99::99/128", "203.0.113.0/24"] {
        assert_eq!(runtime.block_on(rib.paths(vip(absent))).unwrap(), []);
        assert_eq!(runtime.block_on(rib.managed(vip(absent))).unwrap(), Managed::default());
    }

    // Without BFD's daemon the sessions are still told.
    leaf.signal("bfdd", Signal::SIGSTOP);
    assert_eq!(runtime.block_on(rib.sessions()).unwrap().by_peer.len(), 5);
}

fn a_frozen_daemon_is_an_error_in_time(release: Release) {
    if !can_run(release) {
        return;
    }
    let leaf = Frr::start(release, Netns::new("leaf"), &["zebra", "bgpd"], "");
    let runtime = runtime();
    let mut rib = rib(&leaf);
    assert!(runtime.block_on(rib.sessions()).unwrap().by_peer.is_empty(), "bgpd without configuration");
    assert_eq!(runtime.block_on(rib.paths(vip("203.0.113.10/32"))).unwrap(), []);

    leaf.signal("bgpd", Signal::SIGSTOP);
    // The first on the open connection, the second on a new one.
    for _ in 0..2 {
        let start = Instant::now();
        let error = runtime.block_on(rib.sessions()).unwrap_err();
        assert!(start.elapsed() < DEADLINE * 3, "{:?}", start.elapsed());
        let RibError::Unreachable { daemon: "bgpd", source } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    }
    assert_eq!(runtime.block_on(rib.managed(vip("203.0.113.10/32"))).unwrap(), Managed::default());

    leaf.signal("bgpd", Signal::SIGCONT);
    assert!(runtime.block_on(rib.sessions()).unwrap().by_peer.is_empty());
    leaf.signal("bgpd", Signal::SIGKILL);
    eventually("a dead daemon is an error", Duration::from_secs(10), || {
        runtime.block_on(rib.sessions()).err()
    });
}

fn commands_over_the_wire(release: Release) {
    if !can_run(release) {
        return;
    }
    let leaf = Frr::start(release, Netns::new("leaf"), &["zebra", "bgpd"], "");
    runtime().block_on(async {
        let path = Daemon::Bgpd.socket(&leaf.run_parent(), Some(leaf.instance()));
        let mut vty = Vty::open(&path, DEADLINE).await.unwrap();
        assert!(vty.ask("show version").await.unwrap().text.contains("FRRouting"));
        assert!(vty.enable().await.unwrap().is_success());
        for line in
            ["configure terminal", "ip prefix-list VIP-IN seq 10 permit 203.0.113.0/24 ge 32 le 32", "end"]
        {
            assert!(vty.ask(line).await.unwrap().is_success(), "{line}");
        }
        let running = vty.ask("show running-config").await.unwrap();
        assert!(running.text.contains("VIP-IN seq 10 permit 203.0.113.0/24"));
        let unknown = vty.ask("frobnicate").await.unwrap();
        assert_eq!(unknown.code, 2);
        let missing = Daemon::Staticd.socket(&leaf.run_parent(), Some(leaf.instance()));
        assert_eq!(Vty::open(&missing, DEADLINE).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}
