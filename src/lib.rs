//! switchlet.

pub mod change;
pub mod health;
pub mod intent;
pub mod net;
pub mod rib;
