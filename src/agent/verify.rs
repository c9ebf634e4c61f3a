//! Looking at the forwarding table, asking the control plane why, and judging.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::agent::desired::Desired;
use crate::agent::inputs::Inputs;
use crate::change::look::{Established, Forwarding};
use crate::cluster::{Rereader, chain};
use crate::fib::{FibError, FibReader};
use crate::health::clock::{Circumstances, Freshness, Judge, Judgement};
use crate::health::compare::{self, Compared, Look};
use crate::health::ladder::{self, Evidence};
use crate::health::spread;
use crate::intent::nexthops::Expectation;
use crate::intent::settings::SwitchSettings;
use crate::intent::snapshot::ObjectName;
use crate::net::{Family, Prefix, Route, RouteKind, is_link_local};
use crate::rib::{Limits, RibError, RibReader, Session, Sessions};

/// Reasons are asked for at most this many VIPs a look: what differs everywhere needs no list of causes.
const MOST_QUESTIONS: usize = 64;
/// Services read again from the API at the same time.
const MOST_REREADS: usize = 8;
/// The API's time to answer such a question.
const REREAD: Duration = Duration::from_secs(3);
/// The whole table is read at this pace at least, for routes that nobody expects.
const DUMP_PERIOD: Duration = Duration::from_secs(30);
/// After a hint it is read again at once, but dumping may not take more than a twentieth of the time.
const DUMP_SHARE: u32 = 20;
const DUMP_GAP: Duration = Duration::from_secs(1);

/// Reads both tables and keeps the judge.
pub struct Verifier<F, R> {
    fib: F,
    rib: R,
    judge: Judge,
    strays: BTreeSet<Prefix>,
    next_dump: Instant,
    dump_gap_until: Instant,
    fresh: BTreeMap<ObjectName, Freshness>,
    rereader: Option<Rereader>,
    answers: (mpsc::Sender<Answer>, mpsc::Receiver<Answer>),
    asking: BTreeSet<ObjectName>,
    rib_failing: bool,
}

type Answer = (ObjectName, Result<bool, String>);

impl<F: FibReader, R: RibReader> Verifier<F, R> {
    /// A verifier that goes on with the clocks of `judge`.
    pub fn new(fib: F, rib: R, judge: Judge, rereader: Option<Rereader>) -> Self {
        let now = Instant::now();
        Self {
            fib,
            rib,
            judge,
            strays: BTreeSet::new(),
            next_dump: now,
            dump_gap_until: now,
            fresh: BTreeMap::new(),
            rereader,
            answers: mpsc::channel(MOST_REREADS),
            asking: BTreeSet::new(),
            rib_failing: false,
        }
    }

    /// Looks at this network instance from now on.
    pub fn enter(&mut self, instance: &str) {
        self.fib.enter(instance);
        self.rib.enter(instance);
    }

    /// The judge with its clocks.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// The table may have new routes: dump again as soon as the pace allows.
    pub fn hint(&mut self) {
        self.next_dump = self.next_dump.min(self.dump_gap_until.max(Instant::now()));
    }

    /// When the next dump is due.
    pub fn next_dump(&self) -> Instant {
        self.next_dump
    }

    /// Waits for an answer of the API server about a Service.
    pub async fn answered(&mut self) {
        if let Some((name, answer)) = self.answers.1.recv().await {
            self.asking.remove(&name);
            let now = Timestamp::now();
            let freshness = match answer {
                Ok(true) => Freshness::Confirmed(now),
                // The watch lags behind: the expectation will change in a moment.
                Ok(false) => Freshness::Unanswered(now),
                Err(why) => {
                    tracing::warn!(service = %name, why, "the API did not confirm what is expected");
                    Freshness::Unanswered(now)
                }
            };
            self.fresh.insert(name, freshness);
        }
    }

