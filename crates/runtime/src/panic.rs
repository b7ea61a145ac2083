//! A panic in a handler or in the body it produces becomes INTERNAL for that call and touches no other.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use accord_api::accord::fault::v1::Reason;
use http::{Request, Response};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tonic::Status;
use tower::Service;

use crate::{deadline::trailers, fault};

/// Catches panics of the service it wraps. The caller learns nothing but that there was a defect; the
/// log has the rest, from [`run`](crate::run::run).
#[derive(Clone, Debug)]
pub struct Catch<S>(S);

impl<S> Catch<S> {
    /// Wraps a service.
    pub fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S, Q, B> Service<Request<Q>> for Catch<S>
where
    S: Service<Request<Q>, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<CaughtBody<B>>;
    type Error = Infallible;
    type Future = Caught<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        // What a panic leaves half done belongs to this call and goes with it.
        Caught { called: catch_unwind(AssertUnwindSafe(|| self.0.call(request))).ok() }
    }
}

pin_project! {
    /// The answer of a service whose panics are caught.
    pub struct Caught<F> {
        // None where the service panicked before there was anything to wait for.
        #[pin]
        called: Option<F>,
    }
}

impl<F, B> Future for Caught<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<CaughtBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let defective = || defect().into_http().map(|()| CaughtBody { inner: None });
        let Some(called) = self.project().called.as_pin_mut() else { return Poll::Ready(Ok(defective())) };
        let polled = catch_unwind(AssertUnwindSafe(|| called.poll(context)));
        let Ok(polled) = polled else { return Poll::Ready(Ok(defective())) };
        polled.map_ok(|response| response.map(|body| CaughtBody { inner: Some(body) }))
    }
}

fn defect() -> Status {
    fault::status(Reason::Internal, "a defect of the server ended the call")
}

pin_project! {
    /// A body that ends with INTERNAL trailers when producing it panics.
    pub struct CaughtBody<B> {
        #[pin]
        inner: Option<B>,
    }
}

impl<B: Body> Body for CaughtBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        catch_unwind(AssertUnwindSafe(|| inner.poll_frame(context))).unwrap_or_else(|_| {
            this.inner.set(None);
            Poll::Ready(Some(Ok(Frame::trailers(trailers(&defect())))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty, StreamBody};
    use tonic::Code;
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn panic_in_a_handler_is_internal_with_a_reason() {
        let service = Catch::new(service_fn(|request: Request<()>| async move {
            assert!(request.uri().path() != "/", "boom");
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }));
        let response = service.oneshot(Request::new(())).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(fault::reason_of(&status), Some(Reason::Internal));
        assert!(!status.message().contains("boom"));
    }

    #[tokio::test]
    async fn panic_in_a_response_body_ends_it_with_trailers() {
        let service = Catch::new(service_fn(|_: Request<()>| async move {
            let frames =
                futures_util::stream::poll_fn(|_| -> Poll<Option<Result<Frame<Bytes>, Infallible>>> { panic!("boom") });
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        }));
        let body = service.oneshot(Request::new(())).await.unwrap().into_body();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap();
        assert_eq!(trailers["grpc-status"], "13");
    }
}
