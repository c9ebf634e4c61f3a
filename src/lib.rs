//! switchlet.

pub mod agent;
pub mod change;
pub mod cli;
pub mod cluster;
pub mod fib;
pub mod files;
pub mod health;
pub mod intent;
pub mod net;
pub mod nos;
pub mod rib;
pub mod sandbox;
pub mod settings;
pub mod telemetry;
pub mod vty;
