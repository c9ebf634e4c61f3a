//! The commands: what `main` runs. Composes the parts, prints the results, chooses the exit code.
#![expect(clippy::disallowed_methods, reason = "the edge: files, clock, environment")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::agent::desired::{Deriver, Desired};
use crate::agent::inputs::{Folders, Inputs};
use crate::agent::pause::{PauseFile, PauseWatch};
use crate::agent::reporter::{self, ToSay};
use crate::agent::verify::Verifier;
use crate::agent::{self, Parts, StateFolder, say};
use crate::change::Dialect;
use crate::change::dialect::frr::Frr;
use crate::cluster::client::{self, Clients, Way};
use crate::cluster::events::Recorder;
use crate::cluster::leases::{Slots, Turn};
use crate::cluster::policy;
use crate::cluster::report::Writer;
use crate::fib::FibReader;
use crate::fib::netlink::NetlinkFib;
use crate::files;
use crate::guard::record::Records;
use crate::guard::{Ended, Guard};
use crate::health::clock::{Judge, SECOND_LOOK, without_patience};
use crate::health::condition::{InputProblem, Status};
use crate::health::{Verdict, Word};
use crate::intent::platform::Platform;
use crate::intent::render;
use crate::intent::snapshot::Bundle;
use crate::intent::switch::SwitchObject;
use crate::jsonrpc::Server;
use crate::nos::NosDriver;
use crate::nos::frr::{FrrDriver, Hand, Places, canary};
use crate::nos::srlinux::SrlinuxDriver;
use crate::probe::Probes;
use crate::rib::RibReader;
use crate::rib::frr::FrrRib;
use crate::settings::Inputs as InputArgs;
use crate::settings::Nos;
use crate::settings::{
    AgentArgs, Cli, Command, CompletionsArgs, ExecIn, GuardArgs, OneShot, RenderArgs, VerifyArgs,
};
use crate::{sandbox, telemetry};

mod fleet;
mod kit;
mod lean;
mod lint;
mod pause;
mod plan;
mod preflight;
mod print;

use kit::Kit;
use lint::run_lint;
use pause::run_pause;
use plan::run_plan;

/// Fine.
const FINE: u8 = 0;
/// Something differs, or would change.
const DIFFERS: u8 = 1;
/// Could not look.
const BLIND: u8 = 2;
/// `plan`: it would have to be approved.
const OVER_BUDGET: u8 = 3;
/// `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;
/// `EX_DATAERR` of sysexits.h.
const BAD_INPUT: u8 = 65;

/// A daemon's answer to a question about reasons.
const REASON: Duration = Duration::from_secs(2);
/// How often a second agent looks whether the first one has gone.
const LOCK_RETRY: Duration = Duration::from_secs(1);

/// Where the CRDs are.
const CRDS: &str = include_str!("../manifests/crd.yaml");

/// Runs one command.
pub fn run() -> ExitCode {
    if let Some((args, kept)) = lean::words() {
        return ended(run_guard(&args, kept));
    }
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version come this way too.
            let code = if error.use_stderr() { USAGE } else { FINE };
            error.print().unwrap_or_default();
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Command::RenderChild => sandbox::child().map(|()| FINE),
        Command::Canary(args) => canary::outer(&args.root).map(|()| FINE),
        Command::CanaryInner(args) => canary::inner(&args.root).map(|()| FINE),
        Command::ExecIn(args) => exec_in(&args),
        Command::Schema => print(
            &(serde_json::to_string_pretty(&crate::intent::settings::schema()).unwrap_or_default() + "\n"),
        ),
        Command::Crds => print(CRDS),
        Command::Agent(args) => in_runtime(run_agent(args)),
        Command::Guard(args) => {
            lean::again(&args, None);
            run_guard(&args, None)
        }
        Command::Pause(args) => run_pause(&args),
        Command::Render(args) => in_runtime(run_render(args)),
        Command::Plan(args) => in_runtime(run_plan(args)),
        Command::Lint(args) => in_runtime(run_lint(args)),
        Command::Verify(args) => in_runtime(run_verify(args)),
        Command::Preflight(args) => in_runtime(preflight::run_preflight(args)),
        Command::Completions(args) => completions(&args),
        Command::Status(args) => in_runtime(fleet::run_status(args)),
        Command::Explain(args) => in_runtime(fleet::run_explain(args)),
        Command::DrainCheck(args) => in_runtime(fleet::run_drain_check(args)),
        Command::Diff(args) => in_runtime(fleet::run_diff(args)),
        Command::History(args) => in_runtime(fleet::run_history(args)),
    };
    ended(result)
}

