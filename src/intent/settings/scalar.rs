//! The words and numbers of `switch.yaml` that need more than a type of the standard library.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::net::{self, Prefix};

/// A duration written with its unit: `300ms`, `9s`, `10m`, `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0s"),
            _ if millis.is_multiple_of(3_600_000) => write!(f, "{}h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => write!(f, "{}m", millis / 60_000),
            _ if millis.is_multiple_of(1000) => write!(f, "{}s", millis / 1000),
            _ => write!(f, "{millis}ms"),
        }
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not a duration (expected a number with unit, such as 300ms, 9s, 10m, 2h)")
        };
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(|millis| Self(Duration::from_millis(millis))).ok_or_else(wrong)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "examples": ["300ms", "9s", "10m"]})
    }
}

/// An autonomous system number, 1–4294967295.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Asn(pub u32);

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Asn {
    fn checked<E: de::Error>(number: u64) -> Result<Self, E> {
        match u32::try_from(number) {
            // 0 is reserved by RFC 7607.
            Ok(number) if number > 0 => Ok(Self(number)),
            _ => Err(E::custom(format!("AS number {number} is out of range (expected 1 to 4294967295)"))),
        }
    }
}

impl<'de> Deserialize<'de> for Asn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::checked(u64::deserialize(deserializer)?)
    }
}

impl JsonSchema for Asn {
    fn schema_name() -> Cow<'static, str> {
        "AsNumber".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": 4_294_967_295_u64})
    }
}

/// The AS number expected of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAsn {
    /// Any number but ours (eBGP).
    External,
    /// Ours (iBGP).
    Internal,
    /// This one.
    Number(Asn),
}

impl fmt::Display for PeerAsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External => f.write_str("external"),
            Self::Internal => f.write_str("internal"),
            Self::Number(asn) => asn.fmt(f),
        }
    }
}

impl Serialize for PeerAsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(asn) => asn.serialize(serializer),
            word => serializer.collect_str(word),
        }
    }
}

impl<'de> Deserialize<'de> for PeerAsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = PeerAsn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`external`, `internal` or an AS number")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PeerAsn, E> {
                Asn::checked(number).map(PeerAsn::Number)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PeerAsn, E> {
                Asn::checked(u64::try_from(number).unwrap_or(0)).map(PeerAsn::Number)
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<PeerAsn, E> {
                match word {
                    "external" => Ok(PeerAsn::External),
                    "internal" => Ok(PeerAsn::Internal),
                    other => other
                        .parse::<u64>()
                        .map_err(|_| E::invalid_value(de::Unexpected::Str(other), &self))
                        .and_then(|number| Asn::checked(number).map(PeerAsn::Number)),
                }
            }
        }
        deserializer.deserialize_any(Words)
    }
}

impl JsonSchema for PeerAsn {
    fn schema_name() -> Cow<'static, str> {
        "PeerAsNumber".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = Asn::json_schema(generator);
        json_schema!({"anyOf": [{"enum": ["external", "internal"]}, number]})
    }
}

/// Addresses that Services may get: a prefix, or a range `FIRST-LAST` (inclusive).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    text: String,
    cover: Vec<Prefix>,
}

impl Pool {
    /// The minimal set of prefixes with exactly these addresses.
    pub fn cover(&self) -> &[Prefix] {
        &self.cover
    }
}

impl std::str::FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cover = match text.split_once('-') {
            None => vec![text.parse::<Prefix>().map_err(|error| error.to_string())?],
            Some((first, last)) => {
                let address = |part: &str| {
                    part.trim()
                        .parse::<IpAddr>()
                        .map_err(|_| format!("`{}` in range `{text}` is not an address", part.trim()))
                };
                let (first, last) = (address(first)?, address(last)?);
                net::cidr_cover(first, last).ok_or_else(|| {
                    if first.is_ipv4() == last.is_ipv4() {
                        format!("range `{text}` is reversed (did you mean `{last}-{first}`?)")
                    } else {
                        format!("range `{text}` mixes IPv4 and IPv6")
                    }
                })?
            }
        };
        Ok(Self { text: text.to_owned(), cover })
    }
}

impl Serialize for Pool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Pool {
    fn schema_name() -> Cow<'static, str> {
        "Pool".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["203.0.113.0/24", "1.1.1.100-1.1.1.200"]})
    }
}
