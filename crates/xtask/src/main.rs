//! Accord xtask.

fn main() {}
