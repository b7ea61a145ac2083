//! `accord-auth audit`.

use accord_runtime::output::print;
use anyhow::ensure;
use clap::Subcommand;

use super::Context;

/// Commands about the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Say whether every row of the audit log fits to the one before.
    Verify,
}

impl AuditCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let Self::Verify = self;
        let (entries, broken) = context.existing_store().await?.audit_log().await?;
        ensure!(broken.is_none(), "the audit log is broken at row {}", broken.unwrap_or_default());
        print(format_args!("good: {} rows\n", entries.len()))
    }
}
