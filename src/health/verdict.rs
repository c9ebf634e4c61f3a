//! One VIP's verdict: its worst state and rung, and the sentence for people.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::health::compare::{Behind, Compared};
use crate::health::ladder::{self, Rung};
use crate::health::{Difference, DifferenceKind, State, VipVerdict};
use crate::net::{NextHop, Prefix, Shared};

/// What many VIPs of one judging say alike; lists by the place of the set that they were made from.
pub(super) struct Common {
    instance: Shared<String>,
    expected: HashMap<usize, Shared<Vec<NextHop>>>,
    observed: HashMap<usize, (Shared<Vec<NextHop>>, Shared<String>)>,
}

impl Common {
    /// For one judging, in which all sets stay where they are.
    pub(super) fn new(instance: &str) -> Self {
        Self { instance: instance.into(), expected: HashMap::new(), observed: HashMap::new() }
    }

    fn expected(&mut self, of: &Shared<BTreeMap<NextHop, Behind>>) -> Shared<Vec<NextHop>> {
        self.expected.entry(of.place()).or_insert_with(|| of.keys().cloned().collect()).clone()
    }

    /// The next-hops, and what they are called in a sentence.
    fn observed(&mut self, of: &Shared<BTreeSet<NextHop>>) -> (Shared<Vec<NextHop>>, Shared<String>) {
        let said = || (of.iter().cloned().collect(), format!("forwards to {}", list(of)).into());
        self.observed.entry(of.place()).or_insert_with(said).clone()
    }
}

/// One VIP with its differences, worst first.
pub(super) fn of_vip(
    prefix: Prefix,
    compared: &Compared,
    differences: Vec<Difference>,
    common: &mut Common,
) -> VipVerdict {
    let worst = differences.iter().map(|difference| difference.state).max();
    let (state, rung) = match worst {
        Some(State::Unknown) => (State::Unknown, Some(Rung::ExpectationStale)),
        Some(state) => (state, ladder::worst(differences.iter().map(|d| (d.state, d.rung)))),
        None if compared.doubt.is_some() => (State::Unknown, compared.doubt),
        None => (State::Ok, compared.vip.absent.or(compared.remark.as_ref().map(|remark| remark.rung))),
    };
    let unexpected = differences
        .iter()
        .filter(|difference| difference.kind == DifferenceKind::Unexpected)
        .map(|difference| difference.next_hop.clone())
        .collect();
    VipVerdict {
        prefix,
        network_instance: common.instance.clone(),
        services: compared.vip.services.iter().cloned().collect(),
        state,
        rung,
        expected: common.expected(&compared.expected),
        observed: common.observed(&compared.observed).0,
        missing: compared.missing.iter().cloned().collect(),
        unexpected,
        since: differences.iter().map(|difference| difference.since).min(),
        message: message(compared, state, rung, &differences, common),
        differences,
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

fn message(
    compared: &Compared,
    state: State,
    rung: Option<Rung>,
    differences: &[Difference],
    common: &mut Common,
) -> Shared<String> {
    let forwards = common.observed(&compared.observed).1;
    if state == State::Ok {
        return match rung {
            Some(Rung::ResilienceMissing | Rung::ResilienceTruncated) => {
                let remark = compared.remark.as_ref().map(|remark| remark.text.as_str()).unwrap_or_default();
                format!("{}; {remark}", *forwards).into()
            }
            Some(rung) => format!("absent, as it must be ({rung:?})").into(),
            None => forwards,
        };
    }
    if let (Some(why), true) = (compared.doubt, differences.is_empty()) {
        return match why {
            Rung::NoAddressForFamily => {
                "a node announces it, but has no peer address of this family".to_owned()
            }
            Rung::ConfigurationRefused => format!(
                "{forwards}; a speaker refuses MetalLB's configuration and goes on with an older one, so what it \
                 announces is not known"
            ),
            Rung::ExpectationStale => {
                format!("{forwards}; MetalLB's CRDs are gone, and the speakers go on with what they had")
            }
            _ => format!("{forwards}; whether a node's announcement comes here cannot be told"),
        }
        .into();
    }
    let doing = match compared.wrong_kind {
        Some(kind) => format!("the route is of kind {kind}").into(),
        None => forwards,
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
    format!("{}, {expected}; {}", *doing, causes.collect::<Vec<_>>().join("; ")).into()
}
