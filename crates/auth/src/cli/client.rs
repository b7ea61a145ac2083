//! `accord-auth client`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use accord_runtime::{file::read_text, output::print};
use accord_token::{Kind, foreign::JwkSet};
use anyhow::{Context as _, ensure};
use clap::{ArgGroup, Args, Subcommand};

use super::{
    ACTOR, Context,
    lifecycle::{LifecycleCommand, moment},
};
use crate::{
    domain::{
        admin::{Admin, AdminError, KnownSecret, LONGEST_OVERLAP, SecretError, read_client_key, read_client_keys},
        encryption_key::generate_secret,
    },
    secret_file,
    store::principals::{Principal, Which},
};

/// Sets of eight keys are a few kilobytes.
const LONGEST_SET: u64 = 64 * 1024;

/// How long the earlier secret stays valid where nothing else is said.
pub(super) const OVERLAP: &str = "24h";

/// Commands about programs that log in.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Add a program. Its secret is read from the file, or made and written there; or it has keys, which sign what it logs in with.
    Add(Add),
    /// Give a program another secret, read from the file or made and written there, or other keys; the earlier ones stay valid for a
    /// while.
    Rotate {
        /// Its id.
        id: String,
        #[command(flatten)]
        proof: Proof,
        /// How long the earlier secret or keys stay valid; at most 30days. 0s ends them at once.
        #[arg(long, default_value = OVERLAP, value_parser = overlap)]
        overlap: Duration,
    },
    /// Give a program one more key, beside those that it has.
    AddKey {
        /// The program's id.
        id: String,
        /// A file with the key as a JWK, Ed25519 or P-256, its public half alone.
        #[arg(long, value_name = "FILE")]
        jwk: PathBuf,
    },
    /// Print the keys of a program, one a line, as JWKs.
    ListKeys {
        /// The program's id.
        id: String,
    },
    /// Take a key of a program away at once; `show` names them.
    RemoveKey {
        /// The program's id.
        id: String,
        /// The key's `kid`.
        kid: String,
    },
    #[command(flatten)]
    Lifecycle(LifecycleCommand),
}

/// How a program proves who it is.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("proof").required(true)))]
pub struct Proof {
    /// Where its secret is, or is written.
    #[arg(long, value_name = "FILE", group = "proof")]
    secret_file: Option<PathBuf>,
    /// A JWK set with its public keys, Ed25519 or P-256, up to 8; it logs in with assertions that they sign.
    #[arg(long, value_name = "FILE", group = "proof")]
    jwks: Option<PathBuf>,
}

/// What is said of a program that is added.
#[derive(Debug, Args)]
pub struct Add {
    /// Its id, and its name as a principal.
    id: String,
    /// Its tenant. Default: none.
    #[arg(long, default_value = "", hide_default_value = true)]
    tenant: String,
    /// A role; may be given again.
    #[arg(long)]
    role: Vec<String>,
    #[command(flatten)]
    proof: Proof,
    /// Leave it as it is where it exists.
    #[arg(long)]
    if_absent: bool,
    /// Where it exists with another secret or other keys, give it those in the file, as `client rotate` does; a secret that a newer
    /// one has followed is left alone.
    #[arg(long, requires = "if_absent")]
    rotate: bool,
}

impl ClientCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => add.run(context).await,
            Self::Rotate { id, proof, overlap } => {
                let store = context.existing_store().await?;
                let admin = Admin::new(&store, ACTOR);
                match proof.read()? {
                    ReadProof::Secret(file) => rotate(&admin, &id, &file, overlap).await,
                    ReadProof::Keys(keys) => rotate_keys(&admin, &id, &keys, overlap).await,
                }
            }
            Self::AddKey { id, jwk } => {
                let store = context.existing_store().await?;
                let of = || format!("of the key in {}", jwk.display());
                let key = read_client_key(&read_set(&jwk)?).with_context(of)?;
                let key = Admin::new(&store, ACTOR).add_client_key(&id, &key).await.with_context(of)?;
                print(format_args!("added the key `{}` to `{id}`\n", key.jwk.kid))
            }
            Self::ListKeys { id } => {
                let store = context.existing_store().await?;
                let admin = Admin::new(&store, ACTOR);
                admin.client(&id).await?;
                let keys = admin.client_keys(&id).await?;
                let lines: Vec<_> = keys.iter().map(|key| key.jwk.to_json().to_string() + "\n").collect();
                print(lines.concat())
            }
            Self::RemoveKey { id, kid } => {
                let store = context.existing_store().await?;
                Admin::new(&store, ACTOR).remove_client_key(&id, &kid).await?;
                print(format_args!(
                    "removed the key `{kid}` of `{id}`; what was issued for it goes on until it expires or is revoked\n"
                ))
            }
            Self::Lifecycle(command) => command.run(Which::Clients, context).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let Self { id, tenant, role, proof, if_absent, rotate } = self;
        let proof = proof.read()?;
        context.warn_of_unknown_roles(&role)?;
        let (store, place) = context.named_store().await?;
        let principal = Principal::new(id, Kind::Service, tenant, role);
        let admin = Admin::new(&store, ACTOR);
        let secret_file = match proof {
            ReadProof::Secret(file) => file,
            ReadProof::Keys(keys) => {
                return add_with_keys(&admin, &principal, &keys, (if_absent, rotate), &place).await;
            }
        };
        match admin.add_client(&principal, || secret(&secret_file)).await {
            Err(AdminError::Exists(id)) => exists(&admin, &id, &secret_file, (if_absent, rotate)).await,
            added => {
                let file = secret_file.display();
                added.with_context(|| format!("the client is not added, with its secret in {file}"))?;
                print(format_args!("added the client `{}` in {place}; its secret is in {file}\n", principal.subject))
            }
        }
    }
}

