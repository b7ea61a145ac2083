//! What goes out, and may go out again where the first endpoint certainly never saw the call.

use crate::grpc;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tonic::{Status, body::Body};

/// The body of a call.
pub enum Outgoing {
    /// A message in its frame, which is here however often it is sent.
    Message(Bytes),
    /// A stream, which is here until somebody begins to read it.
    Stream(Unread),
}

impl Outgoing {
    /// A stream that nobody has begun to read.
    pub fn stream(body: Body) -> Self {
        Self::Stream(Unread(Arc::new(Mutex::new(Some(body)))))
    }

    /// The body, to be sent; none if a part of it is gone.
    pub fn lend(&self) -> Option<Body> {
        match self {
            Self::Message(framed) => Some(grpc::Whole::bytes(framed.clone())),
            Self::Stream(unread) => unread.is_whole().then(|| Body::new(Lent { unread: unread.clone(), body: None })),
        }
    }
}

/// A body that is there until somebody begins to read it.
#[derive(Clone)]
pub struct Unread(Arc<Mutex<Option<Body>>>);

/// The same body as it is sent: its first reader takes it.
struct Lent {
    unread: Unread,
    body: Option<Body>,
}

impl Unread {
    fn is_whole(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Body>> {
        // It is there or it is gone; nothing lies between.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    fn see<T>(&self, look: impl FnOnce(&Body) -> T) -> Option<T> {
        match &self.body {
            Some(body) => Some(look(body)),
            None => self.unread.lock().as_ref().map(look),
        }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.body.is_none() {
            let taken = self.unread.lock().take();
            self.body = taken;
        }
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.see(Body::is_end_stream).unwrap_or(true)
    }

    fn size_hint(&self) -> SizeHint {
        self.see(Body::size_hint).unwrap_or_default()
    }
}
