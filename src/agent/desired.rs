//! From gathered inputs to what is desired: expectation and candidate.
//!
//! A bundle with a mistake is not used at all; the last good one stays in force, with the facts of now, so that
//! neighbours go on following their nodes while somebody mends the commit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::agent::inputs::Gathered;
use crate::change::diff::Candidate;
use crate::files::secret;
use crate::health::condition::{InputProblem, Reason, Status};
use crate::intent::announce::Advertisement;
use crate::intent::nexthops::{self, Expectation, Peers};
use crate::intent::render::{self, BuiltIn, Job, PASSWORD_PLACEHOLDER};
use crate::intent::settings::{self, SwitchSettings};
use crate::intent::snapshot::{Bundle, digest};
use crate::sandbox;

/// What is desired of this switch now.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The revision of the inputs as they are, good or not.
    pub wanted: String,
    /// The revision in force: that of the last good bundle with the facts of now.
    pub revision: Option<String>,
    /// The mistake in the inputs, if there is one.
    pub problem: Option<InputProblem>,
    /// Settings in force.
    pub settings: Option<SwitchSettings>,
    /// Expected forwarding.
    pub expectation: Expectation,
    /// The texts that should run.
    pub candidate: Option<Candidate>,
    /// Values of the secrets by placeholder.
    pub secrets: BTreeMap<String, String>,
}

/// Derives what is desired; remembers the last good bundle and what was rendered from it.
pub struct Deriver {
    me: String,
    nos: &'static str,
    built_in: &'static [BuiltIn],
    secrets: Option<PathBuf>,
    /// Whose own texts a bundle could bring instead of templates; refused until they are supported.
    literal: &'static [&'static str],
    good: Option<(Bundle, SwitchSettings)>,
    /// The last two renderings: while a bundle is bad, it and the good one take turns.
    rendered: Vec<(Job, Result<Candidate, InputProblem>)>,
}

impl Deriver {
    /// For the switch `me`, whose NOS has this name in a Switch and these built-in templates.
    pub fn new(me: &str, nos: &'static str, built_in: &'static [BuiltIn], secrets: Option<PathBuf>) -> Self {
        let literal = &["frr.conf", "interfaces.cfg", "nvue.yaml", "config_db.json", "srlinux.json"];
        Self { me: me.to_owned(), nos, built_in, secrets, literal, good: None, rendered: Vec::new() }
    }

    /// What is desired, given `gathered`.
    pub async fn derive(&mut self, gathered: &Gathered) -> Desired {
        let fresh = match &gathered.bundle {
            Err(problem) => Err(problem.clone()),
            Ok(bundle) => self.accept(bundle, gathered).await.map(|settings| (bundle.clone(), settings)),
        };
        let problem = match fresh {
            Ok(good) => {
                self.good = Some(good);
                None
            }
            Err(problem) => Some(problem),
        };
        let Some((bundle, settings)) = self.good.clone() else {
            return Desired { wanted: wanted(gathered, &Peers::new()), problem, ..Desired::default() };
        };
        let expectation = self.expect(&settings, gathered);
        let (secrets, secret_problem) = match self.secrets(&settings) {
            Ok(secrets) => (secrets, None),
            Err(problem) => (BTreeMap::new(), Some(problem)),
        };
        let rendered = self.render(&settings, &expectation.peers, &bundle).await;
        let (candidate, render_problem) = match (rendered, secret_problem) {
            (Ok(candidate), None) => (Some(candidate), None),
            (Ok(_), Some(problem)) | (Err(problem), _) => (None, Some(problem)),
        };
        Desired {
            wanted: wanted(gathered, &expectation.peers),
            revision: Some(revision(&bundle, &expectation.peers)),
            problem: problem.or(render_problem),
            settings: Some(settings),
            expectation,
            candidate,
            secrets,
        }
    }

    /// A bundle is good if its settings make sense and its templates render with the facts of now.
    async fn accept(&mut self, bundle: &Bundle, gathered: &Gathered) -> Result<SwitchSettings, InputProblem> {
        if let Some(nos) = gathered.switch.as_ref().and_then(|switch| switch.spec.nos.as_deref())
            && nos != self.nos
        {
            let message = format!("spec.nos: {nos} is not driven by this agent (expected {})", self.nos);
            return Err(InputProblem { status: Status::False, reason: Reason::Unsupported, message });
        }
        if let Some((good, settings)) = &self.good
            && good == bundle
        {
            return Ok(settings.clone());
        }
        if let Some(literal) = self.literal.iter().find(|name| bundle.texts.contains_key(**name)) {
            let message =
                format!("{literal}: literal texts are not supported yet (expected switch.yaml and *.tera)");
            return Err(InputProblem { status: Status::False, reason: Reason::Unsupported, message });
        }
        let invalid = |message: String| InputProblem {
            status: Status::False,
            reason: Reason::SettingsInvalid,
            message,
        };
        let text = bundle
            .texts
            .get(settings::FILE)
            .ok_or_else(|| invalid(format!("{} is missing in the bundle", settings::FILE)))?;
        let settings = settings::parse(text).map_err(|mistake| invalid(mistake.to_string()))?;
        if settings.network_instance != "default" {
            let message = format!(
                "{}: networkInstance: {} cannot be verified on this NOS yet (expected default)",
                settings::FILE,
                settings.network_instance
            );
            return Err(InputProblem { status: Status::False, reason: Reason::Unsupported, message });
        }
        self.secrets(&settings)?;
        let expectation = self.expect(&settings, gathered);
        self.render(&settings, &expectation.peers, bundle).await?;
        Ok(settings)
    }

    fn expect(&self, settings: &SwitchSettings, gathered: &Gathered) -> Expectation {
        nexthops::expect(&self.me, settings, &gathered.facts, &[Advertisement::plain()])
    }

    fn secrets(&self, settings: &SwitchSettings) -> Result<BTreeMap<String, String>, InputProblem> {
        let Some(name) = &settings.peering.password_file else { return Ok(BTreeMap::new()) };
        let problem = |problem: String| InputProblem {
            status: Status::False,
            reason: Reason::SecretUnreadable,
            message: format!("{}: peering.passwordFile: {name:?} {problem}", settings::FILE),
        };
        let folder = self.secrets.as_ref().ok_or_else(|| problem("needs --secrets-dir".to_owned()))?;
        let value =
            secret::read(folder, name).map_err(|error| problem(format!("cannot be used: {error}")))?;
        Ok(BTreeMap::from([(PASSWORD_PLACEHOLDER.to_owned(), value)]))
    }

    async fn render(
        &mut self,
        settings: &SwitchSettings,
        peers: &Peers,
        bundle: &Bundle,
    ) -> Result<Candidate, InputProblem> {
        let job = render::job(&self.me, settings, peers, bundle, self.built_in);
        if let Some((_, result)) = self.rendered.iter().find(|(done, _)| *done == job) {
            return result.clone();
        }
        let result = sandbox::render(&job).await.map_err(|mistake| InputProblem {
            status: Status::False,
            reason: Reason::RenderFailed,
            message: mistake.to_string(),
        });
        self.rendered.truncate(1);
        self.rendered.insert(0, (job, result.clone()));
        result
    }
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
