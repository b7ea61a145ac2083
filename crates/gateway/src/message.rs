//! The request message, where the gateway has to look at it.

use crate::{
    beside_workers,
    fault::Fault,
    memory::{self, CallMemory, HeldBytes},
    protocol::RouteMatch,
    table::MethodEntry,
    upstream::Call,
};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::{call_record::CallRecord, fair_share::Held};
use accord_validation::{Unreadable, Violation};
use bytes::Bytes;
use http::request::Parts;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// What a request brings beside its head.
pub(crate) enum RequestBody {
    /// As it comes.
    Incoming(Incoming),
    /// Its one message, where it had to be read before anything was decided.
    Message(HeldBytes),
}

impl RequestBody {
    /// Whether it is known to have nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Incoming(body) if body.is_end_stream())
    }
}

/// Reads the one message of a request, within the bound of its method, and holds it against the fields it requires and the
/// rules of its message.
pub(crate) async fn read(
    route: &RouteMatch,
    parts: &Parts,
    body: RequestBody,
    call: &Call,
) -> Result<HeldBytes, Fault> {
    let message = match body {
        RequestBody::Incoming(body) => receive(route, parts, body, &call.memory, &call.record).await?,
        RequestBody::Message(message) => message,
    };
    if let Some(field) = route.entry.method.missing(&message.bytes).map_err(|_| Fault::unreadable())? {
        return Err(Fault::violation(Reason::FieldInvalid, &field, "is required"));
    }
    if route.entry.rules.is_some() {
        validate(&route.entry, &message.bytes, call).await?;
    }
    Ok(message)
}

/// The one message of a request as it stands. What is read is counted as it comes.
pub(crate) async fn receive(
    route: &RouteMatch,
    parts: &Parts,
    body: Incoming,
    memory: &CallMemory,
    record: &CallRecord,
) -> Result<HeldBytes, Fault> {
    let mut held = memory.request();
    let message = route.read(parts, CountedBody { body, read: 0, record }, &mut held).await?;
    record.step("message");
    Ok(HeldBytes::new(message, held))
}

/// The largest tree of values that a worker looks at itself: as long as that takes, it serves nobody else.
const MAX_TREE_ON_WORKER: u64 = 256 << 10;

/// Holds a message against the rules of `buf.validate`. They see a tree of values, whose memory is counted before it is made.
async fn validate(entry: &Arc<MethodEntry>, message: &Bytes, call: &Call) -> Result<(), Fault> {
    let Some(rules) = &entry.rules else { return Ok(()) };
    let weight = rules.weight(message).map_err(|Unreadable| Fault::unreadable())?;
    let mut tree = call.memory.request();
    tree.grow(weight).map_err(memory::shed)?;
    let broken = if weight <= MAX_TREE_ON_WORKER {
        rules.violations(message)
    } else {
        Box::pin(look_beside_workers(Arc::clone(entry), message.clone(), tree)).await?
    };
    let broken = broken.map_err(|Unreadable| Fault::unreadable())?;
    if broken.is_empty() {
        return Ok(());
    }
    let broken = broken.iter().map(|violation| (violation.field.as_str(), violation.problem.as_str()));
    Err(Fault::violations(Reason::FieldInvalid, broken))
}

/// Looks at a large message where no worker has to wait for that.
async fn look_beside_workers(
    entry: Arc<MethodEntry>,
    message: Bytes,
    tree: Held,
) -> Result<Result<Vec<Violation>, Unreadable>, Fault> {
    let look = move || {
        let _held = tree;
        entry.rules.as_ref().map_or(Ok(Vec::new()), |rules| rules.violations(&message))
    };
    beside_workers::run(look).await
}

/// A body whose bytes stand in the record of its call once all of them were read. One that was not read to its end is still in the
/// way of the connection's next request, which shows by a record without any.
struct CountedBody<'a, B> {
    body: B,
    read: usize,
    record: &'a CallRecord,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for CountedBody<'_, B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.read += frame.data_ref().map_or(0, Bytes::len);
        }
        if frame.is_none() || self.body.is_end_stream() {
            let read = std::mem::take(&mut self.read);
            self.record.add_request_bytes(read);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, stream};
    use http_body_util::{BodyExt, StreamBody};
    use std::convert::Infallible;

    /// What stands in the record after so many of two frames were read.
    fn counted_after(frames: usize) -> u64 {
        let record = CallRecord::default();
        let data = [&b"abc"[..], b"de"].map(|data| Ok::<_, Infallible>(Frame::data(Bytes::from_static(data))));
        let mut body = CountedBody { body: StreamBody::new(stream::iter(data)), read: 0, record: &record };
        for _ in 0..frames {
            body.frame().now_or_never().expect("it is there");
        }
        record.request_bytes()
    }

    #[test]
    fn bytes_of_a_body_are_counted_once_it_was_read_to_its_end() {
        assert_eq!([counted_after(1), counted_after(2), counted_after(3), counted_after(4)], [0, 0, 5, 5]);
    }
}
