//! What a proxy is answered, whatever it speaks.

use accord_runtime::fault;
use accord_token::{Kind, PASSPORT_HEADER};
use http::{StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::credential::API_KEY;
use crate::domain::admit::Admitted;

/// What says who a request is from, to services that verify no passport themselves. Callers' own are replaced or taken out.
const SUBJECT: &str = "x-accord-subject";
const KIND: &str = "x-accord-kind";
const TENANT: &str = "x-accord-tenant";

/// Why a request was refused, by its stable reason.
pub(super) const REASON: &str = "x-accord-reason";

/// What is not visible ASCII, and `%` itself (RFC 3986, 2.1).
const NOT_VISIBLE: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// What callers may not say themselves, or what is nobody's business further inward.
const REMOVED: [&str; 12] = [
    "authorization",
    "proxy-authorization",
    API_KEY,
    PASSPORT_HEADER,
    SUBJECT,
    KIND,
    TENANT,
    // What some servers read as the same name.
    "x_accord_passport",
    "x_accord_subject",
    "x_accord_kind",
    "x_accord_tenant",
    "x_api_key",
];

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// 200 lets the request pass.
    pub status: StatusCode,
    /// The code that goes with it.
    pub code: Code,
    /// What the request gets on its way, or the caller with the refusal.
    pub headers: Vec<(&'static str, String)>,
    /// What the request loses on its way.
    pub removed: Vec<&'static str>,
    /// What the caller is told.
    pub message: String,
}

impl Answer {
    /// Of what was decided.
    pub(super) fn of(admitted: Result<Admitted, Status>) -> Self {
        let mut answer = Self {
            status: StatusCode::FORBIDDEN,
            code: Code::PermissionDenied,
            headers: Vec::new(),
            removed: Vec::new(),
            message: String::new(),
        };
        match admitted {
            Ok(admitted) => answer.pass(admitted),
            Err(status) => answer.refuse(&status),
        }
        answer
    }

    /// Only this makes an answer that lets a request pass.
    fn pass(&mut self, admitted: Admitted) {
        if let Some((subject, passport)) = admitted.identity {
            let kind = if subject.claims.kind == Kind::User { "user" } else { "service" };
            self.headers = vec![
                (PASSPORT_HEADER, passport.token),
                (SUBJECT, escaped(&subject.claims.sub)),
                (KIND, kind.to_owned()),
                (TENANT, escaped(&subject.claims.tenant)),
            ];
            // An empty value is no header, and the caller's own must not stand in its place.
            self.headers.retain(|(_, value)| !value.is_empty());
        }
        self.removed = REMOVED.into_iter().filter(|name| self.headers.iter().all(|(set, _)| set != name)).collect();
        (self.status, self.code) = (StatusCode::OK, Code::Ok);
    }

    fn refuse(&mut self, status: &Status) {
        // A refusal that says OK would let the request pass.
        if status.code() != Code::Ok {
            self.code = status.code();
        }
        self.status = http_status(self.code);
        status.message().clone_into(&mut self.message);
        self.headers = vec![(REASON, fault::reason_or_code(status))];
        if self.status == StatusCode::UNAUTHORIZED {
            self.headers.push((header::WWW_AUTHENTICATE.as_str(), "Bearer".to_owned()));
        }
        if let Some(delay) = status.get_details_retry_info().and_then(|retry| retry.retry_delay) {
            self.headers.push((header::RETRY_AFTER.as_str(), delay.as_secs().max(1).to_string()));
        }
    }
}

/// The refusals that proxies know; everything else is 403.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unimplemented | Code::NotFound => StatusCode::NOT_FOUND,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable | Code::DeadlineExceeded | Code::Internal => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    }
}

/// A name as a header's value.
fn escaped(name: &str) -> String {
    utf8_percent_encode(name, NOT_VISIBLE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_with_the_code_ok_is_forbidden() {
        let answer = Answer::of(Err(Status::ok("a slip")));
        assert_eq!((answer.status, answer.code), (StatusCode::FORBIDDEN, Code::PermissionDenied));
    }

    #[test]
    fn no_code_but_ok_lets_a_request_pass() {
        for code in 1..=16 {
            let answer = Answer::of(Err(Status::new(Code::from_i32(code), "")));
            assert!(answer.status.is_client_error() || answer.status.is_server_error(), "{code}");
            assert_ne!(answer.code, Code::Ok, "{code}");
        }
    }

    #[test]
    fn request_without_an_identity_loses_every_identity_header() {
        let answer = Answer::of(Ok(Admitted { identity: None }));
        assert_eq!((answer.status, answer.removed), (StatusCode::OK, REMOVED.to_vec()));
    }

    #[test]
    fn name_that_is_no_ascii_is_percent_encoded() {
        assert_eq!(escaped("zoë%1"), "zo%C3%AB%251");
    }
}
