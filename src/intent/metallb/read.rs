//! MetalLB's objects from what the API serves. Fields that announcing does not depend on are skipped; passwords are never
//! read.

use std::net::IpAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::objects::{Asn, BgpAdvertisement, Block, Community, Flaw, Item, Object, Peer, Pool, Scope, State};
use super::selector::{Selector, once, once_each, selectors};
use crate::intent::snapshot::objects::Meta;
use crate::net::{Prefix, cidr_cover};

/// Reads one object; `None` for one that says nothing about announcing.
pub fn object(kind: &str, meta: &Meta, spec: &Value, status: &Value) -> Option<Object> {
    Some(match kind {
        "IPAddressPool" => Object::Pool(item(meta, spec, |spec| pool(&spec))),
        "BGPAdvertisement" => Object::Advertisement(item(meta, spec, advertisement)),
        "BGPPeer" => Object::Peer(item(meta, spec, |spec| peer(&spec))),
        "Community" => Object::Community(item(meta, spec, community)),
        "ConfigurationState" => {
            let node = meta.labels.get("metallb.io/node-name")?.clone();
            Object::State(item(meta, status, |status| Ok((state(node.clone(), status), None))))
        }
        _ => return None,
    })
}

/// What was read, and what is wrong with it although it could be read.
type Reading<T> = Result<(T, Option<Flaw>), String>;

