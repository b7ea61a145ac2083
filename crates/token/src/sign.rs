//! Signing: claims into a token.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    claims::{Claims, Type},
    keys::{KeyError, SigningKey},
};

/// Signs the claims as a token of this type, in JWS compact form (RFC 7515).
pub fn sign(claims: &Claims, token_type: Type, key: &SigningKey) -> Result<String, KeyError> {
    let public = key.public();
    let header =
        serde_json::json!({"alg": public.algorithm.name(), "kid": public.kid, "typ": token_type.name()}).to_string();
    // Strings, integers and lists of strings always have a JSON form.
    let payload = serde_json::to_vec(claims).unwrap_or_default();
    let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}
