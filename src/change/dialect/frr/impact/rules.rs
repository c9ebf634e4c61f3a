//! The rule for each line: a closed table, measured on FRR 8.4 and 10.3. `tests/predict.rs` holds it against both, line by
//! line, coming and going; where it says that a rule is cautious, a session that is named may stay up. What stands in no
//! rule is unknown, and of the worst class: a literal text may hold anything.

use crate::intent::platform::Release;

/// The last release that was measured to leave sessions alone where 10.3 resets them; for those between, and for one that
/// is not known, the later rule holds.
const LENIENT: Release = Release { major: 8, minor: 4 };

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// It is sent.
    Written,
    /// It is taken away.
    Removed,
}

/// What a line does that is about something which was there before and stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect<'a> {
    /// Routes are judged again, or nothing happens before the next session.
    Quiet,
    /// Prefixes are told, or no longer; the one that it names, if it names one.
    Origin(Option<&'a str>),
    /// A way to whatever lies in the prefix.
    Way(&'a str),
    /// The sessions of the neighbour or group that the line names.
    Session,
    /// All sessions of the instance; of all instances, if it stands in none.
    Every,
    /// No rule knows it.
    Unknown,
}

/// The rule for a line, read without its `no`.
pub(super) fn effect(path: &[String], edit: Edit, release: Option<Release>) -> Effect<'_> {
    let line = path[path.len() - 1].as_str();
    let line = line.strip_prefix("no ").unwrap_or(line);
    let words: Vec<&str> = line.split(' ').collect();
    let top = path[0].as_str();
    let in_family =
        |family: &str| path[1].strip_prefix("address-family ").is_some_and(|f| f.starts_with(family));
    match path.len() {
        1 => of_top(line, &words),
        _ if top.starts_with("route-map ") => Effect::Quiet,
        _ if top == "bfd" && path[1].starts_with("profile ") && is_any(line, OF_PROFILE) => Effect::Quiet,
        _ if top.starts_with("interface ") && words[0] == "description" => Effect::Quiet,
        2 if top.starts_with("router bgp ") => match words.as_slice() {
            ["neighbor", _, rest @ ..] => of_neighbor(rest, edit, release),
            _ => of_instance(line, release),
        },
        3 if top.starts_with("router bgp ") && (in_family("ipv4 ") || in_family("ipv6 ")) => {
            match words.as_slice() {
                ["neighbor", _, rest @ ..] => of_family_neighbor(rest, edit),
                ["network" | "aggregate-address", prefix, ..] => Effect::Origin(Some(prefix)),
                ["redistribute", ..] => Effect::Origin(None),
                _ if is_any(line, OF_FAMILY) => Effect::Quiet,
                _ => Effect::Unknown,
            }
        }
        _ => Effect::Unknown,
    }
}

/// `line` begins with one of these, word by word.
fn is_any(line: &str, all: &[&str]) -> bool {
    all.iter()
        .any(|words| line.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')))
}

/// Lines outside of blocks that change routes at most.
const OF_TOP: &[&str] = &[
    "ip prefix-list",
    "ipv6 prefix-list",
    "access-list",
    "ip access-list",
    "ipv6 access-list",
    "bgp community-list",
    "bgp large-community-list",
    "bgp extcommunity-list",
    "bgp as-path access-list",
    "route-map",
    "bgp route-map",
    "zebra route-map",
    "zebra nexthop proto only",
    "zebra nexthop-group resilience",
    // Blocks themselves, without a line of theirs.
    "bfd",
    "interface",
];

fn of_top<'a>(line: &str, words: &[&'a str]) -> Effect<'a> {
    match words {
        ["ip" | "ipv6", "route", prefix, ..] => Effect::Way(prefix),
        // Cautious: where an instance has one of its own, nothing happens.
        ["router-id", ..] | ["ip" | "ipv6", "router-id", ..] => Effect::Every,
        _ if is_any(line, OF_TOP) => Effect::Quiet,
        _ => Effect::Unknown,
    }
}

