//! What the grammar of `switch.yaml` cannot say: ranges that depend on other fields, and names that would not be safe in a
//! configuration text.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::intent::platform::Release;
use crate::intent::settings::{
    Assume, Bfd, PeerAsn, PeeringMode, Pool, ResilientHash, ResilientPrefixes, Span, SwitchSettings, Timers,
    Uplink,
};
use crate::net::{self, NextHop, Prefix};

/// What the grammar cannot say: the first field that contradicts another one or its range.
pub fn check(settings: &SwitchSettings) -> Option<(String, String)> {
    let wrong = |field: &str, problem: String| Some((field.to_owned(), problem));
    if settings.version != 1 {
        return wrong("version", format!("version {} is not known (expected 1)", settings.version));
    }
    if let Some(problem) = check_name(&settings.network_instance) {
        return wrong("networkInstance", problem);
    }
    if settings.vips.pools.is_empty() {
        return wrong("vips.pools", "is empty (expected at least one prefix or range)".to_owned());
    }
    let Timers { hold, keepalive } = settings.peering.timers;
    if !whole_seconds(hold, 3, 65535) {
        return wrong(
            "peering.timers.hold",
            format!("{hold} is not a whole number of seconds from 3s to 65535s"),
        );
    }
    if !whole_seconds(keepalive, 1, 21845) || keepalive.0 * 3 > hold.0 {
        return wrong(
            "peering.timers.keepalive",
            format!("{keepalive} is not a whole number of seconds, at most a third of hold ({hold})"),
        );
    }
    if let Some(Bfd { interval, multiplier }) = settings.peering.bfd {
        let millis = interval.0.as_millis();
        if !(10..=60_000).contains(&millis) || interval.0.subsec_nanos() % 1_000_000 != 0 {
            return wrong(
                "peering.bfd.interval",
                format!("{interval} is not a whole number of milliseconds from 10ms to 60s"),
            );
        }
        if multiplier < 2 {
            return wrong(
                "peering.bfd.multiplier",
                format!("{multiplier} is out of range (expected 2 to 255)"),
            );
        }
    }
    if settings.peering.max_prefixes == 0 {
        return wrong("peering.maxPrefixes", "0 is out of range (expected 1 to 4294967295)".to_owned());
    }
    if let Some(name) = &settings.peering.password_file
        && (name.is_empty() || name.contains('\0'))
    {
        return wrong("peering.passwordFile", "is not a file name".to_owned());
    }
    if !(1..=256).contains(&settings.ecmp.max_paths) {
        return wrong(
            "ecmp.maxPaths",
            format!("{} is out of range (expected 1 to 256)", settings.ecmp.max_paths),
        );
    }
    if settings.preference == Some(0) {
        return wrong("preference", "0 is out of range (expected 1 to 255)".to_owned());
    }
    if let Some(Assume { release, chassis }) = &settings.assume {
        if let Some(release) = release.as_deref().filter(|release| release.parse::<Release>().is_err()) {
            return wrong("assume.release", format!("{release:?} is not a release (expected e.g. 25.3)"));
        }
        let odd = |name: &&str| name.is_empty() || name.len() > 64 || name.chars().any(char::is_control);
        if let Some(name) = chassis.as_deref().filter(odd) {
            return wrong("assume.chassis", format!("{name:?} is not a name (expected e.g. 7220 IXR-D2L)"));
        }
    }
    if let Some(ResilientHash { prefixes: _, max_paths, buckets_per_path }) = settings.resilient_hash {
        if !(1..=64).contains(&max_paths) {
            return wrong(
                "resilientHash.maxPaths",
                format!("{max_paths} is out of range (expected 1 to 64)"),
            );
        }
        if !(1..=32).contains(&buckets_per_path) {
            return wrong(
                "resilientHash.bucketsPerPath",
                format!("{buckets_per_path} is out of range (expected 1 to 32)"),
            );
        }
    }
    if settings.verify.convergence.0 < Duration::from_secs(1) {
        return wrong(
            "verify.convergence",
            format!("{} is too short (expected at least 1s)", settings.verify.convergence),
        );
    }
    let null = settings.vars.iter().find_map(|(key, value)| null_in(value, &format!("vars.{key}")));
    if let Some(place) = null {
        return wrong(&place, "is null (expected a value: templates cannot print a null)".to_owned());
    }
    check_pools(settings).or_else(|| check_nodes(settings)).or_else(|| check_uplinks(settings))
}

/// What speaks of a part of the pools is one.
fn check_pools(settings: &SwitchSettings) -> Option<(String, String)> {
    let outside = |field: String, prefix: Prefix| {
        (field, format!("{prefix} is in no pool (expected a part of vips.pools)"))
    };
    let touches = |prefix: Prefix| {
        settings
            .vips
            .pools
            .iter()
            .flat_map(Pool::cover)
            .any(|pool| pool.covers(prefix) || prefix.covers(*pool))
    };
    let protected = settings.vips.protected.iter().enumerate().find(|(_, prefix)| !touches(**prefix));
    if let Some((index, prefix)) = protected {
        return Some(outside(format!("vips.protected[{index}]"), *prefix));
    }
    if let Some(ResilientHash { prefixes: ResilientPrefixes::List(list), .. }) = &settings.resilient_hash
        && let Some((index, prefix)) =
            list.iter().enumerate().find(|(_, prefix)| !settings.in_pools(**prefix))
    {
        return Some(outside(format!("resilientHash.prefixes[{index}]"), *prefix));
    }
    None
}

