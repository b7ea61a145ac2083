//! The keys of a section that say where certificates are from.

use crate::config::Invalid;

pub(super) const WORKLOAD_API: &str = "workload_api";

/// Of two sources of certificates nobody could say which one counts.
pub(super) fn twice(has_files: bool) -> Result<(), Invalid> {
    let problem = "certificates are given here and as files";
    if has_files { Err(Invalid::new(WORKLOAD_API, problem, "leave one of them out")) } else { Ok(()) }
}
