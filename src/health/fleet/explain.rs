//! One Service address, rung by rung, on every switch: what the forwarding table has, and where the way into it ends.
//!
//! A next-hop that forwards has passed every rung: the forwarding table is the proof. Of one that is missing the switch named the
//! first rung that fails; those before it hold as far as the control plane could be asked, those behind it were not reached.

use jiff::Timestamp;
use serde::Serialize;

use super::{Fleet, ResourceSeen, SwitchSeen, What};
use crate::net::Prefix;

/// The rungs in order, and by which words a switch names them.
const LADDER: [(&str, &[&str]); 8] = [
    ("neighbour configured", &["PeerNotConfigured"]),
    ("session up", &["SessionDown", "BfdDown", "SessionFlapping"]),
    ("prefix received", &["PrefixNotReceived"]),
    ("policy takes it", &["PolicyRejected"]),
    ("chosen", &["NotBestPath", "EcmpLimit"]),
    ("next-hop resolved", &["NextHopUnresolved"]),
    ("in the forwarding table", &["NotInFib", "WrongRouteKind", "SuppressedByPolicy", "CaughtByOtherPrefix"]),
    ("in hardware", &["HardwareNotProgrammed", "FibModifyFailed", "NoHardwareResource"]),
];

/// Kinds that decide for every address whether it is announced: a mistake in one may be why this one is not.
const ANNOUNCING: [&str; 5] =
    ["IPAddressPool ", "BGPAdvertisement ", "BGPPeer ", "Community ", "ConfigurationState "];

/// What the cluster has of a Service: what its addresses are expected to do follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSeen {
    /// `NAMESPACE/NAME`.
    pub service: String,
    /// `spec.type`.
    pub r#type: String,
    /// `spec.externalTrafficPolicy`.
    pub policy: String,
    /// `spec.loadBalancerClass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// `status.loadBalancer.ingress[].ip`.
    pub addresses: Vec<String>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointSeen>,
    /// What MetalLB's speakers mean to announce; absent without its CRD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speakers: Option<Vec<SpeakerSeen>>,
    /// What of this could not be read: not there is something else.
    pub unread: Vec<String>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSeen {
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// It counts: ready (absent counts as true) or serving, and with an address.
    pub counts: bool,
    /// That node announces nothing, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<&'static str>,
}

/// A `ServiceBGPStatus`: what one speaker means to announce, which is not what arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpeakerSeen {
    /// On which node.
    pub node: String,
    /// To whom.
    pub peers: Vec<String>,
}

/// One Service address on all switches.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The address.
    pub prefix: Prefix,
    /// Who owns it, as the switches say.
    pub services: Vec<String>,
    /// Each switch.
    pub switches: Vec<OnSwitch>,
}

/// One Service address on one switch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnSwitch {
    /// Its name.
    pub switch: String,
    /// In one word.
    pub what: What,
    /// Its own words; why its words are worth nothing, if it is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why it is absent on purpose, or a remark on what forwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rung: Option<String>,
    /// Since when it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Each next-hop.
    pub hops: Vec<Hop>,
    /// Inputs that this switch has skipped, and that concern it.
    pub skipped: Vec<ResourceSeen>,
}

/// One next-hop.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hop {
    /// The next-hop.
    pub next_hop: String,
    /// Who is behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Expected, observed, or both.
    pub is: Is,
    /// Where it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rung: Option<String>,
    /// The rungs up to there.
    pub ladder: Vec<Step>,
}

/// How a next-hop stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Is {
    /// Expected, and forwards.
    Forwards,
    /// Expected, and does not.
    Missing,
    /// Forwards, and is not expected.
    Unexpected,
    /// Expected, and nobody could look.
    Unknown,
}

/// One rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it asks.
    pub rung: &'static str,
    /// How it stands.
    pub holds: Holds,
}

/// How a rung stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// It holds.
    Yes,
    /// It is the first that fails.
    No,
    /// It was not reached.
    NotReached,
}

