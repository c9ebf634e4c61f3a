//! Watches of the API server, folded into facts.
//!
//! Each kind has a store of its own, replaced whole when a list is complete, so that what was deleted while we were
//! disconnected is gone too. A change of a store is a tick; whoever hears it takes one snapshot of all of them. There is
//! no snapshot before every store is complete. Watch errors back off inside the stream and never end it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, NodeCondition};
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::intent::snapshot::objects::Meta;
use crate::intent::snapshot::{
    Bundle, ClusterFacts, Issue, NodeFacts, ObjectName, ServiceFacts, SliceFacts, objects,
};
use crate::intent::switch::SwitchObject;

pub mod client;
pub mod events;
pub mod fleet;
mod kinds;
pub mod leases;
mod metallb;
pub mod policy;
mod pool;
pub mod preflight;
pub mod report;
mod reread;

pub use reread::Rereader;

use kinds::{NodeObject, ServiceObject, SliceObject, SwitchName, SwitchResource};
use pool::Pool;

/// The API server ends a watch after this long, and a connection that says nothing for 5 s more is dead: noticed within
/// a minute.
const WATCH_SECONDS: u32 = 45;

/// Our own Node, as the reporter needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnNode {
    /// UID: a Node of the same name that was made again has lost our conditions.
    pub uid: String,
    /// Our conditions on it, by type.
    pub conditions: BTreeMap<String, NodeCondition>,
    /// The label `switchlet.io/health`.
    pub health: Option<String>,
}

/// What the ConfigMaps of the Switch say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Texts {
    /// All are there.
    Bundle(Bundle),
    /// One is missing.
    NotFound(String),
    /// One key is in two of them.
    DuplicateKey(String),
    /// This key is needed and is not UTF-8.
    Binary(String),
}

/// All that the API server says, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Services, slices, Nodes; absent if they come from elsewhere.
    pub facts: Option<ClusterFacts>,
    /// Our Switch, if it exists.
    pub switch: Option<SwitchObject>,
    /// The texts; absent if they come from elsewhere or there is no Switch.
    pub texts: Option<Texts>,
    /// Our Node, if it exists.
    pub node: Option<OwnNode>,
    /// Keys of ConfigMaps that are no text.
    pub issues: Vec<Issue>,
}

/// Which inputs the API server supplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// ConfigMaps named by the Switch.
    pub texts: bool,
    /// Services, EndpointSlices, Nodes.
    pub facts: bool,
}

/// `None` until the first list is complete.
type Store<T> = Option<BTreeMap<ObjectName, T>>;

#[derive(Default)]
struct Stores {
    services: Store<Result<Arc<ServiceFacts>, Issue>>,
    slices: Store<Arc<SliceFacts>>,
    nodes: Store<OneNode>,
    switches: Store<()>,
    switch: Store<SwitchObject>,
    texts: BTreeMap<String, Store<OneMap>>,
    metallb: metallb::Stores,
}

/// One Node.
#[derive(PartialEq)]
struct OneNode {
    facts: Arc<NodeFacts>,
    issues: Vec<Issue>,
    /// Our own is kept in more detail.
    own: Option<OwnNode>,
}

/// One ConfigMap.
#[derive(Clone, PartialEq)]
struct OneMap {
    texts: BTreeMap<String, String>,
    binary: Vec<String>,
}

/// The running watches.
pub struct ClusterWatch {
    me: String,
    namespace: String,
    client: Client,
    wanted: Wanted,
    stores: Arc<Mutex<Stores>>,
    tick: watch::Sender<u64>,
    tasks: Vec<JoinHandle<()>>,
    maps: BTreeMap<String, JoinHandle<()>>,
    metallb: metallb::Followed,
}

impl Drop for ClusterWatch {
    fn drop(&mut self) {
        self.tasks.iter().chain(self.maps.values()).for_each(JoinHandle::abort);
    }
}

