//! Response metadata that is not passed on.

use http::{HeaderMap, HeaderName, header};

/// Takes out of an upstream's answer what only our own hops may say, and the length of a body that may yet be cut off.
pub fn strip_reserved(headers: &mut HeaderMap) {
    let reserved: Vec<_> = headers.keys().filter(|name| is_reserved(name)).cloned().collect();
    for name in reserved.into_iter().chain([header::CONNECTION, header::CONTENT_LENGTH]) {
        headers.remove(name);
    }
}

/// `x-accord-…`, and the spellings that a server which maps `_` to `-` would take for it.
pub fn is_reserved(name: &HeaderName) -> bool {
    name.as_str().as_bytes().first_chunk::<9>().is_some_and(|start| {
        start.iter().zip(b"x-accord-").all(|(given, ours)| given == ours || (*given == b'_' && *ours == b'-'))
    })
}

/// The size of metadata as RFC 9113, 6.5.2, counts it.
pub(crate) fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}
