//! The request message, where the gateway has to look at it.

use crate::{
    fault::Fault,
    memory::{self, HeldBytes},
    protocol::RouteMatch,
    upstream::Call,
};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::call_record::CallRecord;
use accord_validation::{Rules, Unreadable};
use bytes::Bytes;
use http::request::Parts;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Reads the one message of a request, within the bound of its method, and holds it against the fields it requires and the
/// rules of its message. What is read is counted as it comes.
pub(crate) async fn read(route: &RouteMatch, parts: &Parts, body: Incoming, call: &Call) -> Result<HeldBytes, Fault> {
    let mut held = call.memory.request();
    let message = route.read(parts, CountedBody { body, read: 0, record: &call.record }, &mut held).await?;
    call.record.step("message");
    if let Some(field) = route.entry.method.missing(&message).map_err(|_| Fault::unreadable())? {
        return Err(Fault::violation(Reason::FieldInvalid, &field, "is required"));
    }
    if let Some(rules) = &route.entry.rules {
        validate(rules, &message, call)?;
    }
    Ok(HeldBytes::new(message, held))
}

/// Rules see a message as a tree of values, which takes so many times its bytes.
const TREE: u64 = 8;

/// Holds a message against the rules of `buf.validate`.
fn validate(rules: &Rules, message: &Bytes, call: &Call) -> Result<(), Fault> {
    let mut tree = call.memory.request();
    tree.grow(TREE * message.len() as u64).map_err(memory::shed)?;
    let broken = rules.violations(message).map_err(|Unreadable| Fault::unreadable())?;
    if broken.is_empty() {
        return Ok(());
    }
    let broken = broken.iter().map(|violation| (violation.field.as_str(), violation.problem.as_str()));
    Err(Fault::violations(Reason::FieldInvalid, broken))
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
