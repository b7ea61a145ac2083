//! Service accounts of a Kubernetes cluster, by their projected tokens.

use std::{sync::Arc, time::Duration};

use accord_runtime::{
    file::{SECRET, read_text},
    tls::TlsError,
};
use accord_token::{
    InvalidTokenReason,
    foreign::{ForeignAlgorithm, ForeignClaims, Unverified},
    verify,
};
use http::Uri;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{
    ForeignError, ForeignIdentity, Mapping, check,
    keys::{IssuerKeys, KeyPlace, KeySource},
};
use crate::{
    config::issuers::{KUBERNETES, KubernetesConfig, TokenCheck},
    https::{HttpsClient, HttpsError},
};

/// How long a review is remembered: no longer than a revocation may take.
const REVIEW_LIFE: Duration = Duration::from_secs(5);

/// Reviews that are remembered.
const MAX_REVIEWS: u64 = 10_000;

/// Reviews that are asked for at once; more are refused until others end.
const MAX_IN_FLIGHT: usize = 16;

/// The cluster.
pub(super) struct Kubernetes {
    config: KubernetesConfig,
    audience: String,
    check: Check,
}

/// How its tokens are checked.
enum Check {
    /// By its keys.
    Keys(IssuerKeys),
    /// By the API server.
    Review { client: HttpsClient, url: Uri, reviewed: moka::sync::Cache<[u8; 32], Arc<str>>, in_flight: Semaphore },
}

impl Kubernetes {
    /// None where no audience is given.
    pub(super) fn new(config: KubernetesConfig) -> Result<Option<Self>, TlsError> {
        let Some(audience) = config.audience.clone() else { return Ok(None) };
        let base = config.url.trim_end_matches('/');
        let is_encrypted = base.starts_with("https://");
        let client = HttpsClient::new(is_encrypted.then(|| config.ca_file.clone()))?;
        // What is no URL was refused with the configuration.
        let at = |path: &str| format!("{base}{path}").parse::<Uri>().unwrap_or_default();
        let check = match config.check {
            TokenCheck::TokenReview => Check::Review {
                client,
                url: at("/apis/authentication.k8s.io/v1/tokenreviews"),
                reviewed: moka::sync::Cache::builder().max_capacity(MAX_REVIEWS).time_to_live(REVIEW_LIFE).build(),
                in_flight: Semaphore::new(MAX_IN_FLIGHT),
            },
            TokenCheck::Jwks => Check::Keys(IssuerKeys::new(source(&config, at("/openid/v1/jwks"), client))),
        };
        Ok(Some(Self { config, audience, check }))
    }

    pub(super) async fn identity(
        &self,
        token: &str,
        unverified: &Unverified<'_>,
    ) -> Result<ForeignIdentity<'_>, ForeignError> {
        let claims = match &self.check {
            Check::Keys(keys) => keys.verify(unverified).await?,
            Check::Review { .. } => self.reviewed(token, unverified).await?,
        };
        check(&claims, self.config.issuer.as_ref().unwrap_or(&claims.iss), &self.audience)?;
        Ok(ForeignIdentity {
            issuer: KUBERNETES,
            subject: service_account(&claims.sub).ok_or(InvalidTokenReason::Claims)?,
            expires_at: claims.exp,
            mapping: Mapping::ServiceAccount,
        })
    }

    /// What the token says, of which the API server has said that it is so, now or a moment ago.
    async fn reviewed(&self, token: &str, unverified: &Unverified<'_>) -> Result<ForeignClaims, ForeignError> {
        let Check::Review { client, url, reviewed, in_flight } = &self.check else {
            return Err(InvalidTokenReason::Signature.into());
        };
        let fingerprint = verify::fingerprint(token);
        let name = if let Some(name) = reviewed.get(&fingerprint) {
            name
        } else {
            let _slot = in_flight.try_acquire().map_err(|_| ForeignError::Unavailable {
                issuer: KUBERNETES.to_owned(),
                why: "too many reviews are under way".to_owned(),
            })?;
            let name: Arc<str> = self.review(client, url, token).await?.into();
            reviewed.insert(fingerprint, Arc::clone(&name));
            name
        };
        let claims = unverified.vouched()?;
        // Both have read the same token, so they have to read the same name in it.
        if *claims.sub == *name { Ok(claims) } else { Err(InvalidTokenReason::Claims.into()) }
    }

    /// Whose the token is, as the API server says.
    async fn review(&self, client: &HttpsClient, url: &Uri, token: &str) -> Result<String, ForeignError> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self.audience]},
        });
        let is_encrypted = url.scheme_str() == Some("https");
        let own = read_text(&self.config.token_file, SECRET).ok().filter(|_| is_encrypted);
        let answer = client.post(url, own.as_deref().map(str::trim), review.to_string()).await;
        let answer = answer.map_err(|why| self.unavailable(&why))?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|_| self.unavailable(&HttpsError::Body))?;
        let status = &answer["status"];
        let audiences = status["audiences"].as_array();
        let is_ours = audiences.is_some_and(|audiences| audiences.contains(&Value::from(&*self.audience)));
        match status["user"]["username"].as_str() {
            Some(name) if status["authenticated"] == true && is_ours => Ok(name.to_owned()),
            _ => Err(InvalidTokenReason::Signature.into()),
        }
    }

    fn unavailable(&self, why: &HttpsError) -> ForeignError {
        let (url, remedy) = (&self.config.url, "give auth's service account the ClusterRole `system:auth-delegator`");
        tracing::warn!(url, %why, remedy, "the API server does not review tokens");
        ForeignError::unavailable(KUBERNETES, why)
    }
}

fn source(config: &KubernetesConfig, url: Uri, client: HttpsClient) -> KeySource {
    let file = config.token_file.clone();
    KeySource {
        name: KUBERNETES.to_owned(),
        place: KeyPlace::Url(url),
        token: Some(Box::new(move || Some(read_text(&file, SECRET).ok()?.trim().to_owned()))),
        algorithms: vec![ForeignAlgorithm::Rs256, ForeignAlgorithm::Es256],
        max_age: config.keys_max_age,
        interval: config.refetch_interval,
        client,
    }
}

/// `NAMESPACE/NAME` of `system:serviceaccount:NAMESPACE:NAME`. Neither has a colon or a slash in it.
fn service_account(subject: &str) -> Option<String> {
    let (namespace, name) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_name = |text: &str| !text.is_empty() && !text.contains([':', '/']);
    (is_name(namespace) && is_name(name)).then(|| format!("{namespace}/{name}"))
}
