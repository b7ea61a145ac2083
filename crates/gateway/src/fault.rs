//! An answer of the gateway's own: what went wrong, whose fault it was, and what the caller can do.

use accord_api::accord::fault::v1::Reason;
use accord_runtime::{
    call_record::{CallRecord, WaitsFor},
    fault::{self, StatusBuilder},
    request::RequestId,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use opentelemetry::{KeyValue, metrics::Counter};
use prost::Message as _;
use prost_types::Any;
use std::{mem, time::Duration};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{StatusExt, pb};

use crate::declared_metrics::FAULTS;

/// Tells a caller which part of the mesh failed, where it was not the handler.
pub(crate) const COMPONENT_HEADER: HeaderName = HeaderName::from_static("x-accord-fault");

const REQUEST_INFO: &str = "type.googleapis.com/google.rpc.RequestInfo";

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    /// The gateway refused or failed.
    Gateway,
    /// Auth refused, or can't be reached.
    Auth,
    /// The cache failed.
    Cache,
    /// The upstream can't be reached, or its answer can't be used.
    Upstream,
}

impl Component {
    /// Its name in headers, details and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Auth => "auth",
            Self::Cache => "cache",
            Self::Upstream => "upstream",
        }
    }
}

/// A call that ends here. Boxed, because a call that succeeds should not carry its weight.
#[derive(Debug)]
pub(crate) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: Status,
    component: Component,
    http: Option<StatusCode>,
    headers: HeaderMap,
}

impl Fault {
    /// A fault with a stable reason.
    pub(crate) fn new(component: Component, reason: Reason, message: impl Into<String>) -> Self {
        Self::of(component, StatusBuilder::new(reason, message))
    }

    /// A fault whose status says more than a reason.
    pub(crate) fn of(component: Component, status: StatusBuilder) -> Self {
        Self::from_status(component, status.metadata("component", component.name()).build())
    }

    /// A fault that will have passed after some time.
    pub(crate) fn retry(component: Component, reason: Reason, message: impl Into<String>, after: Duration) -> Self {
        Self::of(component, StatusBuilder::new(reason, message).retry_after(after))
    }

    /// A status that another part of the mesh has already explained.
    pub(crate) fn from_status(component: Component, status: Status) -> Self {
        let retry_after = retry_after(&status);
        let fault = Self(Box::new(Inner { status, component, http: None, headers: HeaderMap::new() }));
        match retry_after {
            Some(seconds) => fault.header(http::header::RETRY_AFTER, seconds),
            None => fault,
        }
    }

    /// A request that names a field its message does not have, or gives it a value it can't hold.
    pub(crate) fn violation(reason: Reason, field: &str, problem: &str) -> Self {
        Self::violations(reason, [(field, problem)])
    }

