//! How to get there: the difference between what runs and what is wanted, and the machine that walks the steps.

pub mod dialect;
pub mod diff;
