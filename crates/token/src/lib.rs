//! Accord token.
