//! What the agent says about itself: log, counters, and the endpoint for kubelet, Prometheus and people.
#![expect(clippy::disallowed_methods, reason = "shell: stamps what it shows")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::health::{State as VipState, Verdict};

#[cfg(test)]
mod tests;

/// A pass takes milliseconds; without one for this long the agent is stuck and kubelet may restart it.
const STUCK: Duration = Duration::from_secs(120);

/// Sends the log to standard error: plain on a terminal, JSON elsewhere if `json`. `RUST_LOG` chooses what.
pub fn log(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube=error,kube_runtime=error"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call changes nothing: tests share a process.
    if json {
        builder.json().try_init().unwrap_or_default();
    } else {
        builder.with_ansi(false).try_init().unwrap_or_default();
    }
}

/// As [`log`], for a program that has little to tell and little memory: all from `info` on.
pub fn log_all(json: bool) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stderr)
        .with_target(false);
    if json {
        builder.json().try_init().unwrap_or_default();
    } else {
        builder.with_ansi(false).try_init().unwrap_or_default();
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: StateValue,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "label values are lower case")]
enum StateValue {
    ok,
    unknown,
    converging,
    diverged,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WriteLabel {
    object: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConditionLabel {
    r#type: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    r#type: &'static str,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StandingLabel {
    standing: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// All metrics. Cheap to clone.
#[derive(Clone)]
pub struct Counters {
    vips: Family<StateLabel, Gauge>,
    writes: Family<WriteLabel, Counter>,
    conditions: Family<ConditionLabel, Gauge>,
    reasons: Family<ReasonLabel, Gauge>,
    admission: Family<StandingLabel, Gauge>,
    guarded: Gauge,
    last_write: Gauge<f64, AtomicU64>,
    events: Family<ResultLabel, Counter>,
    passes: Counter,
    look_seconds: Histogram,
    pass_seconds: Histogram,
    applies: Counter,
    drifts: Counter,
    issues: Gauge,
    stale: Gauge,
    paused: Gauge,
    last_look: Gauge<f64, AtomicU64>,
    start: Gauge<i64, AtomicI64>,
    time_to_program: Histogram,
}

impl Counters {
    /// The metrics, registered.
    pub fn new() -> (Self, Registry) {
        // From a point look-up of a few VIPs to a dump of a million routes.
        let looks = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
        let programmed = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];
        let counters = Self {
            vips: Family::default(),
            writes: Family::default(),
            conditions: Family::default(),
            reasons: Family::default(),
            admission: Family::default(),
            guarded: Gauge::default(),
            last_write: Gauge::default(),
            events: Family::default(),
            passes: Counter::default(),
            look_seconds: Histogram::new(looks),
            pass_seconds: Histogram::new(looks),
            applies: Counter::default(),
            drifts: Counter::default(),
            issues: Gauge::default(),
            stale: Gauge::default(),
            paused: Gauge::default(),
            last_look: Gauge::default(),
            start: Gauge::default(),
            time_to_program: Histogram::new(programmed),
        };
        let registry = counters.registered();
        counters.start.set(jiff::Timestamp::now().as_second());
        (counters, registry)
    }

    fn registered(&self) -> Registry {
        let mut registry = Registry::with_prefix("switchlet");
        registry.register("vips", "Judged VIPs by state at the last look", self.vips.clone());
        registry.register("report_writes", "Writes to the API server", self.writes.clone());
        registry.register("condition", "1 for the status that a condition has", self.conditions.clone());
        registry.register("condition_reason", "1 for the reason that a condition has", self.reasons.clone());
        registry.register(
            "policy",
            "1 for how the admission policy for agents stands: enforced, absent or unknown",
            self.admission.clone(),
        );
        registry.register(
            "guarded",
            "1 if somebody else than the agent goes back when it cannot: a guard, or the switch itself",
            self.guarded.clone(),
        );
        registry.register_with_unit(
            "last_write_timestamp",
            "Unix time of the last report that the API server took",
            Unit::Seconds,
            self.last_write.clone(),
        );
        registry.register("events", "Events, written or given up", self.events.clone());
        registry.register("passes", "Passes of the agent", self.passes.clone());
        registry.register_with_unit(
            "look_duration",
            "Reading and judging the forwarding table",
            Unit::Seconds,
            self.look_seconds.clone(),
        );
        registry.register_with_unit(
            "pass_duration",
            "A whole pass: inputs, configuration, look, report handed over",
            Unit::Seconds,
            self.pass_seconds.clone(),
        );
        registry.register("config_applies", "Times that commands were sent to the NOS", self.applies.clone());
        registry.register(
            "config_drifts",
            "Times that running was found changed by somebody else",
            self.drifts.clone(),
        );
        registry.register(
            "bundle_stale",
            "1 while the last good bundle is kept up because the API server has said nothing since the start",
            self.stale.clone(),
        );
        registry.register(
            "paused",
            "1 while somebody at the switch has paused it: nothing is written",
            self.paused.clone(),
        );
        registry.register("issues", "Inputs that were skipped", self.issues.clone());
        registry.register_with_unit(
            "last_look_timestamp",
            "Unix time of the last look that succeeded",
            Unit::Seconds,
            self.last_look.clone(),
        );
        registry.register_with_unit(
            "start_timestamp",
            "Unix time of the agent's start",
            Unit::Seconds,
            self.start.clone(),
        );
        registry.register_with_unit(
            "vip_time_to_program",
            "From a change of the expectation to a forwarding table that equals it",
            Unit::Seconds,
            self.time_to_program.clone(),
        );
        registry
    }

    /// A write to the API server.
    pub fn wrote(&self, object: &'static str, ok: bool) {
        let result = if ok { "ok" } else { "error" };
        self.writes.get_or_create(&WriteLabel { object, result }).inc();
        if ok {
            #[expect(
                clippy::cast_precision_loss,
                reason = "seconds since 1970 fit a double for 285 million years"
            )]
            self.last_write.set(jiff::Timestamp::now().as_second() as f64);
        }
    }

