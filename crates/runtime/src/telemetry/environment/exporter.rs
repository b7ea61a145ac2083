//! Variables of OpenTelemetry about how it is exported, most of which the exporters read themselves: one that they would pass over in
//! silence, or that nothing here can follow, is refused at the start.

use std::str::FromStr;

use http::{HeaderName, HeaderValue};

use super::VariableError;

/// A variable, and the words that can be followed, each by all of its items.
struct Words {
    name: &'static str,
    known: &'static [&'static str],
    /// Why no other can.
    why: &'static str,
}

/// For all signals, and for each.
const HEADERS: [&str; 3] =
    ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS"];

const TIMEOUTS: [&str; 3] =
    ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT"];

/// The longest that an export may take, in milliseconds.
const LONGEST_TIMEOUT: u64 = 10 * 60 * 1000;

const COMPRESSION: (&[&str], &str) = (&["gzip", "none"], "exports are compressed with gzip or not at all");
const PROTOCOL: (&[&str], &str) =
    (&["grpc"], "OTLP is spoken over gRPC alone; give the collector's port for it, mostly 4317");

const WORDS: [Words; 12] = [
    words("OTEL_EXPORTER_OTLP_COMPRESSION", COMPRESSION),
    words("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", COMPRESSION),
    words("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", COMPRESSION),
    words("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOL),
    words("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", PROTOCOL),
    words("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", PROTOCOL),
    words(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        (&["cumulative", "delta", "lowmemory"], "there are no others"),
    ),
    words(super::TRACES_EXPORTER, (&["otlp", "none"], "traces are sent by OTLP or nowhere")),
    words(
        super::METRICS_EXPORTER,
        (&["otlp", "prometheus", "none"], "metrics are sent by OTLP, and /metrics has them for Prometheus anyway"),
    ),
    words("OTEL_LOGS_EXPORTER", (&["none"], "logs go to standard error, where an agent finds them")),
    words(
        "OTEL_PROPAGATORS",
        (&["tracecontext", "baggage"], "traces are passed on in W3C trace context, and `baggage` as it comes"),
    ),
    words(super::EXEMPLAR_FILTER, (&["trace_based", "always_off"], "an exemplar is a sampled call or none")),
];

const fn words(name: &'static str, (known, why): (&'static [&'static str], &'static str)) -> Words {
    Words { name, known, why }
}

/// Files with a whole configuration of an SDK, which would be one more source of it.
const FILES: [&str; 2] = ["OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"];

/// Looks at all of them.
pub(in crate::telemetry) fn check(variable: impl Fn(&str) -> Option<String>) -> Result<(), VariableError> {
    for Words { name, known, why } in WORDS {
        let text = variable(name).unwrap_or_default();
        let mut items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        if let Some(item) = items.find(|item| !known.iter().any(|known| item.eq_ignore_ascii_case(known))) {
            let known = known.join(", ");
            return Err(VariableError::new(
                name,
                format!("{item:?} can't be followed: {why}; write {known}, or leave it out"),
            ));
        }
    }
    if let Some(name) = FILES.into_iter().find(|name| variable(name).is_some()) {
        return Err(VariableError::new(
            name,
            "files of an SDK are not read; write [telemetry], or the other variables",
        ));
    }
    let is_wrong = |name: &str, is_right: fn(&str) -> bool| variable(name).is_some_and(|text| !is_right(&text));
    if let Some(name) = HEADERS.into_iter().find(|name| is_wrong(name, are_headers)) {
        // What stands there is often a secret.
        return Err(VariableError::new(
            name,
            "an item is no header; write NAME=VALUE, several with commas between them",
        ));
    }
    if let Some(name) = TIMEOUTS.into_iter().find(|name| is_wrong(name, is_timeout)) {
        return Err(VariableError::new(name, "write milliseconds, from 1 to 600000"));
    }
    Ok(())
}

fn is_timeout(text: &str) -> bool {
    text.parse().is_ok_and(|millis| (1..=LONGEST_TIMEOUT).contains(&millis))
}

fn are_headers(text: &str) -> bool {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).all(|item| {
        let Some((name, value)) = item.split_once('=') else { return false };
        HeaderName::from_str(name.trim()).is_ok() && HeaderValue::from_str(value.trim()).is_ok()
    })
}
