//! MetalLB's objects, watched as long as their CRDs are there.
//!
//! The CRDs are watched, by their metadata alone: they may come while the agent runs, and go. One that is being deleted is gone
//! at once, before the API server deletes its objects: these are not ones that somebody took away.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::{Api, ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher;
use serde::Deserialize;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::kinds::read_by_us;
use super::{ClusterWatch, Store, Watchable, apply, bump, fold, locked, meta};
use crate::intent::metallb::objects::Object;
use crate::intent::metallb::standing::{Presence, Standing};
use crate::intent::metallb::{MetalLb, objects::GROUP, read};

/// What is listed at once of the CRDs: each may carry a copy of itself in an annotation.
const PAGE: u32 = 16;

/// Without one of these there is no MetalLB to speak of.
const NEEDED: [&str; 3] = ["IPAddressPool", "BGPAdvertisement", "BGPPeer"];

/// What the watches have seen.
#[derive(Default)]
pub(super) struct Stores {
    /// Kinds whose CRD is there.
    definitions: Store<&'static str>,
    objects: BTreeMap<&'static str, Store<Object>>,
}

/// What there is of MetalLB, if it ever was there.
#[derive(Default)]
pub(super) struct Known(pub(super) Option<Arc<MetalLb>>);

/// The watches, and what follows from them over time.
#[derive(Default)]
pub(super) struct Followed {
    tasks: BTreeMap<&'static str, JoinHandle<()>>,
    standing: Standing,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

impl Stores {
    fn defined(&self) -> Option<Vec<&'static str>> {
        let kinds: Vec<&'static str> = self.definitions.as_ref()?.values().copied().collect();
        Some(if NEEDED.iter().all(|needed| kinds.contains(needed)) { kinds } else { Vec::new() })
    }

    fn presence(&self, kinds: &[&'static str]) -> Presence {
        if kinds.is_empty() {
            return Presence::Absent;
        }
        let mut all = MetalLb::default();
        for kind in kinds {
            let Some(Some(store)) = self.objects.get(kind) else { return Presence::Reading };
            store.values().cloned().for_each(|object| all.add(object));
        }
        Presence::Complete(Arc::new(all))
    }

    /// Which lists are not complete yet, for people.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        if self.definitions.is_none() {
            return vec!["CustomResourceDefinitions"];
        }
        self.objects.iter().filter(|(_, store)| store.is_none()).map(|(kind, _)| *kind).collect()
    }
}

impl ClusterWatch {
    /// Watches for MetalLB's CRDs.
    pub(super) fn watch_definitions(&mut self) {
        let (stores, tick) = (Arc::clone(&self.stores), self.tick.clone());
        let api: Api<PartialObjectMeta<Definition>> = Api::all(self.client.clone());
        let config = watcher::Config::default().page_size(PAGE);
        let watch = fold(api, config, "CustomResourceDefinition", defined, move |change| {
            if apply(&mut locked(&stores).metallb.definitions, change) {
                bump(&tick);
            }
        });
        self.tasks.push(tokio::spawn(watch));
    }

    /// Watches exactly the kinds that are defined; `None` while what is known of MetalLB is not complete.
    pub(super) fn follow_metallb(&mut self) -> Option<Known> {
        let kinds = locked(&self.stores).metallb.defined()?;
        self.metallb.tasks.retain(|kind, task| {
            let keep = kinds.contains(kind);
            if !keep {
                task.abort();
                locked(&self.stores).metallb.objects.remove(kind);
            }
            keep
        });
        for kind in &kinds {
            if !self.metallb.tasks.contains_key(kind) {
                locked(&self.stores).metallb.objects.insert(kind, None);
                let task = self.watch_kind(kind);
                self.metallb.tasks.insert(kind, task);
            }
        }
        let presence = locked(&self.stores).metallb.presence(&kinds);
        self.metallb.standing.follow(presence).then(|| Known(self.metallb.standing.facts()))
    }

    fn watch_kind(&self, kind: &'static str) -> JoinHandle<()> {
        match kind {
            "IPAddressPool" => self.watch_objects::<PoolObject>(kind),
            "BGPAdvertisement" => self.watch_objects::<AdvertisementObject>(kind),
            "BGPPeer" => self.watch_objects::<PeerObject>(kind),
            "Community" => self.watch_objects::<CommunityObject>(kind),
            _ => self.watch_objects::<StateObject>(kind),
        }
    }

    fn watch_objects<K: Watchable + Parts + Resource<DynamicType = ()>>(
        &self,
        kind: &'static str,
    ) -> JoinHandle<()> {
        let (stores, tick) = (Arc::clone(&self.stores), self.tick.clone());
        let api: Api<K> = Api::all(self.client.clone());
        let convert = move |object: &K| {
            let (spec, status) = object.parts();
            read::object(kind, &meta(object.meta()), spec, status)
        };
        tokio::spawn(fold(api, watcher::Config::default(), kind, convert, move |change| {
            let mut stores = locked(&stores);
            // Aborting takes effect at the next await: a list of before must not come back.
            let Some(store) = stores.metallb.objects.get_mut(kind) else { return };
            if apply(store, change) {
                bump(&tick);
            }
        }))
    }
}

/// The kind that a CRD defines, if it is one of those that are read and is not being deleted.
fn defined(definition: &PartialObjectMeta<Definition>) -> Option<&'static str> {
    let name = definition.metadata.name.as_deref()?;
    let plural = name.strip_suffix(GROUP)?.strip_suffix('.')?;
    let kind = match plural {
        "ipaddresspools" => "IPAddressPool",
        "bgpadvertisements" => "BGPAdvertisement",
        "bgppeers" => "BGPPeer",
        "communities" => "Community",
        "configurationstates" => "ConfigurationState",
        _ => return None,
    };
    definition.metadata.deletion_timestamp.is_none().then_some(kind)
}

/// Any CRD, of which only the metadata is ever asked for.
#[derive(Clone, Debug, Deserialize)]
struct Definition {
    metadata: ObjectMeta,
}

/// What of an object is read by [`read::object`].
trait Parts {
    fn parts(&self) -> (&Value, &Value);
}

macro_rules! resource {
    ($type:ty, $scope:ty, $group:expr, $version:literal, $kind:literal, $plural:literal) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

macro_rules! of_metallb {
    ($type:ident, $version:literal, $kind:literal, $plural:literal) => {
        #[derive(Clone, Debug, Deserialize)]
        struct $type {
            #[serde(deserialize_with = "read_by_us")]
            metadata: ObjectMeta,
            #[serde(default)]
            spec: Value,
            #[serde(default)]
            status: Value,
        }

        impl Parts for $type {
            fn parts(&self) -> (&Value, &Value) {
                (&self.spec, &self.status)
            }
        }

        resource!($type, NamespaceResourceScope, GROUP, $version, $kind, $plural);
    };
}

resource!(
    Definition,
    ClusterResourceScope,
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions"
);
of_metallb!(PoolObject, "v1beta1", "IPAddressPool", "ipaddresspools");
of_metallb!(AdvertisementObject, "v1beta1", "BGPAdvertisement", "bgpadvertisements");
of_metallb!(PeerObject, "v1beta2", "BGPPeer", "bgppeers");
of_metallb!(CommunityObject, "v1beta1", "Community", "communities");
of_metallb!(StateObject, "v1beta1", "ConfigurationState", "configurationstates");
