//! A log that tests read.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::Dispatch;

/// While a process has one dispatcher, whether a call site is logged at all is asked of the thread that reaches it first
/// (tracing-core, `callsite::dispatchers`): another test's thread, without a log, would say no for this one too. With a second,
/// which lives as long as the process, all are asked.
static SECOND_DISPATCHER: OnceLock<Dispatch> = OnceLock::new();

/// A log that tests read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Writes this thread's log here until the guard is dropped.
    pub(crate) fn start(&self) -> tracing::subscriber::DefaultGuard {
        SECOND_DISPATCHER.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
        let log = self.clone();
        tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(move || log.clone()).finish())
    }

    /// How often a text stands in it.
    pub(crate) fn count(&self, text: &str) -> usize {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().matches(text).count()
    }
}
