//! What differs between NOSes and needs thought: the running text as a tree, its canonical form, the difference.

pub mod frr;
pub mod srlinux;