impl ClusterWatch {
    /// Starts the watches of the switch `me`, whose Switch lives in `namespace`.
    pub fn start(client: Client, me: &str, namespace: &str, wanted: Wanted) -> Self {
        let (tick, _) = watch::channel(0);
        let mut this = Self {
            me: me.to_owned(),
            namespace: namespace.to_owned(),
            client: client.clone(),
            wanted,
            stores: Arc::default(),
            tick,
            tasks: Vec::new(),
            maps: BTreeMap::new(),
            metallb: metallb::Followed::default(),
        };
        let own = watcher::Config::default().fields(&format!("metadata.name={me}"));
        let switches: Api<SwitchResource> = Api::namespaced(client.clone(), namespace);
        this.spawn(switches, own.clone(), |stores| &mut stores.switch, switch);
        if wanted.facts {
            this.spawn(Api::all(client.clone()), watcher::Config::default(), |s| &mut s.services, service);
            let mut pool = Pool::default();
            let slice = move |object: &SliceObject| slice(object, &mut pool);
            this.spawn(Api::all(client.clone()), watcher::Config::default(), |s| &mut s.slices, slice);
            let names: Api<SwitchName> = Api::namespaced(client.clone(), namespace);
            this.spawn(names, watcher::Config::default(), |s| &mut s.switches, |_| Some(()));
            this.nodes(Api::all(client), watcher::Config::default());
            this.watch_definitions();
        } else {
            this.nodes(Api::all(client), own);
        }
        this
    }

    /// Hears of changes.
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }

    /// One snapshot of everything; `None` while a list is not complete yet. Follows the Switch's list of ConfigMaps.
    pub fn snapshot(&mut self) -> Option<Snapshot> {
        let stores = Arc::clone(&self.stores);
        let stores = locked(&stores);
        let switch = stores.switch.as_ref()?.values().next().cloned();
        let names: BTreeSet<String> = match (&switch, self.wanted.texts) {
            (Some(switch), true) => switch.spec.config_maps.iter().map(|map| map.name.clone()).collect(),
            _ => BTreeSet::new(),
        };
        drop(stores);
        self.follow(&names);
        let metallb = if self.wanted.facts { self.follow_metallb()? } else { metallb::Known::default() };
        let stores = locked(&self.stores);
        let own = ObjectName { namespace: String::new(), name: self.me.clone() };
        let own = stores.nodes.as_ref()?.get(&own).and_then(|node| node.own.clone());
        let facts = if self.wanted.facts {
            Some(ClusterFacts { metallb: metallb.0, ..facts(&stores)? })
        } else {
            None
        };
        let mut issues = Vec::new();
        let texts = match &switch {
            Some(switch) if self.wanted.texts => Some(texts(&stores, switch, &mut issues)?),
            _ => None,
        };
        Some(Snapshot { facts, switch, texts, node: own, issues })
    }

    /// A way to ask again, with a client for single calls.
    pub fn rereader(&self, client: Client) -> Rereader {
        Rereader { client, stores: Arc::clone(&self.stores) }
    }

    /// Which lists are not complete yet, for people.
    pub fn missing(&self) -> Vec<&'static str> {
        let stores = locked(&self.stores);
        let mut missing = Vec::new();
        let mut need = |complete: bool, what: &'static str| (!complete).then(|| missing.push(what));
        need(stores.switch.is_some(), "Switch");
        need(stores.nodes.is_some(), "Nodes");
        need(stores.texts.values().all(Option::is_some), "ConfigMaps");
        if self.wanted.facts {
            need(stores.services.is_some(), "Services");
            need(stores.slices.is_some(), "EndpointSlices");
            need(stores.switches.is_some(), "Switches");
            missing.extend(stores.metallb.missing());
        }
        missing
    }

    /// Watches exactly these ConfigMaps.
    fn follow(&mut self, names: &BTreeSet<String>) {
        self.maps.retain(|name, task| {
            let keep = names.contains(name);
            if !keep {
                task.abort();
                locked(&self.stores).texts.remove(name);
            }
            keep
        });
        for name in names {
            if self.maps.contains_key(name) {
                continue;
            }
            locked(&self.stores).texts.insert(name.clone(), None);
            let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
            let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
            let (key, stores, tick) = (name.clone(), Arc::clone(&self.stores), self.tick.clone());
            let convert = |map: &ConfigMap| Some(config_map(map));
            let task = tokio::spawn(fold(api, config, "ConfigMap", convert, move |change| {
                let mut stores = locked(&stores);
                // Aborting takes effect at the next await: a list of before must not come back.
                let Some(store) = stores.texts.get_mut(&key) else { return };
                if apply(store, change) {
                    bump(&tick);
                }
            }));
            self.maps.insert(name.clone(), task);
        }
    }

    fn spawn<K, T>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        of: fn(&mut Stores) -> &mut Store<T>,
        convert: impl FnMut(&K) -> Option<T> + Send + 'static,
    ) where
        K: Watchable,
        T: PartialEq + Send + 'static,
    {
        let (stores, tick) = (Arc::clone(&self.stores), self.tick.clone());
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        self.tasks.push(tokio::spawn(fold(api, config, kind, convert, move |change| {
            if apply(of(&mut locked(&stores)), change) {
                bump(&tick);
            }
        })));
    }

    fn nodes(&mut self, api: Api<NodeObject>, config: watcher::Config) {
        let me = self.me.clone();
        self.spawn(api, config, |stores| &mut stores.nodes, move |node| Some(one_node(node, &me)));
    }
}

