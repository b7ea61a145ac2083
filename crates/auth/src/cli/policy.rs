//! `accord-auth policy`.

mod cases;

use std::{path::PathBuf, process::ExitCode};

use accord_runtime::cli::{Finding, OutputFlag, Report};
use clap::Subcommand;

use super::Context;
use crate::domain::policy::Policies;

/// Commands about policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say whether these files, those of `--policy` or `policy.files`, and the built-in policies are good together.
    Check {
        /// Cedar policies, beside those of the configuration.
        files: Vec<PathBuf>,
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Decide each case of a table, and say where the configured policies decide otherwise than it expects. For a pipeline: the
    /// status is 0 if all are as expected.
    #[command(after_help = cases::EXAMPLE)]
    Test {
        /// Cases, as TOML.
        file: PathBuf,
        #[command(flatten)]
        output: OutputFlag,
    },
}

impl PolicyCommand {
    pub(super) fn run(self, context: &Context<'_>) -> anyhow::Result<ExitCode> {
        let (mut config, upstreams) = context.configured_policies()?;
        match self {
            Self::Check { files, output } => {
                config.files.extend(files.into_iter().filter(|file| !config.files.contains(file)).collect::<Vec<_>>());
                let report = match Policies::load(&config, &upstreams) {
                    Ok(policies) => {
                        let warnings = policies.warnings().into_iter().map(Finding::warning);
                        let files = [&config.files[..], &config.shadow_files].concat();
                        Report::of(warnings, summary(&files, policies.count()))
                    }
                    Err(error) => Report::refused([error.to_string()]),
                };
                report.print_as(output)
            }
            Self::Test { file, output } => {
                let report = match Policies::load(&config, &upstreams) {
                    Ok(policies) => cases::report(&policies, &file),
                    Err(error) => Report::refused([error.to_string()]),
                };
                report.print_as(output)
            }
        }
    }
}

/// What was read, so that nobody takes a file for good that was not looked at.
fn summary(files: &[PathBuf], policies: usize) -> String {
    let plural = |count: usize, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    let (files_read, policies) = (plural(files.len(), "file", "files"), plural(policies, "policy", "policies"));
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let names = if names.is_empty() { "the built-in ones alone".to_owned() } else { names.join(", ") };
    format!("good: {files_read}, {policies}: {names}")
}
