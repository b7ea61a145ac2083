//! Those who say who somebody is beside us: `OpenID` providers, and the API server of a Kubernetes cluster for its service accounts.
//!
//! A token is given to the one whose name it claims, and believed once that one's key has signed it, or that one has said so.

mod keys;
mod kubernetes;
mod oidc;

use accord_token::{
    InvalidTokenReason, Refusal,
    foreign::{ForeignClaims, ForeignExpected, ForeignType, Unverified},
    verify,
};

use self::{kubernetes::Kubernetes, oidc::Oidc};
use super::denial::Denial;
use crate::{
    config::issuers::{IssuerConfig, KubernetesConfig},
    https::HttpsError,
};
use accord_runtime::tls::TlsError;

/// All of them.
pub(crate) struct Issuers {
    oidc: Vec<Oidc>,
    kubernetes: Option<Kubernetes>,
}

/// Somebody whom another issuer vouches for.
pub(crate) struct ForeignIdentity<'a> {
    /// The issuer, as the configuration names it.
    pub issuer: &'a str,
    /// What it calls them.
    pub subject: String,
    /// When its word ends, in seconds since 1970.
    pub expires_at: i64,
    /// How they are known here.
    pub mapping: Mapping<'a>,
}

/// How somebody of another issuer is known here where no link says it.
pub(crate) enum Mapping<'a> {
    /// A service account is the program `NAMESPACE/NAME`.
    ServiceAccount,
    /// Somebody of this provider is `NAME:SUBJECT`, in these of its groups.
    Provider {
        /// What is said of it.
        config: &'a IssuerConfig,
        /// Their groups; None where none are read.
        groups: Option<Vec<String>>,
    },
}

/// Why a foreign token is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeignError {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The issuer can't be asked for what is needed.
    #[error("{issuer} can't be asked: {why}")]
    Unavailable {
        /// As the configuration names it.
        issuer: String,
        /// What it said.
        why: String,
    },
}

impl From<InvalidTokenReason> for ForeignError {
    fn from(reason: InvalidTokenReason) -> Self {
        Self::Refused(Refusal::Invalid(reason))
    }
}

impl ForeignError {
    fn unavailable(issuer: &str, why: &HttpsError) -> Self {
        Self::Unavailable { issuer: issuer.to_owned(), why: why.to_string() }
    }
}

impl From<ForeignError> for Denial {
    fn from(error: ForeignError) -> Self {
        match error {
            ForeignError::Refused(refusal) => Denial::Foreign(refusal),
            ForeignError::Unavailable { issuer, .. } => Denial::IssuerUnavailable(issuer),
        }
    }
}

impl Issuers {
    /// Those of this configuration; none is asked yet.
    pub(crate) fn new(issuers: &[IssuerConfig], kubernetes: &KubernetesConfig) -> Result<Self, TlsError> {
        let oidc = issuers.iter().cloned().map(Oidc::new).collect::<Result<_, _>>()?;
        Ok(Self { oidc, kubernetes: Kubernetes::new(kubernetes.clone())? })
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.oidc.is_empty() && self.kubernetes.is_none()
    }

    /// Whom a token names.
    pub(crate) async fn identity(&self, token: &str) -> Result<ForeignIdentity<'_>, ForeignError> {
        let unverified = Unverified::parse(token)?;
        let claimed = unverified.claimed()?.iss;
        if let Some(issuer) = self.oidc.iter().find(|issuer| issuer.config.issuer == claimed) {
            return issuer.identity(&unverified).await;
        }
        match &self.kubernetes {
            Some(kubernetes) => kubernetes.identity(token, &unverified).await,
            None => Err(InvalidTokenReason::Issuer.into()),
        }
    }
}

/// Holds a token of an issuer against what it has to say.
fn check(claims: &ForeignClaims, issuer: &str, audience: &str) -> Result<(), Refusal> {
    let expected = ForeignExpected { foreign_type: ForeignType::Identity, issuer, audiences: &[audience] };
    claims.check(&expected, verify::now())
}
