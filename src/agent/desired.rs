//! From gathered inputs to what is desired: expectation and candidate.
//!
//! A bundle with a mistake is not used at all, and one that waits for approval not yet: the one in force stays, with the
//! facts of now, so that neighbours go on following their nodes meanwhile. The forwarding table is judged by what is in
//! force, too.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::agent::inputs::Gathered;
use crate::change::Target;
use crate::change::diff::Candidate;
use crate::files::secret;
use crate::health::condition::{InputProblem, Reason, Status};
use crate::intent::departures::{Departures, Word};
use crate::intent::language::{Language, Unfit};
use crate::intent::nexthops::{self, Expectation, ExpectedVip, Peers};
use crate::intent::platform::Platform;
use crate::intent::render::{self, Job, Texts};
use crate::intent::settings::{self, SwitchSettings};
use crate::intent::snapshot::{Bundle, ClusterFacts, Issue, LITERAL, digest};
use crate::intent::switch::Apply;
use crate::net::{NextHop, Prefix, Shared};
use crate::sandbox;

/// What is desired of this switch now.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The revision of the inputs as they are, good or not.
    pub wanted: String,
    /// The revision of what should run: that of the last good bundle with the facts of now.
    pub revision: Option<String>,
    /// The revision of what runs meanwhile: the bundle in force with the facts of now.
    pub revision_in_force: Option<String>,
    /// The mistake in the inputs, if there is one.
    pub problem: Option<InputProblem>,
    /// Settings in force.
    pub settings: Option<SwitchSettings>,
    /// Expected forwarding, by the settings in force.
    pub expectation: Expectation,
    /// Running lines of globals that what should run may write over.
    pub adopt: Vec<String>,
    /// The texts that should run.
    pub target: Option<Target>,
    /// The texts of the bundle in force, as long as `target` may not run.
    pub interim: Option<Target>,
    /// What it runs on.
    pub platform: Platform,
    /// Values of the secrets by placeholder.
    pub secrets: BTreeMap<String, String>,
    /// What the Switch says about changes.
    pub apply: Apply,
    /// When a neighbour whose node has left is to be removed.
    pub next: Option<Timestamp>,
}

/// Where passwords come from.
enum Secrets {
    None,
    Folder(PathBuf),
    Assumed,
}

/// A bundle that makes sense.
#[derive(Debug, PartialEq)]
struct Good {
    bundle: Bundle,
    settings: SwitchSettings,
}

/// What of all this must survive a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// The bundle in force.
    pub bundle: Option<Bundle>,
    /// Its neighbours.
    pub departures: Departures,
    /// What the Switch said about changes.
    #[serde(default)]
    pub apply: Apply,
}

/// Derives what is desired; remembers the bundle in force, its neighbours, and what was rendered.
pub struct Deriver {
    me: String,
    language: &'static Language,
    /// As the NOS told it last.
    platform: Platform,
    secrets: Secrets,
    /// Passwords that stood in clear in literal texts, by placeholder: one value has one name as long as the agent lives.
    clear: BTreeMap<String, String>,
    /// The last bundle that made sense, whether it runs or not.
    good: Option<Arc<Good>>,
    /// The last one that was read, wanted or not any more: a change to it may be under way.
    read: Option<Arc<Good>>,
    /// The bundle that was confirmed last.
    in_force: Option<Arc<Good>>,
    departures: Departures,
    apply: Apply,
    /// What was expected last by MetalLB's objects.
    before: BTreeMap<Prefix, Shared<ExpectedVip>>,
    /// What the last candidate lacks because the platform does not take it.
    left_out: Vec<Issue>,
    /// The last few renderings: the wanted bundle and the one in force take turns.
    rendered: Vec<(Job, Result<Candidate, InputProblem>)>,
}

impl Deriver {
    /// For the switch `me`, whose NOS takes this language.
    pub fn new(me: &str, language: &'static Language, secrets: Option<PathBuf>) -> Self {
        let secrets = secrets.map_or(Secrets::None, Secrets::Folder);
        Self {
            me: me.to_owned(),
            language,
            platform: Platform::default(),
            secrets,
            clear: BTreeMap::new(),
            good: None,
            read: None,
            in_force: None,
            departures: Departures::default(),
            apply: Apply::default(),
            before: BTreeMap::new(),
            left_out: Vec::new(),
            rendered: Vec::new(),
        }
    }

