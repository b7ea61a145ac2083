//! What all operations share, and the one question they begin with: whose token is this?

use std::sync::Arc;

use accord_runtime::rate_limited_log::RateLimitedLog;
use accord_token::{
    Refusal, Type, Verified,
    verify::{self, Expected},
};

use super::{
    encryption_key::EncryptionKey,
    password::Passwords,
    policy::{AccessQuestion, Policies},
    state::{AuthState, StateCache},
    throttle::LoginThrottle,
};
use crate::{
    config::{KeysConfig, TokensConfig},
    metrics::Metrics,
    store::{Store, principals::Principal},
};

/// Everything that operations need.
pub struct Auth {
    /// What must last.
    pub store: Store,
    /// Keys and revocations as of now.
    pub state: StateCache,
    /// Encrypts signing keys, and makes refresh tokens.
    pub encryption_key: Arc<EncryptionKey>,
    /// Who may do what.
    pub(crate) policies: Policies,
    /// Checks passwords.
    pub passwords: Passwords,
    /// Slows down guessing.
    pub throttle: LoginThrottle,
    /// Logs clients that may not log in.
    pub(crate) refused_logins: RateLimitedLog,
    /// What tokens say.
    pub tokens: TokensConfig,
    /// How keys are made.
    pub(crate) keys: KeysConfig,
    /// What is counted.
    pub(crate) metrics: Metrics,
}

impl Auth {
    /// Verifies an access token on the state of this moment.
    pub fn verify_access_token(&self, token: &str, state: &AuthState) -> Result<Verified, Refusal> {
        self.verify(token, Type::Access, &self.tokens.audience, state)
    }

    /// Verifies a passport that was made for this audience.
    pub fn verify_passport(&self, token: &str, audience: &str, state: &AuthState) -> Result<Verified, Refusal> {
        self.verify(token, Type::Passport, audience, state)
    }

    /// Verifies again an access token that was verified before, on the state of this moment.
    pub fn reverify(&self, verified: &Verified, state: &AuthState) -> Result<(), Refusal> {
        verify::current(verified, &self.expected(Type::Access, &self.tokens.audience), verify::now(), &state.snapshot)
    }

    /// Whether the caller of one of auth's own methods holds this permission.
    pub fn authorize(&self, caller: &Verified, permission: &str, method: &str) -> Result<(), Refusal> {
        let question = AccessQuestion { permission, method, ..AccessQuestion::default() };
        let decision = self.policies.decide(&Principal::of(&caller.claims), &question);
        self.metrics.decision(decision.allowed);
        if decision.allowed { Ok(()) } else { Err(Refusal::PermissionMissing) }
    }

    fn verify(&self, token: &str, token_type: Type, audience: &str, state: &AuthState) -> Result<Verified, Refusal> {
        let verified = verify::signed(token, token_type, &state.snapshot.keys).map_err(Refusal::Invalid)?;
        verify::current(&verified, &self.expected(token_type, audience), verify::now(), &state.snapshot)?;
        Ok(verified)
    }

    fn expected<'a>(&'a self, token_type: Type, audience: &'a str) -> Expected<'a> {
        Expected { token_type, issuer: &self.tokens.issuer, audience }
    }
}
