//! What operators change from the command line, on the same store as a running server.

use std::{fs, path::Path, time::Duration};

use accord_token::{Type, verify};
use anyhow::{Context as _, bail, ensure};

use crate::{
    auth::Auth,
    login::{LONGEST_PASSWORD, secret_hash},
    mint, password,
    store::{
        Change, Store,
        principals::{Principal, is_name},
    },
    vault,
};

/// Who the record of privileged operations names.
const ACTOR: &str = "command line";

/// The shortest password that is accepted (NIST SP 800-63B, section 5.1.1).
const SHORTEST_PASSWORD: usize = 8;

/// The shortest client secret that is accepted.
const SHORTEST_SECRET: usize = 32;

/// The most that all roles of one principal may come to, in bytes: half a token, so that passports have room as well.
const LONGEST_ROLES: usize = 2048;

/// Adds a person or a program. `absent_only`: an existing one is left as it is.
pub async fn add_principal(
    store: &Store,
    principal: &Principal,
    password: Option<&str>,
    absent_only: bool,
) -> anyhow::Result<()> {
    check(principal)?;
    let hashed = match password {
        Some(password) if password.len() > LONGEST_PASSWORD => {
            bail!("the password must have at most {LONGEST_PASSWORD} bytes")
        }
        Some(password) if password.len() < SHORTEST_PASSWORD => {
            bail!("the password must have at least {SHORTEST_PASSWORD} characters")
        }
        Some(password) => password::hash(password)?,
        None => String::new(),
    };
    let mut change = store.change().await?;
    if !change.add_principal(principal, &hashed).await? {
        ensure!(absent_only, "`{}` exists already", principal.subject);
        return Ok(());
    }
    record(change, "principal.add", &principal.subject).await
}

/// Adds a program with a secret: the one in the file, or a new one that is written there.
pub async fn add_client(
    store: &Store,
    principal: &Principal,
    secret_file: &Path,
    absent_only: bool,
) -> anyhow::Result<()> {
    let id = &principal.subject;
    check(principal)?;
    // Begun before anything is read, so that of two replicas that add it at once the second one finds it.
    let mut change = store.change().await?;
    if store.client(id).await?.is_some() {
        ensure!(absent_only, "the client `{id}` exists; use --if-absent to leave it as it is");
        ensure!(
            secret_file.exists(),
            "the client `{id}` exists, but not its secret at {}: the store holds only a hash of it",
            secret_file.display()
        );
        return Ok(());
    }
    let secret = if secret_file.exists() { read(secret_file)? } else { vault::fresh_secret()? };
    ensure!(
        secret.len() >= SHORTEST_SECRET,
        "the secret in {} must have at least {SHORTEST_SECRET} characters",
        secret_file.display()
    );
    // A client of somebody who exists would act with roles that nobody named here.
    ensure!(change.add_principal(principal, "").await?, "`{id}` exists, and is no client: choose another id");
    change.add_client(id, id, &secret_hash(&secret)).await?;
    if !secret_file.exists() {
        // Written before the commit: a secret that nobody has would be worse than a file that means nothing.
        vault::write_secret(secret_file, &secret)
            .with_context(|| format!("the secret can't be written to {}", secret_file.display()))?;
    }
    record(change, "client.add", id).await
}

/// Gives a role. Tokens that do not show it yet are revoked.
pub async fn grant_role(store: &Store, subject: &str, role: &str) -> anyhow::Result<()> {
    let mut change = store.change().await?;
    let mut principal = store.principal(subject).await?.with_context(|| format!("`{subject}` is not known"))?;
    principal.roles.push(role.to_owned());
    check(&principal)?;
    if !change.add_role(subject, role).await? {
        return Ok(());
    }
    let revision = change.next_revision().await?;
    change.raise_epoch(subject, verify::now(), revision).await?;
    record(change, "role.grant", &format!("{subject} {role}")).await
}

/// Takes a role away. Tokens that still show it are revoked.
pub async fn remove_role(store: &Store, subject: &str, role: &str) -> anyhow::Result<()> {
    let mut change = store.change().await?;
    ensure!(change.remove_role(subject, role).await?, "`{subject}` does not hold the role `{role}`");
    let revision = change.next_revision().await?;
    change.raise_epoch(subject, verify::now(), revision).await?;
    record(change, "role.remove", &format!("{subject} {role}")).await
}

/// Revokes every token of a subject.
pub async fn revoke_subject(store: &Store, subject: &str) -> anyhow::Result<()> {
    let mut change = store.change().await?;
    let revision = change.next_revision().await?;
    ensure!(change.raise_epoch(subject, verify::now(), revision).await?, "`{subject}` is not known");
    record(change, "subject.revoke", subject).await
}

/// Revokes every token there is; for restored backups and for the worst day.
pub async fn revoke_everything(store: &Store) -> anyhow::Result<()> {
    let mut change = store.change().await?;
    change.next_revision().await?;
    change.raise_global_epoch().await?;
    record(change, "everything.revoke", "").await
}

/// An access token without a login. Recorded, since it is one.
pub async fn issue(auth: &Auth, subject: &str, life: Duration) -> anyhow::Result<String> {
    let longest = Type::Access.longest_life();
    ensure!(
        (Duration::from_secs(1)..=longest).contains(&life),
        "a token's life must be between 1s and {}",
        humantime::format_duration(longest)
    );
    let principal = auth.store.principal(subject).await?.with_context(|| format!("`{subject}` is not known"))?;
    let state = auth.ledger.current().await?;
    let minted = mint::access(&auth.tokens, &state, &principal, life)?;
    record(auth.store.change().await?, "token.issue", subject).await?;
    Ok(minted.token)
}

/// Makes a key that encrypts the store.
pub fn new_key(file: &Path) -> anyhow::Result<()> {
    vault::write_secret(file, &vault::fresh_secret()?).with_context(|| {
        format!("the key can't be written to {}; a file that exists is never replaced", file.display())
    })
}

/// A secret's file, without the white space around it.
pub fn read(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(text.trim().to_owned())
}

async fn record(mut change: Change, action: &str, target: &str) -> anyhow::Result<()> {
    change.record(verify::now(), ACTOR, action, target).await?;
    Ok(change.commit().await?)
}

fn check(principal: &Principal) -> anyhow::Result<()> {
    let tenant = (!principal.tenant.is_empty()).then_some(&principal.tenant);
    for name in principal.roles.iter().chain([&principal.subject]).chain(tenant) {
        ensure!(is_name(name), "`{name}` is no name: it must have 1 to 256 bytes, and no white space");
    }
    let roles: usize = principal.roles.iter().map(String::len).sum();
    ensure!(
        roles <= LONGEST_ROLES,
        "the roles of `{}` come to {roles} bytes, and no more than {LONGEST_ROLES} fit into a token",
        principal.subject
    );
    Ok(())
}
