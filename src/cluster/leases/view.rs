//! What those who wait see of the others: two watches, folded into what the rules take.
#![expect(clippy::disallowed_methods, reason = "shell: stamps what it hears")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::Api;
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio::time::Instant;

use super::object::{member, seen};
use crate::change::slot::{Member, Observed, Slot};
use crate::cluster::kinds::SwitchTurn;
use crate::cluster::{Store, apply, bump, fold};

/// `None` until the first list is complete.
pub(super) type View = (Store<Slot>, Store<Member>);

/// `None` while a list is not complete.
pub(super) fn observed(view: &Mutex<View>) -> Option<Observed> {
    let view = view.lock().unwrap_or_else(PoisonError::into_inner);
    let (slots, members) = (view.0.as_ref()?, view.1.as_ref()?);
    Some(Observed {
        slots: slots.values().cloned().collect(),
        members: members.iter().map(|(name, member)| (name.name.clone(), member.clone())).collect(),
    })
}

/// Holder and time of renewal.
type Sign = (Option<String>, Option<MicroTime>);

pub(super) async fn follow_leases(api: Api<Lease>, view: Arc<Mutex<View>>, tick: watch::Sender<u64>) {
    // A list brings what was known already: only another holder or another renewal is a sign of life.
    let mut heard: BTreeMap<String, (Sign, Instant)> = BTreeMap::new();
    let convert = move |lease: &Lease| {
        let name = lease.metadata.name.clone().unwrap_or_default();
        let spec = lease.spec.clone().unwrap_or_default();
        let sign = (spec.holder_identity, spec.renew_time);
        let entry = heard.entry(name).or_insert_with(|| (sign.clone(), Instant::now()));
        if entry.0 != sign {
            *entry = (sign, Instant::now());
        }
        seen(lease, entry.1)
    };
    fold(api, watcher::Config::default(), "Lease", convert, move |change| {
        if apply(&mut view.lock().unwrap_or_else(PoisonError::into_inner).0, change) {
            bump(&tick);
        }
    })
    .await;
}

pub(super) async fn follow_switches(api: Api<SwitchTurn>, view: Arc<Mutex<View>>, tick: watch::Sender<u64>) {
    fold(api, watcher::Config::default(), "Switch", member, move |change| {
        if apply(&mut view.lock().unwrap_or_else(PoisonError::into_inner).1, change) {
            bump(&tick);
        }
    })
    .await;
}
