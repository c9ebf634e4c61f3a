//! From settings and neighbours to configuration text, by templates.
//!
//! [`job`] collects all that a rendering needs; [`render`] does it. A template comes from a ConfigMap and is not
//! trusted: a few bytes of it can end a process or take all memory. So [`render`] is only ever called in the child
//! that the `sandbox` starts, never in the agent. Same job, same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tera::Tera;

use crate::change::diff::{Candidate, Owner};
use crate::intent::nexthops::Peers;
use crate::intent::platform::{Platform, Resilience};
use crate::intent::settings::{Community, PeerAsn, PeeringMode, ResilientHash, SwitchSettings, Uplink};
use crate::intent::snapshot::Bundle;
use crate::intent::yaml::Mistake;
use crate::net::{Family, Prefix};

pub mod context;
pub mod names;
#[cfg(test)]
mod tests;
mod tree;

/// What stands for the content of a file of the secrets folder in every text that is shown, hashed or stored. It names the
/// file, so that another file is another text.
pub fn placeholder(file: &str) -> String {
    format!("<secret:{file}>")
}

/// By this name in front a bundle's own template extends or includes a built-in one that it replaces.
pub const BUILT_IN: &str = "builtin/";

/// The longest text that a template may produce, bytes: ConfigMaps are limited to 1 MiB, and a table of ten thousand
/// neighbours needs 1 MiB of text.
const OUTPUT_CAP: usize = 8 << 20;

/// A template that comes with switchlet.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// Its name, by which a bundle replaces it.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// The owner whose text it renders; `None` for a part that others include.
    pub owner: Option<&'static str>,
}

/// The built-in templates for FRR.
pub const FRR: &[BuiltIn] = &[BuiltIn {
    name: "frr.conf.tera",
    text: include_str!("../../templates/frr/frr.conf.tera"),
    owner: Some("frr"),
}];

/// The built-in templates for SR Linux.
pub const SRLINUX: &[BuiltIn] = &[BuiltIn {
    name: "srlinux.json.tera",
    text: include_str!("../../templates/srlinux/srlinux.json.tera"),
    owner: Some("srlinux"),
}];

/// All that a rendering needs; what goes to the child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Template texts by name.
    pub templates: BTreeMap<String, String>,
    /// Which template renders which owner's text.
    pub roots: BTreeMap<Owner, String>,
    /// The values that templates see.
    pub context: Value,
}

/// The texts that a rendering starts from.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    /// What the bundle brings.
    pub bundle: &'a Bundle,
    /// What comes with switchlet.
    pub built_in: &'a [BuiltIn],
}

/// The rendering of `settings` for the switch `me`: built-in templates, replaced or extended by the bundle's own. What it
/// runs on is an input like any other: an unknown platform gets what every release takes.
pub fn job(me: &str, settings: &SwitchSettings, peers: &Peers, platform: &Platform, texts: Texts<'_>) -> Job {
    let Texts { bundle, built_in } = texts;
    let mut templates = BTreeMap::new();
    for BuiltIn { name, text, owner: _ } in built_in {
        // A key of a ConfigMap has no slash: this name cannot be replaced, only extended.
        let original = format!("{BUILT_IN}{name}");
        templates.insert((*name).to_owned(), format!("{{% extends \"{original}\" %}}"));
        templates.insert(original, (*text).to_owned());
    }
    templates.extend(
        bundle
            .texts
            .iter()
            .filter(|(name, _)| name.ends_with(".tera"))
            .map(|(name, text)| (name.clone(), text.clone())),
    );
    let roots = built_in
        .iter()
        .filter_map(|template| template.owner.map(|owner| (owner.to_owned(), template.name.to_owned())))
        .collect();
    Job { templates, roots, context: context(me, settings, peers, platform) }
}

