//! `accord-auth client`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use accord_runtime::output::print;
use accord_token::Kind;
use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};

use super::{
    ACTOR, Context,
    lifecycle::{LifecycleCommand, moment},
};
use crate::{
    domain::{
        admin::{Admin, AdminError, LONGEST_OVERLAP, SecretError},
        encryption_key::generate_secret,
    },
    secret_file,
    store::principals::{Principal, Which},
};

/// How long the earlier secret stays valid where nothing else is said.
pub(super) const OVERLAP: &str = "24h";

/// Commands about programs that log in.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Add a program. Its secret is read from the file, or made and written there.
    Add(Add),
    /// Give a program another secret, read from the file or made and written there; the earlier one stays valid for a while.
    Rotate {
        /// Its id.
        id: String,
        /// Where the new secret is, or is written.
        #[arg(long, value_name = "FILE")]
        secret_file: PathBuf,
        /// How long the earlier secret stays valid; at most 30days. 0s ends it at once.
        #[arg(long, default_value = OVERLAP, value_parser = overlap)]
        overlap: Duration,
    },
    #[command(flatten)]
    Lifecycle(LifecycleCommand),
}

/// What is said of a program that is added.
#[derive(Debug, Args)]
pub struct Add {
    /// Its id, and its name as a principal.
    id: String,
    /// Its tenant. Default: none.
    #[arg(long, default_value = "", hide_default_value = true)]
    tenant: String,
    /// A role; may be given again.
    #[arg(long)]
    role: Vec<String>,
    /// Where its secret is.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// Leave it as it is where it exists.
    #[arg(long)]
    if_absent: bool,
    /// Where it exists with another secret, give it the one in the file, as `client rotate` does.
    #[arg(long, requires = "if_absent")]
    rotate: bool,
}

impl ClientCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => add.run(context).await,
            Self::Rotate { id, secret_file, overlap } => {
                let store = context.existing_store().await?;
                rotate(&Admin::new(&store, ACTOR), &id, &secret_file, overlap).await
            }
            Self::Lifecycle(command) => command.run(Which::Clients, context).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let Self { id, tenant, role, secret_file, if_absent, rotate } = self;
        context.warn_of_unknown_roles(&role)?;
        let (store, place) = context.named_store().await?;
        let principal = Principal::new(id, Kind::Service, tenant, role);
        let admin = Admin::new(&store, ACTOR);
        match admin.add_client(&principal, || secret(&secret_file)).await {
            Err(AdminError::Exists(id)) => exists(&admin, &id, &secret_file, (if_absent, rotate)).await,
            added => {
                let file = secret_file.display();
                added.with_context(|| format!("the client is not added, with its secret in {file}"))?;
                print(format_args!("added the client `{}` in {place}; its secret is in {file}\n", principal.subject))
            }
        }
    }
}

pub(super) fn overlap(text: &str) -> Result<Duration, String> {
    let overlap = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let longest = humantime::format_duration(LONGEST_OVERLAP);
    if overlap <= LONGEST_OVERLAP { Ok(overlap) } else { Err(format!("it must be at most {longest}")) }
}

async fn rotate(admin: &Admin<'_>, id: &str, file: &Path, overlap: Duration) -> anyhow::Result<()> {
    let until = admin.rotate_client(id, overlap, || secret(file)).await;
    let until = until.with_context(|| format!("the client `{id}` keeps its secret"))?;
    print(format_args!(
        "the client `{id}` has another secret, which is in {}; the earlier one is valid until {}\n",
        file.display(),
        moment(until)
    ))
}

/// The secret in the file, or a new one that is written there.
fn secret(file: &Path) -> Result<String, SecretError> {
    let inaccessible = |source| SecretError::Inaccessible { place: file.display().to_string(), source };
    if file.exists() {
        return secret_file::try_read(file).map_err(inaccessible);
    }
    let secret = generate_secret()?;
    secret_file::write_new(file, &secret).map_err(inaccessible)?;
    Ok(secret)
}

async fn exists(
    admin: &Admin<'_>,
    id: &str,
    secret_file: &Path,
    (if_absent, rotates): (bool, bool),
) -> anyhow::Result<()> {
    ensure!(if_absent, "the client `{id}` exists; use --if-absent to leave it as it is");
    let file = secret_file.display();
    ensure!(
        secret_file.exists(),
        "the client `{id}` exists, but not its secret at {file}: the store holds only a hash of it"
    );
    if admin.has_secret(id, &secret_file::read(secret_file)?).await? {
        return print(format_args!("the client `{id}` exists, and is left as it is\n"));
    }
    if rotates {
        return rotate(admin, id, secret_file, overlap(OVERLAP).map_err(anyhow::Error::msg)?).await;
    }
    eprintln!(
        "warning: the client `{id}` exists with another secret than that in {file}, and keeps it: give it this one with \
         `accord-auth client rotate {id} --secret-file {file}`"
    );
    print(format_args!("the client `{id}` exists, and is left as it is\n"))
}
