//! Entity tags (RFC 9110, 8.8.3) of answers, and callers who have them already.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use tonic::body::Body;

/// Bytes of a digest that a tag shows: as many as a caller needs who tells apart what one address ever said.
const SHOWN: usize = 16;

/// The strong tag of a representation: two with the same one are the same bytes.
pub(crate) fn of(representation: &[u8]) -> HeaderValue {
    let tag = BASE64_URL_SAFE_NO_PAD.encode(&digest(&SHA256, representation).as_ref()[..SHOWN]);
    HeaderValue::try_from(format!("\"{tag}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// The same tag for other bytes that say the same.
pub(crate) fn weak(tag: &HeaderValue) -> HeaderValue {
    if tag.as_bytes().starts_with(b"W/") {
        return tag.clone();
    }
    HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).unwrap_or_else(|_| tag.clone())
}

/// Whether a caller has what this tag names, by `If-None-Match` and weak comparison (RFC 9110, 13.1.2).
pub(crate) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter();
    let tags = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
    tags.map(opaque).any(|known| known == b"*" || known == opaque(tag.as_bytes()))
}

/// The answer to a read; or that it is still what its caller has, with all that is said of it but its content (RFC 9110, 15.4.5).
pub(crate) fn unless_known(response: Response<Body>, parts: &Parts) -> Response<Body> {
    let is_read = matches!(parts.method, Method::GET | Method::HEAD) && response.status() == StatusCode::OK;
    let tag = response.headers().get(header::ETAG).filter(|_| is_read);
    if !tag.is_some_and(|tag| is_known(&parts.headers, tag)) {
        return response;
    }
    let (mut head, _) = response.into_parts();
    head.status = StatusCode::NOT_MODIFIED;
    for of_content in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LENGTH] {
        head.headers.remove(of_content);
    }
    Response::from_parts(head, Body::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use http_body::Body as _;

    fn answer(method: &Method, status: StatusCode, known: &[&'static str]) -> Response<Body> {
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        for tags in known {
            request.headers_mut().append(header::IF_NONE_MATCH, HeaderValue::from_static(tags));
        }
        let mut response = Response::new(Body::new("milk".to_owned()));
        *response.status_mut() = status;
        for (name, value) in [(header::ETAG, "\"a\""), (header::CONTENT_TYPE, "text/plain"), (header::AGE, "3")] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        unless_known(response, &request.into_parts().0)
    }

    #[test]
    fn caller_that_has_the_answer_is_told_so_without_its_content() {
        for known in [&["\"a\""][..], &["W/\"a\""], &["\"b\", \"a\""], &["\"b\"", "\"a\""], &["*"]] {
            let response = answer(&Method::GET, StatusCode::OK, known);
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known:?}");
            assert!(response.body().is_end_stream());
            let headers = response.headers();
            assert!(headers.contains_key(header::ETAG) && headers.contains_key(header::AGE));
            assert!(!headers.contains_key(header::CONTENT_TYPE));
        }
    }

    #[test]
    fn caller_that_has_another_answer_or_none_gets_it() {
        for known in [&[][..], &["\"b\""], &["a"], &["\"a"], &["\"*\""], &[""]] {
            assert_eq!(answer(&Method::GET, StatusCode::OK, known).status(), StatusCode::OK, "{known:?}");
        }
    }

    #[test]
    fn precondition_counts_for_successful_reads_alone() {
        assert_eq!(answer(&Method::POST, StatusCode::OK, &["*"]).status(), StatusCode::OK);
        assert_eq!(answer(&Method::GET, StatusCode::NOT_FOUND, &["*"]).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn tag_names_the_bytes_of_a_representation() {
        assert_eq!(of(b"milk"), of(b"milk"));
        assert_ne!(of(b"milk"), of(b"bread"));
        assert!(of(b"milk").as_bytes().starts_with(b"\"") && of(b"milk").as_bytes().ends_with(b"\""));
    }
}
