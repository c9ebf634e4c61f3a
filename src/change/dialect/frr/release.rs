//! What depends on FRR's release.

use crate::intent::platform::{Platform, Release, Resilience};

/// From here on `zebra nexthop-group resilience` exists, for all groups that zebra makes.
const RESILIENT_GROUPS: Release = Release { major: 10, minor: 8 };

/// From the first line of `show version`: `FRRouting 10.3 (leaf1) on Linux(6.18).`
pub fn platform(version: &str) -> Platform {
    as_platform(release(version))
}

/// What a release can do.
pub(super) fn as_platform(release: Option<Release>) -> Platform {
    let resilience = release.map(|release| {
        if release >= RESILIENT_GROUPS { Resilience::LinkLossOnly } else { Resilience::UnsupportedByFRR }
    });
    Platform { release, resilience, ..Platform::default() }
}

/// The release that a running text names in its head: `frr version 10.3`.
pub(super) fn of_text(running: &str) -> Option<Release> {
    running.lines().find_map(|line| number(line.strip_prefix("frr version ")?.trim_end()))
}

fn release(version: &str) -> Option<Release> {
    number(version.strip_prefix("FRRouting ")?.split_whitespace().next()?)
}

fn number(number: &str) -> Option<Release> {
    let mut parts = number.split(['.', '-', '_', '+']);
    let mut part = || parts.next()?.parse().ok();
    Some(Release { major: part()?, minor: part()? })
}