impl Fleet {
    /// Addresses that belong to a Service `NAMESPACE/NAME`, or to one of that name in any namespace, as the switches say.
    pub fn prefixes_of(&self, service: &str) -> Vec<Prefix> {
        let is_it = |found: &String| {
            found == service || (!service.contains('/') && found.split('/').next_back() == Some(service))
        };
        let all = self.switches.iter().filter_map(|switch| switch.status.as_ref().ok());
        let mut found: Vec<Prefix> = all
            .flat_map(|said| said.vips.iter())
            .filter(|vip| vip.services.iter().any(is_it))
            .map(|vip| vip.prefix)
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// One Service address, of `services` beside those that the switches name.
    pub fn explain(&self, prefix: Prefix, services: &[String]) -> Explained {
        let row = self.vip(prefix);
        let mut all: Vec<String> = services.iter().chain(&row.services).cloned().collect();
        all.sort();
        all.dedup();
        let asked = self.switches.iter().filter(|switch| !switch.is_retired());
        let switches = asked.map(|switch| self.on(switch, prefix, &all)).collect();
        Explained { prefix, services: all, switches }
    }

    fn on(&self, switch: &SwitchSeen, prefix: Prefix, services: &[String]) -> OnSwitch {
        let name = switch.name.clone();
        let said = match self.heard(switch) {
            Ok(said) => said,
            Err(why) => {
                let message = Some(why);
                let (hops, skipped) = (Vec::new(), Vec::new());
                let (what, rung, since) = (What::Stale, None, None);
                return OnSwitch { switch: name, what, message, rung, since, hops, skipped };
            }
        };
        let node_of = |hop: &str| {
            said.next_hops.iter().find(|seen| seen.next_hop == hop).and_then(|seen| seen.node.clone())
        };
        let found = said.vip(prefix);
        let super::View { what, .. } = super::vip::view(said, found);
        let mut hops = Vec::new();
        for hop in found.iter().flat_map(|vip| &vip.expected) {
            let vip = found.into_iter().next();
            let difference = vip.and_then(|vip| {
                vip.differences.iter().find(|one| one.next_hop == *hop && one.kind == "missing")
            });
            let observed = vip.is_some_and(|vip| vip.observed.contains(hop));
            let (is, rung) = match difference {
                Some(difference) => (Is::Missing, Some(difference.rung.clone())),
                None if observed => (Is::Forwards, None),
                None => (Is::Unknown, vip.and_then(|vip| vip.rung.clone())),
            };
            let ladder = if is == Is::Unknown { Vec::new() } else { ladder(rung.as_deref()) };
            hops.push(Hop { next_hop: hop.clone(), node: node_of(hop), is, rung, ladder });
        }
        for difference in found.iter().flat_map(|vip| &vip.differences) {
            if difference.kind == "unexpected" {
                hops.push(Hop {
                    next_hop: difference.next_hop.clone(),
                    node: difference.node.clone().or_else(|| node_of(&difference.next_hop)),
                    is: Is::Unexpected,
                    rung: Some(difference.rung.clone()),
                    ladder: Vec::new(),
                });
            }
        }
        let address = prefix.to_string();
        let address = address.split('/').next().unwrap_or_default();
        let concerns = |resource: &&ResourceSeen| {
            services.iter().any(|service| {
                let (namespace, name) = service.split_once('/').unwrap_or(("", service));
                let slice = format!("EndpointSlice {namespace}/{name}");
                resource.object == format!("Service {service}") || resource.object.starts_with(&slice)
            }) || ANNOUNCING.iter().any(|kind| resource.object.starts_with(kind))
                || mentions(&resource.message, address)
        };
        OnSwitch {
            switch: name,
            what,
            message: found.map(|vip| vip.message.clone()).filter(|message| !message.is_empty()),
            rung: found.and_then(|vip| vip.rung.clone()),
            since: found.and_then(|vip| vip.since),
            hops,
            skipped: said.failed_resources.iter().filter(concerns).cloned().collect(),
        }
    }
}

/// The rungs of a next-hop whose first failing one is `rung`; all hold if there is none. What this release does not know has no
/// place among them.
fn ladder(rung: Option<&str>) -> Vec<Step> {
    let fails = match rung {
        None => LADDER.len(),
        Some(rung) => match LADDER.iter().position(|(_, names)| names.contains(&rung)) {
            Some(place) => place,
            None => return Vec::new(),
        },
    };
    let step = |(place, (rung, _)): (usize, &(&'static str, &[&str]))| Step {
        rung,
        holds: match place.cmp(&fails) {
            std::cmp::Ordering::Less => Holds::Yes,
            std::cmp::Ordering::Equal => Holds::No,
            std::cmp::Ordering::Greater => Holds::NotReached,
        },
    };
    LADDER.iter().enumerate().map(step).collect()
}

/// `text` names the address, and not merely a longer one.
fn mentions(text: &str, address: &str) -> bool {
    text.match_indices(address).any(|(at, found)| {
        let part = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
        !text[..at].ends_with(part)
            && !text[at + found.len()..].starts_with(|c: char| c.is_ascii_hexdigit() || c == ':')
    })
}
