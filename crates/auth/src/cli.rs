//! The command line.

use std::{path::PathBuf, time::Duration};

use accord_runtime::config::{self, Overrides};
use accord_token::Kind;
use anyhow::ensure;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    auth::Auth,
    config::Config,
    manage,
    policy::Policies,
    rotate, serve, setup,
    store::{Store, principals::Principal},
};

const EXAMPLES: &str = "\
Examples:
  For development; the store and its key are made in the present directory:
    accord-auth serve --development

  A program that verifies tokens, such as the gateway; its secret is written into the file:
    accord-auth client add gateway --role accord-mesh --secret-file gateway.secret --development

  Somebody who may do what policies grant to a role, and a token for an hour:
    accord-auth principal add me --role catalog-reader --development
    accord-auth token issue --subject me --development

Every key of the file can also be set by environment: ACCORD_AUTH__LISTEN__ADDRESS=0.0.0.0:8090.";

/// Issues and verifies credentials, decides access, streams revocations.
#[derive(Debug, Parser)]
#[command(name = "accord-auth", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

/// Flags of all commands. They override the environment (`ACCORD_AUTH__STORE__URL`), which overrides the file.
#[derive(Debug, Args)]
struct Flags {
    /// The configuration, a TOML file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The store: `sqlite:///path/to/file.db` or `postgres://…`. Default: `sqlite://accord-auth.db`.
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
    /// A file with the key that encrypts signing keys in the store; see `key new`.
    #[arg(long, global = true, value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
    /// Without an encryption key, make one beside the SQLite file. Not for production.
    #[arg(long, global = true)]
    development: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then drain.
    Serve(Serving),
    /// Say whether the configuration and its policies are good, without serving and without touching the store.
    Check(Serving),
    /// What the configuration is.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make the store, its first key and its first admin; print a token that lives 15 minutes.
    Bootstrap {
        /// The admin's name. There is no default account.
        #[arg(long, value_name = "NAME")]
        admin: String,
        /// A file with the admin's password. Default: none, so that only the printed token works.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Persons and programs.
    #[command(subcommand)]
    Principal(PrincipalCommand),
    /// Programs that log in with a secret.
    #[command(subcommand)]
    Client(ClientCommand),
    /// What principals may do, by name.
    #[command(subcommand)]
    Role(RoleCommand),
    /// Access tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// The keys that sign and the key that encrypts.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The record of privileged operations.
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Debug, Default, Args)]
struct Serving {
    /// Address to serve on. Default: 127.0.0.1:8090.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Address of the internal port: metrics and health. Default: 127.0.0.1:8091.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// A file with Cedar policies; may be given again.
    #[arg(long, value_name = "FILE")]
    policy: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the effective configuration, with *** for secrets.
    Print(Serving),
}