    /// Looks which of MetalLB's peers this switch is, and tells the inputs; true if that was news. What its table does not
    /// tell now stays as it was.
    pub async fn locate(&mut self, inputs: &mut Inputs) -> bool {
        let asked = inputs.peer_addresses();
        if asked.is_empty() {
            return false;
        }
        let prefixes: Vec<Prefix> = asked.iter().copied().map(Prefix::host).collect();
        let Ok(routes) = self.fib.exact(&prefixes).await else { return false };
        let is_local = |route: &Route| route.kind == RouteKind::Local;
        let all = asked.iter().zip(&routes);
        let own = all.filter(|(_, route)| route.as_ref().is_some_and(is_local)).map(|(address, _)| *address);
        let own = own.collect();
        inputs.locate(own)
    }

    /// One look and its comparison.
    pub async fn compare(
        &mut self,
        settings: &SwitchSettings,
        expectation: &Expectation,
    ) -> Result<BTreeMap<Prefix, Compared>, FibError> {
        if Instant::now() >= self.next_dump {
            let began = Instant::now();
            let routes = self.fib.within(&settings.pools()).await?;
            self.strays = compare::strays(settings, expectation, &routes);
            self.next_dump = Instant::now() + DUMP_PERIOD;
            self.dump_gap_until = Instant::now() + DUMP_GAP.max(began.elapsed() * DUMP_SHARE);
        }
        self.strays.retain(|prefix| !expectation.vips.contains_key(prefix));
        self.look_up(expectation).await
    }

    /// What is expected, and the strays of the last dump, each looked up and compared.
    async fn look_up(&mut self, expectation: &Expectation) -> Result<BTreeMap<Prefix, Compared>, FibError> {
        let prefixes = compare::wanted_prefixes(expectation, &self.strays);
        let peers = compare::wanted_peers(expectation);
        let routes = self.fib.exact(&prefixes).await?;
        let by_peer = self.fib.longest(&peers).await?;
        let look = Look {
            routes: prefixes.into_iter().zip(routes).collect(),
            peers: peers.into_iter().zip(by_peer).collect(),
        };
        Ok(compare::compare(expectation, &look))
    }

    /// Which of these next-hops forward now; no dump, because routes that nobody expects cannot be lost.
    pub async fn forwarding(&mut self, expectation: &Expectation) -> Result<Forwarding, String> {
        let compared = self.look_up(expectation).await.map_err(|error| chain(&error))?;
        Ok(compare::forwarding(&compared))
    }

    /// The sessions that are up.
    pub async fn established(&mut self) -> Result<BTreeMap<String, Established>, String> {
        let sessions = self.rib.sessions().await.map_err(|error| chain(&error))?;
        let now = Instant::now().into_std();
        let up = sessions.by_peer.into_values().filter(Session::is_up).map(|session| {
            let since = now.checked_sub(session.uptime.unwrap_or_default()).unwrap_or(now);
            (session.peer, Established { since, dropped: session.dropped })
        });
        Ok(up.collect())
    }

    /// The addresses behind the default routes; none where the table cannot be read.
    pub async fn gateways(&mut self) -> Vec<IpAddr> {
        let defaults = [Prefix::default_of(Family::V4), Prefix::default_of(Family::V6)];
        let routes = self.fib.exact(&defaults).await.unwrap_or_default();
        let live = routes.into_iter().flatten().flat_map(|route| route.live());
        live.filter_map(|hop| hop.address).filter(|address| !is_link_local(*address)).collect()
    }

