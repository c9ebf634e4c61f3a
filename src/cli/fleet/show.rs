//! What people see of many switches.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::print::columns;
use crate::health::Word;
use crate::health::chronicle::{End, Settled};
use crate::health::fleet::drain::{Does, Drain};
use crate::health::fleet::explain::{Explained, Holds, Hop, Is, OnSwitch, ServiceSeen, Step};
use crate::health::fleet::gap::Gap;
use crate::health::fleet::{Health, Overview, What, seconds, span};

#[cfg(test)]
mod tests;

/// Service addresses that `status` lists without being asked for more.
const SOME: usize = 20;

fn or_dash(text: Option<&String>) -> String {
    text.filter(|text| !text.is_empty()).cloned().unwrap_or_else(|| "-".to_owned())
}

fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or("-".to_owned(), |at| span(now.duration_since(at).as_secs().max(0)))
}

/// `status`.
pub(super) fn overview(overview: &Overview, now: Timestamp, all: bool) -> String {
    let head = ["SWITCH", "NOS", "HEALTH", "REVISION", "APPLIED", "VERIFIED", "VIPS", "PLAN", "HEARTBEAT"];
    let mut rows = vec![head.map(str::to_owned)];
    for row in &overview.switches {
        let health = match row.health {
            Health::Ok => "ok",
            Health::Degraded => "degraded",
            Health::Unknown => "unknown",
            Health::Stale => "STALE",
            Health::Retired => "retired",
        };
        rows.push([
            row.switch.clone(),
            row.nos.clone(),
            health.to_owned(),
            or_dash(row.revision.as_ref()),
            row.applied.clone(),
            row.verified.clone(),
            or_dash(row.vips.as_ref()),
            or_dash(row.plan.as_ref()),
            ago(row.heartbeat, now),
        ]);
    }
    let mut text = if overview.switches.is_empty() { String::new() } else { columns(&rows) };
    for row in &overview.switches {
        for remark in &row.remarks {
            let _ = writeln!(text, "{}: {remark}", row.switch);
        }
    }
    let shown = if all { overview.vips.len() } else { SOME };
    for vip in overview.vips.iter().take(shown) {
        let _ = writeln!(text, "{}", vip.words());
    }
    if let Some(more) = overview.vips.len().checked_sub(shown).filter(|more| *more > 0) {
        let _ = writeln!(text, "and {more} more Service addresses (--all)");
    }
    if let Some(note) = &overview.note {
        let _ = writeln!(text, "{note}");
    }
    let count = |health: Health| overview.switches.iter().filter(|row| row.health == health).count();
    let word = match overview.verdict {
        Word::Ok => "ok",
        Word::Differs => "differs",
        Word::Unknown => "unknown",
    };
    let retired = match count(Health::Retired) {
        0 => String::new(),
        retired => format!(", {retired} retired"),
    };
    text + &format!(
        "{word}: {} switches: {} ok, {} degraded, {} unknown, {} stale{retired}\n",
        overview.switches.len(),
        count(Health::Ok),
        count(Health::Degraded),
        count(Health::Unknown),
        count(Health::Stale)
    )
}

/// `drain-check`.
pub(super) fn drain(drain: &Drain, now: Timestamp) -> String {
    let mut rows = vec![["SWITCH", "FORWARDS", "SINCE", "NEXT-HOPS"].map(str::to_owned)];
    for way in &drain.switches {
        let does = match way.does {
            Does::Forwards => "yes",
            Does::Clear => "no",
            Does::NoPeer => "no peer",
            Does::Unknown => "unknown",
        };
        let hops: Vec<String> = way
            .hops
            .iter()
            .map(|(hop, vips)| {
                format!("{hop} ({vips} Service address{})", if *vips == 1 { "" } else { "es" })
            })
            .collect();
        let hops = way.why.clone().unwrap_or_else(|| hops.join(", "));
        let since = way.since.map_or("-".to_owned(), |at| {
            format!("{} ({} ago)", seconds(at), span(now.duration_since(at).as_secs().max(0)))
        });
        rows.push([
            way.switch.clone(),
            does.to_owned(),
            since,
            if hops.is_empty() { "-".to_owned() } else { hops },
        ]);
    }
    let table = if drain.switches.is_empty() { String::new() } else { columns(&rows) };
    let safe = if drain.verdict == Word::Ok { "safe" } else { "NOT known to be safe" };
    let safe = if drain.verdict == Word::Differs { "NOT safe" } else { safe };
    format!("{table}{safe}: {}\n", drain.message)
}

