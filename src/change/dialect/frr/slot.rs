//! Lines of which only one can stand in a context: writing the new one replaces the old one.

use std::fmt;

/// What such a line gives a value to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot<'a> {
    /// The words it begins with.
    words: &'a str,
    /// A word that stands behind the value and counts too; usually none.
    apart: &'a str,
}

impl Slot<'_> {
    /// Its `to_string` is `text`.
    pub fn is(&self, text: &str) -> bool {
        match text.strip_prefix(self.words) {
            Some("") => self.apart.is_empty(),
            Some(rest) => !self.apart.is_empty() && rest.strip_prefix(' ') == Some(self.apart),
            None => false,
        }
    }
}

impl fmt::Display for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words)?;
        if !self.apart.is_empty() {
            write!(f, " {}", self.apart)?;
        }
        Ok(())
    }
}

/// What a line takes the place of: others with its slot, or only itself.
pub(super) fn slot_or_line(path: &[String]) -> Slot<'_> {
    slot(path).unwrap_or_else(|| Slot { words: &path[path.len() - 1], apart: "" })
}

/// More words than any pattern below looks at.
const MOST_WORDS: usize = 8;

/// The slot of a line, if it has one.
pub(super) fn slot(path: &[String]) -> Option<Slot<'_>> {
    let line = path[path.len() - 1].as_str();
    let mut words = [""; MOST_WORDS];
    let mut count = 0;
    for (place, word) in words.iter_mut().zip(line.split(' ')) {
        *place = word;
        count += 1;
    }
    let words = &words[..count];
    let first = |count: usize| {
        let end = line.match_indices(' ').nth(count - 1).map_or(line.len(), |(at, _)| at);
        Some(Slot { words: &line[..end], apart: "" })
    };
    let first_and = |count, apart| first(count).map(|slot| Slot { apart, ..slot });
    match words {
        ["ip" | "ipv6", "prefix-list", _, "seq", _, ..] => first(5),
        ["bgp", "community-list" | "large-community-list", _, _, "seq", _, ..] => first(6),
        ["router", "bgp", _, "vrf" | "view", name] => first_and(2, name),
        ["router", "bgp", ..] => first(2),
        ["zebra", "nexthop-group", "resilience", ..] => first(3),
        ["bgp", "router-id", ..] | ["bgp", "listen", "limit", ..] => first(2),
        ["maximum-paths", "ibgp", ..] => first(2),
        ["maximum-paths", ..] => first(1),
        ["neighbor", _, "timers", "connect", ..] => first(4),
        ["neighbor", _, "bfd", "profile", ..] => first(4),
        ["neighbor", _, "route-map" | "prefix-list" | "filter-list", _, direction] => first_and(3, direction),
        [
            "neighbor",
            _,
            "remote-as"
            | "timers"
            | "password"
            | "description"
            | "ebgp-multihop"
            | "update-source"
            | "maximum-prefix"
            | "local-as"
            | "weight"
            | "advertisement-interval",
            ..,
        ] => first(3),
        [
            "detect-multiplier" | "transmit-interval" | "receive-interval" | "minimum-ttl" | "echo-interval",
            ..,
        ] => first(1),
        ["match", "community" | "large-community", ..] if path[0].starts_with("route-map ") => first(2),
        ["match", ..] if path[0].starts_with("route-map ") => first(3),
        ["set", ..] if path[0].starts_with("route-map ") => first(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_what_the_line_gives_a_value_to() {
        for (path, expected) in [
            (&["router bgp 65001"][..], Some("router bgp")),
            (&["router bgp 65001 vrf red"], Some("router bgp red")),
            (&["ip prefix-list A seq 5 permit 10.0.0.0/8 le 24"], Some("ip prefix-list A seq 5")),
            (&["router bgp 1", "neighbor X timers 3 9"], Some("neighbor X timers")),
            (&["router bgp 1", "neighbor X timers connect 5"], Some("neighbor X timers connect")),
            (&["router bgp 1", "neighbor X description a b c d e f g h i"], Some("neighbor X description")),
            (
                &["router bgp 1", "address-family ipv4 unicast", "neighbor X route-map A in"],
                Some("neighbor X route-map in"),
            ),
            (
                &["router bgp 1", "address-family ipv4 unicast", "neighbor X route-map A out"],
                Some("neighbor X route-map out"),
            ),
            (&["route-map M permit 10", "match ip address prefix-list A"], Some("match ip address")),
            (&["route-map M permit 10", "set metric"], Some("set metric")),
            (&["router bgp 1", "neighbor X peer-group G"], None),
        ] {
            let path: Vec<String> = path.iter().map(|&line| line.to_owned()).collect();
            let found = slot(&path);
            assert_eq!(found.map(|slot| slot.to_string()).as_deref(), expected, "{path:?}");
            assert!(
                found.is_none_or(|slot| slot.is(&slot.to_string()) && !slot.is("router") && !slot.is(""))
            );
        }
    }
}
