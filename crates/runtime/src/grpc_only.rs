//! What is not a gRPC call does not reach gRPC services: it is answered with an HTTP status that probes, browsers and proxies
//! understand. tonic would serve any method and content type, and answer 200 for every path.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use tonic::body::Body;
use tower::Service;

use crate::deadline::DeadlineBody;

/// Tells whether a method is served under a request path.
pub(crate) type Serves = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Lets gRPC calls pass, and whatever is asked of the plain paths.
#[derive(Clone)]
pub struct GrpcOnly<S> {
    inner: S,
    plain: &'static [&'static str],
    serves: Serves,
}

impl<S> GrpcOnly<S> {
    /// Wraps a service that answers the paths `plain` in plain HTTP.
    pub(crate) fn new(inner: S, plain: &'static [&'static str], serves: Serves) -> Self {
        Self { inner, plain, serves }
    }

    /// The answer to a request that is no gRPC call.
    fn refuse<B>(&self, request: &Request<B>) -> Response<DeadlineBody<Body>> {
        let (status, problem) = if !(self.serves)(request.uri().path()) {
            (StatusCode::NOT_FOUND, "nothing is served at this path")
        } else if request.method() != Method::POST {
            (StatusCode::METHOD_NOT_ALLOWED, "a gRPC call is a POST")
        } else {
            (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "this port serves gRPC over HTTP/2, with content-type application/grpc",
            )
        };
        // An answer to HEAD is its head alone (RFC 9110, 9.3.2).
        let text = if request.method() == Method::HEAD { String::new() } else { format!("{problem}\n") };
        let mut response = Response::new(DeadlineBody::unbounded(Body::new(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

impl<S, Q> Service<Request<Q>> for GrpcOnly<S>
where
    S: Service<Request<Q>, Response = Response<DeadlineBody<Body>>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<S::Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        if is_call(&request) {
            return Either::Left(self.inner.call(request));
        }
        if !self.plain.contains(&request.uri().path()) {
            return Either::Right(ready(Ok(self.refuse(&request))));
        }
        // It bounds gRPC calls. A malformed one would be refused in gRPC, which is a 200 for who asks in plain HTTP.
        request.headers_mut().remove("grpc-timeout");
        Either::Left(self.inner.call(request))
    }
}

/// Whether a request is a gRPC call with protobuf messages (gRPC's PROTOCOL-HTTP2). gRPC has no other method or version of
/// HTTP, and of its other content types nothing is served.
pub fn is_call<B>(request: &Request<B>) -> bool {
    let mut types = request.headers().get_all(header::CONTENT_TYPE).iter();
    let content_type = types.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is_grpc = ["application/grpc", "application/grpc+proto"].iter().any(|grpc| essence.eq_ignore_ascii_case(grpc));
    is_grpc && types.next().is_none() && request.method() == Method::POST && request.version() == Version::HTTP_2
}
