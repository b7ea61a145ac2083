//! The query of a GET: the message of the request, and how it is written.

use crate::fault::Fault;
use accord_api::accord::fault::v1::Reason;
use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::Uri;
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// With padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The parameters of a call.
pub(in crate::protocol) struct Query<'a> {
    message: &'a str,
    encoding: &'a str,
    is_base64: bool,
    compression: Option<&'a str>,
    version: Option<&'a str>,
}

impl<'a> Query<'a> {
    /// None where it does not say what a call has to say: its message, and how that is written.
    pub(in crate::protocol) fn of(uri: &'a Uri) -> Option<Self> {
        let query = uri.query()?;
        let get = |wanted: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find_map(|(name, value)| (name == wanted).then_some(value))
        };
        Some(Self {
            message: get("message")?,
            encoding: get("encoding")?,
            is_base64: get("base64") == Some("1"),
            compression: get("compression"),
            version: get("connect"),
        })
    }

    /// How the message is written.
    pub(super) fn encoding(&self) -> &'a str {
        self.encoding
    }

    /// How it is compressed.
    pub(super) fn compression(&self) -> Option<&'a str> {
        self.compression
    }

    /// The version of the protocol.
    pub(super) fn version(&self) -> Option<&'a str> {
        self.version
    }

    /// The message as it was written, maybe compressed.
    pub(in crate::protocol) fn message(&self) -> Result<Vec<u8>, Fault> {
        // As forms write it: a space may be a plus.
        let text = if self.is_base64 { Cow::from(self.message) } else { self.message.replace('+', " ").into() };
        let plain: Vec<u8> = percent_decode(text.as_bytes()).collect();
        if !self.is_base64 {
            return Ok(plain);
        }
        let problem = "the query says `base64=1`, and `message` is not base64 for URLs";
        BASE64.decode(plain).map_err(|_| Fault::violation(Reason::RequestMalformed, "", problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(query: &str) -> Option<Vec<u8>> {
        Query::of(&format!("/a.B/C?{query}").parse().unwrap())?.message().ok()
    }

    #[test]
    fn message_is_read_percent_encoded_or_in_base64_with_or_without_padding() {
        assert_eq!(message("connect=v1&encoding=json&message=%7B%22a%22:+1%7D").unwrap(), b"{\"a\": 1}");
        for base64 in ["-_8", "-_8=", "-_8%3D"] {
            assert_eq!(
                message(&format!("message={base64}&base64=1&encoding=proto")).unwrap(),
                [0xfb, 0xff],
                "{base64}"
            );
        }
        assert_eq!(message("message=%2B%2F&base64=1&encoding=proto"), None, "which is the other alphabet");
    }

    #[test]
    fn query_without_message_or_encoding_is_no_call() {
        for query in ["", "message=a", "encoding=json", "connect=v1", "messages=a&encoding=json"] {
            assert_eq!(message(query), None, "{query}");
        }
    }
}
