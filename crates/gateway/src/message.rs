//! The request message, where the gateway has to look at it.

use crate::{
    fault::Fault,
    memory::{CallMemory, HeldBytes},
    protocol::RouteMatch,
};
use accord_api::accord::fault::v1::Reason;
use http::request::Parts;
use hyper::body::Incoming;

/// Reads the one message of a request, within the bound of its method, and holds it against the fields it requires. What is read is
/// counted as it comes.
pub(crate) async fn read(
    route: &RouteMatch,
    parts: &Parts,
    body: Incoming,
    memory: &CallMemory,
) -> Result<HeldBytes, Fault> {
    let mut held = memory.request();
    let message = route.read(parts, body, &mut held).await?;
    match route.entry.method.missing(&message).map_err(|_| Fault::unreadable())? {
        Some(field) => Err(Fault::violation(Reason::FieldInvalid, &field, "is required")),
        None => Ok(HeldBytes::new(message, held)),
    }
}
