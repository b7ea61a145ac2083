//! One cache process at a time: an exclusive lock on its data directory, held for its life.
//!
//! A write is acknowledged once the cache that its gateway asks has invalidated what it changed. Of two processes behind one
//! name, the other would go on answering with it. So a successor waits here until the one before it is gone, and a process
//! that is paused has not gone: it still holds the lock.
//!
//! The lock is on the file, not on its name. Where somebody deletes the file under its holder, another process makes it anew and
//! has a lock too. So the holder looks whether the file is still there: it makes it anew, or ends where another was faster. That
//! one waits as long as the holder may take to notice. Only a holder that is paused meanwhile may still answer, until it looks.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file in the data directory.
const FILE: &str = "accord-cache.lock";

/// What its first holder writes into it. By that the next knows that no other was left with a deleted one.
const CONTENT: &[u8] =
    b"Held by one accord-cache at a time. Whoever deletes it under a running one ends that when another comes.\n";

/// How often a lock that another holds is asked for, and how often its holder looks: nobody says when it is free or gone.
const LOOKS: Duration = Duration::from_millis(50);

/// What a holder may take to notice that its file is gone, and to end.
const NOTICED: Duration = Duration::from_millis(150);

/// The data directory can't be locked.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be locked; `data_dir` has to name a directory that this cache may write to", file.display())]
pub(crate) struct LockError {
    file: PathBuf,
    #[source]
    error: io::Error,
}

/// Why a process that had the lock may not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockLost {
    /// Another process has it.
    #[error(
        "{} was deleted under this cache, and another cache process holds it anew, so this one ends; delete it under no cache \
         that runs, and give each cache a `data_dir` of its own", file.display()
    )]
    Taken {
        /// The file that was deleted.
        file: PathBuf,
    },
    /// It can't be seen whether another has it.
    #[error(transparent)]
    Unknown(#[from] LockError),
}

/// The lock. The system lets go of it when the process ends, however that comes about.
#[derive(Debug)]
pub(crate) struct DataLock {
    file: File,
    path: PathBuf,
}

impl DataLock {
    /// Waits until no other process holds the lock of this directory.
    pub(crate) async fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(FILE);
        let failed = |error| LockError { file: path.clone(), error };
        let mut is_told = false;
        loop {
            if let Some(file) = take(&path).map_err(failed)? {
                if file.metadata().map_err(failed)?.len() > 0 {
                    return Ok(Self { file, path });
                }
                tokio::time::sleep(NOTICED).await;
                if is_at(&file, &path).map_err(failed)? {
                    mark(&file).map_err(failed)?;
                    return Ok(Self { file, path });
                }
            } else if !is_told {
                is_told = true;
                let file = path.display();
                tracing::warn!(%file, "another cache process holds the data directory: this one serves when it is gone");
            }
            tokio::time::sleep(LOOKS).await;
        }
    }

    /// Waits until this process may go on no longer.
    pub(crate) async fn lost(&mut self) -> LockLost {
        loop {
            tokio::time::sleep(LOOKS).await;
            if let Err(lost) = self.look() {
                return lost;
            }
        }
    }

    /// Makes the file anew where it is gone.
    fn look(&mut self) -> Result<(), LockLost> {
        let failed = |error| LockError { file: self.path.clone(), error };
        if is_at(&self.file, &self.path).map_err(failed)? {
            return Ok(());
        }
        let anew = take(&self.path).map_err(failed)?.ok_or_else(|| LockLost::Taken { file: self.path.clone() })?;
        mark(&anew).map_err(failed)?;
        self.file = anew;
        let file = self.path.display();
        tracing::warn!(%file, "the lock file was deleted under this cache and is made anew; another one would have ended this one");
        Ok(())
    }
}

/// The file with its lock; none where another process has it.
fn take(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        // Whoever deletes it between the two leaves us with a lock on nothing.
        Ok(()) => Ok(is_at(&file, path)?.then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn mark(mut file: &File) -> io::Result<()> {
    if file.metadata()?.len() == 0 { file.write_all(CONTENT) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use tempfile::TempDir;
    use tokio::time::{Instant, timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    async fn held() -> (TempDir, DataLock) {
        let directory = tempfile::tempdir().unwrap();
        let lock = DataLock::acquire(directory.path()).await.unwrap();
        (directory, lock)
    }

    #[tokio::test(start_paused = true)]
    async fn second_process_waits_until_the_first_lets_go() {
        let (directory, first) = held().await;
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

    #[tokio::test(start_paused = true)]
    async fn file_deleted_under_its_holder_is_made_anew() {
        let (directory, mut first) = held().await;
        fs::remove_file(&first.path).unwrap();
        assert!(timeout(SOON, first.lost()).await.is_err());
        assert!(timeout(SOON, DataLock::acquire(directory.path())).await.is_err(), "it holds the new one");
    }

    #[tokio::test(start_paused = true)]
    async fn holder_of_a_deleted_file_ends_once_another_holds_the_new_one() {
        let (directory, mut first) = held().await;
        fs::remove_file(&first.path).unwrap();
        let _second = DataLock::acquire(directory.path()).await.unwrap();
        let lost = timeout(SOON, first.lost()).await.unwrap().to_string();
        assert!(lost.contains("accord-cache.lock was deleted under this cache"), "{lost}");
    }

    #[tokio::test(start_paused = true)]
    async fn holder_whose_directory_is_gone_ends() {
        let (directory, mut first) = held().await;
        directory.close().unwrap();
        let lost = timeout(SOON, first.lost()).await.unwrap().to_string();
        assert!(lost.contains("can't be locked"), "{lost}");
    }

    #[tokio::test(start_paused = true)]
    async fn new_file_is_held_once_the_holder_of_a_deleted_one_has_noticed() {
        let began = Instant::now();
        let (directory, first) = held().await;
        assert!(began.elapsed() >= NOTICED && NOTICED > LOOKS);
        drop(first);
        let began = Instant::now();
        DataLock::acquire(directory.path()).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "it was held before");
    }

    #[tokio::test(start_paused = true)]
    async fn lock_on_a_file_that_is_no_longer_there_is_none() {
        let (_directory, first) = held().await;
        assert!(is_at(&first.file, &first.path).unwrap());
        fs::remove_file(&first.path).unwrap();
        assert!(!is_at(&first.file, &first.path).unwrap());
        fs::write(&first.path, "another").unwrap();
        assert!(!is_at(&first.file, &first.path).unwrap());
    }
}
