//! `accord-auth api-key`.

use std::{path::PathBuf, time::Duration};

use accord_runtime::output::print;
use accord_token::verify;
use clap::Subcommand;

use super::{ACTOR, Context, client, lifecycle::moment};
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
    },
    /// Print what is known of a key.
    Show {
        /// Its public part, `ak_…`, without the secret.
        id: String,
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
            Self::List { subject } => list(&context.existing_store().await?, subject.as_deref()).await,
            Self::Show { id } => {
                let store = context.existing_store().await?;
                print(shown(&Admin::new(&store, ACTOR).api_key(&id).await?))
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
async fn list(store: &Store, subject: Option<&str>) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let page = store.api_keys_after(&last, subject).await?;
        let Some(newest) = page.last() else { return Ok(()) };
        last.clone_from(&newest.id);
        print(page.iter().map(line).collect::<String>())?;
    }
}

fn line(key: &ApiKey) -> String {
    let ApiKey { id, subject, note, .. } = key;
    format!("{id}\t{subject}\t{}\t{note}\n", state(key))
}

fn shown(key: &ApiKey) -> String {
    let time = |seconds: i64, never: &str| if seconds == 0 { never.to_owned() } else { moment(seconds).to_string() };
    let (ends, used) = (time(key.expires_at, "never"), time(key.used_at, "never"));
    let scope = if key.scope.is_empty() { "all that its subject may" } else { &key.scope };
    let (id, subject, note, state, made) = (&key.id, &key.subject, &key.note, state(key), moment(key.created_at));
    format!(
        "key      {id}\nsubject  {subject}\nstate    {state}\nscope    {scope}\nmade     {made}\nends     {ends}\nused     {used}\n\
         note     {note}\n"
    )
}

fn state(key: &ApiKey) -> &'static str {
    match (key.disabled, key.is_valid(verify::now())) {
        (true, _) => "disabled",
        (false, true) => "active",
        (false, false) => "expired",
    }
}
