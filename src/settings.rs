//! Flags and environment, read once.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::change::pause;
use crate::intent::settings::Span;
use crate::jsonrpc::Address;
use crate::nos::frr::Hand;

/// Makes a switch's configuration what Git says, and proves that its forwarding table obeys the cluster.
#[derive(Debug, Parser)]
#[command(name = "switchlet", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 fine; 1 something differs (plan: would change; lint --strict: warnings); 2 could not look; \
3 a plan that needs approval; 64 wrong usage; 65 bad input.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run on a switch: apply its configuration, verify its forwarding table, report to the API server
    Agent(AgentArgs),
    /// Print the configuration that the inputs give, without touching anything
    ///
    /// Secrets are placeholders. Exit code 65 and file, line and column if an input is wrong.
    Render(RenderArgs),
    /// Show the difference between what runs and what the inputs give
    ///
    /// Reads the running configuration, sends nothing; with --running FILE no switch is asked at all. Says which sessions would
    /// end and whether the agent would wait for approval. Exit code 1 if something would change, 3 if that would have to be
    /// approved.
    Plan(PlanArgs),
    /// Name what is wrong in a bundle, and what is probably not meant
    ///
    /// Names that do not exist in templates, settings and variables that nothing reads, and what a network engineer would
    /// ask about the text. Where FRR's binaries can be started in new namespaces (as root) FRR itself reads the text too.
    /// Exit code 65 if the agent would refuse the bundle; warnings exit 0, or 1 with --strict.
    Lint(LintArgs),
    /// Compare the forwarding table with what the cluster expects
    ///
    /// Looks twice, 200 ms apart, and calls what still differs diverged. Needs no reachable FRR for the verdict; without
    /// one the reasons end at NotInFib.
    Verify(VerifyArgs),
    /// Watch over changes: undo what the agent did not get confirmed in time
    ///
    /// Runs beside the agent, outside its container and memory limit, with the same --state-dir. It alone says whether a
    /// change stands; at the deadline it ends the agent and goes back to what ran before.
    Guard(GuardArgs),
    /// Let nothing be written to this switch for a while
    ///
    /// Run on the switch, with the agent's --state-dir; needs neither API server nor Git. A change under way settles first;
    /// the forwarding table is verified and reported as ever. The pause ends by itself. Without flags: prints whether
    /// the switch is paused.
    Pause(PauseArgs),
    /// Say what is missing before an agent can do its work on this switch
    ///
    /// Run on the switch with the flags of the agent: looks at the API server and the agent's rights, the CRD, the policy, the Switch,
    /// placement, clocks, FRR, the kernel and the port; changes nothing. With an administrator's kubeconfig it sees more.
    /// Exit code 1 if something is missing, 2 if something could not be looked at.
    Preflight(PreflightArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Show all switches: what runs, what forwards, who is silent, who disagrees
    ///
    /// From the statuses of the Switches alone, with your own kubeconfig; no agent is asked. A switch whose agent was not heard of lately
    /// is called stale, and its words do not count. Exit code 1 if a switch is degraded or differs, 2 if some could not be looked at.
    Status(StatusArgs),
    /// Explain one Service address, rung by rung, on every switch
    ///
    /// TARGET is an address, a prefix, NAMESPACE/SERVICE or a Service's name. Shows the Service, its endpoints, what MetalLB means to
    /// announce (where its CRD is), and for each switch and next-hop the first rung that fails.
    Explain(ExplainArgs),
    /// Wait until no switch forwards to a node: is it safe to power it off?
    ///
    /// Exit code 0 only if every switch was heard of lately, could look, and forwards no Service address there; 1 if some still
    /// do at the end of --timeout, 2 if some do not tell.
    DrainCheck(DrainArgs),
    /// Show how what runs differs from what shall run, for each switch
    ///
    /// Revisions, the plan that waits and why, and drift. Exit code 1 if something differs, 2 if some switches do not tell.
    Diff(NamedArgs),
    /// Show how the last changes of a switch ended
    History(NamedArgs),
    /// Print the JSON Schema of switch.yaml
    Schema,
    /// Print the CustomResourceDefinitions, to be piped into kubectl apply -f -
    Crds,
    /// Renders one job in a limited child; called by switchlet itself
    #[command(name = crate::sandbox::SUBCOMMAND, hide = true)]
    RenderChild,
    /// Makes a world for a throw-away FRR; called by switchlet itself
    #[command(name = crate::nos::frr::canary::SUBCOMMAND, hide = true)]
    Canary(Root),
    /// Loads a candidate into a throw-away FRR; called by switchlet itself
    #[command(name = crate::nos::frr::canary::INNER, hide = true)]
    CanaryInner(Root),
    /// Runs a command in another root; called by switchlet itself
    #[command(hide = true)]
    ExecIn(ExecIn),
}