/// The words of the command line. kubectl finds a plugin by its file's name, and people call it by kubectl's.
fn parse() -> Result<Cli, clap::Error> {
    let mut command = <Cli as clap::CommandFactory>::command();
    let called = std::env::args_os().next().map(PathBuf::from);
    if called.as_deref().and_then(Path::file_name).is_some_and(|name| name == "kubectl-switchlet") {
        command = command.bin_name("kubectl switchlet");
    }
    <Cli as clap::FromArgMatches>::from_arg_matches(&command.try_get_matches()?)
}

/// The exit code; an error is told.
fn ended(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let text = format!("switchlet: {error:#}");
            eprintln!("{text}");
            // kubelet shows this text in the pod's status.
            if Path::new("/dev/termination-log").exists() {
                fs::write("/dev/termination-log", &text).unwrap_or_default();
            }
            ExitCode::from(BLIND)
        }
    }
}

fn print(text: &str) -> anyhow::Result<u8> {
    // A reader that closed the pipe has seen enough.
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(FINE),
    }
}

fn in_runtime(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    // One thread: the agent shares a switch's control processor with what it looks after.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // A second installation changes nothing.
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    let result = runtime.block_on(command);
    // A dump that runs in a thread of its own must not hold up the end.
    runtime.shutdown_background();
    result
}

/// A shell's completions, of the name that was called.
fn completions(args: &CompletionsArgs) -> anyhow::Result<u8> {
    let mut command = <Cli as clap::CommandFactory>::command();
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "switchlet", &mut text);
    print(&String::from_utf8_lossy(&text))
}

fn exec_in(args: &ExecIn) -> anyhow::Result<u8> {
    use std::os::unix::process::CommandExt;
    nix::unistd::chroot(&args.root).with_context(|| format!("entering {}", args.root.display()))?;
    std::env::set_current_dir("/")?;
    let (program, arguments) = args.command.split_first().context("no command")?;
    Err(std::process::Command::new(program).args(arguments).exec())
        .with_context(|| format!("starting {program}"))
}

/// Everything that the commands have in common.
struct Opened {
    clients: Option<Clients>,
    namespace: String,
    inputs: Inputs,
    deriver: Deriver,
    nos: Option<Nos>,
    places: Places,
    server: Option<Server>,
    state: StateFolder,
}

async fn open(args: &InputArgs) -> anyhow::Result<Opened> {
    let folders = Folders { bundle: args.bundle.clone(), cluster: args.cluster.clone() };
    let clients = if folders.bundle.is_some() && folders.cluster.is_some() {
        None
    } else {
        let way = Way { servers: &args.api_server, device: args.api_device.as_deref(), ..Way::default() };
        Some(client::connect(args.kubeconfig.as_deref(), way).await?)
    };
    let namespace = args.namespace.clone().or_else(pod_namespace).unwrap_or_else(|| "switchlet".to_owned());
    Ok(Opened {
        inputs: Inputs::open(&args.node, &namespace, folders, clients.as_ref())
            .with_metallb_in(&args.metallb_namespace),
        deriver: Deriver::new(&args.node, kit::language(args.nos), args.secrets_dir.clone()),
        nos: args.nos,
        places: Places { root: args.frr_root.clone(), instance: args.frr_instance.clone() },
        server: kit::server(args)?,
        state: StateFolder::new(&args.state_dir),
        clients,
        namespace,
    })
}

