//! `accord-auth audit`.

use std::{fmt, process::ExitCode, time::Duration};

use accord_runtime::{
    cli::OutputFlag,
    exit_status::ExitStatus,
    output::print,
    progress::{Progress, Unit},
};
use anyhow::ensure;
use clap::Subcommand;
use serde::Serialize;
use tokio::time::sleep;

use super::Context;

/// How often the log is asked for new rows.
const FOLLOW: Duration = Duration::from_secs(1);

/// Commands about the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Say whether every row of the audit log fits to the one before.
    Verify(OutputFlag),
    /// Print the rows of the audit log, a line of JSON each.
    Export {
        /// Only the rows after this one, by its `seq`.
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: i64,
        /// Go on with rows as they come, until interrupted.
        #[arg(long)]
        follow: bool,
    },
}

impl AuditCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<ExitCode> {
        match self {
            Self::Verify(output) => verify(context, output).await,
            Self::Export { after, follow } => {
                export(context, after, follow).await?;
                Ok(ExitStatus::Success.into())
            }
        }
    }
}

async fn verify(context: &Context<'_>, output: OutputFlag) -> anyhow::Result<ExitCode> {
    let mut rows = 0;
    let store = context.existing_store().await?;
    let progress = Progress::begin("audit verify", Unit::Items("rows")).of(store.count_audit().await?);
    let count = |_| {
        rows += 1;
        progress.advance(1);
    };
    let broken = store.verify_audit(count).await?;
    drop(progress);
    let verified = Verified { good: broken.is_none(), rows, broken_at: broken };
    if !output.is_json() {
        ensure!(verified.good, "the audit log is broken at row {}", broken.unwrap_or_default());
    }
    output.print(&verified)?;
    Ok(ExitStatus::of(verified.good).into())
}

/// What was found in the log.
#[derive(Serialize)]
struct Verified {
    good: bool,
    /// How many were read.
    rows: u64,
    /// The first that does not fit to the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<i64>,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "good: {} rows", self.rows)
    }
}

async fn export(context: &Context<'_>, mut after: i64, follow: bool) -> anyhow::Result<()> {
    let store = context.existing_store().await?;
    ensure!(
        !store.is_beyond_audit(after).await?,
        "{after} is beyond the newest entry: the store is older than what was read; read it anew"
    );
    loop {
        let page = store.audit_after(after).await?;
        for entry in &page {
            after = entry.seq;
            print(format_args!("{}\n", serde_json::to_string(entry)?))?;
        }
        match (page.is_empty(), follow) {
            (false, _) => {}
            (true, false) => return Ok(()),
            // Other processes append, and the store wakes nobody for it.
            (true, true) => sleep(FOLLOW).await,
        }
    }
}
