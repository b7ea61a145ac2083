//! `TokenService`: open to all where the credential is what it is asked about.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use accord_api::accord::auth::v1::{
    ExchangeRequest, ExchangeResponse, IntrospectRequest, IntrospectResponse, IssueRequest, IssueResponse,
    RefreshRequest, RefreshResponse, RevokeRequest, RevokeResponse, revoke_request::Target,
    token_service_server::TokenService,
};
use accord_runtime::server::Peer;
use accord_token::{Flaw, Refusal, Verified, verify};
use tonic::{Request, Response, Status};

use crate::{auth::Auth, denial::Denial, ledger::State, message, mint, store::principals::is_name};

/// Makes passports of others' tokens.
const EXCHANGE: &str = "accord.auth.exchange";

/// Ends tokens of others.
const REVOKE: &str = "accord.auth.revoke";

/// The service.
pub struct Tokens(pub Arc<Auth>);

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
        let peer = request.extensions().get::<Peer>();
        let address = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address.ip());
        let tokens = self.0.login(request.into_inner(), address).await?;
        self.0.figures.token("access");
        Ok(Response::new(IssueResponse {
            access_token: tokens.access.token,
            expires_in: duration(tokens.access.life),
            refresh_token: tokens.refresh,
        }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let tokens = self.0.refresh(&request.get_ref().refresh_token).await?;
        self.0.figures.token("access");
        Ok(Response::new(RefreshResponse {
            access_token: tokens.access.token,
            expires_in: duration(tokens.access.life),
            refresh_token: tokens.refresh,
        }))
    }

    async fn exchange(&self, request: Request<ExchangeRequest>) -> Result<Response<ExchangeResponse>, Status> {
        let state = self.0.ledger.current().await?;
        let caller = self.0.guard(request.metadata(), EXCHANGE, &state)?;
        let ExchangeRequest { subject_token, audience } = request.get_ref();
        if !is_name(audience) {
            return Err(Denial::Field("audience", "must name one service").into());
        }
        let subject = self.subject(subject_token, &caller, &state)?;
        let passport = mint::passport(&self.0.tokens, &state, &subject, audience, &caller.claims.sub)?;
        self.0.figures.token("passport");
        Ok(Response::new(ExchangeResponse { passport: passport.token, expires_in: duration(passport.life) }))
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        let state = self.0.ledger.current().await?;
        match &request.get_ref().target {
            Some(Target::Token(token)) => self.revoke_token(token, &state).await?,
            Some(Target::Subject(subject)) => {
                let caller = self.0.guard(request.metadata(), REVOKE, &state)?;
                self.revoke_subject(subject, &caller.claims.sub).await?;
            }
            None => return Err(Denial::Field("target", "must be given").into()),
        }
        // Read at once, so that verifiers learn of it at once.
        let revision = self.0.ledger.current().await?.revocations.revision;
        Ok(Response::new(RevokeResponse { revision }))
    }

    async fn introspect(&self, request: Request<IntrospectRequest>) -> Result<Response<IntrospectResponse>, Status> {
        let state = self.0.ledger.current().await?;
        let Ok(verified) = self.0.access_token(&request.get_ref().token, &state) else {
            return Ok(Response::new(IntrospectResponse::default()));
        };
        Ok(Response::new(IntrospectResponse {
            active: true,
            principal: Some(message::principal(&verified.claims)),
            expire_time: Some(prost_types::Timestamp { seconds: verified.claims.exp, nanos: 0 }),
            audience: verified.claims.aud,
        }))
    }
}

impl Tokens {
    /// An access token, or a passport that was made for this caller: a service can pass on only what it was given.
    fn subject(&self, token: &str, caller: &Verified, state: &State) -> Result<Verified, Denial> {
        match self.0.access_token(token, state) {
            Err(Refusal::Invalid(Flaw::Type)) => self.0.passport(token, &caller.claims.sub, state),
            verified => verified,
        }
        .map_err(Denial::Subject)
    }

    /// A token that is not good any more needs no ending, and nothing is said about why (RFC 7009, section 2.2).
    async fn revoke_token(&self, token: &str, state: &State) -> Result<(), Denial> {
        if self.0.end_family_of(token).await? {
            return Ok(());
        }
        let Ok(verified) = self.0.access_token(token, state) else { return Ok(()) };
        let claims = verified.claims;
        let mut change = self.0.store.change().await?;
        let revision = change.next_revision().await?;
        change.revoke_token(&claims.jti, claims.exp, revision).await?;
        change.record(verify::now(), &claims.sub, "token.revoke", &claims.jti).await?;
        Ok(change.commit().await?)
    }

    async fn revoke_subject(&self, subject: &str, actor: &str) -> Result<(), Denial> {
        let mut change = self.0.store.change().await?;
        let revision = change.next_revision().await?;
        if !change.raise_epoch(subject, verify::now(), revision).await? {
            return Err(Denial::Field("subject", "is not known"));
        }
        change.record(verify::now(), actor, "subject.revoke", subject).await?;
        Ok(change.commit().await?)
    }
}

pub(super) fn duration(life: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(life).ok()
}
