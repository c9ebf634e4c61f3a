//! Everything that needs real parts: FRR, the kernel, BIRD, the API server. One program, so that the tests of all stories wait
//! beside each other. `cargo test --test real commit::` runs one story.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]
#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[macro_use]
#[path = "../support/release.rs"]
mod release;

#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/fabric.rs"]
mod fabric;
#[path = "../support/frr.rs"]
mod frr;
#[path = "../support/git.rs"]
mod git;
#[path = "../support/lab.rs"]
mod lab;
#[path = "../support/metallb.rs"]
mod metallb;
#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/oracle.rs"]
mod oracle;
#[path = "../support/scene.rs"]
mod scene;
#[path = "../support/served.rs"]
mod served;
#[path = "../support/switch.rs"]
mod switch;

mod alerts;
mod announcing;
mod apifaults;
mod bad;
mod changes;
mod commit;
mod drift;
mod faults;
mod flaps;
mod fleet;
mod folders;
mod frr_rib;
mod gitops;
mod golden;
mod inputs;
mod ladder;
mod literal;
mod manifests;
mod metallb_lab;
mod netns_fib;
mod pause;
mod peers;
mod plan;
mod pods;
mod policy;
mod predict;
mod slice;
mod slots;
mod speakers;
mod trouble;
mod window;
