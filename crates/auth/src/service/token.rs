//! `TokenService`: open to all where the caller exchanges or ends a credential of its own.

use std::sync::Arc;

use accord_api::accord::auth::v1::{
    ExchangeRequest, ExchangeResponse, IntrospectRequest, IntrospectResponse, IssueForRequest, IssueForResponse,
    IssueRequest, IssueResponse, RefreshRequest, RefreshResponse, RevokeRequest, RevokeResponse,
    revoke_request::Target, token_service_server::TokenService,
};
use accord_mesh::guard::bearer;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{
    guard::{Caller, peer_address},
    message, status,
};
use crate::domain::{auth::Auth, denial::Denial, revocation::RevocationOrder};

/// Ends tokens of others. The contract can't ask for it: who ends one token needs nothing but that token.
const REVOKE: &str = "accord.auth.revoke";

/// The method that asks for it.
const METHOD: &str = "accord.auth.v1.TokenService/Revoke";

/// The service.
pub(crate) struct Tokens(pub(crate) Arc<Auth>);

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
        let address = peer_address(&request);
        let tokens = self.0.login(message::credential(request.into_inner().grant)?, address).await?;
        Ok(Response::new(message::issued(tokens)))
    }

    async fn issue_for(&self, request: Request<IssueForRequest>) -> Result<Response<IssueForResponse>, Status> {
        let IssueForRequest { credential, address } = request.into_inner();
        let address = address.parse().map_err(|_| Denial::Field("address", "must be the caller's IP address"))?;
        let tokens = self.0.login(message::callers(credential)?, address).await;
        let tokens = tokens.map_err(status::of_somebody_else)?;
        Ok(Response::new(message::issued_for(tokens)))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let tokens = self.0.refresh(&request.get_ref().refresh_token).await?;
        Ok(Response::new(message::refreshed(tokens)))
    }

    async fn exchange(&self, request: Request<ExchangeRequest>) -> Result<Response<ExchangeResponse>, Status> {
        let Caller { verified, state } = Caller::of(&request)?;
        let ExchangeRequest { subject_token, audience, actor_token } = request.get_ref();
        let (caller, actor_token) = (&verified.claims.sub, message::given(actor_token));
        let passport = self.0.exchange(subject_token, actor_token, audience, caller, &state)?;
        Ok(Response::new(message::exchanged(passport)))
    }

    async fn revoke(&self, mut request: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        let order = match request.get_mut().target.take() {
            Some(Target::Token(token)) => RevocationOrder::Token(token),
            Some(Target::Subject(subject)) => {
                RevocationOrder::Subject { subject, actor: self.revoker(request.metadata()).await? }
            }
            None => return Err(Denial::Field("target", "must be given").into()),
        };
        let revision = self.0.revoke(order).await?;
        Ok(Response::new(RevokeResponse { revision }))
    }

    async fn introspect(&self, request: Request<IntrospectRequest>) -> Result<Response<IntrospectResponse>, Status> {
        let token = self.0.introspect(&request.get_ref().token).await?;
        Ok(Response::new(message::introspected(token)))
    }
}

impl Tokens {
    /// Who revokes a subject. The method is public, so that its guard asked nothing.
    async fn revoker(&self, metadata: &MetadataMap) -> Result<String, Denial> {
        let state = self.0.state.current().await?;
        let caller = self.0.verify_access_token(bearer(metadata.as_ref())?, &state)?;
        self.0.authorize(&caller, REVOKE, METHOD).await?;
        Ok(caller.claims.sub)
    }
}
