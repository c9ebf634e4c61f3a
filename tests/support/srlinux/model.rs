//! From the accepted configuration and what is announced to state: sessions, the BGP RIB, the route table, the line card.

#![allow(clippy::needless_pass_by_value, clippy::too_many_lines, reason = "tables are written in one piece")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::{Switch, stamp};

/// A node that speaks BGP.
#[derive(Debug, Clone)]
pub struct Speaker {
    pub address: String,
    pub asn: u64,
    pub announces: Vec<String>,
    pub up: bool,
    /// How often its session came up.
    pub transitions: u64,
    /// Since when its session is up.
    pub since: SystemTime,
}

impl Speaker {
    pub fn new(address: &str, asn: u64, announces: &[&str]) -> Self {
        let announces = announces.iter().map(|prefix| (*prefix).to_owned()).collect();
        Self {
            address: address.to_owned(),
            asn,
            announces,
            up: true,
            transitions: 1,
            since: SystemTime::now() - Duration::from_secs(60),
        }
    }
}

/// A route that another leaf tells by EVPN.
#[derive(Debug, Clone)]
pub struct Evpn {
    pub prefix: String,
    pub vtep: String,
}

/// What is wrong with a route or a member of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Pending,
    AddFailed,
    ModifyFailed,
    Suppressed,
    /// In BGP, and by policy never in the table.
    FibDisabled,
    Unresolved(String),
    NoResource(String),
    NotResilient,
}

/// The world around the switch.
#[derive(Debug, Clone, Default)]
pub struct Network {
    pub speakers: Vec<Speaker>,
    pub evpn: Vec<Evpn>,
    pub faults: BTreeMap<String, Fault>,
    /// Static routes that discard.
    pub discards: Vec<String>,
    /// Routes of the rest of the fabric, which nobody here asks about.
    pub background: usize,
}

#[derive(Debug, Clone)]
struct Received {
    neighbor: String,
    external: bool,
    asn: u64,
    rejected: bool,
    used: bool,
}

/// The family of an address or prefix, as afi-safi call it.
fn family(text: &str) -> &'static str {
    if text.contains(':') { "ipv6-unicast" } else { "ipv4-unicast" }
}

const FAMILIES: [&str; 2] = ["ipv4-unicast", "ipv6-unicast"];

/// What `of` says of a family.
fn said<'a>(of: &'a Value, name: &str) -> Option<&'a Value> {
    let is_it = |one: &&Value| one["afi-safi-name"].as_str().is_some_and(|found| found.ends_with(name));
    list(of, "afi-safi").iter().find(is_it)
}

/// The key of a family's routes.
fn prefix_key(name: &str) -> &'static str {
    if name == "ipv4-unicast" { "ipv4-prefix" } else { "ipv6-prefix" }
}

/// Left-aligned, so that prefixes of both families are compared likewise.
fn address(text: &str) -> u128 {
    match text.parse() {
        Ok(std::net::IpAddr::V4(four)) => u128::from(u32::from(four)) << 96,
        Ok(std::net::IpAddr::V6(six)) => u128::from(six),
        Err(_) => 0,
    }
}

fn split(prefix: &str) -> (u128, u32) {
    let (net, len) = prefix.split_once('/').unwrap();
    (address(net), len.parse().unwrap())
}

fn inside(prefix: &str, of: &str) -> bool {
    let ((a, la), (b, lb)) = (split(prefix), split(of));
    family(prefix) == family(of) && la >= lb && (lb == 0 || (a ^ b) >> (128 - lb) == 0)
}

fn host(address: &str) -> String {
    format!("{address}/{}", if address.contains(':') { 128 } else { 32 })
}

fn number_of(address: &str) -> String {
    address.replace(['.', ':'], "")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(name) => vec![name.clone()],
        _ => Vec::new(),
    }
}

/// One policy after another; what none decides is accepted unless the default for eBGP rejects.
fn accepts(policies: &Value, chain: &[String], prefix: &str, external: bool) -> bool {
    if chain.is_empty() {
        return !external;
    }
    for name in chain {
        let Some(policy) = list(policies, "policy").iter().find(|policy| policy["name"] == **name) else {
            return false;
        };
        for statement in list(policy, "statement") {
            let set = statement["match"]["prefix-set"]
                .as_str()
                .or(statement["match"]["prefix"]["prefix-set"].as_str());
            let matches = set.is_none_or(|set| in_set(policies, set, prefix));
            match (matches, statement["action"]["policy-result"].as_str()) {
                (true, Some("accept")) => return true,
                (true, Some("reject")) => return false,
                _ => {}
            }
        }
        match policy["default-action"]["policy-result"].as_str() {
            Some("accept") => return true,
            Some("reject") => return false,
            _ => {}
        }
    }
    !external
}

