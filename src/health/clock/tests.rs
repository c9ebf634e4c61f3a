use proptest::prelude::*;

use super::*;
use crate::health::compare::{self, Look};
use crate::health::condition::{self, Reason, Status};
use crate::health::control::{Managed, Merit, Path, Session, Stale};
use crate::intent::nexthops::{Expectation, ExpectedVip};
use crate::net::{Hop, HopState, PROTOCOL_BGP, Route, RouteKind};

const VIP: &str = "203.0.113.20/32";
const W1: &str = "192.168.1.11";
const W2: &str = "192.168.1.12";

/// What the control plane says about the hops that the FIB lacks or has too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bgp {
    /// Chosen as expected: the FIB contradicts it.
    HasBoth,
    /// The same, and the route manager has not written it yet.
    HasBothQueued,
    /// A third node went, and its path is kept by graceful restart.
    StaleThird,
    /// No path of the second node.
    LacksSecond,
    /// It does not answer.
    Silent,
}

/// A VIP that should forward to two nodes, an agent that looks at it, and a clock.
struct Scene {
    judge: Judge,
    now: Timestamp,
    bgp: Bgp,
    /// What the FIB forwards to.
    fib: Vec<&'static str>,
    fresh: BTreeMap<ObjectName, Freshness>,
    /// Does the API answer with yes, at once?
    api: bool,
    convergence: Duration,
    /// The second hop's session; without it the NOS has no such neighbour.
    second_session: bool,
    /// All paths are kept by graceful restart, for so long.
    stale_for: Option<Duration>,
    /// The nodes that peer here; a hop of nobody is a remote switch's.
    node_of: BTreeMap<NextHop, String>,
}

fn web() -> ObjectName {
    ObjectName { namespace: "shop".into(), name: "web".into() }
}

