//! Calls to the other binaries of the mesh, made as the workload that the gateway is.

use accord_runtime::{
    deadline::Deadline,
    request::{self, RequestId},
};
use accord_token::Member;
use tonic::{Request, Status};

/// A request that carries the gateway's own token beside what always travels along.
pub fn request<T>(message: T, member: &Member, deadline: Deadline, id: &RequestId) -> Result<Request<T>, Status> {
    let mut request = request::outbound(message, deadline, id);
    let token = member.workload_token().map_err(|refusal| refusal.status())?;
    let bearer = request::bearer(&token).ok_or_else(|| Status::internal("the workload token is not a header value"))?;
    request.metadata_mut().insert("authorization", bearer);
    Ok(request)
}
