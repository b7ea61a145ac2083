//! Access log: one JSON object a call, on standard output, so that it never mixes with log lines, which go to standard error.
//!
//! Neither tokens nor bodies, addresses or names of callers get into it. A slow reader of standard output slows down no call:
//! lines wait in a bounded queue, and what does not fit is dropped and counted.

use std::{cell::RefCell, io, sync::OnceLock};

use opentelemetry::{metrics::Meter, trace::TraceId};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{call_record::EndedCall, config::bound, declared_metrics::ACCESS_LOG_DROPPED};

mod line;
mod writer;

pub(crate) use writer::LastLines;
use writer::LineQueue;

thread_local! {
    /// Where this thread writes its lines, one after the other.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Which calls get a line, and what is in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLogConfig {
    /// Whether there is an access log. Default false.
    pub enabled: bool,
    /// Share of the calls that end with OK that get a line, 0 to 1. A trace has its lines at every hop or at none. Default 1.
    #[serde(deserialize_with = "bound::share")]
    pub ok_ratio: f64,
    /// Share of the other calls that get a line, 0 to 1. Default 1.
    #[serde(deserialize_with = "bound::share")]
    pub error_ratio: f64,
    /// What stands in a line, in this order. Default: all.
    #[serde(deserialize_with = "fields")]
    pub fields: Vec<Field>,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self { enabled: false, ok_ratio: 1.0, error_ratio: 1.0, fields: Field::ALL.to_vec() }
    }
}

/// A line without a field would tell nothing.
fn fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Field>, D::Error> {
    let fields = Vec::<Field>::deserialize(deserializer)?;
    if fields.is_empty() {
        Err(D::Error::custom("name at least one field, or leave it out for all"))
    } else {
        Ok(fields)
    }
}

/// What can stand in a line. What does not apply to a call is left out of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// When the call ended, in RFC 3339.
    Time,
    /// The binary.
    Service,
    /// By which listener the call came: `public` or `internal`.
    Listener,
    /// The protocol that the caller speaks: `grpc` or `json`.
    Protocol,
    /// `pkg.Service/Method`, or `_OTHER` where it is none that is served.
    Method,
    /// Which version of its upstream took the call, where there are several.
    Version,
    /// `user`, `service` or `anonymous`.
    PrincipalKind,
    /// The gRPC status code.
    Status,
    /// Why the mesh itself refused or failed the call.
    Reason,
    /// Milliseconds from the first header to the last byte.
    DurationMs,
    /// Milliseconds of them in waiting for the upstream, or for the cache in its place.
    UpstreamMs,
    /// Milliseconds that the call had when it came: its deadline.
    TimeoutMs,
    /// Bytes of the request's body.
    RequestBytes,
    /// Bytes of the answer's body.
    ResponseBytes,
    /// Where the answer of a cached method came from, in the words of RFC 9211.
    Cache,
    /// Attempts at the upstream, retries and hedging included.
    Attempts,
    /// The request's id.
    RequestId,
    /// The trace's id.
    TraceId,
}

impl Field {
    const ALL: [Self; 18] = [
        Self::Time,
        Self::Service,
        Self::Listener,
        Self::Protocol,
        Self::Method,
        Self::Version,
        Self::PrincipalKind,
        Self::Status,
        Self::Reason,
        Self::DurationMs,
        Self::UpstreamMs,
        Self::TimeoutMs,
        Self::RequestBytes,
        Self::ResponseBytes,
        Self::Cache,
        Self::Attempts,
        Self::RequestId,
        Self::TraceId,
    ];
}

/// The process's access log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    service: &'static str,
    config: AccessLogConfig,
    queue: LineQueue,
}

static ACCESS_LOG: OnceLock<AccessLog> = OnceLock::new();

/// The access log that was begun, if one was.
pub(crate) fn begun() -> Option<&'static AccessLog> {
    ACCESS_LOG.get()
}

/// Begins the process's access log, where one is configured. What waits to be written is written when the guard is dropped.
pub(crate) fn begin(service: &'static str, config: &AccessLogConfig, meter: &Meter) -> io::Result<Option<LastLines>> {
    if !config.enabled {
        return Ok(None);
    }
    let (queue, guard) = LineQueue::start(io::stdout())?;
    count_dropped(meter, queue.clone());
    // A process has one telemetry, and so begins one log.
    let _ = ACCESS_LOG.set(AccessLog { service, config: config.clone(), queue });
    Ok(Some(guard))
}

