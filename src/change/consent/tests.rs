use super::*;
use crate::change::diff::{Candidate, OwnerPlan};

fn plan(add: &[&str], remove: &[&str], configured: usize, removed: usize) -> (Plan, PeerCount) {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    let plan = OwnerPlan { add: lines(add), remove: lines(remove), ..OwnerPlan::default() };
    let plan = Plan { owners: BTreeMap::from([("frr".to_owned(), plan)]) };
    (plan, PeerCount { configured, removed })
}

fn by_switch(proven: Proven) -> Consent {
    Consent { approver: Approver::Switch, approved: None, proven }
}

#[test]
fn more_than_adding_waits_for_a_word() {
    let adds = plan(&["a"], &[], 3, 0);
    let more = plan(&["a"], &["b"], 3, 0);
    let mass = plan(&[], &["a", "b"], 3, 2);
    let single = plan(&[], &["a"], 3, 1);
    for ((plan, peers), cause, consent, expected) in [
        (&adds, Cause::FirstContact, by_switch(Proven::No), None),
        (&adds, Cause::Bundle, by_switch(Proven::No), None),
        (&more, Cause::FirstContact, by_switch(Proven::No), Some(Hold::FirstContact)),
        (&more, Cause::FirstContact, Consent::default(), Some(Hold::FirstContact)),
        (&more, Cause::Bundle, by_switch(Proven::No), Some(Hold::MoreThanAdds)),
        (&more, Cause::Bundle, by_switch(Proven::Bundle), None),
        (&more, Cause::Bundle, Consent::default(), None),
        (&more, Cause::Routine, by_switch(Proven::No), None),
        (&single, Cause::Routine, by_switch(Proven::No), None),
        (&mass, Cause::Routine, by_switch(Proven::Text), Some(Hold::MassRemoval)),
        (&mass, Cause::Routine, Consent::default(), Some(Hold::MassRemoval)),
        (&mass, Cause::Bundle, by_switch(Proven::Bundle), Some(Hold::MassRemoval)),
        (&mass, Cause::Bundle, by_switch(Proven::Text), None),
    ] {
        assert_eq!(hold(plan, *peers, cause, &consent), expected, "{plan:?} {cause:?} {consent:?}");
        let approved = Consent { approved: plan.hash(), ..consent.clone() };
        assert_eq!(hold(plan, *peers, cause, &approved), None, "an approved plan is carried out");
        let other = Consent { approved: Some("0123456789ab".into()), ..consent };
        assert_eq!(hold(plan, *peers, cause, &other), expected, "another plan's approval is none");
    }
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
