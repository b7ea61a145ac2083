//! Secrets of programs that are in files, such as those of a mounted Secret: another one is taken over while auth serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use accord_runtime::{
    reload::{INTERVAL, ReloadOutcome, Reloads, WatchedFiles},
    shutdown::Shutdown,
};
use anyhow::{Context as _, bail};
use tokio::time::sleep;

use crate::{
    config::clients::ClientsConfig,
    domain::{
        admin::{Admin, KnownSecret},
        auth::Auth,
    },
    secret_file,
};

/// For how long the earlier secret is valid beside the new one: whoever shows it may not have read its file yet.
const OVERLAP: Duration = Duration::from_hours(24);

/// How long it is before what could not be taken over is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// In the audit log.
const ACTOR: &str = "clients.secret_files";

/// As the metric names it.
const KIND: &str = "client_secrets";

/// Follows the files until shutdown.
pub(crate) async fn run(auth: Arc<Auth>, config: ClientsConfig, shutdown: Shutdown) {
    if config.secret_files.is_empty() {
        return;
    }
    tokio::select! {
        () = follow(&auth, &config.secret_files) => {}
        () = shutdown.begun() => {}
    }
}

async fn follow(auth: &Auth, files: &BTreeMap<String, PathBuf>) {
    let reloads = Reloads::counter();
    let mut watched = WatchedFiles::of(files.values().cloned());
    // A file may have changed between what prepared the store and this.
    let mut due: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    let mut told = BTreeMap::new();
    loop {
        for (id, file) in files {
            if !due.contains(id.as_str()) {
                continue;
            }
            match take_over(auth, id, file).await {
                Ok(is_other) => {
                    due.remove(id.as_str());
                    told.remove(id.as_str());
                    if is_other {
                        tracing::info!(
                            client = id,
                            ?file,
                            "a client has another secret; its earlier one is valid for a day"
                        );
                        reloads.count(KIND, ReloadOutcome::Replaced);
                    }
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    if told.get(id.as_str()) != Some(&error) {
                        tracing::warn!(client = id, ?file, error, "a client keeps its secret; it is tried again");
                        reloads.count(KIND, ReloadOutcome::Refused);
                        told.insert(id.as_str(), error);
                    }
                }
            }
        }
        tokio::select! {
            () = watched.changed(INTERVAL) => due = files.keys().map(String::as_str).collect(),
            () = sleep(AGAIN), if !due.is_empty() => {}
        }
    }
}

/// Whether the file had another secret than the store. Several replicas do this at once: the first one that changes the store is the only
/// one.
async fn take_over(auth: &Auth, id: &str, file: &Path) -> anyhow::Result<bool> {
    let followed = Admin::new(&auth.store, ACTOR).follow_secret(id, secret_file::read(file)?, OVERLAP).await;
    match followed.with_context(|| format!("the secret in {} is not taken over", file.display()))? {
        KnownSecret::Other => Ok(true),
        KnownSecret::Newest => Ok(false),
        KnownSecret::Earlier => {
            let file = file.display();
            bail!(
                "{file} has the secret before the client's newest one: put the newest there, or make this one the newest again \
                 with `accord-auth client rotate {id} --secret-file {file}`"
            )
        }
    }
}
