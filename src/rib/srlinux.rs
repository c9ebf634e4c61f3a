//! SR Linux as the control plane: sessions, the BGP RIB and the route table's own words, asked over JSON-RPC.
//!
//! It is asked only about what already looks wrong. The RIB says why a path is not in the table (`invalid-reason`,
//! `tie-break-reason`), the table why a route is not in the chip.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Intake, Limits, Managed, Merit, Path, Programming, RibError, RibReader, Session, Sessions};
use crate::fib::FibError;
use crate::fib::srlinux::chain::word;
use crate::fib::srlinux::read;
use crate::jsonrpc::{Error, Server};
use crate::net::{Family, NextHop, Prefix};

/// Of each question.
const ANSWER: Duration = Duration::from_secs(5);
/// So many times up, the last time within so long: it flaps.
const FLAPS: u64 = 3;
const LATELY: i64 = 600;

/// Asks one network instance of one switch.
#[derive(Debug)]
pub struct SrlinuxRib {
    server: Server,
    instance: String,
    /// Peers in another AS, as far as their sessions told.
    external: BTreeMap<String, bool>,
}

impl SrlinuxRib {
    /// Of the default instance until another one is entered.
    pub fn new(server: Server) -> Self {
        Self { server, instance: "default".to_owned(), external: BTreeMap::new() }
    }

    async fn ask(&self, datastore: &str, paths: Vec<String>) -> Result<Vec<Value>, RibError> {
        let command = paths.first().cloned().unwrap_or_default();
        self.server.get(datastore, paths, ANSWER).await.map_err(|error| failed(error, command))
    }

    fn under(&self, rest: &str) -> String {
        format!("/network-instance[name={}]/{rest}", self.instance)
    }

    /// A part of the RIB about one prefix. Releases differ in where it stands, so the second place is asked where the first
    /// does not exist.
    async fn rib(&self, part: &str, prefix: Prefix) -> Result<Vec<Value>, RibError> {
        let family = word(prefix.family());
        let rest = format!("{family}/{part}/route[prefix={prefix}][neighbor=*][path-id=*]");
        let newer = self.under(&format!("bgp-rib/afi-safi[afi-safi-name={family}]/{rest}"));
        let answers = match self.server.get("state", [newer], ANSWER).await {
            Err(Error::Refused(_)) => self.ask("state", vec![self.under(&format!("bgp-rib/{rest}"))]).await?,
            other => other.map_err(|error| failed(error, rest.clone()))?,
        };
        let same = |route: &&Value| {
            let found =
                route.get("prefix").and_then(Value::as_str).and_then(|text| text.parse::<Prefix>().ok());
            found.is_none_or(|found| found == prefix)
        };
        Ok(answers.iter().flat_map(|answer| list(answer, "route")).filter(same).cloned().collect())
    }

    /// Next-hop, AS path and local preference by the numbers of attribute sets.
    async fn attributes(&self, numbers: &BTreeSet<String>) -> BTreeMap<String, Value> {
        let paths =
            numbers.iter().map(|number| self.under(&format!("bgp-rib/attr-sets/attr-set[index={number}]")));
        // Particulars: without them there is still something to say.
        let answers: Vec<Value> = self.server.get("state", paths, ANSWER).await.unwrap_or_default();
        let one =
            |answer: &Value| list(answer, "attr-set").first().cloned().unwrap_or_else(|| answer.clone());
        numbers.iter().cloned().zip(answers.iter().map(one)).collect()
    }
}

fn failed(error: Error, command: String) -> RibError {
    match error {
        Error::Unreachable { source, .. } => RibError::Unreachable { daemon: "the switch", source },
        Error::Malformed(problem) => RibError::Malformed { daemon: "the switch", command, problem },
        other => RibError::Unreachable { daemon: "the switch", source: io::Error::other(other.to_string()) },
    }
}

/// The list `name` of an answer, with or without its module.
fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    let members = answer.as_object();
    let found = members.and_then(|members| {
        members
            .iter()
            .find(|(key, _)| key.rsplit(':').next() == Some(name))
            .and_then(|(_, value)| value.as_array())
    });
    found.map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn is(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool) == Some(true)
}

