//! One VIP's verdict: its worst state and rung, and the sentence for people.

use crate::health::compare::Compared;
use crate::health::ladder::{self, Rung};
use crate::health::{Difference, DifferenceKind, State, VipVerdict};
use crate::net::Prefix;

/// One VIP with its differences, worst first.
pub(super) fn of_vip(
    prefix: Prefix,
    compared: &Compared,
    differences: Vec<Difference>,
    instance: &str,
) -> VipVerdict {
    let worst = differences.iter().map(|difference| difference.state).max();
    let (state, rung) = match worst {
        Some(State::Unknown) => (State::Unknown, Some(Rung::ExpectationStale)),
        Some(state) => (state, ladder::worst(differences.iter().map(|d| (d.state, d.rung)))),
        None if compared.vip.no_family => (State::Unknown, Some(Rung::NoAddressForFamily)),
        None => {
            (State::Ok, compared.vip.absent.or(compared.remark.as_ref().map(|_| Rung::ResilienceMissing)))
        }
    };
    let unexpected = differences
        .iter()
        .filter(|difference| difference.kind == DifferenceKind::Unexpected)
        .map(|difference| difference.next_hop.clone())
        .collect();
    VipVerdict {
        prefix,
        network_instance: instance.to_owned(),
        services: compared.vip.services.iter().cloned().collect(),
        state,
        rung,
        expected: compared.expected.keys().cloned().collect(),
        observed: compared.observed.iter().cloned().collect(),
        missing: compared.missing.iter().cloned().collect(),
        unexpected,
        since: differences.iter().map(|difference| difference.since).min(),
        message: message(compared, state, rung, &differences),
        differences,
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

fn message(compared: &Compared, state: State, rung: Option<Rung>, differences: &[Difference]) -> String {
    if state == State::Ok {
        return match rung {
            Some(Rung::ResilienceMissing) => format!(
                "forwards to {}; flows move when a node comes or goes: {}",
                list(&compared.observed),
                compared.remark.as_deref().unwrap_or_default()
            ),
            Some(rung) => format!("absent, as it must be ({rung:?})"),
            None => format!("forwards to {}", list(&compared.observed)),
        };
    }
    if compared.vip.no_family && differences.is_empty() {
        return "a node announces it, but has no peer address of this family".to_owned();
    }
    let doing = match compared.wrong_kind {
        Some(kind) => format!("the route is of kind {kind}"),
        None => format!("forwards to {}", list(&compared.observed)),
    };
    let expected = if compared.expected.is_empty() {
        match compared.vip.absent {
            Some(rung) => format!("must be absent ({rung:?})"),
            None => "no Service owns it".to_owned(),
        }
    } else {
        format!("expected {}", list(compared.expected.keys()))
    };
    let causes = differences.iter().map(|difference| {
        let node = difference.node.as_ref().map(|node| format!(" ({node})")).unwrap_or_default();
        let kind = match difference.kind {
            DifferenceKind::Missing => "missing",
            DifferenceKind::Unexpected => "unexpected",
        };
        let detail = difference.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("{}{node} {kind}: {:?}{detail}", difference.next_hop, difference.rung)
    });
    format!("{doing}, {expected}; {}", causes.collect::<Vec<_>>().join("; "))
}
