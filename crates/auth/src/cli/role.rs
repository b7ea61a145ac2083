//! `accord-auth role`.

use clap::Subcommand;

use super::{ACTOR, Context};
use crate::domain::admin::Admin;

/// Commands about roles.
#[derive(Debug, Subcommand)]
pub enum RoleCommand {
    /// Give a role. The principal's present tokens are revoked, since they do not show it.
    Grant {
        /// To whom.
        subject: String,
        /// Which.
        role: String,
    },
    /// Take a role away. The principal's present tokens are revoked, since they still show it.
    Remove {
        /// From whom.
        subject: String,
        /// Which.
        role: String,
    },
}

impl RoleCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let store = context.existing_store().await?;
        let admin = Admin::new(&store, ACTOR);
        match self {
            Self::Grant { subject, role } => admin.grant_role(&subject, &role).await?,
            Self::Remove { subject, role } => admin.remove_role(&subject, &role).await?,
        }
        Ok(())
    }
}
