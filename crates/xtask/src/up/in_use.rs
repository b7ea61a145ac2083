//! One `up` at a time in one data directory: a second one would write over the configuration, keys and logs of the first.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use anyhow::{Context, Result, bail};

/// Takes the directory for as long as the file is held. The system lets go of it when the process ends, however that comes about.
pub(super) fn take(data: &Path) -> Result<File> {
    let path = data.join("up.lock");
    let failed = || format!("can't lock {}: name another directory with --data", path.display());
    let file = File::options().create(true).truncate(false).write(true).open(&path).with_context(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(error).with_context(failed),
        Err(TryLockError::WouldBlock) => {
            bail!("another `up` uses {}: stop it, or give this one a directory of its own with --data", data.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_of_a_running_up_is_refused_until_it_has_ended() {
        let data = tempfile::tempdir().expect("a directory");
        let first = take(data.path()).expect("nobody uses it");
        let refused = take(data.path()).expect_err("it is in use").to_string();
        assert!(refused.starts_with("another `up` uses "), "{refused}");
        drop(first);
        take(data.path()).expect("nobody uses it any more");
    }
}
