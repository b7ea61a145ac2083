//! The messages that come by a WebSocket: taken from its connection piece by piece, counted and bounded as they are put together.

use super::{Format, frame::Piece};
use crate::{
    fault::Fault,
    memory,
    protocol::{body::body_fault, json::violation},
};
use accord_contract::Method;
use accord_runtime::fair_share::Held;
use accord_transcode::Plan;
use accord_upstream::grpc::{self, BodyError};
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tonic::Status;

/// Pieces that wait to be taken, beside those that the connection reads ahead.
const PIECES: usize = 1;

/// The receiving side of a WebSocket, which stands in the extensions of the request by which it was opened. Clones are the same.
#[derive(Clone)]
pub(in crate::protocol) struct Socket {
    /// How answers are written.
    pub format: Format,
    pieces: Arc<Mutex<Option<Receiver<Piece>>>>,
}

impl Socket {
    /// One that receives what is sent here.
    pub(super) fn new(format: Format) -> (Sender<Piece>, Self) {
        let (sender, receiver) = mpsc::channel(PIECES);
        (sender, Self { format, pieces: Arc::new(Mutex::new(Some(receiver))) })
    }

    /// Its messages, to whoever asks first.
    pub(super) fn messages(&self, plan: &Arc<Plan>, method: &Method) -> SocketMessages {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).take();
        let limit = method.policy.max_request_bytes;
        SocketMessages { pieces, plan: Arc::clone(plan), limit, begun: BytesMut::new() }
    }
}

/// The messages that a client sends.
pub(super) struct SocketMessages {
    /// None once the client has ended them.
    pieces: Option<Receiver<Piece>>,
    plan: Arc<Plan>,
    limit: u64,
    /// Of a message that is not whole yet.
    begun: BytesMut,
}

/// The same as gRPC's frames.
pub(super) struct SocketFrames {
    messages: SocketMessages,
    /// What is in memory of them.
    held: Held,
}

impl SocketFrames {
    pub(super) fn new(messages: SocketMessages, held: Held) -> Self {
        Self { messages, held }
    }
}

impl SocketMessages {
    /// The next message. Text is JSON, and what is binary is protobuf; an empty text, which is no JSON, ends them. What is in memory
    /// is held.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        held: &mut Held,
    ) -> Poll<Option<Result<Bytes, Fault>>> {
        while let Some(pieces) = &mut self.pieces {
            let Some(piece) = ready!(pieces.poll_recv(context)) else {
                self.pieces = None;
                return Poll::Ready(Some(Err(Fault::request_cut_off())));
            };
            let (is_text, is_last) = (piece.is_text, piece.is_last);
            let text = match self.push(piece, held) {
                Ok(_) if !is_last => continue,
                Ok(text) => text,
                Err(fault) => return self.fail(fault),
            };
            if !is_text {
                return Poll::Ready(Some(Ok(text)));
            }
            if text.is_empty() {
                self.pieces = None;
                break;
            }
            return match self.plan.whole_request(&text) {
                Ok(message) => Poll::Ready(Some(Ok(message))),
                Err(problem) => self.fail(violation(&problem)),
            };
        }
        Poll::Ready(None)
    }

    fn fail(&mut self, fault: Fault) -> Poll<Option<Result<Bytes, Fault>>> {
        self.pieces = None;
        Poll::Ready(Some(Err(fault)))
    }

    /// What the message comes to with this piece. One that came in one piece is not copied.
    fn push(&mut self, piece: Piece, held: &mut Held) -> Result<Bytes, Fault> {
        let bytes = self.begun.len() + piece.bytes.len();
        if bytes as u64 > self.limit {
            return Err(body_fault(&BodyError::TooLarge { limit: self.limit }));
        }
        held.set(bytes as u64).map_err(memory::shed)?;
        if self.begun.is_empty() && piece.is_last {
            return Ok(piece.bytes);
        }
        self.begun.extend_from_slice(&piece.bytes);
        Ok(if piece.is_last { self.begun.split().freeze() } else { Bytes::new() })
    }
}

impl HttpBody for SocketFrames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        this.messages.poll_next(context, &mut this.held).map(|next| {
            let framed = next?.map(|message| Frame::data(grpc::frame(&message)));
            Some(framed.map_err(|fault| fault.status().clone()))
        })
    }
}

#[cfg(test)]
mod tests;