    /// What the NOS is; true if that is news, and everything must be derived again.
    pub fn runs_on(&mut self, platform: Platform) -> bool {
        let news = self.platform != platform;
        self.platform = platform;
        news
    }

    /// Takes up what an earlier life remembered, if `confirmed` is the hash of that bundle.
    pub fn resume(&mut self, remembered: Remembered, confirmed: Option<&str>) {
        let Remembered { bundle, departures, apply } = remembered;
        let Some(bundle) = bundle.filter(|bundle| Some(bundle.hash().as_str()) == confirmed) else { return };
        let Some(settings) = bundle.texts.get(settings::FILE).and_then(|text| settings::parse(text).ok())
        else {
            return;
        };
        self.in_force = Some(Arc::new(Good { bundle, settings }));
        self.departures = departures;
        self.apply = apply;
    }

    /// True if `remembered` is what [`Self::remembered`] would give.
    pub fn remembers(&self, remembered: &Remembered) -> bool {
        let Remembered { bundle, departures, apply } = remembered;
        self.in_force.as_ref().map(|good| &good.bundle) == bundle.as_ref()
            && self.departures == *departures
            && self.apply == *apply
    }

    /// What must survive a restart.
    pub fn remembered(&self) -> Remembered {
        Remembered {
            bundle: self.in_force.as_ref().map(|good| good.bundle.clone()),
            departures: self.departures.clone(),
            apply: self.apply.clone(),
        }
    }

    /// What is desired while the API server has said nothing since the start: the bundle in force with the neighbours of
    /// before. Nothing is expected of the forwarding table: nobody knows what the cluster wants. `None` if no bundle
    /// is remembered.
    pub async fn from_memory(&mut self) -> Option<Desired> {
        let in_force = self.in_force.clone()?;
        let Good { bundle, settings } = &*in_force;
        let peers = with(self.departures.present(), &self.departures.all(), |_| true);
        let mut secrets = self.secrets(settings).ok()?;
        let candidate = self.candidate(settings, &peers, bundle, &secrets).await.ok()?;
        secrets.extend(self.clear.clone());
        let revision = revision(bundle, &peers);
        let target = Target { candidate, bundle: bundle.hash(), peers };
        let message = "the API server has said nothing since the start; the last good bundle is kept up";
        let issue = Issue::new(format!("Bundle {revision}"), "StaleBundle", message);
        Some(Desired {
            revision: Some(revision.clone()),
            revision_in_force: Some(revision),
            expectation: Expectation { issues: vec![issue], ..Expectation::default() },
            adopt: settings.adopt.clone(),
            target: Some(target.clone()),
            interim: Some(target),
            platform: self.platform.clone(),
            secrets,
            apply: self.apply.clone(),
            ..Desired::default()
        })
    }

    /// `target` was confirmed: its bundle is in force. True if it was not before.
    pub fn confirmed(
        &mut self,
        target: &Target,
        desired: &Desired,
        facts: &ClusterFacts,
        now: Timestamp,
    ) -> bool {
        let is_target = desired.target.as_ref() == Some(target);
        if is_target && let Some(in_force) = &self.in_force {
            // A plan that removes many was approved.
            let after = remove_after(&in_force.settings);
            if desired.target != desired.interim {
                self.departures.forget(now, after, Word::Given);
            }
        }
        match self.known_as(&target.bundle).cloned() {
            Some(good) if self.in_force.as_ref() != Some(&good) => {
                let peers = self.peers(&good.settings, facts);
                self.departures.rebase(&peers, |hop| admits(&good.settings, hop));
                self.in_force = Some(good);
                true
            }
            _ => false,
        }
    }

