//! High-water mark: the newest revision that was ever acknowledged, kept beside the SQLite file, or where the configuration says. A
//! store that somebody puts back in place of a newer one is older than its mark, and would otherwise revive what was revoked
//! meanwhile.
//!
//! Invariant: the mark is durable before a revision is acknowledged by a process that has it, so it is never behind what that one's
//! callers were told. It may be behind the store, where a process ended in between: then nobody was told. Of what others acknowledge
//! on PostgreSQL it learns as soon as the process does.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a store has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Which store: a random number, the same in all its copies.
    pub store: u64,
    /// Its revision.
    pub revision: u64,
    /// Its global epoch.
    pub global_epoch: u64,
}

impl Mark {
    /// Whether this is the same store at a later time.
    pub(crate) fn is_after(&self, other: &Self) -> bool {
        let ahead = |own: u64, others: u64| own.saturating_sub(others) <= FURTHEST;
        let is_likely = ahead(self.revision, other.revision) && ahead(self.global_epoch, other.global_epoch);
        self.store == other.store && self.revision > other.revision && is_likely
    }
}

/// No store gets so far ahead of its copy: whatever a verifier says, there is room after it for many times more.
const FURTHEST: u64 = 1 << 32;

/// The file.
#[derive(Clone, Debug)]
pub(super) struct HighWaterMark(Arc<PathBuf>);

impl HighWaterMark {
    /// Beside this SQLite file.
    pub(super) fn beside(file: &Path) -> Self {
        Self::at(&file.with_added_extension("mark"))
    }

    /// In this file.
    pub(super) fn at(file: &Path) -> Self {
        Self(Arc::new(file.to_owned()))
    }

    /// What was written last; none where nothing was. What can't be read as a mark is an error, since nobody knows then what
    /// was acknowledged.
    pub(super) async fn read(&self) -> io::Result<Option<Mark>> {
        self.locked(read).await
    }

    /// Raises it, unless another process has raised it further.
    pub(super) async fn raise(&self, mark: Mark) -> io::Result<()> {
        self.locked(move |file| {
            // What can't be read is replaced: `read` has said so before, and everything was revoked.
            let known = read(file).or_else(|error| match error.kind() {
                io::ErrorKind::InvalidData => Ok(None),
                _ => Err(error),
            })?;
            if known.is_some_and(|known| known.store == mark.store && known.revision >= mark.revision) {
                return Ok(());
            }
            let text = format!("{} {} {}\n", mark.store, mark.revision, mark.global_epoch);
            file.seek(SeekFrom::Start(0))?;
            file.write_all(text.as_bytes())?;
            file.set_len(text.len() as u64)?;
            file.sync_data()
        })
        .await
    }

    async fn locked<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let path = Arc::clone(&self.0);
        let worked = tokio::task::spawn_blocking(move || {
            let mut options = OpenOptions::new();
            let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&*path)?;
            // Released with the file.
            file.lock()?;
            work(&mut file)
        });
        worked.await.map_err(io::Error::other)?
    }
}

fn read(file: &mut File) -> io::Result<Option<Mark>> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    if text.is_empty() {
        return Ok(None);
    }
    let numbers = text.strip_suffix('\n').map(|text| text.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>());
    match numbers {
        Some(Ok(numbers)) if numbers.len() == 3 => {
            Ok(Some(Mark { store: numbers[0], revision: numbers[1], global_epoch: numbers[2] }))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "is not a mark")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(revision: u64) -> Mark {
        Mark { store: 7, revision, global_epoch: 1 }
    }

    #[tokio::test]
    async fn mark_that_was_raised_is_read_again_and_never_falls() {
        let directory = tempfile::tempdir().unwrap();
        let file = HighWaterMark::beside(&directory.path().join("auth.db"));
        assert_eq!(file.read().await.unwrap(), None);
        for revision in [3, 12, 5] {
            file.raise(mark(revision)).await.unwrap();
        }
        assert_eq!(file.read().await.unwrap(), Some(mark(12)));
    }

    #[test]
    fn mark_is_after_an_earlier_one_of_its_own_store_alone() {
        assert!(mark(3).is_after(&mark(2)));
        assert!(!mark(2).is_after(&mark(2)));
        assert!(!Mark { store: 6, ..mark(3) }.is_after(&mark(2)));
        assert!(!mark(u64::MAX).is_after(&mark(2)));
        assert!(!mark(3 + FURTHEST).is_after(&mark(2)));
        assert!(mark(2 + FURTHEST).is_after(&mark(2)));
    }

    #[tokio::test]
    async fn mark_of_another_store_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = HighWaterMark::beside(&directory.path().join("auth.db"));
        file.raise(Mark { store: 6, ..mark(100) }).await.unwrap();
        file.raise(mark(2)).await.unwrap();
        assert_eq!(file.read().await.unwrap(), Some(mark(2)));
    }

    #[tokio::test]
    async fn file_that_is_no_mark_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("auth.db.mark"), "7 1").unwrap();
        assert!(HighWaterMark::beside(&directory.path().join("auth.db")).read().await.is_err());
    }
}
