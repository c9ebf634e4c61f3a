//! The netlink reader against the real kernel, with `ip` as judge.

use std::fmt::Write as _;
use std::time::Duration;

use crate::netns::{in_namespace, ip, ip_batch, ips, sysctl, three_ports, wait_for_carrier_loss};
use crate::oracle::{Seen, reduce, routes};
use proptest::prelude::*;
use switchlet::fib::FibReader;
use switchlet::fib::netlink::{Hint, HintKind, Hints, NetlinkFib};
use switchlet::net::{HopState, Prefix, Resilient, Route, RouteKind};

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn exact(text: &str) -> Option<Route> {
    NetlinkFib::open().unwrap().exact_now(&[prefix(text)]).unwrap().remove(0)
}

fn within(pool: &str) -> Vec<Route> {
    NetlinkFib::open().unwrap().within_now(&[prefix(pool)]).unwrap()
}

fn live(route: &Route) -> Vec<String> {
    route.live().iter().map(ToString::to_string).collect()
}

/// Look-up, dump and `ip` agree on this prefix.
fn agree(text: &str) -> Route {
    let looked_up = exact(text).unwrap_or_else(|| panic!("no route to {text}"));
    let dumped = within(text).into_iter().find(|route| route.prefix == prefix(text));
    let dumped = dumped.unwrap_or_else(|| panic!("{text} is not in the dump"));
    assert_eq!(reduce(&looked_up), reduce(&dumped), "look-up and dump of {text}");
    assert_eq!(looked_up.table, dumped.table);
    assert_eq!(Some(&reduce(&looked_up)), routes().get(&prefix(text)), "{text} against ip");
    looked_up
}

#[test]
fn three_hops_in_line() {
    in_namespace(|| {
        three_ports();
        ip(
            "route add 203.0.113.10/32 proto bgp nexthop via 10.9.1.2 nexthop via 10.9.2.2 nexthop via 10.9.3.2",
        );
        ip(
            "-6 route add fd99::10/128 proto bgp nexthop via fd00:1::2 nexthop via fd00:2::2 nexthop via fd00:3::2",
        );
        let route = agree("203.0.113.10/32");
        assert_eq!(live(&route), ["10.9.1.2", "10.9.2.2", "10.9.3.2"]);
        assert_eq!((route.protocol, route.table, route.group), (switchlet::net::PROTOCOL_BGP, 254, None));
        assert_eq!(live(&agree("fd99::10/128")), ["fd00:1::2", "fd00:2::2", "fd00:3::2"]);
    });
}