    /// Takes any password for readable: for a look at a bundle where its secrets are not.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.secrets = Secrets::Assumed;
        self
    }

    /// What a rendering of `bundle` would be given.
    pub fn job(&self, desired: &Desired, bundle: &Bundle) -> Option<Job> {
        let settings = desired.settings.as_ref()?;
        let texts = Texts { bundle, built_in: self.language.built_in };
        let platform = self.platform(settings);
        Some(render::job(&self.me, settings, &desired.expectation.peers, &platform, texts))
    }

    /// What is desired, given `gathered`.
    pub async fn derive(&mut self, gathered: &Gathered, now: Timestamp) -> Desired {
        // A Switch that is gone has said its last word.
        if let Some(switch) = &gathered.switch {
            self.apply = switch.spec.apply.clone();
        }
        let fresh = match &gathered.bundle {
            Err(problem) => Err(problem.clone()),
            Ok(bundle) => self.accept(bundle, gathered).await,
        };
        let problem = match fresh {
            Ok(good) => {
                self.read = Some(good.clone());
                self.good = Some(good);
                None
            }
            Err(problem) => {
                // What nobody wants any more was never in force; what is in force stays.
                self.good = self.in_force.clone().or_else(|| self.good.clone());
                Some(problem)
            }
        };
        let Some(good) = self.good.clone() else {
            let (wanted, apply) = (wanted(gathered, &Peers::new()), self.apply.clone());
            return Desired { wanted, problem, apply, ..Desired::default() };
        };
        let judged = self.in_force.clone().unwrap_or_else(|| good.clone());
        let mut expectation = self.expect(&judged.settings, &gathered.facts);
        self.metallb_gone(&gathered.facts, &mut expectation);
        let after = remove_after(&judged.settings);
        if self.in_force.is_some() {
            self.departures.follow(&expectation.peers, now);
            self.departures.forget(now, after, Word::None);
        }
        expectation.leaving = self.departures.leaving();
        let lingering = self.departures.lingering(now, after);
        let peers = if good == judged {
            expectation.peers.clone()
        } else {
            self.peers(&good.settings, &gathered.facts)
        };
        let peers = with(&peers, &lingering, |hop| admits(&good.settings, hop));
        let kept = with(&expectation.peers, &self.departures.all(), |_| true);

        let (mut secrets, secret_problem) = match self.secrets(&good.settings) {
            Ok(secrets) => (secrets, None),
            Err(problem) => (BTreeMap::new(), Some(problem)),
        };
        let interim_secrets = self.secrets(&judged.settings);
        let rendered = self.candidate(&good.settings, &peers, &good.bundle, &secrets).await;
        let (target, render_problem) = match (rendered, secret_problem) {
            (Ok(candidate), None) => {
                (Some(Target { candidate, bundle: good.bundle.hash(), peers: peers.clone() }), None)
            }
            (Ok(_), Some(problem)) | (Err(problem), _) => (None, Some(problem)),
        };
        let mut interim = None;
        if let (Some(_), Ok(more)) = (&self.in_force, interim_secrets) {
            secrets.extend(more.clone());
            // A bundle that was good once and does not render now is not kept up; nothing is taken away either.
            let rendered = self.candidate(&judged.settings, &kept, &judged.bundle, &more).await;
            let target = |candidate| Target { candidate, bundle: judged.bundle.hash(), peers: kept.clone() };
            interim = rendered.ok().map(target);
        }
        secrets.extend(self.clear.clone());
        let platform = self.platform(&judged.settings);
        expectation.issues.extend((self.language.remarks)(&judged.settings, &platform));
        expectation.issues.append(&mut self.left_out);
        Desired {
            wanted: wanted(gathered, &peers),
            revision: Some(revision(&good.bundle, &peers)),
            revision_in_force: self.in_force.as_ref().map(|judged| revision(&judged.bundle, &kept)),
            problem: problem.or(render_problem),
            adopt: good.settings.adopt.clone(),
            settings: Some(judged.settings.clone()),
            next: self.departures.next(now, after),
            expectation,
            target,
            interim,
            platform,
            secrets,
            apply: self.apply.clone(),
        }
    }

    /// What is expected by the settings of the bundle `hash`, as long as that bundle is not in force yet.
    pub fn coming(&self, hash: &str, facts: &ClusterFacts) -> Option<Expectation> {
        let good = self.known_as(hash)?;
        let comes = self.in_force.as_ref().is_some_and(|old| old != good);
        comes.then(|| self.expect(&good.settings, facts))
    }

    /// What is expected by the settings that the table is judged by now.
    pub fn judged(&self, facts: &ClusterFacts) -> Option<Expectation> {
        let judged = self.in_force.as_ref().or(self.good.as_ref())?;
        Some(self.expect(&judged.settings, facts))
    }

    /// The bundle of this hash, if it is wanted or was read last.
    fn known_as(&self, hash: &str) -> Option<&Arc<Good>> {
        self.good.iter().chain(&self.read).find(|good| good.bundle.hash() == hash)
    }

    /// What was expected before MetalLB's CRDs went is kept, as what nothing can be said of: MetalLB itself then takes their
    /// addresses from Services.
    fn metallb_gone(&mut self, facts: &ClusterFacts, expectation: &mut Expectation) {
        match &facts.metallb {
            None => self.before = BTreeMap::new(),
            Some(metallb) if !metallb.vanished => self.before.clone_from(&expectation.vips),
            Some(_) => nexthops::nothing_can_be_said(&self.before, expectation),
        }
    }

    fn peers(&self, settings: &SwitchSettings, facts: &ClusterFacts) -> Peers {
        nexthops::peers(&self.me, settings, facts, &mut Vec::new())
    }

    /// A bundle is good if its settings make sense and its templates render with the facts of now.
    async fn accept(&mut self, bundle: &Bundle, gathered: &Gathered) -> Result<Arc<Good>, InputProblem> {
        if let Some(nos) = gathered.switch.as_ref().and_then(|switch| switch.spec.nos.as_deref())
            && nos != self.language.nos
        {
            let message =
                format!("spec.nos: {nos} is not driven by this agent (expected {})", self.language.nos);
            return Err(InputProblem { status: Status::False, reason: Reason::Unsupported, message });
        }
        let known = [&self.good, &self.in_force].into_iter().flatten().find(|good| good.bundle == *bundle);
        if let Some(good) = known {
            return Ok(good.clone());
        }
        let Language { nos, literal, .. } = self.language;
        if let Some(foreign) =
            LITERAL.iter().find(|name| *name != literal && bundle.texts.contains_key(**name))
        {
            let message = format!("{foreign}: is not a text of {nos} (expected {literal})");
            return Err(InputProblem { status: Status::False, reason: Reason::Unsupported, message });
        }
        let invalid = |message: String| InputProblem {
            status: Status::False,
            reason: Reason::SettingsInvalid,
            message,
        };
        let text = bundle.texts.get(settings::FILE).ok_or_else(|| {
            let why = if bundle.texts.contains_key(*literal) {
                format!(" (needed beside {literal}: it says which VIPs and next-hops are verified)")
            } else {
                String::new()
            };
            invalid(format!("{} is missing in the bundle{why}", settings::FILE))
        })?;
        let settings = settings::parse(text).map_err(|mistake| invalid(mistake.to_string()))?;
        let secrets = self.secrets(&settings)?;
        let peers = self.peers(&settings, &gathered.facts);
        self.candidate(&settings, &peers, bundle, &secrets).await?;
        Ok(Arc::new(Good { bundle: bundle.clone(), settings }))
    }

    fn expect(&self, settings: &SwitchSettings, facts: &ClusterFacts) -> Expectation {
        nexthops::expect(&self.me, settings, facts)
    }

    fn secrets(&self, settings: &SwitchSettings) -> Result<BTreeMap<String, String>, InputProblem> {
        let Some(name) = &settings.peering.password_file else { return Ok(BTreeMap::new()) };
        let problem = |problem: String| InputProblem {
            status: Status::False,
            reason: Reason::SecretUnreadable,
            message: format!("{}: peering.passwordFile: {name:?} {problem}", settings::FILE),
        };
        let value = match &self.secrets {
            Secrets::None => return Err(problem("needs --secrets-dir".to_owned())),
            Secrets::Assumed => "assumed".to_owned(),
            Secrets::Folder(folder) => {
                secret::read(folder, name).map_err(|error| problem(format!("cannot be used: {error}")))?
            }
        };
        Ok(BTreeMap::from([(render::placeholder(name), value)]))
    }

    /// The literal text if the bundle brings one, else what the templates give.
    async fn candidate(
        &mut self,
        settings: &SwitchSettings,
        peers: &Peers,
        bundle: &Bundle,
        secrets: &BTreeMap<String, String>,
    ) -> Result<Candidate, InputProblem> {
        let platform = self.platform(settings);
        if let Some(unfit) = (self.language.unfit)(settings, &platform) {
            return Err(problem_of(unfit));
        }
        let rejected = |message: String| InputProblem {
            status: Status::False,
            reason: Reason::CandidateRejected,
            message,
        };
        let candidate = match bundle.texts.get(self.language.literal) {
            None => self.render(settings, peers, bundle).await?,
            Some(text) => {
                let taken = (self.language.take)(text, secrets, &self.clear);
                let taken = taken.map_err(|mistake| rejected(mistake.to_string()))?;
                self.clear.extend(taken.secrets);
                taken.candidate
            }
        };
        let (candidate, left_out) =
            (self.language.fit)(candidate, &platform).map_err(|refusal| rejected(refusal.to_string()))?;
        self.left_out = left_out;
        Ok(candidate)
    }

    /// What it runs on, by its own word and what the settings assume.
    fn platform(&self, settings: &SwitchSettings) -> Platform {
        (self.language.platform)(&self.platform, settings)
    }

    async fn render(
        &mut self,
        settings: &SwitchSettings,
        peers: &Peers,
        bundle: &Bundle,
    ) -> Result<Candidate, InputProblem> {
        let texts = Texts { bundle, built_in: self.language.built_in };
        let job = render::job(&self.me, settings, peers, &self.platform(settings), texts);
        if let Some((_, result)) = self.rendered.iter().find(|(done, _)| *done == job) {
            return result.clone();
        }
        let result = sandbox::render(&job).await.map_err(|mistake| InputProblem {
            status: Status::False,
            reason: Reason::RenderFailed,
            message: mistake.to_string(),
        });
        self.rendered.truncate(2);
        self.rendered.insert(0, (job, result.clone()));
        result
    }
}

