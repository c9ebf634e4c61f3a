use std::time::Duration;

use super::*;
use crate::health::compare::{self, Look};
use crate::intent::nexthops::{Expectation, ExpectedVip};
use crate::intent::platform::Release;
use crate::intent::settings;
use crate::net::{Hop, HopState, NextHop, PROTOCOL_BGP, Route, RouteKind};

const VIP: &str = "203.0.113.20/32";

fn settings(resilient: &str) -> SwitchSettings {
    settings::parse(&format!(
        "version: 1\nasn: 65001\nvips: {{pools: [203.0.113.0/24]}}\n\
         peering: {{peerAsn: external, nodes: {{selector: {{}}, subnets: [192.168.1.0/24]}}}}\n{resilient}"
    ))
    .unwrap()
}

const WANTED: &str = "resilientHash: {prefixes: pools, maxPaths: 6, bucketsPerPath: 4}";

/// A VIP that forwards as expected, to so many nodes and by this group.
fn equal(hops: u8, group: Option<u32>) -> BTreeMap<Prefix, Compared> {
    let prefix: Prefix = VIP.parse().unwrap();
    let hops: Vec<NextHop> = (1..=hops).map(|n| format!("192.168.1.{n}").parse().unwrap()).collect();
    let next_hops = hops.iter().map(|hop| (hop.clone(), BTreeSet::new())).collect();
    let vip = ExpectedVip { next_hops, ..ExpectedVip::default() };
    let hops = hops.into_iter().map(|next_hop| Hop { next_hop, state: HopState::Live }).collect();
    let route = Route {
        prefix,
        kind: RouteKind::Unicast,
        protocol: PROTOCOL_BGP,
        table: 254,
        metric: 20,
        group,
        hops,
    };
    let look = Look { routes: [(prefix, Some(route))].into(), ..Look::default() };
    compare::compare(&Expectation { vips: [(prefix, vip.into())].into(), ..Expectation::default() }, &look)
}

fn platform(minor: u16, resilience: Resilience) -> Platform {
    Platform {
        release: Some(Release { major: 10, minor }),
        resilience: Some(resilience),
        ..Platform::default()
    }
}

fn remarked(
    settings: &SwitchSettings,
    platform: &Platform,
    groups: &[(u32, Option<Resilient>)],
    mut compared: BTreeMap<Prefix, Compared>,
) -> Option<String> {
    remark(settings, platform, &groups.iter().copied().collect(), &mut compared);
    compared
        .into_values()
        .next()?
        .remark
        .map(|remark| remark.text.replace("flows move when a node comes or goes: ", ""))
}

#[test]
fn the_remark_says_what_the_kernel_has_and_why_that_is_not_enough() {
    let old = platform(3, Resilience::UnsupportedByFRR);
    let new = platform(8, Resilience::LinkLossOnly);
    let resilient = Resilient {
        buckets: 96,
        idle_timer: Duration::from_secs(1200),
        unbalanced_timer: Duration::from_secs(0),
        unused: 0,
    };
    let wanted = settings(WANTED);
    let of = |platform: &Platform, group: Option<u32>, groups: &[(u32, Option<Resilient>)]| {
        remarked(&wanted, platform, groups, equal(2, group)).unwrap_or_default()
    };
    assert_eq!(
        of(&old, None, &[]),
        "the kernel has next-hops without a group; UnsupportedByFRR: FRR 10.3 makes no resilient groups for BGP's routes"
    );
    assert!(
        of(&new, Some(7), &[(7, None)]).starts_with("the kernel has a plain group; LinkLossOnly: FRR 10.8")
    );
    assert_eq!(
        of(&new, Some(7), &[(7, Some(resilient))]),
        "the kernel has a resilient group (96 buckets, idle 1200 s, unbalanced 0 s); LinkLossOnly: FRR 10.8 keeps flows in \
         place when a link is lost, not when a node withdraws"
    );
    assert!(of(&Platform::default(), None, &[]).ends_with("is not known"));
    assert_eq!(of(&old, Some(7), &[]), "", "the group was replaced meanwhile: could not look");
}

#[test]
fn nothing_is_remarked_where_it_does_not_matter() {
    let old = platform(3, Resilience::UnsupportedByFRR);
    for (resilient, hops, expected) in [
        ("", 2, false),
        (WANTED, 1, false),
        (WANTED, 2, true),
        ("resilientHash: {prefixes: [203.0.113.64/26], maxPaths: 6, bucketsPerPath: 4}", 2, false),
        ("resilientHash: {prefixes: [203.0.113.0/26], maxPaths: 6, bucketsPerPath: 4}", 2, true),
    ] {
        let settings = settings(resilient);
        assert_eq!(
            remarked(&settings, &old, &[], equal(hops, None)).is_some(),
            expected,
            "{resilient} {hops}"
        );
        assert_eq!(groups(&settings, &equal(hops, Some(7))).contains(&7), expected, "{resilient} {hops}");
    }
}

#[test]
fn a_hash_over_addresses_is_an_issue_where_there_is_something_to_choose() {
    let both = |layer| Hashing { v4: Some(layer), v6: Some(layer) };
    let of =
        |hops, hashing| issues(&equal(hops, None), hashing).into_iter().map(|issue| issue.object).collect();
    let said: Vec<String> = of(2, both(HashLayer::Three));
    assert_eq!(said, ["sysctl net.ipv4.fib_multipath_hash_policy"], "no VIP is IPv6");
    for (hops, hashing) in [(1, both(HashLayer::Three)), (2, both(HashLayer::Four)), (2, Hashing::default())]
    {
        let said: Vec<String> = of(hops, hashing);
        assert!(said.is_empty(), "{said:?}");
    }
}
