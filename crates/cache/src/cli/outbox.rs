//! `accord-cache outbox`: puts triggers into databases of others, takes them away, and says how they stand.

use std::fmt;
use std::process::ExitCode;

use accord_runtime::cli::OutputFlag;
use accord_runtime::exit_status::ExitStatus;
use accord_runtime::output::print;
use accord_runtime::progress::{Progress, Unit};
use accord_store::StoreUrl;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::config::Config;
use crate::outbox::database::{Database, Reading};
use crate::outbox::{Installation, OutboxConfig, install_statements, uninstall_statements};

/// What can be done with an outbox.
#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// Make the outbox and the triggers that the configuration wants, or bring them up to date.
    Install(Change),
    /// Remove the triggers, and the outbox with what nobody has read.
    Uninstall(Change),
    /// Say whether it is as the configuration wants it, and how far it was read; exit status 1 where it is not.
    Status {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: OutputFlag,
    },
}

/// Which outbox.
#[derive(Debug, Args)]
pub struct Which {
    /// The name of the outbox. Default: all that are configured.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Another URL than the configured one, such as that of a user who may do this. A password is better given as PGPASSWORD.
    #[arg(long, value_name = "URL")]
    url: Option<StoreUrl>,
}

/// What is changed.
#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    which: Which,
    /// Print the SQL, and change nothing.
    #[arg(long)]
    print: bool,
    /// The role that will read it. Default: the user of the configured URL.
    #[arg(long, value_name = "ROLE")]
    reader: Option<String>,
}

impl OutboxCommand {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        match self {
            Self::Install(change) => change.run(config, true).await,
            Self::Uninstall(change) => change.run(config, false).await,
            Self::Status { which, output } => which.status(config, output).await,
        }
    }
}

impl Which {
    fn of<'a>(&self, config: &'a Config) -> anyhow::Result<Vec<&'a OutboxConfig>> {
        let is_meant = |outbox: &&OutboxConfig| self.name.as_ref().is_none_or(|name| *name == outbox.name);
        let found: Vec<_> = config.outbox.iter().filter(is_meant).collect();
        if found.is_empty() {
            bail!("no such outbox is configured: add a section [[outbox]], and name its file with --config");
        }
        if found.len() > 1 && self.url.is_some() {
            bail!("`--url` is that of one outbox, and {} are configured: name one", found.len());
        }
        Ok(found)
    }

    async fn connect(&self, outbox: &OutboxConfig) -> anyhow::Result<Database> {
        let url = self.url.as_ref().or(outbox.url.as_ref()).context("the outbox has no URL")?;
        let connected = Database::connect(url, &outbox.schema).await;
        connected.with_context(|| format!("the database of the outbox {} can't be used", outbox.name))
    }

    async fn status(&self, config: &Config, output: OutputFlag) -> anyhow::Result<ExitCode> {
        let (mut list, mut is_good) = (output.list(), true);
        for outbox in self.of(config)? {
            let mut database = self.connect(outbox).await?;
            let missing = database.missing(outbox).await?;
            is_good &= missing.is_empty();
            // Where there is none, nothing else can be said of it.
            let reading = database.status().await.ok();
            list.page([Standing { name: &outbox.name, installed: missing.is_empty(), missing, reading }])?;
        }
        list.end()?;
        Ok(ExitStatus::of(is_good).into())
    }
}

/// How an outbox stands.
#[derive(Serialize)]
struct Standing<'a> {
    name: &'a str,
    installed: bool,
    missing: Vec<String>,
    #[serde(flatten)]
    reading: Option<Reading>,
}

impl fmt::Display for Standing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, if self.installed { "installed" } else { "not as configured" })?;
        self.missing.iter().try_for_each(|missing| writeln!(f, "  {missing}"))?;
        let Some(Reading { read, written, max_rows, reader, read_ago_s }) = &self.reading else { return Ok(()) };
        let reader = reader.as_deref().unwrap_or("nobody");
        writeln!(f, "  read up to {read} of {written}, {} of {max_rows} to be read", written - read)?;
        writeln!(f, "  everything was read {read_ago_s:.1} s ago; the reader is {reader}")
    }
}

impl Change {
    async fn run(&self, config: &Config, is_install: bool) -> anyhow::Result<ExitCode> {
        for outbox in self.which.of(config)? {
            if self.print {
                let reader = self.reader.as_deref().or_else(|| user(outbox));
                print(format!("BEGIN;\n{};\nCOMMIT;\n", statements(outbox, reader, is_install).join(";\n")))?;
                continue;
            }
            let mut database = self.which.connect(outbox).await?;
            let own = database.user().await?;
            let reader = self.reader.as_deref().or_else(|| user(outbox)).filter(|reader| *reader != own);
            let statements = statements(outbox, reader, is_install);
            let what = if is_install { "outbox install" } else { "outbox uninstall" };
            let progress = Progress::begin(what, Unit::Items("statements"));
            let progress = progress.of(u64::try_from(statements.len()).unwrap_or_default());
            let done = database.run(&statements, || progress.advance(1)).await;
            drop(progress);
            done.with_context(|| format!("the outbox {} is left as it was", outbox.name))?;
            print(format!("{}: {}\n", outbox.name, if is_install { "installed" } else { "removed" }))?;
        }
        Ok(ExitStatus::Success.into())
    }
}

fn statements(outbox: &OutboxConfig, reader: Option<&str>, is_install: bool) -> Vec<String> {
    if is_install { install_statements(Installation { outbox, reader }) } else { uninstall_statements(outbox) }
}

/// The user in the configured URL.
fn user(outbox: &OutboxConfig) -> Option<&str> {
    let (_, rest) = outbox.url.as_ref()?.expose().split_once("://")?;
    let (authority, _) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
    let (user, _) = authority.rsplit_once('@')?;
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    Some(user).filter(|user| !user.is_empty() && !user.contains('%'))
}
