//! Hot reload: files that are watched, and things made from them, made anew when the files change.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use opentelemetry::{KeyValue, metrics::Counter};
use tokio::{runtime::Handle, sync::watch, time::sleep};

use crate::declared_metrics::FILE_RELOADS;
use crate::telemetry;

/// How often files are looked at where no key says otherwise.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// No file is looked at without a pause.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// Files, as they were when last looked at.
#[derive(Clone, Debug)]
pub struct WatchedFiles {
    files: Vec<(PathBuf, Option<Stamp>)>,
    is_moving: bool,
}

/// What changes when a file is replaced or written: when it was written, its length, and which file it is. A symbolic link counts as
/// what it points to, as Kubernetes replaces mounted files by turning a link.
type Stamp = (SystemTime, u64, u64, (i64, i64));

impl WatchedFiles {
    /// These files, as they are now.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = files.into_iter().map(|path| {
            let now = stamp(&path);
            (path, now)
        });
        Self { files: files.collect(), is_moving: false }
    }

    /// Looks again and again, and returns when something is different and has been at rest for one interval.
    pub async fn changed(&mut self, interval: Duration) {
        while !self.changed_after(interval).await {}
    }

    /// Takes the files for known as they are now: they are about to be read.
    pub fn note(&mut self) {
        self.look();
        self.is_moving = false;
    }

    /// Looks once, after an interval: whether something is different since the last change and has been at rest for that interval,
    /// so that no file that is being written is read half, and a certificate not without its key.
    async fn changed_after(&mut self, interval: Duration) -> bool {
        sleep(interval.max(SHORTEST_INTERVAL)).await;
        let is_different = self.look();
        let is_at_rest = self.is_moving && !is_different;
        self.is_moving = is_different;
        is_at_rest
    }

    fn look(&mut self) -> bool {
        let mut is_different = false;
        for (path, known) in &mut self.files {
            let now = stamp(path);
            is_different |= *known != now;
            *known = now;
        }
        is_different
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    // The last is the change of its rights or its owner as well, and of another file put in its place.
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino(), (metadata.ctime(), metadata.ctime_nsec())))
}

/// A value made from files, which are followed for as long as somebody has it: where a change can't be read, the old value goes on
/// and the log says why.
pub struct Reloading<T> {
    /// What it is, as the log and metrics name it.
    kind: &'static str,
    make: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    value: ArcSwap<T>,
    versions: watch::Sender<u64>,
    reloads: Reloads,
    /// Why the files could not be taken over the last time; they are tried again until they can.
    refused: Mutex<Option<String>>,
    files: Vec<PathBuf>,
}

impl<T: Send + Sync + 'static> Reloading<T> {
    /// Makes the value for the first time. Inside a runtime the files are followed from then on; a change is taken over once they
    /// have been at rest for `interval`.
    pub fn new<E: std::fmt::Display>(
        kind: &'static str,
        files: Vec<PathBuf>,
        interval: Duration,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, E> {
        // Stamps first: a change during the making is seen as one afterwards.
        let watched = WatchedFiles::of(files.clone());
        let reloading = Self::made(kind, files, make)?;
        if let (Ok(runtime), false) = (Handle::try_current(), watched.files.is_empty()) {
            runtime.spawn(follow(Arc::downgrade(&reloading), watched, interval));
        }
        Ok(reloading)
    }

    /// The same of something that tells by itself when it changes, and is named as a file would be.
    pub(crate) fn following<E: std::fmt::Display>(
        kind: &'static str,
        source: PathBuf,
        mut changes: watch::Receiver<u64>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, E> {
        // What changes during the making is seen as a change afterwards.
        changes.borrow_and_update();
        let reloading = Self::made(kind, vec![source], make)?;
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(follow_changes(Arc::downgrade(&reloading), changes));
        }
        Ok(reloading)
    }

    fn made<E: std::fmt::Display>(
        kind: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, E> {
        let value = ArcSwap::from_pointee(make()?);
        let make = Box::new(move || make().map_err(|error| error.to_string()));
        let (versions, reloads, refused) = (watch::Sender::new(0), Reloads::counter(), Mutex::default());
        Ok(Arc::new(Self { kind, make, value, versions, reloads, refused, files }))
    }

    /// The newest value.
    pub fn get(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// Changes whenever another value took the place of the last one.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    fn is_refused(&self) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes the files over. A refusal that was told is not told again.
    fn reload(&self) {
        let (kind, files) = (self.kind, &self.files);
        let refused = match (self.make)() {
            Ok(value) => {
                self.value.store(Arc::new(value));
                tracing::info!(kind, ?files, "files reloaded");
                self.reloads.count(kind, ReloadOutcome::Replaced);
                self.versions.send_modify(|version| *version += 1);
                None
            }
            Err(error) => Some(error),
        };
        let mut before = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = refused.as_ref().filter(|error| before.as_ref() != Some(error)) {
            tracing::warn!(kind, ?files, error, "reload refused: the old files stay in use");
            self.reloads.count(kind, ReloadOutcome::Refused);
        }
        *before = refused;
    }
}

async fn follow<T: Send + Sync + 'static>(value: Weak<Reloading<T>>, mut watched: WatchedFiles, interval: Duration) {
    loop {
        let is_changed = watched.changed_after(interval).await;
        let Some(value) = value.upgrade() else { return };
        // To read and to check may take long, which must not be the time of what else this thread has to do.
        // What could not be read may be there now, or be its reader's, without a change that shows.
        let is_due = is_changed || value.is_refused();
        if is_due {
            reload(value).await;
        }
    }
}

/// Ends where the value or what it follows has gone.
async fn follow_changes<T: Send + Sync + 'static>(value: Weak<Reloading<T>>, mut changes: watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {
        let Some(value) = value.upgrade() else { return };
        reload(value).await;
    }
}

async fn reload<T: Send + Sync + 'static>(value: Arc<Reloading<T>>) {
    if tokio::task::spawn_blocking(move || value.reload()).await.is_err() {
        tracing::error!("a reload panicked: the old files stay in use");
    }
}

/// What became of an attempt to take over changed files.
#[derive(Clone, Copy, Debug)]
pub enum ReloadOutcome {
    /// They are in use.
    Replaced,
    /// They can't be used, and the old ones stay in use.
    Refused,
    /// They are good, and some of what they say holds from the next start on.
    RestartNeeded,
}

/// Counts attempts to take over changed files.
#[derive(Clone, Debug)]
pub struct Reloads(Counter<u64>);

impl Reloads {
    /// The counter that all of them share.
    pub fn counter() -> Self {
        Self(FILE_RELOADS.counter(&telemetry::meter()))
    }

    /// Counts one.
    pub fn count(&self, kind: &'static str, outcome: ReloadOutcome) {
        let outcome = match outcome {
            ReloadOutcome::Replaced => "replaced",
            ReloadOutcome::Refused => "refused",
            ReloadOutcome::RestartNeeded => "restart_needed",
        };
        self.0.add(1, &[KeyValue::new("kind", kind), KeyValue::new("outcome", outcome)]);
    }
}

#[cfg(test)]
mod tests;
