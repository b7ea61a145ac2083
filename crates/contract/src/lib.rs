//! Accord contract.
