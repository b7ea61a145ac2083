//! The messages of an upstream's stream as they come, and how it ends.

use super::text_memory::TextMemory;
use crate::{fault::Fault, memory};
use accord_runtime::{current_call, fair_share::Held};
use accord_upstream::grpc::{self, Deframer};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use tonic::{Code, Status, body::Body};

/// What is still to come of a stream.
pub(super) struct Messages {
    body: Body,
    frames: Deframer,
    /// Bytes of one message.
    limit: u64,
    encoding: Option<HeaderValue>,
    is_over: bool,
    /// What came after the last of them.
    trailers: HeaderMap,
    /// What is in memory of it: messages that are not whole yet, and what was made of those that are.
    held: Held,
}

impl Messages {
    /// The messages in a body, of at most `limit` bytes each. A stream whose head says OK has none.
    pub(super) fn new(body: Body, limit: u64, encoding: Option<HeaderValue>, is_over: bool, held: Held) -> Self {
        Self { body, frames: Deframer::new(limit), limit, encoding, is_over, trailers: HeaderMap::new(), held }
    }

    /// Whether nothing more comes.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The metadata that ended it, the status included.
    pub(super) fn trailers(&self) -> &HeaderMap {
        &self.trailers
    }

    /// Waits for the next chunk and puts what is made of the messages that it completes into `made`. Nothing comes after an
    /// error.
    pub(super) async fn advance(
        &mut self,
        made: &mut Vec<u8>,
        put: impl FnMut(&mut Vec<u8>, &Bytes, TextMemory<'_>) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let advanced = self.step(made, put).await;
        if let Err(status) = &advanced {
            self.is_over = true;
            current_call::note_status(status);
        }
        advanced
    }

    async fn step(
        &mut self,
        made: &mut Vec<u8>,
        mut put: impl FnMut(&mut Vec<u8>, &Bytes, TextMemory<'_>) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let without_status = || Fault::without_status().status().clone();
        let Some(frame) = self.body.frame().await else { return Err(without_status()) };
        match frame.map_err(|_| without_status())?.into_data() {
            Ok(data) => {
                self.frames.push(&data);
                self.hold(made)?;
                let unusable = |error| Fault::malformed(format!("the stream can't be used: {error}")).status().clone();
                while let Some(message) = self.frames.next(self.encoding.as_ref()).map_err(unusable)? {
                    let beside = self.frames.buffered() + made.len();
                    put(made, &message, TextMemory::new(&mut self.held, beside, self.limit))?;
                }
                self.hold(made)
            }
            Err(frame) => {
                self.is_over = true;
                self.trailers = frame.into_trailers().unwrap_or_default();
                match grpc::status(&self.trailers, None).unwrap_or_else(without_status) {
                    status if status.code() == Code::Ok => {
                        current_call::note_status(&status);
                        Ok(())
                    }
                    status => Err(status),
                }
            }
        }
    }

    fn hold(&mut self, made: &[u8]) -> Result<(), Status> {
        let bytes = self.frames.buffered() + made.len();
        self.held.set(bytes as u64).map_err(|shed| memory::shed(shed).status().clone())
    }
}
