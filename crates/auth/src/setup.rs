//! From a configuration to something that can serve.

use std::{path::PathBuf, sync::Arc};

use accord_runtime::{
    config::{Invalid, Secret},
    file::{SECRET, read_text},
    output::print_error,
    rate_limited_log::RateLimitedLog,
    reload::{INTERVAL, Reloading},
    tls::ClientTlsConfig,
};
use anyhow::{Context as _, bail, ensure};

use crate::{
    config::{Config, KeysConfig},
    domain::{
        auth::{Auth, PROXIED_KEYS, SIGNATURES},
        encryption_key::{EncryptionError, EncryptionKey},
        issuers::Issuers,
        key_rotation,
        password::Passwords,
        policy::{Policies, PolicyError},
        state::StateCache,
        throttle::{KeyThrottle, LoginThrottle},
    },
    metrics::Metrics,
    secret_file,
    store::Store,
};

impl Auth {
    /// Opens everything that this configuration names, and makes the first signing key where there is none.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let policies = followed_policies(config)?;
        let encryption_key = Arc::new(EncryptionKey::new(&configured_key(&config.keys)?)?);
        let store = store(config).await?;
        key_rotation::ensure_key(&store, &encryption_key, config.keys.algorithm).await?;
        let state = StateCache::open(store.clone(), Arc::clone(&encryption_key)).await?;
        // Found out now rather than when its time to sign comes: a key that was encrypted with another encryption key.
        if let Some(error) = state.current().await?.unusable.first() {
            bail!("{error}");
        }
        Ok(Self {
            store,
            state,
            encryption_key,
            policies,
            passwords: Passwords::new(),
            throttle: LoginThrottle::default(),
            key_throttle: KeyThrottle::default(),
            certificate_throttle: KeyThrottle::default(),
            signatures: moka::sync::Cache::new(SIGNATURES),
            proxied_keys: moka::sync::Cache::new(PROXIED_KEYS),
            issuers: Issuers::new(&config.issuer, &config.kubernetes)?,
            refused_logins: RateLimitedLog::default(),
            tokens: config.tokens.clone(),
            oauth: config.oauth.clone(),
            keys: config.keys.clone(),
            metrics: Metrics::default(),
        })
    }
}

/// The policies, following their files: where a change can't be enforced, those that hold go on.
fn followed_policies(config: &Config) -> Result<Arc<Reloading<Policies>>, PolicyError> {
    let (policy, upstreams) = (config.policy.clone(), config.upstream.clone());
    let descriptors = upstreams.iter().map(|upstream| upstream.descriptors.clone());
    let files = [&policy.files[..], &policy.shadow_files, &policy.overlays].concat().into_iter().chain(descriptors);
    Reloading::new("policies", files.collect(), INTERVAL, move || Policies::load(&policy, &upstreams))
}

/// The store that this configuration names.
pub(crate) async fn store(config: &Config) -> anyhow::Result<Store> {
    let opened = Store::open(config.store.url.expose()).await;
    opened.context("the store can't be opened; check `store.url`, and that what it names can be reached")
}

/// Whether the store can be there. What only makes sense on a store with something in it is not done on one that would be
/// made just now: revoking everything in an empty store would succeed, and revoke nothing.
pub(crate) fn expect_store(config: &Config) -> anyhow::Result<()> {
    if let Some(file) = sqlite_file(config) {
        ensure!(file.exists(), "there is no store at `{}`; name the one that is meant with --store", file.display());
    }
    Ok(())
}

/// What of the files that the configuration names can't be used, or is missing. The store is not touched.
pub(crate) fn unusable(config: &Config) -> Vec<Invalid> {
    let policies = Policies::load(&config.policy, &config.upstream).err();
    let policies = policies.map(|error| match &error {
        PolicyError::Contract { key, problem } => Invalid::of(key, problem),
        _ => Invalid::new("policy.files", error.to_string(), "correct it, or name another file"),
    });
    let key = configured_key(&config.keys).and_then(|key| EncryptionKey::new(&key)).err();
    let key = key.map(|error| Invalid::of("keys.encryption_key_file", error));
    let ext_authz = config.ext_authz.listen.unusable().map(|invalid| invalid.under("ext_authz.listen"));
    policies.into_iter().chain(key).chain(ext_authz).chain(unusable_authorities(config)).collect()
}

/// Issuers whose certificates could not be verified.
fn unusable_authorities(config: &Config) -> impl Iterator<Item = Invalid> {
    let of = |ca_file: Option<PathBuf>| ClientTlsConfig { ca_file, ..ClientTlsConfig::default() }.check().err();
    let issuers = config.issuer.iter().enumerate();
    let issuers =
        issuers.filter_map(move |(index, issuer)| Some(of(issuer.ca_file.clone())?.under(format!("issuer.{index}"))));
    let kubernetes = &config.kubernetes;
    let is_asked = kubernetes.audience.is_some() && kubernetes.url.starts_with("https://");
    let kubernetes = is_asked.then(|| of(Some(kubernetes.ca_file.clone()))).flatten();
    issuers.chain(kubernetes.map(|invalid| invalid.under("kubernetes")))
}

/// For development: where no encryption key is configured, uses the one beside the SQLite file, and makes it where it is
/// missing. Says on stderr what it made.
pub(crate) fn development_key(config: &mut Config) -> anyhow::Result<()> {
    if config.keys.encryption_key_file.is_some() || !config.keys.encryption_key.is_empty() {
        return Ok(());
    }
    let path = sqlite_file(config).context("--development needs a store at sqlite://")?;
    let path = path.with_added_extension("key");
    if !path.exists() {
        secret_file::create_encryption_key(&path)?;
        print_error(format_args!(
            "generated {}: it encrypts the signing keys in the store; for development only",
            path.display()
        ));
    }
    config.keys.encryption_key_file = Some(path);
    Ok(())
}

/// The store as messages name it, and whether it is not there yet.
pub(crate) fn store_place(config: &Config) -> String {
    let is_new = sqlite_file(config).is_some_and(|file| !file.exists());
    format!("{}{}", config.store.url, if is_new { ", which was made now" } else { "" })
}

fn sqlite_file(config: &Config) -> Option<PathBuf> {
    Some(config.store.url.location().file()?.to_owned())
}

fn configured_key(config: &KeysConfig) -> Result<Secret, EncryptionError> {
    match &config.encryption_key_file {
        Some(path) => read_text(path, SECRET)
            .map(Secret::from)
            .map_err(|source| EncryptionError::File { path: path.clone(), source }),
        None if config.encryption_key.is_empty() => Err(EncryptionError::NoKey),
        None => Ok(config.encryption_key.clone()),
    }
}

#[cfg(test)]
mod tests;
