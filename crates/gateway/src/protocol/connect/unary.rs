//! Unary calls: the message alone, and the metadata that follows it under names that begin with `trailer-`.

use super::{Codec, Format, Query, error};
use crate::{
    fault::Fault,
    memory::{self, CallMemory},
    protocol::{
        Keep, Written,
        body::{Whole, add_metadata, add_trailers, body_fault, transcoded},
        content::Encoding,
        json::violation,
    },
};
use accord_contract::Method;
use accord_runtime::fair_share::Held;
use accord_upstream::{Answer, grpc};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body as HttpBody;
use std::error::Error;
use tonic::body::Body;

/// The message of a body.
pub(super) async fn read<B>(
    codec: &Codec,
    method: &Method,
    headers: &HeaderMap,
    body: B,
    held: &mut Held,
) -> Result<Bytes, Fault>
where
    B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
{
    // What is said of a body that is not there is of no consequence.
    let encoding = if body.is_end_stream() { Encoding::Identity } else { Encoding::of(headers).map_err(unknown)? };
    let collected = grpc::collect(body, method.policy.max_request_bytes, Some(&mut *held)).await;
    let (bytes, _) = collected.map_err(|error| body_fault(&error))?;
    message(codec, method, encoding, bytes, held)
}

/// The message of a query.
pub(super) fn read_query(codec: &Codec, method: &Method, query: &Query<'_>, held: &mut Held) -> Result<Bytes, Fault> {
    let encoding = Encoding::named(query.compression().unwrap_or_default()).map_err(unknown)?;
    message(codec, method, encoding, query.message()?.into(), held)
}

/// A compression that is not accepted is UNIMPLEMENTED, in HTTP as well.
fn unknown(fault: Fault) -> Fault {
    fault.http(StatusCode::NOT_IMPLEMENTED)
}

fn message(codec: &Codec, method: &Method, encoding: Encoding, bytes: Bytes, held: &mut Held) -> Result<Bytes, Fault> {
    let written = encoding.decode(bytes, method.policy.max_request_bytes)?;
    held.set(written.len() as u64).map_err(memory::shed)?;
    if codec.format == Format::Proto {
        return Ok(written);
    }
    let message = codec.plan.whole_request(&written).map_err(|problem| violation(&problem))?;
    held.set(message.len() as u64).map_err(memory::shed)?;
    Ok(message)
}

/// The answer of a handler.
pub(super) fn respond(
    codec: &Codec,
    method: &Method,
    answer: Answer,
    keep: Option<Keep>,
    memory: &CallMemory,
) -> Result<Response<Body>, Fault> {
    let mut written = None;
    let mut response = match answer.result {
        Ok(message) => {
            let (body, held) = match codec.format {
                Format::Proto => (message, answer.held),
                Format::Json => {
                    let ((), text, held) = transcoded(method, &message, memory, |text, may_take| {
                        codec.plan.whole_response_within(&message, text, may_take)
                    })?;
                    (text, Some(held))
                }
            };
            let mut response = Response::new(Whole::bytes(written.insert(body).clone(), held));
            response.headers_mut().insert(header::CONTENT_TYPE, codec.format.content_type(codec.shape));
            response
        }
        Err(status) => error::respond(&status, None, Some(method.descriptor.parent_pool())),
    };
    add_metadata(&answer.head, false, response.headers_mut());
    add_trailers(&answer.trailers, response.headers_mut());
    if let Some((keep, body)) = keep.zip(written) {
        keep(Written { status: StatusCode::OK, head: response.headers().clone(), body, trailers: None });
    }
    Ok(response)
}
