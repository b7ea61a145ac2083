//! Error answers with a stable, machine-readable reason (`google.rpc.ErrorInfo`, domain `accord`).
//!
//! Every error answer of this project is built here: from its reason, which brings its code, and what a caller can do
//! something with. Errors that cross functions stay small; they become a status where they leave the process.

mod codes;

use std::{error::Error, iter::successors, time::Duration};

use accord_api::accord::fault::v1::Reason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use codes::{code, codes};

/// The domain of every reason of this project.
pub const DOMAIN: &str = "accord";

const PREFIX: &str = "REASON_";

/// A status in the making: a reason, its code, and `google.rpc` details.
#[derive(Debug)]
pub struct StatusBuilder {
    reason: Reason,
    code: Code,
    message: String,
    metadata: Vec<(String, String)>,
    details: ErrorDetails,
}

impl StatusBuilder {
    /// A status with the usual code of `reason`.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let (message, details) = (message.into(), ErrorDetails::new());
        Self { reason, code: code(reason), message, metadata: Vec::new(), details }
    }

    /// With another code, which has to be one of the reason's [`codes`].
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        debug_assert!(codes(self.reason).contains(&code), "{:?} never comes with {code:?}", self.reason);
        self.code = code;
        self
    }

    /// With a fact about the reason (`ErrorInfo.metadata`).
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// With the time after which to try again (`RetryInfo`).
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.details.set_retry_info(Some(delay));
        self
    }

    /// With a field of the request and what is wrong with it (`BadRequest`). An empty name is the whole request.
    #[must_use]
    pub fn field(mut self, name: &str, problem: &str) -> Self {
        self.details.add_bad_request_violation(name, problem);
        self
    }

    /// With the thing that the call is about (`ResourceInfo`).
    #[must_use]
    pub fn resource(mut self, kind: &str, name: &str) -> Self {
        self.details.set_resource_info(kind, name, "", "");
        self
    }

    /// The status.
    pub fn build(mut self) -> Status {
        let metadata: std::collections::HashMap<_, _> = self.metadata.into_iter().collect();
        self.details.set_error_info(name(self.reason), DOMAIN, metadata);
        Status::with_error_details(self.code, self.message, self.details)
    }
}

/// A status that carries `reason` and its usual code.
pub fn status(reason: Reason, message: impl Into<String>) -> Status {
    StatusBuilder::new(reason, message).build()
}

/// The reason that a status carries, if it is one of this project's.
pub fn reason_of(status: &Status) -> Option<Reason> {
    let details = status.get_details_error_info()?;
    (details.domain == DOMAIN).then(|| Reason::from_str_name(&format!("{PREFIX}{}", details.reason)))?
}

/// A reason as it stands in `ErrorInfo.reason`: the enum's name without `REASON_`.
pub fn name(reason: Reason) -> String {
    let name = reason.as_str_name();
    name.strip_prefix(PREFIX).unwrap_or(name).to_owned()
}

/// Why a status says no, for logs and figures: the name of its reason, or of its code where it carries none of this project's.
pub fn reason_or_code(status: &Status) -> String {
    reason_of(status).map_or_else(|| code_name(status.code()).to_owned(), name)
}

/// What lies at the bottom of a failure: of a connection that could not be made, the layers above say only that. For logs,
/// not for callers.
pub fn cause(status: &Status) -> String {
    let causes = successors(status.source(), |error| (*error).source());
    causes.last().map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// A status code as gRPC spells it, such as `DEADLINE_EXCEEDED`.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[tokio::test]
    async fn cause_of_a_failed_connection_is_the_system_error() {
        let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let failure = health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap_err();
        assert!(cause(&failure).contains("refused"), "{}", cause(&failure));
        assert_eq!(cause(&Status::internal("plain")), "plain");
    }

    #[test]
    fn reason_survives_encoding_as_a_status() {
        let refusal = StatusBuilder::new(Reason::RateLimited, "too many calls")
            .metadata("limit", "10")
            .retry_after(Duration::from_secs(2))
            .build();
        assert_eq!((refusal.code(), reason_of(&refusal)), (Code::ResourceExhausted, Some(Reason::RateLimited)));
        let details = refusal.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "RATE_LIMITED");
        assert_eq!(details.error_info().unwrap().metadata["limit"], "10");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
    }

    #[test]
    fn builder_carries_field_violations_and_the_resource() {
        let refusal = StatusBuilder::new(Reason::FieldInvalid, "two fields")
            .field("page.size", "is negative")
            .field("", "is empty")
            .resource("method", "pkg.Service/Get")
            .build();
        let details = refusal.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        let violations: Vec<_> = violations.iter().map(|one| (&*one.field, &*one.description)).collect();
        assert_eq!(violations, [("page.size", "is negative"), ("", "is empty")]);
        let resource = details.resource_info().unwrap();
        assert_eq!((&*resource.resource_type, &*resource.resource_name), ("method", "pkg.Service/Get"));
    }

    #[test]
    fn reason_or_code_is_a_stable_name_and_never_the_message() {
        let own = status(Reason::CacheUnavailable, "the cache does not answer");
        assert_eq!(reason_or_code(&own), "CACHE_UNAVAILABLE");
        assert_eq!(reason_or_code(&Status::deadline_exceeded("too late")), "DEADLINE_EXCEEDED");
    }

    #[test]
    fn other_code_of_a_reason_replaces_the_usual_one() {
        let about_another = StatusBuilder::new(Reason::TokenRevoked, "").code(Code::InvalidArgument).build();
        assert_eq!(
            (about_another.code(), status(Reason::TokenRevoked, "").code()),
            (Code::InvalidArgument, Code::Unauthenticated)
        );
    }

    #[test]
    fn error_info_of_another_domain_is_no_reason_of_ours() {
        let details = ErrorDetails::with_error_info("RATE_LIMITED", "example.com", HashMap::new());
        assert_eq!(reason_of(&Status::with_error_details(Code::Unavailable, "", details)), None);
        assert_eq!(reason_of(&Status::internal("plain")), None);
    }
}
