//! `accord-auth client`.

use std::path::{Path, PathBuf};

use accord_runtime::output::print;
use accord_token::Kind;
use anyhow::{Context as _, ensure};
use clap::Subcommand;

use super::{ACTOR, Context};
use crate::{
    domain::{
        admin::{Admin, AdminError, SecretError},
        encryption_key::generate_secret,
    },
    secret_file,
    store::principals::Principal,
};

/// Commands about programs that log in.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Add a program. Its secret is read from the file, or made and written there.
    Add {
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
    },
}

impl ClientCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let Self::Add { id, tenant, role, secret_file, if_absent } = self;
        context.warn_of_unknown_roles(&role)?;
        let (store, principal) = (context.store().await?, Principal::new(id, Kind::Service, tenant, role));
        match Admin::new(&store, ACTOR).add_client(&principal, || secret(&secret_file)).await {
            Err(AdminError::Exists(id)) => exists(&id, &secret_file, if_absent),
            added => {
                let file = secret_file.display();
                added.with_context(|| format!("the client is not added, with its secret in {file}"))?;
                print(format_args!("added the client `{}`; its secret is in {file}\n", principal.subject))
            }
        }
    }
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

fn exists(id: &str, secret_file: &Path, if_absent: bool) -> anyhow::Result<()> {
    ensure!(if_absent, "the client `{id}` exists; use --if-absent to leave it as it is");
    ensure!(
        secret_file.exists(),
        "the client `{id}` exists, but not its secret at {}: the store holds only a hash of it",
        secret_file.display()
    );
    print(format_args!("the client `{id}` exists, and is left as it is\n"))
}
