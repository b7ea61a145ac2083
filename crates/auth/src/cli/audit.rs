//! `accord-auth audit`.

use std::time::Duration;

use accord_runtime::output::print;
use anyhow::ensure;
use clap::Subcommand;
use tokio::time::sleep;

use super::Context;

/// How often the log is asked for new rows.
const FOLLOW: Duration = Duration::from_secs(1);

/// Commands about the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Say whether every row of the audit log fits to the one before.
    Verify,
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
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Verify => verify(context).await,
            Self::Export { after, follow } => export(context, after, follow).await,
        }
    }
}

async fn verify(context: &Context<'_>) -> anyhow::Result<()> {
    let mut rows = 0;
    let broken = context.existing_store().await?.verify_audit(|_| rows += 1).await?;
    ensure!(broken.is_none(), "the audit log is broken at row {}", broken.unwrap_or_default());
    print(format_args!("good: {rows} rows\n"))
}

async fn export(context: &Context<'_>, mut after: i64, follow: bool) -> anyhow::Result<()> {
    let store = context.existing_store().await?;
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
