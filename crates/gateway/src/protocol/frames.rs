//! Bodies whose frames are rewritten one by one as they come: what a caller's protocol writes otherwise than gRPC.

use crate::{fault::Fault, memory};
use accord_runtime::{deadline, drained_body::DrainedBody, fair_share::Held};
use accord_upstream::grpc::PREFIX;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tonic::{Status, body::Body, codegen::StdError};

/// A request's body as it is passed on: its answer may end before it does.
pub(crate) type PassedBody = DrainedBody<Incoming>;

/// A request's body as gRPC's frames.
pub(crate) enum RequestFrames {
    /// They are gRPC's already.
    AsTheyStand(PassedBody),
    /// They are made of others.
    Rewritten(Rewritten<PassedBody>),
    /// They come otherwise than in the request's body.
    Made(Body),
}

impl HttpBody for RequestFrames {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        match self.get_mut() {
            Self::AsTheyStand(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::Rewritten(body) => Pin::new(body).poll_frame(context),
            Self::Made(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::AsTheyStand(body) => body.is_end_stream(),
            // What is left of it may have to be refused.
            Self::Rewritten(_) | Self::Made(_) => false,
        }
    }
}

/// Makes gRPC's frames of what comes.
pub(crate) trait Rewrite: Send {
    /// What a chunk completes; nothing where a frame is not whole yet. An error ends the call.
    fn chunk(&mut self, chunk: &[u8]) -> Result<Bytes, Status>;

    /// What the end of the body completes. An error says that something is missing.
    fn end(&mut self) -> Result<Bytes, Status>;
}

/// A request's body, rewritten.
pub(crate) struct Rewritten<B> {
    body: B,
    rewrite: Box<dyn Rewrite>,
    is_over: bool,
}

impl RequestFrames {
    /// A body as `rewrite` makes it.
    pub(super) fn rewritten(body: PassedBody, rewrite: impl Rewrite + 'static) -> Self {
        Self::Rewritten(Rewritten { body, rewrite: Box::new(rewrite), is_over: false })
    }
}

impl<B> HttpBody for Rewritten<B>
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>> + Unpin,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        while !this.is_over {
            let rewritten = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => this.rewrite.chunk(&chunk).map_err(Into::into),
                    // Trailers of a request say nothing in these protocols.
                    Err(_) => continue,
                },
                Some(Err(error)) => Err(error.into()),
                None => {
                    this.is_over = true;
                    this.rewrite.end().map_err(Into::into)
                }
            };
            this.is_over |= rewritten.is_err();
            match rewritten {
                Ok(frames) if frames.is_empty() => {}
                rewritten => return Poll::Ready(Some(rewritten.map(Frame::data))),
            }
        }
        Poll::Ready(None)
    }
}

/// Writes the frames of an answer in a protocol whose status is part of the body.
pub(super) trait EndInBody {
    /// Frames of messages.
    fn messages(&self, frames: Bytes) -> Bytes;

    /// The last frame.
    fn end(&self, trailers: &HeaderMap) -> Bytes;
}

/// An answer's body with its trailers as its last frame.
pub(super) struct AnsweredInBody<W> {
    // Gone once it has ended.
    body: Option<Body>,
    begun: BegunFrame,
    writer: W,
    /// What is in memory of a frame that is not whole yet.
    held: Held,
}

impl<W: EndInBody + Send + Unpin + 'static> AnsweredInBody<W> {
    /// An answer as `writer` writes it.
    pub(super) fn write(body: Body, writer: W, held: Held) -> Body {
        Body::new(Self { body: Some(body), begun: BegunFrame::default(), writer, held })
    }
}

impl<W: EndInBody> AnsweredInBody<W> {
    fn messages(&mut self, chunk: Bytes) -> Result<Bytes, Fault> {
        let whole = self.begun.push(chunk);
        self.held.set(self.begun.0.len() as u64).map_err(memory::shed)?;
        Ok(whole)
    }

    /// Nothing comes after it, so that the upstream learns of it at that moment.
    fn end(&mut self, trailers: &HeaderMap) -> Bytes {
        self.body = None;
        self.writer.end(trailers)
    }
}

impl<W: EndInBody + Unpin> HttpBody for AnsweredInBody<W> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        while let Some(body) = &mut this.body {
            let Some(frame) = ready!(Pin::new(body).poll_frame(context)?) else { break };
            let written = match frame.into_data().map(|chunk| this.messages(chunk)) {
                Ok(Ok(whole)) if whole.is_empty() => continue,
                Ok(Ok(whole)) => this.writer.messages(whole),
                Ok(Err(fault)) => this.end(&deadline::trailers(fault.status())),
                Err(frame) => this.end(&frame.into_trailers().unwrap_or_default()),
            };
            return Poll::Ready(Some(Ok(Frame::data(written))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }
}

/// The beginning of a frame. It is kept until the frame is whole: where an upstream breaks off amid one, the last frame of the
/// answer could not be told from what is missing of it.
#[derive(Default)]
pub(super) struct BegunFrame(BytesMut);

impl BegunFrame {
    /// The frames that a chunk completes. What is whole as it comes is handed on without a copy.
    pub(super) fn push(&mut self, mut chunk: Bytes) -> Bytes {
        if self.0.is_empty() {
            let whole = chunk.split_to(whole_frames(&chunk));
            self.0.extend_from_slice(&chunk);
            return whole;
        }
        self.0.extend_from_slice(&chunk);
        let whole = whole_frames(&self.0);
        self.0.split_to(whole).freeze()
    }
}

/// How many bytes the frames take that are whole.
fn whole_frames(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(&[_, a, b, c, d]) = bytes[end..].first_chunk::<PREFIX>() {
        let next = end + PREFIX + u32::from_be_bytes([a, b, c, d]) as usize;
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_upstream::grpc::frame;

    #[test]
    fn frames_are_passed_on_whole_however_they_are_cut() {
        let stream = [frame(b"abc"), frame(b""), frame(b"0123456789")].concat();
        for size in 1..=stream.len() {
            let (mut begun, mut passed) = (BegunFrame::default(), Vec::new());
            for chunk in stream.chunks(size) {
                let whole = begun.push(Bytes::copy_from_slice(chunk));
                assert_eq!(whole_frames(&whole), whole.len(), "by {size}");
                passed.extend_from_slice(&whole);
            }
            assert_eq!((passed, begun.0.len()), (stream.clone(), 0), "by {size}");
        }
    }

    #[test]
    fn frames_that_come_whole_are_not_copied() {
        let chunk = frame(b"abc");
        assert_eq!(BegunFrame::default().push(chunk.clone()).as_ptr(), chunk.as_ptr());
    }
}
