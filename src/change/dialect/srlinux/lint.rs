//! What a network engineer would ask about a document: lawful, and probably not meant.

use std::collections::BTreeMap;

use serde_json::Value;

use super::owned::{Kind, bgp_of, group, key, leaf, of_unit, units};
use super::tree::{Leaves, Path, leaves, show, word};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// Where.
    pub path: String,
    /// Which rule.
    pub rule: Rule,
    /// What was found, and what was expected.
    pub message: String,
}

/// The rules. A closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Two nodes peer, and only one of them would get traffic.
    MultipathMissing,
    /// A session with another AS without import or export policy carries nothing.
    PolicyMissing,
    /// A policy that accepts whatever a node announces.
    AcceptsAll,
    /// An AS number that RFC 7300 or RFC 7607 reserves.
    ReservedAsn,
    /// The router-id is an address that other switches have too.
    RouterIdShared,
}

impl Rule {
    /// CamelCase, for issues.
    pub fn name(self) -> &'static str {
        match self {
            Self::MultipathMissing => "MultipathMissing",
            Self::PolicyMissing => "PolicyMissing",
            Self::AcceptsAll => "AcceptsAll",
            Self::ReservedAsn => "ReservedAsn",
            Self::RouterIdShared => "RouterIdShared",
        }
    }
}

/// AS numbers that nobody may use: RFC 7300, RFC 7607, and RFC 6793's stand-in.
fn is_reserved(asn: u64) -> bool {
    matches!(asn, 0 | 23456 | 65535 | 4_294_967_295)
}

/// Findings in a document; none in one that cannot be read.
pub fn lint(text: &str) -> Vec<Lint> {
    let Some(found) = serde_json::from_str(text).ok().and_then(|document: Value| leaves(&document).ok())
    else {
        return Vec::new();
    };
    let mut lints = Vec::new();
    let mut say = |path: &Path, rule: Rule, message: String| {
        lints.push(Lint { path: show(path), rule, message });
    };
    for (bgp, own) in autonomous_systems(&found) {
        if is_reserved(own) {
            say(&bgp, Rule::ReservedAsn, format!("autonomous-system {own} is reserved (RFC 7300)"));
        }
        multipath(&found, &bgp, &mut say);
        shared_router_id(&found, &bgp, &mut say);
    }
    for (path, kind) in units(&found) {
        match kind {
            Kind::Group => group_policies(&found, &path, &mut say),
            Kind::Policy => accepts_all(&found, &path, &mut say),
            _ => {}
        }
    }
    lints
}

fn autonomous_systems(found: &Leaves) -> BTreeMap<Path, u64> {
    let of = |path: &Path| {
        Some((bgp_of(path)?.to_vec(), leaf(found, bgp_of(path)?, "autonomous-system")?.as_u64()?))
    };
    found.keys().filter_map(of).collect()
}

fn multipath(found: &Leaves, bgp: &Path, say: &mut impl FnMut(&Path, Rule, String)) {
    let units = units(found);
    let here = |kind: Kind| {
        units.iter().filter(move |(path, of)| **of == kind && bgp_of(path) == Some(bgp.as_slice())).count()
    };
    if here(Kind::Neighbor) < 2 && here(Kind::Range) == 0 {
        return;
    }
    let paths = of_unit(found, bgp).filter(|(path, _)| {
        path.last().is_some_and(|step| step.name == "maximum-paths" || step.name == "max-paths-level-1")
    });
    let most = paths.filter_map(|(_, value)| value.as_u64()).max().unwrap_or(1);
    if most < 2 {
        say(
            bgp,
            Rule::MultipathMissing,
            format!("several nodes peer here and multipath is {most}: one of them gets all traffic"),
        );
    }
}

/// An address that several switches have: the anycast gateway of a subnet.
fn shared_router_id(found: &Leaves, bgp: &Path, say: &mut impl FnMut(&Path, Rule, String)) {
    let Some(id) = leaf(found, bgp, "router-id").map(word) else { return };
    let anycast = found.iter().find(|(path, value)| {
        path.last().is_some_and(|step| step.name == "anycast-gw")
            && **value == Value::Bool(true)
            && path
                .iter()
                .flat_map(|step| &step.keys)
                .any(|(name, prefix)| name == "ip-prefix" && prefix.split('/').next() == Some(id.as_str()))
    });
    if anycast.is_some() {
        say(
            bgp,
            Rule::RouterIdShared,
            format!("router-id {id} is the address of an anycast gateway, so other switches have it too"),
        );
    }
}

fn group_policies(found: &Leaves, path: &Path, say: &mut impl FnMut(&Path, Rule, String)) {
    let own = bgp_of(path).and_then(|bgp| leaf(found, bgp, "autonomous-system")).and_then(Value::as_u64);
    let peer = leaf(found, path, "peer-as").and_then(Value::as_u64);
    if let Some(peer) = peer.filter(|peer| is_reserved(*peer)) {
        say(path, Rule::ReservedAsn, format!("peer-as {peer} is reserved (RFC 7300)"));
    }
    let of_group = |unit: &Path| group(found, unit) == key(path);
    let used = units(found).keys().any(of_group);
    // Without a word about the peers' AS they may be in another one.
    let external = peer.is_none_or(|peer| Some(peer) != own);
    let lacks: Vec<&str> = ["import-policy", "export-policy"]
        .into_iter()
        .filter(|name| leaf(found, path, name).is_none())
        .collect();
    if used && external && !lacks.is_empty() {
        let message =
            format!("has no {}: a session with another AS carries nothing that way", lacks.join(" and no "));
        say(path, Rule::PolicyMissing, message);
    }
}

/// Policies that groups import by, and that let everything in.
fn accepts_all(found: &Leaves, path: &Path, say: &mut impl FnMut(&Path, Rule, String)) {
    let name = key(path).unwrap_or_default();
    let imports = |(leaf, value): (&Path, &Value)| {
        leaf.last().is_some_and(|step| step.name == "import-policy")
            && match value {
                Value::Array(names) => names.iter().any(|one| one.as_str() == Some(name)),
                one => one.as_str() == Some(name),
            }
    };
    if !found.iter().any(imports) {
        return;
    }
    let accepts: Vec<&Path> = of_unit(found, path)
        .filter(|(leaf, value)| {
            leaf.last().is_some_and(|step| step.name == "policy-result") && value.as_str() == Some("accept")
        })
        .map(|(leaf, _)| leaf)
        .collect();
    let open = accepts.iter().any(|accept| {
        let statement = &accept[..accept.len() - 2];
        let matches = |leaf: &Path| {
            leaf.starts_with(statement) && leaf.get(statement.len()).is_some_and(|step| step.name == "match")
        };
        !found.keys().any(matches)
    });
    if open {
        let message =
            "accepts whatever a node announces (expected a prefix set of the pools, and reject for the rest)";
        say(path, Rule::AcceptsAll, message.to_owned());
    }
}
