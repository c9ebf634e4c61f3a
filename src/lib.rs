//! switchlet runs on every switch of a Kubernetes fabric. It makes the switch's configuration what Git says, never leaves
//! the switch worse than it found it, and proves that the switch's *forwarding table* sends every Service address to
//! exactly the nodes that should get it. What it finds it says on the switch's Node.
//!
//! # The map
//!
//! ```text
//! L4  main ── cli ── settings ── telemetry ── agent                  compose, loop, execute steps
//!        │
//! L3  cluster  cluster::report  files  sandbox  nos::*  fib::*  rib::*     shells: all I/O
//!        │        vty: the wire that nos::frr and rib::frr both speak; jsonrpc: that of nos, fib and rib of SR Linux;
//!        │        child: how sandbox and nos::frr start their own
//! L2  nos (NosDriver)     fib (FibReader)     rib (RibReader)         ports: what the agent needs
//!        │
//! L1  intent  intent::{settings, snapshot, announce, nexthops, render}     pure: what should be
//!     change  change::{diff, pause, slot}  change::dialect::<nos>          pure: how to get there
//!     health  health::{compare, ladder, clock, condition}                  pure: what to say
//!        │
//! L0  net                                                             vocabulary
//! ```
//!
//! L0 and L1 take values (and `now`) and return values: no task, no socket, no file, no clock, no environment. Shells hold
//! no decision worth testing. `tests/layering.rs` and clippy's `disallowed-methods` both refuse anything else.
//!
//! # A pass
//!
//! Inputs are level-triggered: whatever changed, a pass takes one snapshot of everything. [`agent::desired`] turns it into
//! an expectation ([`intent::nexthops`]) and a candidate ([`intent::render`], in the child of [`sandbox`]).
//! [`change::CommitMachine`] says step by step what to do with the candidate; [`nos::frr`] does it. [`agent::verify`] reads
//! the kernel ([`fib::netlink`]), asks the control plane for reasons ([`rib::frr`]) where something differs, and lets
//! [`health::clock`] decide what is a fault. [`agent::say`] finds the words, [`agent::reporter`] writes them. Kernel events,
//! timers and deadlines start a pass too; with no input at all the timer finds drift.
//!
//! # Invariants
//!
//! * A pass cannot fail, it can only report: every failure is a status value, so no error path skips the report.
//! * Three answers everywhere: equal, different, *could not look*. The third is never turned into one of the others.
//! * Nothing is rendered or judged before every list is complete.
//! * The forwarding table alone says that something differs; the control plane's word only names the reason.
//! * What comes from the cluster never widens what Git allows: pools, protected prefixes, peer subnets.
//! * Only what carries our name is ours, and a closed list of globals that we set if absent.
//! * Startup is never the candidate before it was read back from running.
//! * A candidate that failed is held until its text, or the retry counter, changes: no outage repeats by itself.
//! * The agent never writes a route.
//! * No free text of a cluster object enters a template, and no secret leaves the driver.
//! * A new NOS is one file in `change/dialect`, one in `nos`, at most one each in `fib` and `rib`, and its templates.

pub mod agent;
pub mod change;
pub mod child;
pub mod cli;
pub mod cluster;
pub mod fib;
pub mod files;
pub mod guard;
pub mod health;
pub mod intent;
pub mod jsonrpc;
pub mod net;
pub mod nos;
pub mod probe;
pub mod rib;
pub mod sandbox;
pub mod settings;
pub mod telemetry;
pub mod vty;