/// The values that templates see. Every name is always there and none is null, so that a typing error in a template
/// cannot pass for an absent option.
pub fn context(me: &str, settings: &SwitchSettings, peers: &Peers, platform: &Platform) -> Value {
    let Platform { release, resilience, chassis: _, ceilings } = platform;
    // Listed exhaustively: a new setting must be considered here.
    let SwitchSettings {
        version: _,
        asn,
        router_id,
        network_instance,
        vips: _,
        peering,
        preference: _,
        ecmp,
        resilient_hash,
        communities,
        uplinks,
        remote: _,
        verify: _,
        assume: _,
        adopt: _,
        vars,
    } = settings;
    let pools = settings.pools();
    let neighbors: Vec<Value> = match peering.mode {
        PeeringMode::Listen => Vec::new(),
        PeeringMode::Static => peers
            .iter()
            .flat_map(|(node, hops)| hops.iter().map(move |hop| (node, hop)))
            .map(|(node, hop)| {
                let (peer, address) = match (&hop.address, &hop.device) {
                    (_, Some(device)) => (device.clone(), None),
                    (Some(address), None) => (address.to_string(), Some(*address)),
                    (None, None) => (String::new(), None),
                };
                let (carries, unnumbered) = (carries(address), address.is_none());
                json!({"node": node, "peer": peer, "unnumbered": unnumbered, "carries": carries})
            })
            .collect(),
    };
    let listen_ranges: Vec<String> = match peering.mode {
        PeeringMode::Static => Vec::new(),
        PeeringMode::Listen => peering.nodes.subnets.iter().map(ToString::to_string).collect(),
    };
    // A member of a listen range cannot leave a family of its group: the group leaves it if no range can carry it.
    let listens = |family: Family| {
        peering.mode != PeeringMode::Listen
            || peering.nodes.subnets.iter().any(|subnet| subnet.family() == family)
    };
    let is_v6 = |prefix: &Prefix| prefix.family() == Family::V6;
    let tree = tree::Tree::new(settings, peers, *release, *ceilings);
    let mut context = json!({
        "switch": me,
        "asn": asn.0,
        "routerId": router_id.map(|id| id.to_string()).unwrap_or_default(),
        "networkInstance": network_instance,
        "peerAsn": peering.peer_asn.to_string(),
        "internal": match peering.peer_asn {
            PeerAsn::Internal => true,
            PeerAsn::Number(number) => number == *asn,
            PeerAsn::External => false,
        },
        "neighbors": neighbors,
        "listenRanges": listen_ranges,
        "groupCarries": {"v4": listens(Family::V4), "v6": listens(Family::V6)},
        "uplinks": uplinks.iter().map(uplink).collect::<Vec<_>>(),
        "communities": {"match": by_size(&communities.wanted), "add": by_size(&communities.add)},
        "imports": imports(&communities.wanted),
        "timers": {"hold": peering.timers.hold.0.as_secs(), "keepalive": peering.timers.keepalive.0.as_secs()},
        "bfd": {
            "enabled": peering.bfd.is_some(),
            "interval": peering.bfd.map_or(300, |bfd| bfd.interval.0.as_millis()),
            "multiplier": peering.bfd.map_or(3, |bfd| bfd.multiplier),
        },
        "maxPrefixes": peering.max_prefixes,
        "password": peering.password_file.as_deref().map(placeholder).unwrap_or_default(),
        "maxPaths": ecmp.max_paths,
        "resilientHash": {
            "enabled": resilient_hash.is_some(),
            "maxPaths": resilient_hash.as_ref().map_or(0, |resilient| resilient.max_paths),
            "bucketsPerPath": resilient_hash.as_ref().map_or(0, |resilient| resilient.buckets_per_path),
            "buckets": resilient_hash.as_ref().map_or(0, buckets),
            "native": resilient_hash.is_some() && *resilience == Some(Resilience::Native),
            "prefixes": tree.resilient_prefixes(),
            "groupPaths": tree.group().paths,
            "groupBuckets": tree.group().buckets,
            "inZebra": resilient_hash.is_some() && *resilience == Some(Resilience::LinkLossOnly),
        },
        "release": release.map(|release| release.to_string()).unwrap_or_default(),
        "pools": pools.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "protected": settings.vips.protected.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "families": {
            "v4": pools.iter().any(|pool| !is_v6(pool)),
            "v6": pools.iter().any(is_v6),
        },
        "filter": {
            "v4": filter(settings, &pools, Family::V4),
            "v6": filter(settings, &pools, Family::V6),
        },
        "vars": vars,
    });
    if let (Value::Object(names), Value::Object(more)) = (&mut context, tree.names()) {
        names.extend(more);
    }
    context
}

