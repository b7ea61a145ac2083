//! Accord auth.

fn main() {}
