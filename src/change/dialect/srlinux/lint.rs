//! What a network engineer would ask about a document: lawful, and probably not meant.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::owned::{Kind, bgp_of, group, key, leaf, of_unit, units};
use super::tree::{Leaves, Node, Path, Step, leaves, show, word};

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
    let mut say = |path: &[Node], rule: Rule, message: String| {
        lints.push(Lint { path: show(path), rule, message });
    };
    let units = units(&found);
    let groups = groups(&units);
    for (bgp, own) in autonomous_systems(&found) {
        if is_reserved(own) {
            say(&bgp, Rule::ReservedAsn, format!("autonomous-system {own} is reserved (RFC 7300)"));
        }
        multipath(&found, &units, &groups, &bgp, &mut say);
        shared_router_id(&found, &bgp, &mut say);
    }
    sessions(&found, &units, &groups, &mut say);
    for (path, _) in units.iter().filter(|(_, kind)| **kind == Kind::Policy) {
        accepts_all(&found, path, &mut say);
    }
    lints
}

fn autonomous_systems(found: &Leaves) -> BTreeMap<Path, u64> {
    let of = |path: &Path| {
        Some((bgp_of(path)?.to_vec(), leaf(found, bgp_of(path)?, "autonomous-system")?.as_u64()?))
    };
    found.keys().filter_map(of).collect()
}

/// The groups, by the BGP that they lie in and their names.
type Groups<'a> = BTreeMap<(&'a [Node], &'a str), &'a Path>;

fn groups(units: &BTreeMap<Path, Kind>) -> Groups<'_> {
    let groups = units.iter().filter(|(_, kind)| **kind == Kind::Group);
    groups.filter_map(|(path, _)| Some(((bgp_of(path)?, key(path)?), path))).collect()
}

/// What a session inherits from and itself, outermost first: BGP, its group, the member.
fn levels<'a>(found: &Leaves, groups: &Groups<'a>, member: &'a Path) -> Vec<&'a [Node]> {
    let bgp = bgp_of(member);
    let around = bgp.zip(group(found, member)).and_then(|of| groups.get(&of));
    bgp.into_iter().chain(around.map(|group| group.as_slice())).chain([member.as_slice()]).collect()
}

fn peer_as<'a>(found: &'a Leaves, levels: &[&[Node]]) -> Option<&'a Value> {
    levels.iter().rev().find_map(|level| leaf(found, level, "peer-as"))
}

fn multipath(
    found: &Leaves,
    units: &BTreeMap<Path, Kind>,
    groups: &Groups<'_>,
    bgp: &Path,
    say: &mut impl FnMut(&[Node], Rule, String),
) {
    let own = leaf(found, bgp, "autonomous-system");
    let (mut internal, mut external, mut all) = (0, 0, 0);
    for (path, kind) in units.iter().filter(|(path, _)| bgp_of(path) == Some(bgp.as_slice())) {
        match kind {
            // Of many, and of an AS that its own list says.
            Kind::Range => all += 2,
            Kind::Neighbor => {
                all += 1;
                match peer_as(found, &levels(found, groups, path)) {
                    Some(peer) if Some(peer) == own => internal += 1,
                    Some(_) => external += 1,
                    None => {}
                }
            }
            Kind::Policy | Kind::Resilient | Kind::Group | Kind::Interface => {}
        }
    }
    let most = |of: &[&str]| {
        let counts = of_unit(found, bgp).filter(|(path, _)| match path.as_slice() {
            [.., around, last] if last.name == "maximum-paths" => of.contains(&&*around.name),
            [.., last] => last.name == "max-paths-level-1",
            [] => false,
        });
        counts.filter_map(|(_, value)| value.as_u64()).max().unwrap_or(1)
    };
    let sorts = [
        (internal, " by iBGP", most(&["multipath", "ibgp"])),
        (external, " by eBGP", most(&["multipath", "ebgp"])),
        (all, "", most(&["multipath", "ibgp", "ebgp"])),
    ];
    if let Some((_, how, most)) = sorts.into_iter().find(|(sessions, _, most)| *sessions >= 2 && *most < 2) {
        let message =
            format!("several nodes peer here{how} and multipath is {most}: one of them gets all traffic");
        say(bgp, Rule::MultipathMissing, message);
    }
}

