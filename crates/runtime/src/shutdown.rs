//! Graceful shutdown: the whole process stops taking calls, and drains those in flight.

use std::{
    future::Future,
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::deadline::Deadline;

/// A handle on the process's end. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    begun: CancellationToken,
    end: Arc<OnceLock<Deadline>>,
    grace: Duration,
}

impl Shutdown {
    /// A shutdown that begins only when [`Shutdown::begin`] is called; work in flight then has `grace` to end.
    pub fn new(grace: Duration) -> Self {
        Self { begun: CancellationToken::new(), end: Arc::default(), grace }
    }

    /// A later stage of this shutdown: it begins when [`Shutdown::begin`] is called on it, and its work has what is then left
    /// of the grace of this one.
    #[must_use]
    pub fn later(&self) -> Self {
        Self { begun: CancellationToken::new(), end: Arc::clone(&self.end), grace: self.grace }
    }

    /// A shutdown that begins with SIGTERM or SIGINT, and not with SIGHUP, by which operators mean that files are to be
    /// read again. Call it once, inside the runtime.
    pub fn on_signals(grace: Duration) -> io::Result<Self> {
        let shutdown = Self::new(grace);
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hangup = signal(SignalKind::hangup())?;
        let begun = shutdown.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::info!("SIGHUP: reloading files that changed");
            }
        });
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
                _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
                () = begun.begun() => {}
            }
            begun.begin();
        });
        Ok(shutdown)
    }

    /// Ends when the shutdown has begun; at once if it has already.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + 'static {
        self.begun.clone().cancelled_owned()
    }

    /// Whether the shutdown has begun.
    pub fn is_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Begins the shutdown. Further calls change nothing.
    pub fn begin(&self) {
        self.end.get_or_init(|| Deadline::after(self.grace));
        self.begun.cancel();
    }

    /// How much of the grace is left; all of it before the shutdown has begun.
    pub fn remaining(&self) -> Duration {
        self.end.get().map_or(self.grace, |end| end.remaining())
    }

    /// How long work in flight may take to end once the shutdown has begun.
    pub fn grace(&self) -> Duration {
        self.grace
    }
}