/// Inputs of the agent, of render, plan and verify.
#[derive(Debug, Clone, Args)]
pub struct Inputs {
    /// Name of the Node that is this switch
    #[arg(long, env = "SWITCHLET_NODE", value_name = "NAME")]
    pub node: String,
    /// Folder with the texts of this switch (switch.yaml, *.tera), instead of the ConfigMaps its Switch names
    #[arg(long, env = "SWITCHLET_BUNDLE", value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Folder with Kubernetes objects as YAML (Services, EndpointSlices, Nodes), instead of the API server
    #[arg(long, env = "SWITCHLET_CLUSTER", value_name = "DIR")]
    pub cluster: Option<PathBuf>,
    /// Kubeconfig; else KUBECONFIG, else the pod's own token
    #[arg(long, env = "SWITCHLET_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// API server to use instead of the kubeconfig's or the cluster's address: a switch may not reach a ClusterIP.
    /// Given several times, the next one is used when one fails
    #[arg(long, env = "SWITCHLET_API_SERVER", value_name = "URL", value_delimiter = ',')]
    pub api_server: Vec<String>,
    /// Network device or VRF that connections to the API server are bound to, such as eth0 or mgmt
    #[arg(long, env = "SWITCHLET_API_DEVICE", value_name = "NAME")]
    pub api_device: Option<String>,
    /// Namespace of the Switch and its ConfigMaps [default: the pod's, else switchlet]
    #[arg(long, env = "SWITCHLET_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Namespace in which MetalLB runs: its objects anywhere else mean nothing to it
    #[arg(long, env = "SWITCHLET_METALLB_NAMESPACE", value_name = "NAME", default_value = crate::intent::metallb::NAMESPACE)]
    pub metallb_namespace: String,
    /// Network operating system [default: the Switch's, else frr]
    #[arg(long, env = "SWITCHLET_NOS", value_name = "NAME")]
    pub nos: Option<Nos>,
    /// FRR's view of the file system: its binaries, etc/frr and run/frr lie beneath it
    #[arg(long, env = "SWITCHLET_FRR_ROOT", value_name = "DIR", default_value = "/")]
    pub frr_root: PathBuf,
    /// FRR's instance, as given to its daemons with -N
    #[arg(long, env = "SWITCHLET_FRR_INSTANCE", value_name = "NAME")]
    pub frr_instance: Option<String>,
    /// How commands get to FRR
    #[arg(long, env = "SWITCHLET_FRR_HAND", value_name = "HAND", default_value = "auto")]
    pub frr_hand: Hand,
    /// Where the switch is managed, for a NOS that is spoken to over a wire: unix:PATH or `https://HOST[:PORT]`
    #[arg(long, env = "SWITCHLET_NOS_ADDRESS", value_name = "URL")]
    pub nos_address: Option<Address>,
    /// The configuration that survives a reboot, where no datastore shows it and the agent runs on the switch itself
    /// [default with unix: /etc/opt/srlinux/config.json]
    #[arg(long, env = "SWITCHLET_NOS_STARTUP", value_name = "FILE")]
    pub nos_startup: Option<PathBuf>,
    /// User of the switch's management interface
    #[arg(long, env = "SWITCHLET_NOS_USER", value_name = "NAME", requires = "nos_password_file")]
    pub nos_user: Option<String>,
    /// File whose first line is the password of that user
    #[arg(long, env = "SWITCHLET_NOS_PASSWORD_FILE", value_name = "FILE", requires = "nos_user")]
    pub nos_password_file: Option<PathBuf>,
    /// PEM file with the only authority that the certificate of an https address may come from
    #[arg(long, env = "SWITCHLET_NOS_CA", value_name = "FILE")]
    pub nos_ca: Option<PathBuf>,
    /// Folder for what must survive a restart of the agent
    #[arg(
        long,
        env = "SWITCHLET_STATE_DIR",
        overrides_with = "state_dir",
        value_name = "DIR",
        default_value = "/var/lib/switchlet"
    )]
    pub state_dir: PathBuf,
    /// Folder with the files that passwordFile may name
    #[arg(long, env = "SWITCHLET_SECRETS_DIR", value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
}

