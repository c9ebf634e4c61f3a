//! Where texts and facts come from: the API server or folders, each from exactly one of them.
//!
//! A kubelet volume lags the API by a minute; reading the same ConfigMap by both ways would go old, new, old. So the
//! source is chosen once per process.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::client::Clients;
use crate::cluster::{ClusterWatch, OwnNode, Rereader, Texts, Wanted};
use crate::files;
use crate::files::watch::FolderWatch;
use crate::health::condition::{InputProblem, Reason, Status};
use crate::intent::snapshot::{Bundle, ClusterFacts, Issue};
use crate::intent::switch::SwitchObject;

/// Folders are read again after this long without a hint: inotify can run out, and a subPath mount never changes.
const REREAD: Duration = Duration::from_secs(60);
/// Editors and kubelet make several changes at once.
const SETTLE: Duration = Duration::from_millis(20);

/// Which folders replace the API server.
#[derive(Debug, Clone, Default)]
pub struct Folders {
    /// The texts of the switch.
    pub bundle: Option<PathBuf>,
    /// Kubernetes objects as YAML.
    pub cluster: Option<PathBuf>,
}

/// All inputs at one moment.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// The texts, or why there are none.
    pub bundle: Result<Bundle, InputProblem>,
    /// What we know about the cluster.
    pub facts: ClusterFacts,
    /// Our Switch, if it exists.
    pub switch: Option<SwitchObject>,
    /// Our Node, if the API server has it.
    pub node: Option<OwnNode>,
}

/// The sources of one process.
pub struct Inputs {
    me: String,
    namespace: String,
    folders: Folders,
    watch: Option<ClusterWatch>,
    ticks: Option<watch::Receiver<u64>>,
    folder_watch: Option<FolderWatch>,
    read: Read,
    next_read: Instant,
    metallb_namespace: Option<String>,
    /// Addresses of MetalLB's peers, as they were last gathered.
    peer_addresses: BTreeSet<IpAddr>,
    /// Those of them that are this switch's own.
    here: Option<BTreeSet<IpAddr>>,
}

/// The last reading of the folders.
#[derive(Default)]
struct Read {
    bundle: Option<(Bundle, Vec<Issue>)>,
    cluster: Option<(ClusterFacts, Option<SwitchObject>)>,
    problems: Vec<Issue>,
}

impl Inputs {
    /// Opens the sources; `clients` is needed unless both folders are given.
    pub fn open(me: &str, namespace: &str, folders: Folders, clients: Option<&Clients>) -> Self {
        let watch = clients.map(|clients| {
            let wanted = Wanted { texts: folders.bundle.is_none(), facts: folders.cluster.is_none() };
            ClusterWatch::start(clients.watches.clone(), me, namespace, wanted)
        });
        let ticks = watch.as_ref().map(ClusterWatch::ticks);
        let mut inputs = Self {
            me: me.to_owned(),
            namespace: namespace.to_owned(),
            folders,
            watch,
            ticks,
            folder_watch: None,
            read: Read::default(),
            next_read: Instant::now(),
            metallb_namespace: None,
            peer_addresses: BTreeSet::new(),
            here: None,
        };
        inputs.read_folders();
        inputs
    }

    /// MetalLB runs in this namespace, not in that of its own manifests.
    #[must_use]
    pub fn with_metallb_in(self, namespace: &str) -> Self {
        Self { metallb_namespace: Some(namespace.to_owned()), ..self }
    }

    /// Addresses of MetalLB's peers: which of them are this switch's own, its forwarding table knows.
    pub fn peer_addresses(&self) -> &BTreeSet<IpAddr> {
        &self.peer_addresses
    }

    /// These are this switch's own; true if that is news, and everything has to be gathered again.
    pub fn locate(&mut self, own: BTreeSet<IpAddr>) -> bool {
        self.here.replace(own.clone()) != Some(own)
    }

    /// A way to ask the API server again about one Service; absent where the facts come from a folder.
    pub fn rereader(&self, clients: Option<&Clients>) -> Option<Rereader> {
        let (watch, clients) = (self.watch.as_ref()?, clients?);
        self.folders.cluster.is_none().then(|| watch.rereader(clients.calls.clone()))
    }