impl Scene {
    fn new(bgp: Bgp, fib: &[&'static str]) -> Self {
        Self {
            judge: Judge::default(),
            now: "2026-01-01T12:00:00Z".parse().unwrap(),
            bgp,
            fib: fib.to_vec(),
            fresh: BTreeMap::new(),
            api: true,
            convergence: Duration::from_secs(20),
            second_session: true,
            stale_for: None,
            node_of: BTreeMap::new(),
        }
    }

    fn after(&mut self, millis: i64) -> &mut Self {
        self.now += SignedDuration::from_millis(millis);
        self
    }

    fn sees(&mut self, fib: &[&'static str]) -> &mut Self {
        self.fib = fib.to_vec();
        self
    }

    fn look(&mut self) -> Judgement {
        if self.api {
            self.fresh.insert(web(), Freshness::Confirmed(self.now));
        }
        let vip: Prefix = VIP.parse().unwrap();
        let hop = |text: &str| text.parse::<NextHop>().unwrap();
        let expected = ExpectedVip {
            services: BTreeSet::from([web()]),
            next_hops: BTreeMap::from([
                (hop(W1), BTreeSet::from(["w1".to_owned()])),
                (hop(W2), BTreeSet::from(["w2".to_owned()])),
            ])
            .into(),
            ..ExpectedVip::default()
        };
        let expectation =
            Expectation { vips: BTreeMap::from([(vip, expected.into())]), ..Expectation::default() };
        let route = (!self.fib.is_empty()).then(|| Route {
            prefix: vip,
            kind: RouteKind::Unicast,
            protocol: PROTOCOL_BGP,
            table: 254,
            metric: 20,
            group: None,
            hops: self.fib.iter().map(|text| Hop { next_hop: hop(text), state: HopState::Live }).collect(),
        });
        let look = Look { routes: BTreeMap::from([(vip, route)]), ..Look::default() };
        let session = |peer: &str| {
            let session = Session {
                peer: peer.to_owned(),
                state: "Established".to_owned(),
                uptime: None,
                dropped: 0,
                last_reset: None,
                dynamic: false,
                blocked: BTreeSet::new(),
                bfd: None,
                flaps: None,
            };
            (peer.to_owned(), session)
        };
        let mut by_peer = BTreeMap::from([session(W1), session(W2)]);
        if !self.second_session {
            by_peer.remove(W2);
        }
        let sessions = Sessions { by_peer, listen: Vec::new() };
        let path = |peer: &str| Path {
            peer: peer.to_owned(),
            next_hop: Some(hop(peer)),
            valid: true,
            resolved: true,
            chosen: true,
            merit: Merit {
                weight: 0,
                local_preference: 100,
                as_path_length: 1,
                origin: "IGP".to_owned(),
                external: true,
            },
            stale: self.stale_for.map(|lasts| Stale { lasts: Some(lasts) }),
            why_not: None,
        };
        let paths = match self.bgp {
            Bgp::HasBoth | Bgp::HasBothQueued => vec![path(W1), path(W2)],
            Bgp::StaleThird => vec![path("192.168.1.13")],
            Bgp::LacksSecond | Bgp::Silent => vec![path(W1)],
        };
        let queued = self.bgp == Bgp::HasBothQueued;
        let evidence =
            Evidence { paths, managed: Managed { queued, ..Managed::default() }, ..Evidence::default() };
        let asked = self.bgp != Bgp::Silent;
        let evidence = asked.then_some((vip, evidence)).into_iter().collect();
        self.judge.judge(
            &compare::compare(&expectation, &look),
            &Circumstances {
                now: self.now,
                convergence: self.convergence,
                network_instance: "default",
                sessions: asked.then_some(&sessions),
                evidence: &evidence,
                node_of: &self.node_of,
                fresh: &self.fresh,
            },
        )
    }

    fn state(&mut self) -> State {
        let judgement = self.look();
        assert_eq!(judgement.vips.len(), 1);
        judgement.vips[0].state
    }

    /// The agent ends and starts again with what it wrote down.
    fn restart(&mut self) {
        let text = serde_json::to_string(&self.judge.clocks()).unwrap();
        self.judge = Judge::resume(serde_json::from_str(&text).unwrap());
        assert_eq!(serde_json::to_string(&self.judge.clocks()).unwrap(), text);
    }

    /// Diverged from here on, once.
    fn depart(&mut self) -> &mut Self {
        self.bgp = Bgp::HasBoth;
        self.sees(&[W1]).look();
        assert_eq!(self.after(200).state(), State::Diverged);
        self
    }

    /// Equal for long enough to be good again.
    fn recover(&mut self) -> &mut Self {
        self.sees(&[W1, W2]).look();
        self.after(10_000).look();
        self
    }
}

fn wakes_in(judgement: &Judgement, now: Timestamp) -> i128 {
    judgement.next.unwrap().duration_since(now).as_millis()
}

use State::{Converging, Diverged, Unknown};

#[test]
fn an_equal_look_is_ok_and_needs_no_clock() {
    let mut scene = Scene::new(Bgp::HasBoth, &[W1, W2]);
    let judgement = scene.look();
    assert_eq!((judgement.vips[0].state, judgement.next), (State::Ok, None));
    assert_eq!((judgement.standing.len(), judgement.to_confirm.len()), (0, 0));
    assert_eq!(scene.judge.clocks(), Clocks::default());
}

#[test]
fn a_switch_that_contradicts_itself_is_at_fault_after_two_looks() {
    let mut scene = Scene::new(Bgp::HasBoth, &[W1]);
    scene.api = false;
    let first = scene.look();
    assert_eq!((first.vips[0].state, wakes_in(&first, scene.now)), (Converging, 200));
    assert_eq!(scene.after(199).state(), Converging);
    let second = scene.after(1).look();
    assert_eq!(second.vips[0].state, Diverged);
    assert_eq!(second.standing[0].fault, Fault::Switch);
    assert!(second.to_confirm.is_empty(), "what the cluster thinks does not matter");
}

#[test]
fn an_unexpected_hop_that_bgp_did_not_choose_is_the_switchs_fault_too() {
    let mut scene = Scene::new(Bgp::HasBoth, &[W1, W2, "192.168.1.99"]);
    scene.look();
    let judgement = scene.after(200).look();
    assert_eq!(judgement.vips[0].unexpected, ["192.168.1.99"]);
    assert_eq!((judgement.vips[0].state, judgement.standing[0].fault), (Diverged, Fault::Switch));
}

#[test]
fn the_second_look_waits_for_the_queue_but_not_for_ever() {
    let mut scene = Scene::new(Bgp::HasBothQueued, &[W1]);
    scene.look();
    assert_eq!(scene.after(1000).state(), Converging);
    scene.bgp = Bgp::HasBoth;
    assert_eq!(scene.after(1).state(), Diverged, "no longer queued");
    let mut scene = Scene::new(Bgp::HasBothQueued, &[W1]);
    scene.look();
    assert_eq!(scene.after(4999).state(), Converging);
    assert_eq!(scene.after(1).state(), Diverged);
}

#[test]
fn a_contradiction_between_two_looks_of_agreement_is_no_fault() {
    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    scene.look();
    scene.bgp = Bgp::HasBoth;
    scene.after(1000).look();
    scene.bgp = Bgp::LacksSecond;
    scene.after(100).look();
    scene.bgp = Bgp::HasBoth;
    assert_eq!(scene.after(100).state(), Converging, "not two looks in a row");
    assert_eq!(scene.after(200).state(), Diverged);
}

#[test]
fn agreement_may_last_until_convergence() {
    for bgp in [Bgp::LacksSecond, Bgp::Silent] {
        let mut scene = Scene::new(bgp, &[W1]);
        let first = scene.look();
        assert_eq!((first.vips[0].state, wakes_in(&first, scene.now)), (Converging, 20_000));
        assert_eq!(scene.after(19_999).state(), Converging);
        let due = scene.after(1).look();
        assert_eq!(due.vips[0].state, Diverged);
        assert_eq!(due.standing[0].fault, Fault::AnnouncerMissing);
        assert_eq!(due.vips[0].since, Some("2026-01-01T12:00:00Z".parse().unwrap()));
    }
}

#[test]
fn nothing_but_its_own_disappearance_restarts_a_clock() {
    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    scene.look();
    // Another difference comes and goes, and the reason changes; this one stays.
    scene.after(8000).sees(&[W1, "192.168.1.99"]).look();
    scene.bgp = Bgp::Silent;
    scene.after(8000).sees(&[]).look();
    scene.sees(&[W1]);
    let judgement = scene.after(4000).look();
    assert_eq!(judgement.vips[0].state, Diverged);
    assert_eq!(judgement.standing.len(), 1, "{:?}", judgement.standing);

    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    scene.look();
    scene.after(19_000).sees(&[W1, W2]).look();
    scene.after(500).sees(&[W1]).look();
    assert_eq!(scene.after(19_999).state(), Converging);
    assert_eq!(scene.after(1).state(), Diverged);
}

#[test]
fn every_difference_has_its_own_clock() {
    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    scene.look();
    scene.after(15_000).sees(&[]).look();
    scene.after(5000);
    let judgement = scene.look();
    let states: Vec<(&str, State)> = judgement.vips[0]
        .differences
        .iter()
        .map(|difference| (difference.next_hop.as_str(), difference.state))
        .collect();
    // Both are expected, one for 20 s, the other for 5; W1's path is chosen, so its absence is the switch's own fault.
    assert_eq!(states.len(), 2);
    assert!(states.contains(&(W2, Diverged)));
    let [w1, w2] = [W1, W2].map(|name| {
        judgement.vips[0].differences.iter().find(|difference| difference.next_hop == name).unwrap().since
    });
    assert_eq!(w1.duration_since(w2).as_secs(), 15);
}

#[test]
fn a_due_difference_asks_the_api_before_it_is_a_fault() {
    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    scene.api = false;
    let begun = scene.now;
    scene.look();
    let due = scene.after(20_000).look();
    assert_eq!((due.vips[0].state, due.to_confirm.clone()), (Converging, BTreeSet::from([web()])));
    assert!(due.standing.is_empty() && due.next.is_some());

    scene.fresh.insert(web(), Freshness::Unanswered(scene.now));
    let stale = scene.after(100).look();
    assert_eq!((stale.vips[0].state, stale.vips[0].rung), (Unknown, Some(Rung::ExpectationStale)));
    assert_eq!(stale.to_confirm, BTreeSet::from([web()]), "it is asked again");
    let said = condition::fib_synced(Ok(&stale), None);
    assert_eq!((said.status, said.reason), (Status::Unknown, Reason::ExpectationStale));

    for too_old in [begun - SignedDuration::from_millis(1), scene.now - SignedDuration::from_secs(10)] {
        scene.fresh.insert(web(), Freshness::Confirmed(too_old));
        assert_eq!(scene.state(), Converging, "said at {too_old}, before it could know");
    }
    scene.fresh.insert(web(), Freshness::Confirmed(scene.now));
    assert_eq!(scene.after(100).state(), Diverged);
    scene.fresh.clear();
    assert_eq!(scene.after(100_000).state(), Diverged, "a fault that stands is not asked about again");
}

#[test]
fn a_yes_from_before_the_difference_says_nothing_about_it() {
    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    scene.api = false;
    scene.convergence = Duration::from_secs(1);
    scene.fresh.insert(web(), Freshness::Confirmed(scene.now));
    scene.after(1).look();
    let due = scene.after(1000).look();
    assert_eq!((due.vips[0].state, due.to_confirm), (Converging, BTreeSet::from([web()])));
}

#[test]
fn a_stray_has_nobody_to_ask_about() {
    let prefix: Prefix = "203.0.113.99/32".parse().unwrap();
    let compared = Compared {
        vip: Shared::default(),
        expected: Shared::default(),
        observed: [W1.parse().unwrap()].into_iter().collect(),
        wrong_kind: None,
        missing: BTreeSet::new(),
        unexpected: BTreeSet::from([W1.parse().unwrap()]),
        group: None,
        doubt: None,
        remark: None,
    };
    let mut judge = Judge::default();
    let mut at = |seconds: i64| {
        let about = Circumstances {
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds),
            convergence: Duration::from_secs(20),
            network_instance: "default",
            sessions: None,
            evidence: &BTreeMap::new(),
            node_of: &BTreeMap::from([(W1.parse().unwrap(), "w1".to_owned())]),
            fresh: &BTreeMap::new(),
        };
        judge.judge(&BTreeMap::from([(prefix, compared.clone())]), &about)
    };
    assert_eq!(at(0).vips[0].state, Converging);
    let due = at(20);
    assert_eq!((due.vips[0].state, due.standing[0].fault), (Diverged, Fault::AnnouncerUnexpected));
    assert_eq!(due.vips[0].differences[0].node.as_deref(), Some("w1"));
}

#[test]
fn clocks_survive_a_restart() {
    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    scene.look();
    scene.restart();
    assert_eq!(scene.after(20_000).state(), Diverged);
    scene.restart();
    scene.api = false;
    scene.fresh.clear();
    assert_eq!(scene.after(5000).state(), Diverged);
    scene.sees(&[W1, W2]).look();
    scene.restart();
    assert_eq!(scene.after(5000).look().standing.len(), 1, "still within 10 s");

    let mut scene = Scene::new(Bgp::HasBoth, &[W1]);
    scene.look();
    scene.restart();
    assert_eq!(scene.after(200).state(), Diverged);
}

#[test]
fn a_fault_is_over_after_ten_seconds_without_it() {
    let mut scene = Scene::new(Bgp::HasBoth, &[W1]);
    scene.depart();
    let gone = scene.sees(&[W1, W2]).after(100).look();
    assert_eq!((gone.vips[0].state, wakes_in(&gone, scene.now)), (State::Ok, 10_000));
    assert!(!gone.standing[0].present);
    assert_eq!(condition::fib_synced(Ok(&gone), None).status, Status::False);
    assert_eq!(scene.after(9999).look().standing.len(), 1);
    let good = scene.after(1).look();
    assert_eq!(good.standing, []);
    assert_eq!(condition::fib_synced(Ok(&good), None).status, Status::True);
}

#[test]
fn back_within_ten_seconds_is_the_same_fault() {
    let mut scene = Scene::new(Bgp::HasBoth, &[W1]);
    let begun = scene.now;
    scene.depart().sees(&[W1, W2]).look();
    scene.bgp = Bgp::LacksSecond;
    let back = scene.after(9000).sees(&[W1]).look();
    assert_eq!((back.vips[0].state, back.vips[0].since), (Diverged, Some(begun)));
    scene.recover();
    let again = scene.sees(&[W1]).look();
    assert_eq!((again.vips[0].state, again.vips[0].since), (Converging, Some(scene.now)), "a new one");
}

#[test]
fn three_departures_within_ten_minutes_are_flapping_until_they_are_old() {
    let mut scene = Scene::new(Bgp::HasBoth, &[W1]);
    let first = scene.now + SignedDuration::from_millis(200);
    for departure in 1..=3 {
        scene.depart();
        let standing = scene.look().standing;
        assert_eq!((standing.len(), standing[0].flapping), (1, departure == 3));
        scene.recover().after(60_000);
    }
    let quiet = scene.look();
    assert_eq!(quiet.vips[0].state, State::Ok);
    let said = condition::fib_synced(Ok(&quiet), None);
    assert_eq!((said.status, said.reason), (Status::False, Reason::Flapping));
    let end = first + SignedDuration::from_secs(600);
    assert_eq!(quiet.next, Some(end), "it looks again when that is over");
    scene.restart();
    scene.now = end - SignedDuration::from_millis(1);
    assert_eq!(scene.look().standing.len(), 1);
    assert_eq!(scene.after(1).look().standing, []);
    assert_eq!(scene.after(600_000).look().standing, []);
    assert_eq!(scene.judge.clocks(), Clocks::default(), "nothing is kept for ever");
}

#[test]
fn a_fault_that_stays_stops_being_called_flapping() {
    let mut scene = Scene::new(Bgp::HasBoth, &[W1]);
    for _ in 0..3 {
        scene.recover().depart();
    }
    assert!(scene.look().standing[0].flapping);
    let standing = scene.after(600_000).look().standing;
    assert_eq!((standing.len(), standing[0].flapping), (1, false));
}

#[test]
fn what_is_not_looked_at_leaves_the_clocks_alone() {
    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    scene.look();
    let before = scene.judge.clocks();
    // The table cannot be read for a while: nobody judges.
    scene.after(30_000);
    assert_eq!(scene.judge.clocks(), before);
    assert_eq!(scene.state(), Diverged, "it was there before and is there still");
}

#[test]
fn a_wall_clock_set_back_takes_the_clocks_with_it() {
    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    scene.look();
    scene.after(19_000).look();
    scene.after(-3_600_000).look();
    assert_eq!(scene.after(999).state(), Converging);
    let due = scene.after(1).look();
    assert_eq!(due.vips[0].state, Diverged);
    assert!(due.vips[0].since.unwrap() <= scene.now);
    scene.sees(&[W1, W2]).look();
    scene.after(-3_600_000).look();
    assert_eq!(scene.after(10_000).look().standing, []);

    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    scene.look();
    scene.restart();
    scene.after(-3_600_000).look();
    assert_eq!(scene.after(20_000).state(), Diverged, "a restart forgets by how much, not that it is there");
}

#[test]
fn without_patience_every_difference_is_a_fault() {
    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    let mut vips = scene.look().vips.to_vec();
    without_patience(&mut vips);
    assert_eq!((vips[0].state, vips[0].differences[0].state), (Diverged, Diverged));
    let mut vips = scene.sees(&[W1, W2]).look().vips.to_vec();
    without_patience(&mut vips);
    assert_eq!(vips[0].state, State::Ok);
}

#[test]
fn a_message_names_hop_node_and_rung() {
    let mut scene = Scene::new(Bgp::LacksSecond, &[W1]);
    let differs = scene.look().vips[0].clone();
    assert_eq!(
        *differs.message,
        "forwards to 192.168.1.11, expected 192.168.1.11, 192.168.1.12; 192.168.1.12 (w2) missing: PrefixNotReceived"
    );
    assert_eq!(differs.rung, Some(Rung::PrefixNotReceived));
    assert_eq!(*scene.sees(&[W1, W2]).look().vips[0].message, "forwards to 192.168.1.11, 192.168.1.12");
}

fn any_fib() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec![W1, W2, "192.168.1.99"], 0..=3)
}

