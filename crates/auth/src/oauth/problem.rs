//! Errors as OAuth spells them (RFC 6749, section 5.2): the one place where a denial becomes one.

use std::time::Duration;

use accord_token::Refusal;
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::domain::{denial::Denial, device::DeviceError};

/// When to try again after what is over soon.
const SOON: Duration = Duration::from_secs(1);

/// When to try again where codes wait to be approved.
const LATER: Duration = Duration::from_mins(1);

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// Its name in the registry of OAuth's errors.
    pub(super) error: &'static str,
    /// What a developer should know. No value that was sent stands in it.
    pub(super) description: String,
    retry_after: Option<Duration>,
    /// How to authenticate; with 401 alone.
    challenge: Option<&'static str>,
}

impl Problem {
    fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        Self { status, error, description: description.into(), retry_after: None, challenge: None }
    }

    /// The request is not what the RFC says.
    pub(super) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// The body is over its bound.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "the body has more than 32 KiB")
    }

    /// Another error of the token endpoint.
    pub(super) fn bad(error: &'static str, description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, description)
    }

    /// The client did not authenticate, or not rightly.
    pub(super) fn invalid_client(description: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::UNAUTHORIZED, "invalid_client", description);
        Self { challenge: Some("Basic realm=\"accord\", charset=\"UTF-8\""), ..problem }
    }

    /// The token does not go as far (RFC 6750, section 3.1).
    pub(super) fn insufficient_scope() -> Self {
        Self::new(StatusCode::FORBIDDEN, "insufficient_scope", "the token's principal lacks the permission")
    }

    /// A denial of what a client authenticates with.
    pub(super) fn of_client(denial: Denial) -> Self {
        match denial {
            Denial::Credential => Self::invalid_client("the client is not known, or its credential is wrong"),
            other => Self::of_grant(other),
        }
    }

    /// A denial of what a client asks for.
    pub(super) fn of_grant(denial: Denial) -> Self {
        let message = denial.to_string();
        match denial {
            Denial::Credential | Denial::Reused | Denial::SecondFactorMissing => Self::bad("invalid_grant", message),
            Denial::Caller(Refusal::PermissionMissing) => Self::bad(
                "unauthorized_client",
                "the client lacks the permission; a policy of auth grants it to a role",
            ),
            // RFC 6750, section 3.1.
            Denial::Caller(_) => {
                let problem = Self::new(StatusCode::UNAUTHORIZED, "invalid_token", message);
                Self { challenge: Some("Bearer error=\"invalid_token\""), ..problem }
            }
            // RFC 8693, section 2.2.2.
            Denial::Field("audience", _) => Self::bad("invalid_target", message),
            Denial::Field("scope", _) => Self::bad("invalid_scope", message),
            Denial::Subject(_)
            | Denial::Foreign(_)
            | Denial::Actor(_)
            | Denial::ActorChainTooLong(_)
            | Denial::TooLong
            | Denial::SecondFactorPresent
            | Denial::Field(..) => Self::invalid_request(message),
            Denial::Throttled(wait) => {
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", message);
                Self { retry_after: Some(wait), ..problem }
            }
            Denial::Store(error) => {
                // What the engine says may quote values: it belongs into the log of the operator, not into an answer.
                error.log();
                Self::unavailable("auth can't reach its store")
            }
            Denial::Overloaded(_) | Denial::NoKey | Denial::Key | Denial::IssuerUnavailable(_) => {
                Self::unavailable(message)
            }
        }
    }

    /// A denial of a token of another issuer: all of them are errors of the request (RFC 8693, section 2.2.2).
    pub(super) fn of_foreign(denial: Denial) -> Self {
        match denial {
            Denial::Credential => Self::invalid_request("the token's subject is not known here, or may not log in"),
            other => Self::of_grant(other),
        }
    }

    /// Why a device gets no code, or no tokens yet (RFC 8628, section 3.5).
    pub(super) fn of_device(error: DeviceError) -> Self {
        let message = error.to_string();
        match error {
            DeviceError::Denied(denial) => Self::of_grant(denial),
            DeviceError::Client => Self::bad("unauthorized_client", message),
            DeviceError::Pending => Self::bad("authorization_pending", message),
            DeviceError::SlowDown => Self::bad("slow_down", message),
            DeviceError::Expired => Self::bad("expired_token", message),
            DeviceError::Refused => Self::bad("access_denied", message),
            DeviceError::TooMany => {
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", message);
                Self { retry_after: Some(LATER), ..problem }
            }
        }
    }

    /// A denial as people read it.
    pub(super) fn of_page(denial: Denial) -> Self {
        match denial {
            Denial::Credential => Self::new(
                StatusCode::UNAUTHORIZED,
                "access_denied",
                "The name or the password is wrong, or the code of your app is.",
            ),
            Denial::SecondFactorMissing => {
                Self::new(StatusCode::UNAUTHORIZED, "access_denied", "The code of your app is needed as well.")
            }
            Denial::Field("user_code", why) => Self::bad("invalid_request", format!("The code {why}.")),
            other => Self::of_grant(other),
        }
    }

    /// There is no page, since no client may ask for codes.
    pub(super) fn no_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request", "There are no codes to approve here.")
    }

    /// The status, for a page that says the same.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// When to try again, where that is known.
    pub(super) fn retry_after(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from(whole_seconds(self.retry_after?)))
    }

    fn unavailable(description: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description);
        Self { retry_after: Some(SOON), ..problem }
    }
}

