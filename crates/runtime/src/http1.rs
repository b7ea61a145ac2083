//! What RFC 9112 and RFC 9113 ask of a server, and hyper leaves to it: HTTP/1.1 here, HTTP/2 in `http2`.

use std::convert::Infallible;

use crate::http2;
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING},
    uri::Authority,
};
use http_body_util::{Either, Full};
use tower::{Service, ServiceExt, service_fn};

/// Answers what no server may take, before the service sees it.
pub(crate) fn checked<S, B, R>(
    service: S,
) -> impl Service<Request<R>, Response = Response<Either<B, Full<Bytes>>>, Error = Infallible, Future: Send> + Clone + Send
where
    S: Service<Request<R>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    R: Send + 'static,
{
    service_fn(move |request: Request<R>| {
        let version = request.version();
        let checked = refusal(&request).map_or_else(|| Ok(service.clone().oneshot(request)), Err);
        async move {
            match checked {
                Ok(served) => Ok(served.await?.map(Either::Left)),
                Err(refusal) => Ok(refused(refusal, version)),
            }
        }
    })
}

type Refusal = (StatusCode, &'static str);

fn refusal<R>(request: &Request<R>) -> Option<Refusal> {
    if request.version() > Version::HTTP_11 {
        return http2::problem(request).map(|problem| (StatusCode::BAD_REQUEST, problem));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_authority(host),
        // HTTP/1.0 knows no hosts.
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    };
    if !is_host {
        return Some((
            StatusCode::BAD_REQUEST,
            "the request needs one `host`, such as `example.com:8080` (RFC 9112, 3.2)\n",
        ));
    }
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !codings.next().is_none_or(is_chunked) || codings.next().is_some() {
        return Some((
            StatusCode::NOT_IMPLEMENTED,
            "the only `transfer-encoding` is `chunked`, once (RFC 9112, 6.1)\n",
        ));
    }
    None
}

/// An authority without a user, or nothing at all, which is what stands for a target without one.
fn is_authority(host: &HeaderValue) -> bool {
    let is_valid = |host: &[u8]| Authority::try_from(host).is_ok() && !host.contains(&b'@');
    host.is_empty() || is_valid(host.as_bytes())
}

fn refused<B>((status, problem): Refusal, version: Version) -> Response<Either<B, Full<Bytes>>> {
    let mut response = Response::new(Either::Right(Full::from(problem)));
    *response.status_mut() = status;
    // Where the next request of HTTP/1 begins is nothing to rely on. HTTP/2 has streams for that.
    if version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