/// Network operating systems that this version drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Nos {
    /// FRR on Linux.
    Frr,
    /// Nokia SR Linux, over JSON-RPC (--nos-address).
    Srlinux,
}

/// `guard`.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// FRR's view of the file system: its binaries, etc/frr and run/frr lie beneath it
    #[arg(long, env = "SWITCHLET_FRR_ROOT", value_name = "DIR", default_value = "/")]
    pub frr_root: PathBuf,
    /// FRR's instance, as given to its daemons with -N
    #[arg(long, env = "SWITCHLET_FRR_INSTANCE", value_name = "NAME")]
    pub frr_instance: Option<String>,
    /// How commands get to FRR
    #[arg(long, env = "SWITCHLET_FRR_HAND", value_name = "HAND", default_value = "auto")]
    pub frr_hand: Hand,
    /// The agent's folder
    #[arg(long, env = "SWITCHLET_STATE_DIR", value_name = "DIR", default_value = "/var/lib/switchlet")]
    pub state_dir: PathBuf,
    /// Where it runs; shown in the Switch's capabilities
    #[arg(long, env = "SWITCHLET_GUARD_FORM", value_name = "FORM", default_value = "host")]
    pub form: crate::guard::Form,
    /// One JSON object a line
    #[arg(long, env = "SWITCHLET_LOG_JSON")]
    pub log_json: bool,
}

/// `agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Inputs.
    #[command(flatten)]
    pub inputs: Inputs,
    /// Whether changes need a guard that watches over them (switchlet guard)
    #[arg(long, env = "SWITCHLET_GUARD", value_name = "NEED", default_value = "if-there")]
    pub guard: crate::guard::Need,
    /// A switch that holds a rollout slot and was not heard of for so long counts as failed; in whole seconds
    #[arg(long, env = "SWITCHLET_SLOT_LEASE", value_name = "DURATION", default_value = "15s")]
    pub slot_lease: Span,
    /// Address for /healthz, /readyz, /metrics and /v1/verdict
    #[arg(long, env = "SWITCHLET_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9855")]
    pub listen: String,
    /// Write the log as JSON lines
    #[arg(long, env = "SWITCHLET_LOG_JSON")]
    pub log_json: bool,
}

/// A command that looks once.
#[derive(Debug, Args)]
pub struct OneShot {
    /// Inputs.
    #[command(flatten)]
    pub inputs: Inputs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// How long to wait for the API server's lists, e.g. 30s
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub timeout: Span,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What it has in common with verify.
    #[command(flatten)]
    pub once: OneShot,
    /// A saved running configuration (`vtysh -c 'show running-config'`) instead of the switch's own. Judged as the next
    /// commit: what runs under our name, and the globals beside it, were set by us; every session counts as live
    #[arg(long, value_name = "FILE")]
    pub running: Option<PathBuf>,
    /// Colours in the table; auto means on a terminal, unless `NO_COLOR` is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub color: When,
}

/// When something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum When {
    /// Where it helps.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// `render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// Inputs.
    #[command(flatten)]
    pub inputs: Inputs,
    /// Write one file for each owner into this folder instead of standard output
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the values that templates see instead, with their types; secrets are placeholders
    #[arg(long, conflicts_with = "out")]
    pub explain: bool,
    /// Output format of --explain
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// How long to wait for the API server's lists, e.g. 30s
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub timeout: Span,
}

