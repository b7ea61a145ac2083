//! What `accord-auth principal` and `accord-auth client` can do with those that are there.

use std::time::{Duration, SystemTime};

use accord_runtime::output::print;
use accord_token::{Kind, verify};
use clap::Subcommand;

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
    List,
    /// Print what is known of one: roles, state, how many secrets are valid.
    Show {
        /// Its name.
        name: String,
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
            Self::List => return list(&store, which).await,
            Self::Show { name } | Self::Disable { name } | Self::Enable { name } | Self::Remove { name } => {
                name.clone()
            }
        };
        if which == Which::Clients {
            admin.client(&name).await?;
        }
        match self {
            Self::List => Ok(()),
            Self::Show { .. } => {
                let principal = admin.principal(&name).await?;
                let client = store.client(&name).await?;
                print(
                    shown(&principal, client.as_ref())
                        + &keys(&admin.client_keys(&name).await?)
                        + &links(&admin.links(&name).await?),
                )
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
async fn list(store: &Store, which: Which) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let page = store.principals_after(&last, which).await?;
        let Some(newest) = page.last() else { return Ok(()) };
        last.clone_from(&newest.subject);
        print(page.iter().map(line).collect::<String>())?;
    }
}

fn line(principal: &Principal) -> String {
    let Principal { subject, tenant, roles, .. } = principal;
    let named = |name: &str, value: &str| if value.is_empty() { String::new() } else { format!("\t{name}={value}") };
    let (tenant, roles) = (named("tenant", tenant), named("roles", &roles.join(",")));
    format!("{subject}\t{}\t{}{tenant}{roles}\n", kind(principal), standing(principal))
}

fn shown(principal: &Principal, client: Option<&Client>) -> String {
    let Principal { subject, tenant, roles, .. } = principal;
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let (tenant, roles) = (or_none(tenant), or_none(&roles.join(", ")));
    let secrets = client.map(|client| match client.earlier_until(verify::now()) {
        _ if client.secret_hash.is_empty() => String::new(),
        Some(until) => format!("secrets  2; the earlier one is valid until {}\n", moment(until)),
        None => "secrets  1\n".to_owned(),
    });
    let (kind, state, secrets) = (kind(principal), standing(principal), secrets.unwrap_or_default());
    format!("name     {subject}\nkind     {kind}\nstate    {state}\ntenant   {tenant}\nroles    {roles}\n{secrets}")
}

fn links(links: &[Link]) -> String {
    let line = |link: &Link| format!("link     {} {}\n", link.issuer, link.external);
    links.iter().map(line).collect()
}

fn keys(keys: &[ClientKey]) -> String {
    let line = |key: &ClientKey| {
        let (algorithm, kid) = (key.jwk.algorithm.name(), &key.jwk.kid);
        let ends =
            if key.expires_at == 0 { String::new() } else { format!("; valid until {}", moment(key.expires_at)) };
        format!("key      {algorithm} {kid}{ends}\n")
    };
    keys.iter().map(line).collect()
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
pub(super) fn moment(seconds: i64) -> impl std::fmt::Display {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since)
}
