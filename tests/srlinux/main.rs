//! SR Linux: documents against Nokia's models, and the agent against a stand-in. No SR Linux takes part.
//! `cargo test --test srlinux golden::` runs one part.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes, writes files and waits")]
#![allow(clippy::format_collect, clippy::format_push_string, reason = "texts of tests")]
#![allow(clippy::too_many_lines, clippy::unnecessary_wraps, reason = "a story is told in one piece")]

#[path = "../support/srlinux/mod.rs"]
mod emulator;
#[path = "../support/lab.rs"]
mod lab;
#[macro_use]
#[path = "../support/release.rs"]
#[allow(unused_macros, reason = "one story uses the lab")]
mod release;
#[path = "../support/yang.rs"]
mod yang;

mod agent;
mod anycast;
mod api;
mod fib;
mod golden;
