//! Error answers with a stable, machine-readable reason (`google.rpc.ErrorInfo`, domain `accord`).

use std::{collections::HashMap, error::Error, iter::successors, time::Duration};

use accord_api::accord::fault::v1::Reason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every reason of this project.
pub const DOMAIN: &str = "accord";

const PREFIX: &str = "REASON_";

/// A status that carries `reason`.
pub fn status(code: Code, reason: Reason, message: impl Into<String>) -> Status {
    status_with(code, reason, message, std::iter::empty::<(String, String)>(), None)
}

/// A status that carries `reason`, facts about it, and when to try again.
pub fn status_with<K: Into<String>, V: Into<String>>(
    code: Code,
    reason: Reason,
    message: impl Into<String>,
    metadata: impl IntoIterator<Item = (K, V)>,
    retry_after: Option<Duration>,
) -> Status {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    let mut details = ErrorDetails::with_error_info(name(reason), DOMAIN, metadata);
    if let Some(delay) = retry_after {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code, message, details)
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

/// What lies at the bottom of a failure: of a connection that could not be made, the layers above say only that. For logs,
/// not for callers.
pub fn cause(status: &Status) -> String {
    let causes = successors(status.source(), |error| (*error).source());
    causes.last().map_or_else(|| status.message().to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_cause_of_a_failed_connection_is_what_the_system_said() {
        let channel = crate::client::lazy("http://127.0.0.1:1").unwrap();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let failure = health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap_err();
        assert!(cause(&failure).contains("refused"), "{}", cause(&failure));
        assert_eq!(cause(&Status::internal("plain")), "plain");
    }

    #[test]
    fn a_reason_survives_the_way_through_a_status() {
        let refusal = status_with(
            Code::ResourceExhausted,
            Reason::RateLimited,
            "too many calls",
            [("limit", "10")],
            Some(Duration::from_secs(2)),
        );
        assert_eq!(reason_of(&refusal), Some(Reason::RateLimited));
        let details = refusal.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "RATE_LIMITED");
        assert_eq!(details.error_info().unwrap().metadata["limit"], "10");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_foreign_reason_is_not_mistaken_for_ours() {
        let details = ErrorDetails::with_error_info("RATE_LIMITED", "example.com", HashMap::new());
        assert_eq!(reason_of(&Status::with_error_details(Code::Unavailable, "", details)), None);
        assert_eq!(reason_of(&Status::internal("plain")), None);
    }
}
