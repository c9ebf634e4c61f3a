//! What FRR takes and a network engineer would ask about. A remark, never a refusal.
//!
//! Reads a text on its own, rendered or literal, and looks only at what is certain from it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::tree::{self, Numbered};

#[cfg(test)]
mod tests;

/// Which question. In the order of the README's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Rule {
    /// An external session without an import policy.
    PolicylessPeer,
    /// An import policy that lets everything in.
    AcceptAll,
    /// An AS number that must not, or should not, be used.
    ReservedAsn,
    /// One next-hop only, where several are the point.
    MultipathOne,
    /// One address in two places.
    DuplicateAddress,
    /// The kernel chooses a next-hop by addresses alone.
    HashPolicy,
    /// A password that anybody who reads the bundle knows.
    PasswordInClear,
}

impl Rule {
    /// CamelCase, as it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::PolicylessPeer => "PolicylessPeer",
            Self::AcceptAll => "AcceptAll",
            Self::ReservedAsn => "ReservedAsn",
            Self::MultipathOne => "MultipathOne",
            Self::DuplicateAddress => "DuplicateAddress",
            Self::HashPolicy => "HashPolicy",
            Self::PasswordInClear => "PasswordInClear",
        }
    }
}

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lint {
    /// Its place in the text, from 1; `None` where no single line is meant.
    pub line: Option<usize>,
    /// Which question.
    pub rule: Rule,
    /// What was found, and what was expected.
    pub message: String,
}

/// How the placeholders of passwords begin that stand in clear in a literal text.
pub const CLEAR: &str = "<secret:frr.conf:";

/// All remarks about a text, in the order of its lines.
pub fn lint(text: &str) -> Vec<Lint> {
    let lines = tree::numbered(text);
    let mut found = numbers(&lines);
    found.extend(multipath(&lines));
    found.extend(addresses(&lines));
    let instances: BTreeSet<&str> = lines.iter().filter_map(|line| instance(&line.path)).collect();
    let policies = Policies::of(&lines);
    for instance in instances {
        found.extend(imports(instance, &lines, &policies));
    }
    found.extend(text.lines().zip(1..).filter(|(line, _)| line.contains(CLEAR)).map(|(_, number)| {
        Lint {
            line: Some(number),
            rule: Rule::PasswordInClear,
            message:
                "a password in clear (expected <secret:FILE>, with FILE as peering.passwordFile names it)"
                    .to_owned(),
        }
    }));
    found.sort();
    found.dedup();
    found
}

/// `net.ipv4.fib_multipath_hash_policy` of the running kernel.
pub fn hash_policy(value: u8) -> Option<Lint> {
    (value == 0).then(|| Lint {
        line: None,
        rule: Rule::HashPolicy,
        message:
            "net.ipv4.fib_multipath_hash_policy is 0: all flows of one client go to one next-hop (expected 1)"
                .to_owned(),
    })
}

/// `router bgp …`, if the path begins with it.
fn instance(path: &[String]) -> Option<&str> {
    path[0].starts_with("router bgp ").then_some(path[0].as_str())
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn last(line: &Numbered) -> &str {
    line.path.last().map_or("", String::as_str)
}

/// Why an AS number should not be there (IANA's special-purpose registry).
fn reserved(number: u32) -> Option<&'static str> {
    match number {
        0 => Some("reserved (RFC 7607)"),
        23456 => Some("AS_TRANS (RFC 6793)"),
        64496..=64511 | 65536..=65551 => Some("for documentation (RFC 5398)"),
        65535 | u32::MAX => Some("reserved (RFC 7300)"),
        _ => None,
    }
}

fn numbers(lines: &[Numbered]) -> Vec<Lint> {
    let number = |line: &Numbered| match words(last(line)).as_slice() {
        ["router", "bgp", number, ..] | ["neighbor", _, "remote-as" | "local-as", number, ..] => {
            number.parse().ok()
        }
        _ => None,
    };
    let remark = |line: &Numbered| {
        let number: u32 = number(line)?;
        let message = format!("AS {number} is {}", reserved(number)?);
        Some(Lint { line: Some(line.number), rule: Rule::ReservedAsn, message })
    };
    lines.iter().filter_map(remark).collect()
}

fn multipath(lines: &[Numbered]) -> Vec<Lint> {
    let one = |line: &&Numbered| matches!(last(line), "maximum-paths 1" | "maximum-paths ibgp 1");
    let remark = |line: &Numbered| Lint {
        line: Some(line.number),
        rule: Rule::MultipathOne,
        message: "one path only: a VIP goes to one node (expected as many as there are nodes)".to_owned(),
    };
    lines.iter().filter(one).map(remark).collect()
}

