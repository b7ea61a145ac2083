//! What the system says of a process' memory.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// Bytes, by the system's name for them: `VmRSS` is what is in memory now, `VmHWM` the most that was (proc(5)).
pub fn resident(process: u32, name: &str) -> Result<f64> {
    let file = Path::new("/proc").join(process.to_string()).join("status");
    let text = fs::read_to_string(&file).with_context(|| format!("{} can't be read", file.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kibibytes.with_context(|| format!("the system does not tell what is in memory: {name}"))? * 1024.0)
}
