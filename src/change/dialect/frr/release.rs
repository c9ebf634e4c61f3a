//! What depends on FRR's release.

use crate::intent::platform::{Platform, Release, Resilience};

/// From here on `zebra nexthop-group resilience` exists, for all groups that zebra makes.
const RESILIENT_GROUPS: Release = Release { major: 10, minor: 8 };

/// From the first line of `show version`: `FRRouting 10.3 (leaf1) on Linux(6.18).`
pub fn platform(version: &str) -> Platform {
    let release = release(version);
    let resilience = release.map(|release| {
        if release >= RESILIENT_GROUPS { Resilience::LinkLossOnly } else { Resilience::UnsupportedByFRR }
    });
    Platform { release, resilience }
}

fn release(version: &str) -> Option<Release> {
    let number = version.strip_prefix("FRRouting ")?.split_whitespace().next()?;
    let mut parts = number.split(['.', '-', '_', '+']);
    let mut part = || parts.next()?.parse().ok();
    Some(Release { major: part()?, minor: part()? })
}
