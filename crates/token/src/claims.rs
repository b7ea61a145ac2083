//! Claims of a token.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Tokens are accepted this much before their time and after it, since clocks of machines differ by a little.
pub const LEEWAY: Duration = Duration::from_secs(10);

/// How wrong a clock may be, by whatever fault, without anything that was revoked or used becoming good again.
const CLOCK_ERROR: Duration = Duration::from_hours(1);

/// How long after its end a token that was revoked, or an assertion that was used, is remembered. One clock may be ahead and another
/// behind, and each accepts within the leeway.
pub const RETENTION: Duration = Duration::from_secs(2 * (CLOCK_ERROR.as_secs() + LEEWAY.as_secs()));

/// What ended before this moment has ended on every clock, and is forgotten. Seconds since 1970.
pub fn forgotten_before(now: i64) -> i64 {
    now.saturating_sub(i64::try_from(RETENTION.as_secs()).unwrap_or(i64::MAX))
}

/// The two kinds of tokens, told apart by `typ`, so that neither is ever taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// What a client shows to the gateway (RFC 9068).
    Access,
    /// What a request carries on its way inward.
    Passport,
}

impl Type {
    /// The header's `typ`.
    pub fn name(self) -> &'static str {
        match self {
            Type::Access => "at+jwt",
            Type::Passport => "accord-passport+jwt",
        }
    }

    /// The longest life a token of this kind may claim: 24 h, and 5 min for a passport.
    pub const fn longest_life(self) -> Duration {
        match self {
            Type::Access => Duration::from_hours(24),
            Type::Passport => Duration::from_mins(5),
        }
    }
}

/// The claims of both kinds of tokens (RFC 7519, RFC 9068, RFC 8693).
///
/// Times are whole seconds since 1970. Claims unknown here are let pass, so that an older verifier reads a newer issuer's
/// tokens; none of them can widen what is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whose it is: stable and unique.
    pub sub: String,
    /// For whom it is; exactly one.
    pub aud: String,
    /// When it ends.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// When it begins.
    pub nbf: i64,
    /// Its own unique name.
    pub jti: String,
    /// A person or a program.
    pub kind: Kind,
    /// The subject's tenant; empty where there is only one.
    pub tenant: String,
    /// The subject's roles.
    pub roles: Vec<String>,
    /// The subject's epoch at issue: the token is revoked once the epoch has risen above it.
    pub ep: u64,
    /// The global epoch at issue.
    pub gep: u64,
    /// The `jti` of the access token from which a passport comes, however many hops ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ptj: Option<String>,
    /// Through whose hands a passport went, newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// The permissions that it is narrowed to, by name, with a space between them (RFC 9068, section 2.2.3). None: all that its
    /// subject has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The API key from which it comes, by a name under which everything is revoked that comes from the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Claims {
    /// Whether its scope leaves this permission to it; being authenticated needs none.
    pub fn permits(&self, permission: &str) -> bool {
        let names = |scope: &String| scope.split(' ').any(|name| name == permission);
        permission.is_empty() || self.scope.as_ref().is_none_or(names)
    }

    /// The workloads through whose hands it went, newest first.
    pub fn actors(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(self.act.as_ref(), |actor| actor.act.as_deref()).map(|actor| &*actor.sub)
    }
}

/// A kind of principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A person.
    User,
    /// A program or workload.
    Service,
}

/// One hop of the delegation chain (RFC 8693, section 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The workload that acted.
    pub sub: String,
    /// The one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
}
