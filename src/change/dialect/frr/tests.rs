use super::*;
use crate::intent::platform::Resilience;

/// What a shared router says: an operator's uplink, filters and VRF beside our part.
const FOREIGN: &str = "\
frr version 8.4.4
frr defaults datacenter
hostname leaf1
!
ip prefix-list UPLINK seq 5 permit 10.0.0.0/8 le 24
!
route-map UPLINK permit 10
 match ip address prefix-list UPLINK
exit
!
router bgp 65001
 neighbor 10.0.12.1 remote-as 65100
 neighbor 10.0.12.1 description spine
 !
 address-family ipv4 unicast
  network 10.1.0.0/16
  neighbor 10.0.12.1 route-map UPLINK out
 exit-address-family
exit
!
bfd
 profile operator
  detect-multiplier 5
 exit
 !
exit
!
end
";

pub(super) const OURS: &str = "\
zebra nexthop proto only
!
ip prefix-list SWITCHLET-VIPS-V4 seq 10 permit 203.0.113.0/24 ge 32
!
route-map SWITCHLET-FROM-SPEAKERS permit 10
 match ip address prefix-list SWITCHLET-VIPS-V4
exit
!
route-map SWITCHLET-TO-SPEAKERS deny 10
exit
!
bfd
 profile SWITCHLET-SPEAKERS
  detect-multiplier 3
  transmit-interval 400
 exit
exit
!
router bgp 65001
 bgp bestpath as-path multipath-relax
 neighbor SWITCHLET-SPEAKERS peer-group
 neighbor SWITCHLET-SPEAKERS remote-as external
 neighbor SWITCHLET-SPEAKERS timers 3 9
 neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS
 neighbor swp7 interface peer-group SWITCHLET-SPEAKERS
 !
 address-family ipv4 unicast
  neighbor SWITCHLET-SPEAKERS route-map SWITCHLET-FROM-SPEAKERS in
  maximum-paths 64
 exit-address-family
exit
";

fn planned(running: &str, candidate: &str) -> OwnerPlan {
    plan(running, candidate, Known::default()).unwrap().unwrap()
}

/// The running text after `candidate` was applied beside the foreign part.
fn both() -> String {
    splice(FOREIGN, OURS, &[])
}

#[test]
fn nothing_to_do_is_nothing_to_send() {
    assert_eq!(plan(&both(), OURS, Known::default()).unwrap(), None);
}

#[test]
fn filters_come_before_groups_and_members_last() {
    let plan = planned(FOREIGN, OURS);
    let at = |line: &str| {
        plan.commands
            .iter()
            .position(|command| command.trim() == line)
            .unwrap_or_else(|| panic!("{line}: {plan:#?}"))
    };
    assert!(
        at("ip prefix-list SWITCHLET-VIPS-V4 seq 10 permit 203.0.113.0/24 ge 32")
            < at("route-map SWITCHLET-FROM-SPEAKERS permit 10")
    );
    assert!(
        at("neighbor SWITCHLET-SPEAKERS route-map SWITCHLET-FROM-SPEAKERS in")
            < at("neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS")
    );
    assert!(plan.remove.is_empty());
    assert!(!plan.commands.iter().any(|command| command.contains("UPLINK")
        || command.contains("10.0.12.1")
        || command.trim_start().starts_with("no ")));
}

#[test]
fn a_changed_value_is_written_over_and_not_deleted() {
    let plan = planned(&both(), &OURS.replace("timers 3 9", "timers 5 15"));
    assert_eq!(plan.commands, ["router bgp 65001", " neighbor SWITCHLET-SPEAKERS timers 5 15", "exit"]);
    assert_eq!(plan.add, ["router bgp 65001 / neighbor SWITCHLET-SPEAKERS timers 5 15"]);
    assert_eq!(plan.remove, ["router bgp 65001 / neighbor SWITCHLET-SPEAKERS timers 3 9"]);
}

