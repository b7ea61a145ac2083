//! What the system says of a process' memory.

use std::{fs, path::Path};

pub(crate) use accord_fabric::memory::resident;
use anyhow::{Context, Result};

/// Makes the most that was in memory what is there now (proc(5), `clear_refs`).
pub(crate) fn forget_highest(process: u32) -> Result<()> {
    let file = Path::new("/proc").join(process.to_string()).join("clear_refs");
    fs::write(&file, "5").with_context(|| format!("{} can't be written", file.display()))
}
