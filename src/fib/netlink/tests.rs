#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use proptest::prelude::*;

use super::kernel::device_name;
use super::nexthop::{self, GroupMember, Meaning, NextHopGroup, Object, Objects};
use super::route::{RawHop, RawRoute, RouteView};
use super::sieve::Sieve;
use super::wire::{Attributes, Malformed, Messages};
use crate::net::{HopState, Prefix, Resilient, RouteKind};

// Messages of a real kernel (6.18, little-endian), header included.

/// `203.0.113.10/32 proto bgp`, three hops, the second without carrier.
const THREE_HOPS: &str = "6000000018000000070000000000000002200000feba00010000000008000f00fe00000008000100cb00710a340009001000000003000000080005000a0901021000100005000000080005000a0902021000000007000000080005000a090302";
/// `203.0.113.11/32 via inet6 fe80::1 dev p1 metric 20`.
const VIA_INET6: &str = "5400000018000000070000000000000002200000fe0300010000000008000f00fe00000008000100cb00710b0800060014000000160012000a00fe80000000000000000000000000000100000800040003000000";
/// `fd99::10/128` over two hops, the first of them without carrier.
const SIX: &str = "a80000001800000007000000000000000a800000fe0300010000000008000f00fe00000014000100fd99000000000000000000000000001008000600000400003c0009001c0010000500000014000500fd0000020000000000000000000000021c0000000300000014000500fd00000100000000000000000000000224000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000";
/// `ENETUNREACH`.
const NO_ROUTE: &str = "380000000200000007000000000000009bffffff240000001a000100070000000000000002200000000000000020000008000100cb007163";
/// Bodies of next-hops: `id 11 via 10.9.1.2 dev p1`, `id 13 via inet6 fe80::1 dev p3`, `id 5 blackhole`.
const OBJECT_4: &str = "02fd000000000000080001000b0000000800050003000000080006000a090102";
const OBJECT_6: &str =
    "0afd000000000000080001000d000000080005000700000014000600fe800000000000000000000000000001";
const OBJECT_BLACKHOLE: &str = "0200000000000000080001000500000004000400";
/// `id 101 group 11/13,200 type resilient buckets 512 idle_timer 60 unbalanced_timer 120`.
const GROUP: &str = "000000000000000008000100650000000600030001000000140002000b000000000000000d000000c700000028000c800600010000020000080002007017000008000300e02e00000c000400000000000000000008000e0000000080";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn route(hex: &str) -> RawRoute {
    let bytes = bytes(hex);
    let message = Messages(&bytes).next().unwrap().unwrap();
    assert_eq!((message.kind, message.seq), (24, 7));
    let view = RouteView::parse(message.body).unwrap();
    assert!(view.forwards() && view.is_in(254) && !view.is_in(255));
    view.own().unwrap()
}

fn hops(route: &RawRoute) -> Vec<(String, u32, HopState)> {
    let hop = |hop: &RawHop| (hop.gateway.unwrap().to_string(), hop.oif.unwrap(), hop.state);
    route.hops.iter().map(hop).collect()
}

#[test]
fn a_route_over_three_hops() {
    let route = route(THREE_HOPS);
    assert_eq!(route.prefix.to_string(), "203.0.113.10/32");
    assert_eq!((route.kind, route.protocol, route.table, route.metric), (RouteKind::Unicast, 186, 254, 0));
    let expected = [
        ("10.9.1.2".to_owned(), 3, HopState::Live),
        ("10.9.2.2".to_owned(), 5, HopState::LinkDown),
        ("10.9.3.2".to_owned(), 7, HopState::Live),
    ];
    assert_eq!(hops(&route), expected);
}

#[test]
fn gateways_of_the_other_family_and_ipv6() {
    let via = route(VIA_INET6);
    assert_eq!((via.metric, hops(&via)), (20, vec![("fe80::1".to_owned(), 3, HopState::Live)]));
    let six = route(SIX);
    assert_eq!((six.prefix.to_string().as_str(), six.metric), ("fd99::10/128", 1024));
    let expected =
        [("fd00:2::2".to_owned(), 5, HopState::LinkDown), ("fd00:1::2".to_owned(), 3, HopState::Live)];
    assert_eq!(hops(&six), expected);
}

#[test]
fn the_kernels_no_is_a_message_too() {
    let bytes = bytes(NO_ROUTE);
    let message = Messages(&bytes).next().unwrap().unwrap();
    assert_eq!(message.kind, 2);
    assert_eq!(i32::from_ne_bytes(*message.body.first_chunk().unwrap()), -101);
}

#[test]
fn next_hop_objects_and_groups() {
    let objects: Objects =
        [OBJECT_4, OBJECT_6, OBJECT_BLACKHOLE, GROUP].map(|hex| nexthop::parse(&bytes(hex)).unwrap()).into();
    let resilient = Resilient {
        buckets: 512,
        idle_timer: Duration::from_secs(60),
        unbalanced_timer: Duration::from_secs(120),
        unused: 0,
    };
    let members = vec![GroupMember { id: 11, weight: 1 }, GroupMember { id: 13, weight: 200 }];
    let group = NextHopGroup { id: 101, members, resilient: Some(resilient) };
    assert_eq!(objects[&101], Object::Group(group));
    let Some(Meaning::Hops(hops)) = nexthop::meaning(&objects, 101) else { panic!("no hops") };
    let gateways: Vec<_> = hops.iter().map(|hop| hop.gateway.unwrap().to_string()).collect();
    assert_eq!(gateways, ["10.9.1.2", "fe80::1"]);
    assert_eq!(nexthop::meaning(&objects, 5), Some(Meaning::Blackhole));
    assert_eq!(nexthop::meaning(&objects, 7), None, "gone");
    let mut without_member = objects.clone();
    without_member.remove(&13);
    assert_eq!(nexthop::meaning(&without_member, 101), None, "a member is gone");
}