/// `diff`.
pub(super) fn gaps(gaps: &[Gap]) -> String {
    let mut rows = vec![["SWITCH", "DIFF", "RUNS", "WANTED", "PLAN", "WHY"].map(str::to_owned)];
    for gap in gaps {
        let word = match gap.verdict {
            Word::Ok => "none",
            Word::Differs => "differs",
            Word::Unknown => "unknown",
        };
        let plan = gap.plan.as_ref().map(|plan| format!("{} {}", plan.class, plan.hash));
        let why: String = gap.message.chars().take(120).collect();
        rows.push([
            gap.switch.clone(),
            word.to_owned(),
            or_dash(gap.applied_revision.as_ref()),
            or_dash(gap.wanted_revision.as_ref()),
            or_dash(plan.as_ref()),
            why,
        ]);
    }
    let mut text = if gaps.is_empty() { "there is no Switch\n".to_owned() } else { columns(&rows) };
    for gap in gaps {
        let plan = gap.plan.iter().flat_map(|plan| plan.lines.iter().cloned());
        let drift = gap.drift.iter().flat_map(|drift| {
            let place = |path: &str| if path.is_empty() { String::new() } else { format!("{path} / ") };
            drift.differences.iter().flat_map(move |one| {
                let wanted =
                    one.wanted.iter().map(|line| format!("- {}{line}", place(&one.path))).collect::<Vec<_>>();
                let found =
                    one.found.iter().map(|line| format!("+ {}{line}", place(&one.path))).collect::<Vec<_>>();
                wanted.into_iter().chain(found)
            })
        });
        let sections: [(&str, Vec<String>); 2] = [("plan", plan.collect()), ("drift", drift.collect())];
        for (what, lines) in sections {
            if !lines.is_empty() {
                let _ = writeln!(text, "\n{} {what}:", gap.switch);
                text.extend(lines.iter().map(|line| format!("  {line}\n")));
            }
        }
        if let Some(remedy) = &gap.remedy {
            let _ = writeln!(text, "{}: {remedy}", gap.switch);
        }
    }
    text
}

/// `history`.
pub(super) fn history(all: &BTreeMap<&str, &[Settled]>) -> String {
    let mut rows =
        vec![["SWITCH", "ENDED", "RESULT", "REASON", "REVISION", "PLAN", "MESSAGE"].map(str::to_owned)];
    for (switch, settled) in all {
        for one in *settled {
            let result = match one.result {
                End::Applied => "applied",
                End::Failed => "FAILED",
            };
            let plan =
                one.class.as_ref().zip(one.plan.as_ref()).map(|(class, hash)| format!("{class} {hash}"));
            rows.push([
                (*switch).to_owned(),
                seconds(one.at),
                result.to_owned(),
                one.reason.clone(),
                one.revision.clone(),
                or_dash(plan.as_ref()),
                one.message.chars().take(120).collect(),
            ]);
        }
    }
    if rows.len() == 1 {
        return "no switch has told of a change yet\n".to_owned();
    }
    columns(&rows)
}

/// All that `explain` has found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation {
    /// What the cluster has.
    pub services: Vec<ServiceSeen>,
    /// What the switches say.
    pub vips: Vec<Explained>,
    /// What could not be looked at, or is not there.
    pub remarks: Vec<String>,
}

/// `explain`.
pub(super) fn explained(explanation: &Explanation, now: Timestamp) -> String {
    let Explanation { services, vips, remarks } = explanation;
    let mut text = String::new();
    for service in services {
        text += &told(service);
    }
    for vip in vips {
        let services =
            if vip.services.is_empty() { String::new() } else { format!(" ({})", vip.services.join(", ")) };
        let _ = writeln!(text, "{}{services}", vip.prefix);
        for on in &vip.switches {
            text += &on_switch(on, now);
        }
    }
    if vips.is_empty() {
        text += "no address of it is known\n";
    }
    for remark in remarks {
        let _ = writeln!(text, "note: {remark}");
    }
    text
}

