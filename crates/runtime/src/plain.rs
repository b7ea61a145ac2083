//! Plain HTTP routes beside the gRPC services of a port.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use tonic::{body::Body, service::Routes};
use tower::Service;

/// Answers the named paths by plain routes, and everything else by the services. Whoever guards the services neither sees
/// the routes nor has to know them.
#[derive(Clone)]
pub struct PlainPaths<S> {
    paths: &'static [&'static str],
    plain: Routes,
    services: S,
}

impl<S> PlainPaths<S> {
    /// `plain` answers exactly these paths.
    pub(crate) fn new(paths: &'static [&'static str], plain: Routes, services: S) -> Self {
        Self { paths, plain, services }
    }
}

impl<S, B> Service<Request<B>> for PlainPaths<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, <Routes as Service<Request<B>>>::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The plain routes are always ready.
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.paths.contains(&request.uri().path()) {
            return Either::Right(self.plain.call(request));
        }
        Either::Left(self.services.call(request))
    }
}