/// What the inputs lack, or ask too much.
fn problem_of(unfit: Unfit) -> InputProblem {
    let file = settings::FILE;
    match unfit {
        Unfit::Unsupported { field, problem } => InputProblem {
            status: Status::False,
            reason: Reason::Unsupported,
            message: format!("{file}: {field}: {problem}"),
        },
        Unfit::Wrong { field, problem } => InputProblem {
            status: Status::False,
            reason: Reason::SettingsInvalid,
            message: format!("{file}: {field}: {problem}"),
        },
        Unfit::Unknown(message) => {
            InputProblem { status: Status::Unknown, reason: Reason::DaemonUnreachable, message }
        }
    }
}

/// `removeAfter` of these settings.
fn remove_after(settings: &SwitchSettings) -> SignedDuration {
    SignedDuration::try_from(settings.peering.nodes.remove_after.0).unwrap_or(SignedDuration::MAX)
}

/// A neighbour that these settings could have.
fn admits(settings: &SwitchSettings, hop: &NextHop) -> bool {
    hop.device.is_some() || hop.address.is_some_and(|address| settings.in_subnets(address))
}

/// `peers`, and those of `more` that are admitted.
fn with(peers: &Peers, more: &Peers, admitted: impl Fn(&NextHop) -> bool) -> Peers {
    let mut all = peers.clone();
    for (node, hops) in more {
        for hop in hops.iter().filter(|hop| admitted(hop)) {
            all.entry(node.clone()).or_default().insert(hop.clone());
        }
    }
    all
}

/// Bundle hash and facts hash. Of the facts only the neighbours count: nothing else changes a text.
fn revision(bundle: &Bundle, peers: &Peers) -> String {
    let lines: Vec<String> =
        peers.iter().flat_map(|(node, hops)| hops.iter().map(move |hop| format!("{node} {hop}"))).collect();
    let facts = digest(lines.iter().map(String::as_bytes));
    format!("{}-{}", bundle.hash(), &facts[..6])
}

fn wanted(gathered: &Gathered, peers: &Peers) -> String {
    gathered.bundle.as_ref().map(|bundle| revision(bundle, peers)).unwrap_or_default()
}