/// An address that several switches have: the anycast gateway of a subnet.
fn shared_router_id(found: &Leaves, bgp: &Path, say: &mut impl FnMut(&[Node], Rule, String)) {
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

/// The peers' AS, and whether anything can come in and go out: of a group, and of members that differ from theirs.
fn sessions(
    found: &Leaves,
    units: &BTreeMap<Path, Kind>,
    groups: &Groups<'_>,
    say: &mut impl FnMut(&[Node], Rule, String),
) {
    let mut asked: BTreeSet<&[Node]> = BTreeSet::new();
    for (path, kind) in units {
        match kind {
            Kind::Group => reserved_peer(found, path, say),
            Kind::Neighbor | Kind::Range | Kind::Interface => {
                reserved_peer(found, path, say);
                let levels = levels(found, groups, path);
                let has_own = SAID_ALONE.iter().any(|name| leaf(found, path, name).is_some());
                let at = match levels.as_slice() {
                    [_, group, _] if !has_own => group,
                    _ => path.as_slice(),
                };
                if asked.insert(at) {
                    policies(found, at, &levels, say);
                }
            }
            Kind::Policy | Kind::Resilient => {}
        }
    }
}

/// What makes a member another session than its group says.
const SAID_ALONE: [&str; 3] = ["peer-as", "import-policy", "export-policy"];

fn reserved_peer(found: &Leaves, path: &Path, say: &mut impl FnMut(&[Node], Rule, String)) {
    let peer = leaf(found, path, "peer-as").and_then(Value::as_u64);
    if let Some(peer) = peer.filter(|peer| is_reserved(*peer)) {
        say(path, Rule::ReservedAsn, format!("peer-as {peer} is reserved (RFC 7300)"));
    }
}

/// `levels` are what the session inherits from, outermost first.
fn policies(found: &Leaves, at: &[Node], levels: &[&[Node]], say: &mut impl FnMut(&[Node], Rule, String)) {
    let own = levels.first().and_then(|bgp| leaf(found, bgp, "autonomous-system"));
    let peer = peer_as(found, levels);
    // Without a word about the peers' AS they may be in another one.
    if peer.is_some() && peer == own {
        return;
    }
    let takes_all = |name: &str| {
        let default = levels.first().and_then(|bgp| {
            let mut path = bgp.to_vec();
            path.push(Step::plain("ebgp-default-policy").into());
            leaf(found, &path, name)
        });
        default == Some(&Value::Bool(false))
    };
    let lacks = |name: &str| !levels.iter().any(|level| has_policy(found, level, name));
    let mut missing = Vec::new();
    match (lacks("import-policy"), takes_all("import-reject-all")) {
        (true, true) => {
            let message = "has no import-policy, and ebgp-default-policy takes whatever a node announces";
            say(at, Rule::AcceptsAll, message.to_owned());
        }
        (true, false) => missing.push("import-policy"),
        (false, _) => {}
    }
    if lacks("export-policy") && !takes_all("export-reject-all") {
        missing.push("export-policy");
    }
    if !missing.is_empty() {
        let missing = missing.join(" and no ");
        let message = format!("has no {missing}: a session with another AS carries nothing that way");
        say(at, Rule::PolicyMissing, message);
    }
}

/// Of all families, or of one.
fn has_policy(found: &Leaves, level: &[Node], name: &str) -> bool {
    let mut families = level.to_vec();
    families.push(Step::plain("afi-safi").into());
    let of_family = |path: &&Path| path.starts_with(level) && path[level.len()].name == "afi-safi";
    leaf(found, level, name).is_some()
        || found
            .range(families..)
            .map(|(path, _)| path)
            .take_while(of_family)
            .any(|path| matches!(&path[level.len() + 1..], [last] if last.name == name))
}

/// Policies that groups import by, and that let everything in.
fn accepts_all(found: &Leaves, path: &Path, say: &mut impl FnMut(&[Node], Rule, String)) {
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
        let is_match =
            |(leaf, _): &(&Path, &Value)| leaf.get(statement.len()).is_some_and(|step| step.name == "match");
        of_unit(found, statement).filter(is_match).all(|(leaf, value)| {
            leaf.last().is_some_and(|step| step.name == "prefix-set") && is_everything(found, &word(value))
        })
    });
    if open {
        let message =
            "accepts whatever a node announces (expected a prefix set of the pools, and reject for the rest)";
        say(path, Rule::AcceptsAll, message.to_owned());
    }
}

/// A prefix set with the default route and what is inside it.
fn is_everything(found: &Leaves, set: &str) -> bool {
    let entry = |path: &Path| match path.as_slice() {
        [_, of, entry, ..] if of.name == "prefix-set" && of.keys.iter().any(|(_, name)| name == set) => {
            let says = |word: &str| entry.keys.iter().any(|(_, value)| value == word);
            (says("0.0.0.0/0") || says("::/0")) && !says("exact")
        }
        _ => false,
    };
    found.keys().any(entry)
}
