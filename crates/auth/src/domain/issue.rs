//! Issues tokens: access tokens for identities, passports for requests on their way inward.

use std::time::Duration;

use accord_token::{Actor, Claims, Refusal, Type, Verified, refusal::actor_chain_too_long, sign, verify};
use uuid::Uuid;

use super::{denial::Denial, scope::Scope, state::AuthState};
use crate::{config::TokensConfig, store::principals::Principal};

/// The longest chain of actors in a passport (RFC 8693, section 4.1).
const MAX_ACTORS: usize = 8;

/// A token as it was signed.
pub struct SignedToken {
    /// The token itself.
    pub token: String,
    /// Its id.
    pub jti: String,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
    /// How long that is from now.
    pub life: Duration,
    /// What it is narrowed to.
    pub scope: Option<String>,
}

/// What an access token is limited to.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// How long it lives.
    pub life: Duration,
    /// What of its principal's permissions it has; None: all.
    pub scope: Option<Scope>,
    /// The API key that it comes from, by the name under which it is revoked with it.
    pub key: Option<String>,
}

impl Limits {
    /// This life, and everything that the principal may.
    pub fn life(life: Duration) -> Self {
        Self { life, ..Self::default() }
    }
}

/// An access token for an identity.
pub fn access_token(
    config: &TokensConfig,
    state: &AuthState,
    principal: &Principal,
    limits: Limits,
) -> Result<SignedToken, Denial> {
    let now = verify::now();
    let Limits { life, scope, key } = limits;
    let claims = Claims {
        iss: config.issuer.clone(),
        sub: principal.subject.clone(),
        aud: config.audience.clone(),
        exp: now + seconds(life.min(Type::Access.longest_life())),
        iat: now,
        nbf: now,
        jti: new_id(),
        kind: principal.kind,
        tenant: principal.tenant.clone(),
        roles: principal.roles.clone(),
        ep: principal.epoch,
        gep: state.revocations.global_epoch,
        ptj: None,
        act: None,
        scope: scope.map(Scope::into_text),
        key,
    };
    signed(claims, Type::Access, state)
}

/// A passport: the subject's token narrowed to one audience. Never lives longer than the token it comes from, and falls
/// with it. The workload that acts for the subject becomes the newest actor.
pub fn passport(
    config: &TokensConfig,
    state: &AuthState,
    subject: &Verified,
    audience: &str,
    actor: &str,
) -> Result<SignedToken, Denial> {
    let now = verify::now();
    let parent = &subject.claims;
    // Accepted within the leeway, it has no life left to pass on.
    if parent.exp <= now {
        return Err(Denial::Subject(Refusal::Expired));
    }
    if parent.actors().count() >= MAX_ACTORS {
        return Err(Denial::ActorChainTooLong(actor_chain_too_long(parent, Some(actor), audience)));
    }
    let claims = Claims {
        aud: audience.to_owned(),
        exp: parent.exp.min(now + seconds(config.passport_ttl)),
        iat: now,
        nbf: now,
        jti: new_id(),
        // The root of the chain is what gets revoked, so every passport names it.
        ptj: Some(parent.ptj.clone().unwrap_or_else(|| parent.jti.clone())),
        act: Some(Actor { sub: actor.to_owned(), act: parent.act.clone().map(Box::new) }),
        ..parent.clone()
    };
    signed(claims, Type::Passport, state)
}

fn signed(claims: Claims, token_type: Type, state: &AuthState) -> Result<SignedToken, Denial> {
    let key = state.signing_key(claims.iat).ok_or(Denial::NoKey)?;
    let token = sign::sign(&claims, token_type, &key)?;
    if token.len() > verify::LONGEST {
        return Err(Denial::TooLong);
    }
    let life = Duration::from_secs(u64::try_from(claims.exp - claims.iat).unwrap_or(0));
    Ok(SignedToken { token, jti: claims.jti, expires_at: claims.exp, life, scope: claims.scope })
}

fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2)
}
