//! What both directions of a call share: why the request's side ended it, and when something passed last.

use crate::fault::{Component, Fault};
use accord_api::accord::fault::v1::Reason;
use accord_contract::{Method, MethodKind};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// The state of one call, for both of its directions.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    end_reason: OnceLock<Status>,
    silence: Option<Silence>,
}

/// How long a stream may be silent, and since when it is. A message in either direction breaks the silence.
#[derive(Debug)]
struct Silence {
    longest: Duration,
    begun: Instant,
    /// Nanoseconds from its begin until something passed last.
    passed: AtomicU64,
}

impl StreamState {
    /// For a call of this method.
    pub(crate) fn of(method: &Method) -> Self {
        let longest = method.policy.stream_idle.filter(|_| method.kind != MethodKind::Unary);
        Self::new(longest)
    }

    /// For a stream with a bound on its silence, or without.
    pub(super) fn new(longest: Option<Duration>) -> Self {
        let begin = |longest| Silence { longest, begun: Instant::now(), passed: AtomicU64::new(0) };
        Self { end_reason: OnceLock::new(), silence: longest.map(begin) }
    }

    /// Why the request's side ended the call.
    pub(crate) fn end_reason(&self) -> Option<&Status> {
        self.end_reason.get()
    }

    /// The request's side ends the call. The first reason stands.
    pub(super) fn end(&self, reason: impl FnOnce() -> Status) {
        self.end_reason.get_or_init(reason);
    }

    /// Something passed, in either direction.
    pub(super) fn passed(&self) {
        if let Some(Silence { begun, passed, .. }) = &self.silence {
            passed.fetch_max(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
        }
    }

    /// When the silence is too long, unless something passes until then; None where it has no bound.
    pub(super) fn silent_until(&self) -> Option<Instant> {
        let Silence { longest, begun, passed } = self.silence.as_ref()?;
        Some(*begun + Duration::from_nanos(passed.load(Relaxed)) + *longest)
    }

    /// Does the work, such as waiting for an answer's head, unless the stream is silent for too long meanwhile.
    pub(crate) async fn hold<T>(&self, mut work: Pin<&mut impl Future<Output = Result<T, Fault>>>) -> Result<T, Fault> {
        while let Some(until) = self.silent_until() {
            match timeout_at(until, work.as_mut()).await {
                Ok(done) => return done,
                Err(_) if self.silent_until() > Some(until) => {}
                Err(_) => return Err(silent()),
            }
        }
        work.await
    }
}

/// A stream that was silent for too long.
pub(super) fn silent() -> Fault {
    let message = "the stream was silent for longer than its method allows";
    Fault::new(Component::Gateway, Reason::StreamIdle, message)
}
