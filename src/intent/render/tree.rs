//! What templates for a NOS with a tree of typed leaves need beside the words that FRR takes: numbers for AS names, ranges of
//! mask lengths, one list of neighbours an address kind, and what the chassis can hold.

use serde_json::{Value, json};

use crate::change::dialect::srlinux::release;
use crate::intent::nexthops::Peers;
use crate::intent::platform::{Ceilings, Release};
use crate::intent::settings::{PeerAsn, PeeringMode, ResilientHash, ResilientPrefixes, SwitchSettings};
use crate::net::{Family, Prefix};

/// Group of the nodes, and of the fabric's routers.
const SPEAKERS: &str = "SWITCHLET-SPEAKERS";
const UPLINKS: &str = "SWITCHLET-UPLINKS";
/// Equal paths that every chassis takes: the bound of the oldest grammar.
const PATHS: u16 = 64;

/// Settings, seen so.
pub(super) struct Tree<'a> {
    settings: &'a SwitchSettings,
    peers: &'a Peers,
    release: Option<Release>,
    ceilings: Option<Ceilings>,
}

/// A resilient group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Next-hops that it is sized for.
    pub(super) paths: u16,
    /// Buckets for each.
    pub(super) buckets: u16,
}

impl<'a> Tree<'a> {
    pub(super) fn new(
        settings: &'a SwitchSettings,
        peers: &'a Peers,
        release: Option<Release>,
        ceilings: Option<Ceilings>,
    ) -> Self {
        Self { settings, peers, release, ceilings }
    }

    /// The names that only such a NOS needs.
    pub(super) fn names(&self) -> Value {
        let asn = self.settings.peering.peer_asn;
        json!({
            "multipath": self.multipath(),
            "preference": self.settings.preference.unwrap_or(0),
            "grammar": self.grammar(),
            "prefixLimit": self.prefix_limit(),
            "addressFamilies": self.families(),
            "peerAs": self.peer_as(asn),
            "peerAsRanges": self.ranges(asn),
            "addressed": self.addressed(),
            "unnumbered": self.unnumbered(),
            "guarded": {"deny": self.denied(), "permit": self.permitted()},
        })
    }

    /// `A`, `B`, `C`; empty where the release is not one that is written for.
    fn grammar(&self) -> String {
        release::grammar(self.release).map(|grammar| grammar.to_string()).unwrap_or_default()
    }

