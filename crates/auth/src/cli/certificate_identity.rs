//! `accord-auth certificate-identity`.

use accord_runtime::output::print;
use clap::Subcommand;

use super::{ACTOR, Context, lifecycle::moment};
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
    },
    /// Print what is known of one.
    Show {
        /// Its name or its id, `ci_…`.
        name: String,
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
            Self::List { subject } => list(&store, subject.as_deref()).await,
            Self::Show { name } => print(shown(&admin.certificate_identity(&name).await?)),
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
async fn list(store: &Store, subject: Option<&str>) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let page = store.certificate_identities_after(&last, subject).await?;
        let Some(newest) = page.last() else { return Ok(()) };
        last.clone_from(&newest.identity);
        print(page.iter().map(line).collect::<String>())?;
    }
}

fn line(known: &CertificateIdentity) -> String {
    let CertificateIdentity { id, identity, subject, note, .. } = known;
    format!("{id}\t{identity}\t{subject}\t{}\t{note}\n", state(known))
}

fn shown(known: &CertificateIdentity) -> String {
    let CertificateIdentity { id, identity, subject, note, .. } = known;
    let (state, added) = (state(known), moment(known.created_at));
    let used = if known.used_at == 0 { "never".to_owned() } else { moment(known.used_at).to_string() };
    format!(
        "id       {id}\nname     {identity}\nsubject  {subject}\nstate    {state}\nadded    {added}\nused     {used}\n\
         note     {note}\n"
    )
}

fn state(known: &CertificateIdentity) -> &'static str {
    if known.disabled { "disabled" } else { "active" }
}