trait Watchable:
    Resource<DynamicType: Default> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static
{
}
impl<K: Resource<DynamicType: Default> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static>
    Watchable for K
{
}

/// What one event means for a store.
enum Change<T> {
    /// `None`: it is there, and nothing of it is for us.
    Applied(ObjectName, Option<T>),
    Deleted(ObjectName),
    /// A complete list.
    Listed(BTreeMap<ObjectName, T>),
}

fn name_of<K: Resource>(object: &K) -> ObjectName {
    let meta = object.meta();
    ObjectName {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

/// Applies a change; false if it changed nothing.
fn apply<T: PartialEq>(store: &mut Store<T>, change: Change<T>) -> bool {
    match change {
        Change::Listed(new) => {
            let same = store.as_ref() == Some(&new);
            *store = Some(new);
            !same
        }
        Change::Applied(name, Some(entry)) => {
            let store = store.get_or_insert_default();
            let same = store.get(&name) == Some(&entry);
            if !same {
                store.insert(name, entry);
            }
            !same
        }
        Change::Applied(name, None) | Change::Deleted(name) => {
            store.get_or_insert_default().remove(&name).is_some()
        }
    }
}

/// Follows a watch for ever. Objects are converted as they come: a list of ten thousand is never there in full.
async fn fold<K: Watchable, T>(
    api: Api<K>,
    config: watcher::Config,
    kind: impl Into<String>,
    mut convert: impl FnMut(&K) -> Option<T>,
    mut on: impl FnMut(Change<T>),
) {
    let kind = kind.into();
    let mut listing = BTreeMap::new();
    let mut failing = false;
    let mut events = std::pin::pin!(watcher(api, config.timeout(WATCH_SECONDS)).default_backoff());
    while let Some(event) = events.next().await {
        if event.is_ok() && failing {
            failing = false;
            tracing::info!(kind, "the watch works again");
        }
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(object)) => {
                listing.extend(convert(&object).map(|entry| (name_of(&object), entry)));
            }
            Ok(Event::InitDone) => on(Change::Listed(std::mem::take(&mut listing))),
            Ok(Event::Apply(object)) => on(Change::Applied(name_of(&object), convert(&object))),
            Ok(Event::Delete(object)) => on(Change::Deleted(name_of(&object))),
            Err(error) => {
                if !failing {
                    tracing::warn!(kind, error = %chain(&error), "the watch fails; retrying with back-off");
                }
                failing = true;
            }
        }
    }
    // The stream has no end; if kube ever changes that, the agent must not go deaf in silence.
    tracing::error!(kind, "the watch ended");
    std::process::abort();
}

/// An error with its sources, for the log.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