/// A proof whose keys were read.
enum ReadProof {
    Secret(PathBuf),
    Keys(JwkSet),
}

impl Proof {
    fn read(self) -> anyhow::Result<ReadProof> {
        let Self { secret_file, jwks } = self;
        if let Some(file) = jwks {
            let keys = read_client_keys(read_set(&file)?.as_bytes())
                .with_context(|| format!("of the keys in {}", file.display()))?;
            return Ok(ReadProof::Keys(keys));
        }
        secret_file.map(ReadProof::Secret).context("one of --secret-file and --jwks is needed")
    }
}

fn read_set(file: &Path) -> anyhow::Result<String> {
    read_text(file, LONGEST_SET).with_context(|| format!("{} can't be read", file.display()))
}

async fn add_with_keys(
    admin: &Admin<'_>,
    principal: &Principal,
    keys: &JwkSet,
    (if_absent, rotates): (bool, bool),
    place: &str,
) -> anyhow::Result<()> {
    match admin.add_client_with_keys(principal, keys).await {
        Err(AdminError::Exists(id)) => {
            ensure!(if_absent, "the client `{id}` exists; use --if-absent to leave it as it is");
            if rotates {
                return rotate_keys(admin, &id, keys, overlap(OVERLAP).map_err(anyhow::Error::msg)?).await;
            }
            print(format_args!("the client `{id}` exists, and is left as it is\n"))
        }
        added => {
            added.context("the client is not added")?;
            let (id, count) = (&principal.subject, keys.iter().count());
            print(format_args!("added the client `{id}` in {place}; it has {count} keys\n"))
        }
    }
}

async fn rotate_keys(admin: &Admin<'_>, id: &str, keys: &JwkSet, overlap: Duration) -> anyhow::Result<()> {
    let until = admin.rotate_client_keys(id, keys, overlap).await;
    let until = moment(until.with_context(|| format!("the client `{id}` keeps its keys"))?);
    print(format_args!("the client `{id}` has these keys; its earlier ones are valid until {until}\n"))
}

pub(super) fn overlap(text: &str) -> Result<Duration, String> {
    let overlap = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let longest = humantime::format_duration(LONGEST_OVERLAP);
    if overlap <= LONGEST_OVERLAP { Ok(overlap) } else { Err(format!("it must be at most {longest}")) }
}

async fn rotate(admin: &Admin<'_>, id: &str, file: &Path, overlap: Duration) -> anyhow::Result<()> {
    let until = admin.rotate_client(id, overlap, || secret(file)).await;
    let until = until.with_context(|| format!("the client `{id}` keeps its secret"))?;
    print(format_args!(
        "the client `{id}` has another secret, which is in {}; the earlier one is valid until {}\n",
        file.display(),
        moment(until)
    ))
}

/// The secret in the file, or a new one that is written there.
fn secret(file: &Path) -> Result<String, SecretError> {
    let inaccessible = |source| SecretError::Inaccessible { place: file.display().to_string(), source };
    if file.exists() {
        return secret_file::try_read(file).map_err(inaccessible);
    }
    let secret = generate_secret()?;
    secret_file::write_new(file, &secret).map_err(inaccessible)?;
    Ok(secret)
}

async fn exists(
    admin: &Admin<'_>,
    id: &str,
    secret_file: &Path,
    (if_absent, rotates): (bool, bool),
) -> anyhow::Result<()> {
    ensure!(if_absent, "the client `{id}` exists; use --if-absent to leave it as it is");
    let file = secret_file.display();
    ensure!(
        secret_file.exists(),
        "the client `{id}` exists, but not its secret at {file}: the store holds only a hash of it"
    );
    let known = admin.known_secret(id, &secret_file::read(secret_file)?).await?;
    if known == KnownSecret::Newest {
        return print(format_args!("the client `{id}` exists, and is left as it is\n"));
    }
    if rotates && known == KnownSecret::Other {
        return rotate(admin, id, secret_file, overlap(OVERLAP).map_err(anyhow::Error::msg)?).await;
    }
    eprintln!(
        "warning: the client `{id}` exists with another secret than that in {file}, and keeps it: give it this one with \
         `accord-auth client rotate {id} --secret-file {file}`"
    );
    print(format_args!("the client `{id}` exists, and is left as it is\n"))
}