    /// One look, judged.
    pub async fn look(
        &mut self,
        settings: &SwitchSettings,
        desired: &Desired,
    ) -> Result<Judgement, FibError> {
        let expectation = &desired.expectation;
        let mut compared = self.compare(settings, expectation).await?;
        let groups = spread::groups(settings, &compared);
        let groups = if groups.is_empty() { BTreeMap::new() } else { self.fib.groups(&groups).await? };
        spread::remark(settings, &desired.platform, &groups, &mut compared);
        let hashing = self.fib.hashing();
        let (sessions, evidence) = self.ask(&compared).await;
        // The deadlines count from the look, not from the answers.
        let now = Timestamp::now();
        if self.rereader.is_none() {
            let services = expectation.vips.values().flat_map(|vip| vip.services.iter().cloned());
            self.fresh = services.map(|service| (service, Freshness::Confirmed(now))).collect();
        }
        let mut judgement = self.judge.judge(
            &compared,
            &Circumstances {
                now,
                convergence: settings.verify.convergence.0,
                network_instance: &settings.network_instance,
                sessions: sessions.as_ref(),
                evidence: &evidence,
                node_of: &expectation.node_of,
                fresh: &self.fresh,
            },
        );
        judgement.issues = spread::issues(&compared, hashing);
        judgement.issues.extend(spread::waiting(settings, &desired.platform, &judgement.vips));
        judgement.hashing = hashing;
        self.confirm(&judgement);
        Ok(judgement)
    }

    /// Asks the control plane about what differs. Its silence is no verdict.
    async fn ask(
        &mut self,
        compared: &BTreeMap<Prefix, Compared>,
    ) -> (Option<Sessions>, BTreeMap<Prefix, Evidence>) {
        let differing: Vec<(Prefix, &Compared)> = compared
            .iter()
            .filter(|(_, compared)| !compared.is_equal())
            .map(|(prefix, compared)| (*prefix, compared))
            .take(MOST_QUESTIONS)
            .collect();
        if differing.is_empty() {
            return (None, BTreeMap::new());
        }
        let mut evidence = BTreeMap::new();
        let asked = async {
            let sessions = self.rib.sessions().await?;
            let mut limits: BTreeMap<Family, Limits> = BTreeMap::new();
            let mut questions = MOST_QUESTIONS;
            for (prefix, compared) in differing {
                let paths = self.rib.paths(prefix).await?;
                let managed = self.rib.managed(prefix).await?;
                let family = prefix.family();
                if paths.iter().any(|path| path.valid && !path.chosen) && !limits.contains_key(&family) {
                    limits.insert(family, self.rib.limits(family).await?);
                }
                let missing = compared
                    .missing
                    .iter()
                    .map(|hop| (hop, compared.expected.get(hop).and_then(|behind| behind.peer.as_ref())));
                let mut intake = BTreeMap::new();
                for peer in ladder::worth_asking(missing, &sessions, &paths) {
                    if questions == 0 {
                        break;
                    }
                    questions -= 1;
                    let told = self.rib.intake(&peer, prefix).await?;
                    intake.insert(peer, told);
                }
                let limits = limits.get(&family).copied().unwrap_or_default();
                evidence.insert(prefix, Evidence { paths, managed, limits, intake });
            }
            Ok::<_, RibError>(sessions)
        };
        match asked.await {
            Ok(sessions) => {
                self.rib_failing = false;
                (Some(sessions), evidence)
            }
            Err(error) => {
                if !self.rib_failing {
                    tracing::warn!(%error, "the control plane does not tell reasons");
                }
                self.rib_failing = true;
                (None, evidence)
            }
        }
    }

    /// Asks the API server about Services whose differences are due, a few at a time, without waiting here.
    fn confirm(&mut self, judgement: &Judgement) {
        let Some(rereader) = &self.rereader else { return };
        let now = Timestamp::now();
        for name in &judgement.to_confirm {
            if self.asking.len() >= MOST_REREADS {
                break;
            }
            let recent = match self.fresh.get(name) {
                // A yes may be older than the difference in question: it is asked for again, but not in a rush.
                Some(Freshness::Confirmed(at)) => now.duration_since(*at).as_secs() < 1,
                Some(Freshness::Unanswered(at)) => now.duration_since(*at).as_secs() < 10,
                None => false,
            };
            if recent || !self.asking.insert(name.clone()) {
                continue;
            }
            let (rereader, answers, name) = (rereader.clone(), self.answers.0.clone(), name.clone());
            tokio::spawn(async move {
                let answer = rereader.is_current(&name, REREAD).await;
                // The agent is ending if nobody listens.
                drop(answers.send((name, answer)).await);
            });
        }
    }
}
