//! Accord catalog.

fn main() {}
