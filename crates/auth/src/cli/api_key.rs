//! `accord-auth api-key`.

use std::{fmt, path::PathBuf, time::Duration};

use accord_runtime::{cli::OutputFlag, output::print};
use accord_token::verify;
use clap::Subcommand;
use serde::Serialize;

use super::{
    ACTOR, Context, client,
    lifecycle::{moment, moment_unless_zero},
};
use crate::{
    domain::{
        admin::{Admin, ApiKeyOrder, SecretError},
        scope::Scope,
    },
    secret_file,
    store::{Store, api_keys::ApiKey},
};

/// Commands about API keys.
#[derive(Debug, Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key for a person or a program, and write it into a new file; it is shown nowhere else.
    Add {
        /// As whom it acts.
        subject: String,
        /// Where the key is written.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// A permission that it is narrowed to; may be given again. Default: all that its subject has.
        #[arg(long)]
        permission: Vec<String>,
        /// How long it lives, such as 90days. Default: until it is removed.
        #[arg(long, value_parser = humantime::parse_duration)]
        lifetime: Option<Duration>,
        /// What it is for.
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
    },
    /// Print all keys, or those of one subject, one a line.
    List {
        /// Whose.
        #[arg(long)]
        subject: Option<String>,
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Print what is known of a key.
    Show {
        /// Its public part, `ak_…`, without the secret.
        id: String,
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Make a successor with the same rights, and end the key once the overlap has passed.
    Rotate {
        /// Its public part.
        id: String,
        /// Where the successor is written.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// How long the earlier key stays valid; at most 30days. 0s ends it at once.
        #[arg(long, default_value = client::OVERLAP, value_parser = client::overlap)]
        overlap: Duration,
    },
    /// Refuse a key until it is enabled again, and revoke what came from it.
    Disable {
        /// Its public part.
        id: String,
    },
    /// Accept a disabled key again.
    Enable {
        /// Its public part.
        id: String,
    },
    /// Take a key away, and revoke what came from it.
    Remove {
        /// Its public part.
        id: String,
    },
}

impl ApiKeyCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Add { subject, key_file, permission, lifetime: life, note } => {
                let scope = Scope::parse(&permission.join(" "))?;
                let auth = context.existing_auth().await?;
                let order = ApiKeyOrder { subject, note, scope, life };
                let admin = Admin::new(&auth.store, ACTOR);
                let key = admin.add_api_key(order, &auth.encryption_key, |text| keep(&key_file, text)).await?;
                print(format_args!(
                    "added the key `{}` of `{}`; it is in {}\n",
                    key.id,
                    key.subject,
                    key_file.display()
                ))
            }
            Self::Rotate { id, key_file, overlap } => {
                let auth = context.existing_auth().await?;
                let admin = Admin::new(&auth.store, ACTOR);
                let keep = |text: &str| keep(&key_file, text);
                let (key, earlier) = admin.rotate_api_key(&id, overlap, &auth.encryption_key, keep).await?;
                let until = moment(earlier.expires_at);
                print(format_args!(
                    "added the key `{}`, in {}; `{id}` is valid until {until}\n",
                    key.id,
                    key_file.display()
                ))
            }
            Self::List { subject, output } => list(&context.existing_store().await?, subject.as_deref(), output).await,
            Self::Show { id, output } => {
                let store = context.existing_store().await?;
                output.print(&Shown::of(&Admin::new(&store, ACTOR).api_key(&id).await?))
            }
            Self::Disable { id } => {
                Admin::new(&context.existing_store().await?, ACTOR).disable_api_key(&id).await?;
                print(format_args!("disabled `{id}`, and revoked what came from it\n"))
            }
            Self::Enable { id } => {
                Admin::new(&context.existing_store().await?, ACTOR).enable_api_key(&id).await?;
                print(format_args!("enabled `{id}`\n"))
            }
            Self::Remove { id } => {
                Admin::new(&context.existing_store().await?, ACTOR).remove_api_key(&id).await?;
                print(format_args!("removed `{id}`, and revoked what came from it\n"))
            }
        }
    }
}

fn keep(file: &std::path::Path, text: &str) -> Result<(), SecretError> {
    let inaccessible = |source| SecretError::Inaccessible { place: file.display().to_string(), source };
    secret_file::write_new(file, text).map_err(inaccessible)
}

/// Page by page, as principals are.
async fn list(store: &Store, subject: Option<&str>, output: OutputFlag) -> anyhow::Result<()> {
    let (mut written, mut last) = (output.list(), String::new());
    loop {
        let page = store.api_keys_after(&last, subject).await?;
        let Some(newest) = page.last() else { return written.end() };
        last.clone_from(&newest.id);
        written.page(page.iter().map(Shown::of))?;
    }
}

/// What is shown of a key: never its secret.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    subject: &'a str,
    state: &'static str,
    /// Empty for all that its subject may.
    scope: &'a str,
    made: String,
    /// None for never, as `used`.
    ends: Option<String>,
    used: Option<String>,
    note: &'a str,
}

impl<'a> Shown<'a> {
    fn of(key: &'a ApiKey) -> Self {
        let ApiKey { id, subject, scope, note, .. } = key;
        let [ends, used] = [key.expires_at, key.used_at].map(moment_unless_zero);
        Self { id, subject, state: state(key), scope, made: moment(key.created_at).to_string(), ends, used, note }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, subject, state, scope, made, ends, used, note } = self;
        if !f.alternate() {
            return writeln!(f, "{id}\t{subject}\t{state}\t{note}");
        }
        let scope = if scope.is_empty() { "all that its subject may" } else { scope };
        let [ends, used] = [ends, used].map(|time| time.as_deref().unwrap_or("never"));
        writeln!(f, "key      {id}\nsubject  {subject}\nstate    {state}\nscope    {scope}\nmade     {made}")?;
        writeln!(f, "ends     {ends}\nused     {used}\nnote     {note}")
    }
}

fn state(key: &ApiKey) -> &'static str {
    match (key.disabled, key.is_valid(verify::now())) {
        (true, _) => "disabled",
        (false, true) => "active",
        (false, false) => "expired",
    }
}
