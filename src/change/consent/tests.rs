use super::*;
use crate::change::diff::{Candidate, OwnerPlan};
use crate::change::impact::Impact;

fn plan(impact: Impact) -> Plan {
    let plan = OwnerPlan { add: vec!["a".to_owned()], impact, ..OwnerPlan::default() };
    Plan { owners: BTreeMap::from([("frr".to_owned(), plan)]) }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn ends(class: Class, sessions: &[&str]) -> Impact {
    Impact { class, sessions: names(sessions), ..Impact::default() }
}

fn by_switch(proven: Proven) -> Consent {
    Consent { approver: Approver::Switch, proven, ..Consent::default() }
}

const ONE: PeerCount = PeerCount { configured: 3, removed: 1 };
const MANY: PeerCount = PeerCount { configured: 3, removed: 2 };

/// In the words of the message, `None` if the plan may be carried out.
fn said(plan: &Plan, peers: PeerCount, cause: Cause, consent: &Consent) -> Option<String> {
    hold(plan, peers, cause, consent, None).map(|hold| hold.to_string())
}

#[test]
fn more_than_the_budget_waits_for_a_word() {
    let [policy, adds] = [Class::Policy, Class::Add].map(|class| plan(ends(class, &[])));
    let resets = plan(ends(Class::SessionReset, &["10.0.0.1", "10.0.0.2"]));
    let removes = plan(ends(Class::Remove, &["10.0.0.1"]));
    let quiet = plan(ends(Class::Remove, &[]));
    let first = "is the first on this switch, and does more than add (session-reset)";
    let two = "would reset 2 sessions (10.0.0.1, 10.0.0.2), budget 0";
    let one = "would reset 1 session (10.0.0.1), budget 0";
    let mass = "removes many neighbours at once";
    for (plan, peers, cause, consent, expected) in [
        (&adds, ONE, Cause::FirstContact, by_switch(Proven::No), None),
        (&policy, ONE, Cause::FirstContact, by_switch(Proven::No), None),
        (&resets, ONE, Cause::FirstContact, by_switch(Proven::No), Some(first)),
        (&resets, ONE, Cause::FirstContact, Consent::default(), Some(first)),
        (&adds, ONE, Cause::Bundle, by_switch(Proven::No), None),
        (&policy, ONE, Cause::Bundle, by_switch(Proven::No), None),
        (&quiet, ONE, Cause::Bundle, by_switch(Proven::No), None),
        (&removes, ONE, Cause::Bundle, by_switch(Proven::No), Some(one)),
        (&resets, ONE, Cause::Bundle, by_switch(Proven::No), Some(two)),
        (&resets, ONE, Cause::Bundle, by_switch(Proven::Bundle), None),
        (&resets, ONE, Cause::Bundle, Consent::default(), None),
        (&resets, ONE, Cause::Routine, by_switch(Proven::No), None),
        (&removes, ONE, Cause::Routine, by_switch(Proven::No), None),
        (&removes, MANY, Cause::Routine, by_switch(Proven::Text), Some(mass)),
        (&removes, MANY, Cause::Routine, Consent::default(), Some(mass)),
        (&removes, MANY, Cause::Bundle, by_switch(Proven::Bundle), Some(mass)),
        (&removes, MANY, Cause::Bundle, by_switch(Proven::Text), None),
    ] {
        assert_eq!(said(plan, peers, cause, &consent).as_deref(), expected, "{plan:?} {cause:?} {consent:?}");
        let approved = Consent { approved: plan.hash(), ..consent.clone() };
        assert_eq!(said(plan, peers, cause, &approved), None, "an approved plan is carried out");
        let other = Consent { approved: Some("0123456789ab".into()), ..consent };
        let expected = expected.map(|text| format!("{text}; approved is plan 0123456789ab"));
        assert_eq!(said(plan, peers, cause, &other), expected, "another plan's approval is none");
        let reason = hold(plan, peers, cause, &other, None).map(|hold| hold.reason());
        assert_eq!(reason, expected.map(|_| "PlanChanged"));
    }
}

#[test]
fn a_budget_pays_for_sessions_and_instances_and_never_for_what_nobody_knows() {
    let allowed = |session_resets, instance_deletes| Consent {
        budget: Budget { session_resets, instance_deletes },
        ..by_switch(Proven::No)
    };
    let judge = |impact: &Impact, consent: &Consent, live: Option<&[&str]>| {
        let live = live.map(names);
        hold(&plan(impact.clone()), ONE, Cause::Bundle, consent, live.as_ref()).map(|hold| hold.to_string())
    };
    let three = ends(Class::SessionReset, &["10.0.0.1", "10.0.0.2", "swp7"]);
    let over = Some("would reset 3 sessions (10.0.0.1, 10.0.0.2, swp7), budget 2".to_owned());
    assert_eq!(judge(&three, &allowed(2, 0), None), over);
    assert_eq!(judge(&three, &allowed(3, 0), None), None);
    // What is down already loses nothing.
    assert_eq!(judge(&three, &allowed(2, 0), Some(&["10.0.0.1", "10.0.0.2", "10.0.0.9"])), None);
    assert_eq!(judge(&three, &allowed(0, 0), Some(&[])), None);

    let ranges = BTreeSet::from(["10.9.0.0/16".parse().unwrap()]);
    let range = Impact { ranges, ..ends(Class::SessionReset, &[]) };
    let text = "would reset an unknown number of sessions (whoever came by 10.9.0.0/16), budget 1000";
    assert_eq!(judge(&range, &allowed(1000, 0), None), Some(text.to_owned()));
    assert_eq!(judge(&range, &allowed(1, 0), Some(&["10.9.0.1", "10.8.0.1"])), None);

    let instances = names(&["router bgp 65002 vrf blue"]);
    let gone = Impact { instances, ..ends(Class::InstanceDelete, &["10.0.0.1"]) };
    let both =
        "would delete router bgp 65002 vrf blue, budget 0, and would reset 1 session (10.0.0.1), budget 0";
    assert_eq!(judge(&gone, &allowed(0, 0), None), Some(both.to_owned()));
    assert_eq!(judge(&gone, &allowed(1, 1), None), None);

    let unknown = names(&["router bgp 65001 / bgp mystery"]);
    let unknown = Impact { unknown, ..ends(Class::InstanceDelete, &[]) };
    let text = "has lines whose effect no rule knows: `router bgp 65001 / bgp mystery`";
    assert_eq!(judge(&unknown, &allowed(1000, 1000), Some(&[])), Some(text.to_owned()));
    let untold = ends(Class::InstanceDelete, &[]);
    let text = "has lines whose effect no rule knows";
    assert_eq!(judge(&untold, &allowed(1000, 1000), Some(&[])), Some(text.to_owned()));
}

#[test]
fn many_neighbours_are_more_than_one_and_more_than_a_fifth() {
    for (configured, removed, mass) in [
        (1, 1, false),
        (2, 2, true),
        (3, 1, false),
        (3, 2, true),
        (10, 2, false),
        (10, 3, true),
        (0, 0, false),
    ] {
        assert_eq!(PeerCount { configured, removed }.is_mass(), mass, "{removed} of {configured}");
    }
}

#[test]
fn a_text_is_proven_for_a_day_after_it_was_in_force() {
    let target = |bundle: &str, text: &str| Target {
        bundle: bundle.into(),
        peers: Peers::new(),
        candidate: Candidate::rendered(BTreeMap::from([("frr".to_owned(), text.to_owned())])),
    };
    let at = |hours: i64| Timestamp::from_second(1_800_000_000 + hours * 3600).unwrap();
    let mut history = History::default();
    history.in_force(&target("one", "a"), at(0));
    history.in_force(&target("two", "b"), at(2));
    assert_eq!(history.proves(&target("one", "a"), at(3)), Proven::Text);
    assert_eq!(history.proves(&target("one", "a and a neighbour"), at(3)), Proven::Bundle);
    assert_eq!(history.proves(&target("three", "c"), at(3)), Proven::No);
    assert_eq!(history.proves(&target("one", "a"), at(25)), Proven::No);
    history.in_force(&target("two", "b"), at(30));
    assert_eq!(history, {
        let mut fresh = History::default();
        fresh.in_force(&target("two", "b"), at(30));
        fresh
    });
}

#[test]
fn nodes_are_counted_and_not_their_addresses() {
    let peers = |all: &[(&str, &[&str])]| -> Peers {
        let hops = |hops: &[&str]| hops.iter().map(|hop| hop.parse().unwrap()).collect();
        all.iter().map(|(node, all)| ((*node).to_owned(), hops(all))).collect()
    };
    let before =
        peers(&[("a", &["10.0.0.1", "fd00::1"]), ("b", &["10.0.0.2", "fd00::2"]), ("c", &["%swp3"])]);
    let count = |after: &[(&str, &[&str])]| PeerCount::between(&before, &peers(after));
    let one = count(&[("b", &["10.0.0.2", "fd00::2"]), ("c", &["%swp3"])]);
    assert_eq!(
        (one, one.is_mass()),
        (PeerCount { configured: 3, removed: 1 }, false),
        "both families of one node"
    );
    let v6 = count(&[("a", &["10.0.0.1"]), ("b", &["10.0.0.2"]), ("c", &["%swp3"])]);
    assert!(v6.is_mass(), "every node loses a family");
    let renumbered = count(&[("a", &["10.0.0.11"]), ("b", &["10.0.0.12"]), ("c", &["%swp3"])]);
    assert!(renumbered.is_mass());
}