/// A message cut short must never pass for a shorter table.
#[test]
fn every_truncation_is_an_error() {
    for hex in [THREE_HOPS, VIA_INET6, SIX, NO_ROUTE] {
        let whole = bytes(hex);
        for end in 1..whole.len() {
            assert!(Messages(&whole[..end]).any(|message| message.is_err()), "{end} bytes of {hex}");
        }
        for end in 0..12 {
            assert!(RouteView::parse(&whole[16..16 + end]).is_err());
        }
    }
    for hex in [OBJECT_4, OBJECT_6, OBJECT_BLACKHOLE, GROUP] {
        let whole = bytes(hex);
        // A cut between two attributes is a smaller but whole message; a cut inside of one is not.
        let mut clean = 0;
        for end in 0..whole.len() {
            clean += usize::from(nexthop::parse(&whole[..end]).is_ok());
        }
        assert!(clean < 8, "{clean} truncations of {hex} passed");
    }
}

fn sifted(sieve: &mut Sieve, messages: &[Vec<u8>]) {
    for message in messages {
        sieve.put(&RouteView::parse(message).unwrap()).unwrap();
    }
}

/// The body of a unicast route: destination, length, metric, device.
fn unicast(destination: [u8; 4], bits: u8, metric: u32, oif: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![2, bits, 0, 0, 254, 3, 0, 1];
    body.extend_from_slice(&flags.to_ne_bytes());
    for (kind, value) in [(1u16, destination), (6, metric.to_ne_bytes()), (4, oif.to_ne_bytes())] {
        body.extend_from_slice(&8u16.to_ne_bytes());
        body.extend_from_slice(&kind.to_ne_bytes());
        body.extend_from_slice(&value);
    }
    body
}

#[test]
fn the_best_route_is_kept_whatever_the_order() {
    let vip: Prefix = "203.0.113.10/32".parse().unwrap();
    let table = [
        unicast([0; 4], 0, 0, 1, 0),
        unicast([203, 0, 113, 0], 24, 0, 2, 0),
        unicast([203, 0, 113, 10], 32, 20, 3, 0),
        unicast([203, 0, 113, 10], 32, 10, 4, 0),
        unicast([203, 0, 113, 10], 32, 10, 5, 0),
        unicast([203, 0, 113, 10], 32, 5, 6, 1),
        unicast([203, 0, 114, 0], 24, 0, 7, 0),
    ];
    let device = |route: Option<RawRoute>| route.unwrap().hops[0].oif.unwrap();
    let mut exact = Sieve::exact([vip].into_iter());
    sifted(&mut exact, &table);
    // 6 would win, but its only hop is dead; 4 comes before 5.
    assert_eq!(device(exact.take(vip)), 4);
    exact.clear();
    assert_eq!(exact.take(vip), None);

    let addresses = ["203.0.113.10", "203.0.113.11", "198.51.100.1"].map(|text| text.parse().unwrap());
    let mut longest = Sieve::longest(addresses.into_iter());
    let mut reversed = table.to_vec();
    reversed.swap(0, 6);
    for order in [table.to_vec(), reversed] {
        longest.clear();
        sifted(&mut longest, &order);
        let devices: Vec<u32> = addresses.map(|address| device(longest.take(Prefix::host(address)))).into();
        assert_eq!(devices, [4, 2, 1]);
    }

    let pools = ["203.0.113.0/25", "203.0.113.0/24", "203.0.113.64/26"].map(|text| text.parse().unwrap());
    let mut inside = Sieve::inside(pools.into_iter());
    sifted(&mut inside, &table);
    let Sieve::Inside(pools, found) = inside else { panic!() };
    assert_eq!((pools.len(), found.len()), (1, 2));
}

#[test]
fn a_device_has_a_name() {
    let mut body = vec![0; 16];
    body.extend_from_slice(&[7, 0, 3, 0, b'p', b'1', 0]);
    assert_eq!(device_name(&body).unwrap(), "p1");
    assert_eq!(device_name(&[0; 16]), Err(Malformed("link without a name")));
    assert!(device_name(&[0; 3]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        for message in Messages(&noise).flatten() {
            let _ = RouteView::parse(message.body).and_then(|view| view.own());
        }
        let _ = RouteView::parse(&noise).and_then(|view| view.own());
        let _ = nexthop::parse(&noise);
        let _ = device_name(&noise);
        prop_assert!(Attributes(&noise).count() <= noise.len() / 4 + 1);
        prop_assert!(Messages(&noise).count() <= noise.len() / 16 + 1);
    }

    #[test]
    fn no_flipped_byte_makes_the_parsers_panic(which in 0..7usize, at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let hex = [THREE_HOPS, VIA_INET6, SIX, OBJECT_4, OBJECT_6, OBJECT_BLACKHOLE, GROUP][which];
        let mut whole = bytes(hex);
        let at = at.index(whole.len());
        whole[at] = to;
        let _ = nexthop::parse(&whole);
        for message in Messages(&whole).flatten() {
            if let Ok(view) = RouteView::parse(message.body) {
                let mut sieve = Sieve::inside(["0.0.0.0/0", "::/0"].into_iter().map(|text| text.parse().unwrap()));
                let _ = sieve.put(&view);
            }
        }
    }
}
