//! The one table of reasons and their gRPC codes. The comments of `fault.proto` say the same to its readers.

use accord_api::accord::fault::v1::Reason::{
    self, MethodUndeclared, PermissionMissing, PrincipalKindRefused, ResourceMissing,
};
use tonic::Code::{
    self, Aborted, AlreadyExists, Cancelled, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound,
    PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable, Unimplemented, Unknown,
};

/// What a server that answers without gRPC comes to: INTERNAL, or what gRPC makes of its HTTP status.
const OF_NO_GRPC: [Code; 6] = [Internal, Unauthenticated, PermissionDenied, Unimplemented, Unavailable, Unknown];

/// What a stream that is reset comes to, by the table of gRPC over HTTP/2, "Errors".
const OF_RESET: [Code; 4] = [Internal, Cancelled, ResourceExhausted, PermissionDenied];

/// The codes that a reason may come with, the usual one first. A field may be invalid by itself, or with what is stored.
pub fn codes(reason: Reason) -> &'static [Code] {
    match reason {
        Reason::Unspecified => &[Unknown],
        // Cancelled by a caller who goes away amid its request. gRPC wants INTERNAL where nothing says how a message is compressed.
        Reason::RequestMalformed => &[InvalidArgument, Cancelled, Internal],
        Reason::FieldInvalid => &[InvalidArgument, FailedPrecondition],
        Reason::FieldUnknown
        | Reason::HeaderRefused
        | Reason::TimeoutMalformed
        | Reason::IdempotencyKeyMissing
        | Reason::IdempotencyKeyReused
        | Reason::ConsistencyTokenInvalid => &[InvalidArgument],
        Reason::ProtocolUnsupported => &[Unimplemented],
        // gRPC says UNIMPLEMENTED of a method that is called; one that is asked about is not found, and one that a
        // configuration names is its operator's to correct.
        Reason::MethodUnknown => &[Unimplemented, NotFound, FailedPrecondition],
        MethodUndeclared | PermissionMissing | PrincipalKindRefused | ResourceMissing => &[PermissionDenied],
        Reason::CredentialMissing | Reason::RefreshReused | Reason::PassportInvalid | Reason::SecondFactorRequired => {
            &[Unauthenticated]
        }
        // UNAUTHENTICATED is about the caller's own token. One that a call is about is an argument of it.
        Reason::CredentialInvalid | Reason::TokenExpired | Reason::TokenRevoked => &[Unauthenticated, InvalidArgument],
        Reason::RequestTooLarge
        | Reason::LoginThrottled
        | Reason::RateLimited
        | Reason::Overloaded
        | Reason::UpstreamOverloaded
        | Reason::ResponseTooLarge => &[ResourceExhausted],
        Reason::UpstreamReset => &OF_RESET,
        Reason::UpstreamUnknown
        | Reason::ActorChainTooLong
        | Reason::TokenTooLong
        | Reason::AnswerNotStored
        | Reason::NamespaceReadOnly => &[FailedPrecondition],
        Reason::ContractPending
        | Reason::RevocationsStale
        | Reason::AuthUnavailable
        | Reason::UpstreamUnavailable
        | Reason::CacheUnavailable
        | Reason::InvalidationLogUnavailable
        | Reason::IdempotencyUnavailable => &[Unavailable],
        Reason::DeadlineExceeded | Reason::StreamIdle | Reason::DeadlineTooShort => &[DeadlineExceeded],
        Reason::UpstreamMalformed => &OF_NO_GRPC,
        Reason::NamespaceUnknown | Reason::KeyAbsent | Reason::SubjectUnknown => &[NotFound],
        Reason::SubjectExists => &[AlreadyExists],
        Reason::IdempotencyInFlight | Reason::VersionConflict | Reason::WatcherTooSlow => &[Aborted],
        Reason::DryRun => &[Cancelled],
        Reason::Internal => &[Internal],
    }
}

/// The usual code of a reason.
pub fn code(reason: Reason) -> Code {
    codes(reason)[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::code_name;

    const PROTO: &str = include_str!("../../../../proto/accord/fault/v1/fault.proto");

    /// Each reason of the proto, with the codes that stand before the colon of its comment.
    fn documented() -> Vec<(Reason, Vec<&'static str>)> {
        let (mut found, mut comment) = (Vec::new(), String::new());
        for line in PROTO.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("//") {
                comment.push_str(text);
                continue;
            }
            if let Some((name, _)) = line.strip_suffix(';').and_then(|line| line.split_once(" = "))
                && let Some(reason) = Reason::from_str_name(name)
            {
                found.push((reason, codes_named(comment.split(':').next().unwrap())));
            }
            comment.clear();
        }
        found
    }

    fn codes_named(text: &str) -> Vec<&'static str> {
        let words = text.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_');
        let names: Vec<_> = (1..=16).map(|code| code_name(Code::from_i32(code))).collect();
        words.filter_map(|word| names.iter().find(|name| **name == word).copied()).collect()
    }

    #[test]
    fn every_reason_has_a_code() {
        let reasons: Vec<_> = (0..1000).filter_map(|number| Reason::try_from(number).ok()).collect();
        assert_eq!(reasons.len(), documented().len(), "the proto is read whole");
        for reason in reasons {
            assert!(!codes(reason).is_empty() && !codes(reason).contains(&Code::Ok), "{reason:?}");
        }
    }

    #[test]
    fn table_matches_the_codes_that_the_proto_documents() {
        for (reason, documented) in documented() {
            let table: Vec<_> = codes(reason).iter().map(|code| code_name(*code)).collect();
            assert_eq!(table, documented, "{reason:?}");
        }
    }
}
