//! A whole table read as it comes: only what lies in the pools is kept, whatever the size of the rest.

use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::chain::{RouteEntry, protocol};
use crate::net::{Prefix, Route, RouteKind, Shared};

/// The active routes equal to or inside one of `pools`. Their next-hops are not read: what is found is looked up again.
pub(super) fn within(from: &mut dyn Read, pools: &[Prefix]) -> Result<Vec<Route>, serde_json::Error> {
    let mut routes = Vec::new();
    let mut parser = serde_json::Deserializer::from_reader(std::io::BufReader::with_capacity(32 << 10, from));
    Inside { pools, routes: &mut routes, at: At::Envelope }.deserialize(&mut parser)?;
    Ok(routes)
}

#[derive(Clone, Copy)]
enum At {
    /// `{"result": …}` or `{"error": …}`.
    Envelope,
    /// The list of answers.
    Answers,
    /// One answer.
    Answer,
    /// The list of routes.
    Routes,
}

struct Inside<'a> {
    pools: &'a [Prefix],
    routes: &'a mut Vec<Route>,
    at: At,
}

impl Inside<'_> {
    fn below(&mut self, at: At) -> Inside<'_> {
        Inside { pools: self.pools, routes: self.routes, at }
    }
}

impl<'de> DeserializeSeed<'de> for Inside<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match self.at {
            At::Envelope | At::Answer => from.deserialize_map(self),
            At::Answers | At::Routes => from.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer of the switch")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match (self.at, name.rsplit(':').next().unwrap_or_default()) {
                (At::Envelope, "error") => {
                    let error: serde_json::Value = map.next_value()?;
                    return Err(A::Error::custom(
                        error["message"].as_str().unwrap_or("an error without words"),
                    ));
                }
                (At::Envelope, "result") => map.next_value_seed(self.below(At::Answers))?,
                (At::Answer, "route") => map.next_value_seed(self.below(At::Routes))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        loop {
            if matches!(self.at, At::Answers) {
                if seq.next_element_seed(self.below(At::Answer))?.is_none() {
                    return Ok(());
                }
                continue;
            }
            let Some(entry) = seq.next_element::<RouteEntry>()? else { return Ok(()) };
            let prefix = entry.prefix.as_deref().and_then(|text| text.parse::<Prefix>().ok());
            let inside = prefix.filter(|prefix| self.pools.iter().any(|pool| pool.covers(*prefix)));
            if let (Some(prefix), Some(true)) = (inside, entry.active) {
                self.routes.push(Route {
                    prefix,
                    kind: RouteKind::Unicast,
                    protocol: protocol(entry.kind()),
                    table: 0,
                    metric: 0,
                    group: None,
                    hops: Shared::default(),
                });
            }
        }
    }
}
