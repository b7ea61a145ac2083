//! Accord gateway.

fn main() {}
