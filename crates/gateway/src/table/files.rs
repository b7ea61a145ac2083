//! Noticing that a descriptor set or an overlay changed on disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::Config;

/// The files that the contract is read from, as they were when last looked at.
#[derive(Debug)]
pub(super) struct Watched {
    files: Vec<(PathBuf, Option<Stamp>)>,
}

/// What changes when a file is replaced or written. A symbolic link counts as what it points to, as Kubernetes
/// replaces mounted files by turning a link.
type Stamp = (SystemTime, u64);

impl Watched {
    /// The files of a configuration, as they are now.
    pub(super) fn of(config: &Config) -> Self {
        let descriptors = config.upstream.iter().filter_map(|upstream| upstream.descriptors.as_ref());
        let files = descriptors.chain(&config.contract.overlays).map(|path| (path.clone(), stamp(path))).collect();
        Self { files }
    }

    /// Looks again and again, and returns when something is different and has been at rest for one interval, so that
    /// a file that is being written is not read half.
    pub(super) async fn changed(&mut self, interval: Duration) {
        let mut moving = false;
        loop {
            tokio::time::sleep(interval).await;
            let different = self.look();
            if moving && !different {
                return;
            }
            moving |= different;
        }
    }

    /// Takes the files for known as they are now: they are about to be read.
    pub(super) fn note(&mut self) {
        self.look();
    }

    fn look(&mut self) -> bool {
        let mut different = false;
        for (path, known) in &mut self.files {
            let now = stamp(path);
            different |= *known != now;
            *known = now;
        }
        different
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn written_file_is_noticed_after_an_interval_without_change() {
        let directory = tempfile::tempdir().unwrap();
        let overlay = directory.path().join("overlay.toml");
        let mut config = Config::default();
        config.contract.overlays.push(overlay.clone());

        let mut watched = Watched::of(&config);
        assert!(!watched.look());
        std::fs::write(&overlay, "a").unwrap();
        watched.changed(Duration::from_secs(1)).await;
        assert!(!watched.look());
    }

    #[tokio::test(start_paused = true)]
    async fn file_that_was_noted_when_it_was_read_is_not_noticed_again() {
        let directory = tempfile::tempdir().unwrap();
        let overlay = directory.path().join("overlay.toml");
        let mut config = Config::default();
        config.contract.overlays.push(overlay.clone());
        let mut watched = Watched::of(&config);
        std::fs::write(&overlay, "a").unwrap();
        watched.note();
        let noticed = watched.changed(Duration::from_secs(1));
        assert!(tokio::time::timeout(Duration::from_mins(1), noticed).await.is_err());
    }
}
