//! Logs and spans that tests read, each by its own thread's dispatcher.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::{
    Dispatch, Subscriber,
    subscriber::{self, DefaultGuard},
};
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

/// While a process has one dispatcher, whether a call site is logged at all is asked of the thread that reaches it first
/// (tracing-core, `callsite::dispatchers`): another test's thread, without a log, would say no for this one too. With a second,
/// which lives as long as the process, all are asked.
static SECOND_DISPATCHER: OnceLock<Dispatch> = OnceLock::new();

/// Hands this thread's spans and events to the subscriber until the guard is dropped, whatever other tests do meanwhile.
pub fn set_default(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    SECOND_DISPATCHER.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
    subscriber::set_default(subscriber)
}

/// A log that tests read. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Writes this thread's log here until the guard is dropped.
    pub fn start(&self) -> DefaultGuard {
        set_default(tracing_subscriber::fmt().with_writer(self.clone()).finish())
    }

    /// All that was written.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// How often a text stands in it.
    pub fn count(&self, text: &str) -> usize {
        self.text().matches(text).count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Spans that tests read, once they have ended. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl Spans {
    /// Exports this thread's spans here until the guard is dropped.
    pub fn start(&self) -> DefaultGuard {
        let provider = SdkTracerProvider::builder().with_simple_exporter(self.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        set_default(tracing_subscriber::registry().with(layer))
    }

    /// All that have ended.
    pub fn ended(&self) -> Vec<SpanData> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(batch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warn() {
        tracing::warn!("from one call site");
    }

    #[test]
    fn line_is_logged_although_a_thread_without_a_log_reached_its_call_site_first() {
        let log = Log::default();
        let _guard = log.start();
        std::thread::spawn(warn).join().unwrap();
        warn();
        assert_eq!(log.count("from one call site"), 1);
    }
}
