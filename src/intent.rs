//! What should be: facts and settings in, expectation and candidate out. Pure.

pub mod announce;
pub mod departures;
pub mod language;
pub mod lint;
pub mod literal;
pub mod metallb;
pub mod nexthops;
pub mod platform;
pub mod render;
pub mod settings;
pub mod snapshot;
pub mod switch;
pub mod yaml;
