//! From a configuration to something that can serve.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use accord_runtime::{
    config::{Invalid, Secret},
    file::{SECRET, read_text},
    output::print_error,
    progress::{Progress, Unit},
    rate_limited_log::RateLimitedLog,
    reload::{INTERVAL, Reloading},
    tls::ClientTlsConfig,
};
use anyhow::{Context as _, bail, ensure};

use crate::{
    config::{Config, KeysConfig},
    domain::{
        auth::{Auth, PROXIED_KEYS, SIGNATURES},
        decoy_keys::DecoyKeys,
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
        let encryption_key = Arc::new(encryption_key(&config.keys)?);
        let store = store(config).await?;
        key_rotation::ensure_key(&store, &encryption_key, config.keys.algorithm).await?;
        let state = StateCache::open(store.clone(), Arc::clone(&encryption_key), config.keys.algorithm).await?;
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
            decoys: DecoyKeys::new()?,
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
    // It is brought up to date as well, which an index over many rows makes long.
    let opening = Progress::begin("opening the store", Unit::Time);
    let opened = Store::open_with_mark(config.store.url.expose(), config.store.mark_file.as_deref()).await;
    drop(opening);
    opened.context(
        "the store can't be opened; check `store.url`, that what it names can be reached, and that the file of its mark can be written",
    )
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
    let ext_authz = config.ext_authz.listen.unusable().map(|invalid| invalid.under("ext_authz.listen"));
    let secrets = config.clients.secret_files.iter().filter_map(|(id, file)| {
        let error = secret_file::try_read(file).err()?;
        let problem = format!("the secret can't be read from {}: {error}", file.display());
        Some(Invalid::new(format!("clients.secret_files.{id}"), problem, "correct the path, or its rights"))
    });
    policies
        .into_iter()
        .chain(unusable_keys(&config.keys))
        .chain(ext_authz)
        .chain(secrets)
        .chain(unusable_authorities(config))
        .collect()
}

fn unusable_keys(config: &KeysConfig) -> Vec<Invalid> {
    let (key, error) = match configured_key(config).and_then(|key| EncryptionKey::new(&key)) {
        Ok(key) => (Some(key), None),
        Err(error) => (None, Some(error)),
    };
    let held = |other: &Secret| key.map_or_else(|| EncryptionKey::new(other), |key| key.accepting(other));
    let other = accepted_key(config).transpose().and_then(|other| other.and_then(|other| held(&other)).err());
    let error = error.map(|error| Invalid::of("keys.encryption_key_file", error));
    let other = other.map(|error| Invalid::of("keys.accepted_encryption_key_file", error));
    error.into_iter().chain(other).collect()
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

/// The key that is used, and the one that is accepted beside it.
pub(crate) fn encryption_key(config: &KeysConfig) -> Result<EncryptionKey, EncryptionError> {
    let key = EncryptionKey::new(&configured_key(config)?)?;
    match accepted_key(config)? {
        Some(other) => key.accepting(&other),
        None => Ok(key),
    }
}

fn configured_key(config: &KeysConfig) -> Result<Secret, EncryptionError> {
    given_key(config.encryption_key_file.as_deref(), &config.encryption_key)?.ok_or(EncryptionError::NoKey)
}

fn accepted_key(config: &KeysConfig) -> Result<Option<Secret>, EncryptionError> {
    given_key(config.accepted_encryption_key_file.as_deref(), &config.accepted_encryption_key)
}

fn given_key(file: Option<&Path>, text: &Secret) -> Result<Option<Secret>, EncryptionError> {
    let Some(path) = file else { return Ok(Some(text).filter(|text| !text.is_empty()).cloned()) };
    let read = read_text(path, SECRET).map(Secret::from);
    read.map(Some).map_err(|source| EncryptionError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
