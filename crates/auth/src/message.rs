//! Keys and principals as the API's messages carry them.

use accord_api::accord::{
    auth::v1::{Key, Principal},
    policy::v1::PrincipalKind,
};
use accord_token::{Claims, Kind, PublicKey};

/// A public key as it is published.
pub fn key(key: &PublicKey) -> Key {
    Key { kid: key.kid.clone(), alg: key.algorithm.name().to_owned(), public_key: key.bytes.clone() }
}

/// The identity that a token's claims describe.
pub fn principal(claims: &Claims) -> Principal {
    let kind = match claims.kind {
        Kind::User => PrincipalKind::User,
        Kind::Service => PrincipalKind::Service,
    };
    Principal {
        subject: claims.sub.clone(),
        kind: kind.into(),
        tenant: claims.tenant.clone(),
        roles: claims.roles.clone(),
    }
}
