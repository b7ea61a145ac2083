//! Accord runtime.
