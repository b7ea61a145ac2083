//! Revocation during an answer: a body that ends when the credentials of its caller are withdrawn.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use accord_runtime::deadline::trailers;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;

pin_project! {
    /// An answer that ends with a status when the credentials of its caller are withdrawn.
    pub struct RevocableBody<B, W> {
        // Gone once the answer has been ended here, so that whoever makes it learns of it at that moment.
        #[pin]
        body: Option<B>,
        withdrawal: W,
    }
}

impl<B, W> RevocableBody<B, W> {
    /// An answer that lasts no longer than the credentials.
    pub fn new(body: B, withdrawal: W) -> Self {
        Self { body: Some(body), withdrawal }
    }
}

impl<B: HttpBody, W: Future<Output = Status> + Unpin> HttpBody for RevocableBody<B, W> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        // Before the body: one that is always ready would otherwise outrun the revocation.
        if let Poll::Ready(status) = Pin::new(this.withdrawal).poll(context) {
            this.body.set(None);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))));
        }
        body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // Nothing exact is promised of a body that may be cut.
        SizeHint::default()
    }
}
