//! Token exchange (RFC 8693): a token in, a passport out.

use accord_token::{InvalidTokenReason, Refusal, Verified};

use super::{auth::Auth, denial::Denial, issue::SignedToken, state::AuthState};
use crate::store::principals::is_name;

impl Auth {
    /// A passport: the subject's token narrowed to one audience.
    pub fn exchange(
        &self,
        subject_token: &str,
        audience: &str,
        caller: &Verified,
        state: &AuthState,
    ) -> Result<SignedToken, Denial> {
        if !is_name(audience) {
            return Err(Denial::Field("audience", "must name one service"));
        }
        let subject = self.exchangeable(subject_token, caller, state).map_err(Denial::Subject)?;
        self.passport(&subject, audience, caller, state)
    }

    /// An access token, or a passport that was made for this caller: a service can pass on only what it was given.
    fn exchangeable(&self, token: &str, caller: &Verified, state: &AuthState) -> Result<Verified, Refusal> {
        match self.verify_access_token(token, state) {
            Err(Refusal::Invalid(InvalidTokenReason::Type)) => self.verify_passport(token, &caller.claims.sub, state),
            verified => verified,
        }
    }
}
