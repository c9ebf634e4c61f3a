use super::*;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_peer_of_a_range_is_named_by_its_address() {
    let impact = Impact {
        class: Class::SessionReset,
        sessions: set(&["swp7"]),
        ranges: BTreeSet::from(["10.9.0.0/16".parse().unwrap(), "fd00:9::/64".parse().unwrap()]),
        apart: set(&["10.9.0.1"]),
        ..Impact::default()
    };
    for (peer, named) in [
        ("swp7", true),
        ("swp8", false),
        ("10.9.3.2", true),
        ("10.9.0.1", false),
        ("10.8.0.1", false),
        ("fd00:9::2", true),
        ("fd00:8::2", false),
    ] {
        assert_eq!(impact.names(peer), named, "{peer}");
    }
    let worst = Impact { class: Class::InstanceDelete, ..Impact::default() };
    assert!(worst.names("10.8.0.1"), "nobody knows what happens");
    let named = Impact { sessions: set(&["10.9.0.1"]), ..Impact::default() };
    assert!(impact.and(named).names("10.9.0.1"), "another part of the plan names it");
}

#[test]
fn what_is_down_does_not_count_and_what_nobody_counted_is_too_much() {
    let impact = Impact { sessions: set(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), ..Impact::default() };
    assert!(!impact.ending(None).exceed(3));
    assert!(impact.ending(None).exceed(2));
    let up = set(&["10.0.0.2", "10.0.0.3", "10.0.0.9"]);
    let ending = impact.ending(Some(&up));
    assert_eq!((ending.exceed(1), ending.exceed(2)), (true, false));
    assert_eq!(ending.to_string(), "2 sessions (10.0.0.2, 10.0.0.3)");
    assert!(impact.ending(Some(&set(&[]))).is_empty());

    let ranges = BTreeSet::from(["10.9.0.0/16".parse().unwrap()]);
    let impact = Impact { ranges, ..Impact::default() };
    assert!(impact.ending(None).exceed(u32::MAX));
    assert_eq!(
        impact.ending(None).to_string(),
        "an unknown number of sessions (whoever came by 10.9.0.0/16)"
    );
    let ending = impact.ending(Some(&set(&["10.9.0.1", "10.8.0.1"])));
    assert_eq!((ending.exceed(0), ending.exceed(1)), (true, false));
    assert_eq!(ending.to_string(), "1 session (10.9.0.1)");
    let many = Impact { sessions: (1..=7).map(|n| format!("10.0.0.{n}")).collect(), ..Impact::default() };
    assert_eq!(
        many.ending(None).to_string(),
        "7 sessions (10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5 and 2 more)"
    );
}
