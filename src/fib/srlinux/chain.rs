//! The chain from a route to what forwards, judged. Pure.
//!
//! Both forms are read: up to 24.10 a next-hop's resolving route stands below it, from 25.3 below `indirect`. Every leaf is
//! optional; one that is absent says nothing, and nothing is concluded from it. A fault needs a word of the switch.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::health::control::Programming;
use crate::net::{Family, Hop, HopState, NextHop, PROTOCOL_BGP, Prefix, Route, RouteKind, Shared};

/// As the model names a family.
pub(crate) fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4-unicast",
        Family::V6 => "ipv6-unicast",
    }
}

/// The path of all routes to `prefix`, which may be `*`.
pub(crate) fn route_path(instance: &str, family: Family, prefix: &str) -> String {
    let key = match family {
        Family::V4 => "ipv4-prefix",
        Family::V6 => "ipv6-prefix",
    };
    format!(
        "/network-instance[name={instance}]/route-table/{}/route[{key}={prefix}][route-type=*][route-owner=*][id=*]\
         [origin-network-instance=*]",
        word(family)
    )
}

/// What is asked about `prefixes`: each route, then groups and next-hops.
pub(crate) fn paths(instance: &str, prefixes: &[Prefix]) -> Vec<String> {
    let routes = prefixes.iter().map(|prefix| route_path(instance, prefix.family(), &prefix.to_string()));
    routes.chain(group_paths(instance)).collect()
}

/// The groups and next-hops of an instance.
pub(crate) fn group_paths(instance: &str) -> [String; 2] {
    let table = format!("/network-instance[name={instance}]/route-table");
    [format!("{table}/next-hop-group[index=*]"), format!("{table}/next-hop[index=*]")]
}

/// One answer: of whichever path, an absent one is `{}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    #[serde(alias = "srl_nokia-ip-route-tables:route")]
    route: Vec<RouteEntry>,
    #[serde(rename = "next-hop-group", alias = "srl_nokia-ip-route-tables:next-hop-group")]
    groups: Vec<Group>,
    #[serde(rename = "next-hop", alias = "srl_nokia-ip-route-tables:next-hop")]
    hops: Vec<Leaf>,
}

/// One entry of a prefix. Several owners may have one, at most one is active.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct RouteEntry {
    #[serde(alias = "ipv6-prefix", rename = "ipv4-prefix")]
    pub(crate) prefix: Option<String>,
    route_type: Option<String>,
    pub(crate) route_owner: Option<String>,
    pub(crate) active: Option<bool>,
    preference: Option<u64>,
    #[serde(deserialize_with = "number")]
    next_hop_group: Option<String>,
    next_hop_group_network_instance: Option<String>,
    resilient_hash: Option<bool>,
    fib_programming: Option<Written>,
}

/// How far the chip has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Written {
    suppressed: Option<bool>,
    last_successful_operation_type: Option<String>,
    pending_operation_type: Option<String>,
    last_failed_operation_type: Option<String>,
    /// From 25.3.
    last_failed_locations: Vec<Value>,
    /// Until 24.10.
    last_failed_complexes: Vec<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Group {
    #[serde(deserialize_with = "number")]
    index: Option<String>,
    fib_programming: Option<Written>,
    next_hop: Vec<Member>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Member {
    #[serde(deserialize_with = "number")]
    next_hop: Option<String>,
    /// An enumeration of `true`, `false` and `not-applicable`.
    resolved: Option<Value>,
    resource_allocation_failed: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Leaf {
    #[serde(deserialize_with = "number")]
    index: Option<String>,
    r#type: Option<String>,
    ip_address: Option<String>,
    subinterface: Option<String>,
    resource_allocation_failed: Option<bool>,
    indirect: Option<Indirect>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Indirect {
    resolved: Option<bool>,
    usable: Option<bool>,
}

/// A 64-bit number, which RFC 7951 writes as a string; a switch that writes a number means the same.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Option::<Value>::deserialize(from)? {
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    })
}

/// Without the module in front.
fn bare(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, rest)| rest)
}

impl Written {
    /// None, and absent, mean that there is no such operation.
    fn is(operation: Option<&String>) -> Option<&str> {
        operation.map(String::as_str).filter(|operation| *operation != "none")
    }

    fn failed(&self) -> Option<Programming> {
        let operation = Self::is(self.last_failed_operation_type.as_ref())?.to_owned();
        let places = self.last_failed_locations.iter().chain(&self.last_failed_complexes);
        let places: Vec<String> =
            places.map(|place| place.as_str().map_or_else(|| place.to_string(), str::to_owned)).collect();
        let older =
            Self::is(self.last_successful_operation_type.as_ref()).is_some_and(|last| last != "delete");
        Some(if operation == "modify" && older {
            Programming::Older { places }
        } else {
            Programming::Failed { operation, places }
        })
    }

    /// What keeps it from being in the chip as it is.
    fn trouble(&self) -> Option<Programming> {
        if self.suppressed == Some(true) {
            return Some(Programming::Suppressed);
        }
        if let Some(operation) = Self::is(self.pending_operation_type.as_ref()) {
            return Some(Programming::Pending { operation: operation.to_owned() });
        }
        self.failed().or_else(|| {
            let last = self.last_successful_operation_type.as_deref()?;
            matches!(last, "none" | "delete").then(|| Programming::Pending { operation: "add".to_owned() })
        })
    }
}

