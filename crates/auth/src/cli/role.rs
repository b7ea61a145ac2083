//! `accord-auth role`.

use std::{collections::BTreeMap, fmt};

use accord_runtime::{cli::OutputFlag, output::print_error};
use clap::Subcommand;
use serde::Serialize;

use super::{ACTOR, Context};
use crate::{
    domain::{
        admin::{Admin, KnownRole, RolePlace},
        policy::Policies,
    },
    store::Store,
};

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
    /// Print the roles that somebody holds, and then those that the configured policies name alone, one a line.
    List(OutputFlag),
    /// Print who holds a role, one a line.
    Holders {
        /// Which.
        role: String,
        #[command(flatten)]
        output: OutputFlag,
    },
}

impl RoleCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let store = context.existing_store().await?;
        let admin = Admin::new(&store, ACTOR);
        match self {
            Self::Grant { subject, role } => Ok(admin.grant_role(&subject, &role).await?),
            Self::Remove { subject, role } => Ok(admin.remove_role(&subject, &role).await?),
            Self::List(output) => list(&admin, &named_roles(context)?, output).await,
            Self::Holders { role, output } => holders(&store, &role, output).await,
        }
    }
}

/// Where policies can't be read, as before they are deployed, that is a warning.
fn named_roles(context: &Context<'_>) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let (config, upstreams) = context.configured_policies()?;
    match Policies::load(&config, &upstreams) {
        Ok(policies) => Ok(policies.roles()),
        Err(error) => {
            print_error(format_args!("warning: what policies name is left out: {error}"));
            Ok(BTreeMap::new())
        }
    }
}

/// Page by page, as principals are.
async fn list(admin: &Admin<'_>, named: &BTreeMap<String, Vec<String>>, output: OutputFlag) -> anyhow::Result<()> {
    let (mut written, mut place) = (output.list(), RolePlace::default());
    loop {
        let page = admin.roles_after(&place, named).await?;
        let Some(last) = page.last() else { return written.end() };
        place = RolePlace::after(last);
        written.page(page.iter().map(Row::of))?;
    }
}

async fn holders(store: &Store, role: &str, output: OutputFlag) -> anyhow::Result<()> {
    let (mut written, mut last) = (output.list(), String::new());
    loop {
        let page = store.role_holders_after(role, &last).await?;
        let Some(newest) = page.last() else { return written.end() };
        last.clone_from(newest);
        written.page(page.iter().map(|subject| Holder { subject, role }))?;
    }
}

/// A role in a list.
#[derive(Serialize)]
struct Row<'a> {
    role: &'a str,
    holders: u64,
    policies: &'a [String],
}

impl<'a> Row<'a> {
    fn of(KnownRole { role, holders, policies }: &'a KnownRole) -> Self {
        Self { role, holders: *holders, policies }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, holders, policies } = self;
        writeln!(f, "{role}\tholders={holders}\tpolicies={}", policies.join(","))
    }
}

/// Somebody who holds a role.
#[derive(Serialize)]
struct Holder<'a> {
    subject: &'a str,
    role: &'a str,
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.subject)
    }
}
