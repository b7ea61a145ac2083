//! The passports of a service behind the gateway: who calls, verified by an interceptor before the service's handlers.
//!
//! The gateway has asked who may, by the contract; the service asks for the passport that shows it, which auth made for this
//! service and no other.

use accord_token::{PASSPORT_HEADER, Refusal};
use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};

use crate::{client::MeshClient, guard, refusal};

/// Lets in only calls with a good passport. Handlers find it as `Arc<Verified>` in the request's extensions.
#[derive(Clone)]
pub struct PassportGuard {
    mesh: Option<MeshClient>,
    audience: &'static str,
}

impl PassportGuard {
    /// Verifies with a client of the mesh that a passport is for `audience`, the name under which the gateway knows the service.
    /// Without a client it lets everybody in.
    pub fn new(mesh: Option<MeshClient>, audience: &'static str) -> Self {
        if mesh.is_none() {
            tracing::warn!("no [auth] is configured: every call is served, whoever makes it");
        }
        Self { mesh, audience }
    }
}

impl Interceptor for PassportGuard {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some(mesh) = &self.mesh else { return Ok(request) };
        let passport = passport(request.metadata());
        let verified = passport.and_then(|passport| mesh.verify_passport(passport, self.audience));
        let verified = verified.map_err(refusal::status)?;
        request.extensions_mut().insert(verified);
        Ok(request)
    }
}

/// The one passport of a call.
fn passport(metadata: &MetadataMap) -> Result<&str, Refusal> {
    guard::once(metadata.as_ref(), PASSPORT_HEADER)?.to_str().map_err(|_| Refusal::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<String, Refusal> {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(PASSPORT_HEADER, value.parse().unwrap());
        }
        passport(&metadata).map(ToOwned::to_owned)
    }

    #[test]
    fn one_passport_is_read() {
        assert_eq!(read(&["a"]), Ok("a".to_owned()));
    }

    #[test]
    fn call_without_a_passport_has_no_credential() {
        assert_eq!(read(&[]), Err(Refusal::Missing));
    }

    #[test]
    fn two_passports_are_refused() {
        assert_eq!(read(&["a", "junk"]), Err(Refusal::Repeated));
    }
}
