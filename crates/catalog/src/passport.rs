//! Who calls: the passport that the gateway or the cache sends along, made by auth for this service and no other.

use accord_mesh::{MeshClient, guard, refusal};
use accord_token::{PASSPORT_HEADER, Refusal};
use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};

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
        let verified = passport(request.metadata()).and_then(|passport| mesh.verify_passport(passport, AUDIENCE));
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
