//! What all operations share, and the one question they begin with: whose token is this?

use std::sync::Arc;

use accord_runtime::{rate_limited_log::RateLimitedLog, reload::Reloading};
use accord_token::{
    InvalidTokenReason, Refusal, Type, Verified,
    verify::{self, Expected},
};

use super::{
    decoy_keys::DecoyKeys,
    encryption_key::EncryptionKey,
    issuers::Issuers,
    password::Passwords,
    policy::{AccessQuestion, Policies, PolicyDecision},
    state::{AuthState, StateCache},
    throttle::{KeyThrottle, LoginThrottle},
};
use crate::{
    config::{KeysConfig, OauthConfig, TokensConfig},
    metrics::Metrics,
    store::{Store, StoreError, principals::Principal},
};

/// Tokens whose checked signature is remembered: those of the workloads that ask, and of callers whom they ask about. A few
/// megabytes.
pub(crate) const SIGNATURES: u64 = 10_000;

/// API keys of proxies' requests that are remembered.
pub(crate) const PROXIED_KEYS: u64 = 10_000;

/// Where OAuth's clients get tokens; assertions name it as their audience.
pub(crate) const TOKEN_PATH: &str = "/oauth2/token";

/// Everything that operations need.
pub struct Auth {
    /// What must last.
    pub store: Store,
    /// Keys and revocations as of now.
    pub state: StateCache,
    /// Encrypts signing keys, and makes refresh tokens.
    pub encryption_key: Arc<EncryptionKey>,
    /// Who may do what.
    pub(crate) policies: Arc<Reloading<Policies>>,
    /// Checks passwords.
    pub passwords: Passwords,
    /// By what assertions of clients are checked that there are not.
    pub decoys: DecoyKeys,
    /// Slows down guessing.
    pub throttle: LoginThrottle,
    /// The same of API keys.
    pub key_throttle: KeyThrottle,
    /// The same of certificates that nobody is known by, apart: neither stands in the way of the other.
    pub certificate_throttle: KeyThrottle,
    /// Tokens whose signature was checked, by their SHA-256. What a signature says never changes; all else is checked at each use.
    pub(crate) signatures: moka::sync::Cache<[u8; 32], Arc<Verified>>,
    /// What API keys bring that proxies' requests come with, by the SHA-256 of the key. It is checked at each use.
    pub(crate) proxied_keys: moka::sync::Cache<[u8; 32], Arc<Verified>>,
    /// Who else says who somebody is.
    pub(crate) issuers: Issuers,
    /// Logs clients that may not log in.
    pub(crate) refused_logins: RateLimitedLog,
    /// What tokens say.
    pub tokens: TokensConfig,
    /// Where OAuth is served.
    pub(crate) oauth: OauthConfig,
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

    /// The same of a token of either kind, which is for whom it was for.
    pub fn reverify_any(&self, verified: &Verified, state: &AuthState) -> Result<(), Refusal> {
        let expected = self.expected(verified.token_type, &verified.claims.aud);
        verify::current(verified, &expected, verify::now(), &state.snapshot)
    }

    /// Whether the caller of one of auth's own methods holds this permission.
    pub async fn authorize(&self, caller: &Verified, permission: &str, method: &str) -> Result<(), Refusal> {
        // A passport says through whose hands the call came.
        let act: Vec<_> = caller.claims.actors().map(str::to_owned).collect();
        let question = AccessQuestion { permission, method, act: &act, protocol: "grpc", ..AccessQuestion::default() };
        let question = question.of(caller);
        permitted(self.decided(&self.policies.get(), &caller.claims, &question).await)
    }

    /// Whether a client that brings no token holds this permission.
    pub(crate) async fn authorize_client(
        &self,
        client: &Principal,
        permission: &str,
        method: &str,
    ) -> Result<(), Refusal> {
        let question =
            AccessQuestion { permission, method, protocol: "http", now: verify::now(), ..AccessQuestion::default() };
        permitted(self.decided_for(&self.policies.get(), client, &question).await)
    }

    /// Where callers reach this path.
    pub(crate) fn url(&self, path: &str) -> String {
        let base = self.oauth.url.as_ref().unwrap_or(&self.tokens.issuer);
        format!("{}{path}", base.trim_end_matches('/'))
    }

    /// The audience that assertions of clients may have beside the issuer.
    pub(super) fn token_endpoint(&self) -> String {
        self.url(TOKEN_PATH)
    }

    fn verify(&self, token: &str, token_type: Type, audience: &str, state: &AuthState) -> Result<Verified, Refusal> {
        if token.len() > verify::LONGEST {
            return Err(Refusal::Invalid(InvalidTokenReason::TooLong));
        }
        let expected = self.expected(token_type, audience);
        let fingerprint = verify::fingerprint(token);
        if let Some(verified) = self.signatures.get(&fingerprint) {
            verify::current(&verified, &expected, verify::now(), &state.snapshot)?;
            return Ok(Verified::clone(&verified));
        }
        let verified = verify::signed(token, token_type, &state.snapshot.keys).map_err(Refusal::Invalid)?;
        verify::current(&verified, &expected, verify::now(), &state.snapshot)?;
        // Only what was accepted is remembered, so that nobody fills the memory with tokens that are good for nothing.
        self.signatures.insert(fingerprint, Arc::new(verified.clone()));
        Ok(verified)
    }

    fn expected<'a>(&'a self, token_type: Type, audience: &'a str) -> Expected<'a> {
        Expected { token_type, issuer: &self.tokens.issuer, audience }
    }
}

fn permitted(decision: Result<PolicyDecision, StoreError>) -> Result<(), Refusal> {
    match decision {
        Ok(decision) if decision.allowed => Ok(()),
        Ok(_) => Err(Refusal::PermissionMissing),
        Err(error) => {
            // Said to the operator alone: what the engine says may quote values.
            error.log();
            Err(Refusal::Unavailable)
        }
    }
}