fn any_bgp() -> impl Strategy<Value = Bgp> {
    prop::sample::select(vec![Bgp::HasBoth, Bgp::HasBothQueued, Bgp::LacksSecond, Bgp::Silent])
}

proptest! {
    /// Whatever happened before.
    #[test]
    fn an_equal_look_never_diverges_and_one_that_stays_different_always_does(
        history in prop::collection::vec((any_fib(), any_bgp(), -50_000_i64..50_000, any::<bool>()), 0..12),
        bgp in any_bgp(),
    ) {
        let mut scene = Scene::new(Bgp::HasBoth, &[W1, W2]);
        for (fib, bgp, millis, api) in history {
            scene.bgp = bgp;
            scene.api = api;
            scene.sees(&fib).after(millis);
            let judgement = scene.look();
            let vip = &judgement.vips[0];
            let equal = scene.fib == [W1, W2];
            prop_assert_eq!(vip.state == State::Ok, equal);
            prop_assert_eq!(vip.differences.is_empty(), equal);
            prop_assert!(vip.since.is_none_or(|since| since <= scene.now));
            prop_assert!(judgement.next.is_none_or(|next| next > scene.now), "{:?} at {}", judgement.next, scene.now);
            if scene.judge.clocks() != Clocks::default() {
                scene.restart();
            }
        }
        scene.api = true;
        scene.bgp = bgp;
        scene.sees(&[W1]).look();
        for _ in 0..8 {
            scene.after(2500).look();
        }
        prop_assert_eq!(scene.after(1).state(), Diverged);
        scene.sees(&[W1, W2]).look();
        for _ in 0..3 {
            prop_assert_eq!(scene.after(5000).state(), State::Ok);
        }
        let still = scene.look().standing;
        prop_assert!(still.iter().all(|standing| standing.flapping), "{:?}", still);
    }
}