#[test]
fn group_with_and_without_compatibility_mode() {
    in_namespace(|| {
        three_ports();
        ips("nexthop add id 11 via 10.9.1.2 dev p1
             nexthop add id 12 via 10.9.2.2 dev p2
             nexthop add id 13 via 10.9.3.2 dev p3
             nexthop add id 100 group 11/12,3/13
             nexthop add id 21 via fd00:1::2 dev p1
             nexthop add id 22 via fd00:2::2 dev p2
             nexthop add id 200 group 21/22
             route add 203.0.113.10/32 nhid 100
             route add 203.0.113.11/32 nhid 11
             route add 203.0.113.12/32 nhid 200
             -6 route add fd99::10/128 nhid 200
             -6 route add fd99::11/128 nhid 21");
        let check = || {
            let route = exact("203.0.113.10/32").unwrap();
            assert_eq!(route.group, Some(100));
            assert_eq!(live(&route), ["10.9.1.2", "10.9.2.2", "10.9.3.2"]);
            assert_eq!(route.hops[0].next_hop.device.as_deref(), Some("p1"));
            assert_eq!(live(&exact("203.0.113.11/32").unwrap()), ["10.9.1.2"]);
            assert_eq!(live(&exact("203.0.113.12/32").unwrap()), ["fd00:1::2", "fd00:2::2"]);
            assert_eq!(live(&exact("fd99::10/128").unwrap()), ["fd00:1::2", "fd00:2::2"]);
            assert_eq!(live(&exact("fd99::11/128").unwrap()), ["fd00:1::2"]);
            let all: Vec<_> = within("203.0.113.0/24").iter().map(live).collect();
            assert_eq!(
                all,
                [live(&route), vec!["10.9.1.2".into()], vec!["fd00:1::2".into(), "fd00:2::2".into()]]
            );
        };
        sysctl("net/ipv4/nexthop_compat_mode", "1");
        check();
        agree("203.0.113.10/32");
        agree("fd99::10/128");
        sysctl("net/ipv4/nexthop_compat_mode", "0");
        check();
        // Carrier loss takes the object out of its groups.
        ip("link set q2 down");
        wait_for_carrier_loss("p2");
        assert_eq!(live(&exact("203.0.113.10/32").unwrap()), ["10.9.1.2", "10.9.3.2"]);
        assert_eq!(live(&exact("fd99::10/128").unwrap()), ["fd00:1::2"]);
    });
}

#[test]
fn group_facts_can_be_read() {
    in_namespace(|| {
        three_ports();
        ips("nexthop add id 11 via 10.9.1.2 dev p1
             nexthop add id 12 via 10.9.2.2 dev p2
             nexthop add id 100 group 11/12,3
             nexthop add id 101 group 11/12 type resilient buckets 64 idle_timer 60 unbalanced_timer 120");
        let mut fib = NetlinkFib::open().unwrap();
        let plain = fib.group(100).unwrap().unwrap();
        assert_eq!(plain.resilient, None);
        assert_eq!(plain.members.iter().map(|m| (m.id, m.weight)).collect::<Vec<_>>(), [(11, 1), (12, 3)]);
        let resilient = Resilient {
            buckets: 64,
            idle_timer: Duration::from_secs(60),
            unbalanced_timer: Duration::from_secs(120),
            unused: 0,
        };
        assert_eq!(fib.group(101).unwrap().unwrap().resilient, Some(resilient));
        assert_eq!(fib.group(11).unwrap(), None, "a single object is no group");
        assert_eq!(fib.group(999).unwrap(), None);
    });
}

/// IPv6 look-ups about routes that share an object answer with any of them, or deny them all.
#[test]
fn shared_objects_do_not_confuse_ipv6() {
    in_namespace(|| {
        three_ports();
        ips("nexthop add id 21 via fd00:1::2 dev p1
             -6 route add fd99::a/128 nhid 21
             -6 route add fd99::b/128 nhid 21
             -6 route add fd99::c/128 nhid 21");
        assert!(exact("fd99::b/128").is_some());
        assert_eq!(exact("fd99::a/128").unwrap().prefix, prefix("fd99::a/128"));
        ip("-6 route del fd99::b/128");
        agree("fd99::a/128");
        assert_eq!(exact("fd99::b/128"), None);
        ip("-6 route add default nhid 21");
        assert_eq!(exact("fd99::d/128"), None);
        agree("fd99::a/128");
        let mut fib = NetlinkFib::open().unwrap();
        let longest = fib.longest_now(&["fd99::a".parse().unwrap(), "fd99::d".parse().unwrap()]).unwrap();
        let prefixes: Vec<_> = longest.into_iter().map(|route| route.unwrap().prefix.to_string()).collect();
        assert_eq!(prefixes, ["fd99::a/128", "::/0"]);
    });
}

#[test]
fn ipv6_gateway_of_an_ipv4_route() {
    in_namespace(|| {
        three_ports();
        ip("route add 203.0.113.10/32 via inet6 fe80::1 dev p1");
        ip("route add 203.0.113.11/32 nexthop via inet6 fe80::1 dev p1 nexthop via inet6 fe80::1 dev p2");
        assert_eq!(live(&agree("203.0.113.10/32")), ["fe80::1%p1"]);
        assert_eq!(live(&agree("203.0.113.11/32")), ["fe80::1%p1", "fe80::1%p2"]);
    });
}

#[test]
fn hops_without_carrier_and_dead_ones() {
    in_namespace(|| {
        three_ports();
        ip("route add 203.0.113.10/32 nexthop via 10.9.1.2 nexthop via 10.9.2.2 nexthop via 10.9.3.2");
        ip("route add 203.0.113.11/32 via 10.9.2.2");
        ip("-6 route add fd99::10/128 nexthop via fd00:1::2 nexthop via fd00:2::2 nexthop via fd00:3::2");
        ip("link set q2 down");
        wait_for_carrier_loss("p2");
        for (vip, left) in
            [("203.0.113.10/32", ["10.9.1.2", "10.9.3.2"]), ("fd99::10/128", ["fd00:1::2", "fd00:3::2"])]
        {
            let route = agree(vip);
            assert_eq!(live(&route), left);
            assert_eq!(route.hops.iter().filter(|hop| hop.state == HopState::LinkDown).count(), 1);
        }
        assert_eq!(agree("203.0.113.11/32").hops[0].state, HopState::LinkDown);
        ip("link set p3 down");
        let route = agree("203.0.113.10/32");
        assert_eq!(live(&route), ["10.9.1.2"]);
        assert_eq!(route.hops.iter().filter(|hop| hop.state == HopState::Dead).count(), 1);
        assert_eq!(live(&agree("fd99::10/128")), ["fd00:1::2"]);
    });
}

/// With this sysctl the kernel passes over a route whose hops have no carrier.
#[test]
fn routes_that_the_kernel_passes_over_are_absent() {
    in_namespace(|| {
        three_ports();
        ip("route add 203.0.113.11/32 via 10.9.2.2");
        ip("route add 203.0.113.11/32 via 10.9.1.2 metric 10");
        ip("route add 203.0.113.64/26 via 10.9.2.2");
        sysctl("net/ipv4/conf/p2/ignore_routes_with_linkdown", "1");
        ip("link set q2 down");
        wait_for_carrier_loss("p2");
        let route = exact("203.0.113.11/32").unwrap();
        assert_eq!((route.metric, live(&route)), (10, vec!["10.9.1.2".to_owned()]));
        assert_eq!(within("203.0.113.0/24").iter().map(|route| route.metric).collect::<Vec<_>>(), [10]);
        assert_eq!(exact("203.0.113.64/26"), None);
    });
}

#[test]
fn routes_that_refuse() {
    in_namespace(|| {
        three_ports();
        for (word, kind) in [
            ("blackhole", RouteKind::Blackhole),
            ("unreachable", RouteKind::Unreachable),
            ("prohibit", RouteKind::Prohibit),
        ] {
            for (vip, other, wide, family) in [
                ("203.0.113.10", "203.0.113.11", "203.0.113.0/24", "-4"),
                ("fd99::10", "fd99::11", "fd99::/64", "-6"),
            ] {
                let host = Prefix::host(vip.parse().unwrap()).to_string();
                ip(&format!("{family} route add {word} {host}"));
                let route = agree(&host);
                assert_eq!((route.kind, route.hops.len()), (kind, 0));
                let address = [other.parse().unwrap()];
                let mut fib = NetlinkFib::open().unwrap();
                assert_eq!(fib.longest_now(&address).unwrap(), [None]);
                // A shorter one that catches a VIP is not the VIP's route.
                ip(&format!("{family} route add {word} {wide}"));
                assert_eq!(fib.exact_now(&[Prefix::host(address[0])]).unwrap(), [None]);
                let caught = fib.longest_now(&address).unwrap().remove(0).unwrap();
                assert_eq!((caught.kind, caught.prefix), (kind, prefix(wide)));
                assert_eq!(agree(wide).kind, kind);
                ip(&format!("{family} route del {word} {wide}"));
                ip(&format!("{family} route del {word} {host}"));
                assert_eq!(exact(&host), None);
            }
        }
    });
}

#[test]
fn next_hop_objects_that_refuse() {
    in_namespace(|| {
        ips("nexthop add id 5 blackhole
             -6 nexthop add id 6 blackhole
             nexthop add id 7 group 5
             route add 203.0.113.10/32 nhid 5
             route add 203.0.113.11/32 nhid 7
             -6 route add fd99::10/128 nhid 6");
        for mode in ["1", "0"] {
            sysctl("net/ipv4/nexthop_compat_mode", mode);
            for vip in ["203.0.113.10/32", "203.0.113.11/32", "fd99::10/128"] {
                assert_eq!(exact(vip).map(|route| route.kind), Some(RouteKind::Blackhole), "{vip}");
                assert_eq!(within(vip)[0].kind, RouteKind::Blackhole);
            }
        }
    });
}

/// A refusal that comes from a policy rule is no route, and does not loop for ever.
#[test]
fn policy_rules_that_refuse() {
    in_namespace(|| {
        three_ports();
        ip("route add 203.0.113.10/32 via 10.9.1.2");
        ip("rule add pref 100 to 203.0.113.10/32 blackhole");
        assert_eq!(exact("203.0.113.10/32"), None);
    });
}

#[test]
fn addresses_of_this_host() {
    in_namespace(|| {
        ip("addr add 203.0.113.10/32 dev lo");
        ip("-6 addr add fd99::10/128 dev lo");
        // The kernel makes the IPv6 address's route a moment later, in a work queue.
        for _ in 0..100 {
            if ip("-6 route show table local").contains("fd99::10") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        for rules in [false, true] {
            if rules {
                // The first rule parts tables local and main, which were one trie until then.
                ip("rule add pref 5000 to 192.0.2.0/24 lookup 77");
            }
            for vip in ["203.0.113.10/32", "fd99::10/128"] {
                let route = agree(vip);
                assert_eq!((route.kind, route.table), (RouteKind::Local, 255), "{vip}");
                assert_eq!(route.live()[0].to_string(), "%lo");
            }
        }
    });
}

#[test]
fn nothing_at_all_and_a_default_route_only() {
    in_namespace(|| {
        let vips = [prefix("203.0.113.10/32"), prefix("fd99::10/128"), prefix("203.0.113.0/24")];
        let mut fib = NetlinkFib::open().unwrap();
        assert_eq!(fib.exact_now(&vips).unwrap(), [None, None, None]);
        assert_eq!(fib.within_now(&vips).unwrap(), []);
        three_ports();
        ip("route add default via 10.9.1.2");
        ip("-6 route add default via fd00:1::2");
        assert_eq!(fib.exact_now(&vips).unwrap(), [None, None, None]);
        assert_eq!(fib.within_now(&vips).unwrap(), []);
        let longest =
            fib.longest_now(&["203.0.113.10".parse().unwrap(), "fd99::10".parse().unwrap()]).unwrap();
        assert!(longest.iter().flatten().all(|route| route.prefix.is_default()));
        assert_eq!(longest.iter().flatten().count(), 2);
        agree("0.0.0.0/0");
        agree("::/0");
    });
}

#[test]
fn the_lowest_metric_forwards() {
    in_namespace(|| {
        three_ports();
        ips("route add 203.0.113.10/32 via 10.9.1.2 metric 20
             route add 203.0.113.10/32 via 10.9.2.2 metric 10
             route add 203.0.113.10/32 tos 0x10 via 10.9.3.2
             -6 route add fd99::10/128 via fd00:1::2 metric 20
             -6 route add fd99::10/128 via fd00:2::2 metric 10");
        for (vip, via) in [("203.0.113.10/32", "10.9.2.2"), ("fd99::10/128", "fd00:2::2")] {
            for route in [exact(vip).unwrap(), within(vip).remove(0)] {
                assert_eq!((route.metric, live(&route)), (10, vec![via.to_owned()]));
            }
            assert_eq!(within(vip).len(), 1);
        }
    });
}

#[test]
fn aggregates_and_what_is_more_specific() {
    in_namespace(|| {
        three_ports();
        ips("route add 203.0.113.0/26 via 10.9.1.2
             route add 203.0.113.0/32 via 10.9.2.2
             -6 route add fd99::/64 via fd00:1::2
             -6 route add fd99::/128 via fd00:2::2");
        assert_eq!(live(&agree("203.0.113.0/26")), ["10.9.1.2"]);
        assert_eq!(live(&agree("203.0.113.0/32")), ["10.9.2.2"]);
        assert_eq!(live(&agree("fd99::/64")), ["fd00:1::2"]);
        assert_eq!(live(&agree("fd99::/128")), ["fd00:2::2"]);
        assert_eq!(exact("203.0.113.0/25"), None);
        assert_eq!(exact("203.0.113.0/27"), None);
        // A pool reads what is equal or inside, and nothing wider.
        assert_eq!(within("203.0.113.0/24").len(), 2);
        assert_eq!(within("203.0.113.0/27").len(), 1);
    });
}

#[test]
fn replaced_in_place() {
    in_namespace(|| {
        three_ports();
        let mut fib = NetlinkFib::open().unwrap();
        ip("route add 203.0.113.10/32 nexthop via 10.9.1.2 nexthop via 10.9.2.2");
        let before = fib.exact_now(&[prefix("203.0.113.10/32")]).unwrap().remove(0).unwrap();
        ip("route replace 203.0.113.10/32 via 10.9.3.2");
        let after = fib.exact_now(&[prefix("203.0.113.10/32")]).unwrap().remove(0).unwrap();
        assert_eq!((live(&before).len(), live(&after)), (2, vec!["10.9.3.2".to_owned()]));
    });
}

/// Names come over the socket, whatever namespace the thread is in that asks.
#[test]
fn a_reader_belongs_to_the_namespace_it_was_opened_in() {
    in_namespace(|| {
        three_ports();
        ip("route add 203.0.113.10/32 via 10.9.3.2");
        let mut fib = NetlinkFib::open().unwrap();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let route = fib.exact_now(&[prefix("203.0.113.10/32")]).unwrap().remove(0).unwrap();
            assert_eq!(route.hops[0].next_hop.to_string(), "10.9.3.2%p3");
        })
        .join()
        .unwrap();
    });
}

#[test]
fn a_table_of_its_own() {
    in_namespace(|| {
        three_ports();
        ip("route add 203.0.113.10/32 via 10.9.1.2 table 1000");
        assert_eq!(exact("203.0.113.10/32"), None);
        let mut fib = NetlinkFib::open_table(1000).unwrap();
        let route = fib.exact_now(&[prefix("203.0.113.10/32")]).unwrap().remove(0).unwrap();
        assert_eq!((route.table, live(&route)), (1000, vec!["10.9.1.2".to_owned()]));
        let mut empty = NetlinkFib::open_table(1001).unwrap();
        assert_eq!(empty.exact_now(&[prefix("203.0.113.10/32")]).unwrap(), [None]);
    });
}

#[test]
fn many_routes_and_few_pools() {
    in_namespace(|| {
        three_ports();
        let mut batch = String::new();
        for n in 0..100_000u32 {
            let [_, b, c, d] = n.to_be_bytes();
            let hops = "nexthop via 10.9.1.2 nexthop via 10.9.2.2 nexthop via 10.9.3.2";
            writeln!(batch, "route add 20.{b}.{c}.{d}/32 {hops}").unwrap();
        }
        ip_batch(&batch, false);
        let mut fib = NetlinkFib::open().unwrap();
        let pools =
            [prefix("20.0.1.0/24"), prefix("20.0.1.128/25"), prefix("20.1.134.0/24"), prefix("fd99::/64")];
        let found = fib.within_now(&pools).unwrap();
        assert_eq!(found.len(), 256 + 160);
        assert!(found.iter().all(|route| route.hops.len() == 3));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(fib.within(&pools)).unwrap(), found);
        let vips: Vec<Prefix> =
            found.iter().map(|route| route.prefix).chain([prefix("20.9.9.9/32")]).collect();
        let answers = runtime.block_on(fib.exact(&vips)).unwrap();
        assert_eq!(answers.last().unwrap(), &None);
        assert_eq!(answers.into_iter().flatten().collect::<Vec<_>>(), found);
    });
}

#[test]
fn hints_tell_what_kind_of_thing_changed() {
    in_namespace(|| {
        three_ports();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            async fn next(hints: &mut Hints) -> Hint {
                tokio::time::timeout(Duration::from_secs(10), hints.next()).await.expect("a hint")
            }
            let mut hints = Hints::open().unwrap();
            for (change, kind) in [
                ("route add 203.0.113.10/32 via 10.9.1.2", HintKind::Route),
                ("-6 route add fd99::10/128 via fd00:1::2", HintKind::Route),
                ("nexthop add id 11 via 10.9.1.2 dev p1", HintKind::NextHop),
                ("addr add 203.0.113.11/32 dev lo", HintKind::Address),
                ("rule add pref 100 to 203.0.113.10/32 lookup main", HintKind::Rule),
                ("link set q1 down", HintKind::Link),
            ] {
                ip(change);
                let hint = next(&mut hints).await;
                assert!(hint.has(kind), "{change}: {hint:?}");
                // A link that goes down brings more in its wake, and on a busy machine it comes late.
                while tokio::time::timeout(Duration::from_millis(500), hints.next()).await.is_ok() {}
            }
            let quiet = tokio::time::timeout(Duration::from_millis(100), hints.next()).await;
            assert!(quiet.is_err(), "nothing changed, yet {quiet:?}");
        });
    });
}

/// One random route as `ip` words.
fn route_line() -> impl Strategy<Value = String> {
    let hops = |ports: Vec<usize>, v6: bool| {
        let gateway = |port: &usize| if v6 { format!("fd00:{port}::2") } else { format!("10.9.{port}.2") };
        match ports.as_slice() {
            [port] => format!("via {}", gateway(port)),
            ports => {
                let hops: Vec<String> =
                    ports.iter().map(|port| format!("nexthop via {}", gateway(port))).collect();
                hops.join(" ")
            }
        }
    };
    let action = prop_oneof![
        8 => (proptest::sample::subsequence(vec![1usize, 2, 3], 1..=3), any::<bool>()).prop_map(|ports| Some(ports.0)),
        1 => Just(None),
    ];
    let kind = proptest::sample::select(vec!["blackhole", "unreachable", "prohibit"]);
    (any::<bool>(), 0u8..16, 24u8..=32, proptest::sample::select(vec![0, 10, 20]), action, kind).prop_map(
        move |(v6, last, len, metric, ports, kind)| {
            let len = if v6 { len + 96 } else { len };
            let address = if v6 { format!("fd99::{last:x}") } else { format!("203.0.113.{last}") };
            let prefix = Prefix::new(address.parse().unwrap(), len).unwrap();
            let family = if v6 { "-6 " } else { "" };
            let metric = if metric == 0 { String::new() } else { format!("metric {metric}") };
            match ports {
                Some(ports) => format!("{family}route add {prefix} {metric} {}", hops(ports, v6)),
                None => format!("{family}route add {kind} {prefix} {metric}"),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn random_tables_are_read_as_ip_reads_them(lines in prop::collection::vec(route_line(), 1..40)) {
        in_namespace(|| {
            three_ports();
            ip_batch(&lines.concat_lines(), true);
            let truth = routes();
            let mut fib = NetlinkFib::open().unwrap();
            for pool in ["203.0.113.0/24", "203.0.113.8/29", "fd99::/120", "fd99::4/126"] {
                let pool = prefix(pool);
                let found: Vec<(Prefix, Seen)> =
                    fib.within_now(&[pool]).unwrap().iter().map(|route| (route.prefix, reduce(route))).collect();
                let expected: Vec<(Prefix, Seen)> =
                    truth.iter().filter(|(prefix, _)| pool.covers(**prefix)).map(|(p, s)| (*p, s.clone())).collect();
                assert_eq!(found, expected, "within {pool}");
            }
            let mut asked: Vec<Prefix> = truth.keys().copied().collect();
            asked.extend((0..16).map(|last| prefix(&format!("203.0.113.{last}"))));
            asked.extend((0..16).map(|last| prefix(&format!("fd99::{last:x}"))));
            let answers = fib.exact_now(&asked).unwrap();
            for (prefix, answer) in asked.iter().zip(&answers) {
                assert_eq!(answer.as_ref().map(reduce).as_ref(), truth.get(prefix), "exact {prefix}");
            }
        });
    }
}

trait Lines {
    fn concat_lines(&self) -> String;
}

impl Lines for Vec<String> {
    fn concat_lines(&self) -> String {
        self.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}