    /// Waits until something may have changed. May be abandoned at any time without losing a hint.
    pub async fn changed(&mut self) {
        let folders = self.folders.bundle.is_some() || self.folders.cluster.is_some();
        loop {
            let tick = async {
                if let Some(ticks) = &mut self.ticks
                    && ticks.changed().await.is_ok()
                {
                    return;
                }
                std::future::pending::<()>().await;
            };
            let folder = async {
                match &mut self.folder_watch {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tick => return,
                () = folder => self.next_read = self.next_read.min(Instant::now() + SETTLE),
                () = tokio::time::sleep_until(self.next_read), if folders => {
                    self.read_folders();
                    return;
                }
            }
        }
    }

    /// One snapshot of everything; `Err` names what is not complete yet.
    pub fn gather(&mut self) -> Result<Gathered, String> {
        let mut issues = self.read.problems.clone();
        let from_api = match &mut self.watch {
            None => None,
            Some(watch) => {
                let snapshot = watch.snapshot();
                Some(
                    snapshot
                        .ok_or_else(|| format!("waiting for the lists of {}", watch.missing().join(", ")))?,
                )
            }
        };
        let (mut facts, mut switch) = match &self.folders.cluster {
            Some(folder) => {
                let read = self.read.cluster.clone();
                read.ok_or_else(|| format!("waiting for a readable folder {}", folder.display()))?
            }
            None => (from_api.as_ref().and_then(|api| api.facts.clone()).unwrap_or_default(), None),
        };
        if let Some(api) = &from_api {
            issues.extend(api.issues.iter().cloned());
            switch = api.switch.clone().or(switch);
        }
        let bundle = match &self.folders.bundle {
            Some(folder) => {
                let (bundle, skipped) = self
                    .read
                    .bundle
                    .clone()
                    .ok_or_else(|| format!("waiting for a readable folder {}", folder.display()))?;
                let unread = skipped.iter().find_map(|issue| {
                    let name = issue.object.strip_prefix("File ")?;
                    Bundle::is_meant(name).then(|| format!("{name}: {}", issue.message))
                });
                issues.extend(skipped);
                match unread {
                    None => Ok(bundle),
                    Some(message) => {
                        Err(InputProblem { status: Status::False, reason: Reason::SettingsInvalid, message })
                    }
                }
            }
            None => {
                from_texts(from_api.as_ref().and_then(|api| api.texts.clone()), &self.me, &self.namespace)
            }
        };
        facts.issues.extend(issues);
        self.peer_addresses = facts.metallb.as_ref().map(|all| all.peer_addresses()).unwrap_or_default();
        facts.here.clone_from(&self.here);
        facts.metallb_namespace.clone_from(&self.metallb_namespace);
        Ok(Gathered { bundle, facts, switch, node: from_api.and_then(|api| api.node) })
    }

    /// Reads both folders, keeping the last good reading where one cannot be read now.
    fn read_folders(&mut self) {
        self.next_read = Instant::now() + REREAD;
        // Opened before the reading, so that no change between the two is missed.
        let folders: Vec<&std::path::Path> = [&self.folders.bundle, &self.folders.cluster]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        if self.folder_watch.is_none() && !folders.is_empty() {
            self.folder_watch = FolderWatch::open(&folders)
                .inspect_err(|error| tracing::warn!(%error, "no inotify; folders are read every minute"))
                .ok();
        }
        self.read.problems.clear();
        let problem = |folder: &PathBuf, error: &std::io::Error| {
            Issue::new(format!("Folder {}", folder.display()), "FolderUnreadable", error.to_string())
        };
        if let Some(folder) = &self.folders.bundle {
            match files::read_bundle(folder) {
                Ok(read) => self.read.bundle = Some(read),
                Err(error) => self.read.problems.push(problem(folder, &error)),
            }
        }
        if let Some(folder) = &self.folders.cluster {
            match files::objects::read_cluster(folder, &self.me) {
                Ok(read) => self.read.cluster = Some(read),
                Err(error) => self.read.problems.push(problem(folder, &error)),
            }
        }
    }
}

fn from_texts(texts: Option<Texts>, me: &str, namespace: &str) -> Result<Bundle, InputProblem> {
    let problem = |status, reason, message: String| Err(InputProblem { status, reason, message });
    match texts {
        Some(Texts::Bundle(bundle)) => Ok(bundle),
        Some(Texts::NotFound(name)) => problem(
            Status::False,
            Reason::ConfigMapNotFound,
            format!("spec.configMaps: ConfigMap {name} does not exist in namespace {namespace}"),
        ),
        Some(Texts::DuplicateKey(key)) => problem(
            Status::False,
            Reason::DuplicateKey,
            format!("spec.configMaps: key {key} is in two ConfigMaps (expected in one)"),
        ),
        Some(Texts::Binary(key)) => problem(
            Status::False,
            Reason::SettingsInvalid,
            format!("{key}: is in binaryData and so no text (expected UTF-8)"),
        ),
        None => problem(
            Status::Unknown,
            Reason::SwitchNotFound,
            format!("there is no Switch {me} in namespace {namespace}"),
        ),
    }
}
