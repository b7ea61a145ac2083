//! What reads the bytes that callers and upstreams send, as functions: for whoever feeds it bytes of their own, as the fuzz
//! targets do.

use super::{
    connect::{self, query::Query},
    content::Encoding,
    details,
    frames::{BegunFrame, Rewrite},
    grpc_web::base64::{self, Base64},
    json,
};
use bytes::Bytes;
use http::Uri;
use prost_reflect::DescriptorPool;
use serde_json::Value;
use std::time::Duration;
use tonic::Status;

/// A body of gRPC-Web in its text form, read as a whole.
pub fn grpc_web_text(text: &[u8]) -> Option<Bytes> {
    base64::decode(text)
}

/// The same, read in chunks as they come.
pub fn grpc_web_text_in_chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let (mut decoder, mut plain) = (Base64::default(), Vec::new());
    for chunk in chunks {
        plain.extend_from_slice(&decoder.chunk(chunk).ok()?);
    }
    plain.extend_from_slice(&decoder.end().ok()?);
    Some(plain)
}

/// The frames that each chunk of an answer completes.
pub fn whole_frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Bytes> {
    let mut begun = BegunFrame::default();
    chunks.into_iter().map(|chunk| begun.push(Bytes::copy_from_slice(chunk))).collect()
}

/// The body of a request of at most `limit` bytes, under the `content-encoding` of this name.
pub fn inflated(content_encoding: &str, body: Bytes, limit: u64) -> Option<Bytes> {
    Encoding::named(content_encoding).ok()?.decode(body, limit).ok()
}

/// The message in the query of a GET of Connect.
pub fn connect_message(uri: &Uri) -> Option<Vec<u8>> {
    Query::of(uri)?.message().ok()
}

/// `connect-timeout-ms`.
pub fn connect_timeout(text: &str) -> Option<Duration> {
    connect::parse_milliseconds(text)
}

/// `request-timeout`, in seconds.
pub fn request_timeout(text: &str) -> Option<Duration> {
    json::parse_seconds(text)
}

/// The details of a status as JSON, with the types that are known.
pub fn details(status: &Status, known: Option<&DescriptorPool>) -> Value {
    details::json(status, known)
}