/// An uplink is an address or an interface, named once, and no node.
fn check_uplinks(settings: &SwitchSettings) -> Option<(String, String)> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let internal = |asn: PeerAsn| asn == PeerAsn::Internal || asn == PeerAsn::Number(settings.asn);
    for (index, Uplink { neighbor, peer_asn }) in settings.uplinks.iter().enumerate() {
        if internal(*peer_asn) != internal(settings.uplinks[0].peer_asn) {
            return Some((
                format!("uplinks[{index}].peerAsn"),
                "internal and external uplinks cannot share a peer-group (expected all of one kind)"
                    .to_owned(),
            ));
        }
        let field = format!("uplinks[{index}].neighbor");
        let key = match neighbor.parse::<IpAddr>() {
            Ok(address) if net::is_link_local(address) => {
                return Some((
                    field,
                    format!("{address} is link-local (expected the name of the interface instead)"),
                ));
            }
            Ok(address) if settings.in_subnets(address) => {
                return Some((
                    field,
                    format!("{address} is inside peering.nodes.subnets (expected a router, not a node)"),
                ));
            }
            Ok(address) => address.to_string(),
            Err(_) if is_interface(neighbor) => neighbor.clone(),
            Err(_) => {
                return Some((field, format!("`{neighbor}` is neither an address nor an interface name")));
            }
        };
        if let Some(node) =
            settings.peering.nodes.listed.iter().find(|node| node.interface.as_ref() == Some(&key))
        {
            return Some((field, format!("{key} is already the interface of node {}", node.node)));
        }
        if let Some(first) = taken.insert(key, index) {
            return Some((field, format!("{neighbor} is already uplinks[{first}]")));
        }
    }
    None
}

fn check_nodes(settings: &SwitchSettings) -> Option<(String, String)> {
    let nodes = &settings.peering.nodes;
    if nodes.selector.is_none() && nodes.listed.is_empty() {
        return Some((
            "peering.nodes".to_owned(),
            "names nobody (expected `selector`, `static`, or both)".to_owned(),
        ));
    }
    let needs_subnets = nodes.selector.is_some() || settings.peering.mode == PeeringMode::Listen;
    if needs_subnets && nodes.subnets.is_empty() {
        return Some((
            "peering.nodes.subnets".to_owned(),
            "is empty (expected the bounds of the peers' addresses)".to_owned(),
        ));
    }
    let mut taken: BTreeMap<NextHop, (usize, &str)> = BTreeMap::new();
    for (index, listed) in nodes.listed.iter().enumerate() {
        let field = format!("peering.nodes.static[{index}]");
        if let Some(problem) = check_name(&listed.node) {
            return Some((format!("{field}.node"), problem));
        }
        let Some(next_hop) = listed.next_hop() else {
            return Some((field, format!("node {} has neither address nor interface", listed.node)));
        };
        if let Some(interface) = &listed.interface
            && !is_interface(interface)
        {
            return Some((format!("{field}.interface"), format!("`{interface}` is not an interface name")));
        }
        match listed.address {
            Some(address) if net::is_link_local(address) && listed.interface.is_none() => {
                return Some((
                    format!("{field}.address"),
                    format!("{address} is link-local and needs an interface"),
                ));
            }
            Some(address) if !net::is_link_local(address) && !settings.in_subnets(address) => {
                return Some((
                    format!("{field}.address"),
                    format!("{address} of node {} is outside peering.nodes.subnets", listed.node),
                ));
            }
            _ => {}
        }
        if let Some((first, owner)) = taken.insert(next_hop.clone(), (index, &listed.node)) {
            return Some((
                format!("{field}.{}", if listed.address.is_some() { "address" } else { "interface" }),
                format!("{next_hop} is already the address of node {owner} (static[{first}])"),
            ));
        }
    }
    None
}

fn null_in(value: &serde_json::Value, path: &str) -> Option<String> {
    match value {
        serde_json::Value::Null => Some(path.to_owned()),
        serde_json::Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| null_in(item, &format!("{path}[{index}]")))
        }
        serde_json::Value::Object(fields) => {
            fields.iter().find_map(|(key, item)| null_in(item, &format!("{path}.{key}")))
        }
        _ => None,
    }
}

fn whole_seconds(span: Span, least: u64, most: u64) -> bool {
    span.0.subsec_nanos() == 0 && (least..=most).contains(&span.0.as_secs())
}

/// Names of nodes, switches and instances go into configuration text: nothing but what DNS names are made of.
fn check_name(name: &str) -> Option<String> {
    (name.is_empty() || name.len() > 253 || !name.chars().all(is_name_char))
        .then(|| format!("{name:?} is not a name (expected letters, digits, `-`, `_` and `.`)"))
}

/// Linux takes 15 characters (`IFNAMSIZ`).
fn is_interface(name: &str) -> bool {
    !name.is_empty() && name.len() <= 15 && name.chars().all(is_name_char)
}

fn is_name_char(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | ':')
}