impl RouteEntry {
    /// `bgp`, `bgp-evpn`, `local` …
    pub(crate) fn kind(&self) -> &str {
        bare(self.route_type.as_deref().unwrap_or_default())
    }

    pub(crate) fn describe(&self) -> String {
        let preference =
            self.preference.map(|preference| format!(", preference {preference}")).unwrap_or_default();
        format!("{}{preference}", self.kind())
    }
}

/// Does a prefix forward?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Forwards {
    /// By this route.
    Yes(Route),
    /// Not by a route of its own.
    No,
}

/// Routes with all that they lead to.
#[derive(Debug)]
pub(crate) struct Chains {
    instance: String,
    routes: HashMap<Prefix, Vec<RouteEntry>>,
    /// By instance and number.
    groups: HashMap<(String, String), Group>,
    hops: HashMap<(String, String), Leaf>,
}

/// Lists of hops that several routes have in common.
#[derive(Debug, Default)]
pub(crate) struct Sharing(HashMap<(String, String), Shared<Vec<Hop>>>);

impl Chains {
    /// From the answers to [`paths`].
    pub(crate) fn new(instance: &str, prefixes: &[Prefix], answers: Vec<Answer>) -> Result<Self, String> {
        if answers.len() != prefixes.len() + 2 {
            return Err(format!("{} answers about {} prefixes", answers.len(), prefixes.len()));
        }
        let mut chains = Self {
            instance: instance.to_owned(),
            routes: HashMap::with_capacity(prefixes.len()),
            groups: HashMap::new(),
            hops: HashMap::new(),
        };
        let mut answers = answers.into_iter();
        for prefix in prefixes {
            let Answer { route, .. } = answers.next().unwrap_or_default();
            // An answer may hold more than was asked for.
            let same = |entry: &RouteEntry| {
                entry
                    .prefix
                    .as_deref()
                    .is_none_or(|text| text.parse::<Prefix>().is_ok_and(|found| found == *prefix))
            };
            chains.routes.insert(*prefix, route.into_iter().filter(same).collect());
        }
        chains.add(&[instance.to_owned()], answers.as_slice());
        Ok(chains)
    }

    /// Takes in the answers to [`group_paths`] of `instances`.
    pub(crate) fn add(&mut self, instances: &[String], answers: &[Answer]) {
        for (instance, pair) in instances.iter().zip(answers.chunks(2)) {
            for Answer { groups, hops, .. } in pair {
                for group in groups {
                    if let Some(index) = &group.index {
                        self.groups.insert((instance.clone(), index.clone()), group.clone());
                    }
                }
                for hop in hops {
                    if let Some(index) = &hop.index {
                        self.hops.insert((instance.clone(), index.clone()), hop.clone());
                    }
                }
            }
        }
    }

    fn home<'a>(&'a self, route: &'a RouteEntry) -> &'a str {
        route.next_hop_group_network_instance.as_deref().unwrap_or(&self.instance)
    }

    /// Other instances whose groups the routes use.
    pub(crate) fn elsewhere(&self) -> Vec<String> {
        let all: BTreeSet<&str> = self.active().map(|route| self.home(route)).collect();
        all.into_iter().filter(|home| *home != self.instance).map(str::to_owned).collect()
    }

    fn active(&self) -> impl Iterator<Item = &RouteEntry> {
        self.routes.values().flatten().filter(|route| route.active == Some(true))
    }

    fn group(&self, route: &RouteEntry) -> Option<&Group> {
        let number = route.next_hop_group.as_ref()?;
        self.groups.get(&(self.home(route).to_owned(), number.clone()))
    }

    /// Every active route's group is there, and every next-hop of it: else something was changed between two answers.
    pub(crate) fn is_whole(&self) -> bool {
        self.active().all(|route| {
            let Some(number) = &route.next_hop_group else { return true };
            let Some(group) = self.group(route) else { return number == "0" };
            group
                .next_hop
                .iter()
                .filter_map(|member| member.next_hop.as_ref())
                .all(|hop| self.hops.contains_key(&(self.home(route).to_owned(), hop.clone())))
        })
    }

    /// All entries of a prefix.
    pub(crate) fn entries(&self, prefix: Prefix) -> &[RouteEntry] {
        self.routes.get(&prefix).map(Vec::as_slice).unwrap_or_default()
    }

    /// The entry that was chosen.
    pub(crate) fn chosen(&self, prefix: Prefix) -> Option<&RouteEntry> {
        self.entries(prefix).iter().find(|route| route.active == Some(true))
    }

    /// The number of the group by which a prefix is hashed resiliently.
    pub(crate) fn resilient_group(&self, prefix: Prefix) -> Option<String> {
        let route = self.chosen(prefix).filter(|route| route.resilient_hash == Some(true))?;
        route.next_hop_group.clone()
    }

