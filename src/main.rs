//! switchlet.

fn main() {}
