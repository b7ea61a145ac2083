//! `accord-auth token`.

use std::time::Duration;

use accord_runtime::output::print;
use clap::Subcommand;

use super::{ACTOR, Context};
use crate::domain::admin::Admin;

/// Commands about access tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print an access token.
    Issue {
        /// Whose.
        #[arg(long)]
        subject: String,
        /// How long it lives; at most 24h.
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        lifetime: Duration,
    },
    /// Revoke every token of a subject, or every token there is.
    #[command(group = clap::ArgGroup::new("whose").required(true))]
    Revoke {
        /// Whose tokens.
        #[arg(long, group = "whose")]
        subject: Option<String>,
        /// All tokens of everybody.
        #[arg(long, group = "whose")]
        everything: bool,
    },
}

impl TokenCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Issue { subject, lifetime } => {
                let token = context.existing_auth().await?.issue_token(&subject, lifetime, ACTOR).await?;
                print(format_args!("{token}\n"))?;
            }
            Self::Revoke { subject: Some(subject), .. } => {
                Admin::new(&context.existing_store().await?, ACTOR).revoke_subject(&subject).await?;
            }
            Self::Revoke { subject: None, .. } => {
                Admin::new(&context.existing_store().await?, ACTOR).revoke_everything().await?;
            }
        }
        Ok(())
    }
}
