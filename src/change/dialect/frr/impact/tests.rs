use super::super::tests::OURS;
use super::super::{Known, plan, undo, whole};
use super::*;

const SPEAKERS: [&str; 2] = ["192.168.1.11", "swp7"];

/// A literal text with everything that a rule may be about, and two instances.
const LITERAL: &str = "\
frr version 10.3
ip prefix-list UPLINK seq 5 permit 10.0.0.0/8 le 24
ip route 10.8.0.0/16 10.9.1.1
route-map UPLINK permit 10
 match ip address prefix-list UPLINK
exit
router bgp 65001
 bgp router-id 10.0.0.1
 neighbor GROUP peer-group
 neighbor GROUP remote-as external
 neighbor GROUP bfd
 neighbor GUESTS peer-group
 neighbor GUESTS remote-as external
 neighbor 10.9.1.2 peer-group GROUP
 neighbor 10.9.2.2 remote-as 65102
 neighbor 10.9.3.9 remote-as 65103
 neighbor swp7 interface peer-group GROUP
 bgp listen range 10.9.3.0/24 peer-group GUESTS
 address-family ipv4 unicast
  network 10.1.0.0/16
  neighbor 10.9.2.2 route-map UPLINK out
  neighbor 10.9.2.2 maximum-prefix 100
  maximum-paths 16
 exit-address-family
exit
router bgp 65002 vrf blue
 neighbor 10.9.4.2 remote-as 65104
exit
";

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn of_literal(running: &str, at: &str, becomes: &str) -> Impact {
    assert!(running.contains(at), "{at}");
    let wanted = running.replacen(at, becomes, 1);
    whole::plan(running, &wanted).unwrap().unwrap().impact
}

/// Class, sessions and ranges of a literal text in which `at` becomes `becomes`.
fn brief(at: &str, becomes: &str) -> (Class, Vec<String>, Vec<String>) {
    let Impact { class, sessions, ranges, .. } = of_literal(LITERAL, at, becomes);
    (class, sessions.into_iter().collect(), ranges.iter().map(ToString::to_string).collect())
}

