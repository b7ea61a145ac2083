//! Why an administrator's change is refused, and what to do about it.

use accord_token::{Type, foreign::JwkError};

use super::{MAX_CLIENT_KEYS, MAX_ROLES, MIN_CLIENT_SECRET, SecretError};
use crate::{
    domain::{
        denial::Denial,
        key_rotation::KeyRotationError,
        password::{self, Overloaded},
    },
    store::StoreError,
};

/// Why an administrator's change is refused.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Auth says no.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The name is taken.
    #[error("`{0}` exists already")]
    Exists(String),
    /// A client would act with roles that nobody named.
    #[error("`{0}` exists, and is no client: choose another id")]
    NoClient(String),
    /// There is no such principal.
    #[error("`{0}` is not known; correct the name, or add it with `accord-auth principal add`")]
    Unknown(String),
    /// There is no such client.
    #[error("`{0}` is no client; correct the id, or add it with `accord-auth client add`")]
    UnknownClient(String),
    /// There is no such API key.
    #[error("`{0}` is no API key; name its public part, `ak_` and 16 digits, as `accord-auth api-key list` does")]
    UnknownApiKey(String),
    /// What no certificate has as its identity.
    #[error(
        "`{0}` is no identity of a certificate: it must be `spiffe://TRUST_DOMAIN/PATH`, as SPIFFE writes it, or `dns:NAME` in lower case"
    )]
    CertificateIdentity(String),
    /// There is no such certificate identity.
    #[error("`{0}` is no certificate identity; name it or its id as `accord-auth certificate-identity list` does")]
    UnknownCertificateIdentity(String),
    /// Somebody is linked.
    #[error("`{0}` of this issuer is linked already; `accord-auth principal unlink` takes that away")]
    Linked(String),
    /// Nobody is linked.
    #[error("`{external}` of this issuer is not linked to `{subject}`; `accord-auth principal show` names its links")]
    NotLinked {
        /// The principal.
        subject: String,
        /// What the issuer calls them.
        external: String,
    },
    /// Keys that no client can have.
    #[error(
        "the client's keys can't be used: {0}; give a JWK set with up to {MAX_CLIENT_KEYS} public keys, each Ed25519 or P-256"
    )]
    ClientKeys(JwkError),
    /// A set without a key.
    #[error("there is no key in the JWK set; a client needs one to log in with")]
    NoClientKey,
    /// A JWK that is none, or more.
    #[error("the key is no JWK; give one public key as RFC 7517 writes it, `{{\"kty\": …}}`")]
    OneClientKey,
    /// RSA.
    #[error("a client's keys must be Ed25519 or P-256: RSA is accepted of issuers alone")]
    ClientKeyAlgorithm,
    /// Two keys of one name.
    #[error("the client has another key of the name `{0}`; give the new key another `kid`")]
    ClientKeyName(String),
    /// There is no such key.
    #[error("`{id}` has no key `{kid}`; `accord-auth client show` names those that it has")]
    UnknownClientKey {
        /// Whose.
        id: String,
        /// Which.
        kid: String,
    },
    /// There is no such policy.
    #[error("no policy `{0}` is in force; `ListPolicies` names those that are")]
    UnknownPolicy(String),
    /// There is no such signing key.
    #[error("no signing key `{0}` is published; `accord-auth key list` names those that are")]
    UnknownSigningKey(String),
    /// A signing key can't be made.
    #[error(transparent)]
    KeyRotation(#[from] KeyRotationError),
    /// Nobody could show it in one line.
    #[error("a note must have at most 256 bytes, and no control characters")]
    Note,
    /// Nobody may log in under the name, so no token is made for it either.
    #[error("`{0}` is disabled; enable it with `accord-auth principal enable`")]
    Disabled(String),
    /// A rotation that changes nothing.
    #[error("`{0}` has this secret already; name a file that is not there, and a new one is made in it")]
    SameSecret(String),
    /// Somebody else has changed it.
    #[error("`{subject}` is of version {is} by now, and not {version}; read it again")]
    Version {
        /// Who.
        subject: String,
        /// What was expected.
        version: u64,
        /// What it is.
        is: u64,
    },
    /// The same request is under way.
    #[error("a request with this idempotency key is under way; send it again to hear what came of it")]
    InFlight,
    /// The key of another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// A key that can't be one.
    #[error("the idempotency key must have 1 to 128 visible characters")]
    Key,
    /// There is no such login.
    #[error("no login `{0}` can be renewed")]
    SessionUnknown(String),
    /// There is no role to take away.
    #[error("`{subject}` does not hold the role `{role}`")]
    RoleMissing {
        /// Whose.
        subject: String,
        /// Which.
        role: String,
    },
    /// A name that could not be used.
    #[error("`{0}` is no name: it must have 1 to 256 bytes, and no white space")]
    Name(String),
    /// No token has room for so many roles.
    #[error("the roles of `{subject}` come to {bytes} bytes, and no more than {MAX_ROLES} fit into a token")]
    RolesTooLong {
        /// Whose.
        subject: String,
        /// How long they are.
        bytes: usize,
    },
    /// Guessed too easily.
    #[error("the password must have at least {} bytes", password::LENGTH.start())]
    PasswordTooShort,
    /// Nobody could log in with it.
    #[error("the password must have at most {} bytes", password::LENGTH.end())]
    PasswordTooLong,
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] Overloaded),
    /// Guessed too easily.
    #[error("a client's secret must have at least {MIN_CLIENT_SECRET} characters")]
    SecretTooShort,
    /// A new client's secret can't be read or kept.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No verifier would accept it.
    #[error(
        "a token's life must be between 1s and {}",
        humantime::format_duration(Type::Access.longest_life())
    )]
    Lifetime,
}
