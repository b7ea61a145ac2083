//! `accord-auth key`.

use std::{fmt, path::PathBuf, process::ExitCode};

use accord_runtime::{cli::OutputFlag, exit_status::ExitStatus, output::print};
use accord_token::verify;
use clap::Subcommand;
use serde::Serialize;

use super::{ACTOR, Context, lifecycle::moment_unless_zero};
use crate::{
    domain::{admin::Admin, reseal::Resealed},
    secret_file,
    store::{Store, keys::StoredKey},
};

/// Commands about keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Write a new encryption key into a new file.
    New {
        /// Which file.
        file: PathBuf,
    },
    /// Print the signing keys that are published, one a line, oldest first.
    List(OutputFlag),
    /// Publish a new signing key. It signs once every verifier has had time to see it.
    Rotate,
    /// Withdraw a signing key that somebody else may have, at once: nothing that it signed is good any more.
    Retire {
        /// Its `kid`, as `key list` prints it.
        kid: String,
    },
    /// Seal with the encryption key what the accepted one sealed, and say what needs that one still. The status is 0 where nothing does.
    Reseal(OutputFlag),
}

impl KeyCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<ExitCode> {
        match self {
            Self::New { file } => secret_file::create_encryption_key(&file)?,
            Self::List(output) => list(&context.existing_store().await?, output).await?,
            Self::Rotate => {
                let auth = context.existing_auth().await?;
                print(format_args!("{}\n", auth.rotate_key(&Admin::new(&auth.store, ACTOR)).await?.kid))?;
            }
            Self::Retire { kid } => {
                let auth = context.existing_auth().await?;
                let signing = auth.retire_key(&Admin::new(&auth.store, ACTOR), &kid).await?;
                print(format_args!("retired `{kid}`, with everything that it signed; `{signing}` signs now\n"))?;
            }
            Self::Reseal(output) => {
                let resealed = context.existing_auth().await?.reseal(ACTOR).await?;
                output.print(&Shown::of(&resealed))?;
                return Ok(ExitStatus::of(resealed.is_done()).into());
            }
        }
        Ok(ExitStatus::Success.into())
    }
}

async fn list(store: &Store, output: OutputFlag) -> anyhow::Result<()> {
    let now = verify::now();
    let (keys, mut written) = (store.keys(now).await?, output.list());
    let signing = keys.iter().rfind(|key| key.signs_at(now)).map(|key| &key.kid);
    written.page(keys.iter().map(|key| Row::of(key, signing == Some(&key.kid), now)))?;
    written.end()
}

/// A signing key in a list.
#[derive(Serialize)]
struct Row<'a> {
    kid: &'a str,
    algorithm: &'a str,
    state: &'static str,
    /// None for at once; of the ends, for not known yet.
    signs_from: Option<String>,
    signs_until: Option<String>,
    published_until: Option<String>,
}

impl<'a> Row<'a> {
    fn of(key: &'a StoredKey, is_signing: bool, now: i64) -> Self {
        let state = match (is_signing, key.is_overtaken()) {
            (true, _) => "signing",
            (_, true) => "overtaken",
            _ if key.signs_from > now => "next",
            _ => "verifying",
        };
        let [signs_from, signs_until, published_until] =
            [key.signs_from, key.signs_until, key.gone_at].map(moment_unless_zero);
        Self { kid: &key.kid, algorithm: &key.algorithm, state, signs_from, signs_until, published_until }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kid, algorithm, state, signs_from, signs_until, published_until } = self;
        write!(f, "{kid}\t{algorithm}\t{state}")?;
        for (word, time) in [("from", signs_from), ("until", signs_until), ("published", published_until)] {
            if let Some(time) = time {
                write!(f, "\t{word}={time}")?;
            }
        }
        writeln!(f)
    }
}

/// What was sealed anew, and what is left.
#[derive(Serialize)]
struct Shown<'a> {
    done: bool,
    /// Ids of the key in use and of the accepted one, as rows name them; no secrets.
    key_id: &'a str,
    accepted_key_id: &'a str,
    signing_keys: u64,
    second_factors: u64,
    /// What needs the accepted key still.
    waiting: Waiting<'a>,
}

#[derive(Serialize)]
struct Waiting<'a> {
    api_keys: u64,
    first_api_keys: &'a [String],
    sessions: u64,
    requests: u64,
    /// They need a key that is not configured at all.
    lost_second_factors: u64,
}

impl<'a> Shown<'a> {
    fn of(resealed: &'a Resealed) -> Self {
        let Resealed {
            ref key_id,
            ref accepted_key_id,
            signing_keys,
            second_factors,
            lost_second_factors,
            ref waiting,
        } = *resealed;
        let waiting = Waiting {
            api_keys: waiting.api_keys,
            first_api_keys: &waiting.first_api_keys,
            sessions: waiting.sessions,
            requests: waiting.requests,
            lost_second_factors,
        };
        Self { done: resealed.is_done(), key_id, accepted_key_id, signing_keys, second_factors, waiting }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, key_id, accepted_key_id, signing_keys, second_factors, waiting } = self;
        writeln!(f, "sealed anew: {signing_keys} signing keys, {second_factors} second factors")?;
        if *done {
            return writeln!(
                f,
                "done: all is under {key_id}, of `keys.encryption_key_file`; nothing needs {accepted_key_id}, which is accepted, so take it out"
            );
        }
        let Waiting { api_keys, first_api_keys, sessions, requests, lost_second_factors } = waiting;
        writeln!(
            f,
            "not done: {api_keys} API keys, {sessions} sessions and {requests} requests of administrators need {accepted_key_id} still"
        )?;
        if !first_api_keys.is_empty() {
            writeln!(f, "API keys: {}", first_api_keys.join(" "))?;
        }
        if *lost_second_factors > 0 {
            writeln!(f, "{lost_second_factors} second factors need a key that is not configured")?;
        }
        Ok(())
    }
}
