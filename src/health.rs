//! Health.
pub mod ladder;