fn in_set(policies: &Value, set: &str, prefix: &str) -> bool {
    let Some(set) = list(policies, "prefix-set").iter().find(|found| found["name"] == *set) else {
        return false;
    };
    let (_, len) = split(prefix);
    list(set, "prefix").iter().any(|entry| {
        let of = entry["ip-prefix"].as_str().unwrap();
        let lengths = match entry["mask-length-range"].as_str() {
            Some("exact") | None => (split(of).1, split(of).1),
            Some(range) => {
                let (a, b) = range.split_once("..").unwrap();
                (a.parse().unwrap(), b.parse().unwrap())
            }
        };
        inside(prefix, of) && (lengths.0..=lengths.1).contains(&len)
    })
}

/// The state of the whole switch.
pub fn state(switch: &Switch) -> Value {
    let mut made = Made { switch, instances: Vec::new(), cards: Vec::new(), next: switch.numbers };
    for instance in list(&switch.running, "network-instance") {
        made.instance(instance);
    }
    json!({
        "network-instance": made.instances,
        "platform": {"linecard": [{"slot": 1, "forwarding-complex": [{"name": "0", "fib-table": {"next-hop-group": made.cards}}]}]},
    })
}

struct Made<'a> {
    switch: &'a Switch,
    instances: Vec<Value>,
    cards: Vec<Value>,
    next: u64,
}