/// A profile, and its timers: both sides agree on new ones without a word lost (RFC 5880 §6.8.3).
const OF_PROFILE: &[&str] =
    &["profile", "detect-multiplier", "transmit-interval", "receive-interval", "echo-interval"];

/// Lines of an instance that leave its sessions alone.
const OF_INSTANCE: &[&str] = &[
    "bgp bestpath",
    "bgp deterministic-med",
    "bgp always-compare-med",
    "bgp log-neighbor-changes",
    "bgp default local-preference",
    "bgp default show-hostname",
    "bgp default show-nexthop-hostname",
    "bgp network import-check",
    "bgp listen limit",
    "bgp ebgp-requires-policy",
    "bgp graceful-shutdown",
    "bgp suppress-duplicates",
    "timers bgp",
];

/// Cautious: a router-id that equals the one that FRR had chosen resets nothing, and a cluster-id no external neighbour.
const OF_EVERYBODY: &[&str] = &["bgp router-id", "bgp cluster-id", "bgp confederation", "bgp shutdown"];

/// Lines of a family that change routes at most.
const OF_FAMILY: &[&str] = &["maximum-paths", "distance", "table-map"];

fn of_instance(line: &str, release: Option<Release>) -> Effect<'static> {
    if is_any(line, OF_INSTANCE) {
        Effect::Quiet
    } else if is_any(line, OF_EVERYBODY) {
        Effect::Every
    } else if is_any(line, &["bgp graceful-restart", "bgp graceful-restart-disable"]) {
        // Cautious: its times alone reset nothing in 10.3; a later release was seen to.
        restarting(release, Effect::Every)
    } else {
        Effect::Unknown
    }
}

/// 8.4 takes graceful restart up with the next session, 10.3 makes a new one for it.
fn restarting(release: Option<Release>, effect: Effect<'static>) -> Effect<'static> {
    if release.is_some_and(|release| release <= LENIENT) { Effect::Quiet } else { effect }
}

fn of_neighbor(rest: &[&str], edit: Edit, release: Option<Release>) -> Effect<'static> {
    match rest {
        ["description" | "timers" | "advertisement-interval", ..] | ["bfd", "profile", ..] => Effect::Quiet,
        ["bfd", ..] if edit == Edit::Written => Effect::Quiet,
        ["graceful-restart" | "graceful-restart-helper" | "graceful-restart-disable"] => {
            restarting(release, Effect::Session)
        }
        // Cautious: where no BFD session was up, its end resets nothing; 10.3 resets nothing for `capability dynamic`; where
        // a member has a value of its own, its group's changes nothing for it.
        [
            "remote-as"
            | "peer-group"
            | "interface"
            | "bfd"
            | "password"
            | "ebgp-multihop"
            | "ttl-security"
            | "update-source"
            | "local-as"
            | "shutdown"
            | "passive"
            | "capability"
            | "disable-connected-check"
            | "extended-optional-parameters"
            | "port",
            ..,
        ] => Effect::Session,
        _ => Effect::Unknown,
    }
}

fn of_family_neighbor(rest: &[&str], edit: Edit) -> Effect<'static> {
    match rest {
        // Cautious: a session ends only if it has brought more already.
        ["maximum-prefix", _, rest @ ..] if edit == Edit::Written && !rest.contains(&"warning-only") => {
            Effect::Session
        }
        [
            "route-map"
            | "prefix-list"
            | "filter-list"
            | "distribute-list"
            | "unsuppress-map"
            | "maximum-prefix"
            | "next-hop-self"
            | "send-community"
            | "soft-reconfiguration"
            | "allowas-in"
            | "weight"
            | "as-override"
            | "remove-private-AS"
            | "default-originate"
            | "attribute-unchanged",
            ..,
        ] => Effect::Quiet,
        [
            "activate"
            | "route-reflector-client"
            | "route-server-client"
            | "addpath-tx-all-paths"
            | "addpath-tx-bestpath-per-AS"
            | "disable-addpath-rx"
            | "capability",
            ..,
        ] => Effect::Session,
        _ => Effect::Unknown,
    }
}
