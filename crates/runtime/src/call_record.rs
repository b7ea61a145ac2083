//! What is known of one call: for its metrics, its span and its line in the access log.
//!
//! One allocation a call. [`Observe`](crate::observe::Observe) puts it into the request's extensions; the steps that follow note
//! what they learn, and whatever ends the call reads it.

mod journal;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::trace::{SpanContext, TraceId};
use tonic::{Code, Status};

use crate::{call_metrics::MethodSeries, fault, request_id::RequestId};
pub use journal::{Journal, JournalStep};

/// A call's place in its trace.
#[derive(Clone, Debug)]
pub(crate) struct CallTrace {
    /// The call's span where it is sampled, else what is passed on to the next hop.
    pub context: SpanContext,
    /// Whether spans are opened for the call.
    pub is_sampled: bool,
}

impl CallTrace {
    /// Whether no spans are opened for the call.
    pub(crate) fn is_unsampled(&self) -> bool {
        !self.is_sampled
    }
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WaitsFor {
    /// Nobody else: it is at work here, or waits for its own caller.
    Itself,
    /// What the cache service keeps.
    Cache,
    /// The upstream, through the cache or not.
    Upstream,
}

/// The record of one call. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct CallRecord(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    ids: Option<(RequestId, CallTrace)>,
    method: OnceLock<Arc<MethodSeries>>,
    protocol: OnceLock<&'static str>,
    principal_kind: OnceLock<&'static str>,
    code: OnceLock<Code>,
    reason: OnceLock<String>,
    cache_outcome: OnceLock<&'static str>,
    version: OnceLock<Arc<str>>,
    timeout: OnceLock<Duration>,
    waits_for: AtomicU8,
    attempts: AtomicU32,
    upstream_micros: AtomicU64,
    request_bytes: AtomicU64,
    journal: OnceLock<Box<journal::Keeper>>,
}

impl CallRecord {
    /// The record of a call that begins.
    pub(crate) fn begun(id: RequestId, trace: CallTrace) -> Self {
        Self(Arc::new(Facts { ids: Some((id, trace)), ..Facts::default() }))
    }

