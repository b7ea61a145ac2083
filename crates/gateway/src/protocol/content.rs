//! What a body is said to be: its type, and how it is compressed (RFC 9110, 8.3 and 8.4).

use super::body::{body_fault, unsupported};
use crate::fault::Fault;
use accord_api::accord::fault::v1::Reason;
use accord_upstream::grpc::BodyError;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::io::{self, Read};

/// Types that clients send where nobody told them what the body is, as curl does.
const UNSAID: [&str; 3] = ["application/x-www-form-urlencoded", "text/plain", "application/octet-stream"];

/// Names of one JSON text per line.
const LINES: [&str; 4] = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-lines"];

/// What a browser says of the page that a request comes from.
const FROM_A_PAGE: [HeaderName; 2] = [header::ORIGIN, HeaderName::from_static("sec-fetch-site")];

/// What a body may be compressed with.
const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, zstd");

/// The most memory that a body in zstd may ask for, as a power of two (RFC 9659).
const WINDOW_LOG: u32 = 23;

/// Refuses a body that is not JSON. What is not said to be JSON is read as such from a program alone: a page of any origin may
/// make a browser send it, and only a body that is said to be JSON has to be allowed first (CORS).
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), Fault> {
    if is_taken(headers, |essence| essence == "application/json" || essence.ends_with("+json")) {
        return Ok(());
    }
    Err(unsupported("the body must be JSON, sent with `content-type: application/json`"))
}

/// The same for a body of one JSON text per line.
pub(super) fn check_stream_type(headers: &HeaderMap) -> Result<(), Fault> {
    if is_taken(headers, |essence| essence == "application/json" || LINES.contains(&essence)) {
        return Ok(());
    }
    Err(unsupported("the body must be one JSON text per line, sent with `content-type: application/x-ndjson`"))
}

fn is_taken(headers: &HeaderMap, is_json: impl Fn(&str) -> bool) -> bool {
    let essence = headers.get(header::CONTENT_TYPE).map(|value| {
        let said = value.to_str().unwrap_or("?");
        said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    });
    let is_from_a_page = FROM_A_PAGE.iter().any(|name| headers.contains_key(name));
    match essence.as_deref() {
        Some(essence) if is_json(essence) => true,
        Some(essence) => !is_from_a_page && UNSAID.contains(&essence),
        None => !is_from_a_page,
    }
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Not at all.
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// As the head of a request says. One compression at most is undone.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        let mut lines = headers.get_all(header::CONTENT_ENCODING).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Ok(Self::Identity),
            (Some(said), None) => Self::named(said.to_str().unwrap_or("?")),
            (Some(_), Some(_)) => Err(refused()),
        }
    }

    /// By its name, or by none.
    pub(super) fn named(name: &str) -> Result<Self, Fault> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(refused()),
        }
    }

    /// The body itself, of at most `limit` bytes.
    pub(super) fn decode(self, body: Bytes, limit: u64) -> Result<Bytes, Fault> {
        let read = match self {
            _ if body.is_empty() => return Ok(body),
            Self::Identity => return Ok(body),
            Self::Gzip => read(MultiGzDecoder::new(&*body), limit),
            Self::Zstd => zstd(&body).and_then(|decoder| read(decoder, limit)),
        };
        match read {
            Ok(plain) if plain.len() as u64 > limit => Err(body_fault(&BodyError::TooLarge { limit })),
            Ok(plain) => Ok(plain.into()),
            Err(_) => {
                let problem = "the body is not compressed as its `content-encoding` says";
                Err(Fault::violation(Reason::RequestMalformed, "", problem))
            }
        }
    }
}

fn refused() -> Fault {
    let message = "this `content-encoding` is not accepted; send the body with `gzip` or `zstd`, or uncompressed";
    unsupported(message).header(header::ACCEPT_ENCODING, ACCEPTED)
}

fn zstd(body: &[u8]) -> io::Result<impl Read> {
    let mut decoder = zstd::Decoder::with_buffer(body)?;
    decoder.window_log_max(WINDOW_LOG)?;
    Ok(decoder)
}

/// One byte more than the limit tells a body at the limit from one above it.
fn read(decoder: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    decoder.take(limit.saturating_add(1)).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_runtime::fault::reason_of;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    fn gzip(body: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap().into()
    }

    fn zstd(body: &[u8]) -> Bytes {
        zstd::encode_all(body, 0).unwrap().into()
    }

    #[test]
    fn body_of_a_program_that_says_no_type_is_json() {
        for said in
            [&[][..], &[("content-type", "application/x-www-form-urlencoded")], &[("content-type", "text/plain")]]
        {
            assert!(check_type(&headers(said)).is_ok(), "{said:?}");
        }
    }

    #[test]
    fn body_of_a_page_is_json_only_where_it_says_so() {
        let page = |content_type| headers(&[("origin", "https://evil.example"), ("content-type", content_type)]);
        assert!(check_type(&page("Application/JSON; charset=utf-8")).is_ok());
        for content_type in ["application/x-www-form-urlencoded", "text/plain;charset=UTF-8"] {
            assert!(check_type(&page(content_type)).is_err(), "{content_type}");
        }
        assert!(check_type(&headers(&[("sec-fetch-site", "cross-site")])).is_err());
    }

    #[test]
    fn body_of_another_type_is_refused() {
        for content_type in ["application/xml", "multipart/form-data; boundary=x"] {
            assert!(check_type(&headers(&[("content-type", content_type)])).is_err(), "{content_type}");
        }
    }

    #[test]
    fn compressed_body_is_read() {
        for (said, body) in [("gzip", gzip(b"{}")), ("zstd", zstd(b"{}")), ("identity", Bytes::from_static(b"{}"))] {
            let encoding = Encoding::of(&headers(&[("content-encoding", said)])).unwrap();
            assert_eq!(&*encoding.decode(body, 2).unwrap(), b"{}", "{said}");
        }
    }

    #[test]
    fn compressed_body_is_bounded_by_what_it_holds() {
        let zeros = vec![0; 100_000];
        for (encoding, body) in [(Encoding::Gzip, gzip(&zeros)), (Encoding::Zstd, zstd(&zeros))] {
            let fault = encoding.decode(body, 99_999).unwrap_err();
            assert_eq!(reason_of(fault.status()), Some(Reason::RequestTooLarge), "{encoding:?}");
        }
    }

    #[test]
    fn body_that_is_not_compressed_as_it_says_is_malformed() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let fault = encoding.decode(Bytes::from_static(b"{}"), 9).unwrap_err();
            assert_eq!(reason_of(fault.status()), Some(Reason::RequestMalformed), "{encoding:?}");
        }
    }

    #[test]
    fn refused_compression_names_those_that_are_accepted() {
        for said in [&[("content-encoding", "br")][..], &[("content-encoding", "gzip, gzip")]] {
            let fault = Encoding::of(&headers(said)).unwrap_err();
            let mut answer = HeaderMap::new();
            fault.add_headers(&mut answer);
            assert_eq!(answer[header::ACCEPT_ENCODING], "gzip, zstd");
        }
    }
}
