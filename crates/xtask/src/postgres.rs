//! PostgreSQL for the suites, found on this machine, or installed where that is possible.

use std::path::PathBuf;

use accord_fabric::postgres::{DEBIAN_SERVERS, Server, installed};
use anyhow::{Context, Result, ensure};

use crate::programs::{apt_install, can_install};

/// Starts a server found on this machine; installs one first where that is possible.
pub(crate) fn start() -> Result<Server> {
    Server::start(&programs()?)
}

/// The directory with its programs.
pub(crate) fn programs() -> Result<PathBuf> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    ensure!(can_install(), "PostgreSQL is missing: install PostgreSQL 15 or newer, with initdb on PATH");
    apt_install(&["postgresql"])?;
    installed().with_context(|| format!("postgresql was installed, but there is no initdb below {DEBIAN_SERVERS}"))
}
