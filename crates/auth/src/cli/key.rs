//! `accord-auth key`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{ACTOR, Flags};
use crate::secret_file;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Write a new encryption key into a new file.
    New {
        /// Which file.
        file: PathBuf,
    },
    /// Publish a new signing key. It signs once every verifier has had time to see it.
    Rotate,
}

impl KeyCommand {
    pub(super) async fn run(self, flags: &Flags) -> anyhow::Result<()> {
        match self {
            Self::New { file } => secret_file::create_encryption_key(&file)?,
            Self::Rotate => println!("{}", flags.existing_auth().await?.rotate_key(ACTOR).await?.kid),
        }
        Ok(())
    }
}