    /// The call's id.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.0.ids.as_ref().map(|(id, _)| id)
    }

    /// The call's place in its trace.
    pub(crate) fn trace(&self) -> Option<&CallTrace> {
        self.0.ids.as_ref().map(|(_, trace)| trace)
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.trace().map(|trace| trace.context.trace_id())
    }

    /// Says which method is called. It must be one of a bounded set. The first one stays.
    pub fn set_method(&self, method: Arc<MethodSeries>) {
        // A second one can't come from anything but the same routing, so it may be dropped; likewise below.
        let _ = self.0.method.set(method);
    }

    /// The method.
    pub fn method(&self) -> Option<&Arc<MethodSeries>> {
        self.0.method.get()
    }

    /// The protocol that the caller speaks, such as `grpc`.
    pub fn set_protocol(&self, name: &'static str) {
        let _ = self.0.protocol.set(name);
    }

    /// The protocol that the caller speaks.
    pub fn protocol(&self) -> Option<&'static str> {
        self.0.protocol.get().copied()
    }

    /// What kind of principal calls: `user`, `service` or `anonymous`.
    pub fn set_principal_kind(&self, kind: &'static str) {
        let _ = self.0.principal_kind.set(kind);
    }

    /// What kind of principal calls.
    pub fn principal_kind(&self) -> Option<&'static str> {
        self.0.principal_kind.get().copied()
    }

    /// Why the mesh itself refused or failed the call.
    pub fn set_reason(&self, reason: impl FnOnce() -> String) {
        self.0.reason.get_or_init(reason);
    }

    /// Why the mesh itself refused or failed the call.
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.get().map(String::as_str)
    }

    /// Says how the call ended, for an answer whose status stands in no head and no trailers: it is part of the body there.
    pub fn set_status(&self, status: &Status) {
        self.set_code(status.code());
        if let Some(reason) = Some(status).filter(|status| status.code() != Code::Ok).and_then(fault::reason_of) {
            self.set_reason(|| fault::name(reason));
        }
    }

    /// Says with which code the call ends, where its answer says that in its body alone.
    pub fn set_code(&self, code: Code) {
        let _ = self.0.code.set(code);
    }

    /// How the call ended, where that is part of the answer's body.
    pub fn code(&self) -> Option<Code> {
        self.0.code.get().copied()
    }

    /// Where the answer of a cached method came from, in the words of RFC 9211.
    pub fn set_cache_outcome(&self, outcome: &'static str) {
        let _ = self.0.cache_outcome.set(outcome);
    }

    /// Where the answer of a cached method came from.
    pub fn cache_outcome(&self) -> Option<&'static str> {
        self.0.cache_outcome.get().copied()
    }

    /// Which version of its upstream takes the call, where there are several.
    pub fn set_version(&self, version: Arc<str>) {
        let _ = self.0.version.set(version);
    }

    /// Which version of its upstream took the call.
    pub fn version(&self) -> Option<&Arc<str>> {
        self.0.version.get()
    }

    /// How much time the call had when it came.
    pub fn set_timeout(&self, timeout: Duration) {
        let _ = self.0.timeout.set(timeout);
    }

    /// How much time the call had when it came.
    pub fn timeout(&self) -> Option<Duration> {
        self.0.timeout.get().copied()
    }

    /// Says what the call waits for from now on.
    pub fn wait_for(&self, whom: WaitsFor) {
        self.0.waits_for.store(whom as u8, Relaxed);
    }

    /// What the call waits for, or waited for when it was given up.
    pub fn waits_for(&self) -> WaitsFor {
        let whom = self.0.waits_for.load(Relaxed);
        let others = [WaitsFor::Cache, WaitsFor::Upstream];
        others.into_iter().find(|other| *other as u8 == whom).unwrap_or(WaitsFor::Itself)
    }

    /// Counts an attempt at an endpoint of an upstream.
    pub fn add_attempt(&self, endpoint: &str) {
        self.0.attempts.fetch_add(1, Relaxed);
        if let Some(journal) = self.0.journal.get() {
            journal.attempt(endpoint);
        }
    }

    /// Notes that the attempt which begins runs beside another one (hedging).
    pub fn add_hedge(&self) {
        if let Some(journal) = self.0.journal.get() {
            journal.hedge();
        }
    }

    /// From now on notes step by step what is done for the call. Of other calls nobody wants to know, and nothing is kept.
    pub fn begin_journal(&self) {
        self.0.journal.get_or_init(Box::default);
    }

    /// Whether it is noted step by step what is done for the call.
    pub fn has_journal(&self) -> bool {
        self.0.journal.get().is_some()
    }

    /// Notes that a step is over.
    pub fn step(&self, name: &'static str) {
        if let Some(journal) = self.0.journal.get() {
            journal.step(name);
        }
    }

    /// What was noted step by step until now; none where nobody began it.
    pub fn journal(&self) -> Option<Journal> {
        self.0.journal.get().map(|journal| journal.noted())
    }

    /// Attempts at an upstream, retries and hedging included.
    pub fn attempts(&self) -> u32 {
        self.0.attempts.load(Relaxed)
    }

    /// Adds time that was spent in waiting for an upstream, or for the cache in its place.
    pub fn add_upstream_time(&self, time: Duration) {
        self.0.upstream_micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The time that was spent in waiting for an upstream, or for the cache; none where nobody was asked.
    pub fn upstream_time(&self) -> Option<Duration> {
        let micros = self.0.upstream_micros.load(Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// Counts bytes of the request's body.
    pub fn add_request_bytes(&self, bytes: usize) {
        self.0.request_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes of the request's body.
    pub fn request_bytes(&self) -> u64 {
        self.0.request_bytes.load(Relaxed)
    }
}

/// A call that is over.
pub struct EndedCall<'a> {
    /// What its steps noted.
    pub record: &'a CallRecord,
    /// By which listener it came, where there are several.
    pub listener: Option<&'static str>,
    /// The name of its method, as it is counted.
    pub method: &'a str,
    /// The name of its status, such as `OK`.
    pub status: &'static str,
    /// From its first header to its last byte.
    pub duration: Duration,
    /// Of the answer's body.
    pub response_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_name_of_a_method_stays() {
        let record = CallRecord::default();
        record.set_method(MethodSeries::new("a.B/C"));
        record.clone().set_method(MethodSeries::new("a.B/D"));
        assert_eq!(record.method().map(|method| method.name()), Some("a.B/C"));
    }

    #[test]
    fn time_of_several_upstream_calls_is_summed() {
        let record = CallRecord::default();
        assert_eq!(record.upstream_time(), None);
        record.add_upstream_time(Duration::from_millis(2));
        record.add_upstream_time(Duration::from_millis(3));
        assert_eq!(record.upstream_time(), Some(Duration::from_millis(5)));
    }
}
