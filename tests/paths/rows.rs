//! The table, by subject.

pub(crate) mod bodies;
pub(crate) mod endpoints;
pub(crate) mod errors;
pub(crate) mod metadata;
pub(crate) mod resets;
pub(crate) mod retries;
pub(crate) mod slow;
pub(crate) mod trailers;

use crate::row::Row;

/// All of it.
pub(crate) fn all() -> Vec<Row> {
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