fn pod_namespace() -> Option<String> {
    let text = fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

/// What is desired, as soon as all inputs are complete, of the FRR that runs here.
async fn desired_once(
    opened: &mut Opened,
    timeout: Duration,
) -> anyhow::Result<(Desired, Option<SwitchObject>)> {
    // What a switch would be given that is not reachable from here is what every release takes, or what the settings assume.
    let platform = match (opened.nos, &opened.server) {
        (Some(Nos::Srlinux), Some(server)) => SrlinuxDriver::new(server.clone(), opened.state.folder(), None)
            .platform()
            .await
            .unwrap_or_default(),
        (Some(Nos::Srlinux), None) => Platform::default(),
        (Some(Nos::Frr) | None, _) => {
            FrrDriver::new(opened.places.clone(), Hand::Auto).platform().await.unwrap_or_default()
        }
    };
    desired_of(opened, platform, timeout).await
}

/// As above, of another FRR.
async fn desired_of(
    opened: &mut Opened,
    platform: Platform,
    timeout: Duration,
) -> anyhow::Result<(Desired, Option<SwitchObject>)> {
    let deadline = Instant::now() + timeout;
    opened.deriver.runs_on(platform);
    loop {
        match opened.inputs.gather() {
            Ok(gathered) => {
                let desired = opened.deriver.derive(&gathered, Timestamp::now()).await;
                return Ok((desired, gathered.switch));
            }
            Err(waiting) => {
                if tokio::time::timeout_at(deadline, opened.inputs.changed()).await.is_err() {
                    anyhow::bail!("{waiting}: not complete after {} s", timeout.as_secs());
                }
            }
        }
    }
}

/// Says what is wrong with the inputs; the exit code of it.
fn complain(problem: &InputProblem) -> u8 {
    eprintln!("switchlet: {:?}: {}", problem.reason, problem.message);
    if problem.status == Status::Unknown { BLIND } else { BAD_INPUT }
}

async fn run_render(args: RenderArgs) -> anyhow::Result<u8> {
    let mut opened = open(&args.inputs).await?;
    let (desired, _) = desired_once(&mut opened, args.timeout.0).await?;
    if let Some(problem) = &desired.problem {
        return Ok(complain(problem));
    }
    for issue in &desired.expectation.issues {
        eprintln!("switchlet: {}: {}: {}", issue.object, issue.reason, issue.message);
    }
    if args.explain {
        let job = opened.deriver.job(&desired, &Bundle::default()).context("there are no settings")?;
        return print(&print::explained(&render::context::explain(&job.context), args.output)?);
    }
    for (owner, text) in desired.target.iter().flat_map(|target| &target.candidate.texts) {
        match &args.out {
            None => drop(print(text)?),
            Some(folder) => {
                fs::create_dir_all(folder).with_context(|| format!("--out {}", folder.display()))?;
                let path = folder.join(if owner == "srlinux" {
                    "srlinux.json".to_owned()
                } else {
                    format!("{owner}.conf")
                });
                files::replace(&path, text.as_bytes())
                    .with_context(|| format!("writing {}", path.display()))?;
            }
        }
    }
    Ok(FINE)
}

async fn run_verify(args: VerifyArgs) -> anyhow::Result<u8> {
    let opened = open(&args.once.inputs).await?;
    match opened.nos {
        Some(Nos::Srlinux) => {
            let kit = kit::srlinux(&args.once.inputs, &opened)?;
            verify_on(args, opened, Verifier::new(kit.fib, kit.rib, Judge::default(), None)).await
        }
        Some(Nos::Frr) | None => {
            let fib = NetlinkFib::open().context("opening netlink")?;
            let rib = FrrRib::new(opened.places.run(), opened.places.instance.clone(), REASON);
            verify_on(args, opened, Verifier::new(fib, rib, Judge::default(), None)).await
        }
    }
}

async fn verify_on<F: FibReader, R: RibReader>(
    args: VerifyArgs,
    opened: Opened,
    verifier: Verifier<F, R>,
) -> anyhow::Result<u8> {
    let OneShot { inputs, output, timeout } = args.once;
    let (mut opened, mut verifier) = (opened, verifier);
    let deadline = Instant::now() + args.wait.map_or(Duration::ZERO, |wait| wait.0);
    let (mut desired, _) = desired_once(&mut opened, timeout.0).await?;
    if let Some(problem) = &desired.problem {
        return Ok(complain(problem));
    }
    let verdict = loop {
        if let Some(settings) = &desired.settings {
            verifier.enter(&settings.network_instance);
        }
        if verifier.locate(&mut opened.inputs).await {
            (desired, _) = desired_once(&mut opened, timeout.0).await?;
        }
        let verdict = two_looks(&inputs.node, &mut verifier, &desired).await?;
        if verdict.verdict == Word::Ok || Instant::now() >= deadline {
            break verdict;
        }
        // Whether something changed or not: look again.
        drop(tokio::time::timeout(SECOND_LOOK, opened.inputs.changed()).await);
        verifier.hint();
        (desired, _) = desired_once(&mut opened, timeout.0).await?;
    };
    print(&print::verdict(&verdict, output)?)?;
    Ok(match verdict.verdict {
        Word::Ok => FINE,
        Word::Differs => DIFFERS,
        Word::Unknown => BLIND,
    })
}

/// Looks twice; what still differs at the second look is called diverged.
async fn two_looks<F: FibReader, R: RibReader>(
    me: &str,
    verifier: &mut Verifier<F, R>,
    desired: &Desired,
) -> anyhow::Result<Verdict> {
    let settings = desired.settings.as_ref().context("no settings")?;
    let instance = &settings.network_instance;
    verifier.enter(instance);
    let judge =
        |judged: Option<Result<_, &str>>| say::verdict(me, Timestamp::now(), desired, judged, instance);
    let first = verifier.look(settings, desired).await;
    let judged = match first {
        Ok(judgement) if Verdict::word(&judgement.vips) != Word::Differs => Ok(judgement),
        _ => {
            tokio::time::sleep(SECOND_LOOK).await;
            verifier.look(settings, desired).await
        }
    };
    let why;
    let mut verdict = match &judged {
        Ok(judgement) => judge(Some(Ok(judgement))),
        Err(error) => {
            why = crate::cluster::chain(error);
            eprintln!("switchlet: FibUnreadable: {why}");
            judge(Some(Err(&why)))
        }
    };
    without_patience(verdict.vips.own());
    Ok(verdict)
}

async fn run_agent(args: AgentArgs) -> anyhow::Result<u8> {
    telemetry::log(args.log_json);
    let state = &args.inputs.state_dir;
    make_state(state)?;
    let mut stop = Box::pin(stopped()?);
    let Some(_locks) = only_one(&args.inputs, &mut stop).await? else { return Ok(FINE) };
    let opened = open(&args.inputs).await?;
    match opened.nos {
        Some(Nos::Srlinux) => {
            let kit = kit::srlinux(&args.inputs, &opened)?;
            agent_on(args, opened, kit, stop).await
        }
        Some(Nos::Frr) | None => {
            let kit = kit::frr(&args.inputs, args.guard, &opened)?;
            agent_on(args, opened, kit, stop).await
        }
    }
}

/// The agent, on the NOS of `kit`.
async fn agent_on<D: Dialect, N: NosDriver, F: FibReader, R: RibReader>(
    args: AgentArgs,
    opened: Opened,
    kit: Kit<D, N, F, R>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<u8> {
    let Kit { dialect, driver, fib, rib, hints, guarding } = kit;
    let Opened { clients, namespace, inputs, deriver, nos: _, places: _, server: _, state } = opened;
    let me = args.inputs.node.clone();
    let seed = me.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });

    let (counters, registry) = telemetry::Counters::new();
    let (published, shown) = watch::channel(telemetry::Published {
        passed: Instant::now(),
        ready: false,
        waiting: "starting".to_owned(),
        verdict: None,
    });
    let listener = telemetry::listen(&args.listen).await?;
    tokio::spawn(telemetry::serve(listener, registry, shown));

    let (say, to_say) = watch::channel(Arc::new(ToSay::default()));
    if let Some(clients) = &clients {
        let writer = Writer::new(clients.calls.clone(), &me, &namespace);
        tokio::spawn(reporter::run(writer, to_say, counters.clone(), seed));
    }
    let events = clients.as_ref().map(|c| Recorder::start(c.calls.clone(), &me, seed, counters.clone()));
    let admission = clients.as_ref().map(|c| policy::start(c.calls.clone(), &me, seed));
    let rereader = inputs.rereader(clients.as_ref());
    // A folder of objects names no group that others would know of.
    let slots = clients.as_ref().filter(|_| args.inputs.cluster.is_none()).map(|clients| {
        let turn = Turn { me: me.clone(), namespace: namespace.clone(), duration: args.slot_lease.0, seed };
        Slots::start(clients, turn)
    });
    let parts = Parts {
        me,
        inputs,
        deriver,
        driver,
        guarding,
        probes: Probes {
            servers: clients.as_ref().map(|clients| clients.servers.clone()).unwrap_or_default(),
            device: args.inputs.api_device.clone(),
        },
        verifier: Verifier::new(fib, rib, state.judge(), rereader),
        hints,
        state,
        slots,
        pause: PauseWatch::open(PauseFile::new(&args.inputs.state_dir)),
        say,
        admission,
        events,
        published,
        counters,
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = args.inputs.node, "started");
    Box::pin(agent::run(parts, dialect, seed, stop)).await;
    tracing::info!("stopped");
    Ok(FINE)
}