#[test]
fn a_default_of_a_profile_is_never_a_difference_and_is_restored_by_writing_it() {
    let plan = planned(&both(), &OURS.replace("transmit-interval 400", "transmit-interval 300"));
    assert_eq!(
        plan.commands,
        ["bfd", " profile SWITCHLET-SPEAKERS", "  transmit-interval 300", " exit", "exit"]
    );
}

#[test]
fn a_neighbour_goes_as_a_whole() {
    let gone = OURS
        .replace(" neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS\n", "")
        .replace(" neighbor swp7 interface peer-group SWITCHLET-SPEAKERS\n", "");
    let running = both().replace(
        "  neighbor SWITCHLET-SPEAKERS route-map",
        "  neighbor 192.168.1.11 weight 5\n  neighbor SWITCHLET-SPEAKERS route-map",
    );
    let plan = planned(&running, &gone);
    assert_eq!(
        plan.commands,
        [
            "router bgp 65001",
            " no neighbor 192.168.1.11",
            " no neighbor swp7 interface peer-group SWITCHLET-SPEAKERS",
            "exit"
        ]
    );
}

#[test]
fn adds_come_before_deletes() {
    let renumbered = OURS.replace("seq 10 permit 203.0.113.0/24 ge 32", "seq 20 permit 203.0.114.0/24 ge 32");
    let plan = planned(&both(), &renumbered);
    assert_eq!(
        plan.commands,
        [
            "ip prefix-list SWITCHLET-VIPS-V4 seq 20 permit 203.0.114.0/24 ge 32",
            "no ip prefix-list SWITCHLET-VIPS-V4 seq 10 permit 203.0.113.0/24 ge 32"
        ]
    );
}

