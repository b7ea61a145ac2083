//! A body that can be sent elsewhere as long as nobody has begun to read it.

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tonic::{Status, body::Body};

/// A body that is there until somebody begins to read it.
#[derive(Clone)]
pub struct Unread(Arc<Mutex<Option<Body>>>);

/// The same body as it is sent: its first reader takes it.
struct Lent {
    unread: Unread,
    body: Option<Body>,
}

impl Unread {
    /// Holds a body that nobody has read.
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    /// The body, to be sent.
    pub fn lend(&self) -> Body {
        Body::new(Lent { unread: self.clone(), body: None })
    }

    /// Whether nobody has begun to read it.
    pub fn is_whole(&self) -> bool {
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
