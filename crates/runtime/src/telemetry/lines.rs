//! Log lines on standard error, for eyes or as JSON, with the ids of the call that a line is about.

use std::{ffi::OsStr, fmt, io};

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    Layer,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{Format, Writer},
        layer,
    },
    registry::LookupSpan,
};

use super::LogFormat;
use crate::{call_record::CallRecord, current_call};

pub(super) fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
    written_to(io::stderr, format, is_coloured(is_terminal, std::env::var_os("NO_COLOR").as_deref()))
}

fn written_to<S, W>(writer: W, format: LogFormat, is_coloured: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = layer().with_writer(writer);
    match format {
        LogFormat::Human => {
            let lines = Format::default().with_ansi(is_coloured);
            Box::new(layer.with_ansi(is_coloured).event_format(WithIds { lines, format }))
        }
        LogFormat::Json => {
            let lines = Format::default().json().flatten_event(true).with_current_span(false);
            Box::new(layer.json().event_format(WithIds { lines, format }))
        }
    }
}

/// Colours are for terminals, and not for those who set `NO_COLOR` to anything (<https://no-color.org>).
fn is_coloured(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

/// Lines with `request_id` and `trace_id` at their end, where they are written in a call. The ids are no fields of a span, since
/// most calls have none.
struct WithIds<F> {
    lines: F,
    format: LogFormat,
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(call) = current_call::with(CallRecord::clone) else {
            return self.lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        with_ids(&mut writer, self.format, line.trim_end_matches('\n'), &call)
    }
}

fn with_ids(writer: &mut Writer<'_>, format: LogFormat, line: &str, call: &CallRecord) -> fmt::Result {
    let (Some(id), Some(trace)) = (call.request_id(), call.trace()) else { return writeln!(writer, "{line}") };
    let trace_id = trace.context.trace_id();
    match (format, line.strip_suffix('}')) {
        (LogFormat::Json, Some(object)) => {
            let id = serde_json::Value::from(id.as_str());
            writeln!(writer, r#"{object},"request_id":{id},"trace_id":"{trace_id}"}}"#)
        }
        _ => writeln!(writer, "{line} request_id={id} trace_id={trace_id}"),
    }
}

#[cfg(test)]
mod tests {
    use accord_test_log::Log;
    use http::{HeaderMap, HeaderName, HeaderValue};
    use tracing::Span;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::{current_call::CurrentCall, request_id::RequestId, trace};

    /// The line of a warning in a call that is not sampled, under this request id.
    fn line(format: LogFormat, id: &'static str) -> String {
        let log = Log::default();
        let lines = written_to(log.clone(), format, false);
        let _guard = accord_test_log::set_default(tracing_subscriber::registry().with(lines));
        let given = [("x-request-id", id), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")];
        let headers = HeaderMap::from_iter(
            given.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
        );
        let record = CallRecord::begun(RequestId::of(&headers), trace::begin(&headers, None));
        let mut call = CurrentCall::new(record, Span::none());
        let entered = call.enter();
        tracing::warn!(attempt = 2, "the upstream is slow");
        drop(entered);
        log.text()
    }

    #[test]
    fn line_of_a_call_without_a_span_ends_with_its_ids() {
        let line = line(LogFormat::Human, "order-17");
        let end = "the upstream is slow attempt=2 request_id=order-17 trace_id=0af7651916cd43dd8448eb211c80319c\n";
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn json_line_of_a_call_without_a_span_has_its_ids() {
        let line: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, "a\"quoted\\id")).unwrap();
        assert_eq!(line["request_id"], "a\"quoted\\id");
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((&line["attempt"], &line["message"]), (&2.into(), &"the upstream is slow".into()));
    }

    #[test]
    fn log_is_coloured_on_a_terminal_unless_no_color_is_set() {
        assert!(is_coloured(true, None));
        assert!(is_coloured(true, Some(OsStr::new(""))));
        assert!(!is_coloured(true, Some(OsStr::new("1"))));
        assert!(!is_coloured(false, None));
    }
}
