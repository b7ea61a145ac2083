//! `accord-auth policy`.

use std::{path::PathBuf, process::ExitCode};

use accord_runtime::cli::{Finding, OutputFlag, Report};
use clap::Subcommand;

use crate::domain::policy::Policies;

/// Commands about policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say whether these files and the built-in policies are good together.
    Check {
        /// Cedar policies.
        files: Vec<PathBuf>,
        #[command(flatten)]
        output: OutputFlag,
    },
}

impl PolicyCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Check { files, output } = self;
        let report = match Policies::load(&files) {
            Ok(policies) => {
                Report::of(policies.warnings().into_iter().map(Finding::warning), format!("good: {}", policies.hash))
            }
            Err(error) => Report::refused([error.to_string()]),
        };
        report.print_as(output)
    }
}
