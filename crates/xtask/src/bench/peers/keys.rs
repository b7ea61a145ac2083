//! The key that auth signs with, as peers want it: they check the same tokens.

use accord_api::accord::auth::v1::{ListKeysRequest, key_service_client::KeyServiceClient};
use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::bench::stage::Stage;

/// A public key of auth.
pub(super) struct Key {
    kid: String,
    /// `EdDSA` or `ES256`.
    pub(super) alg: String,
    bytes: Vec<u8>,
}

impl Key {
    /// Asks auth.
    pub(super) async fn of(stage: &Stage) -> Result<Self> {
        let (_, fabric, _) = stage.fabrics.first().context("nothing is measured")?;
        let keys = KeyServiceClient::new(fabric.auth.channel()?).list_keys(ListKeysRequest {}).await?.into_inner().keys;
        let key = keys.into_iter().next().context("auth has no key")?;
        Ok(Self { kid: key.kid, alg: key.alg, bytes: key.public_key })
    }

    /// RFC 7517.
    pub(super) fn jwks(&self) -> Result<Value> {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match (&*self.alg, self.bytes.as_slice()) {
            ("EdDSA", bytes) => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(bytes) }),
            ("ES256", [4, point @ ..]) if point.len() == 64 => {
                json!({ "kty": "EC", "crv": "P-256", "x": text(&point[..32]), "y": text(&point[32..]) })
            }
            (alg, _) => bail!("auth signs with {alg}"),
        };
        key["kid"] = self.kid.as_str().into();
        key["alg"] = self.alg.as_str().into();
        Ok(json!({ "keys": [key] }))
    }
}