impl Made<'_> {
    fn number(&mut self) -> String {
        self.next += 1;
        self.next.to_string()
    }

    fn instance(&mut self, instance: &Value) {
        let network = self.switch.network.clone();
        let bgp = &instance["protocols"]["bgp"];
        let (mut neighbors, received) = self.sessions(bgp, &network);
        let mut table = Table::default();
        let subnet = self.number();
        let direct = self.number();
        table.groups.push(json!({"index": subnet, "backup-next-hop-group": "0", "fib-programming": written(None),
            "next-hop": [{"id": 0, "next-hop": direct, "resolved": "not-applicable", "resource-allocation-failed": false}]}));
        table.hops.push(json!({"index": direct, "resource-allocation-failed": false, "type": "srl_nokia-ip-route-tables:direct",
            "ip-address": "192.168.1.1", "subinterface": "irb1.1"}));
        table.routes.push(route(
            "192.168.1.0/24",
            ("local", "net_inst_mgr", 0),
            true,
            (&subnet, instance),
            None,
        ));
        let prefixes: BTreeSet<String> =
            received.keys().cloned().chain(network.evpn.iter().map(|route| route.prefix.clone())).collect();
        let mut rib = (Vec::new(), Vec::new());
        let mut chosen = 0;
        for prefix in &prefixes {
            let all = received.get(prefix).cloned().unwrap_or_default();
            let (paths, lost) = self.prefix(instance, prefix, all, &network, &mut table);
            for path in paths {
                let attr = number_of(&path.neighbor);
                rib.0.push(
                    json!({"prefix": prefix, "neighbor": path.neighbor, "path-id": 0, "attr-id": attr}),
                );
                let disabled = network.faults.get(prefix) == Some(&Fault::FibDisabled);
                let mut entry = json!({"prefix": prefix, "neighbor": path.neighbor, "path-id": 0, "attr-id": attr,
                    "used-route": path.used, "valid-route": !path.rejected, "best-route": path.used, "stale-route": false,
                    "fib-disabled": disabled, "neighbor-as": path.asn,
                    "tie-break-reason": if path.used || path.rejected { "none" } else { lost }});
                if path.rejected {
                    entry["invalid-reason"] = json!({"rejected-route": true});
                }
                chosen += usize::from(path.used);
                rib.1.push(entry);
            }
        }
        for prefix in &network.discards {
            let (group, hop) = (self.number(), self.number());
            table.groups.push(json!({"index": group, "next-hop": [{"id": 0, "next-hop": hop, "resolved": "not-applicable"}]}));
            table.hops.push(json!({"index": hop, "type": "srl_nokia-ip-route-tables:discard"}));
            table.routes.push(route(
                prefix,
                ("static", "static_route_mgr", 5),
                true,
                (&group, instance),
                None,
            ));
        }
        for index in 0..network.background {
            let prefix = format!("10.{}.{}.0/24", index / 256, index % 256);
            table.routes.push(route(&prefix, ("bgp", "bgp_mgr", 170), true, (&subnet, instance), None));
        }
        let attributes: Vec<Value> = network
            .speakers
            .iter()
            .map(|speaker| {
                json!({"index": number_of(&speaker.address),
            "origin": "igp", "next-hop": speaker.address, "local-pref": 100,
            "as-path": {"segment": [{"as-path-index": 0, "type": "as-sequence", "member": [speaker.asn]}]}})
            })
            .collect();
        let mut bgp_rib = Map::new();
        let mut families = Vec::new();
        let mut route_table = Map::new();
        for name in FAMILIES {
            let of = |routes: &[Value], leaf: &str| -> Vec<Value> {
                routes
                    .iter()
                    .filter(|route| route[leaf].as_str().is_some_and(|text| family(text) == name))
                    .cloned()
                    .collect()
            };
            let inner = json!({"rib-in-out": {"rib-in-pre": {"route": of(&rib.0, "prefix")}, "rib-in-post": {"route": of(&rib.1, "prefix")}}});
            if self.switch.release() >= (24, 10) {
                families.push(json!({"afi-safi-name": format!("srl_nokia-common:{name}"), name: inner}));
            } else {
                bgp_rib.insert(name.into(), inner);
            }
            let routes = of(&table.routes, prefix_key(name));
            let active = routes.iter().filter(|route| route["active"] == true).count();
            let total = routes.len().to_string();
            route_table.insert(
                name.into(),
                json!({"route": routes, "statistics": {"active-routes": active, "total-routes": total,
                "resilient-hash-routes": 0, "fib-failed-routes": 0, "active-routes-with-ecmp": chosen}}),
            );
        }
        if !families.is_empty() {
            bgp_rib.insert("afi-safi".into(), families.into());
        }
        route_table.insert("next-hop-group".into(), table.groups.into());
        route_table.insert("next-hop".into(), table.hops.into());
        bgp_rib.insert("attr-sets".into(), json!({"attr-set": attributes}));
        let neighbors = std::mem::take(&mut neighbors);
        self.instances.push(json!({
            "name": instance["name"],
            "protocols": {"bgp": {"neighbor": neighbors}},
            "bgp-rib": bgp_rib,
            "route-table": route_table,
        }));
    }

    /// Sessions, and what came in by prefix.
    fn sessions(&self, bgp: &Value, network: &Network) -> (Vec<Value>, BTreeMap<String, Vec<Received>>) {
        let mut neighbors = Vec::new();
        let mut received: BTreeMap<String, Vec<Received>> = BTreeMap::new();
        // What a neighbour says of a family goes before what its group and BGP say.
        let carries = |levels: [&Value; 3], name: &str| {
            let state = levels.into_iter().find_map(|of| said(of, name)?["admin-state"].as_str());
            state == Some("enable")
        };
        let own = bgp["autonomous-system"].as_u64().unwrap_or(0);
        let configured = list(bgp, "neighbor")
            .iter()
            .map(|neighbor| (neighbor["peer-address"].as_str().unwrap().to_owned(), neighbor.clone()));
        let mut peers: BTreeMap<String, (Value, bool)> =
            configured.map(|(peer, neighbor)| (peer, (neighbor, false))).collect();
        for range in list(&bgp["dynamic-neighbors"]["accept"], "match") {
            for speaker in &network.speakers {
                let inside = inside(&host(&speaker.address), range["prefix"].as_str().unwrap());
                let allowed = list(range, "allowed-peer-as").iter().filter_map(Value::as_str).any(|word| {
                    match word.split_once("..") {
                        Some((a, b)) => {
                            (a.parse::<u64>().unwrap()..=b.parse().unwrap()).contains(&speaker.asn)
                        }
                        None => word.parse() == Ok(speaker.asn),
                    }
                });
                if inside && allowed && speaker.up {
                    let made = json!({"peer-address": speaker.address, "peer-group": range["peer-group"], "peer-as": speaker.asn});
                    peers.entry(speaker.address.clone()).or_insert((made, true));
                }
            }
        }
        for (peer, (neighbor, dynamic)) in peers {
            let group = list(bgp, "group")
                .iter()
                .find(|group| group["group-name"] == neighbor["peer-group"])
                .cloned()
                .unwrap_or_default();
            let leaf = |name: &str| {
                if neighbor[name].is_null() { group[name].clone() } else { neighbor[name].clone() }
            };
            let asn = leaf("peer-as").as_u64().unwrap_or(0);
            let speaker = network.speakers.iter().find(|speaker| speaker.address == peer);
            let over = FAMILIES.iter().any(|name| {
                let limit = list(&group, "afi-safi").iter().find_map(|family| {
                    let unicast = &family[*name];
                    unicast["prefix-limit-received"]["max-received-routes"]
                        .as_u64()
                        .or(unicast["prefix-limit"]["max-received-routes"].as_u64())
                });
                let told = |speaker: &Speaker| {
                    speaker.announces.iter().filter(|prefix| family(prefix) == *name).count() as u64
                };
                speaker.zip(limit).is_some_and(|(speaker, limit)| told(speaker) > limit)
            });
            let levels = [&neighbor, &group, bgp];
            let up = FAMILIES.iter().any(|name| carries(levels, name))
                && !over
                && speaker.is_some_and(|speaker| speaker.up && speaker.asn == asn)
                && leaf("admin-state") != "disable";
            let external = asn != own;
            let transitions = speaker.map_or(0, |speaker| speaker.transitions);
            neighbors.push(json!({
                "peer-address": peer, "peer-group": neighbor["peer-group"], "peer-as": asn, "dynamic-neighbor": dynamic,
                "peer-type": if external { "ebgp" } else { "ibgp" },
                "session-state": if up { "established" } else { "active" },
                "last-event": if over { "maxPrefixExceed" } else { "recvOpen" },
                "last-established": stamp(speaker.map(|speaker| speaker.since.elapsed().unwrap_or_default()).unwrap_or_default()),
                "established-transitions": transitions.to_string(),
            }));
            if !up {
                continue;
            }
            let chain = names(&leaf("import-policy"));
            let told = speaker.unwrap().announces.iter().filter(|prefix| carries(levels, family(prefix)));
            for prefix in told {
                let rejected = !accepts(&self.switch.running["routing-policy"], &chain, prefix, external);
                received.entry(prefix.clone()).or_default().push(Received {
                    neighbor: peer.clone(),
                    external,
                    asn,
                    rejected,
                    used: false,
                });
            }
        }
        (neighbors, received)
    }

    /// The routes of one prefix; its paths as BGP sees them, and why those that are not used are not.
    fn prefix(
        &mut self,
        instance: &Value,
        prefix: &str,
        mut paths: Vec<Received>,
        network: &Network,
        table: &mut Table,
    ) -> (Vec<Received>, &'static str) {
        let bgp = &instance["protocols"]["bgp"];
        let release = self.switch.release();
        let multipath = said(bgp, family(prefix)).map(|found| found["multipath"].clone()).unwrap_or_default();
        let external = paths.iter().find(|path| !path.rejected).is_some_and(|path| path.external);
        let most = match release {
            r if r < (24, 7) => multipath["max-paths-level-1"].as_u64(),
            r if r < (25, 3) => multipath["maximum-paths"].as_u64(),
            _ if external => multipath["ebgp"]["maximum-paths"].as_u64(),
            _ => multipath["ibgp"]["maximum-paths"].as_u64(),
        };
        let most = usize::try_from(most.unwrap_or(1)).unwrap();
        paths.sort_by_key(|path| address(&path.neighbor));
        let usable: Vec<String> =
            paths.iter().filter(|path| !path.rejected).take(most).map(|path| path.neighbor.clone()).collect();
        let preference = bgp["preference"][if external { "ebgp" } else { "ibgp" }].as_u64().unwrap_or(170);
        let vteps: Vec<String> = network
            .evpn
            .iter()
            .filter(|route| route.prefix == prefix)
            .map(|route| route.vtep.clone())
            .collect();
        let fault = network.faults.get(prefix).cloned();
        let disabled = fault == Some(Fault::FibDisabled);
        // At equal preference the lab's author saw EVPN win.
        let bgp_wins = !usable.is_empty() && !disabled && (vteps.is_empty() || preference < 170);
        let mut lost = "router-id";
        if !usable.is_empty() && !disabled {
            self.group(
                prefix,
                &usable,
                (bgp_wins, preference, "bgp", "bgp_mgr"),
                instance,
                fault.clone(),
                table,
            );
            lost = if bgp_wins { lost } else { "rtm-pref" };
        }
        if !vteps.is_empty() {
            self.group(
                prefix,
                &vteps,
                (!bgp_wins, 170, "bgp-evpn", "bgp_evpn_mgr"),
                instance,
                fault.filter(|_| !bgp_wins),
                table,
            );
        }
        for path in &mut paths {
            path.used = usable.contains(&path.neighbor) && (bgp_wins || disabled);
        }
        (paths, lost)
    }

    fn group(
        &mut self,
        prefix: &str,
        members: &[String],
        (active, preference, kind, owner): (bool, u64, &str, &str),
        instance: &Value,
        fault: Option<Fault>,
        table: &mut Table,
    ) {
        let group = self.number();
        let release = self.switch.release();
        let covering = list(&instance["ip-load-balancing"], "resilient-hash-prefix")
            .iter()
            .filter(|entry| entry["ip-prefix"].as_str().is_some_and(|of| inside(prefix, of)))
            .max_by_key(|entry| split(entry["ip-prefix"].as_str().unwrap()).1);
        let sized = covering.and_then(|entry| entry["max-paths"].as_u64());
        let resilient = sized.is_some() && fault != Some(Fault::NotResilient);
        let (mut inner, mut card) = (Vec::new(), Vec::new());
        for (id, member) in members.iter().enumerate() {
            let hop = self.number();
            let unresolved = fault == Some(Fault::Unresolved(member.clone()));
            let starved = fault == Some(Fault::NoResource(member.clone()));
            inner.push(json!({"id": id, "next-hop": hop, "weight": "1", "resolved": if unresolved { "false" } else { "true" }, "resource-allocation-failed": starved}));
            let unused = resilient && id as u64 >= sized.unwrap();
            card.push(
                json!({"id": id, "next-hop": hop, "oper-state": if unused { "up-unused" } else { "up" }}),
            );
            let tunnel = json!({"ip-prefix": host(member), "tunnel-type": "srl_nokia-common:vxlan", "tunnel-owner": "vxlan_mgr", "tunnel-id": 1});
            let resolving = json!({"next-hop-group": "1", "ip-prefix": "192.168.1.0/24", "route-type": "srl_nokia-common:local", "route-owner": "net_inst_mgr"});
            let mut leaf = json!({"index": hop, "resource-allocation-failed": false, "type": "srl_nokia-ip-route-tables:indirect", "ip-address": member});
            let (name, what) =
                if kind == "bgp" { ("resolving-route", resolving) } else { ("resolving-tunnel", tunnel) };
            if release >= (25, 3) {
                leaf["indirect"] = json!({"resolved": !unresolved, name: what});
            } else {
                leaf[name] = what;
            }
            table.hops.push(leaf);
        }
        let (older, placed) = (release < (25, 3), &fault);
        table.groups.push(json!({"index": group, "backup-next-hop-group": "0", "fib-programming": written(None), "next-hop": inner}));
        self.cards.push(json!({"index": group, "oper-state": "up", "next-hop": card}));
        let mut made = route(
            prefix,
            (kind, owner, preference),
            active,
            (&group, instance),
            Some((placed.as_ref(), older)),
        );
        made["resilient-hash"] = json!(resilient);
        table.routes.push(made);
    }
}