    /// A request that breaks rules, of which the first makes the message.
    pub(crate) fn violations<'a>(reason: Reason, broken: impl IntoIterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let (field, problem) = broken.clone().into_iter().next().unwrap_or_default();
        let message = if field.is_empty() { problem.to_owned() } else { format!("`{field}`: {problem}") };
        let status = StatusBuilder::new(reason, message);
        Self::of(
            Component::Gateway,
            broken.into_iter().fold(status, |status, (field, problem)| status.field(field, problem)),
        )
    }

    /// The deadline passed, while this part of the mesh had the call.
    pub(crate) fn deadline(component: Component) -> Self {
        let message = "the deadline passed before the call was answered";
        Self::new(component, Reason::DeadlineExceeded, message)
    }

    /// The deadline of this call passed.
    pub(crate) fn late(record: &CallRecord) -> Self {
        Self::deadline(match record.waits_for() {
            WaitsFor::Itself => Component::Gateway,
            WaitsFor::Cache => Component::Cache,
            WaitsFor::Upstream => Component::Upstream,
        })
    }

    /// A defect of our own.
    pub(crate) fn defect() -> Self {
        Self::new(Component::Gateway, Reason::Internal, "a defect of the gateway ended the call")
    }

    /// A request that can't be read as the message of its method.
    pub(crate) fn unreadable() -> Self {
        Self::violation(Reason::RequestMalformed, "", "the request can't be read as the message of its method")
    }

    /// The caller went away before its request was whole.
    pub(crate) fn request_cut_off() -> Self {
        let status = StatusBuilder::new(Reason::RequestMalformed, "the request ended early").code(Code::Cancelled);
        Self::of(Component::Gateway, status)
    }

    /// An upstream's answer that is not what the contract says.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Component::Upstream, Reason::UpstreamMalformed, message)
    }

    /// An upstream's answer that came without a status: UNKNOWN, as where HTTP's status says no more (gRPC's
    /// http-grpc-status-mapping).
    pub(crate) fn without_status() -> Self {
        let message = "the upstream's answer ended without a status";
        Self::of(Component::Upstream, StatusBuilder::new(Reason::UpstreamMalformed, message).code(Code::Unknown))
    }

    /// An upstream's answer that says OK and is not the one message that its method answers with.
    pub(crate) fn not_one_message() -> Self {
        Self::malformed("the upstream's answer says OK and is not one message")
    }

    /// An upstream's answer that says it is whole and is not.
    pub(crate) fn amid_message() -> Self {
        Self::malformed("the upstream's answer ended with OK in the middle of a message")
    }

    /// The same fault with an HTTP status that says more than its code does.
    #[must_use]
    pub(crate) fn http(mut self, status: StatusCode) -> Self {
        self.0.http = Some(status);
        self
    }

    /// The same fault with a header.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Adds to the head of the answer.
    pub(crate) fn with_headers(&mut self, add: impl FnOnce(&mut HeaderMap)) {
        add(&mut self.0.headers);
    }

    /// Whether it is about an answer that can't be passed on: then the call itself was carried out.
    pub(crate) fn is_of_an_answer(&self) -> bool {
        let (code, reason) = (self.0.status.code(), fault::reason_of(&self.0.status));
        matches!(
            (code, reason),
            (_, Some(Reason::ResponseTooLarge)) | (Code::Internal, Some(Reason::UpstreamMalformed))
        )
    }

    /// Adds metadata to the status, as those see it who call in gRPC.
    pub(crate) fn insert_metadata(&mut self, name: HeaderName, value: HeaderValue) {
        let mut headers = mem::take(self.0.status.metadata_mut()).into_headers();
        headers.insert(name, value);
        *self.0.status.metadata_mut() = MetadataMap::from_headers(headers);
    }

    /// Tells the call's id (`RequestInfo`), by which it is found in logs.
    pub(crate) fn tell(&mut self, id: &RequestId) {
        let request = pb::RequestInfo { request_id: id.to_string(), ..pb::RequestInfo::default() };
        let detail = Any { type_url: REQUEST_INFO.to_owned(), value: request.encode_to_vec() };
        let more = pb::Status { details: vec![detail], ..pb::Status::default() };
        // Two encodings one after the other are one with the details of both.
        let details = [self.0.status.details(), &more.encode_to_vec()].concat();
        let (code, message) = (self.0.status.code(), self.0.status.message().to_owned());
        let metadata = mem::take(self.0.status.metadata_mut());
        self.0.status = Status::with_details_and_metadata(code, message, details.into(), metadata);
    }

    /// The gRPC status, with its details.
    pub(crate) fn status(&self) -> &Status {
        &self.0.status
    }

    /// Its reason; only its code where it is a status of another binary and carries no reason of ours.
    pub(crate) fn reason(&self) -> String {
        fault::reason_or_code(self.status())
    }

    /// The HTTP status that says more than its code does, where there is one.
    pub(crate) fn http_status(&self) -> Option<StatusCode> {
        self.0.http
    }

    /// Whose fault it was, and what else stands in the head of the answer.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        headers.extend(self.0.headers.clone());
        headers.insert(COMPONENT_HEADER, HeaderValue::from_static(self.0.component.name()));
    }
}

/// Counts the calls that ended here, by whose fault it was and why.
#[derive(Clone)]
pub(crate) struct Faults(Counter<u64>);

impl Faults {
    /// Counts from zero.
    pub(crate) fn new() -> Self {
        Self(FAULTS.counter(&accord_runtime::telemetry::meter()))
    }

    /// One more.
    pub(crate) fn count(&self, fault: &Fault) {
        let reason = KeyValue::new("reason", fault.reason());
        self.0.add(1, &[KeyValue::new("component", fault.0.component.name()), reason]);
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}
/// `Retry-After` (RFC 9110, 10.2.3) of a status that says in `RetryInfo` when to come back, in whole seconds and not too early.
pub(crate) fn retry_after(status: &Status) -> Option<HeaderValue> {
    let after = status.get_details_retry_info()?.retry_delay?;
    Some(HeaderValue::from(whole_seconds(after)))
}

/// A time in seconds, rounded up.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
