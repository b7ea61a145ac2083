//! Claims for tests, which say of them what they are about and nothing else.

use accord_token::{Claims, Kind};

/// Claims of this subject that hold for ever.
pub(crate) fn claims(kind: Kind, sub: &str) -> Claims {
    Claims {
        iss: String::new(),
        sub: sub.to_owned(),
        aud: String::new(),
        exp: i64::MAX,
        iat: 0,
        nbf: 0,
        jti: "jti".to_owned(),
        kind,
        tenant: String::new(),
        roles: Vec::new(),
        ep: 0,
        gep: 0,
        ptj: None,
        act: None,
        scope: None,
        key: None,
    }
}
