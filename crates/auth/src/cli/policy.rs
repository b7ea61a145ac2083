//! `accord-auth policy`.

use std::path::PathBuf;

use accord_runtime::output::print;
use clap::Subcommand;

use crate::domain::policy::Policies;

/// Commands about policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say whether these files and the built-in policies are good together.
    Check {
        /// Cedar policies.
        files: Vec<PathBuf>,
    },
}

impl PolicyCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Check { files } = self;
        print(format_args!("good: {}\n", Policies::load(&files)?.hash))
    }
}
