//! Metadata as the cache service takes and gives it.

use accord_api::accord::cache::v1::Header;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;

/// An entry of metadata.
pub(crate) fn header((name, value): (&HeaderName, &HeaderValue)) -> Header {
    Header { name: name.as_str().to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// Metadata from its entries.
pub(crate) fn metadata(headers: &[Header]) -> Result<HeaderMap, Status> {
    let mut metadata = HeaderMap::with_capacity(headers.len());
    for Header { name, value } in headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_maybe_shared(value.clone());
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Status::internal("the cache's answer holds metadata that is none"));
        };
        metadata.append(name, value);
    }
    Ok(metadata)
}
