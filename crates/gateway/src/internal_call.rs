//! Internal calls: to the other binaries of the mesh, made as the workload that the gateway is.

use accord_mesh::{MeshClient, passport, refusal};
use accord_runtime::{
    deadline::Deadline,
    request::{self, RequestId},
};
use http::HeaderValue;
use std::mem;
use tonic::{Request, Status, metadata::MetadataMap};

/// A request that carries the gateway's own token beside what always travels along.
pub(crate) fn request<T>(
    message: T,
    mesh: &MeshClient,
    deadline: Deadline,
    id: &RequestId,
) -> Result<Request<T>, Status> {
    let mut request = request::outbound(message, deadline, id);
    let bearer = mesh.workload_bearer().map_err(refusal::status)?;
    request.metadata_mut().insert("authorization", bearer);
    Ok(request)
}

/// The same request with the passport of the call that it is made for.
pub(crate) fn with_passport<T>(mut request: Request<T>, passport: Option<&HeaderValue>) -> Request<T> {
    let Some(passport) = passport else { return request };
    let mut headers = mem::take(request.metadata_mut()).into_headers();
    passport::insert(&mut headers, passport);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    request
}
