//! `accord-auth certificate-identity`.

use std::fmt;

use accord_runtime::{cli::OutputFlag, output::print};
use clap::Subcommand;
use serde::Serialize;

use super::{
    ACTOR, Context,
    lifecycle::{moment, moment_unless_zero},
};
use crate::{
    domain::admin::{Admin, CertificateIdentityOrder},
    store::{Store, certificate_identities::CertificateIdentity},
};

/// Commands about certificate identities.
#[derive(Debug, Subcommand)]
pub enum CertificateIdentityCommand {
    /// Let whoever calls by a gateway with a certificate of this name act as a person or a program.
    Add {
        /// The name: `spiffe://TRUST_DOMAIN/PATH`, or `dns:NAME` in lower case.
        identity: String,
        /// As whom its owner acts.
        subject: String,
        /// What it is for.
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
    },
    /// Print all of them, or those of one subject, one a line.
    List {
        /// Whose.
        #[arg(long)]
        subject: Option<String>,
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Print what is known of one.
    Show {
        /// Its name or its id, `ci_…`.
        name: String,
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Refuse one until it is enabled again, and revoke what came from it.
    Disable {
        /// Its name or its id.
        name: String,
    },
    /// Accept a disabled one again.
    Enable {
        /// Its name or its id.
        name: String,
    },
    /// Take one away, and revoke what came from it.
    Remove {
        /// Its name or its id.
        name: String,
    },
}

impl CertificateIdentityCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let store = context.existing_store().await?;
        let admin = Admin::new(&store, ACTOR);
        match self {
            Self::Add { identity, subject, note } => {
                let added =
                    admin.add_certificate_identity(CertificateIdentityOrder { identity, subject, note }).await?;
                print(format_args!("added `{}` as `{}`, by the id {}\n", added.identity, added.subject, added.id))
            }
            Self::List { subject, output } => list(&store, subject.as_deref(), output).await,
            Self::Show { name, output } => output.print(&Shown::of(&admin.certificate_identity(&name).await?)),
            Self::Disable { name } => {
                admin.disable_certificate_identity(&name).await?;
                print(format_args!("disabled `{name}`, and revoked what came from it\n"))
            }
            Self::Enable { name } => {
                admin.enable_certificate_identity(&name).await?;
                print(format_args!("enabled `{name}`\n"))
            }
            Self::Remove { name } => {
                admin.remove_certificate_identity(&name).await?;
                print(format_args!("removed `{name}`, and revoked what came from it\n"))
            }
        }
    }
}

/// Page by page, as principals are.
async fn list(store: &Store, subject: Option<&str>, output: OutputFlag) -> anyhow::Result<()> {
    let (mut written, mut last) = (output.list(), String::new());
    loop {
        let page = store.certificate_identities_after(&last, subject).await?;
        let Some(newest) = page.last() else { return written.end() };
        last.clone_from(&newest.identity);
        written.page(page.iter().map(Shown::of))?;
    }
}

/// What is known of one.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    subject: &'a str,
    state: &'static str,
    added: String,
    /// None for never.
    used: Option<String>,
    note: &'a str,
}

impl<'a> Shown<'a> {
    fn of(known: &'a CertificateIdentity) -> Self {
        let CertificateIdentity { id, identity: name, subject, note, .. } = known;
        let (state, used) = (if known.disabled { "disabled" } else { "active" }, moment_unless_zero(known.used_at));
        Self { id, name, subject, state, added: moment(known.created_at).to_string(), used, note }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, subject, state, added, used, note } = self;
        if !f.alternate() {
            return writeln!(f, "{id}\t{name}\t{subject}\t{state}\t{note}");
        }
        let used = used.as_deref().unwrap_or("never");
        writeln!(f, "id       {id}\nname     {name}\nsubject  {subject}\nstate    {state}\nadded    {added}")?;
        writeln!(f, "used     {used}\nnote     {note}")
    }
}
