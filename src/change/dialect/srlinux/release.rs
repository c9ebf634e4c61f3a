//! What depends on SR Linux's release and on the chassis.
//!
//! The tree that carries a VIP peering changed twice between 23.3 and 25.3, and each wrong form is a hard error on the switch.
//! What a chassis can do stands in no model: the table here is from Nokia's feature lists and data sheets.

use std::fmt;

use crate::intent::platform::{Ceilings, Platform, Release, Resilience};
use crate::intent::settings::Assume;

/// Which leaves a release knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grammar {
    /// 23.3 to 24.3: `max-paths-level-1`, policies as single leaves.
    A,
    /// 24.7 and 24.10: `maximum-paths`, policies as lists.
    B,
    /// From 25.3: `ebgp/maximum-paths` and `ibgp/maximum-paths`, prefix sets below `match/prefix`.
    C,
}

impl fmt::Display for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        })
    }
}

/// The oldest release that is driven: statements of a policy have had names since then.
const OLDEST: Release = Release { major: 23, minor: 3 };
/// The prefix limit got its present name.
const LIMIT_RENAMED: Release = Release { major: 24, minor: 3 };
const B_BEGINS: Release = Release { major: 24, minor: 7 };
/// Resilient groups of the chip `fpcx`, which the 7730 has: before, the model has no leaf for them there.
const FPCX_RESILIENT: Release = Release { major: 24, minor: 7 };
/// The model leaves the bound of a resilient group's buckets to the chip; before, it says [`WORDED_BUCKETS`] for all of them.
const LIMIT_BY_CHIP: Release = Release { major: 24, minor: 3 };
const WORDED_BUCKETS: u16 = 128;
const C_BEGINS: Release = Release { major: 25, minor: 3 };
/// The newest release whose paths were read (`srl-labs/yang-browser`, 25.10.1).
const NEWEST: Release = Release { major: 25, minor: 10 };

/// Why a release is not written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// The switch has not told its release.
    #[error("the release is not known: the switch has not told it")]
    Unknown,
    /// Its tree is another one.
    #[error("release {0} is older than {OLDEST}")]
    TooOld(Release),
    /// Nobody has read its models.
    #[error("release {0} is newer than {NEWEST}, whose grammar is the newest known")]
    TooNew(Release),
}

/// The grammar of a release.
pub fn grammar(release: Option<Release>) -> Result<Grammar, Unwritable> {
    match release.ok_or(Unwritable::Unknown)? {
        old if old < OLDEST => Err(Unwritable::TooOld(old)),
        new if new > NEWEST => Err(Unwritable::TooNew(new)),
        release if release < B_BEGINS => Ok(Grammar::A),
        release if release < C_BEGINS => Ok(Grammar::B),
        _ => Ok(Grammar::C),
    }
}

/// True if the release calls the limit `prefix-limit-received`; before that it was `prefix-limit`.
pub fn limit_is_renamed(release: Option<Release>) -> bool {
    release.is_none_or(|release| release >= LIMIT_RENAMED)
}

/// From the words of the switch: `/system/information/version` (`v25.3.2-312-g…`) and `/platform/chassis/type`
/// (`7220 IXR-D2L`).
pub fn platform(version: &str, chassis: &str) -> Platform {
    of(version.parse().ok(), Some(chassis.trim().to_owned()).filter(|chassis| !chassis.is_empty()))
}

/// `told` as far as the switch has told it, the rest as `assume` says.
pub fn assumed(told: &Platform, assume: Option<&Assume>) -> Platform {
    let Some(Assume { release, chassis }) = assume else { return told.clone() };
    let stand_in = release.as_deref().and_then(|release| release.parse().ok());
    let release = match grammar(told.release) {
        Ok(_) | Err(Unwritable::TooOld(_)) => told.release,
        Err(Unwritable::Unknown | Unwritable::TooNew(_)) => stand_in.or(told.release),
    };
    of(release, told.chassis.clone().or_else(|| chassis.clone()))
}

fn of(release: Option<Release>, chassis: Option<String>) -> Platform {
    let (resilience, ceilings) = chassis.as_deref().map_or((None, None), |chassis| {
        let (resilience, ceilings) = abilities(chassis, release);
        (Some(resilience), ceilings)
    });
    Platform { release, resilience, chassis, ceilings }
}

/// Chassis by the beginning of their names, and what they can do. Resilient hashing: the features `trident3`, `trident4`,
/// `ixr-dnx` and `fpcx` of the models. Buckets: `max-ecmp-hash-buckets-per-next-hop-group` of the same chip, which is taken for
/// the bound of a resilient group, too; 23.x says 128 in words. Paths: `bgp-multipath-maximum-paths-limit-…`.
const CHASSIS: &[(&str, Resilience, Ceilings)] = &[
    ("7220 IXR-D2", Resilience::Native, TRIDENT),
    ("7220 IXR-D3", Resilience::Native, TRIDENT),
    ("7220 IXR-D4", Resilience::Native, TRIDENT),
    ("7220 IXR-D5", Resilience::Native, TRIDENT),
    ("7220 IXR-H2", Resilience::UnsupportedPlatform, TOMAHAWK_3),
    ("7220 IXR-H3", Resilience::UnsupportedPlatform, TOMAHAWK_3),
    ("7220 IXR-H4", Resilience::UnsupportedPlatform, TRIDENT),
    ("7220 IXR-H5", Resilience::UnsupportedPlatform, TRIDENT),
    ("7215", Resilience::UnsupportedPlatform, Ceilings { paths: 8, resilient_paths: 8, buckets: 8 }),
    ("7250 IXR", Resilience::Native, Ceilings { paths: 256, resilient_paths: 64, buckets: 256 }),
    ("7730 SXR", Resilience::Native, Ceilings { paths: 64, resilient_paths: 64, buckets: 64 }),
];
const TRIDENT: Ceilings = Ceilings { paths: 128, resilient_paths: 64, buckets: 128 };
const TOMAHAWK_3: Ceilings = Ceilings { paths: 128, resilient_paths: 64, buckets: 64 };

