#![expect(clippy::disallowed_methods, reason = "an instant to count from")]

use super::*;
use crate::change::impact::Class;

fn hops(text: &str) -> Shared<BTreeSet<NextHop>> {
    text.split_whitespace().map(|hop| hop.parse().unwrap()).collect::<BTreeSet<NextHop>>().into()
}

/// One VIP: expected, observed.
fn vip(expected: &str, observed: &str) -> Measured {
    let pairs = Pairs { expected: hops(expected), observed: hops(observed) };
    let forwarding = Forwarding(BTreeMap::from([("203.0.113.10/32".parse().unwrap(), pairs)]));
    Measured { forwarding: Ok(forwarding), sessions: Ok(BTreeMap::new()), probes: BTreeMap::new() }
}

/// Sessions: peer, seconds since `now`, drops.
fn sessions(all: &[(&str, u64, u64)], now: Instant) -> Measured {
    let established = |since, dropped| Established { since: now + Duration::from_secs(since), dropped };
    let all = all.iter().map(|(peer, since, dropped)| ((*peer).to_owned(), established(*since, *dropped)));
    Measured { sessions: Ok(all.collect()), ..vip("", "") }
}

fn probe(answer: Answer) -> Measured {
    Measured { probes: BTreeMap::from([("API server".to_owned(), answer)]), ..vip("", "") }
}

fn names(peers: &[&str]) -> Impact {
    let sessions = peers.iter().map(|peer| (*peer).to_owned()).collect();
    Impact { class: Class::SessionReset, sessions, ..Impact::default() }
}

#[test]
fn only_what_was_live_and_is_still_expected_is_missed() {
    for (before, after, lost) in [
        (vip("1.1.1.1 1.1.1.2", "1.1.1.1 1.1.1.2"), vip("1.1.1.1 1.1.1.2", "1.1.1.1 1.1.1.2"), None),
        (vip("1.1.1.1 1.1.1.2", "1.1.1.1"), vip("1.1.1.1 1.1.1.2", "1.1.1.1"), None),
        (vip("1.1.1.1 1.1.1.2", "1.1.1.1 1.1.1.2"), vip("1.1.1.1", "1.1.1.1"), None),
        (vip("1.1.1.1", "1.1.1.1 9.9.9.9"), vip("1.1.1.1", "1.1.1.1"), None),
        (vip("1.1.1.1", "1.1.1.1"), vip("1.1.1.1", ""), Some("203.0.113.10/32 lost next-hop 1.1.1.1")),
        (vip("", ""), vip("1.1.1.1", ""), None),
    ] {
        let expected = lost.map_or(Verdict::Good, |lost| Verdict::NotYet(vec![lost.to_owned()]));
        assert_eq!(judge(&before, &after, &Impact::default()), expected, "{before:?} {after:?}");
        assert_eq!(restored(&before, &after), Vec::from_iter(lost.map(str::to_owned)));
    }
}

#[test]
fn a_session_that_was_not_named_must_be_the_same_one() {
    let now = Instant::now();
    let before = sessions(&[("a", 10, 0), ("b", 10, 4)], now);
    let reset = |peer| Verdict::Broken(vec![format!("session with {peer} was reset")]);
    for (after, impact, expected) in [
        (sessions(&[("a", 11, 0), ("b", 9, 4)], now), names(&[]), Verdict::Good),
        (sessions(&[("a", 10, 1), ("b", 10, 4)], now), names(&[]), reset("a")),
        // bgpd was started anew: its counter says nothing.
        (sessions(&[("a", 60, 0), ("b", 10, 4)], now), names(&[]), reset("a")),
        (sessions(&[("a", 60, 1), ("b", 10, 4)], now), names(&["a"]), Verdict::Good),
        (
            sessions(&[("b", 10, 4)], now),
            names(&[]),
            Verdict::NotYet(vec!["session with a went down".into()]),
        ),
        (sessions(&[("b", 10, 4), ("c", 50, 0)], now), names(&["a"]), Verdict::Good),
    ] {
        assert_eq!(judge(&before, &after, &impact), expected, "{after:?}");
    }
    assert_eq!(restored(&before, &sessions(&[("b", 60, 5)], now)), ["session with a is down"]);
}

#[test]
fn a_probe_counts_if_it_worked_before() {
    let silent = Verdict::NotYet(vec!["API server does not answer any more".into()]);
    for (before, after, expected) in [
        (Answer::Came, Answer::Came, Verdict::Good),
        (Answer::Silence, Answer::Silence, Verdict::Good),
        (Answer::Silence, Answer::Came, Verdict::Good),
        (Answer::Came, Answer::Silence, silent.clone()),
    ] {
        assert_eq!(judge(&probe(before), &probe(after), &Impact::default()), expected);
    }
    // A probe that is not asked any more: the default route itself has gone.
    assert_eq!(judge(&probe(Answer::Came), &vip("", ""), &Impact::default()), silent);
}

#[test]
fn what_could_not_be_looked_at_is_neither_good_nor_bad() {
    let good = vip("1.1.1.1", "1.1.1.1");
    let blind = Measured { forwarding: Err("netlink".into()), ..good.clone() };
    let deaf = Measured { sessions: Err("bgpd".into()), ..good.clone() };
    for (before, after, expected) in [
        (&good, &blind, Verdict::Unseen("netlink".into())),
        (&good, &deaf, Verdict::Unseen("bgpd".into())),
        // What was not seen before cannot be missed.
        (&blind, &good, Verdict::Good),
        (&deaf, &good, Verdict::Good),
    ] {
        assert_eq!(judge(before, after, &Impact::default()), expected);
    }
}