    /// What keeps a prefix as a whole from forwarding by what it leads to now.
    pub(crate) fn trouble(&self, prefix: Prefix) -> Option<Programming> {
        let route = self.chosen(prefix)?;
        let of_route = route.fib_programming.as_ref().and_then(Written::trouble);
        let of_group = || self.group(route)?.fib_programming.as_ref()?.trouble();
        of_route.or_else(of_group)
    }

    /// What keeps single next-hops of a prefix from forwarding.
    pub(crate) fn members(&self, prefix: Prefix) -> Vec<(NextHop, Option<Programming>)> {
        let Some(route) = self.chosen(prefix) else { return Vec::new() };
        self.members_of(route).into_iter().map(|(hop, _, trouble)| (hop, trouble)).collect()
    }

    fn members_of(&self, route: &RouteEntry) -> Vec<(NextHop, String, Option<Programming>)> {
        let home = self.home(route);
        let Some(group) = self.group(route) else { return Vec::new() };
        let mut members = Vec::new();
        for member in &group.next_hop {
            let Some(number) = &member.next_hop else { continue };
            let Some(leaf) = self.hops.get(&(home.to_owned(), number.clone())) else { continue };
            let address = leaf.ip_address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
            let address = address.map(canonical);
            let kind = bare(leaf.r#type.as_deref().unwrap_or_default()).to_owned();
            let name = NextHop { address, device: leaf.subinterface.clone() };
            members.push((name, kind, trouble_of(member, leaf)));
        }
        members
    }

    /// What a prefix does now.
    pub(crate) fn forwards(&self, prefix: Prefix, sharing: &mut Sharing) -> Forwards {
        let Some(route) = self.chosen(prefix) else { return Forwards::No };
        let in_chip = match self.trouble(prefix) {
            None => HopState::Live,
            // Something forwards, and nobody can tell what: certainly not what the table says.
            Some(Programming::Older { .. }) => HopState::Dead,
            Some(_) => return Forwards::No,
        };
        let members = self.members_of(route);
        let kind = kind_of(&members);
        let list = || -> Shared<Vec<Hop>> {
            let hops = members.iter().map(|(next_hop, _, trouble)| Hop {
                next_hop: next_hop.clone(),
                state: if trouble.is_none() { in_chip } else { HopState::Dead },
            });
            hops.collect::<Vec<_>>().into()
        };
        let hops = match (&route.next_hop_group, kind, in_chip) {
            (_, kind, _) if kind != RouteKind::Unicast => Shared::default(),
            (Some(number), _, HopState::Live) => {
                let key = (self.home(route).to_owned(), number.clone());
                sharing.0.entry(key).or_insert_with(list).clone()
            }
            _ => list(),
        };
        Forwards::Yes(Route {
            prefix,
            kind,
            protocol: protocol(route.kind()),
            table: 0,
            metric: u32::try_from(route.preference.unwrap_or(0)).unwrap_or(u32::MAX),
            group: None,
            hops,
        })
    }
}

/// BGP's routes, its own and those of the fabric, are told from the others.
pub(crate) fn protocol(kind: &str) -> u8 {
    if kind.starts_with("bgp") { PROTOCOL_BGP } else { 0 }
}

/// An IPv4 address that is written as IPv6 is the IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn kind_of(members: &[(NextHop, String, Option<Programming>)]) -> RouteKind {
    let all = |kinds: &[&str]| {
        !members.is_empty() && members.iter().all(|(_, kind, _)| kinds.contains(&kind.as_str()))
    };
    if all(&["extract"]) {
        RouteKind::Local
    } else if all(&["discard"]) {
        RouteKind::Blackhole
    } else if all(&["reject"]) {
        RouteKind::Unreachable
    } else {
        RouteKind::Unicast
    }
}

fn trouble_of(member: &Member, leaf: &Leaf) -> Option<Programming> {
    if member.resource_allocation_failed == Some(true) || leaf.resource_allocation_failed == Some(true) {
        return Some(Programming::NoResource);
    }
    let said_no = |value: &Value| value.as_str() == Some("false") || value.as_bool() == Some(false);
    let indirect = leaf.indirect.as_ref();
    let unresolved = member.resolved.as_ref().is_some_and(said_no)
        || indirect
            .is_some_and(|indirect| indirect.resolved == Some(false) || indirect.usable == Some(false));
    unresolved.then_some(Programming::Unresolved)
}

/// Members of a group whose state on a line card is `up-unused`: of several cards the one with the most.
pub(crate) fn unused_members(answer: &Value) -> u16 {
    fn count(value: &Value) -> u16 {
        match value {
            Value::Object(members) => {
                let here = members.get("next-hop").and_then(Value::as_array).map(|hops| {
                    let unused =
                        |hop: &&Value| hop.get("oper-state").and_then(Value::as_str) == Some("up-unused");
                    u16::try_from(hops.iter().filter(unused).count()).unwrap_or(u16::MAX)
                });
                here.unwrap_or_else(|| members.values().map(count).max().unwrap_or(0))
            }
            Value::Array(items) => items.iter().map(count).max().unwrap_or(0),
            _ => 0,
        }
    }
    count(answer)
}