fn told(service: &ServiceSeen) -> String {
    let class = service.class.as_ref().map(|class| format!(", class {class}")).unwrap_or_default();
    let addresses =
        if service.addresses.is_empty() { "none".to_owned() } else { service.addresses.join(", ") };
    let mut text = format!(
        "Service {}: {}, policy {}{class}, addresses {addresses}\n",
        service.service, service.r#type, service.policy
    );
    for endpoint in &service.endpoints {
        let node = endpoint.node.as_deref().unwrap_or("no node");
        let counts = if endpoint.counts { "counts" } else { "does not count (not ready, not serving)" };
        let silent =
            endpoint.silent.map(|why| format!(", but the node announces nothing: {why}")).unwrap_or_default();
        let _ = writeln!(text, "  endpoint {} on {node}: {counts}{silent}", endpoint.addresses.join(","));
    }
    if service.endpoints.is_empty() && service.unread.is_empty() {
        text += "  no endpoints\n";
    }
    match &service.speakers {
        None => {}
        Some(speakers) if speakers.is_empty() => {
            text += "  MetalLB means to announce it from no node (ServiceBGPStatus; check pools and peers that its advertisements name)\n";
        }
        Some(speakers) => {
            for speaker in speakers {
                let _ = writeln!(
                    text,
                    "  MetalLB means to announce it from {} to {} (ServiceBGPStatus: an intention)",
                    speaker.node,
                    speaker.peers.join(", ")
                );
            }
        }
    }
    for unread in &service.unread {
        let _ = writeln!(text, "  could not look: {unread}");
    }
    text
}

fn on_switch(on: &OnSwitch, now: Timestamp) -> String {
    let rung = on.rung.as_ref().map(|rung| format!(" ({rung})")).unwrap_or_default();
    let hint = match on.what {
        What::NotListed => ": its list is cut, worst first, and this address is not among the worst",
        What::NotKnown => ": no pool of it, or nothing that it should expect",
        _ => "",
    };
    let since =
        on.since.map_or(String::new(), |at| format!(" since {} ({} ago)", seconds(at), ago(Some(at), now)));
    let mut text = format!("  {}: {}{rung}{since}{hint}\n", on.switch, on.what.words());
    if let Some(message) = on.message.as_ref().filter(|_| on.what != What::Forwards) {
        let _ = writeln!(text, "    {message}");
    }
    for hop in &on.hops {
        let _ = writeln!(text, "    {}", hop_words(hop));
    }
    for skipped in &on.skipped {
        let _ = writeln!(text, "    skipped: {}: {}: {}", skipped.object, skipped.reason, skipped.message);
    }
    text
}

fn hop_words(hop: &Hop) -> String {
    let node = hop.node.as_ref().map(|node| format!(" ({node})")).unwrap_or_default();
    let rung = hop.rung.as_deref().unwrap_or_default();
    let word = match hop.is {
        Is::Forwards => "forwards".to_owned(),
        Is::Missing => format!("MISSING, {rung}"),
        Is::Unexpected => format!("UNEXPECTED, {rung}"),
        Is::Unknown => format!("could not look, {rung}"),
    };
    let those = |holds: Holds, word: &str| {
        let rungs: Vec<&str> =
            hop.ladder.iter().filter(|step| step.holds == holds).map(|step: &Step| step.rung).collect();
        (!rungs.is_empty()).then(|| format!("{word}: {}", rungs.join(", ")))
    };
    let parts = [(Holds::Yes, "holds"), (Holds::No, "FAILS"), (Holds::NotReached, "not reached")];
    let ladder: Vec<String> = parts.into_iter().filter_map(|(holds, word)| those(holds, word)).collect();
    let show = hop.is == Is::Missing && !ladder.is_empty();
    let ladder = if show { format!(": {}", ladder.join("; ")) } else { String::new() };
    format!("{}{node}: {word}{ladder}", hop.next_hop)
}
