//! BGP communities as FRR spells them: `AA:NN`, a well-known name, or a large one `AA:NN:MM`.
//!
//! A number that has a name is written by its name, and lists are sorted, because that is how FRR gives them back.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// Names that FRR knows (`bgpd/bgp_community.h`), with their numbers from IANA's registry. `internet` is left out: in a list it
/// matches everything.
const WELL_KNOWN: [(u32, &str); 14] = [
    (0xFFFF_0000, "graceful-shutdown"),
    (0xFFFF_0001, "accept-own"),
    (0xFFFF_0002, "route-filter-translated-v4"),
    (0xFFFF_0003, "route-filter-v4"),
    (0xFFFF_0004, "route-filter-translated-v6"),
    (0xFFFF_0005, "route-filter-v6"),
    (0xFFFF_0006, "llgr-stale"),
    (0xFFFF_0007, "no-llgr"),
    (0xFFFF_0008, "accept-own-nexthop"),
    (0xFFFF_029A, "blackhole"),
    (0xFFFF_FF01, "no-export"),
    (0xFFFF_FF02, "no-advertise"),
    (0xFFFF_FF03, "local-AS"),
    (0xFFFF_FF04, "no-peer"),
];

/// One community.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Community {
    /// RFC 1997: 16 bits of AS number, 16 bits of its own.
    Standard(u32),
    /// RFC 8092: AS number and two numbers of its own, 32 bits each.
    Large(u32, u32, u32),
}

impl Community {
    /// True for one of three numbers.
    pub fn is_large(self) -> bool {
        matches!(self, Self::Large(..))
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Large(global, first, second) => write!(f, "{global}:{first}:{second}"),
            Self::Standard(number) => match WELL_KNOWN.iter().find(|(known, _)| known == number) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "{}:{}", number >> 16, number & 0xFFFF),
            },
        }
    }
}

impl std::str::FromStr for Community {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((number, _)) = WELL_KNOWN.iter().find(|(_, name)| *name == text) {
            return Ok(Self::Standard(*number));
        }
        let number = |part: &str, most: u32| {
            let value = part.parse::<u32>().ok().filter(|value| *value <= most);
            let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            value
                .filter(|_| plain)
                .ok_or_else(|| format!("`{part}` in community `{text}` is not a number from 0 to {most}"))
        };
        match text.split(':').collect::<Vec<_>>().as_slice() {
            [high, low] => {
                let value = number(high, 0xFFFF)? << 16 | number(low, 0xFFFF)?;
                match value {
                    0 => {
                        Err("community `0:0` is `internet`, which matches everything (expected another one)"
                            .to_owned())
                    }
                    value => Ok(Self::Standard(value)),
                }
            }
            [global, first, second] => Ok(Self::Large(
                number(global, u32::MAX)?,
                number(first, u32::MAX)?,
                number(second, u32::MAX)?,
            )),
            _ => {
                let names: Vec<&str> = WELL_KNOWN.iter().map(|(_, name)| *name).collect();
                Err(match crate::intent::yaml::nearest(text, &names) {
                    Some(nearest) => format!("`{text}` is not a community (did you mean `{nearest}`?)"),
                    None => format!(
                        "`{text}` is not a community (expected AA:NN, AA:NN:MM or a name such as no-export)"
                    ),
                })
            }
        }
    }
}

impl Serialize for Community {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Community {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Community {
    fn schema_name() -> Cow<'static, str> {
        "Community".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = WELL_KNOWN.iter().map(|(_, name)| *name).collect();
        let pattern = format!("^([0-9]+:[0-9]+(:[0-9]+)?|{})$", names.join("|"));
        json_schema!({"type": "string", "pattern": pattern, "examples": ["65001:100", "65001:1:2", "no-export"]})
    }
}
