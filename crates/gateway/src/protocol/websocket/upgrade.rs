//! Where a connection becomes a WebSocket. What is called by it is a request like any other for the service behind, which answers
//! in frames; a handshake that is refused is one as well.

use super::{
    connection::{self, KeepAlive},
    handshake::{self, Handshake},
    socket::Socket,
};
use crate::cors::Cors;
use accord_runtime::upgrade::Upgrade;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::{
    FutureExt, TryFutureExt,
    future::{Either, MapOk, Ready, ready},
};
use http::{HeaderValue, Request, Response};
use http_body::Body as HttpBody;
use http_body_util::{Either as EitherBody, Empty};
use hyper::body::Incoming;
use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};
use tower::{Service, ServiceExt};

/// In front of a service, where handshakes come in.
#[derive(Clone)]
pub(crate) struct WebSockets<S> {
    inner: S,
    /// Of which other origins pages may open one.
    cors: Option<Arc<ArcSwapOption<Cors>>>,
    keep_alive: KeepAlive,
}

type Answer<B> = Response<EitherBody<B, Empty<Bytes>>>;

impl<S> WebSockets<S> {
    /// In front of a service that answers every call.
    pub(crate) fn new(inner: S, cors: Option<Arc<ArcSwapOption<Cors>>>, keep_alive: KeepAlive) -> Self {
        Self { inner, cors, keep_alive }
    }

    fn open<B>(&self, mut request: Request<Incoming>, handshake: Handshake) -> Answer<B>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
    {
        let (messages, socket) = Socket::new(handshake.format);
        request.extensions_mut().insert(socket);
        let (inner, keep_alive) = (self.inner.clone(), self.keep_alive);
        let after = Upgrade::of(&mut request).then(move |io, going_away| {
            let call = inner.oneshot(request).map(|Ok(response)| response);
            connection::serve(io, call, messages, keep_alive, going_away)
        });
        let mut response = handshake.response(EitherBody::Right(Empty::new()));
        response.extensions_mut().insert(after);
        response
    }
}

impl<S, B> Service<Request<Incoming>> for WebSockets<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    type Response = Answer<B>;
    type Error = Infallible;
    type Future = Either<MapOk<S::Future, fn(Response<B>) -> Answer<B>>, Ready<Result<Answer<B>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        if handshake::is_asked(&request) {
            let allows = |origin: &HeaderValue| {
                self.cors.as_ref().and_then(|cors| cors.load_full()).is_some_and(|cors| cors.allows(origin))
            };
            match handshake::accept(&mut request, allows) {
                Ok(handshake) => return Either::Right(ready(Ok(self.open(request, handshake)))),
                Err(refused) => _ = request.extensions_mut().insert(refused),
            }
        }
        Either::Left(self.inner.call(request).map_ok(|response| response.map(EitherBody::Left)))
    }
}