#[derive(Debug, Subcommand)]
enum PrincipalCommand {
    /// Add a person or a program.
    Add {
        /// Its name: stable and unique.
        name: String,
        /// What it is.
        #[arg(long, value_enum, default_value = "user")]
        kind: KindName,
        /// Its tenant. Default: none.
        #[arg(long, default_value = "", hide_default_value = true)]
        tenant: String,
        /// A role; may be given again.
        #[arg(long)]
        role: Vec<String>,
        /// A file with a password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Leave it as it is where it exists.
        #[arg(long)]
        if_absent: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Add a program. Its secret is read from the file, or made and written there.
    Add {
        /// Its id, and its name as a principal.
        id: String,
        /// Its tenant. Default: none.
        #[arg(long, default_value = "", hide_default_value = true)]
        tenant: String,
        /// A role; may be given again.
        #[arg(long)]
        role: Vec<String>,
        /// Where its secret is.
        #[arg(long, value_name = "FILE")]
        secret_file: PathBuf,
        /// Leave it as it is where it exists.
        #[arg(long)]
        if_absent: bool,
    },
}

#[derive(Debug, Subcommand)]
enum RoleCommand {
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
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Print an access token.
    Issue {
        /// Whose.
        #[arg(long)]
        subject: String,
        /// How long it lives; at most 24h.
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        lifetime: Duration,
    },
    /// Revoke every token of a subject, or every token there is.
    #[command(group = clap::ArgGroup::new("whose").required(true))]
    Revoke {
        /// Whose tokens.
        #[arg(long, group = "whose")]
        subject: Option<String>,
        /// All tokens of everybody.
        #[arg(long, group = "whose")]
        everything: bool,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Write a new encryption key into a new file.
    New {
        /// Which file.
        file: PathBuf,
    },
    /// Publish a new signing key. It signs once every verifier has had time to see it.
    Rotate,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Say whether these files and the built-in policies are good together.
    Check {
        /// Cedar policies.
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Say whether every row of the record fits to the one before.
    Verify,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindName {
    User,
    Service,
}

impl Cli {
    /// Does what was asked.
    pub async fn obey(self) -> anyhow::Result<()> {
        let Cli { flags, command } = self;
        match command {
            Command::Serve(serving) => serve::serve(flags.load(&serving)?).await,
            Command::Check(serving) => {
                setup::check(&flags.load(&serving)?)?;
                println!("good");
                Ok(())
            }
            Command::Config(ConfigCommand::Print(serving)) => {
                print!("{}", config::print(&flags.load(&serving)?));
                Ok(())
            }
            Command::Policy(PolicyCommand::Check { files }) => {
                println!("good: {}", Policies::load(&files)?.hash);
                Ok(())
            }
            Command::Key(KeyCommand::New { file }) => manage::new_key(&file),
            Command::Key(KeyCommand::Rotate) => flags.rotate().await,
            Command::Bootstrap { admin, password_file } => flags.bootstrap(admin, password_file).await,
            Command::Principal(PrincipalCommand::Add { name, kind, tenant, role, password_file, if_absent }) => {
                let principal = principal(name, kind.into(), tenant, role);
                let password = password_file.as_deref().map(manage::read).transpose()?;
                manage::add_principal(&flags.store().await?, &principal, password.as_deref(), if_absent).await
            }
            Command::Client(ClientCommand::Add { id, tenant, role, secret_file, if_absent }) => {
                let principal = principal(id, Kind::Service, tenant, role);
                manage::add_client(&flags.store().await?, &principal, &secret_file, if_absent).await
            }
            Command::Role(RoleCommand::Grant { subject, role }) => {
                manage::grant_role(&flags.existing_store().await?, &subject, &role).await
            }
            Command::Role(RoleCommand::Remove { subject, role }) => {
                manage::remove_role(&flags.existing_store().await?, &subject, &role).await
            }
            Command::Token(TokenCommand::Issue { subject, lifetime }) => flags.issue(&subject, lifetime).await,
            Command::Token(TokenCommand::Revoke { subject: Some(subject), .. }) => {
                manage::revoke_subject(&flags.existing_store().await?, &subject).await
            }
            Command::Token(TokenCommand::Revoke { subject: None, .. }) => {
                manage::revoke_everything(&flags.existing_store().await?).await
            }
            Command::Audit(AuditCommand::Verify) => flags.verify_audit().await,
        }
    }
}

impl Flags {
    fn load(&self, serving: &Serving) -> anyhow::Result<Config> {
        self.completed(self.read(serving)?)
    }

    fn read(&self, serving: &Serving) -> anyhow::Result<Config> {
        let file = |path: &PathBuf| path.display().to_string();
        let policies = (!serving.policy.is_empty()).then(|| serving.policy.clone());
        let overrides = Overrides::default()
            .set_option("store.url", "--store", self.store.clone())
            .set_option(
                "keys.encryption_key_file",
                "--encryption-key-file",
                self.encryption_key_file.as_ref().map(file),
            )
            .set_option("listen.address", "--listen", serving.listen.clone())
            .set_option("admin.address", "--admin", serving.admin.clone())
            .set_option("policy.files", "--policy", policies);
        Ok(config::load("ACCORD_AUTH", self.config.as_slice(), overrides)?)
    }

    fn completed(&self, mut config: Config) -> anyhow::Result<Config> {
        if self.development {
            setup::development_key(&mut config)?;
        }
        config.validate()?;
        Ok(config)
    }

    fn managed(&self) -> anyhow::Result<Config> {
        self.load(&Serving::default())
    }

    /// For what only makes sense where a store is.
    fn existing(&self) -> anyhow::Result<Config> {
        let config = self.read(&Serving::default())?;
        setup::expect_store(&config)?;
        self.completed(config)
    }

    async fn store(&self) -> anyhow::Result<Store> {
        setup::store(&self.managed()?).await
    }

    async fn existing_store(&self) -> anyhow::Result<Store> {
        setup::store(&self.existing()?).await
    }

    async fn rotate(&self) -> anyhow::Result<()> {
        let auth = Auth::open(&self.existing()?).await?;
        let key =
            rotate::rotate(&auth.store, &auth.vault, auth.keys.algorithm, auth.keys.overlap, "command line").await?;
        println!("{}", key.kid);
        Ok(())
    }

    async fn bootstrap(&self, admin: String, password_file: Option<PathBuf>) -> anyhow::Result<()> {
        let auth = Auth::open(&self.managed()?).await?;
        let password = password_file.as_deref().map(manage::read).transpose()?;
        let admin = principal(admin, Kind::User, String::new(), vec!["accord-admin".to_owned()]);
        manage::add_principal(&auth.store, &admin, password.as_deref(), false).await?;
        println!("{}", manage::issue(&auth, &admin.subject, Duration::from_mins(15)).await?);
        Ok(())
    }

    async fn issue(&self, subject: &str, life: Duration) -> anyhow::Result<()> {
        let auth = Auth::open(&self.existing()?).await?;
        println!("{}", manage::issue(&auth, subject, life).await?);
        Ok(())
    }

    async fn verify_audit(&self) -> anyhow::Result<()> {
        let (entries, broken) = self.existing_store().await?.audit().await?;
        ensure!(broken.is_none(), "the record is broken at row {}", broken.unwrap_or_default());
        println!("good: {} rows", entries.len());
        Ok(())
    }
}

fn principal(subject: String, kind: Kind, tenant: String, mut roles: Vec<String>) -> Principal {
    roles.sort();
    Principal { subject, kind, tenant, roles, epoch: 0 }
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::User => Kind::User,
            KindName::Service => Kind::Service,
        }
    }
}
