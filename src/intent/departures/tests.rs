use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn peers(last: &[u8]) -> Peers {
    last.iter()
        .map(|last| {
            let hop = NextHop::via([192, 168, 1, *last].into());
            (format!("worker-{last}"), BTreeSet::from([hop]))
        })
        .collect()
}

const AFTER: SignedDuration = SignedDuration::from_secs(600);

#[test]
fn a_node_that_leaves_stays_configured_for_a_while() {
    let mut departures = Departures::default();
    departures.follow(&peers(&[1, 2, 3]), at(0));
    assert!(departures.leaving().is_empty());
    departures.follow(&peers(&[1, 2]), at(10));
    assert_eq!(departures.lingering(at(609), AFTER), peers(&[3]));
    assert_eq!(departures.next(at(20), AFTER), Some(at(610)));
    // Asking again does not start the time anew.
    departures.follow(&peers(&[1, 2]), at(500));
    assert_eq!(departures.lingering(at(610), AFTER), Peers::new());
    departures.forget(at(609), AFTER, Word::None);
    assert_eq!(departures.all(), peers(&[3]));
    departures.forget(at(610), AFTER, Word::None);
    assert!(departures.leaving().is_empty());
}

#[test]
fn a_node_that_comes_back_has_never_left() {
    let mut departures = Departures::default();
    departures.follow(&peers(&[1, 2]), at(0));
    departures.follow(&peers(&[1]), at(10));
    departures.follow(&peers(&[1, 2]), at(20));
    departures.follow(&peers(&[1]), at(600));
    assert_eq!(departures.lingering(at(700), AFTER), peers(&[2]));
}

#[test]
fn many_who_leave_together_wait_for_a_word() {
    let mut departures = Departures::default();
    departures.follow(&peers(&[1, 2, 3]), at(0));
    departures.follow(&peers(&[2, 3]), at(10));
    // Events of one cause come one after the other.
    departures.follow(&Peers::new(), at(12));
    assert_eq!(departures.lingering(at(611), AFTER), peers(&[1, 2, 3]), "they are due together");
    assert_eq!(departures.lingering(at(612), AFTER), Peers::new());
    departures.forget(at(612), AFTER, Word::None);
    assert_eq!(departures.all(), peers(&[1, 2, 3]), "and stay until somebody says so");
    departures.follow(&peers(&[1, 2]), at(700));
    departures.forget(at(700), AFTER, Word::None);
    assert_eq!(departures.all(), Peers::new(), "the rest is no mass");
    departures.follow(&Peers::new(), at(800));
    departures.forget(at(1500), AFTER, Word::Given);
    assert_eq!(departures.all(), Peers::new());
}

#[test]
fn those_who_leave_one_by_one_go_one_by_one() {
    let mut departures = Departures::default();
    departures.follow(&peers(&[1, 2, 3]), at(0));
    departures.follow(&peers(&[2, 3]), at(10));
    departures.follow(&peers(&[3]), at(200));
    departures.forget(at(610), AFTER, Word::None);
    assert_eq!(departures.all(), peers(&[2]));
    departures.forget(at(800), AFTER, Word::None);
    assert_eq!(departures.all(), Peers::new());
}

#[test]
fn what_git_removes_does_not_linger() {
    let mut departures = Departures::default();
    departures.follow(&peers(&[1, 2, 3]), at(0));
    departures.follow(&peers(&[1, 2]), at(10));
    departures.rebase(&peers(&[1]), |_| true);
    assert_eq!(departures.leaving(), peers(&[3]).into_values().flatten().collect());
    departures.rebase(&peers(&[1]), |_| false);
    assert!(departures.leaving().is_empty());
}

#[test]
fn it_survives_a_restart() {
    let mut departures = Departures::default();
    departures.follow(&peers(&[1, 2, 3]), at(0));
    departures.follow(&peers(&[1]), at(10));
    let text = serde_json::to_string(&departures).unwrap();
    assert_eq!(serde_json::from_str::<Departures>(&text).unwrap(), departures);
}
