//! What all services of this binary share, and the one question they all begin with: whose token is this?

use std::sync::Arc;

use accord_mesh::admit::bearer;
use accord_token::{Refusal, Type, Verified, verify};
use tonic::metadata::MetadataMap;

use crate::{
    config::{KeysConfig, TokensConfig},
    denial::Denial,
    figures::Figures,
    ledger::{Ledger, State},
    password::Passwords,
    policy::Policies,
    store::{Store, principals::Principal},
    throttle::Throttle,
    vault::Vault,
};

/// Everything the services need.
pub struct Auth {
    /// What must last.
    pub store: Store,
    /// What is known now.
    pub ledger: Ledger,
    /// What seals and proves.
    pub vault: Arc<Vault>,
    /// Who may do what.
    pub policies: Policies,
    /// Checks passwords.
    pub passwords: Passwords,
    /// Slows down guessing.
    pub throttle: Throttle,
    /// What tokens say.
    pub tokens: TokensConfig,
    /// How keys are made.
    pub keys: KeysConfig,
    /// What is counted.
    pub figures: Figures,
}

impl Auth {
    /// Verifies an access token on the state of this moment.
    pub fn access_token(&self, token: &str, state: &State) -> Result<Verified, Refusal> {
        self.verify(token, Type::Access, &self.tokens.audience, state)
    }

    /// Verifies a passport that was made for this audience.
    pub fn passport(&self, token: &str, audience: &str, state: &State) -> Result<Verified, Refusal> {
        self.verify(token, Type::Passport, audience, state)
    }

    /// Who calls, by the one bearer token of the call.
    pub fn caller(&self, metadata: &MetadataMap, state: &State) -> Result<Verified, Denial> {
        Ok(self.access_token(bearer(metadata)?, state)?)
    }

    /// Who calls; refused without this permission. The first line of every guarded method.
    pub fn guard(&self, metadata: &MetadataMap, permission: &str, state: &State) -> Result<Verified, Denial> {
        let caller = self.caller(metadata, state)?;
        let verdict = self.policies.decide(&Principal::of(&caller.claims), permission, "", "");
        self.figures.decision(verdict.allowed);
        if verdict.allowed { Ok(caller) } else { Err(Denial::Caller(Refusal::PermissionMissing)) }
    }

    fn verify(&self, token: &str, token_type: Type, audience: &str, state: &State) -> Result<Verified, Refusal> {
        let expected = verify::Expected { token_type, issuer: &self.tokens.issuer, audience };
        let verified = verify::signed(token, token_type, &state.snapshot.keys).map_err(Refusal::Invalid)?;
        verify::current(&verified, &expected, verify::now(), &state.snapshot)?;
        Ok(verified)
    }
}
