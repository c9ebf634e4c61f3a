use super::*;
use crate::net::Shared;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn said(
    kind: &'static str,
    status: Status,
    reason: Reason,
    message: &str,
) -> BTreeMap<&'static str, Stamped> {
    BTreeMap::from([(kind, Stamped { condition: Condition::new(status, reason, message), since: at(0) })])
}

fn reasons(news: &[News]) -> Vec<(Kind, &str)> {
    news.iter().map(|news| (news.kind, news.reason.as_str())).collect()
}

#[test]
fn a_transition_is_told_once() {
    let good = said(CONFIG_APPLIED, Status::True, Reason::Applied, "r1");
    let bad = said(CONFIG_APPLIED, Status::False, Reason::RenderFailed, "x:1:2");
    let other = said(CONFIG_APPLIED, Status::False, Reason::RenderFailed, "x:7:1");
    let work = said(CONFIG_APPLIED, Status::Unknown, Reason::InProgress, "r2");
    let none = BTreeMap::new();
    for (before, now, expected) in [
        (&none, &good, vec![(Kind::Normal, "Applied")]),
        (&good, &good, vec![]),
        (&good, &bad, vec![(Kind::Warning, "RenderFailed")]),
        (&bad, &bad, vec![]),
        (&bad, &other, vec![(Kind::Warning, "RenderFailed")]),
        (&good, &work, vec![]),
        (&bad, &good, vec![(Kind::Normal, "Applied")]),
    ] {
        assert_eq!(reasons(&Teller::conditions(before, now, at(1))), expected);
    }
}

#[test]
fn another_vip_with_the_same_fault_is_no_news_of_the_switch() {
    let one = said(FIB_SYNCED, Status::False, Reason::SwitchDiverged, "203.0.113.10");
    let two = said(FIB_SYNCED, Status::False, Reason::SwitchDiverged, "203.0.113.11");
    assert_eq!(Teller::conditions(&one, &two, at(1)), []);
    let fine = said(FIB_SYNCED, Status::True, Reason::InSync, "all");
    assert_eq!(Teller::conditions(&BTreeMap::new(), &fine, at(1)), [], "a start is no news");
}

fn vip(last: u8, state: State) -> VipVerdict {
    VipVerdict {
        prefix: Prefix::host([203, 0, 113, last].into()),
        network_instance: "default".into(),
        services: vec![ObjectName { namespace: "shop".into(), name: format!("web-{last}") }],
        state,
        rung: None,
        expected: Shared::default(),
        observed: Shared::default(),
        missing: Vec::new(),
        unexpected: Vec::new(),
        since: None,
        message: "forwards to nothing".into(),
        differences: Vec::new(),
    }
}

#[test]
fn a_service_hears_of_its_address_when_the_deadline_has_passed_and_when_all_is_well_again() {
    let mut teller = Teller::default();
    let mut told = |state: State| {
        let news = teller.vips("leaf1", &[vip(10, state), vip(11, State::Ok)], false, at(1));
        reasons(&news).into_iter().map(|(kind, reason)| (kind, reason.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(told(State::Ok), []);
    assert_eq!(told(State::Converging), []);
    assert_eq!(told(State::Diverged), [(Kind::Warning, "Diverged".to_owned())]);
    assert_eq!(told(State::Diverged), []);
    assert_eq!(told(State::Converging), [], "still not good");
    assert_eq!(told(State::Ok), [(Kind::Normal, "InSync".to_owned())]);
    let news = teller.vips("leaf1", &[vip(10, State::Diverged)], false, at(1));
    assert_eq!(news[0].note, "leaf1: 203.0.113.10/32: forwards to nothing");
    assert_eq!(news[0].about, About::Service(ObjectName { namespace: "shop".into(), name: "web-10".into() }));
}

#[test]
fn a_restart_tells_nothing_and_a_great_fault_is_told_briefly() {
    let all: Vec<VipVerdict> = (1..=200).map(|last| vip(last, State::Diverged)).collect();
    assert_eq!(Teller::default().vips("leaf1", &all, true, at(1)), []);
    assert_eq!(Teller::default().vips("leaf1", &all, false, at(1)).len(), MOST_SERVICES);
}

#[test]
fn a_skipped_input_is_told_when_it_appears() {
    let mut teller = Teller::default();
    let bad = Issue::new("Service shop/web", "InvalidObject", "no");
    let foreign = Issue::new("Service shop/db", "NotOurs", "192.0.2.1 is outside vips.pools");
    assert_eq!(
        reasons(&teller.issues(&[bad.clone(), foreign.clone()], at(1))),
        [(Kind::Warning, "InvalidObject")]
    );
    assert_eq!(teller.issues(&[bad.clone(), foreign], at(2)), []);
    assert_eq!(teller.issues(&[], at(3)), []);
    assert_eq!(teller.issues(&[bad], at(4)).len(), 1);
}
