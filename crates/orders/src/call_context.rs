//! What travels from a call that a service handles to the calls that it makes for it: whose call it is, how long it may still
//! take, and the names under which it is logged and traced. It needs `tonic` alone: copy it into a service of your own.
//!
//! Cancellation needs nothing: when the caller leaves, or its time is over, the server drops the handler's future, and with it
//! the calls that it awaits. What a handler spawns goes on.

use std::{
    error::Error,
    iter::successors,
    time::{Duration, Instant},
};

use tonic::{
    Code, Request, Status, TimeoutExpired,
    metadata::{AsciiMetadataValue, MetadataMap},
    service::Interceptor,
};

/// What is passed on as it came.
const PASSED_ON: [&str; 5] = ["x-accord-passport", "x-accord-criticality", "x-request-id", "traceparent", "tracestate"];

/// With `-1`, the answer of a hop that retried in vain: no other hop is to retry.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The context of one call: an interceptor for the clients with which further calls are made for it.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    metadata: Vec<(&'static str, AsciiMetadataValue)>,
    ends: Option<Instant>,
}

impl CallContext {
    /// Reads the metadata of a call; at once when it arrives, since its time runs from there. `bearer` is `Bearer` and the access
    /// token of the service itself.
    pub(crate) fn new(incoming: &MetadataMap, bearer: AsciiMetadataValue) -> Self {
        let passed_on = PASSED_ON.iter().filter_map(|name| Some((*name, incoming.get(*name)?.clone())));
        let metadata = passed_on.chain([("authorization", bearer)]).collect();
        let timeout = incoming.get("grpc-timeout").and_then(|value| parse_timeout(value.to_str().ok()?));
        Self { metadata, ends: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    /// Sends the trace context of a span of the service, in the place of the one that came.
    pub(crate) fn with_traceparent(mut self, traceparent: AsciiMetadataValue) -> Self {
        self.metadata.retain(|(name, _)| *name != "traceparent");
        self.metadata.push(("traceparent", traceparent));
        self
    }
}

impl Interceptor for CallContext {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(ends) = self.ends {
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(deadline_exceeded());
            }
            request.set_timeout(left);
        }
        for (name, value) in &self.metadata {
            request.metadata_mut().insert(*name, value.clone());
        }
        Ok(request)
    }
}

/// The failure of an inner call as the answer to the outer one: its code, message and details. Of its metadata only the pushback
/// goes on; the rest, such as its `content-type`, belongs to the inner answer.
pub(crate) fn pass_on(failure: &Status) -> Status {
    // What tonic's client says when its timer is the first to see that the time is over.
    if successors(failure.source(), |error| (*error).source()).any(<dyn Error>::is::<TimeoutExpired>) {
        return deadline_exceeded();
    }
    let mut metadata = MetadataMap::new();
    if let Some(pushback) = failure.metadata().get(PUSHBACK) {
        metadata.insert(PUSHBACK, pushback.clone());
    }
    Status::with_details_and_metadata(failure.code(), failure.message(), failure.details().to_vec().into(), metadata)
}

fn deadline_exceeded() -> Status {
    Status::new(Code::DeadlineExceeded, "the call's deadline has passed")
}

/// A `grpc-timeout`: one to eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount =
        digits.parse().ok().filter(|_| digits.len() <= 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    match unit {
        "H" => Some(Duration::from_hours(amount)),
        "M" => Some(Duration::from_mins(amount)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INCOMING: [(&str, &str); 6] = [
        ("authorization", "Bearer somebody's"),
        ("x-accord-passport", "passport"),
        ("x-request-id", "order-17"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "vendor=one"),
        ("idempotency-key", "once"),
    ];

    fn metadata(pairs: &[(&'static str, &str)]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (name, value) in pairs {
            metadata.insert(*name, value.parse().unwrap());
        }
        metadata
    }

    fn context(incoming: &[(&'static str, &str)]) -> CallContext {
        CallContext::new(&metadata(incoming), AsciiMetadataValue::from_static("Bearer own"))
    }

    fn sent(mut context: CallContext) -> Result<MetadataMap, Status> {
        context.call(Request::new(())).map(|request| request.metadata().clone())
    }

    #[test]
    fn passport_request_id_and_trace_are_passed_on_under_the_own_token() {
        let sent = sent(context(&INCOMING)).unwrap();
        let expected = metadata(&[&INCOMING[1..5], &[("authorization", "Bearer own")]].concat());
        assert_eq!(sent.into_headers(), expected.into_headers());
    }

    #[test]
    fn traceparent_of_an_own_span_takes_the_place_of_the_one_that_came() {
        let own = AsciiMetadataValue::from_static("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01");
        let sent = sent(context(&INCOMING).with_traceparent(own.clone())).unwrap();
        assert_eq!(sent.get_all("traceparent").iter().collect::<Vec<_>>(), [&own]);
    }

    #[test]
    fn timeout_sent_is_what_is_left_at_that_moment() {
        let mut context = context(&[("grpc-timeout", "10S")]);
        context.ends = context.ends.and_then(|ends| ends.checked_sub(Duration::from_secs(4)));
        let timeout = sent(context).unwrap();
        let left = parse_timeout(timeout.get("grpc-timeout").unwrap().to_str().unwrap()).unwrap();
        assert!((Duration::from_secs(1)..=Duration::from_secs(6)).contains(&left), "{left:?}");
    }

    #[test]
    fn call_after_the_deadline_is_not_made() {
        assert_eq!(sent(context(&[("grpc-timeout", "0m")])).unwrap_err().code(), Code::DeadlineExceeded);
    }

    #[test]
    fn call_without_a_timeout_sends_none() {
        assert!(!sent(context(&INCOMING)).unwrap().contains_key("grpc-timeout"));
    }

    #[test]
    fn malformed_timeout_is_none() {
        for text in ["", "S", "5", "5s", "+5S", "-5S", "123456789S", "5\u{b5}"] {
            assert_eq!(parse_timeout(text), None, "{text:?}");
        }
    }

    #[test]
    fn failure_is_passed_on_with_its_pushback_and_no_other_metadata() {
        let inner = metadata(&[(PUSHBACK, "-1"), ("content-type", "application/grpc"), ("x-request-id", "inner")]);
        let failure = Status::with_details_and_metadata(Code::Unavailable, "down", vec![1].into(), inner);
        let answer = pass_on(&failure);
        assert_eq!((answer.code(), answer.message(), answer.details()), (Code::Unavailable, "down", &[1][..]));
        assert_eq!(answer.metadata().clone().into_headers(), metadata(&[(PUSHBACK, "-1")]).into_headers());
    }

    #[test]
    fn timeout_of_the_client_is_deadline_exceeded() {
        let failure = Status::from_error(Box::new(TimeoutExpired(())));
        assert_eq!((failure.code(), pass_on(&failure).code()), (Code::Cancelled, Code::DeadlineExceeded));
    }
}