#[test]
fn a_remote_switch_need_not_be_a_neighbour() {
    for (node, rung, fault) in [
        (Some("w2"), Rung::PeerNotConfigured, Fault::Policy),
        (None, Rung::PrefixNotReceived, Fault::AnnouncerMissing),
    ] {
        let mut scene = Scene { second_session: false, ..Scene::new(Bgp::LacksSecond, &[W1]) };
        scene.node_of.extend(node.map(|node| (W2.parse().unwrap(), node.to_owned())));
        let difference = scene.look().vips[0].differences[0].clone();
        assert_eq!((difference.rung, difference.fault), (rung, fault), "{node:?}");
    }
}

/// The end of a graceful restart is counted down in whole seconds, and what is said stays the same meanwhile.
#[test]
fn what_ends_by_itself_says_when_and_says_the_same_at_every_look() {
    let mut scene = Scene::new(Bgp::HasBoth, &[W1, W2, "192.168.1.13"]);
    scene.bgp = Bgp::StaleThird;
    let mut said = Vec::new();
    for (after, left) in [(0, 40), (400, 40), (900, 38), (700, 38), (1000, 37)] {
        scene.stale_for = Some(Duration::from_secs(left));
        let vip = scene.after(after).look().vips[0].clone();
        assert_eq!(vip.rung, Some(Rung::StaleByGracefulRestart));
        said.push(vip.message.to_string());
    }
    assert!(said[0].contains("StaleByGracefulRestart (until 2026-01-01T12:00:40Z)"), "{}", said[0]);
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    // The speaker came back and went again: that is another end.
    scene.stale_for = Some(Duration::from_secs(40));
    let vip = scene.look().vips[0].clone();
    assert!(vip.message.contains("until 2026-01-01T12:00:43Z"), "{}", vip.message);
}
