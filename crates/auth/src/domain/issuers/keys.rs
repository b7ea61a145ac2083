//! The keys of an issuer: fetched when they are needed, again as they age, and once more for one that is not known yet.

use std::{sync::Arc, time::Duration};

use accord_token::{
    InvalidTokenReason,
    foreign::{ForeignAlgorithm, ForeignClaims, ForeignType, JwkSet, Unverified},
};
use arc_swap::ArcSwapOption;
use http::Uri;
use opentelemetry::{KeyValue, metrics::Counter};
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use super::ForeignError;
use crate::declared_metrics::KEY_FETCHES;
use crate::https::{HttpsClient, HttpsError};
use accord_runtime::telemetry;

/// The most keys of an issuer that are looked at.
const MAX_KEYS: usize = 64;

/// Where the keys are.
pub(super) enum KeyPlace {
    /// There.
    Url(Uri),
    /// Where the metadata of this issuer says (`OpenID` Connect Discovery, section 4).
    Metadata {
        /// Its document.
        url: Uri,
        /// The issuer that it has to name.
        issuer: String,
    },
}

/// Where the token is that is shown; read each time, since it is renewed.
pub(super) type TokenSource = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// What is asked, and how.
pub(super) struct KeySource {
    /// The issuer, as the configuration names it.
    pub(super) name: String,
    /// Where they are.
    pub(super) place: KeyPlace,
    /// The token that is shown.
    pub(super) token: Option<TokenSource>,
    /// What the keys may be for.
    pub(super) algorithms: Vec<ForeignAlgorithm>,
    /// How long keys are used.
    pub(super) max_age: Duration,
    /// How often at most they are asked for.
    pub(super) interval: Duration,
    /// By what.
    pub(super) client: HttpsClient,
}

/// The keys.
pub(super) struct IssuerKeys(Arc<Inner>);

struct Inner {
    source: KeySource,
    known: ArcSwapOption<KnownKeys>,
    /// When they were asked for last, held while they are.
    asked: Mutex<Option<Instant>>,
    fetches: Counter<u64>,
}

struct KnownKeys {
    keys: JwkSet,
    fetched: Instant,
}

impl IssuerKeys {
    pub(super) fn new(source: KeySource) -> Self {
        let fetches = KEY_FETCHES.counter(&telemetry::meter());
        Self(Arc::new(Inner { source, known: ArcSwapOption::empty(), asked: Mutex::new(None), fetches }))
    }

    /// Checks a token's signature.
    pub(super) async fn verify(&self, token: &Unverified<'_>) -> Result<ForeignClaims, ForeignError> {
        let known = self.usable().await?;
        match token.verify(ForeignType::Identity, &known.keys) {
            Err(InvalidTokenReason::KeyUnknown) => {
                self.fetch(Some(known.fetched)).await?;
                let known = self.usable().await?;
                Ok(token.verify(ForeignType::Identity, &known.keys)?)
            }
            verified => Ok(verified?),
        }
    }

    /// Keys that are not too old. Where older ones can't be had anew, they serve to the end of their time.
    async fn usable(&self) -> Result<Arc<KnownKeys>, ForeignError> {
        let (Inner { source, known, .. }, mut failure) = (&*self.0, None);
        let loaded = known.load_full();
        if loaded.as_ref().is_none_or(|known| known.fetched.elapsed() >= source.max_age / 2) {
            failure = self.fetch(loaded.map(|known| known.fetched)).await.err();
        }
        let usable = known.load_full().filter(|known| known.fetched.elapsed() < source.max_age);
        usable.ok_or_else(|| failure.unwrap_or_else(|| unavailable(&source.name, "its keys were asked for just now")))
    }

    /// Asks for the keys, unless somebody has done it since these were fetched, or just now. Whoever asks may leave: the question
    /// goes on for all others.
    async fn fetch(&self, since: Option<Instant>) -> Result<(), ForeignError> {
        let inner = Arc::clone(&self.0);
        let fetching = tokio::spawn(async move { inner.fetch(since).await });
        fetching.await.unwrap_or_else(|_| Err(unavailable(&self.0.source.name, "the question was given up")))
    }
}

impl Inner {
    async fn fetch(&self, since: Option<Instant>) -> Result<(), ForeignError> {
        let mut asked = self.asked.lock().await;
        let is_newer = self.known.load().as_ref().map(|known| known.fetched) > since;
        if is_newer || asked.is_some_and(|asked| asked.elapsed() < self.source.interval) {
            return Ok(());
        }
        *asked = Some(Instant::now());
        let fetched = self.source.fetch().await;
        let outcome = if fetched.is_ok() { "fetched" } else { "failed" };
        self.fetches.add(1, &[KeyValue::new("issuer", self.source.name.clone()), KeyValue::new("outcome", outcome)]);
        match fetched {
            Ok(keys) => {
                self.known.store(Some(Arc::new(KnownKeys { keys, fetched: Instant::now() })));
                Ok(())
            }
            Err(why) => {
                tracing::warn!(issuer = self.source.name, %why, "the keys of an issuer can't be fetched");
                Err(unavailable(&self.source.name, &why))
            }
        }
    }
}

impl KeySource {
    async fn fetch(&self) -> Result<JwkSet, String> {
        let place = match &self.place {
            KeyPlace::Url(url) => url.clone(),
            KeyPlace::Metadata { url, issuer } => {
                let metadata = self.get(url).await.map_err(|error| error.to_string())?;
                keys_of(&metadata, issuer)?
            }
        };
        let document = self.get(&place).await.map_err(|error| error.to_string())?;
        JwkSet::read_usable(&document, MAX_KEYS, &self.algorithms).map_err(|error| error.to_string())
    }

    async fn get(&self, url: &Uri) -> Result<Vec<u8>, HttpsError> {
        // Over plaintext a token would be anybody's.
        let is_encrypted = url.scheme_str() == Some("https");
        let token = self.token.as_ref().filter(|_| is_encrypted).and_then(|token| token());
        Ok(self.client.get(url, token.as_deref()).await?.to_vec())
    }
}

fn unavailable(issuer: &str, why: &str) -> ForeignError {
    ForeignError::Unavailable { issuer: issuer.to_owned(), why: why.to_owned() }
}

/// The metadata has to be the issuer's own (`OpenID` Connect Discovery, section 4.3).
fn keys_of(metadata: &[u8], issuer: &str) -> Result<Uri, String> {
    let metadata: Value = serde_json::from_slice(metadata).map_err(|_| "its metadata is no JSON".to_owned())?;
    if metadata["issuer"].as_str() != Some(issuer) {
        return Err("its metadata names another issuer".to_owned());
    }
    let url = metadata["jwks_uri"].as_str().filter(|url| crate::config::issuers::is_trustworthy(url));
    url.and_then(|url| url.parse().ok()).ok_or_else(|| "its metadata names no `jwks_uri` with https://".to_owned())
}
