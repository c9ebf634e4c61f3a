#![expect(clippy::disallowed_methods, reason = "an instant to count from")]

use super::*;

fn departure(found: &str) -> Vec<Departure> {
    vec![Departure { path: "router bgp 65001".into(), wanted: None, found: Some(found.into()) }]
}

/// Drift comes at `at` seconds and is put back as soon as may be; after how many seconds each.
fn rounds(at: &[u64]) -> Vec<u64> {
    let (mut memory, start) = (Memory::default(), Instant::now());
    let round = |begins: &u64| {
        let began = start + Duration::from_secs(*begins);
        let mut now = began;
        loop {
            match memory.seen(departure("x"), DriftPolicy::Revert, None, now) {
                Fate::PutBack => break,
                Fate::Later { at, why } => {
                    assert!(matches!(why, Patience::TugOfWar(_)) && at > now);
                    now = at;
                }
                Fate::Reported => panic!("it is to be put back"),
            }
        }
        memory.gone();
        (now - began).as_secs()
    };
    at.iter().map(round).collect()
}

#[test]
fn another_program_that_insists_is_answered_later_and_later_but_always() {
    let every_half_minute: Vec<u64> = vec![0, 30, 60, 90, 150, 300, 600, 1200, 2200, 3500];
    assert_eq!(rounds(&every_half_minute), [0, 0, 0, 30, 90, 180, 360, 660, 560, 160]);
    // Rare drift is no war.
    assert_eq!(rounds(&[0, 1800, 3600, 5400, 7200]), [0; 5]);
}

#[test]
fn a_person_at_the_switch_gets_five_minutes_from_the_first_sight() {
    let (mut memory, now) = (Memory::default(), Instant::now());
    let editor = || Some("root on pts/3".to_owned());
    let at = now + COURTESY;
    let later = Fate::Later { at, why: Patience::Person("root on pts/3".into()) };
    assert_eq!(memory.seen(departure("x"), DriftPolicy::Revert, editor(), now), later);
    // Another edit does not begin it anew, and the last line that was found is shown.
    let minute = now + Duration::from_secs(60);
    assert_eq!(memory.seen(departure("y"), DriftPolicy::Revert, editor(), minute), later);
    assert_eq!(memory.last().map(|drift| drift.departures.clone()), Some(departure("y")));
    assert_eq!(memory.seen(departure("y"), DriftPolicy::Revert, editor(), at), Fate::PutBack);
    assert_eq!(memory.count(), 1);
    // Who has left needs no more time.
    memory.gone();
    assert_eq!(
        memory.seen(departure("x"), DriftPolicy::Revert, editor(), at),
        Fate::Later { at: at + COURTESY, why: Patience::Person("root on pts/3".into()) }
    );
    assert_eq!(
        memory.seen(departure("x"), DriftPolicy::Revert, None, at + Duration::from_secs(1)),
        Fate::PutBack
    );
}

#[test]
fn what_was_put_back_is_still_shown_and_what_somebody_took_back_is_not() {
    let (mut memory, now) = (Memory::default(), Instant::now());
    memory.seen(departure("x"), DriftPolicy::Revert, None, now);
    memory.gone();
    assert!(memory.last().is_some_and(|drift| drift.fate == Fate::PutBack));
    memory.seen(departure("y"), DriftPolicy::Report, None, now);
    assert!(memory.last().is_some_and(|drift| drift.fate == Fate::Reported));
    memory.gone();
    assert_eq!(memory.last(), None);
    assert_eq!(memory.count(), 2);
}
