//! An `OpenID` provider (`OpenID` Connect Core, section 3.1.3.7).

use accord_runtime::tls::TlsError;
use accord_token::{
    InvalidTokenReason,
    foreign::{ForeignClaims, Unverified},
};
use serde_json::Value;

use super::{
    ForeignError, ForeignIdentity, Mapping, check,
    keys::{IssuerKeys, KeyPlace, KeySource},
};
use crate::{config::issuers::IssuerConfig, https::HttpsClient};

/// The most groups of one subject that are looked at.
const MAX_GROUPS: usize = 1000;

/// A provider.
pub(super) struct Oidc {
    pub(super) config: IssuerConfig,
    keys: IssuerKeys,
}

impl Oidc {
    pub(super) fn new(config: IssuerConfig) -> Result<Self, TlsError> {
        let client = HttpsClient::new(config.ca_file.clone())?;
        // What is no URL was refused with the configuration.
        let metadata = || {
            let url = format!("{}/.well-known/openid-configuration", config.issuer.trim_end_matches('/'));
            KeyPlace::Metadata { url: url.parse().unwrap_or_default(), issuer: config.issuer.clone() }
        };
        let given = |url: &String| KeyPlace::Url(url.parse().unwrap_or_default());
        let place = config.jwks_url.as_ref().map_or_else(metadata, given);
        let keys = IssuerKeys::new(KeySource {
            name: config.name.clone(),
            place,
            token: None,
            algorithms: config.algorithms.clone(),
            max_age: config.keys_max_age,
            interval: config.refetch_interval,
            client,
        });
        Ok(Self { config, keys })
    }

    pub(super) async fn identity(&self, token: &Unverified<'_>) -> Result<ForeignIdentity<'_>, ForeignError> {
        let claims = self.keys.verify(token).await?;
        check(&claims, &self.config.issuer, &self.config.audience)?;
        let groups = match &self.config.groups_claim {
            Some(claim) => Some(groups(claims.others.get(claim))?),
            None => None,
        };
        Ok(ForeignIdentity {
            issuer: &self.config.name,
            subject: self.subject(&claims)?,
            expires_at: claims.exp,
            mapping: Mapping::Provider { config: &self.config, groups },
        })
    }

    /// The claim that tells subjects apart. An address of mail is its holder's only where the provider has asked there.
    fn subject(&self, claims: &ForeignClaims) -> Result<String, InvalidTokenReason> {
        let claim = &*self.config.subject_claim;
        let is_verified = claim != "email" || claims.others.get("email_verified") == Some(&Value::Bool(true));
        let subject =
            if claim == "sub" { Some(&*claims.sub) } else { claims.others.get(claim).and_then(Value::as_str) };
        subject
            .filter(|subject| is_verified && !subject.is_empty())
            .map(str::to_owned)
            .ok_or(InvalidTokenReason::Claims)
    }
}

/// A list of names; none where there is no claim.
fn groups(claim: Option<&Value>) -> Result<Vec<String>, InvalidTokenReason> {
    let list = match claim {
        None => return Ok(Vec::new()),
        Some(claim) => claim.as_array().filter(|list| list.len() <= MAX_GROUPS).ok_or(InvalidTokenReason::Claims)?,
    };
    list.iter().map(|group| group.as_str().map(str::to_owned).ok_or(InvalidTokenReason::Claims)).collect()
}
