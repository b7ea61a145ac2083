//! Callers who show a certificate: the gateway says which identity it read from one that it verified, and gets an access token for the
//! principal of that identity. The token ends with the identity, as that of an API key ends with its key.

use std::net::IpAddr;

use accord_runtime::client_identity::ClientIdentity;
use accord_token::verify;

use super::{
    api_key::write_use,
    auth::Auth,
    denial::Denial,
    issue::{self, Limits},
    login::IssuedTokens,
};

impl Auth {
    /// An access token for whoever showed a certificate of this identity at this address.
    pub(super) async fn login_certificate(&self, identity: &str, address: IpAddr) -> Result<IssuedTokens, Denial> {
        // Nothing is looked up for what can be no identity, such as the id of one.
        let identity = ClientIdentity::parse(identity).ok_or(Denial::Credential)?;
        self.certificate_throttle.count_attempt(address).map_err(Denial::Throttled)?;
        let tokens = self.tokens_of_certificate(identity.as_str()).await;
        if !matches!(tokens, Err(Denial::Credential)) {
            self.certificate_throttle.cancel_attempt(address);
        }
        tokens
    }

    async fn tokens_of_certificate(&self, identity: &str) -> Result<IssuedTokens, Denial> {
        let known = self.store.certificate_identity(identity).await?.filter(|known| !known.disabled);
        let known = known.ok_or(Denial::Credential)?;
        let principal = self.active(&known.subject).await?;
        let state = self.state.current().await?;
        let limits = Limits { key: Some(known.source()), ..Limits::life(self.tokens.access_ttl) };
        let access = issue::access_token(&self.tokens, &state, &principal, limits)?;
        let now = verify::now();
        if known.is_use_news(now) {
            let (store, id) = (self.store.clone(), known.id);
            write_use(async move { store.touch_certificate_identity(&id, now).await });
        }
        Ok(IssuedTokens { access, refresh: None })
    }
}
