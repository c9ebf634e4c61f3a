//! How flows are spread over next-hops: remarks, not differences.
//!
//! A VIP may forward to exactly its next-hops and still hurt: all flows of a client on one node, or flows that move when a
//! node comes or goes. What is said is what the kernel does, read back, never what it was asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::health::VipVerdict;
use crate::health::compare::{Compared, Remark};
use crate::health::ladder::Rung;
use crate::intent::platform::{Platform, Resilience};
use crate::intent::settings::{ResilientHash, ResilientPrefixes, SwitchSettings};
use crate::intent::snapshot::Issue;
use crate::net::{Family, HashLayer, Hashing, Prefix, Resilient};

#[cfg(test)]
mod tests;

/// The prefixes of a look that are to be hashed resiliently, and have something to be hashed over.
fn covered<'a>(
    settings: &'a SwitchSettings,
    compared: &'a BTreeMap<Prefix, Compared>,
) -> impl Iterator<Item = Prefix> + 'a {
    let wanted = move |prefix: Prefix| match &settings.resilient_hash {
        None => false,
        Some(ResilientHash { prefixes: ResilientPrefixes::Word(_), .. }) => true,
        Some(ResilientHash { prefixes: ResilientPrefixes::List(list), .. }) => {
            list.iter().any(|listed| listed.covers(prefix))
        }
    };
    let several = |compared: &Compared| compared.expected.len() > 1 && compared.observed.len() > 1;
    compared.iter().filter(move |(prefix, of)| several(of) && wanted(**prefix)).map(|(prefix, _)| *prefix)
}

/// The next-hop groups that must be read to know how those flows move.
pub fn groups(settings: &SwitchSettings, compared: &BTreeMap<Prefix, Compared>) -> BTreeSet<u32> {
    covered(settings, compared).filter_map(|prefix| compared[&prefix].group).collect()
}

/// Puts a remark on every prefix whose flows will move although they are to stay.
///
/// `groups`: what the kernel says about those of [`groups`]; one that is not there any more makes no remark.
pub fn remark(
    settings: &SwitchSettings,
    platform: &Platform,
    groups: &BTreeMap<u32, Option<Resilient>>,
    compared: &mut BTreeMap<Prefix, Compared>,
) {
    let covered: BTreeSet<Prefix> = covered(settings, compared).collect();
    for (_, compared) in compared.iter_mut().filter(|(prefix, _)| covered.contains(prefix)) {
        let found = compared.group.map(|id| groups.get(&id));
        if platform.resilience == Some(Resilience::Native)
            && let Some(Some(Some(Resilient { unused, .. }))) = found
        {
            if *unused > 0 {
                let text = format!("{unused} next-hops get no traffic: the group was sized for fewer");
                compared.remark = Some(Remark { rung: Rung::ResilienceTruncated, text });
            }
            continue;
        }
        let form = match found {
            None => "next-hops without a group".to_owned(),
            Some(None) => continue,
            Some(Some(None)) => "a plain group".to_owned(),
            Some(Some(Some(Resilient { buckets, idle_timer, unbalanced_timer, unused: _ }))) => format!(
                "a resilient group ({buckets} buckets, idle {} s, unbalanced {} s)",
                idle_timer.as_secs(),
                unbalanced_timer.as_secs()
            ),
        };
        let text = format!("the kernel has {form}; {}", cause(platform));
        let text =
            if platform.chassis.is_some() { text.replacen("the kernel", "the switch", 1) } else { text };
        let text = format!("flows move when a node comes or goes: {text}");
        compared.remark = Some(Remark { rung: Rung::ResilienceMissing, text });
    }
}

/// Why flows move, with the word of the closed list first.
fn cause(platform: &Platform) -> String {
    let release = platform.release.map(|release| format!(" {release}")).unwrap_or_default();
    let chassis = platform.chassis_name();
    match platform.resilience {
        None => "what this NOS can do is not known".to_owned(),
        Some(cause @ Resilience::UnsupportedByFRR) => {
            format!("{cause:?}: FRR{release} makes no resilient groups for BGP's routes")
        }
        Some(cause @ Resilience::LinkLossOnly) => format!(
            "{cause:?}: FRR{release} keeps flows in place when a link is lost, not when a node withdraws"
        ),
        Some(Resilience::Native) => "a resilient group is configured and does not take effect".to_owned(),
        Some(cause @ Resilience::UnsupportedPlatform) => {
            format!("{cause:?}: {chassis} has no resilient groups")
        }
        Some(cause @ Resilience::UnknownPlatform) => {
            format!("{cause:?}: nobody knows whether {chassis} has resilient groups, so none is asked for")
        }
    }
}

/// What an on-call person must know about the hash, if there is any prefix that it matters to.
pub fn issues(compared: &BTreeMap<Prefix, Compared>, hashing: Hashing) -> Vec<Issue> {
    let matters = |family: Family| {
        compared.iter().any(|(prefix, of)| prefix.family() == family && of.expected.len() > 1)
    };
    [(Family::V4, "ipv4"), (Family::V6, "ipv6")]
        .into_iter()
        .filter(|(family, _)| hashing.of(*family) == Some(HashLayer::Three) && matters(*family))
        .map(|(_, name)| {
            Issue::new(
                format!("sysctl net.{name}.fib_multipath_hash_policy"),
                "HashPolicyLayer3",
                "the kernel hashes over addresses only, so all flows from one client to one VIP land on one node \
                 (expected 1, layer 4)",
            )
        })
        .collect()
}

/// Routers of the fabric are not told a VIP before the chip has it: `wait-for-fib-install`, which SR Linux has unless told
/// otherwise.
pub fn waiting(settings: &SwitchSettings, platform: &Platform, vips: &[VipVerdict]) -> Vec<Issue> {
    if platform.chassis.is_none() || settings.uplinks.is_empty() {
        return Vec::new();
    }
    let late = vips.iter().filter(|vip| vip.rung == Some(Rung::HardwareNotProgrammed));
    late.map(|vip| {
        let message = "the uplinks are not told before it is programmed (wait-for-fib-install)";
        Issue::new(format!("VIP {}", vip.prefix), "AdvertisementWaits", message)
    })
    .collect()
}

/// What this switch can do, as `Switch.status.capabilities` has it.
pub fn capabilities(platform: &Platform, hashing: Hashing) -> [(&'static str, String); 3] {
    let layer = |family| match hashing.of(family) {
        None => "unknown",
        Some(HashLayer::Three) => "layer3",
        Some(HashLayer::Four) => "layer4",
    };
    let resilience = platform.resilience.map_or("Unknown".to_owned(), |cause| format!("{cause:?}"));
    [
        ("resilientHash", resilience),
        ("multipathHashIPv4", layer(Family::V4).to_owned()),
        ("multipathHashIPv6", layer(Family::V6).to_owned()),
    ]
}
