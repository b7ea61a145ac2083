//! One upstream, three paths to it: without a cache, through the cache, and past a cache that is gone. Whatever the
//! upstream does, its caller sees the same on all of them, in every protocol, and so does the upstream. What the cache
//! keeps is given again as it came.
//!
//! What that is stands in a table, by subject.

mod call;
mod contract;
mod isolation;
mod reply;
mod row;
mod rows;
mod seen;
mod table;
mod upstream;

use anyhow::Result;

#[test]
fn dead_and_silent_endpoints_cost_no_call_on_any_path() -> Result<()> {
    table::hold(&rows::endpoints::rows())
}

#[test]
fn slow_upstreams_meet_the_same_deadline_and_hedging_on_every_path() -> Result<()> {
    table::hold(&rows::slow::rows())
}

#[test]
fn retries_and_pushback_are_the_same_on_every_path() -> Result<()> {
    table::hold(&rows::retries::rows())
}

#[test]
fn reset_streams_and_connections_are_the_same_on_every_path() -> Result<()> {
    table::hold(&rows::resets::rows())
}

#[test]
fn large_trailers_keep_their_status_and_hurt_no_other_call() -> Result<()> {
    table::hold(&rows::trailers::rows())
}

#[test]
fn bounds_and_malformed_answers_are_the_same_on_every_path() -> Result<()> {
    table::hold(&rows::bodies::rows())
}

#[test]
fn metadata_passes_as_declared_on_every_path() -> Result<()> {
    table::hold(&rows::metadata::rows())
}

#[test]
fn errors_of_a_handler_are_the_same_on_every_path() -> Result<()> {
    table::hold(&rows::errors::rows())
}

#[test]
fn row_names_are_unique() {
    let mut names: Vec<_> = rows::all().iter().map(|row| row.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}
