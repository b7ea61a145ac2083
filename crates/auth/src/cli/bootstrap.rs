//! `accord-auth bootstrap`.

use std::{path::PathBuf, time::Duration};

use accord_runtime::output::print;
use accord_token::Kind;
use clap::Args;

use super::{ACTOR, Context};
use crate::{domain::admin::Admin, secret_file, store::principals::Principal};

/// How long the printed token lives.
const TOKEN_LIFE: Duration = Duration::from_mins(15);

/// What `bootstrap` takes.
#[derive(Debug, Args)]
pub struct Bootstrap {
    /// The admin's name. There is no default account.
    name: String,
    /// A file with the admin's password. Default: none, so that only the printed token works.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Bootstrap {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let auth = context.auth().await?;
        let password = self.password_file.as_deref().map(secret_file::read).transpose()?;
        let admin = Principal::new(self.name, Kind::User, String::new(), vec!["accord-admin".to_owned()]);
        Admin::new(&auth.store, ACTOR).add_principal(&admin, password.as_deref()).await?;
        print(format_args!("{}\n", auth.issue_token(&admin.subject, TOKEN_LIFE, ACTOR).await?))
    }
}
