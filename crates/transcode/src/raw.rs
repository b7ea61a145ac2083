//! `google.api.HttpBody`: a body as it stands, in either direction.

use http::HeaderValue;

use accord_wire::{Value, occurrences, put_bytes};

use crate::violation::Malformed;

const CONTENT_TYPE: u32 = 1;
const DATA: u32 = 2;

/// Writes the fields of the message that a raw body stands for.
pub(crate) fn put_message(out: &mut Vec<u8>, content_type: Option<&str>, body: &[u8]) {
    if let Some(content_type) = content_type {
        put_bytes(out, CONTENT_TYPE, content_type.as_bytes());
    }
    if !body.is_empty() {
        put_bytes(out, DATA, body);
    }
}

/// Writes the data of a message, and returns what it is.
pub(crate) fn put_body(out: &mut Vec<u8>, message: &[u8]) -> Result<HeaderValue, Malformed> {
    let (mut content_type, mut data): (&[u8], &[u8]) = (b"", b"");
    for occurrence in occurrences(message) {
        let occurrence = occurrence?;
        match (occurrence.number, occurrence.value) {
            (CONTENT_TYPE, Value::Bytes(bytes)) => content_type = bytes,
            (DATA, Value::Bytes(bytes)) => data = bytes,
            _ => {}
        }
    }
    if content_type.is_empty() {
        content_type = b"application/octet-stream";
    }
    let header = HeaderValue::from_bytes(content_type);
    out.extend_from_slice(data);
    header.map_err(|_| Malformed::Value("the content type of a body is not a header value"))
}

/// The message in field `number`, which is empty where the field is absent.
pub(crate) fn field(message: &[u8], number: u32) -> Result<&[u8], Malformed> {
    let mut found: &[u8] = b"";
    for occurrence in occurrences(message) {
        let occurrence = occurrence?;
        if let Value::Bytes(bytes) = occurrence.value
            && occurrence.number == number
        {
            found = bytes;
        }
    }
    Ok(found)
}
