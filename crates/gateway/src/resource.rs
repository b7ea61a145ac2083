//! The object that a request is about, where its contract has access decided about one (`access.resource`). Its message is read
//! for that before auth is asked; other requests are not looked at.

use crate::{
    admit::Arrival,
    fault::{Component, Fault},
    memory::CallMemory,
    message::{self, RequestBody},
    protocol::RouteMatch,
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Resource;
use hyper::body::Incoming;

/// The object, `Product/42`, and what was read of the body to know it. Who names none is denied.
pub(crate) async fn read(
    declared: &Resource,
    route: &RouteMatch,
    arrival: &Arrival,
    body: Incoming,
    memory: &CallMemory,
) -> Result<(String, RequestBody), Fault> {
    let message = message::receive(route, &arrival.parts, body, memory, &arrival.record).await?;
    let resource = declared.of(&message.bytes).map_err(|_| Fault::unreadable())?;
    let resource = resource.ok_or_else(|| missing(declared))?;
    Ok((resource, RequestBody::Message(message)))
}

fn missing(declared: &Resource) -> Fault {
    let message = format!(
        "access is decided about one `{}`, and the request does not name it: the field of `access.resource` has to have 1 to 256 bytes",
        declared.object_type
    );
    Fault::new(Component::Gateway, Reason::ResourceMissing, message)
}