/// No runtime and no thread: it shall be small. What a change took of its memory goes with the change.
fn run_guard(args: &GuardArgs, kept: Option<UnixListener>) -> anyhow::Result<u8> {
    telemetry::log_all(args.log_json);
    let state_dir = &args.state_dir;
    make_state(state_dir)?;
    let places = Places { root: args.frr_root.clone(), instance: args.frr_instance.clone() };
    let locks = locks(state_dir, &places);
    let records = Records::new(state_dir);
    let driver = FrrDriver::new(places, args.frr_hand);
    let mut guard = Guard { records, locks, driver, dialect: Frr, form: args.form };
    let mut kept = kept;
    loop {
        match guard.run(kept).with_context(|| format!("--state-dir {}", state_dir.display()))? {
            Ended::Told => return Ok(FINE),
            Ended::Idle(listener) => {
                lean::again(args, Some(&listener));
                kept = Some(listener);
            }
        }
    }
}

fn make_state(folder: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("--state-dir {}", folder.display()))
}

/// One lock beside our state, one beside FRR's sockets, because two agents may have been given different folders.
fn locks(state: &Path, places: &Places) -> Vec<PathBuf> {
    [Some(state.join("lock")), places.lock()].into_iter().flatten().collect()
}

/// Resolves at SIGTERM or SIGINT.
fn stopped() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn is_unwritable(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), ReadOnlyFilesystem | StorageFull | QuotaExceeded)
}