    fn prefix_limit(&self) -> &'static str {
        if release::limit_is_renamed(self.release) { "prefix-limit-received" } else { "prefix-limit" }
    }

    /// Equal paths, as many as wanted and as the chassis takes.
    fn multipath(&self) -> u16 {
        let most = match release::grammar(self.release) {
            Ok(release::Grammar::A) | Err(_) => PATHS,
            Ok(_) => self.ceilings.map_or(PATHS, |ceilings| ceilings.paths),
        };
        self.settings.ecmp.max_paths.min(most)
    }

    /// The families that there are pools of, in the names of the model.
    fn families(&self) -> Vec<&'static str> {
        let pools = self.settings.pools();
        let has = |family: Family| pools.iter().any(|pool| pool.family() == family);
        let names = [(Family::V4, "ipv4-unicast"), (Family::V6, "ipv6-unicast")];
        names.into_iter().filter(|(family, _)| has(*family)).map(|(_, name)| name).collect()
    }

    /// A number, or 0 for "another than ours".
    fn peer_as(&self, asn: PeerAsn) -> u32 {
        match asn {
            PeerAsn::Internal => self.settings.asn.0,
            PeerAsn::Number(number) => number.0,
            PeerAsn::External => 0,
        }
    }

    /// AS numbers as ranges: one number, or all but ours.
    fn ranges(&self, asn: PeerAsn) -> Vec<String> {
        let own = self.settings.asn.0;
        match self.peer_as(asn) {
            0 => {
                let below = (own > 1).then(|| span(1, own - 1));
                let above = (own < u32::MAX).then(|| span(own + 1, u32::MAX));
                below.into_iter().chain(above).collect()
            }
            number => vec![number.to_string()],
        }
    }

    /// Neighbours with an address: nodes, then routers of the fabric.
    fn addressed(&self) -> Vec<Value> {
        let peering = &self.settings.peering;
        let nodes = self.peers.values().flatten().filter(|_| peering.mode == PeeringMode::Static);
        let nodes = nodes.filter(|hop| hop.device.is_none()).filter_map(|hop| hop.address);
        let nodes = nodes.map(|address| (address, SPEAKERS, 0));
        let routers = self.settings.uplinks.iter().filter_map(|uplink| {
            Some((uplink.neighbor.parse().ok()?, UPLINKS, self.peer_as(uplink.peer_asn)))
        });
        let both = self.families().len() > 1;
        nodes
            .chain(routers)
            .map(|(address, group, peer_as)| {
                let without = match Family::of(address) {
                    _ if !both => "",
                    Family::V4 => "ipv6-unicast",
                    Family::V6 => "ipv4-unicast",
                };
                json!({"peer": address.to_string(), "group": group, "peerAs": peer_as, "without": without})
            })
            .collect()
    }

    /// Neighbours known by their subinterface.
    fn unnumbered(&self) -> Vec<Value> {
        let peering = &self.settings.peering;
        let nodes = self.peers.values().flatten().filter(|_| peering.mode == PeeringMode::Static);
        let nodes = nodes.filter_map(|hop| hop.device.clone()).map(
            |device| json!({"peer": device, "group": SPEAKERS, "ranges": self.ranges(peering.peer_asn)}),
        );
        let is_address = |name: &str| name.parse::<std::net::IpAddr>().is_ok();
        let routers = self.settings.uplinks.iter().filter(|uplink| !is_address(&uplink.neighbor)).map(|uplink| {
            json!({"peer": uplink.neighbor, "group": UPLINKS, "ranges": self.ranges(uplink.peer_asn)})
        });
        nodes.chain(routers).collect()
    }

    /// What is never accepted, with all that is longer.
    fn denied(&self) -> Vec<Value> {
        let mut all = self.settings.vips.protected.clone();
        all.sort();
        all.dedup();
        all.into_iter().map(|prefix| lengths(prefix, prefix.len())).collect()
    }

    /// Host routes of the pools.
    fn permitted(&self) -> Vec<Value> {
        self.settings.pools().into_iter().map(|pool| lengths(pool, width(pool))).collect()
    }

    pub(super) fn resilient_prefixes(&self) -> Vec<String> {
        let prefixes = match &self.settings.resilient_hash {
            None => Vec::new(),
            Some(ResilientHash { prefixes: ResilientPrefixes::Word(_), .. }) => self.settings.pools(),
            Some(ResilientHash { prefixes: ResilientPrefixes::List(list), .. }) => {
                let mut list = list.clone();
                list.sort();
                list.dedup();
                list
            }
        };
        prefixes.iter().map(ToString::to_string).collect()
    }

    /// As wanted, or for as many nodes as there are and a quarter more, in steps of eight so that a node that comes does not
    /// move all flows; as far as the chassis goes.
    pub(super) fn group(&self) -> Group {
        let Some(ResilientHash { max_paths, buckets_per_path, .. }) = self.settings.resilient_hash else {
            return Group::default();
        };
        let announcers = u16::try_from(self.peers.len()).unwrap_or(u16::MAX);
        let room = announcers.saturating_add(announcers.div_ceil(4));
        let wanted = if announcers > max_paths { room.div_ceil(8).saturating_mul(8) } else { max_paths };
        let wanted = (wanted.min(PATHS), buckets_per_path);
        let (paths, buckets) = self.ceilings.map_or(wanted, |ceilings| ceilings.group(wanted.0, wanted.1));
        Group { paths, buckets }
    }
}

fn span(first: u32, last: u32) -> String {
    if first == last { first.to_string() } else { format!("{first}..{last}") }
}

fn width(prefix: Prefix) -> u8 {
    match prefix.family() {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

/// A prefix with the mask lengths from `first` to that of a host.
fn lengths(prefix: Prefix, first: u8) -> Value {
    let lengths = if prefix.is_host() { "exact".to_owned() } else { format!("{first}..{}", width(prefix)) };
    json!({"prefix": prefix.to_string(), "lengths": lengths})
}
