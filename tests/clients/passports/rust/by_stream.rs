//! Verifies the passports of a service's calls, and follows auth's stream of revocations: a revoked one is refused within the bound.

use std::{sync::Arc, time::Duration};

use accord_mesh::{MeshClient, MeshConfig, PassportGuard, client::JoinError};
use accord_runtime::{config::Secret, shutdown::Shutdown};
use accord_token::Verified;
use tonic::{Request, Status};

/// The interceptor of a service that the gateway knows as `catalog`; auth knows it by the client `client_id`. It is made at once, and
/// refuses every call until it has heard of auth.
pub(crate) fn guard(
    auth: &str,
    client_id: &str,
    client_secret: Secret,
    shutdown: Shutdown,
) -> Result<PassportGuard, JoinError> {
    let config = MeshConfig {
        url: auth.to_owned(),
        client_id: client_id.to_owned(),
        client_secret,
        // Whoever hears nothing of revocations for so long refuses every passport.
        staleness_bound: Duration::from_secs(5),
        ..MeshConfig::default()
    };
    Ok(PassportGuard::new(Some(MeshClient::join(&config, shutdown)?), "catalog"))
}

/// Who calls, in a handler behind the interceptor: `CatalogServer::with_interceptor(service, guard)`.
pub(crate) fn caller<T>(request: &Request<T>) -> Result<&str, Status> {
    let verified = request.extensions().get::<Arc<Verified>>();
    Ok(&verified.ok_or_else(|| Status::internal("the service is served without its guard"))?.claims.sub)
}
