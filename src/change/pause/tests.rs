#![expect(clippy::disallowed_methods, reason = "an instant to count from")]

use super::*;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn pause(since: &str, until: &str) -> Pause {
    Pause {
        uid: 0,
        user: Some("root".into()),
        since: at(since),
        until: at(until),
        reason: "new optics".into(),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_words_have_a_day_only_where_it_is_another_one() {
    for (since, until, words) in [
        ("2026-11-21T12:00:00Z", "2026-11-21T14:00:00Z", "Paused by root until 14:00Z: new optics"),
        ("2026-11-21T12:00:07.9Z", "2026-11-21T14:00:07.9Z", "Paused by root until 14:00:07Z: new optics"),
        (
            "2026-11-21T23:00:00Z",
            "2026-11-22T01:00:00Z",
            "Paused by root until 2026-11-22T01:00Z: new optics",
        ),
        // Cut to the cap.
        (
            "2026-11-21T12:00:00Z",
            "2027-11-21T12:00:00Z",
            "Paused by root until 2026-11-28T12:00Z: new optics",
        ),
    ] {
        assert_eq!(pause(since, until).words(), words);
    }
    let nameless = Pause { uid: 1001, user: None, ..pause("2026-11-21T12:00:00Z", "2026-11-21T14:00:00Z") };
    assert_eq!(nameless.words(), "Paused by uid 1001 until 14:00Z: new optics");
}

#[test]
fn a_length_is_more_than_nothing_and_at_most_the_cap() {
    assert!(length(Duration::ZERO, "0s").is_err());
    assert!(length(LONGEST + Duration::from_millis(1), "604800001ms").is_err());
    assert_eq!(length(LONGEST, "168h"), Ok(LONGEST));
    assert_eq!(length(Duration::from_millis(1), "1ms"), Ok(Duration::from_millis(1)));
}

#[test]
fn a_reason_is_one_line() {
    assert_eq!(reason(" new optics "), Ok("new optics".to_owned()));
    assert_eq!(reason(&"ä".repeat(LONGEST_REASON)), Ok("ä".repeat(LONGEST_REASON)));
    for bad in ["", " \t ", "a\nb", "a\u{1b}[2Jb", "a\0b", &"ä".repeat(LONGEST_REASON + 1)] {
        assert!(reason(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_is_not_ours_in_every_letter_is_not_understood() {
    let good = pause("2026-11-21T12:00:00Z", "2026-11-21T14:00:00Z");
    let text = serde_json::to_string(&good).unwrap();
    assert_eq!(Pause::parse(text.as_bytes()), Ok(good));
    for bad in [
        String::new(),
        text[..text.len() / 2].to_owned(),
        format!("{text}x"),
        text.replace("\"reason\"", "\"because\""),
        text.replace('{', "{\"version\":2,"),
        text.replace("new optics", ""),
        text.replace("new optics", "new\\u001boptics"),
        text.replace("\"root\"", "\"ro\\not\""),
        text.replace("14:00", "11:00"),
        "null".to_owned(),
    ] {
        assert!(Pause::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// Walks through `(wall clock, seconds of our own clock)` with one file, and says when writing was forbidden.
fn walk(found: &Found, steps: &[(&str, u64)]) -> Vec<bool> {
    let began = Instant::now();
    let mut pauses = Pauses::default();
    steps
        .iter()
        .map(|(wall, ours)| {
            let now = began + seconds(*ours);
            pauses.found(found.clone(), now);
            pauses.standing(at(wall), now) != Standing::Free
        })
        .collect()
}

#[test]
fn it_ends_by_whichever_clock_is_earlier_and_does_not_come_back() {
    let two_hours = Found::Pause(pause("2026-11-21T12:00:00Z", "2026-11-21T14:00:00Z"));
    for (what, steps, expected) in [
        (
            "as it should be",
            &[("2026-11-21T12:00:01Z", 0), ("2026-11-21T13:59:59Z", 7198), ("2026-11-21T14:00:00Z", 7199)][..],
            &[true, true, false][..],
        ),
        ("found late", &[("2026-11-21T15:00:00Z", 0)], &[false]),
        (
            "the wall clock is set forward, and back again",
            &[("2026-11-21T12:00:00Z", 0), ("2026-11-21T15:00:00Z", 10), ("2026-11-21T12:00:20Z", 20)],
            &[true, false, false],
        ),
        (
            "the wall clock is set back by a year",
            &[("2026-11-21T12:00:00Z", 0), ("2025-11-21T12:00:10Z", 10), ("2025-11-21T14:00:00Z", 7200)],
            &[true, true, false],
        ),
        (
            "the wall clock goes back just before the end",
            &[("2026-11-21T12:00:00Z", 0), ("2026-11-21T12:00:00Z", 7199), ("2026-11-21T12:00:01Z", 7200)],
            &[true, true, false],
        ),
    ] {
        assert_eq!(walk(&two_hours, steps), expected, "{what}");
    }
}

#[test]
fn a_year_is_cut_to_the_cap() {
    let year = Found::Pause(pause("2026-11-21T12:00:00Z", "2027-11-21T12:00:00Z"));
    let steps = [("2026-11-21T12:00:00Z", 0), ("2026-11-28T11:59:59Z", 5), ("2026-11-28T12:00:00Z", 6)];
    assert_eq!(walk(&year, &steps), [true, true, false]);
    // The wall clock stands still: our own ends it.
    let steps =
        [("2026-11-21T12:00:00Z", 0), ("2026-11-21T12:00:00Z", 604_799), ("2026-11-21T12:00:00Z", 604_800)];
    assert_eq!(walk(&year, &steps), [true, true, false]);
}

#[test]
fn what_is_unclear_has_no_end_and_names_the_file() {
    let unclear = Found::Unclear("/var/lib/switchlet/pause.json: not understood".into());
    assert_eq!(
        walk(&unclear, &[("2026-11-21T12:00:00Z", 0), ("2036-11-21T12:00:00Z", 9_999_999)]),
        [true, true]
    );
    let mut pauses = Pauses::default();
    let now = Instant::now();
    pauses.found(unclear, now);
    let words = pauses.standing(at("2026-11-21T12:00:00Z"), now).words().unwrap();
    assert!(words.contains("/var/lib/switchlet/pause.json") && words.contains("pause --end"), "{words}");
    assert_eq!(pauses.left(at("2026-11-21T12:00:00Z"), now), None);
    pauses.found(Found::Absent, now);
    assert_eq!(pauses.standing(at("2026-11-21T12:00:00Z"), now), Standing::Free);
}

#[test]
fn another_pause_is_another_one() {
    let (first, second) = (
        pause("2026-11-21T12:00:00Z", "2026-11-21T12:00:10Z"),
        pause("2026-11-21T12:00:20Z", "2026-11-21T12:00:30Z"),
    );
    let (mut pauses, began) = (Pauses::default(), Instant::now());
    pauses.found(Found::Pause(first.clone()), began);
    assert_eq!(pauses.standing(at("2026-11-21T12:00:10Z"), began + seconds(10)), Standing::Free);
    pauses.found(Found::Pause(second.clone()), began + seconds(20));
    assert_eq!(pauses.standing(at("2026-11-21T12:00:20Z"), began + seconds(20)), Standing::Paused(second));
}

proptest! {
    /// Whatever the wall clock does, no pause is seen to last longer than it was meant to, nor than the cap; and once it is
    /// over it is over.
    #[test]
    fn no_clock_makes_a_pause_longer(
        length in 1_i64..2_000_000,
        steps in proptest::collection::vec((0_u64..200_000, -4_000_000_i64..4_000_000), 1..40),
    ) {
        let since = at("2026-11-21T12:00:00Z");
        let until = since + SignedDuration::from_secs(length);
        let file = Found::Pause(Pause { until, ..pause("2026-11-21T12:00:00Z", "2026-11-21T12:00:01Z") });
        let (mut pauses, began) = (Pauses::default(), Instant::now());
        let (mut ours, mut over, mut first) = (0, false, None);
        for (passed, wall) in steps {
            ours += passed;
            let (wall, now) = (since + SignedDuration::from_secs(wall), began + seconds(ours));
            pauses.found(file.clone(), now);
            let seen_for = ours - *first.get_or_insert(ours);
            let paused = pauses.standing(wall, now) != Standing::Free;
            prop_assert!(!(over && paused), "came back");
            if paused {
                prop_assert!(wall < until);
                prop_assert!(wall < since + SignedDuration::try_from(LONGEST).unwrap());
                prop_assert!(seen_for < length.unsigned_abs().min(LONGEST.as_secs()));
                prop_assert!(pauses.left(wall, now).is_some_and(|left| !left.is_zero()));
            }
            over |= !paused;
        }
    }
}