/// Buckets of a group; FRR takes 256 at most.
fn buckets(resilient: &ResilientHash) -> u32 {
    (u32::from(resilient.max_paths) * u32::from(resilient.buckets_per_path)).min(256)
}

/// A session carries the family of its addresses; an unnumbered one, which has only link-local addresses, carries both.
fn carries(address: Option<IpAddr>) -> Value {
    json!({"v4": address.is_none_or(|address| address.is_ipv4()), "v6": address.is_none_or(|address| address.is_ipv6())})
}

fn uplink(uplink: &Uplink) -> Value {
    let Uplink { neighbor, peer_asn } = uplink;
    let address = neighbor.parse::<IpAddr>().ok();
    let peer = address.map_or_else(|| neighbor.clone(), |address| address.to_string());
    json!({
        "peer": peer, "unnumbered": address.is_none(), "peerAsn": peer_asn.to_string(), "carries": carries(address),
    })
}

/// Standard and large communities are different attributes with lists of their own; sorted, each once.
fn by_size(communities: &[Community]) -> Value {
    let of = |large: bool| -> Vec<String> {
        let kind: BTreeSet<&Community> =
            communities.iter().filter(|community| community.is_large() == large).collect();
        kind.into_iter().map(ToString::to_string).collect()
    };
    json!({"standard": of(false), "large": of(true)})
}

/// The entries of the import policy: one a family, and where communities of both kinds are asked for one a kind,
/// because the matches of one entry must all hold.
fn imports(wanted: &[Community]) -> Vec<Value> {
    let mut kinds = Vec::new();
    if wanted.iter().any(|community| !community.is_large()) {
        kinds.push("community");
    }
    if wanted.iter().any(|community| community.is_large()) {
        kinds.push("large-community");
    }
    if kinds.is_empty() {
        kinds.push("");
    }
    let families = [("v4", 10), ("v6", 20)];
    families
        .into_iter()
        .flat_map(|(family, first)| kinds.iter().zip(first..).map(move |(kind, seq)| (family, *kind, seq)))
        .map(|(family, kind, seq)| json!({"seq": seq, "family": family, "community": kind}))
        .collect()
}

/// The import filter: protected prefixes denied first, then exactly the host routes of the pools.
///
/// Sequence numbers are derived from the prefix's place in the sorted list, so the same pools give the same lines.
fn filter(settings: &SwitchSettings, pools: &[Prefix], family: Family) -> Vec<Value> {
    let mut protected = settings.vips.protected.clone();
    protected.sort();
    protected.dedup();
    let host_length = match family {
        Family::V4 => 32,
        Family::V6 => 128,
    };
    let deny = protected.into_iter().map(|prefix| (prefix, "deny", format!(" le {host_length}")));
    let permit = pools.iter().map(|prefix| (*prefix, "permit", format!(" ge {host_length}")));
    deny.chain(permit)
        .filter(|(prefix, _, _)| prefix.family() == family)
        .zip(1_u32..)
        .map(|((prefix, action, range), place)| {
            // A range on a host prefix is refused by FRR ("le/ge must be greater than the prefix length").
            let range = if prefix.is_host() { String::new() } else { range };
            json!({"seq": place * 10, "action": action, "prefix": prefix.to_string(), "range": range})
        })
        .collect()
}

/// Renders all texts of a job. Only to be called where a crash is harmless.
pub fn render(job: &Job) -> Result<Candidate, Mistake> {
    let Job { templates, roots, context } = job;
    let mut tera = Tera::new();
    // Templates named *.html would otherwise be escaped.
    tera.autoescape_on(Vec::<&'static str>::new());
    tera.add_raw_templates(texts_of(templates)).map_err(|error| mistake("templates", &error))?;
    names::check(texts_of(templates), &shape(context))?;
    let context = tera::Context::from_serialize(context).map_err(|error| mistake("context", &error))?;
    let mut texts = BTreeMap::new();
    for (owner, root) in roots {
        let mut output = Capped(Vec::new());
        tera.render_to(root, &context, &mut output).map_err(|error| mistake(root, &error))?;
        let text = String::from_utf8(output.0).map_err(|_| plain(root, "the output is not UTF-8"))?;
        if let Some(bad) = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(plain(root, &format!("the output has a control character ({bad:?})")));
        }
        texts.insert(owner.clone(), text);
    }
    Ok(Candidate::rendered(texts))
}

