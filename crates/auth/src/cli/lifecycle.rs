//! What `accord-auth principal` and `accord-auth client` can do with those that are there.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use accord_runtime::{cli::OutputFlag, output::print};
use accord_token::{Kind, verify};
use clap::Subcommand;
use serde::Serialize;

use super::{ACTOR, Context};
use crate::{
    domain::admin::Admin,
    store::{
        Store,
        client_keys::ClientKey,
        links::Link,
        principals::{Client, Principal, Standing, Which},
    },
};

/// Commands about principals, or about clients alone.
#[derive(Debug, Subcommand)]
pub enum LifecycleCommand {
    /// Print all of them, one a line.
    List(OutputFlag),
    /// Print what is known of one: roles, state, how many secrets are valid.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Let it log in no more, and revoke all of its tokens.
    Disable {
        /// Its name.
        name: String,
    },
    /// Let it log in again after `disable`.
    Enable {
        /// Its name.
        name: String,
    },
    /// Take it away with its roles and its credential, and revoke all of its tokens.
    Remove {
        /// Its name.
        name: String,
    },
}

impl LifecycleCommand {
    pub(super) async fn run(self, which: Which, context: &Context<'_>) -> anyhow::Result<()> {
        let store = context.existing_store().await?;
        let admin = Admin::new(&store, ACTOR);
        let name = match &self {
            Self::List(output) => return list(&store, which, *output).await,
            Self::Show { name, .. } | Self::Disable { name } | Self::Enable { name } | Self::Remove { name } => {
                name.clone()
            }
        };
        if which == Which::Clients {
            admin.client(&name).await?;
        }
        match self {
            Self::List(_) => Ok(()),
            Self::Show { output, .. } => {
                let principal = admin.principal(&name).await?;
                let client = store.client(&name).await?;
                let (keys, links) = (admin.client_keys(&name).await?, admin.links(&name).await?);
                output.print(&Shown {
                    principal: Row::of(&principal),
                    secrets: client.as_ref().and_then(Secrets::of),
                    keys: keys.iter().map(Key::of).collect(),
                    links: links.iter().map(|Link { issuer, external }| LinkRow { issuer, external }).collect(),
                })
            }
            Self::Disable { .. } => {
                admin.disable(&name).await?;
                print(format_args!("disabled `{name}`, and revoked its tokens\n"))
            }
            Self::Enable { .. } => {
                admin.enable(&name).await?;
                print(format_args!("enabled `{name}`\n"))
            }
            Self::Remove { .. } => {
                admin.remove(&name).await?;
                print(format_args!("removed `{name}`, and revoked its tokens\n"))
            }
        }
    }
}

/// Page by page, so that a store of millions takes no more memory than one of a few.
async fn list(store: &Store, which: Which, output: OutputFlag) -> anyhow::Result<()> {
    let (mut written, mut last) = (output.list(), String::new());
    loop {
        let page = store.principals_after(&last, which).await?;
        let Some(newest) = page.last() else { return written.end() };
        last.clone_from(&newest.subject);
        written.page(page.iter().map(Row::of))?;
    }
}

/// A principal in a list.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    kind: &'static str,
    state: &'static str,
    tenant: &'a str,
    roles: &'a [String],
}

impl<'a> Row<'a> {
    fn of(principal: &'a Principal) -> Self {
        let Principal { subject: name, tenant, roles, .. } = principal;
        Self { name, kind: kind(principal), state: standing(principal), tenant, roles }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, state, tenant, roles } = self;
        write!(f, "{name}\t{kind}\t{state}")?;
        if !tenant.is_empty() {
            write!(f, "\ttenant={tenant}")?;
        }
        if !roles.is_empty() {
            write!(f, "\troles={}", roles.join(","))?;
        }
        f.write_str("\n")
    }
}

/// All that is known of a principal.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    principal: Row<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<Secrets>,
    keys: Vec<Key<'a>>,
    links: Vec<LinkRow<'a>>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { name, kind, state, tenant, roles } = &self.principal;
        let tenant = if tenant.is_empty() { "none" } else { tenant };
        let roles = if roles.is_empty() { "none".to_owned() } else { roles.join(", ") };
        writeln!(f, "name     {name}\nkind     {kind}\nstate    {state}\ntenant   {tenant}\nroles    {roles}")?;
        match &self.secrets {
            Some(Secrets { earlier_until: Some(until), .. }) => {
                writeln!(f, "secrets  2; the earlier one is valid until {until}")?;
            }
            Some(_) => writeln!(f, "secrets  1")?,
            None => {}
        }
        for Key { alg, kid, ends } in &self.keys {
            let ends = ends.as_ref().map_or_else(String::new, |ends| format!("; valid until {ends}"));
            writeln!(f, "key      {alg} {kid}{ends}")?;
        }
        self.links.iter().try_for_each(|LinkRow { issuer, external }| writeln!(f, "link     {issuer} {external}"))
    }
}

/// How many secrets of a program are valid.
#[derive(Serialize)]
struct Secrets {
    valid: u8,
    /// Until when the one before is.
    #[serde(skip_serializing_if = "Option::is_none")]
    earlier_until: Option<String>,
}

impl Secrets {
    /// None of a program that has keys instead.
    fn of(client: &Client) -> Option<Self> {
        let earlier_until = client.earlier_until(verify::now()).map(|until| moment(until).to_string());
        let valid = if earlier_until.is_some() { 2 } else { 1 };
        (!client.secret_hash.is_empty()).then_some(Self { valid, earlier_until })
    }
}

/// A key that a program logs in with.
#[derive(Serialize)]
struct Key<'a> {
    alg: &'static str,
    kid: &'a str,
    /// None of one that does not end.
    ends: Option<String>,
}

impl<'a> Key<'a> {
    fn of(key: &'a ClientKey) -> Self {
        Self { alg: key.jwk.algorithm.name(), kid: &key.jwk.kid, ends: moment_unless_zero(key.expires_at) }
    }
}

/// Somebody of another issuer who logs in as a principal.
#[derive(Serialize)]
struct LinkRow<'a> {
    issuer: &'a str,
    external: &'a str,
}

fn kind(principal: &Principal) -> &'static str {
    match principal.kind {
        Kind::User => "user",
        Kind::Service => "service",
    }
}

fn standing(principal: &Principal) -> &'static str {
    match principal.standing {
        Standing::Active => "active",
        Standing::Disabled => "disabled",
        Standing::Removed => "removed",
    }
}

/// A moment in seconds since 1970, for people.
pub(super) fn moment(seconds: i64) -> impl fmt::Display {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since)
}

/// The same, and none for what is never.
pub(super) fn moment_unless_zero(seconds: i64) -> Option<String> {
    (seconds != 0).then(|| moment(seconds).to_string())
}
