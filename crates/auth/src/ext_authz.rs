//! External authorization: whether requests may pass, for proxies that are not the gateway. Envoy and Istio ask by gRPC
//! (`envoy.service.auth.v3`), nginx and Traefik by HTTP.
//!
//! Both faces are served at a listener of their own, which is off unless an address is given. Whoever reaches it may ask, in the
//! name of `ext_authz.actor`: it is for the proxies alone, by a network policy, the loopback interface or client certificates.
//!
//! Invariant: an answer is built as a denial, and a single place (`answer::Answer::of`) turns it.

mod answer;
mod credential;
mod grpc;
mod http;

use std::sync::Arc;

use accord_api::{
    FILE_DESCRIPTOR_SET, accord::fault::v1::Reason, envoy::service::auth::v3::authorization_server::AuthorizationServer,
};
use accord_mesh::guard::{self, Guard, GuardedServer};
use accord_runtime::{fault, grpc_server::GrpcServer, health::Health};
use tonic::Status;

use self::{answer::Answer, grpc::Authorization, http::PATHS};
use crate::{
    config::ExtAuthzConfig,
    domain::{
        admit::{NotAdmitted, ProxiedRequest},
        auth::Auth,
    },
    service::guard::LocalDecider,
};

/// The service that Envoy asks.
const SERVICES: &[&str] = &["envoy.service.auth.v3.Authorization"];

/// Who may ask it.
const OVERLAY: &str = include_str!("ext_authz/overlay.toml");

/// Both faces, with what every server carries.
pub fn server(
    config: &ExtAuthzConfig,
    auth: &Arc<Auth>,
    health: &Health,
) -> anyhow::Result<GuardedServer<LocalDecider>> {
    let contract = guard::contract_with(FILE_DESCRIPTOR_SET, SERVICES, Some(("overlay.toml", OVERLAY)))?;
    let guard = Guard::new(&Arc::new(contract), LocalDecider(Arc::clone(auth)));
    let proxy = Proxy { auth: Arc::clone(auth), actor: config.actor.as_str().into() };
    let server = GrpcServer::new(health, guard)
        .descriptors(FILE_DESCRIPTOR_SET, SERVICES)
        .service(AuthorizationServer::new(Authorization(proxy.clone())))
        .http(PATHS, http::router(proxy))
        .inspection("ext_authz_inspection");
    Ok(server.into_service()?)
}

/// Who asks.
#[derive(Clone)]
struct Proxy {
    auth: Arc<Auth>,
    actor: Arc<str>,
}

impl Proxy {
    /// The answer about a request.
    async fn answer(&self, request: &ProxiedRequest<'_>) -> Answer {
        let admitted = match self.auth.state.current().await {
            Ok(state) => self.auth.admit(request, &self.actor, &state).await.map_err(Status::from),
            Err(error) => Err(error.into()),
        };
        Answer::of(admitted)
    }
}

impl From<NotAdmitted> for Status {
    fn from(refused: NotAdmitted) -> Self {
        let reason = match &refused {
            NotAdmitted::MethodUnknown => Reason::MethodUnknown,
            NotAdmitted::Undeclared | NotAdmitted::UpstreamMissing => Reason::MethodUndeclared,
            NotAdmitted::Kind => Reason::PrincipalKindRefused,
            NotAdmitted::Resource => Reason::ResourceMissing,
            NotAdmitted::Permission { .. } => Reason::PermissionMissing,
            NotAdmitted::Denial(_) => Reason::Internal,
        };
        match refused {
            NotAdmitted::Denial(denial) => denial.into(),
            other => fault::status(reason, other.to_string()),
        }
    }
}
