//! `accord-gateway diff`: what the change of a contract breaks, and what it loosens.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use accord_contract::{Change, Contract, Overlay, Severity, Source, diff};
use accord_runtime::cli::OutputFlag;
use accord_runtime::config::{self, Overrides};
use accord_runtime::exit_status::ExitStatus;
use accord_runtime::output::{print, print_error};
use accord_runtime::progress::{Progress, Unit};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{build, incomplete};
use crate::config::Config;

/// Which contracts are compared, and what of it fails.
#[derive(Debug, Args)]
pub struct DiffArguments {
    /// What holds now: a descriptor set, or a configuration of the gateway whose name ends in `.toml`.
    old: PathBuf,
    /// What shall hold: the same.
    new: PathBuf,
    /// File with policies for OLD alone, repeatable; then those of `--overlay` are for NEW alone. Without it they are for both. A
    /// configuration has its own.
    #[arg(long, value_name = "FILE")]
    old_overlay: Vec<PathBuf>,
    /// What makes the exit status 1: `breaks`, `loosens`, `any` of both, or `none`.
    #[arg(long, value_name = "EFFECT", default_value = "any", hide_possible_values = true)]
    fail_on: FailOn,
    #[command(flatten)]
    output: OutputFlag,
}

/// What makes the exit status 1.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FailOn {
    /// A change that breaks or loosens something.
    Any,
    /// One that breaks something.
    Breaks,
    /// One that loosens something.
    Loosens,
    /// None.
    None,
}

impl FailOn {
    fn fails(self, change: &Change) -> bool {
        match self {
            Self::Any => change.effect.breaks || change.effect.loosens,
            Self::Breaks => change.effect.breaks,
            Self::Loosens => change.effect.loosens,
            Self::None => false,
        }
    }
}

/// Prints what is otherwise, one line for each change. Exit status 0, 1 where the arguments say so, 2 where a contract can't be read.
pub(super) async fn run(arguments: DiffArguments, config: &Config) -> anyhow::Result<ExitCode> {
    let overlays = &config.contract.overlays;
    let old_overlays = if arguments.old_overlay.is_empty() { overlays } else { &arguments.old_overlay };
    let (old, new) = (contract(&arguments.old, old_overlays).await, contract(&arguments.new, overlays).await);
    let problems: Vec<_> = old.as_ref().err().into_iter().chain(new.as_ref().err()).flatten().collect();
    for problem in problems {
        print_error(format_args!("error: {}", problem.trim_start_matches("error: ")));
    }
    let (Ok(old), Ok(new)) = (old, new) else { return Ok(ExitStatus::Usage.into()) };
    let changes = diff(&old, &new);
    if arguments.output.is_json() {
        let changes: Vec<_> = changes.iter().map(object).collect();
        print(format_args!("{:#}\n", json!({ "changes": changes })))?;
    } else {
        for change in &changes {
            print(format_args!("{change}\n"))?;
        }
    }
    let has_failed = changes.iter().any(|change| arguments.fail_on.fails(change));
    Ok(ExitStatus::of(!has_failed).into())
}

fn object(change: &Change) -> Value {
    json!({
        "method": change.method,
        "field": change.field,
        "before": change.before,
        "after": change.after,
        "breaks": change.effect.breaks,
        "loosens": change.effect.loosens,
        "why": change.why,
    })
}

/// The contract that a file holds, or every reason why there is none.
async fn contract(file: &Path, overlays: &[PathBuf]) -> Result<Contract, Vec<String>> {
    if file.extension().is_some_and(|extension| extension == "toml") {
        return configured(file).await;
    }
    let _reading = Progress::begin("reading the contract", Unit::Time);
    let source = Source::file("upstream", file).map_err(|error| vec![error.to_string()])?;
    let (mut read, mut problems) = (Vec::new(), Vec::new());
    for overlay in overlays {
        match Overlay::file(overlay) {
            Ok(overlay) => read.push(overlay),
            Err(findings) => problems.extend(findings.iter().map(ToString::to_string)),
        }
    }
    // A rule may be for a method that the other contract has alone.
    let (contract, findings) = Contract::load_partial(&[source], &read);
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    problems.extend(errors.map(|finding| format!("{}: {finding}", file.display())));
    if problems.is_empty() { Ok(contract) } else { Err(problems) }
}

async fn configured(file: &Path) -> Result<Contract, Vec<String>> {
    let loaded = config::load::<Config>(&[file.to_owned()], Overrides::default());
    let config = loaded.map_err(|error| vec![error.to_string()])?.config;
    let (built, _) = build(&config).await.map_err(|refused| refused.errors().map(str::to_owned).collect::<Vec<_>>())?;
    match incomplete(&config, &built.pending) {
        Some(problem) => Err(vec![format!("{}: {problem}", file.display())]),
        None => Ok(built.contract),
    }
}
