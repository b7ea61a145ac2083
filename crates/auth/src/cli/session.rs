//! `accord-auth session`.

use std::fmt;

use accord_runtime::{cli::OutputFlag, output::print};
use clap::Subcommand;
use serde::Serialize;

use super::{
    ACTOR, Context,
    lifecycle::{moment, moment_unless_zero},
};
use crate::{
    domain::admin::{Admin, SessionPlace},
    store::families::Family,
};

/// Commands about logins of persons.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Print the logins of a person that can still be renewed, one a line, newest first.
    List {
        /// Whose.
        principal: String,
        #[command(flatten)]
        output: OutputFlag,
    },
    /// End a login, with every token that came from it.
    End {
        /// Its name, as `session list` prints it.
        session: String,
    },
}

impl SessionCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let store = context.existing_store().await?;
        let admin = Admin::new(&store, ACTOR);
        match self {
            Self::List { principal, output } => list(&admin, &principal, output).await,
            Self::End { session } => {
                admin.end_session(&session).await?;
                print(format_args!("ended `{session}`, and revoked what came from it\n"))
            }
        }
    }
}

/// Page by page, as principals are.
async fn list(admin: &Admin<'_>, principal: &str, output: OutputFlag) -> anyhow::Result<()> {
    let (mut written, mut place) = (output.list(), SessionPlace::first());
    loop {
        let page = admin.sessions_after(principal, &place).await?;
        let Some(last) = page.last() else { return written.end() };
        place = SessionPlace::after(last);
        written.page(page.iter().map(Row::of))?;
    }
}

/// A login in a list.
#[derive(Serialize)]
struct Row<'a> {
    session: &'a str,
    subject: &'a str,
    /// None where no token was renewed yet.
    renewed: Option<String>,
    ends: String,
}

impl<'a> Row<'a> {
    fn of(family: &'a Family) -> Self {
        let Family { id: session, subject, rotated_at, expires_at, .. } = family;
        let renewed = moment_unless_zero(rotated_at / 1000);
        Self { session, subject, renewed, ends: moment(*expires_at).to_string() }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, subject, renewed, ends } = self;
        writeln!(f, "{session}\t{subject}\trenewed={}\tends={ends}", renewed.as_deref().unwrap_or("never"))
    }
}