/// What stands there, what comes instead, and the class, sessions and ranges of that.
type Case<'a> = (&'a str, &'a str, Class, &'a [&'a str], &'a [&'a str]);

#[test]
fn a_line_is_of_the_class_of_what_it_does() {
    use Class::{Add, InstanceDelete, Policy, Remove, SessionReset};
    let alone = " neighbor 10.9.2.2 remote-as 65102\n";
    let group = " neighbor GROUP bfd\n";
    let guests = " neighbor GUESTS remote-as external\n";
    let bgp = " bgp router-id 10.0.0.1\n";
    let cases: &[Case<'_>] = &[
        ("le 24", "le 25", Policy, &[], &[]),
        ("ip prefix-list UPLINK seq 5 permit 10.0.0.0/8 le 24\n", "", Policy, &[], &[]),
        (" match ip address prefix-list UPLINK\n", "", Policy, &[], &[]),
        ("maximum-paths 16", "maximum-paths 8", Policy, &[], &[]),
        (
            "neighbor 10.9.2.2 route-map UPLINK out",
            "neighbor 10.9.2.2 prefix-list UPLINK out",
            Policy,
            &[],
            &[],
        ),
        ("maximum-prefix 100", "maximum-prefix 200", Policy, &[], &[]),
        ("maximum-prefix 100", "maximum-prefix 50", SessionReset, &["10.9.2.2"], &[]),
        ("maximum-prefix 100", "maximum-prefix 50 warning-only", Policy, &[], &[]),
        (alone, "+ neighbor 10.9.2.2 description spine\n", Policy, &[], &[]),
        (alone, "+ neighbor 10.9.2.2 password x\n", SessionReset, &["10.9.2.2"], &[]),
        (alone, "+ neighbor 10.9.5.2 remote-as 65105\n neighbor 10.9.5.2 password x\n", Add, &[], &[]),
        (alone, "+ neighbor 10.9.3.5 remote-as 65105\n", Add, &[], &[]),
        (alone, "", Remove, &["10.9.2.2"], &[]),
        (group, "", SessionReset, &["10.9.1.2", "swp7"], &[]),
        (group, "+ neighbor GROUP bfd profile FAST\n", Policy, &[], &[]),
        (group, "+ neighbor GROUP shutdown\n", SessionReset, &["10.9.1.2", "swp7"], &[]),
        (" neighbor 10.9.1.2 peer-group GROUP\n", "", Remove, &["10.9.1.2"], &[]),
        ("10.9.1.2 peer-group GROUP", "10.9.1.2 peer-group GUESTS", SessionReset, &["10.9.1.2"], &[]),
        (guests, "+ neighbor GUESTS bfd\n", Policy, &[], &[]),
        (guests, "+ neighbor GUESTS password x\n", SessionReset, &[], &["10.9.3.0/24"]),
        (" bgp listen range 10.9.3.0/24 peer-group GUESTS\n", "", Remove, &[], &["10.9.3.0/24"]),
        (
            " bgp listen range 10.9.3.0/24",
            " bgp listen range 10.9.4.0/24 peer-group GUESTS\n bgp listen range 10.9.3.0/24",
            Add,
            &[],
            &[],
        ),
        (bgp, "", SessionReset, &["10.9.1.2", "10.9.2.2", "10.9.3.9", "swp7"], &["10.9.3.0/24"]),
        (bgp, "+ bgp deterministic-med\n", Policy, &[], &[]),
        ("  network 10.1.0.0/16\n", "", Remove, &[], &[]),
        ("  network 10.1.0.0/16\n", "+  network 10.2.0.0/16\n", Add, &[], &[]),
        ("ip route 10.8.0.0/16 10.9.1.1\n", "", Remove, &[], &[]),
        (
            "ip route 10.8.0.0/16",
            "ip route 10.9.2.0/24 10.9.1.1\nip route 10.8.0.0/16",
            SessionReset,
            &["10.9.2.2"],
            &[],
        ),
        (
            "router bgp 65002 vrf blue\n neighbor 10.9.4.2 remote-as 65104\nexit\n",
            "",
            InstanceDelete,
            &["10.9.4.2"],
            &[],
        ),
    ];
    for (at, becomes, class, sessions, ranges) in cases {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let expected = (*class, all(sessions), all(ranges));
        assert_eq!(brief(at, &becomes.replace('+', at)), expected, "{at} -> {becomes}");
    }
}

#[test]
fn what_goes_is_told_from_what_comes_again() {
    let impact = of_literal(LITERAL, " neighbor 10.9.2.2 remote-as 65102\n", "");
    assert_eq!((impact.gone, impact.instances), (set(&["10.9.2.2"]), set(&[])));
    let impact = of_literal(LITERAL, " neighbor GROUP bfd\n", "");
    assert_eq!(impact.gone, set(&[]));
    let blue = "router bgp 65002 vrf blue\n neighbor 10.9.4.2 remote-as 65104\nexit\n";
    let impact = of_literal(LITERAL, blue, "");
    assert_eq!((impact.gone, impact.instances), (set(&["10.9.4.2"]), set(&["router bgp 65002 vrf blue"])));
    let impact = of_literal(LITERAL, "  network 10.1.0.0/16\n", "");
    assert_eq!(impact.prefixes, set(&["10.1.0.0/16"]));
    let listening = " bgp listen range 10.9.3.0/24 peer-group GUESTS\n";
    let impact = of_literal(LITERAL, listening, "");
    assert!(impact.names("10.9.3.2") && !impact.names("10.9.3.9"), "a configured neighbour: {impact:?}");
}

#[test]
fn a_group_takes_its_members_along() {
    let group = " neighbor GROUP peer-group\n neighbor GROUP remote-as external\n neighbor GROUP bfd\n";
    let member = " neighbor 10.9.1.2 peer-group GROUP\n";
    let swp7 = " neighbor swp7 interface peer-group GROUP\n";
    let fewer = LITERAL.replace(group, "").replace(member, "").replace(swp7, "");
    let impact = whole::plan(LITERAL, &fewer).unwrap().unwrap().impact;
    assert_eq!((impact.class, impact.gone), (Class::Remove, set(&["10.9.1.2", "swp7"])));
    let without = LITERAL.replace(" neighbor GROUP remote-as external\n", "");
    let impact = whole::plan(LITERAL, &without).unwrap().unwrap().impact;
    assert_eq!((impact.class, impact.sessions), (Class::SessionReset, set(&["10.9.1.2", "swp7"])));
}

#[test]
fn a_line_that_no_rule_knows_is_of_the_worst_class() {
    for (at, line) in [
        ("ip route", "mpls label bind 10.0.0.0/8 16"),
        (" bgp router-id", " bgp mystery"),
        (" bgp router-id", " neighbor 10.9.2.2 solo"),
        (" bgp router-id", " neighbor 10.9.9.9 description nobody"),
        ("  network", "  neighbor 10.9.2.2 mystery"),
        ("  network", "  bgp dampening"),
        ("ip route", "router ospf\n ospf router-id 1.1.1.1\nexit"),
        ("ip route", "interface swp1\n ip address 10.7.0.1/24\nexit"),
        ("ip route", "bfd\n peer 10.9.1.2\n exit\nexit"),
        (
            " neighbor 10.9.4.2",
            " address-family l2vpn evpn\n  advertise-all-vni\n exit-address-family\n neighbor 10.9.4.2",
        ),
    ] {
        let there = LITERAL.replacen(at, &format!("{line}\n{at}"), 1);
        for (from, to) in [(LITERAL, there.as_str()), (&there, LITERAL)] {
            let impact = whole::plan(from, to).unwrap().unwrap().impact;
            assert_eq!(impact.class, Class::InstanceDelete, "{line}");
            assert!(!impact.unknown.is_empty() && impact.names("10.9.1.2"), "{line}: {impact:?}");
        }
    }
}

#[test]
fn graceful_restart_resets_by_release() {
    let line = " bgp graceful-restart\n";
    let resets = |release: &str| {
        let text = LITERAL.replace("frr version 10.3\n", release);
        let at = " bgp router-id 10.0.0.1\n";
        of_literal(&text, at, &format!("{at}{line}")).class == Class::SessionReset
    };
    assert!(!resets("frr version 8.4.4\n"));
    for release in
        ["frr version 10.3\n", "frr version 9.1\n", "frr version 10.8-dev\n", "frr version x\n", ""]
    {
        assert!(resets(release), "{release}");
    }
}

#[test]
fn our_own_lines_are_judged_with_all_neighbours_of_the_switch() {
    let foreign = "router bgp 65001\n neighbor 10.0.12.1 remote-as 65100\nexit\n";
    let running = super::super::splice(foreign, OURS, &[]);
    let of = |from: &str, wanted: &str| {
        let known = Known { confirmed: Some(from), ..Known::default() };
        plan(&running, wanted, known).unwrap().unwrap().impact
    };
    let timers = of(OURS, &OURS.replace("timers 3 9", "timers 5 15"));
    assert_eq!((timers.class, timers.sessions), (Class::Policy, set(&[])));
    let anew = of(OURS, &OURS.replace("remote-as external", "remote-as 65100"));
    assert_eq!((anew.class, anew.sessions), (Class::SessionReset, set(&SPEAKERS)));
    let everybody = of(OURS, &OURS.replace(" bgp bestpath", " bgp router-id 10.0.0.1\n bgp bestpath"));
    assert_eq!(everybody.sessions, set(&["10.0.12.1", "192.168.1.11", "swp7"]));
    let fewer = of(OURS, &OURS.replace(" neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS\n", ""));
    assert_eq!((fewer.class, fewer.gone), (Class::Remove, set(&["192.168.1.11"])));
    let first = plan(foreign, OURS, Known::default()).unwrap().unwrap().impact;
    assert_eq!((first.class, first.sessions), (Class::Add, set(&[])));
    // The way back from a first contact, with and without an instance of somebody else.
    let back = undo(&running, foreign).unwrap().impact;
    assert_eq!((back.class, back.sessions), (Class::Remove, set(&SPEAKERS)));
    let back = undo(&super::super::splice("", OURS, &[]), "").unwrap().impact;
    assert_eq!((back.class, back.instances), (Class::InstanceDelete, set(&["router bgp 65001"])));
    assert_eq!(back.gone, set(&SPEAKERS));
}
