//! Accord cache.

fn main() {}
