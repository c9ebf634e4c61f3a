//! switchlet.

pub mod fib;
pub mod net;
pub mod rib;
pub mod vty;