fn addresses(lines: &[Numbered]) -> Vec<Lint> {
    let mut taken: BTreeMap<&str, &Numbered> = BTreeMap::new();
    let mut found = Vec::new();
    for line in lines.iter().filter(|line| line.path[0].starts_with("interface ")) {
        let ["ip" | "ipv6", "address", address, ..] = words(last(line))[..] else {
            continue;
        };
        let address = address.split('/').next().unwrap_or(address);
        if let Some(first) = taken.get(address) {
            let message =
                format!("{address} is already the address of {} (line {})", first.path[0], first.number);
            found.push(Lint { line: Some(line.number), rule: Rule::DuplicateAddress, message });
        }
        taken.entry(address).or_insert(line);
    }
    for line in lines.iter().filter(|line| instance(&line.path).is_some()) {
        if let ["neighbor", peer, "remote-as" | "peer-group", ..] = words(last(line))[..]
            && let Some(own) = taken.get(peer)
        {
            let message =
                format!("{peer} is this switch's own address, of {} (line {})", own.path[0], own.number);
            found.push(Lint { line: Some(line.number), rule: Rule::DuplicateAddress, message });
        }
    }
    found
}

/// Filters that let everything through, by name.
struct Policies {
    route_maps: BTreeSet<String>,
    prefix_lists: BTreeSet<String>,
}

impl Policies {
    fn of(lines: &[Numbered]) -> Self {
        let mut matching: BTreeSet<&str> = BTreeSet::new();
        let mut permits: BTreeMap<&str, &str> = BTreeMap::new();
        let mut prefix_lists = BTreeSet::new();
        for line in lines {
            let top = line.path[0].as_str();
            match words(top).as_slice() {
                ["route-map", name, "permit", _] => {
                    permits.insert(top, name);
                    if last(line).starts_with("match ") {
                        matching.insert(top);
                    }
                }
                ["ip" | "ipv6", "prefix-list", name, .., "permit", "any"]
                | ["ip" | "ipv6", "prefix-list", name, .., "permit", "0.0.0.0/0", "le", "32"]
                | ["ip" | "ipv6", "prefix-list", name, .., "permit", "::/0", "le", "128"] => {
                    prefix_lists.insert((*name).to_owned());
                }
                _ => {}
            }
        }
        let open = permits.iter().filter(|(entry, _)| !matching.contains(*entry));
        Self { route_maps: open.map(|(_, name)| (*name).to_owned()).collect(), prefix_lists }
    }
}

/// What is known of one neighbour or peer-group.
#[derive(Default)]
struct Peer<'a> {
    first: usize,
    external: Option<bool>,
    group: Option<&'a str>,
    /// Import filter and its place.
    filters: Vec<(&'a str, &'a str, usize)>,
    is_group: bool,
}

fn imports(instance: &str, lines: &[Numbered], policies: &Policies) -> Vec<Lint> {
    let own = words(instance).get(2).copied().unwrap_or_default();
    let mut peers: BTreeMap<&str, Peer<'_>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.path[0] == instance && line.path.len() > 1) {
        let words = words(last(line));
        let ["neighbor", name, what, ref rest @ ..] = words[..] else { continue };
        let peer = peers.entry(name).or_insert_with(|| Peer { first: line.number, ..Peer::default() });
        match (what, rest) {
            ("remote-as", [asn, ..]) | ("interface", ["remote-as", asn, ..]) => {
                peer.external = Some(*asn == "external" || (*asn != "internal" && *asn != own));
            }
            ("interface", ["peer-group", group, ..]) | ("peer-group", [group, ..]) => {
                peer.group = Some(group);
            }
            ("peer-group", []) => peer.is_group = true,
            ("route-map" | "prefix-list" | "filter-list" | "distribute-list", [filter, "in", ..]) => {
                peer.filters.push((what, filter, line.number));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (name, peer) in &peers {
        for (kind, filter, number) in &peer.filters {
            let open = match *kind {
                "route-map" => policies.route_maps.contains(*filter),
                "prefix-list" => policies.prefix_lists.contains(*filter),
                _ => false,
            };
            if open {
                let message =
                    format!("{kind} {filter} accepts every route of {name} (expected the pools alone)");
                found.push(Lint { line: Some(*number), rule: Rule::AcceptAll, message });
            }
        }
        let group = peer.group.and_then(|group| peers.get(group));
        let external = peer.external.or(group.and_then(|group| group.external)).unwrap_or(false);
        let filtered = !peer.filters.is_empty() || group.is_some_and(|group| !group.filters.is_empty());
        if !peer.is_group && external && !filtered {
            let message = format!(
                "external neighbor {name} has no import policy: FRR takes nothing from it, or everything \
                 (frr defaults datacenter, no bgp ebgp-requires-policy)"
            );
            found.push(Lint { line: Some(peer.first), rule: Rule::PolicylessPeer, message });
        }
    }
    found
}
