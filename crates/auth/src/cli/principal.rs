//! `accord-auth principal`.

use std::{fmt, path::PathBuf};

use accord_runtime::{cli::OutputFlag, output::print};
use accord_token::Kind;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::{ACTOR, Context, lifecycle::LifecycleCommand};
use crate::{
    domain::{
        admin::{Admin, AdminError},
        encryption_key::generate_secret,
    },
    secret_file,
    store::{
        Store,
        links::Link,
        principals::{Principal, Which},
    },
};

/// Commands about persons and programs.
#[derive(Debug, Subcommand)]
pub enum PrincipalCommand {
    /// Add a person or a program.
    Add {
        /// Its name: stable and unique.
        name: String,
        /// What it is.
        #[arg(long, value_enum, default_value = "user")]
        kind: KindName,
        /// Its tenant. Default: none.
        #[arg(long, default_value = "", hide_default_value = true)]
        tenant: String,
        /// A role; may be given again.
        #[arg(long)]
        role: Vec<String>,
        /// A file with a password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Leave it as it is where it exists.
        #[arg(long)]
        if_absent: bool,
    },
    /// Print a code with which a person sets another password, once and within an hour (`AccountService.ResetPassword`).
    ResetCode {
        /// The person's name.
        name: String,
    },
    /// Take away a person's second factor, whose app they have lost.
    DropSecondFactor {
        /// The person's name.
        name: String,
    },
    /// Let somebody of another issuer log in as a principal; `show` names who does.
    Link(LinkArgs),
    /// Let them log in no more, and revoke all tokens of the principal.
    Unlink(LinkArgs),
    /// Print who of other issuers logs in as whom, one a line.
    Links {
        /// Only as this principal.
        #[arg(long)]
        subject: Option<String>,
        #[command(flatten)]
        output: OutputFlag,
    },
    #[command(flatten)]
    Lifecycle(LifecycleCommand),
}

/// Somebody of another issuer.
#[derive(Debug, Args)]
pub struct LinkArgs {
    /// The principal's name.
    name: String,
    /// The issuer: the name of an `[[issuer]]`, or `kubernetes`.
    #[arg(long)]
    issuer: String,
    /// What it calls them; for Kubernetes NAMESPACE/NAME of a service account.
    #[arg(long)]
    external: String,
}

impl LinkArgs {
    fn read(self) -> (String, Link) {
        let Self { name, issuer, external } = self;
        (name, Link { issuer, external })
    }
}

/// What a principal is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KindName {
    User,
    Service,
}

impl PrincipalCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let (name, kind, tenant, role, password_file, if_absent) = match self {
            Self::Add { name, kind, tenant, role, password_file, if_absent } => {
                (name, kind, tenant, role, password_file, if_absent)
            }
            Self::ResetCode { name } => {
                let (store, code) = (context.existing_store().await?, generate_secret()?);
                Admin::new(&store, ACTOR).add_reset_code(&name, &code).await?;
                return print(format_args!("{code}\n"));
            }
            Self::DropSecondFactor { name } => {
                return Ok(Admin::new(&context.existing_store().await?, ACTOR).drop_second_factor(&name).await?);
            }
            Self::Link(link) => {
                let (name, link) = link.read();
                Admin::new(&context.existing_store().await?, ACTOR).link(&name, &link).await?;
                return print(format_args!("`{}` of `{}` logs in as `{name}`\n", link.external, link.issuer));
            }
            Self::Unlink(link) => {
                let (name, link) = link.read();
                Admin::new(&context.existing_store().await?, ACTOR).unlink(&name, &link).await?;
                return print(format_args!(
                    "unlinked `{}` of `{}`, and revoked the tokens of `{name}`\n",
                    link.external, link.issuer
                ));
            }
            Self::Links { subject, output } => {
                return links(&context.existing_store().await?, subject.as_deref(), output).await;
            }
            Self::Lifecycle(command) => return command.run(Which::Principals, context).await,
        };
        let password = password_file.as_deref().map(secret_file::read).transpose()?;
        context.warn_of_unknown_roles(&role)?;
        let (store, place) = context.named_store().await?;
        let principal = Principal::new(name, kind.into(), tenant, role);
        match Admin::new(&store, ACTOR).add_principal(&principal, password.as_deref()).await {
            Err(AdminError::Exists(name)) if if_absent => {
                print(format_args!("`{name}` exists, and is left as it is\n"))
            }
            added => {
                added?;
                print(format_args!("added `{}` in {place}\n", principal.subject))
            }
        }
    }
}

/// Page by page, as principals are.
async fn links(store: &Store, subject: Option<&str>, output: OutputFlag) -> anyhow::Result<()> {
    let (mut written, mut last) = (output.list(), Link::default());
    loop {
        let page = store.links_after(&last, subject).await?;
        let Some((newest, _)) = page.last() else { return written.end() };
        last.clone_from(newest);
        written.page(page.iter().map(|(Link { issuer, external }, subject)| LinkRow { issuer, external, subject }))?;
    }
}

/// Who of another issuer logs in as whom.
#[derive(Serialize)]
struct LinkRow<'a> {
    issuer: &'a str,
    external: &'a str,
    subject: &'a str,
}

impl fmt::Display for LinkRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, external, subject } = self;
        writeln!(f, "{issuer}\t{external}\t{subject}")
    }
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::User => Kind::User,
            KindName::Service => Kind::Service,
        }
    }
}
