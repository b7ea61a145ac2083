//! The table, by subject.

pub mod bodies;
pub mod endpoints;
pub mod errors;
pub mod metadata;
pub mod resets;
pub mod retries;
pub mod slow;
pub mod trailers;

use crate::row::Row;

/// All of it.
pub fn all() -> Vec<Row> {
    let subjects = [
        bodies::rows,
        endpoints::rows,
        errors::rows,
        metadata::rows,
        resets::rows,
        retries::rows,
        slow::rows,
        trailers::rows,
    ];
    subjects.into_iter().flat_map(|rows| rows()).collect()
}