fn count_dropped(meter: &Meter, queue: LineQueue) {
    ACCESS_LOG_DROPPED.observe(meter, move |observer| observer.observe(queue.dropped(), &[]));
}

impl AccessLog {
    /// Writes the line of a call that is over, if it is to have one.
    pub(crate) fn write(&self, call: &EndedCall<'_>) {
        let trace = call.record.trace().map_or(TraceId::INVALID, |trace| trace.context.trace_id());
        if !self.config.is_sampled(call.status, trace) {
            return;
        }
        let _ = LINE.try_with(|line| {
            let mut line = line.borrow_mut();
            line.clear();
            line::write(&mut line, self.service, &self.config.fields, call);
            self.queue.push(&line);
        });
    }
}

impl AccessLogConfig {
    /// By the trace's id, which is random, so that every hop decides alike.
    fn is_sampled(&self, status: &str, trace: TraceId) -> bool {
        let ratio = if status == "OK" { self.ok_ratio } else { self.error_ratio };
        let [.., a, b, c, d] = trace.to_bytes();
        f64::from(u32::from_be_bytes([a, b, c, d])) < ratio * (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};

    use super::*;
    use crate::{
        call_record::{CallRecord, CallTrace},
        request_id::RequestId,
    };

    const TRACE: TraceId = TraceId::from_bytes([0x7f; 16]);

    fn record() -> CallRecord {
        let span = SpanId::from_bytes([1; 8]);
        let context = SpanContext::new(TRACE, span, TraceFlags::NOT_SAMPLED, false, TraceState::NONE);
        CallRecord::begun(RequestId::new(), CallTrace { context, is_sampled: false })
    }

    fn line(config: &AccessLogConfig, record: &CallRecord) -> serde_json::Value {
        let call = EndedCall {
            record,
            listener: Some("public"),
            method: "a.B/C",
            status: "OK",
            duration: Duration::from_micros(1_500),
            response_bytes: 7,
        };
        let mut line = Vec::new();
        line::write(&mut line, "accord-test", &config.fields, &call);
        assert!(line.ends_with(b"}\n"));
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn line_tells_what_the_steps_of_a_call_noted() {
        let record = record();
        record.set_protocol("json");
        record.set_principal_kind("user");
        record.set_cache_outcome("hit");
        record.set_version("v2".into());
        record.set_timeout(Duration::from_secs(2));
        record.set_reason(|| "RATE_LIMITED".to_owned());
        record.add_attempt("http://a:1");
        record.add_upstream_time(Duration::from_millis(1));
        record.add_request_bytes(5);
        let line = line(&AccessLogConfig::default(), &record);
        let expected = serde_json::json!({
            "service": "accord-test", "listener": "public", "protocol": "json", "method": "a.B/C",
            "version": "v2", "principal_kind": "user", "status": "OK", "reason": "RATE_LIMITED", "duration_ms": 1.5, "upstream_ms": 1.0,
            "timeout_ms": 2000.0, "request_bytes": 5, "response_bytes": 7, "cache": "hit", "attempts": 1,
            "request_id": record.request_id().unwrap().as_str(), "trace_id": TRACE.to_string(), "time": line["time"],
        });
        assert_eq!(line, expected);
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn line_has_only_the_configured_fields() {
        let config = AccessLogConfig { fields: vec![Field::Status, Field::Method], ..AccessLogConfig::default() };
        let line = line(&config, &record());
        assert_eq!(line, serde_json::json!({ "status": "OK", "method": "a.B/C" }));
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let line = line(&AccessLogConfig::default(), &record());
        for absent in
            ["version", "principal_kind", "reason", "upstream_ms", "timeout_ms", "request_bytes", "cache", "attempts"]
        {
            assert!(line.get(absent).is_none(), "{line}");
        }
    }

    #[test]
    fn calls_are_sampled_by_trace_and_by_how_they_ended() {
        let config = AccessLogConfig { ok_ratio: 0.25, error_ratio: 0.75, ..AccessLogConfig::default() };
        assert!(!config.is_sampled("OK", TRACE));
        assert!(config.is_sampled("INTERNAL", TRACE));
        let all = AccessLogConfig::default();
        let none = AccessLogConfig { ok_ratio: 0.0, ..AccessLogConfig::default() };
        assert!(all.is_sampled("OK", TraceId::from_bytes([0xff; 16])));
        assert!(!none.is_sampled("OK", TraceId::from_bytes([0; 16])));
    }
}
