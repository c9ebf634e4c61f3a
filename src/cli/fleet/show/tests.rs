use super::*;
use crate::health::fleet::drain::Way;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

#[test]
fn a_drain_says_first_whether_it_is_safe() {
    let way = |switch: &str, does, hops: &[(&str, u64)]| Way {
        switch: switch.to_owned(),
        does,
        hops: hops.iter().map(|(hop, vips)| ((*hop).to_owned(), *vips)).collect(),
        since: Some(at(-90)),
        why: None,
    };
    let table = drain(
        &Drain {
            node: "w1".to_owned(),
            verdict: Word::Differs,
            since: None,
            switches: vec![way("leaf1", Does::Forwards, &[("10.0.0.1", 3)]), way("leaf2", Does::Clear, &[])],
            message: "leaf1 forward to w1".to_owned(),
        },
        at(0),
    );
    assert_eq!(
        table,
        "SWITCH   FORWARDS   SINCE                             NEXT-HOPS\n\
         leaf1    yes        2027-01-15T07:58:30Z (90 s ago)   10.0.0.1 (3 Service addresses)\n\
         leaf2    no         2027-01-15T07:58:30Z (90 s ago)   -\n\
         NOT safe: leaf1 forward to w1\n"
    );
}

#[test]
fn a_history_of_nothing_is_said_to_be_one() {
    assert_eq!(history(&BTreeMap::from([("leaf1", &[][..])])), "no switch has told of a change yet\n");
}