/// A number, which may be written as a string.
fn number(value: &Value, name: &str) -> Option<u64> {
    let value = value.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn session(neighbor: &Value, now: Timestamp) -> Option<Session> {
    let peer = text(neighbor, "peer-address")?.to_owned();
    let state = text(neighbor, "session-state").unwrap_or("unknown");
    let since = text(neighbor, "last-established").and_then(|at| at.parse::<Timestamp>().ok());
    let ago = since.map(|since| now.duration_since(since));
    let up = state == "established";
    let times = number(neighbor, "established-transitions").unwrap_or(0);
    let messages = ["received-messages", "sent-messages"].into_iter().filter_map(|name| neighbor.get(name));
    let codes = messages.chain([neighbor]).find_map(|from| {
        let code = text(from, "last-notification-error-code")?;
        let subcode = text(from, "last-notification-error-subcode").map(|sub| format!(", {sub}"));
        Some(format!("{code}{}", subcode.unwrap_or_default()))
    });
    let event = text(neighbor, "last-event").map(str::to_owned);
    let last_reset = match (event, codes) {
        (Some(event), Some(codes)) => Some(format!("{event} ({codes})")),
        (event, codes) => event.or(codes),
    };
    let lately = ago.is_some_and(|ago| ago.as_secs() < LATELY);
    Some(Session {
        peer,
        state: if up { "Established".to_owned() } else { state.to_owned() },
        uptime: ago.filter(|_| up).and_then(|ago| Duration::try_from(ago).ok()),
        dropped: times.saturating_sub(u64::from(up)),
        last_reset: last_reset.filter(|_| !up),
        dynamic: is(neighbor, "dynamic-neighbor"),
        blocked: BTreeSet::new(),
        bfd: None,
        flaps: (!up && lately && times >= FLAPS).then_some(times),
    })
}

fn attribute_number(route: &Value) -> Option<String> {
    let id = route.get("attr-id")?;
    Some(id.as_str().map_or_else(|| id.to_string(), str::to_owned))
}

/// One path of the RIB; one that the import policy refused is none.
fn path(route: &Value, attributes: Option<&Value>, external: bool) -> Option<Path> {
    let invalid = route.get("invalid-reason").cloned().unwrap_or_default();
    if is(&invalid, "rejected-route") {
        return None;
    }
    let reasons = ["as-loop", "cluster-loop", "next-hop-unresolved", "fib-programming-failed"];
    let invalid_for = reasons.into_iter().find(|reason| is(&invalid, reason));
    let chosen = is(route, "used-route");
    let lost_by = text(route, "tie-break-reason").filter(|reason| *reason != "none");
    let nothing = Value::Null;
    let attributes = attributes.unwrap_or(&nothing);
    let steps = attributes.get("as-path").map(|path| list(path, "segment")).unwrap_or_default();
    let steps: usize =
        steps.iter().map(|segment| segment.get("member").and_then(Value::as_array).map_or(0, Vec::len)).sum();
    let address = text(attributes, "next-hop").and_then(|text| text.parse().ok());
    Some(Path {
        peer: text(route, "neighbor").unwrap_or_default().to_owned(),
        next_hop: address.map(NextHop::via),
        valid: is(route, "valid-route"),
        resolved: invalid_for != Some("next-hop-unresolved"),
        chosen,
        merit: Merit {
            weight: 0,
            local_preference: number(attributes, "local-pref")
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(100),
            as_path_length: u32::try_from(steps).unwrap_or(u32::MAX),
            origin: text(attributes, "origin").unwrap_or("igp").to_owned(),
            external,
        },
        stale: is(route, "stale-route").then_some(super::Stale { lasts: None }),
        why_not: invalid_for.or(lost_by).filter(|_| !chosen).map(str::to_owned),
    })
}

impl RibReader for SrlinuxRib {
    fn enter(&mut self, instance: &str) {
        instance.clone_into(&mut self.instance);
    }

    async fn sessions(&mut self) -> Result<Sessions, RibError> {
        #[expect(clippy::disallowed_methods, reason = "the age of a session is told as a time of day")]
        let now = Timestamp::now();
        let answers = self.ask("state", vec![self.under("protocols/bgp/neighbor[peer-address=*]")]).await?;
        let neighbors = answers.first().map(|answer| list(answer, "neighbor")).unwrap_or_default();
        let ranges = self.under("protocols/bgp/dynamic-neighbors/accept/match[prefix=*]");
        let ranges = self.ask("running", vec![ranges]).await?;
        let ranges = ranges.first().map(|answer| list(answer, "match")).unwrap_or_default();
        self.external = neighbors
            .iter()
            .filter_map(|one| {
                Some((text(one, "peer-address")?.to_owned(), text(one, "peer-type")? == "ebgp"))
            })
            .collect();
        let by_peer = neighbors.iter().filter_map(|one| session(one, now));
        Ok(Sessions {
            by_peer: by_peer.map(|session| (session.peer.clone(), session)).collect(),
            listen: ranges.iter().filter_map(|range| text(range, "prefix")?.parse().ok()).collect(),
        })
    }

    async fn paths(&mut self, prefix: Prefix) -> Result<Vec<Path>, RibError> {
        let routes = self.rib("rib-in-out/rib-in-post", prefix).await?;
        let numbers: BTreeSet<String> = routes.iter().filter_map(attribute_number).collect();
        let attributes = if numbers.is_empty() { BTreeMap::new() } else { self.attributes(&numbers).await };
        let one = |route: &Value| {
            let of = attribute_number(route).and_then(|number| attributes.get(&number));
            let external = text(route, "neighbor").and_then(|peer| self.external.get(peer)).copied();
            path(route, of, external.unwrap_or(false))
        };
        Ok(routes.iter().filter_map(one).collect())
    }

    async fn managed(&mut self, prefix: Prefix) -> Result<Managed, RibError> {
        let command = || format!("route {prefix}");
        let shorter = (1..prefix.len()).rev().filter_map(|len| Prefix::new(prefix.address(), len));
        let prefixes: Vec<Prefix> = std::iter::once(prefix).chain(shorter).collect();
        let chains = read(&self.server, &self.instance, &prefixes).await.map_err(|error| match error {
            FibError::Io { source, .. } => RibError::Unreachable { daemon: "the switch", source },
            other => {
                RibError::Malformed { daemon: "the switch", command: command(), problem: other.to_string() }
            }
        })?;
        let mut managed = Managed::default();
        let Some(chosen) = chains.chosen(prefix) else {
            managed.caught_by =
                prefixes.iter().skip(1).find(|other| chains.chosen(**other).is_some()).copied();
            // Told to stay out of the table: it is in BGP only.
            let routes = self.rib("rib-in-out/rib-in-post", prefix).await?;
            if routes.iter().any(|route| is(route, "fib-disabled")) {
                managed.trouble = Some(Programming::Suppressed);
            }
            return Ok(managed);
        };
        managed.selected = Some(chosen.kind().to_owned());
        managed.trouble = chains.trouble(prefix);
        managed.queued = matches!(managed.trouble, Some(Programming::Pending { .. }));
        for (hop, trouble) in chains.members(prefix) {
            match trouble {
                Some(trouble) => managed.members.push((hop, trouble)),
                None => managed.installed.push(hop),
            }
        }
        // One of BGP's is there and was not chosen: another owner won.
        let loses =
            chains.entries(prefix).iter().any(|entry| entry.kind() == "bgp" && entry.active != Some(true));
        managed.instead = (chosen.kind() != "bgp" && loses).then(|| chosen.describe());
        Ok(managed)
    }

    async fn limits(&mut self, family: Family) -> Result<Limits, RibError> {
        let path = self.under(&format!("protocols/bgp/afi-safi[afi-safi-name={}]/multipath", word(family)));
        let answers = self.ask("running", vec![path]).await?;
        let multipath = answers.first().cloned().unwrap_or_default();
        let one = |from: &Value, name: &str| number(from, name).and_then(|n| u32::try_from(n).ok());
        let plain = one(&multipath, "maximum-paths").or(one(&multipath, "max-paths-level-1"));
        let of = |kind: &str| multipath.get(kind).and_then(|inner| one(inner, "maximum-paths"));
        // Nobody has said it, so the model has: one.
        Ok(Limits { external: of("ebgp").or(plain).or(Some(1)), internal: of("ibgp").or(plain).or(Some(1)) })
    }

    async fn intake(&mut self, peer: &str, prefix: Prefix) -> Result<Intake, RibError> {
        let sent = |routes: &[Value]| routes.iter().any(|route| text(route, "neighbor") == Some(peer));
        let post = self.rib("rib-in-out/rib-in-post", prefix).await?;
        let refused = |route: &Value| {
            text(route, "neighbor") == Some(peer)
                && route.get("invalid-reason").is_some_and(|reason| is(reason, "rejected-route"))
        };
        if post.iter().any(refused) {
            return Ok(Intake::Refused);
        }
        match self.rib("rib-in-out/rib-in-pre", prefix).await {
            Ok(routes) if sent(&routes) => Ok(Intake::Refused),
            Ok(_) => Ok(Intake::NotSent),
            Err(RibError::Unreachable { source, .. }) if source.kind() == io::ErrorKind::Other => {
                Ok(Intake::Untold)
            }
            Err(error) => Err(error),
        }
    }
}