/// Names and texts.
pub fn texts_of(templates: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    templates.iter().map(|(name, text)| (name.as_str(), text.as_str()))
}

/// The context with one element in each list of ours, also where it is empty now: what a template may name in it does not
/// depend on whether a node is there. Of a list only its first element is looked at, so the others are left out.
pub fn shape(context: &Value) -> Value {
    let mut shape = firsts(context);
    let mut sample = |list: &[&str], element: Value| {
        let list = list.iter().try_fold(&mut shape, |value, step| value.get_mut(*step));
        if let Some(list) = list.and_then(Value::as_array_mut).filter(|list| list.is_empty()) {
            list.push(element);
        }
    };
    let carries = json!({"v4": true, "v6": false});
    sample(&["neighbors"], json!({"node": "", "peer": "", "unnumbered": false, "carries": carries}));
    sample(&["uplinks"], json!({"peer": "", "unnumbered": false, "peerAsn": "", "carries": carries}));
    for list in ["match", "add"] {
        sample(&["communities", list, "standard"], json!(""));
        sample(&["communities", list, "large"], json!(""));
    }
    for family in ["v4", "v6"] {
        sample(&["filter", family], json!({"seq": 10, "action": "permit", "prefix": "", "range": ""}));
    }
    for list in ["deny", "permit"] {
        sample(&["guarded", list], json!({"prefix": "", "lengths": ""}));
    }
    sample(&["addressed"], json!({"peer": "", "group": "", "peerAs": 0, "without": ""}));
    sample(&["unnumbered"], json!({"peer": "", "group": "", "ranges": [""]}));
    sample(&["resilientHash", "prefixes"], json!(""));
    for list in ["listenRanges", "pools", "protected", "addressFamilies", "peerAsRanges"] {
        sample(&[list], json!(""));
    }
    shape
}

fn firsts(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.first().map(firsts).into_iter().collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), firsts(value))).collect())
        }
        plain => plain.clone(),
    }
}

fn plain(file: &str, problem: &str) -> Mistake {
    Mistake { file: file.to_owned(), at: None, field: String::new(), problem: problem.to_owned() }
}

fn mistake(file: &str, error: &tera::Error) -> Mistake {
    match error.kind() {
        tera::ErrorKind::SyntaxError(report) | tera::ErrorKind::RenderingError(report) => {
            let span = report.span();
            Mistake {
                file: if report.filename().is_empty() {
                    file.to_owned()
                } else {
                    report.filename().to_owned()
                },
                at: Some((span.start_line as u64, span.start_col as u64 + 1)),
                field: String::new(),
                problem: report.message().to_owned(),
            }
        }
        other => reported(file, &fmt::format(format_args!("{other}"))),
    }
}

/// An error that the engine gives as finished text: the problem, then ` --> file:line:column`, then the source.
fn reported(file: &str, text: &str) -> Mistake {
    let mut lines = text.lines();
    let problem = lines.next().unwrap_or_default();
    let problem = problem.strip_prefix("error: ").unwrap_or(problem);
    let place = lines.find_map(|line| line.trim_start().strip_prefix("--> ")).and_then(|place| {
        let (place, column) = place.rsplit_once(':')?;
        let (name, line) = place.rsplit_once(':')?;
        Some((name, (line.trim().parse().ok()?, column.trim().parse().ok()?)))
    });
    let (file, at) = place.map_or((file, None), |(name, at)| (name, Some(at)));
    Mistake { at, ..plain(file, problem) }
}

/// A buffer that refuses to grow beyond [`OUTPUT_CAP`].
struct Capped(Vec<u8>);

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_CAP {
            return Err(io::Error::other(format!("the output exceeds {} MiB", OUTPUT_CAP >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