/// `lint`: the inputs of render, with nothing needed but the bundle.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Folder with the texts of one switch (switch.yaml, *.tera or frr.conf)
    #[arg(long, env = "SWITCHLET_BUNDLE", value_name = "DIR")]
    pub bundle: PathBuf,
    /// Name of the Node that is this switch
    #[arg(long, env = "SWITCHLET_NODE", value_name = "NAME", default_value = "switch")]
    pub node: String,
    /// Network operating system [default: frr]
    #[arg(long, env = "SWITCHLET_NOS", value_name = "NAME")]
    pub nos: Option<Nos>,
    /// Folder with Kubernetes objects as YAML; without one there are only the nodes listed in switch.yaml
    #[arg(long, env = "SWITCHLET_CLUSTER", value_name = "DIR")]
    pub cluster: Option<PathBuf>,
    /// FRR's view of the file system: its binaries, etc/frr and run/frr lie beneath it
    #[arg(long, env = "SWITCHLET_FRR_ROOT", value_name = "DIR", default_value = "/")]
    pub frr_root: PathBuf,
    /// FRR's instance, as given to its daemons with -N
    #[arg(long, env = "SWITCHLET_FRR_INSTANCE", value_name = "NAME")]
    pub frr_instance: Option<String>,
    /// Folder with the files that passwordFile may name; without one passwords are not looked at
    #[arg(long, env = "SWITCHLET_SECRETS_DIR", value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// Folder with the texts of another switch: what two switches must not have alike is a warning. May be given often
    #[arg(long, value_name = "DIR")]
    pub beside: Vec<PathBuf>,
    /// Exit code 1 if there are warnings
    #[arg(long)]
    pub strict: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// What it has in common with plan.
    #[command(flatten)]
    pub once: OneShot,
    /// Look again and again until nothing differs, for at most this long, e.g. 20s
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<Span>,
}

/// `preflight`.
#[derive(Debug, Args)]
pub struct PreflightArgs {
    /// Inputs.
    #[command(flatten)]
    pub inputs: Inputs,
    /// Address that the agent is to listen on
    #[arg(long, env = "SWITCHLET_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9855")]
    pub listen: String,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: clap_complete::Shell,
}

/// How a person reaches the Switches.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// Kubeconfig; else KUBECONFIG, else ~/.kube/config
    #[arg(long, env = "SWITCHLET_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; else its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the Switches
    #[arg(short, long, env = "SWITCHLET_NAMESPACE", value_name = "NAME", default_value = "switchlet")]
    pub namespace: String,
    /// How old the word of an agent may be; agents write every 5 to 6 minutes when nothing changes
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub max_age: Span,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where from.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// List every Service address on which the switches are not alike, not only the first twenty
    #[arg(long)]
    pub all: bool,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Where from.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// An address, a prefix, NAMESPACE/SERVICE or SERVICE
    #[arg(value_name = "TARGET")]
    pub target: String,
}

/// `drain-check`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Where from.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// Name of the Node
    #[arg(value_name = "NODE")]
    pub node: String,
    /// How long to wait; 0s looks once
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub timeout: Span,
    /// Leave this switch out, because you know that it is off. May be given often
    #[arg(long, value_name = "SWITCH")]
    pub without: Vec<String>,
}

/// `diff` and `history`.
#[derive(Debug, Args)]
pub struct NamedArgs {
    /// Where from.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// Names of switches; all if there are none
    #[arg(value_name = "SWITCH")]
    pub switches: Vec<String>,
}

/// `pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// How long, e.g. 2h; at most 168h, that is 7 days
    #[arg(long = "for", value_name = "DURATION", value_parser = pause_length, requires = "reason")]
    pub length: Option<Duration>,
    /// Why, for those who wonder; one line of at most 200 characters
    #[arg(long, value_name = "TEXT", value_parser = pause_reason, requires = "length")]
    pub reason: Option<String>,
    /// End the pause
    #[arg(long, conflicts_with_all = ["length", "reason"])]
    pub end: bool,
    /// Folder that the agent keeps its state in
    #[arg(long, env = "SWITCHLET_STATE_DIR", value_name = "DIR", default_value = "/var/lib/switchlet")]
    pub state_dir: PathBuf,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

fn pause_length(text: &str) -> Result<Duration, String> {
    pause::length(text.parse::<Span>()?.0, text).map_err(|error| error.to_string())
}

fn pause_reason(text: &str) -> Result<String, String> {
    pause::reason(text).map_err(|error| error.to_string())
}

/// `canary`.
#[derive(Debug, Args)]
pub struct Root {
    /// FRR's view of the file system.
    pub root: PathBuf,
}

/// `exec-in`.
#[derive(Debug, Args)]
pub struct ExecIn {
    /// The root.
    pub root: PathBuf,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<String>,
}
