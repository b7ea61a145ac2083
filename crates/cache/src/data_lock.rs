//! One cache process at a time: an exclusive lock on its data directory, held for its life.
//!
//! A write is acknowledged once the cache that its gateway asks has invalidated what it changed. Of two processes behind one
//! name, the other would go on answering with it. So a successor waits here until the one before it is gone, and a process
//! that is paused has not gone: it still holds the lock.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file in the data directory.
const FILE: &str = "accord-cache.lock";

/// How often a lock that another holds is asked for: nobody says when it is free.
const LOOKS: Duration = Duration::from_millis(50);

/// The data directory can't be locked.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be locked; `data_dir` has to name a directory that this cache may write to", file.display())]
pub(crate) struct LockError {
    file: PathBuf,
    #[source]
    error: io::Error,
}

/// The lock. The system lets go of it when the process ends, however that comes about.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Waits until no other process holds the lock of this directory.
    pub(crate) async fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(FILE);
        let failed = |error| LockError { file: path.clone(), error };
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        let mut is_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if is_told => {}
                Err(TryLockError::WouldBlock) => {
                    is_told = true;
                    let file = path.display();
                    tracing::warn!(%file, "another cache process holds the data directory: this one serves when it is gone");
                }
            }
            tokio::time::sleep(LOOKS).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn second_process_waits_until_the_first_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataLock::acquire(directory.path()).await.unwrap();
        let mut second = pin!(DataLock::acquire(directory.path()));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        second.await.unwrap();
    }

    #[tokio::test]
    async fn directory_that_is_missing_is_named_with_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let refused = DataLock::acquire(&directory.path().join("none")).await.unwrap_err().to_string();
        assert!(refused.contains("none/accord-cache.lock") && refused.contains("`data_dir`"), "{refused}");
    }
}
