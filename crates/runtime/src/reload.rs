//! Hot reload: things made from files, made anew when the files change.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use opentelemetry::{KeyValue, metrics::Counter};

use crate::telemetry;

/// When a file changed last and how long it is; `None` while it can't be seen.
type Stamp = Option<(SystemTime, u64)>;

/// A value made from files. Whoever asks for it gets the newest one that could be made: where a change can't be read,
/// the old value goes on and the log says why.
pub struct Reloading<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    interval: Duration,
    looked: Mutex<(Instant, Vec<Stamp>)>,
    value: ArcSwap<T>,
    reloads: Counter<u64>,
}

impl<T> Reloading<T> {
    /// Makes the value for the first time. Files are looked at when the value is asked for, once per `interval` at most.
    pub fn new<E: std::fmt::Display>(
        files: Vec<PathBuf>,
        interval: Duration,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Stamps first: a change during the making is seen as one afterwards.
        let stamps = stamps(&files);
        let value = ArcSwap::from_pointee(make()?);
        let make = Box::new(move || make().map_err(|error| error.to_string()));
        let reloads = telemetry::meter()
            .u64_counter("accord.files.reloads")
            .with_description("Attempts to take over changed files while serving, by outcome")
            .build();
        Ok(Self { files, make, interval, looked: Mutex::new((Instant::now(), stamps)), value, reloads })
    }

    /// The newest value.
    pub fn get(&self) -> Arc<T> {
        if self.changed() {
            let outcome = match (self.make)() {
                Ok(value) => {
                    self.value.store(Arc::new(value));
                    tracing::info!(files = ?self.files, "files reloaded");
                    "replaced"
                }
                Err(error) => {
                    tracing::warn!(files = ?self.files, error, "reload refused: the old files stay in use");
                    "refused"
                }
            };
            self.reloads.add(1, &[KeyValue::new("outcome", outcome)]);
        }
        self.value.load_full()
    }

    fn changed(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.0.elapsed() < self.interval {
            return false;
        }
        let now = stamps(&self.files);
        looked.0 = Instant::now();
        std::mem::replace(&mut looked.1, now.clone()) != now
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| fs::metadata(file).and_then(|data| Ok((data.modified()?, data.len()))).ok();
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reload_takes_a_changed_file_and_keeps_the_old_one_where_the_new_is_bad() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("number");
        fs::write(&file, "1").unwrap();
        let path = file.clone();
        let number = Reloading::new(vec![file.clone()], Duration::ZERO, move || {
            fs::read_to_string(&path).unwrap().parse::<u32>()
        })
        .unwrap();
        assert_eq!(*number.get(), 1);
        fs::write(&file, "22").unwrap();
        assert_eq!(*number.get(), 22);
        fs::write(&file, "many").unwrap();
        assert_eq!(*number.get(), 22);
        fs::write(&file, "333").unwrap();
        assert_eq!(*number.get(), 333);
    }
}
