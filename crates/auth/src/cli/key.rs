//! `accord-auth key`.

use std::path::PathBuf;

use accord_runtime::output::print;
use clap::Subcommand;

use super::{ACTOR, Context};
use crate::secret_file;

/// Commands about keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Write a new encryption key into a new file.
    New {
        /// Which file.
        file: PathBuf,
    },
    /// Publish a new signing key. It signs once every verifier has had time to see it.
    Rotate,
}

impl KeyCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::New { file } => secret_file::create_encryption_key(&file)?,
            Self::Rotate => print(format_args!("{}\n", context.existing_auth().await?.rotate_key(ACTOR).await?.kid))?,
        }
        Ok(())
    }
}
