//! The status that ends a gRPC call, read from metadata. What can't be read in it is left out; its code never is.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use tonic::{Code, Status};

const CODE: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
const DETAILS: &str = "grpc-status-details-bin";

/// Receivers take base64 with and without padding (gRPC over HTTP/2, "Custom-Metadata").
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The status in the trailers of a finished call, or in the head of an answer without a body. The metadata beside it is not
/// part of it.
pub fn status(head: &HeaderMap, trailers: Option<&HeaderMap>) -> Option<Status> {
    read(trailers.filter(|trailers| trailers.contains_key(CODE)).unwrap_or(head))
}

/// Whether metadata says how a call ended, with one of the codes that there are. A client may give its whole connection up
/// over anything else.
pub fn has_status(metadata: &HeaderMap) -> bool {
    code(metadata).is_some()
}

/// The code that metadata says, if it is one of those that there are.
pub fn code(metadata: &HeaderMap) -> Option<Code> {
    match metadata.get(CODE).map(HeaderValue::as_bytes)? {
        [digit @ b'0'..=b'9'] => Some(Code::from_i32((digit - b'0').into())),
        [b'1', digit @ b'0'..=b'6'] => Some(Code::from_i32((10 + digit - b'0').into())),
        _ => None,
    }
}

fn read(metadata: &HeaderMap) -> Option<Status> {
    let code = code(metadata)?;
    let message = metadata.get(MESSAGE).map(HeaderValue::as_bytes).unwrap_or_default();
    // An escape that is none stands for itself; a message is never worth more than the code.
    let message = percent_decode(message).decode_utf8_lossy();
    let details = metadata.get(DETAILS).and_then(|value| BASE64.decode(value.as_bytes()).ok()).unwrap_or_default();
    Some(Status::with_details(code, message, Bytes::from(details)))
}

/// Takes details that are none out of metadata that is passed on: some clients give up the call over them.
pub fn strip_unreadable(metadata: &mut HeaderMap) {
    if metadata.get(DETAILS).is_some_and(|value| BASE64.decode(value.as_bytes()).is_err()) {
        metadata.remove(DETAILS);
    }
}

/// Takes the status, and what else is part of the answer's frame, out of its metadata.
pub(crate) fn strip(metadata: &mut HeaderMap) {
    for name in [CODE, MESSAGE, DETAILS, "grpc-encoding", "content-type"] {
        metadata.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn of(said: &[(&'static str, &'static str)]) -> Option<Status> {
        let pairs = said.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        status(&pairs.collect(), None)
    }

    #[test]
    fn status_is_read_with_message_and_details() {
        let status = of(&[(CODE, "5"), (MESSAGE, "no%20%C3%A4pfel"), (DETAILS, "CAU")]).unwrap();
        assert_eq!((status.code(), status.message(), status.details()), (Code::NotFound, "no äpfel", &[8, 5][..]));
        assert_eq!(of(&[(CODE, "5"), (DETAILS, "CAU=")]).unwrap().details(), [8, 5]);
    }

    #[test]
    fn unreadable_details_and_escapes_leave_code_and_message() {
        let status = of(&[(CODE, "3"), (MESSAGE, "100% of %zz"), (DETAILS, "!!!")]).unwrap();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "100% of %zz"));
        assert!(status.details().is_empty());
    }

    #[test]
    fn unknown_grpc_status_is_no_status() {
        for code in ["17", "-1", "x", "", "00", "007"] {
            assert!(of(&[(CODE, code)]).is_none(), "{code:?}");
        }
        assert_eq!(of(&[(CODE, "16")]).unwrap().code(), Code::Unauthenticated);
    }

    #[test]
    fn trailers_come_before_the_head() {
        let said = |code: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(CODE), HeaderValue::from_static(code))])
        };
        assert_eq!(status(&said("0"), Some(&said("7"))).unwrap().code(), Code::PermissionDenied);
        assert_eq!(status(&said("7"), Some(&HeaderMap::new())).unwrap().code(), Code::PermissionDenied);
    }
}