#[test]
fn an_entry_that_only_gets_another_number_goes_before_it_comes() {
    let list = |entries: &[(u32, &str)]| -> String {
        let line = |(seq, prefix): &(u32, &str)| {
            format!("ip prefix-list SWITCHLET-VIPS-V4 seq {seq} permit 203.0.{prefix}.0/24 ge 32\n")
        };
        entries.iter().map(line).collect::<Vec<_>>().concat()
    };
    let before = list(&[(10, "1"), (20, "2")]);
    for (after, expected) in [
        // Another number.
        (list(&[(10, "1"), (30, "2")]), ["no 20 2", "30 2"].as_slice()),
        // The first one goes, and the second one gets its number.
        (list(&[(10, "2")]), &["no 20 2", "10 2"]),
        // They change places.
        (list(&[(10, "2"), (20, "1")]), &["no 10 1", "no 20 2", "10 2", "20 1"]),
        // A new one before both.
        (list(&[(10, "3"), (20, "1"), (30, "2")]), &["no 10 1", "no 20 2", "10 3", "20 1", "30 2"]),
    ] {
        let plan = planned(&before, &after);
        let short = |line: &String| {
            line.replace("ip prefix-list SWITCHLET-VIPS-V4 seq ", "")
                .replace("permit 203.0.", "")
                .replace(".0/24 ge 32", "")
        };
        assert_eq!(plan.commands.iter().map(short).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_is_not_ours_by_name_is_refused() {
    for (context, line) in [
        ("", "ip route 0.0.0.0/0 10.0.0.1"),
        ("", "ip prefix-list UPLINK seq 5 permit 0.0.0.0/0 le 32"),
        ("router bgp 65001 / ", "neighbor 10.0.12.1 shutdown"),
        ("router bgp 65001 / ", "no bgp ebgp-requires-policy"),
    ] {
        let text = if context.is_empty() {
            format!("{OURS}{line}\n")
        } else {
            format!("{OURS}router bgp 65001\n {line}\nexit\n")
        };
        let refusal = plan(FOREIGN, &text, Known::default()).unwrap_err();
        assert_eq!(refusal, Refusal::ForeignLine { line: format!("{context}{line}") });
    }
}

#[test]
fn a_global_of_somebody_else_is_a_conflict_unless_adopted_or_set_by_us() {
    let wanted = OURS.replace(" bgp bestpath", " bgp router-id 10.0.0.1\n bgp bestpath");
    let running = both().replace(" bgp bestpath", " bgp router-id 10.9.9.9\n bgp bestpath");
    let refusal = plan(&running, &wanted, Known::default()).unwrap_err();
    assert_eq!(refusal.reason(), "GlobalConflict");
    let adopt = ["bgp router-id 10.9.9.9".to_owned()];
    assert!(plan(&running, &wanted, Known { adopt: &adopt, ..Known::default() }).unwrap().is_some());
    let confirmed = wanted.replace("10.0.0.1", "10.9.9.9");
    assert!(
        plan(&running, &wanted, Known { confirmed: Some(&confirmed), ..Known::default() }).unwrap().is_some()
    );
    let other_as = OURS.replace("router bgp 65001", "router bgp 65002");
    let adopt = ["router bgp 65001".to_owned()];
    let refusal =
        plan(&running, &other_as, Known { adopt: &adopt, confirmed: Some(OURS), journal: &[] }).unwrap_err();
    assert_eq!(refusal.reason(), "GlobalConflict", "an AS is never adopted");
}

#[test]
fn undo_returns_to_the_text_before() {
    let after = both();
    let undo_plan = undo(&after, FOREIGN).unwrap();
    assert!(
        undo_plan.commands.iter().any(|command| command == "no zebra nexthop proto only"),
        "{undo_plan:#?}"
    );
    assert!(
        !undo_plan.commands.iter().any(|command| command.contains("no router bgp")),
        "the instance was there before"
    );
    assert!(
        !undo_plan.commands.iter().any(|command| command.contains("10.0.12.1") || command.contains("UPLINK"))
    );
    let empty = "frr defaults datacenter\n";
    let undo_plan = undo(&after, empty).unwrap();
    assert_eq!(undo_plan.commands.last().map(String::as_str), Some("no router bgp 65001"));
    assert_eq!(undo(FOREIGN, FOREIGN), None);
}

#[test]
fn the_startup_text_keeps_what_is_not_ours() {
    let text = both();
    for line in FOREIGN.lines().filter(|line| *line != "end" && *line != "!") {
        assert!(text.contains(line), "{line} is lost:\n{text}");
    }
    assert_eq!(splice(&text, OURS, &[]), text, "writing it again changes nothing");
    let smaller = OURS.replace(" neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS\n", "");
    let text = splice(&text, &smaller, &[]);
    assert!(!text.contains("192.168.1.11"), "{text}");
    assert_eq!(plan(&text, &smaller, Known::default()).unwrap(), None);
    for line in FOREIGN.lines().filter(|line| *line != "end" && *line != "!") {
        assert!(text.contains(line), "{line} is lost");
    }
}

/// The switch's running text after these commands, as FRR would have it: enough of it for the globals.
fn globals_of(plan: &OwnerPlan) -> Vec<(&str, &str, Option<&str>)> {
    plan.globals.iter().map(|g| (g.slot.as_str(), g.set.as_str(), g.found.as_deref())).collect()
}

#[test]
fn what_a_global_was_before_is_journalled_and_comes_back() {
    let wanted = OURS.replace(" bgp bestpath", " bgp router-id 10.0.0.1\n bgp bestpath");
    let found = FOREIGN.replace("router bgp 65001\n", "router bgp 65001\n bgp router-id 10.9.9.9\n");
    let adopt = ["bgp router-id 10.9.9.9".to_owned()];
    let first = plan(&found, &wanted, Known { adopt: &adopt, ..Known::default() }).unwrap().unwrap();
    assert_eq!(
        globals_of(&first),
        [
            ("zebra nexthop proto only", "zebra nexthop proto only", None),
            ("bgp router-id", "bgp router-id 10.0.0.1", Some("bgp router-id 10.9.9.9")),
            ("bgp bestpath as-path multipath-relax", "bgp bestpath as-path multipath-relax", None),
            ("maximum-paths", "maximum-paths 64", None),
        ]
    );
    assert!(
        first.remove.contains(&"router bgp 65001 / bgp router-id 10.9.9.9".to_owned()),
        "what is written over is shown: {first:#?}"
    );
    let startup = splice(&found, &wanted, &first.globals);
    assert!(startup.contains("bgp router-id 10.9.9.9"), "the operator's line stays in the file:\n{startup}");

    // Another value of ours: the first finding stands.
    let known = |journal| Known { adopt: &[], confirmed: Some(&wanted), journal };
    let running = splice(&found.replace(" bgp router-id 10.9.9.9\n", ""), &wanted, &[]);
    let other = wanted.replace("router-id 10.0.0.1", "router-id 10.0.0.2");
    let second = plan(&running, &other, known(&first.globals)).unwrap().unwrap();
    assert_eq!(globals_of(&second)[1].2, Some("bgp router-id 10.9.9.9"));

    // Not wanted any more: what was found comes back, and what was not there goes.
    let fewer = OURS.replace(" bgp bestpath as-path multipath-relax\n", "");
    let third = plan(&running, &fewer, known(&first.globals)).unwrap().unwrap();
    assert_eq!(
        third.commands,
        [
            "router bgp 65001",
            " bgp router-id 10.9.9.9",
            "exit",
            "router bgp 65001",
            " no bgp bestpath as-path multipath-relax",
            "exit"
        ]
    );
    // Unless somebody else has changed it since.
    let theirs = running.replace("router-id 10.0.0.1", "router-id 10.7.7.7");
    let fourth = plan(&theirs, OURS, known(&first.globals)).unwrap();
    assert_eq!(fourth, None);
}

#[test]
fn a_retired_switch_has_nothing_of_ours() {
    let empty = "frr defaults datacenter\n!\nend\n";
    let first = plan(empty, OURS, Known::default()).unwrap().unwrap();
    let running = splice("", OURS, &[]);
    let known = Known { confirmed: Some(OURS), adopt: &[], journal: &first.globals };
    let gone = plan(&running, "", known).unwrap().unwrap();
    assert_eq!(
        gone.commands.iter().filter(|command| command.contains("router bgp")).collect::<Vec<_>>(),
        ["no router bgp 65001"],
        "the instance was ours: {:#?}",
        gone.commands
    );
    assert!(gone.commands.contains(&"no zebra nexthop proto only".to_owned()));
    assert_eq!(splice(&running, "", &first.globals), "");
    assert_eq!(splice(FOREIGN, "", &[]), FOREIGN, "a file without us stays as it is");

    // Somebody else has moved in meanwhile: the instance stays.
    let shared =
        running.replace("router bgp 65001\n", "router bgp 65001\n neighbor 10.0.12.1 remote-as 65100\n");
    let gone = plan(&shared, "", known).unwrap().unwrap();
    assert!(!gone.commands.contains(&"no router bgp 65001".to_owned()), "{:#?}", gone.commands);
    assert!(
        gone.commands.contains(&" no neighbor SWITCHLET-SPEAKERS peer-group".to_owned()),
        "{:#?}",
        gone.commands
    );

    // It was there before us: it stays too.
    let first = plan(FOREIGN, OURS, Known::default()).unwrap().unwrap();
    let known = Known { confirmed: Some(OURS), adopt: &[], journal: &first.globals };
    let gone = plan(&both(), "", known).unwrap().unwrap();
    assert!(
        !gone.commands.iter().any(|c| c.contains("no router bgp") || c.contains("10.0.12.1")),
        "{gone:#?}"
    );
    assert!(gone.commands.contains(&"  no maximum-paths 64".to_owned()), "{:#?}", gone.commands);
}

#[test]
fn a_plan_is_named_by_what_it_does_and_where_it_starts() {
    let other = OURS.replace("timers 3 9", "timers 5 15");
    let hash = |running: &str, wanted: &str| {
        let plan = planned(running, wanted);
        Plan { owners: BTreeMap::from([(OWNER.to_owned(), plan)]) }.hash().unwrap()
    };
    let start = both();
    let hashed = hash(&start, &other);
    assert_eq!(hashed, hash(&start, &other));
    // A neighbour that came meanwhile, on both sides, makes it no other plan.
    let member = " neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS\n";
    let one_more = |text: &str| text.replace(member, &format!("{member}{}", member.replace(".11", ".12")));
    assert_eq!(hashed, hash(&one_more(&start), &one_more(&other)));
    assert_ne!(hashed, hash(&start, &one_more(&other)), "another difference");
    assert_ne!(hashed, hash(&start.replace("transmit-interval 400", "transmit-interval 500"), &other));
}

#[test]
fn the_release_decides_what_zebra_can_do() {
    let told = |version: &str| {
        let told = platform(version);
        (told.release.map(|release| release.to_string()), told.resilience)
    };
    for (version, release, resilience) in [
        ("FRRouting 8.4.4 (leaf1) on Linux(6.18).\nCopyright", "8.4", Resilience::UnsupportedByFRR),
        ("FRRouting 10.3 (leaf1) on Linux(6.18).", "10.3", Resilience::UnsupportedByFRR),
        ("FRRouting 10.7.1 (leaf1)", "10.7", Resilience::UnsupportedByFRR),
        ("FRRouting 10.8-dev (leaf1)", "10.8", Resilience::LinkLossOnly),
        ("FRRouting 11.0 (leaf1)", "11.0", Resilience::LinkLossOnly),
    ] {
        assert_eq!(told(version), (Some(release.to_owned()), Some(resilience)), "{version}");
    }
    for unknown in ["", "FRRouting", "FRRouting ten", "Quagga 1.2 (x)"] {
        assert_eq!(told(unknown), (None, None), "{unknown}");
    }
}

#[test]
fn resilience_of_all_groups_is_a_global_of_ours() {
    let line = "zebra nexthop-group resilience buckets 96 idle-timer 120 unbalanced-timer 86400";
    let added = plan("", line, Known::default()).unwrap().unwrap();
    assert_eq!(added.commands, [line]);
    let other = line.replace("96", "24");
    let conflict = plan(&other, line, Known::default()).unwrap_err();
    assert_eq!(conflict.reason(), "GlobalConflict");
    let known = Known { confirmed: Some(&other), ..Known::default() };
    assert_eq!(plan(&other, line, known).unwrap().unwrap().commands, [line]);
    let known = Known { confirmed: Some(line), adopt: &[], journal: &added.globals };
    assert_eq!(plan(line, "", known).unwrap().unwrap().commands, ["no zebra nexthop-group resilience"]);

    // After an update of FRR the one form takes the other's place.
    let before = "zebra nexthop proto only";
    let first = plan("", before, Known::default()).unwrap().unwrap();
    let known = Known { confirmed: Some(before), adopt: &[], journal: &first.globals };
    let updated = plan(before, line, known).unwrap().unwrap();
    assert_eq!(updated.commands, [line, "no zebra nexthop proto only"]);
}

#[test]
fn a_global_of_ours_that_somebody_changes_has_drifted() {
    let text = |paths: u32| {
        format!(
            "router bgp 65001\n address-family ipv4 unicast\n  maximum-paths {paths}\n exit-address-family\nexit\n"
        )
    };
    let adopt = ["maximum-paths 4".to_owned()];
    let first = plan(&text(4), &text(64), Known { adopt: &adopt, ..Known::default() }).unwrap().unwrap();
    assert_eq!(first.globals[0].found.as_deref(), Some("maximum-paths 4"));
    let (confirmed, other) = (text(64), text(32));
    let known = Known { confirmed: Some(&confirmed), adopt: &[], journal: &first.globals };
    let back = plan(&text(2), &confirmed, known).unwrap().unwrap();
    assert!(back.commands.contains(&"  maximum-paths 64".to_owned()), "{:?}", back.commands);
    assert_eq!(back.globals, first.globals, "what was there before us is still that");
    // A commit that wants another value than both has met somebody else's.
    assert_eq!(plan(&text(2), &other, known).unwrap_err().reason(), "GlobalConflict");
    // What we did not set is not ours to put back.
    let nothing_set = Known { journal: &[], ..known };
    assert_eq!(plan(&text(2), &confirmed, nothing_set).unwrap_err().reason(), "GlobalConflict");
}

#[test]
fn a_neighbour_of_somebody_else_is_not_taken_over() {
    let wanted = OURS.replace("neighbor 192.168.1.11 peer", "neighbor 10.0.12.1 peer");
    let refusal = plan(FOREIGN, &wanted, Known::default()).unwrap_err();
    assert_eq!(refusal.reason(), "GlobalConflict", "{refusal}");
    assert!(
        refusal.to_string().contains("router bgp 65001 / neighbor 10.0.12.1 remote-as 65100"),
        "{refusal}"
    );
    let adopt = ["neighbor 10.0.12.1 remote-as 65100".to_owned()];
    assert!(plan(FOREIGN, &wanted, Known { adopt: &adopt, ..Known::default() }).is_ok());
}

/// The dialect's own word, as the validator's answer goes through it.
fn checked(text: &str, complaints: Vec<crate::change::diff::Complaint>) -> Checked {
    Checked { complaints, texts: BTreeMap::from([(OWNER.to_owned(), text.to_owned())]) }
}

fn rendered(text: &str) -> Candidate {
    Candidate::rendered(BTreeMap::from([(OWNER.to_owned(), text.to_owned())]))
}

fn literal(text: &str) -> Candidate {
    Candidate { literal: BTreeMap::from([(OWNER.to_owned(), text.to_owned())]), ..rendered(text) }
}

#[test]
fn the_canonical_form_is_ours_alone_and_loses_hidden_defaults() {
    use crate::change::Dialect as _;
    let candidate = rendered(OURS);
    let loaded = splice("frr version 8.4.4\nhostname leaf1\n", OURS, &[]);
    assert_eq!(Frr.canonical(&candidate, &checked(&loaded, vec![])).unwrap(), candidate, "nothing to change");
    // FRR hides what is its default, and spells an address in its own way.
    let loaded = loaded.replace(" neighbor SWITCHLET-SPEAKERS timers 3 9\n", "");
    let canonical = Frr.canonical(&candidate, &checked(&loaded, vec![])).unwrap();
    assert_eq!(plan(&loaded, &canonical.texts[OWNER], Known::default()).unwrap(), None);
    assert!(!canonical.texts[OWNER].contains("hostname"), "{}", canonical.texts[OWNER]);
    let complaint = crate::change::diff::Complaint { line: 7, text: "x".into(), said: "no".into() };
    let refusal =
        Frr.canonical(&candidate, &checked(&loaded, vec![complaint.clone(), complaint])).unwrap_err();
    assert_eq!(refusal.to_string(), "the rendered frr.conf:7: `x` does not take effect: no; and 1 more");
    let foreign = rendered(&format!("{OURS}ip route 0.0.0.0/0 10.0.0.1\n"));
    let refusal = Frr.canonical(&foreign, &checked(&loaded, vec![])).unwrap_err();
    assert!(
        matches!(refusal, Refusal::ForeignLine { .. }),
        "foreign lines are not dropped in silence: {refusal}"
    );
}

#[test]
fn a_literal_text_owns_every_line_but_the_machines_own() {
    use crate::change::Dialect as _;
    let running = |text: &str| Running { texts: BTreeMap::from([(OWNER.to_owned(), text.to_owned())]) };
    let known = change::Known { confirmed: None, adopt: &[], journal: &change::diff::Journal::new() };
    let wanted = FOREIGN.replace(" neighbor 10.0.12.1 description spine\n", "").replace("le 24", "le 25");
    let there = splice(FOREIGN, OURS, &[]);
    let planned = Frr.plan(&running(&there), &literal(&wanted), &known).unwrap();
    let commands = &planned.owners[OWNER].commands;
    for command in [
        " no neighbor 10.0.12.1 description spine",
        " no neighbor SWITCHLET-SPEAKERS peer-group",
        " no neighbor 192.168.1.11",
        "ip prefix-list UPLINK seq 5 permit 10.0.0.0/8 le 25",
        "no route-map SWITCHLET-FROM-SPEAKERS permit 10",
        "no zebra nexthop proto only",
    ] {
        assert!(commands.iter().any(|found| found == command), "{command}: {commands:#?}");
    }
    assert!(!commands.iter().any(|line| line.contains("hostname") || line.contains("frr ")), "{commands:#?}");
    assert!(!commands.iter().any(|line| line.contains("no router bgp")), "the instance stays: {commands:#?}");
    let port = format!("{wanted}interface swp1\n description to a server\nexit\n");
    let back = Frr.plan(&running(&port), &literal(&wanted), &known).unwrap();
    assert_eq!(back.owners[OWNER].commands, ["interface swp1", " no description", "exit"]);
    let nothing = Frr.plan(&running(&wanted), &literal(&wanted), &known).unwrap();
    assert!(nothing.is_empty(), "{nothing:?}");
    let other_as = wanted.replace("router bgp 65001", "router bgp 65009");
    let refusal = Frr.plan(&running(&there), &literal(&other_as), &known).unwrap_err();
    assert_eq!(refusal.reason(), "GlobalConflict");
    let back = Frr.undo(&running(&wanted), &running(&there), &literal(&wanted));
    assert!(
        back.owners[OWNER].commands.iter().any(|line| line == " neighbor 10.0.12.1 description spine"),
        "foreign lines come back too: {back:?}"
    );
}

#[test]
fn a_neighbour_that_changes_its_group_is_made_anew() {
    use crate::change::Dialect as _;
    let running = |text: &str| Running { texts: BTreeMap::from([(OWNER.to_owned(), text.to_owned())]) };
    let text = "router bgp 1\n neighbor A peer-group\n neighbor B peer-group\n neighbor x peer-group A\n neighbor x description d\nexit\n";
    let wanted = text.replace("neighbor x peer-group A", "neighbor x peer-group B");
    let known = change::Known { confirmed: None, adopt: &[], journal: &change::diff::Journal::new() };
    let planned = Frr.plan(&running(text), &literal(&wanted), &known).unwrap().owners.remove(OWNER).unwrap();
    assert_eq!(planned.add, ["router bgp 1 / neighbor x peer-group B"]);
    assert_eq!(planned.remove, ["router bgp 1 / neighbor x peer-group A"]);
    assert_eq!(
        planned.commands,
        [
            "router bgp 1",
            " no neighbor x",
            "exit",
            "router bgp 1",
            " neighbor x peer-group B",
            " neighbor x description d",
            "exit"
        ]
    );
}

/// Seconds if lines were looked at one by one, minutes if each were held against each.
#[test]
fn thirty_thousand_lines_go_in_one_plan() {
    let members = |count: u32| -> String {
        let address = |n: u32| std::net::Ipv4Addr::from(0x0A00_0000 + n);
        let lines: Vec<String> = (1..=count)
            .map(|n| format!(" neighbor {} peer-group SWITCHLET-SPEAKERS\n", address(n)))
            .collect();
        lines.concat()
    };
    let text = |members: String| {
        format!(
            "router bgp 65001\n neighbor SWITCHLET-SPEAKERS peer-group\n neighbor SWITCHLET-SPEAKERS remote-as external\n{members}exit\n"
        )
    };
    let plan = planned(&text(members(30_000)), &text(members(1)));
    assert_eq!((plan.remove.len(), plan.add.len()), (29_999, 0));
    assert_eq!(plan.commands.len(), 30_001, "one line each, between entering the instance and leaving it");
    let whole = |text: &str| whole::plan(text, "router bgp 65001\nexit\n").unwrap().unwrap().remove.len();
    assert_eq!(whole(&text(members(30_000))), 30_002);
}