/// Waits until no other agent writes to this switch; `None` if it was told to stop meanwhile.
async fn only_one(
    args: &InputArgs,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> anyhow::Result<Option<Vec<files::Lock>>> {
    let places = Places { root: args.frr_root.clone(), instance: args.frr_instance.clone() };
    let mut said = false;
    loop {
        let wanted = match args.nos {
            // Another agent for the same switch may run elsewhere: that one is told apart by whose commit it is.
            Some(Nos::Srlinux) => vec![args.state_dir.join("lock")],
            Some(Nos::Frr) | None => locks(&args.state_dir, &places),
        };
        let mut locks = Vec::new();
        let mut busy = None;
        for path in wanted {
            match files::lock(&path) {
                Ok(lock) => locks.push(lock),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => busy = Some(path),
                // Such a disk lets nothing be changed either, and the table can be looked at all the same.
                Err(error) if is_unwritable(&error) => {
                    tracing::error!(lock = %path.display(), %error, "going on without a lock");
                }
                Err(error) => return Err(error).with_context(|| format!("locking {}", path.display())),
            }
        }
        let Some(path) = busy else { return Ok(Some(locks)) };
        drop(locks);
        if !said {
            tracing::warn!(lock = %path.display(), "another agent runs on this switch; waiting until it has gone");
            said = true;
        }
        tokio::select! {
            () = &mut *stop => return Ok(None),
            () = tokio::time::sleep(LOCK_RETRY) => {}
        }
    }
}
