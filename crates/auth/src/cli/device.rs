//! `accord-auth device`.

use std::{net::Ipv4Addr, path::PathBuf};

use accord_runtime::output::print;
use accord_token::verify;
use clap::{Args, Subcommand};

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
            Self::List { subject } => list(&context.existing_store().await?, subject.as_deref()).await,
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
async fn list(store: &Store, subject: Option<&str>) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let page = store.open_codes_after(&last, subject, verify::now()).await?;
        let Some(newest) = page.last() else { return Ok(()) };
        last.clone_from(&newest.user_code);
        print(page.iter().map(line).collect::<String>())?;
    }
}

fn line(code: &DeviceCode) -> String {
    let DeviceCode { user_code, client, network, subject, .. } = code;
    let left = code.expires_at.saturating_sub(verify::now());
    let decision = if code.decision == Decision::Approved { "approved" } else { "" };
    format!("{}\t{client}\t{network}\t{left}\t{subject}\t{decision}\n", shown(user_code))
}
