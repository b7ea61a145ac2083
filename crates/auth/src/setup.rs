//! From a configuration to something that can serve.

use std::{path::PathBuf, sync::Arc};

use accord_runtime::config::Secret;
use accord_store::Location;
use anyhow::{Context as _, bail, ensure};

use crate::{
    auth::Auth,
    config::{Config, KeysConfig},
    figures::Figures,
    ledger::Ledger,
    manage,
    password::Passwords,
    policy::Policies,
    rotate,
    store::Store,
    throttle::Throttle,
    vault::{Vault, VaultError},
};

impl Auth {
    /// Opens everything that this configuration names, and makes the first signing key where there is none.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        config.validate()?;
        let policies = Policies::load(&config.policy.files)?;
        let vault = Arc::new(Vault::new(&encryption_key(&config.keys)?)?);
        let store = store(config).await?;
        rotate::first_key(&store, &vault, config.keys.algorithm).await?;
        let ledger = Ledger::open(store.clone(), Arc::clone(&vault), Arc::clone(&policies.hash)).await?;
        // Found out now rather than when its time to sign comes: a key that was sealed with another encryption key.
        if let Some(error) = ledger.current().await?.unusable.first() {
            bail!("{error}");
        }
        Ok(Self {
            store,
            ledger,
            vault,
            policies,
            passwords: Passwords::new()?,
            throttle: Throttle::default(),
            tokens: config.tokens.clone(),
            keys: config.keys.clone(),
            figures: Figures::default(),
        })
    }
}

/// The store that this configuration names.
pub async fn store(config: &Config) -> anyhow::Result<Store> {
    let opened = Store::open(config.store.url.expose()).await;
    opened.context("the store can't be opened; check `store.url`, and that what it names can be reached")
}

/// Whether the store can be there. What only makes sense on a store with something in it is not done on one that would be
/// made just now: revoking everything in an empty store would succeed, and revoke nothing.
pub fn expect_store(config: &Config) -> anyhow::Result<()> {
    if let Some(file) = sqlite_file(config) {
        ensure!(file.exists(), "there is no store at `{}`; name the one that is meant with --store", file.display());
    }
    Ok(())
}

/// Whether this configuration could be served, as far as that can be said without touching the store.
pub fn check(config: &Config) -> anyhow::Result<()> {
    config.validate()?;
    Policies::load(&config.policy.files)?;
    Vault::new(&encryption_key(&config.keys)?)?;
    Ok(())
}

/// For development: where no encryption key is configured, uses the one beside the SQLite file, and makes it where it is
/// missing. Says on stderr what it made.
pub fn development_key(config: &mut Config) -> anyhow::Result<()> {
    if config.keys.encryption_key_file.is_some() || !config.keys.encryption_key.is_empty() {
        return Ok(());
    }
    let path = sqlite_file(config).context("--development needs a store at sqlite://")?;
    let path = path.with_added_extension("key");
    if !path.exists() {
        manage::new_key(&path)?;
        eprintln!("generated {}: it encrypts the signing keys in the store; for development only", path.display());
    }
    config.keys.encryption_key_file = Some(path);
    Ok(())
}

fn sqlite_file(config: &Config) -> Option<PathBuf> {
    Some(Location::parse(config.store.url.expose()).ok()?.file()?.to_owned())
}

fn encryption_key(config: &KeysConfig) -> Result<Secret, VaultError> {
    match &config.encryption_key_file {
        Some(path) => std::fs::read_to_string(path)
            .map(Secret::from)
            .map_err(|source| VaultError::File { path: path.clone(), source }),
        None if config.encryption_key.is_empty() => Err(VaultError::NoKey),
        None => Ok(config.encryption_key.clone()),
    }
}
