//! Who calls: the passport that the gateway or the cache sends along, made by auth for this service and no other.

use accord_mesh::{MeshClient, refusal};
use accord_token::{PASSPORT_HEADER, Refusal};
use tonic::{Request, Status, service::Interceptor};

/// The name under which the gateway knows this service.
const AUDIENCE: &str = "catalog";

/// Lets in only calls with a good passport. Handlers find it as `Arc<Verified>` in the request's extensions.
#[derive(Clone)]
pub(crate) struct Guard(Option<MeshClient>);

impl Guard {
    /// Verifies with a client of the mesh; without one, lets everybody in.
    pub(crate) fn new(mesh: Option<MeshClient>) -> Self {
        if mesh.is_none() {
            tracing::warn!("no [auth] is configured: every call is served, whoever makes it");
        }
        Self(mesh)
    }
}

impl Interceptor for Guard {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some(mesh) = &self.0 else { return Ok(request) };
        let passport = request.metadata().get(PASSPORT_HEADER).and_then(|value| value.to_str().ok());
        let verified = passport.ok_or(Refusal::Missing).and_then(|passport| mesh.verify_passport(passport, AUDIENCE));
        let verified = verified.map_err(refusal::status)?;
        request.extensions_mut().insert(verified);
        Ok(request)
    }
}
