//! Where PostgreSQL is on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Debian's place for servers of several versions side by side, none of them on PATH.
pub const DEBIAN_SERVERS: &str = "/usr/lib/postgresql";

/// The directory with `postgres`, `initdb`, `pg_ctl` and `pg_basebackup`, where there is one.
pub fn installed() -> Option<PathBuf> {
    if let Some(initdb) = on_path("initdb") {
        // A link on PATH leads to where the other programs are.
        return fs::canonicalize(initdb).ok()?.parent().map(Path::to_owned);
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN_SERVERS)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, programs)| programs.join("initdb").is_file())
        .collect();
    versions.sort();
    versions.pop().map(|(_, programs)| programs)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}
