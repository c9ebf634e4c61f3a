//! May this node be powered off: does any switch still forward to it?
//!
//! Yes is said only when every switch was heard of lately, could look, and says itself that nothing goes there. A switch that
//! is silent may forward as it did: it is never part of a yes.

use jiff::Timestamp;
use serde::Serialize;

use super::{Fleet, HopSeen, Said, SwitchSeen, seconds};
use crate::health::Word;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Which node.
    pub node: String,
    /// `ok`: no switch forwards to it; `differs`: some do; `unknown`: some do not tell.
    pub verdict: Word,
    /// Since when none does, by their own clocks; absent if that is not so, or none has ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Each switch's word.
    pub switches: Vec<Way>,
    /// For people.
    pub message: String,
}

/// One switch's word.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// Its name.
    pub switch: String,
    /// What it does.
    pub does: Does,
    /// As many Service addresses go there, by next-hop.
    pub hops: Vec<(String, u64)>,
    /// Since when it is that many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why it does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What a switch does with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// Service addresses go there.
    Forwards,
    /// None does.
    Clear,
    /// The node is no peer of it.
    NoPeer,
    /// It does not tell.
    Unknown,
}

impl Fleet {
    /// Does any switch but those of `without` forward to `node`?
    pub fn drain(&self, node: &str, without: &[String]) -> Drain {
        let asked = |switch: &&SwitchSeen| switch.name != node && !without.contains(&switch.name);
        let switches: Vec<Way> =
            self.switches.iter().filter(asked).map(|switch| self.way(switch, node)).collect();
        let all = |does: Does| switches.iter().filter(|way| way.does == does).collect::<Vec<_>>();
        let (forward, unknown) = (all(Does::Forwards), all(Does::Unknown));
        let names = |ways: &[&Way]| ways.iter().map(|way| way.switch.as_str()).collect::<Vec<_>>().join(", ");
        let exists = self.nodes.as_ref().map(|nodes| nodes.contains_key(node));
        let peers = switches.iter().any(|way| matches!(way.does, Does::Clear | Does::Forwards));
        let mut since = None;
        let (verdict, message) = if !forward.is_empty() {
            (Word::Differs, format!("{} forward to {node}", names(&forward)))
        } else if switches.is_empty() {
            (Word::Unknown, "there is no other Switch to ask".to_owned())
        } else if !unknown.is_empty() {
            (Word::Unknown, format!("{} do not tell", names(&unknown)))
        } else if !peers && exists != Ok(true) {
            (Word::Unknown, format!("no switch knows {node}, and no Node of this name was found"))
        } else if !peers {
            (Word::Ok, format!("{node} is a peer of no switch"))
        } else {
            since = switches.iter().filter_map(|way| way.since).max();
            let since = since.map(|at| format!(" since {}", seconds(at))).unwrap_or_default();
            (Word::Ok, format!("no switch forwards to {node}{since}"))
        };
        Drain { node: node.to_owned(), verdict, since, switches, message }
    }

    fn way(&self, switch: &SwitchSeen, node: &str) -> Way {
        let way = |does, why| Way { switch: switch.name.clone(), does, hops: Vec::new(), since: None, why };
        let said = match self.heard(switch) {
            Ok(said) => said,
            Err(why) => return way(Does::Unknown, Some(why)),
        };
        let its = |hop: &&HopSeen| hop.node.as_deref() == Some(node);
        let hops: Vec<&HopSeen> = said.next_hops.iter().filter(its).collect();
        let live: Vec<(String, u64)> =
            hops.iter().filter(|hop| hop.vips > 0).map(|hop| (hop.next_hop.clone(), hop.vips)).collect();
        let since = hops.iter().filter_map(|hop| hop.since).max();
        if !live.is_empty() {
            return Way { hops: live, since, ..way(Does::Forwards, None) };
        }
        if let Some(why) = blind(switch, said) {
            return way(Does::Unknown, Some(why));
        }
        let nameless = |hop: &&HopSeen| hop.node.is_none() && hop.vips > 0;
        if let Some(hop) = said.next_hops.iter().find(nameless) {
            let why = format!(
                "{} Service addresses go to {}, and nobody knows whose that is",
                hop.vips, hop.next_hop
            );
            return way(Does::Unknown, Some(why));
        }
        if hops.is_empty() {
            return way(Does::NoPeer, None);
        }
        Way { since, ..way(Does::Clear, None) }
    }
}

/// Why the numbers of a switch say nothing.
fn blind(switch: &SwitchSeen, said: &Said) -> Option<String> {
    if switch.policy == "Retired" || switch.is_retired() {
        return Some("it is retired, and nobody looks after its forwarding table".to_owned());
    }
    if said.verdict.is_none() || said.verdict == Some(Word::Unknown) {
        let why = said.condition("Verified").map(|verified| format!(": {}", verified.message));
        return Some(format!("it could not look at all{}", why.unwrap_or_default()));
    }
    None
}
