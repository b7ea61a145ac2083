//! One line of the access log, written by hand: a line costs a call less than any of its metrics would as a tree of JSON.

use std::{
    cell::RefCell,
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{EndedCall, Field};
use crate::{call_record::CallTrace, request_id::RequestId, trace_context};

thread_local! {
    /// The second in which this thread last wrote a line, as it stands in one.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Adds a call as one JSON object and a line feed.
pub(super) fn write(line: &mut Vec<u8>, service: &str, fields: &[Field], call: &EndedCall<'_>) {
    let start = line.len();
    for field in fields {
        let end = line.len();
        line.push(if end == start { b'{' } else { b',' });
        if !value(line, *field, service, call) {
            line.truncate(end);
        }
    }
    if line.len() == start {
        line.push(b'{');
    }
    line.extend_from_slice(b"}\n");
}

/// Adds a field; false where it does not apply to the call.
fn value(line: &mut Vec<u8>, field: Field, service: &str, call: &EndedCall<'_>) -> bool {
    let record = call.record;
    match field {
        Field::Time => time(line, "time", SystemTime::now()),
        Field::Service => text(line, "service", Some(service)),
        Field::Listener => text(line, "listener", call.listener),
        Field::Protocol => text(line, "protocol", Some(record.protocol().unwrap_or("grpc"))),
        Field::Method => text(line, "method", Some(call.method)),
        Field::Version => text(line, "version", record.version().map(|name| &**name)),
        Field::PrincipalKind => text(line, "principal_kind", record.principal_kind()),
        Field::Status => text(line, "status", Some(call.status)),
        Field::Reason => text(line, "reason", record.reason()),
        Field::DurationMs => milliseconds(line, "duration_ms", Some(call.duration)),
        Field::UpstreamMs => milliseconds(line, "upstream_ms", record.upstream_time()),
        Field::TimeoutMs => milliseconds(line, "timeout_ms", record.timeout()),
        Field::RequestBytes => count(line, "request_bytes", Some(record.request_bytes()).filter(|bytes| *bytes > 0)),
        Field::ResponseBytes => count(line, "response_bytes", Some(call.response_bytes)),
        Field::Cache => text(line, "cache", record.cache_outcome()),
        Field::Attempts => count(line, "attempts", Some(record.attempts().into()).filter(|attempts| *attempts > 0)),
        Field::RequestId => text(line, "request_id", record.request_id().map(RequestId::as_str)),
        Field::TraceId => trace_id(line, "trace_id", record.trace()),
    }
}

fn name(line: &mut Vec<u8>, name: &str) {
    line.push(b'"');
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

fn text(line: &mut Vec<u8>, key: &str, value: Option<&str>) -> bool {
    let Some(value) = value else { return false };
    name(line, key);
    if value.bytes().all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\')) {
        line.push(b'"');
        line.extend_from_slice(value.as_bytes());
        line.push(b'"');
        true
    } else {
        // Text becomes JSON, and memory takes every byte.
        serde_json::to_writer(line, value).is_ok()
    }
}

fn count(line: &mut Vec<u8>, key: &str, value: Option<u64>) -> bool {
    let Some(value) = value else { return false };
    name(line, key);
    write!(line, "{value}").is_ok()
}

/// To a microsecond, which is as exact as anybody reads it.
fn milliseconds(line: &mut Vec<u8>, key: &str, value: Option<Duration>) -> bool {
    let Some(value) = value else { return false };
    name(line, key);
    let micros = (value.as_nanos() + 500) / 1_000;
    let is_written = write!(line, "{}.{:03}", micros / 1_000, micros % 1_000).is_ok();
    while line.ends_with(b"0") && !line.ends_with(b".0") {
        line.pop();
    }
    is_written
}

fn time(line: &mut Vec<u8>, key: &str, now: SystemTime) -> bool {
    name(line, key);
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            *text = humantime::format_rfc3339_seconds(now).to_string();
        }
        write!(line, "\"{}.{:03}Z\"", text.trim_end_matches('Z'), since.subsec_millis()).is_ok()
    })
}

fn trace_id(line: &mut Vec<u8>, key: &str, trace: Option<&CallTrace>) -> bool {
    let Some(trace) = trace else { return false };
    name(line, key);
    line.push(b'"');
    line.extend(trace.context.trace_id().to_bytes().into_iter().flat_map(trace_context::digits));
    line.push(b'"');
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>) -> bool) -> String {
        let mut line = Vec::new();
        assert!(write(&mut line));
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn time_is_rfc_3339_to_the_millisecond_in_every_second() {
        for millis in [0, 1_000, 1_764_374_400_007, 1_764_374_400_999, 1_764_374_401_000] {
            let at = UNIX_EPOCH + Duration::from_millis(millis);
            let expected = format!("\"t\":\"{}\"", humantime::format_rfc3339_millis(at));
            assert_eq!(written(|line| time(line, "t", at)), expected);
        }
    }

    #[test]
    fn milliseconds_are_rounded_to_microseconds() {
        let cases =
            [(1_500_000, "1.5"), (2_000_000_000, "2000.0"), (3_271_499, "3.271"), (3_271_500, "3.272"), (0, "0.0")];
        for (nanos, expected) in cases {
            let value = Some(Duration::from_nanos(nanos));
            assert_eq!(written(|line| milliseconds(line, "d", value)), format!("\"d\":{expected}"));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was(value in ".*") {
            let json = format!("{{{}}}", written(|line| text(line, "t", Some(&value))));
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read["t"].as_str(), Some(&*value));
        }
    }
}
