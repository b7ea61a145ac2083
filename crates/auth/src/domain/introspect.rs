//! Token introspection (RFC 7662). Only programs reach it: the contract asks for a permission, which the built-in policies grant them.

use accord_token::Verified;

use super::{auth::Auth, denial::Denial};

impl Auth {
    /// What a token says; None where it is not good now.
    pub async fn introspect(&self, token: &str) -> Result<Option<Verified>, Denial> {
        let state = self.state.current().await?;
        Ok(self.verify_access_token(token, &state).ok())
    }
}