fn item<T: Default, S: DeserializeOwned + Default>(
    meta: &Meta,
    spec: &Value,
    read: impl FnOnce(S) -> Reading<T>,
) -> Item<T> {
    let name = meta.namespaced();
    let parsed = match spec {
        Value::Null => Ok(S::default()),
        spec => S::deserialize(spec).map_err(|error| error.to_string()),
    };
    let (spec, flaw) = match parsed.and_then(read) {
        Ok(read) => read,
        Err(text) => (T::default(), Some(Flaw { scope: Scope::Everywhere, text })),
    };
    Item { name, labels: meta.labels.clone(), spec, flaw }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PoolSpec {
    addresses: Vec<String>,
}

fn pool(spec: &PoolSpec) -> Reading<Pool> {
    if spec.addresses.is_empty() {
        return Err("spec.addresses: is empty".to_owned());
    }
    let blocks: Result<Vec<Block>, String> = spec.addresses.iter().map(|text| block(text)).collect();
    Ok((Pool { blocks: blocks.map_err(|problem| format!("spec.addresses: {problem}"))? }, None))
}

/// `ADDRESS/LENGTH` (host bits are cut, as MetalLB does) or `FIRST-LAST`.
fn block(text: &str) -> Result<Block, String> {
    let invalid = || format!("{text:?} is neither ADDRESS/LENGTH nor FIRST-LAST");
    let Some((first, last)) = text.split_once('-') else {
        let (address, length) = text.split_once('/').ok_or_else(invalid)?;
        // Go takes no sign and no leading zeros here.
        let plain = length.chars().all(|c| c.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
        let length: u8 = length.parse().ok().filter(|_| plain).ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix = Prefix::new(address, length).ok_or_else(invalid)?;
        let last = last_of(prefix);
        return Ok(Block { text: text.to_owned(), first: prefix.address(), last, shortest: length });
    };
    let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| invalid());
    let (first, last) = (address(first)?, address(last)?);
    let cover = cidr_cover(first, last)
        .ok_or_else(|| format!("{text:?}: the first address is after the last one, or of another family"))?;
    let shortest = cover.iter().map(|prefix| prefix.len()).min().unwrap_or(128);
    Ok(Block { text: text.to_owned(), first, last, shortest })
}

fn last_of(prefix: Prefix) -> IpAddr {
    match prefix.address() {
        IpAddr::V4(first) => {
            let hosts = u32::MAX.checked_shr(u32::from(prefix.len())).unwrap_or(0);
            IpAddr::V4((u32::from(first) | hosts).into())
        }
        IpAddr::V6(first) => {
            let hosts = u128::MAX.checked_shr(u32::from(prefix.len())).unwrap_or(0);
            IpAddr::V6((u128::from(first) | hosts).into())
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AdvertisementSpec {
    aggregation_length: Option<i32>,
    aggregation_length_v6: Option<i32>,
    local_pref: u32,
    as_path_prepend: u8,
    communities: Vec<String>,
    #[serde(rename = "ipAddressPools")]
    pools: Vec<String>,
    #[serde(rename = "ipAddressPoolSelectors")]
    pool_selectors: Vec<Selector>,
    node_selectors: Vec<Selector>,
    service_selectors: Vec<Selector>,
    peers: Vec<String>,
}

fn advertisement(spec: AdvertisementSpec) -> Reading<BgpAdvertisement> {
    // A node cannot leave out what is not for it without understanding whom it is for.
    let nodes = selectors("spec.nodeSelectors", &spec.node_selectors)?;
    let mut problem = None;
    let mut note = |wrong: Result<(), String>| problem = problem.take().or(wrong.err());
    note(once("spec.ipAddressPools", &spec.pools));
    note(once("spec.communities", &spec.communities));
    note(once("spec.peers", &spec.peers));
    note(once_each("spec.ipAddressPoolSelectors", &spec.pool_selectors));
    note(once_each("spec.nodeSelectors", &spec.node_selectors));
    note(once_each("spec.serviceSelectors", &spec.service_selectors));
    let (length_v4, length_v6) =
        (spec.aggregation_length.unwrap_or(32), spec.aggregation_length_v6.unwrap_or(128));
    if !spec.service_selectors.is_empty() && (length_v4 != 32 || length_v6 != 128) {
        note(Err("spec.serviceSelectors: not together with an aggregationLength".to_owned()));
    }
    let length = |field: &str, length: i32, most: u8| {
        u8::try_from(length)
            .ok()
            .filter(|length| *length <= most)
            .ok_or_else(|| format!("{field}: {length} (expected at most {most})"))
    };
    let v4 = length("spec.aggregationLength", length_v4, 32);
    let v6 = length("spec.aggregationLengthV6", length_v6, 128);
    note(v4.clone().map(drop));
    note(v6.clone().map(drop));
    let mut read = |field: &str, raw: &[Selector]| match selectors(field, raw) {
        Ok(selectors) => selectors,
        Err(wrong) => {
            note(Err(wrong));
            Vec::new()
        }
    };
    let pool_selectors = read("spec.ipAddressPoolSelectors", &spec.pool_selectors);
    let services = read("spec.serviceSelectors", &spec.service_selectors);
    let advertisement = BgpAdvertisement {
        pools: spec.pools,
        pool_selectors,
        nodes,
        services,
        peers: spec.peers,
        communities: spec.communities,
        length_v4: v4.unwrap_or(32),
        length_v6: v6.unwrap_or(128),
        local_pref: spec.local_pref,
        prepend: spec.as_path_prepend,
    };
    Ok((advertisement, problem.map(|text| Flaw { scope: Scope::ItsNodes, text })))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PeerSpec {
    #[serde(rename = "myASN")]
    my_asn: u32,
    #[serde(rename = "peerASN")]
    peer_asn: u32,
    #[serde(rename = "dynamicASN")]
    dynamic_asn: String,
    peer_address: String,
    interface: String,
    source_address: String,
    #[serde(rename = "routerID")]
    router_id: String,
    node_selectors: Vec<Selector>,
    ebgp_multi_hop: bool,
    dual_stack_address_family: bool,
}

fn peer(spec: &PeerSpec) -> Reading<Peer> {
    let nodes = selectors("spec.nodeSelectors", &spec.node_selectors)?;
    let mut problem = None;
    let mut note = |wrong: &str| {
        problem.get_or_insert_with(|| wrong.to_owned());
    };
    let asn = match (spec.peer_asn, spec.dynamic_asn.as_str()) {
        (0, "") => Asn::Unset,
        (0, "internal") => Asn::Internal,
        (0, "external") => Asn::External,
        (number, "") => Asn::Is(number),
        _ => {
            note("spec.dynamicASN: not internal or external, or not alone");
            Asn::Unset
        }
    };
    if spec.my_asn == 0 {
        note("spec.myASN: is missing");
    }
    if asn == Asn::Unset {
        note("spec.peerASN: is missing, and there is no dynamicASN");
    }
    if spec.ebgp_multi_hop && spec.peer_asn == spec.my_asn {
        note("spec.ebgpMultiHop: the peer is of the same AS");
    }
    if spec.peer_address.is_empty() == spec.interface.is_empty() {
        note("spec.peerAddress: expected this or interface, and one of them only");
    }
    let mut address = |text: &str, field: &str| {
        let parsed = Some(text).filter(|text| !text.is_empty()).map(str::parse::<IpAddr>)?;
        parsed.inspect_err(|_| note(&format!("{field}: {text:?} is not an address"))).ok()
    };
    let peer_address = address(&spec.peer_address, "spec.peerAddress");
    address(&spec.source_address, "spec.sourceAddress");
    address(&spec.router_id, "spec.routerID");
    if let Err(wrong) = once_each("spec.nodeSelectors", &spec.node_selectors) {
        note(&wrong);
    }
    let peer = Peer {
        address: peer_address,
        nodes,
        local_asn: spec.my_asn,
        asn,
        both_families: spec.dual_stack_address_family || !spec.interface.is_empty(),
    };
    Ok((peer, problem.map(|text| Flaw { scope: Scope::ItsNodes, text })))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CommunitySpec {
    communities: Vec<Alias>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Alias {
    name: String,
    value: String,
}

fn community(spec: CommunitySpec) -> Reading<Community> {
    for Alias { name, value } in &spec.communities {
        if value_of_community(value) != Some(true) {
            return Err(format!("spec.communities: {name}: {value:?} is not a community"));
        }
    }
    Ok((Community { names: spec.communities.into_iter().map(|alias| alias.name).collect() }, None))
}

/// `A:B` or `large:A:B:C`; `Some(false)` for what looks like one and is none, `None` for what may be a name.
pub fn value_of_community(text: &str) -> Option<bool> {
    let fields: Vec<&str> = text.split(':').collect();
    // Go's ParseUint takes digits only, with leading zeros.
    let digits = |field: &&str| !field.is_empty() && field.chars().all(|c| c.is_ascii_digit());
    match fields.as_slice() {
        [one, two] => Some([one, two].into_iter().all(|field| digits(field) && field.parse::<u16>().is_ok())),
        [marker, rest @ ..] if rest.len() == 3 => {
            Some(*marker == "large" && rest.iter().all(|f| digits(f) && f.parse::<u32>().is_ok()))
        }
        _ => None,
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StateStatus {
    result: String,
    error_summary: String,
    conditions: Vec<StateCondition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StateCondition {
    status: String,
    message: String,
}

/// The longest that a speaker is quoted.
const QUOTE: usize = 256;

fn state(node: String, status: StateStatus) -> State {
    let StateStatus { result, error_summary, conditions } = status;
    let said = conditions.into_iter().find(|condition| condition.status == "False");
    let said = said.map(|condition| condition.message);
    let refuses = said.or_else(|| (result == "Invalid").then_some(error_summary));
    let quote = |text: String| text.chars().filter(|c| !c.is_control()).take(QUOTE).collect();
    State { node, refuses: refuses.map(quote) }
}