fn bump(tick: &watch::Sender<u64>) {
    tick.send_modify(|count| *count += 1);
}

/// A panic while the lock was held cannot have left a store half written: each change is one assignment.
fn locked(stores: &Mutex<Stores>) -> MutexGuard<'_, Stores> {
    stores.lock().unwrap_or_else(PoisonError::into_inner)
}

fn meta(meta: &kube::api::ObjectMeta) -> Meta {
    Meta {
        name: meta.name.clone().unwrap_or_default(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        generation: meta.generation,
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of several translations; the others may have nothing to say"
)]
fn switch(object: &SwitchResource) -> Option<SwitchObject> {
    Some(SwitchObject { metadata: meta(&object.metadata), spec: object.spec.clone() })
}

fn service(object: &ServiceObject) -> Option<Result<Arc<ServiceFacts>, Issue>> {
    objects::service(&meta(&object.metadata), &object.spec, &object.status)
        .map(|service| service.map(Arc::new))
        .transpose()
}

fn slice(object: &SliceObject, pool: &mut Pool) -> Option<Arc<SliceFacts>> {
    let mut facts = objects::slice(&meta(&object.metadata), &object.endpoints)?;
    facts.nodes = pool.one(&facts.nodes);
    Some(Arc::new(facts))
}

fn one_node(object: &NodeObject, me: &str) -> OneNode {
    let (facts, issues) = objects::node(&meta(&object.metadata), &object.status.facts());
    let own = (facts.name == me).then(|| own_node(object));
    OneNode { facts: Arc::new(facts), issues, own }
}

fn own_node(object: &NodeObject) -> OwnNode {
    OwnNode {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        conditions: object
            .status
            .conditions
            .iter()
            .filter(|condition| condition.type_.starts_with("switchlet.io/"))
            .map(|condition| (condition.type_.clone(), condition.clone()))
            .collect(),
        health: object.metadata.labels.as_ref().and_then(|labels| labels.get(report::HEALTH_LABEL).cloned()),
    }
}

fn config_map(map: &ConfigMap) -> OneMap {
    OneMap {
        texts: map.data.clone().unwrap_or_default(),
        binary: map.binary_data.iter().flat_map(|data| data.keys().cloned()).collect(),
    }
}

fn facts(stores: &Stores) -> Option<ClusterFacts> {
    let mut facts = ClusterFacts {
        switches: stores.switches.as_ref()?.keys().map(|name| name.name.clone()).collect(),
        slices: stores.slices.as_ref()?.values().cloned().collect(),
        ..ClusterFacts::default()
    };
    for service in stores.services.as_ref()?.values() {
        match service {
            Ok(service) => facts.services.push(Arc::clone(service)),
            Err(issue) => facts.issues.push(issue.clone()),
        }
    }
    for OneNode { facts: node, issues, own: _ } in stores.nodes.as_ref()?.values() {
        facts.nodes.push(Arc::clone(node));
        facts.issues.extend(issues.iter().cloned());
    }
    Some(facts)
}

/// `None` while a ConfigMap's first list is not complete.
fn texts(stores: &Stores, switch: &SwitchObject, issues: &mut Vec<Issue>) -> Option<Texts> {
    let mut bundle = Bundle::default();
    for map in &switch.spec.config_maps {
        let Some(found) = stores.texts.get(&map.name)?.as_ref()?.values().next() else {
            return Some(Texts::NotFound(map.name.clone()));
        };
        if let Some(key) = found.binary.iter().find(|key| Bundle::is_meant(key)) {
            return Some(Texts::Binary(key.clone()));
        }
        for key in &found.binary {
            issues.push(Issue::new(
                format!("ConfigMap {}", map.name),
                "InvalidObject",
                format!("binaryData {key} is no text"),
            ));
        }
        for (key, text) in &found.texts {
            if bundle.texts.insert(key.clone(), text.clone()).is_some() {
                return Some(Texts::DuplicateKey(key.clone()));
            }
        }
    }
    Some(Texts::Bundle(bundle))
}