#[derive(Default)]
struct Table {
    routes: Vec<Value>,
    groups: Vec<Value>,
    hops: Vec<Value>,
}

fn written(fault: Option<(&Fault, bool)>) -> Value {
    let mut made = json!({"suppressed": false, "last-successful-operation-type": "add", "last-successful-operation-timestamp": stamp(Duration::from_secs(5)),
        "pending-operation-type": "none", "last-failed-operation-type": "none"});
    let Some((fault, older)) = fault else { return made };
    let places = if older {
        ("last-failed-complexes", json!(["(1,0)"]))
    } else {
        ("last-failed-locations", json!(["complex-1.0"]))
    };
    match fault {
        Fault::Pending => {
            made["pending-operation-type"] = json!("add");
            made["last-successful-operation-type"] = json!("none");
        }
        Fault::AddFailed => {
            made["last-failed-operation-type"] = json!("add");
            made["last-successful-operation-type"] = json!("none");
            made[places.0] = places.1;
        }
        Fault::ModifyFailed => {
            made["last-failed-operation-type"] = json!("modify");
            made[places.0] = places.1;
        }
        Fault::Suppressed => made["suppressed"] = json!(true),
        _ => {}
    }
    made
}

fn route(
    prefix: &str,
    (kind, owner, preference): (&str, &str, u64),
    active: bool,
    (group, instance): (&str, &Value),
    fault: Option<(Option<&Fault>, bool)>,
) -> Value {
    let fault = fault.and_then(|(fault, older)| Some((fault?, older)));
    json!({prefix_key(family(prefix)): prefix, "route-type": format!("srl_nokia-common:{kind}"), "route-owner": owner, "id": 0,
        "origin-network-instance": instance["name"], "metric": 0, "preference": preference, "active": active,
        "last-app-update": stamp(Duration::from_secs(5)), "next-hop-group": group, "next-hop-group-network-instance": instance["name"],
        "resilient-hash": false, "fib-programming": written(fault)})
}