    /// A pass begins.
    pub fn passed(&self) {
        self.passes.inc();
    }

    /// … and is over.
    pub fn done(&self, took: Duration) {
        self.pass_seconds.observe(took.as_secs_f64());
    }

    /// A look and its verdict.
    pub fn looked(&self, verdict: &Verdict, took: Duration, succeeded: bool) {
        let count = |state: VipState| {
            i64::try_from(verdict.vips.iter().filter(|vip| vip.state == state).count()).unwrap_or(i64::MAX)
        };
        for (value, state) in [
            (StateValue::ok, VipState::Ok),
            (StateValue::unknown, VipState::Unknown),
            (StateValue::converging, VipState::Converging),
            (StateValue::diverged, VipState::Diverged),
        ] {
            self.vips.get_or_create(&StateLabel { state: value }).set(count(state));
        }
        self.issues.set(i64::try_from(verdict.issues.len()).unwrap_or(i64::MAX));
        self.look_seconds.observe(took.as_secs_f64());
        if succeeded {
            #[expect(
                clippy::cast_precision_loss,
                reason = "seconds since 1970 fit a double for 285 million years"
            )]
            self.last_look.set(verdict.observed_at.as_second() as f64);
        }
    }

    /// Status and reason of all conditions; those of others are withdrawn.
    pub fn said(&self, all: impl Iterator<Item = (&'static str, String, String)>) {
        self.conditions.clear();
        self.reasons.clear();
        for (r#type, status, reason) in all {
            self.reasons.get_or_create(&ReasonLabel { r#type, reason }).set(1);
            for word in ["True", "False", "Unknown"] {
                let label = ConditionLabel { r#type, status: word };
                self.conditions.get_or_create(&label).set(i64::from(word == status));
            }
        }
    }

    /// How the admission policy for agents stands.
    pub fn admission(&self, standing: &'static str) {
        for word in ["enforced", "absent", "unknown"] {
            let label = StandingLabel { standing: word };
            self.admission.get_or_create(&label).set(i64::from(word == standing));
        }
    }

    /// Somebody else goes back when the agent cannot.
    pub fn guarded(&self, is: bool) {
        self.guarded.set(i64::from(is));
    }

    /// The last good bundle is kept up without the API server.
    pub fn stale(&self, is: bool) {
        self.stale.set(i64::from(is));
    }

    /// Somebody at the switch has paused it, or not.
    pub fn paused(&self, is: bool) {
        self.paused.set(i64::from(is));
    }

    /// Commands were sent.
    pub fn applied(&self) {
        self.applies.inc();
    }

    /// Drift was found; `all` so far.
    pub fn drifted(&self, all: u64) {
        let known = self.drifts.get();
        self.drifts.inc_by(all.saturating_sub(known));
    }

    /// A VIP equals its expectation again.
    pub fn programmed(&self, after: Duration) {
        self.time_to_program.observe(after.as_secs_f64());
    }
}

impl crate::cluster::events::Tally for Counters {
    fn written(&self) {
        self.events.get_or_create(&ResultLabel { result: "ok" }).inc();
    }

    fn dropped(&self) {
        self.events.get_or_create(&ResultLabel { result: "dropped" }).inc();
    }
}

/// What the endpoint shows; replaced after each pass.
#[derive(Debug, Clone)]
pub struct Published {
    /// When the last pass ended.
    pub passed: Instant,
    /// All inputs are complete and a verdict exists.
    pub ready: bool,
    /// Why not, for people.
    pub waiting: String,
    /// The verdict.
    pub verdict: Option<Arc<Verdict>>,
}

#[derive(Clone)]
struct Shared {
    published: watch::Receiver<Published>,
    registry: Arc<Registry>,
}

/// Opens the endpoint; the address must be free.
pub async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("--listen {address}"))
}

/// Serves `/healthz`, `/readyz`, `/metrics` and `/v1/verdict` for ever.
pub async fn serve(listener: TcpListener, registry: Registry, published: watch::Receiver<Published>) {
    let shared = Shared { published, registry: Arc::new(registry) };
    let app = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/verdict", get(verdict))
        .with_state(shared);
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "the endpoint ended");
    }
}

async fn healthz(State(shared): State<Shared>) -> Response {
    let age = shared.published.borrow().passed.elapsed();
    if age > STUCK {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("no pass for {} s\n", age.as_secs()))
            .into_response();
    }
    "ok\n".into_response()
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let published = shared.published.borrow().clone();
    if published.ready {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", published.waiting)).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let mut body = String::new();
    if text::encode(&mut body, &shared.registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], body)
        .into_response()
}

async fn verdict(State(shared): State<Shared>) -> Response {
    let verdict = shared.published.borrow().verdict.clone();
    match verdict {
        Some(verdict) => {
            let body = serde_json::to_string_pretty(&*verdict).unwrap_or_default();
            ([(header::CONTENT_TYPE, "application/json")], body + "\n").into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "no verdict yet\n").into_response(),
    }
}
