//! Token exchange (RFC 8693): a token in, a passport out.

use accord_token::{InvalidTokenReason, Kind, Refusal, Verified};

use super::{auth::Auth, denial::Denial, issue::SignedToken, state::AuthState};
use crate::store::principals::is_name;

impl Auth {
    /// A passport: the subject's token narrowed to one audience. The actor is the caller, a workload by its name, where it brings
    /// no other's token.
    pub fn exchange(
        &self,
        subject_token: &str,
        actor_token: Option<&str>,
        audience: &str,
        caller: &str,
        state: &AuthState,
    ) -> Result<SignedToken, Denial> {
        if !is_name(audience) {
            return Err(Denial::Field("audience", "must name one service"));
        }
        let actor = self.actor(actor_token, state)?;
        let actor = actor.as_ref().map_or(caller, |actor| &actor.claims.sub);
        let subject = self.exchangeable(subject_token, actor, state).map_err(Denial::Subject)?;
        self.passport(&subject, audience, actor, state)
    }

    /// The workload that acts for a subject, where its token was given (RFC 8693, `actor_token`).
    pub(super) fn actor(&self, token: Option<&str>, state: &AuthState) -> Result<Option<Verified>, Denial> {
        let Some(token) = token else { return Ok(None) };
        let actor = self.verify_access_token(token, state).map_err(Denial::Actor)?;
        match actor.claims.kind {
            Kind::Service => Ok(Some(actor)),
            Kind::User => Err(Denial::Field("actor_token", "must be the access token of a service")),
        }
    }

    /// An access token, or a passport that was made for this actor, whose name is the audience's: a service can pass on only
    /// what it was given.
    pub(super) fn exchangeable(&self, token: &str, actor: &str, state: &AuthState) -> Result<Verified, Refusal> {
        match self.verify_access_token(token, state) {
            Err(Refusal::Invalid(InvalidTokenReason::Type)) => self.verify_passport(token, actor, state),
            verified => verified,
        }
    }
}
