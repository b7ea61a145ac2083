//! The passports of a service behind the gateway: who calls, verified by an interceptor before the service's handlers.
//!
//! The gateway has asked who may, by the contract; the service asks for the passport that shows it, which auth made for this
//! service and no other.

use accord_token::{PASSPORT_HEADER, Refusal};
use http::{HeaderMap, HeaderValue};
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

/// Puts a passport into the headers of a call inward, as a value that HPACK may keep in the table of its connection: the next
/// calls of its principal then carry a byte or two in the place of some hundred.
///
/// RFC 7541, 7.1.3, would have secrets never indexed where somebody else can put guesses into the same table and see the size of
/// what leaves. Here nobody can: an entry is found by the whole of name and value, callers' headers of this name are removed
/// before a call goes in, the connection is one of our own between two hops that trust each other, and the value ends in a
/// signature that nobody guesses. Where it is kept in memory it stays sensitive, so that no log shows it.
pub fn insert(headers: &mut HeaderMap, passport: &HeaderValue) {
    let mut passport = passport.clone();
    passport.set_sensitive(false);
    headers.insert(PASSPORT_HEADER, passport);
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
    fn passport_of_a_call_inward_may_be_indexed() {
        let mut kept = HeaderValue::from_static("a");
        kept.set_sensitive(true);
        let mut headers = HeaderMap::new();
        insert(&mut headers, &kept);
        assert!(!headers[PASSPORT_HEADER].is_sensitive());
        assert!(kept.is_sensitive());
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
