//! `accord-auth device`.

use std::{fmt, net::Ipv4Addr, path::PathBuf};

use accord_runtime::{cli::OutputFlag, output::print};
use accord_token::verify;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{ACTOR, Context};
use crate::{
    domain::{admin::Admin, device::shown, login::PersonProof},
    secret_file,
    store::{
        Store,
        device_codes::{Decision, DeviceCode},
    },
};

/// Commands about devices that ask to act for somebody (RFC 8628).
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Print the devices that wait to be approved, and those that were and have no tokens yet: code, client, network, seconds left, who has
    /// claimed or approved it, and `approved`; one a line.
    List {
        /// Only those that this person has claimed or approved.
        #[arg(long)]
        subject: Option<String>,
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Let a device act for a person, who proves who they are. Look with `list` at who asks.
    Approve(Approve),
    /// Give a device nothing that waits, or was approved and has no tokens yet.
    Deny {
        /// The code that it shows.
        user_code: String,
    },
}

/// Which device, and for whom.
#[derive(Debug, Args)]
pub struct Approve {
    /// The code that it shows.
    user_code: String,
    /// The person.
    #[arg(long)]
    name: String,
    /// A file with their password: nobody approves in another person's name.
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// The code of their second factor, where they have one.
    #[arg(long, default_value = "", hide_default_value = true)]
    totp_code: String,
}

impl DeviceCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::List { subject, output } => list(&context.existing_store().await?, subject.as_deref(), output).await,
            Self::Approve(approve) => approve.run(context).await,
            Self::Deny { user_code } => {
                Admin::new(&context.existing_store().await?, ACTOR).cancel_device(&user_code).await?;
                print("denied\n")
            }
        }
    }
}

impl Approve {
    async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let Self { user_code, name, password_file, totp_code } = self;
        let proof = PersonProof { name, password: secret_file::read(&password_file)?, totp_code };
        let auth = context.existing_auth().await?;
        let DeviceCode { client, network, subject, .. } =
            auth.approve_device(&user_code, proof, Ipv4Addr::LOCALHOST.into()).await?;
        print(format_args!("`{client}`, which asked from {network}, may act for `{subject}`\n"))
    }
}

/// Page by page, as principals are.
async fn list(store: &Store, subject: Option<&str>, output: OutputFlag) -> anyhow::Result<()> {
    let (mut written, mut last) = (output.list(), String::new());
    loop {
        let page = store.open_codes_after(&last, subject, verify::now()).await?;
        let Some(newest) = page.last() else { return written.end() };
        last.clone_from(&newest.user_code);
        written.page(page.iter().map(Row::of))?;
    }
}

/// A device in a list.
#[derive(Serialize)]
struct Row<'a> {
    user_code: String,
    client: &'a str,
    network: &'a str,
    seconds_left: i64,
    /// Who has claimed or approved it; empty for nobody.
    subject: &'a str,
    approved: bool,
}

impl<'a> Row<'a> {
    fn of(code: &'a DeviceCode) -> Self {
        let DeviceCode { user_code, client, network, subject, .. } = code;
        Self {
            user_code: shown(user_code),
            client,
            network,
            seconds_left: code.expires_at.saturating_sub(verify::now()),
            subject,
            approved: code.decision == Decision::Approved,
        }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user_code, client, network, seconds_left, subject, approved } = self;
        let decision = if *approved { "approved" } else { "" };
        writeln!(f, "{user_code}\t{client}\t{network}\t{seconds_left}\t{subject}\t{decision}")
    }
}