/// What a chassis can do; one that stands in no list gets no resilient groups.
fn abilities(chassis: &str, release: Option<Release>) -> (Resilience, Option<Ceilings>) {
    let name = chassis.to_ascii_uppercase();
    let too_early = name.starts_with("7730") && release.is_some_and(|release| release < FPCX_RESILIENT);
    let known = CHASSIS.iter().find(|(begins, ..)| name.starts_with(begins));
    known.map_or((Resilience::UnknownPlatform, None), |(_, resilience, ceilings)| {
        let resilience = if too_early { Resilience::UnsupportedPlatform } else { *resilience };
        let worded = release.is_some_and(|release| release < LIMIT_BY_CHIP);
        let most = if worded { WORDED_BUCKETS } else { ceilings.buckets };
        (resilience, Some(Ceilings { buckets: ceilings.buckets.min(most), ..*ceilings }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: Option<Release> = Some(Release { major: 25, minor: 3 });

    #[test]
    fn every_release_has_its_grammar_or_none() {
        for (version, expected) in [
            ("v23.3.2-100-gabc", Ok(Grammar::A)),
            ("v23.7.1", Ok(Grammar::A)),
            ("24.3.3", Ok(Grammar::A)),
            ("v24.7.2-1-g0", Ok(Grammar::B)),
            ("v24.10.3", Ok(Grammar::B)),
            ("v25.3.2-312-gdeadbeef", Ok(Grammar::C)),
            ("v25.10.1", Ok(Grammar::C)),
            ("v22.11.2", Err(Unwritable::TooOld(Release { major: 22, minor: 11 }))),
            ("v26.3.1", Err(Unwritable::TooNew(Release { major: 26, minor: 3 }))),
            ("garbage", Err(Unwritable::Unknown)),
        ] {
            assert_eq!(grammar(platform(version, "").release), expected, "{version}");
        }
    }

    #[test]
    fn what_is_assumed_never_beats_a_word_that_is_understood() {
        let assume = Assume { release: Some("25.3".to_owned()), chassis: Some("7220 IXR-D5".to_owned()) };
        let told = platform("v23.7.1", "7220 IXR-H3");
        assert_eq!(assumed(&told, Some(&assume)), told);
        assert_eq!(assumed(&platform("v26.3.1", "7220 IXR-H3"), Some(&assume)).release, C);
        let silent = assumed(&Platform::default(), Some(&assume));
        assert_eq!((silent.release, silent.resilience), (C, Some(Resilience::Native)));
        assert_eq!(
            assumed(&platform("v22.6.1", ""), Some(&assume)).release,
            Some(Release { major: 22, minor: 6 }),
            "too old stays refused"
        );
    }

    #[test]
    fn a_7730_has_resilient_groups_since_24_7() {
        for (version, expected) in [
            ("v23.10.5", Resilience::UnsupportedPlatform),
            ("v24.3.3", Resilience::UnsupportedPlatform),
            ("v24.7.2", Resilience::Native),
            ("v25.3.1", Resilience::Native),
        ] {
            assert_eq!(platform(version, "7730 SXR-1x-44S").resilience, Some(expected), "{version}");
        }
    }

    #[test]
    fn no_group_of_23_has_more_than_128_buckets() {
        for (version, chassis, expected) in [
            ("v23.10.5", "7250 IXR-10", 128),
            ("v24.3.3", "7250 IXR-10", 256),
            ("v23.7.1", "7220 IXR-H3", 64),
        ] {
            let buckets = platform(version, chassis).ceilings.map(|ceilings| ceilings.buckets);
            assert_eq!(buckets, Some(expected), "{version} {chassis}");
        }
    }

    #[test]
    fn chassis_without_resilient_groups_are_known() {
        for (chassis, expected) in [
            ("7220 IXR-D2L", Resilience::Native),
            ("7220 IXR-D5", Resilience::Native),
            ("7220 IXR-H2", Resilience::UnsupportedPlatform),
            ("7220 IXR-H3", Resilience::UnsupportedPlatform),
            ("7220 IXR-H4-32D", Resilience::UnsupportedPlatform),
            ("7220 IXR-H5-64D", Resilience::UnsupportedPlatform),
            ("7215 IXS-A1", Resilience::UnsupportedPlatform),
            ("7250 IXR-X3b", Resilience::Native),
            ("7999 FANCY", Resilience::UnknownPlatform),
        ] {
            assert_eq!(platform("v25.3.1", chassis).resilience, Some(expected), "{chassis}");
        }
        assert_eq!(platform("v25.3.1", "").resilience, None);
    }
}
