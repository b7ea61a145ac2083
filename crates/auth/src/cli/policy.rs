//! `accord-auth policy`.

mod cases;

use std::{fmt, path::PathBuf, process::ExitCode};

use accord_runtime::{
    cli::{Finding, OutputFlag, Report},
    exit_status::ExitStatus,
};
use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;

use super::Context;
use crate::domain::policy::{ListedPolicy, Policies};

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
    /// Print the built-in and the configured policies, one a line.
    List(OutputFlag),
    /// Print one of them with its text.
    Show {
        /// Its id, as `policy list` prints it.
        id: String,
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
            Self::List(output) => {
                let policies = Policies::load(&config, &upstreams)?;
                let mut written = output.list();
                written.page(policies.listed().iter().map(|policy| Shown::of(policy, &policies.hash)))?;
                written.end()?;
                Ok(ExitStatus::Success.into())
            }
            Self::Show { id, output } => {
                let policies = Policies::load(&config, &upstreams)?;
                let policy = policies.listed().iter().find(|policy| policy.id == id);
                let policy = policy.with_context(|| format!("no policy is called `{id}`; see `policy list`"))?;
                output.print(&Shown::of(policy, &policies.hash))?;
                Ok(ExitStatus::Success.into())
            }
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

/// A policy, and the hash of the set that it is in.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    /// The file that it comes from, or `built-in`.
    origin: &'a str,
    state: &'static str,
    set: &'a str,
    text: &'a str,
}

impl<'a> Shown<'a> {
    fn of(policy: &'a ListedPolicy, set: &'a str) -> Self {
        let ListedPolicy { id, origin, is_shadow, text } = policy;
        Self { id, origin, state: if *is_shadow { "tried" } else { "enforced" }, set, text: text.trim() }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, origin, state, set, text } = self;
        if !f.alternate() {
            return writeln!(f, "{id}\t{origin}\t{state}");
        }
        writeln!(f, "policy   {id}\norigin   {origin}\nstate    {state}\nset      {set}\n\n{text}")
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