/// Rounded up: whoever comes back earlier is refused again.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after();
        let Self { status, error, description, challenge, .. } = self;
        let body = Json(json!({"error": error, "error_description": description}));
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(wait) = retry_after {
            headers.insert(header::RETRY_AFTER, wait);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::password::Overloaded;
    use accord_token::InvalidTokenReason;

    fn told(problem: &Problem) -> (u16, &'static str) {
        (problem.status.as_u16(), problem.error)
    }

    #[test]
    fn each_denial_has_its_error_and_status() {
        for (denial, wanted) in [
            (Denial::Store(sqlx::Error::PoolClosed.into()), (503, "temporarily_unavailable")),
            (Denial::Caller(Refusal::Revoked), (401, "invalid_token")),
            (Denial::Caller(Refusal::PermissionMissing), (400, "unauthorized_client")),
            (Denial::Subject(Refusal::Invalid(InvalidTokenReason::Type)), (400, "invalid_request")),
            (Denial::Actor(Refusal::Expired), (400, "invalid_request")),
            (Denial::ActorChainTooLong(String::new()), (400, "invalid_request")),
            (Denial::Foreign(Refusal::Expired), (400, "invalid_request")),
            (Denial::IssuerUnavailable(String::new()), (503, "temporarily_unavailable")),
            (Denial::Credential, (400, "invalid_grant")),
            (Denial::Reused, (400, "invalid_grant")),
            (Denial::Throttled(SOON), (429, "temporarily_unavailable")),
            (Denial::Overloaded(Overloaded), (503, "temporarily_unavailable")),
            (Denial::Field("audience", "is wrong"), (400, "invalid_target")),
            (Denial::Field("scope", "is wrong"), (400, "invalid_scope")),
            (Denial::Field("other", "is wrong"), (400, "invalid_request")),
            (Denial::TooLong, (400, "invalid_request")),
            (Denial::NoKey, (503, "temporarily_unavailable")),
            (Denial::Key, (503, "temporarily_unavailable")),
        ] {
            let name = format!("{denial:?}");
            assert_eq!(told(&Problem::of_grant(denial)), wanted, "{name}");
        }
    }

    #[test]
    fn wrong_client_is_challenged_and_told_nothing_of_what_was_wrong() {
        let response = Problem::of_client(Denial::Credential).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "));
    }

    #[test]
    fn throttled_client_is_told_when_to_come_back_in_whole_seconds() {
        let response = Problem::of_grant(Denial::Throttled(Duration::from_millis(1_500))).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn store_error_is_not_quoted_to_callers() {
        let problem = Problem::of_grant(Denial::Store(sqlx::Error::PoolClosed.into()));
        assert_eq!(problem.description, "auth can't reach its store");
    }
}
