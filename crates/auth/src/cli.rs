//! The command line.

use std::path::PathBuf;

use accord_runtime::config::{self, Overrides};
use clap::{Args, Parser, Subcommand};

use crate::{config::Config, domain::auth::Auth, serve, setup, store::Store};

mod bootstrap;
mod principal;
mod client;
mod role;
mod token;
mod key;
mod policy;
mod audit;

/// Who the audit log names.
const ACTOR: &str = "command line";

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
    Bootstrap(bootstrap::Bootstrap),
    /// Persons and programs.
    #[command(subcommand)]
    Principal(principal::PrincipalCommand),
    /// Programs that log in with a secret.
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// What principals may do, by name.
    #[command(subcommand)]
    Role(role::RoleCommand),
    /// Access tokens.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// The keys that sign and the key that encrypts.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Policies.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// The record of privileged operations.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
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

impl Cli {
    /// Does what was asked.
    pub async fn run(self) -> anyhow::Result<()> {
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
            Command::Bootstrap(command) => command.run(&flags).await,
            Command::Principal(command) => command.run(&flags).await,
            Command::Client(command) => command.run(&flags).await,
            Command::Role(command) => command.run(&flags).await,
            Command::Token(command) => command.run(&flags).await,
            Command::Key(command) => command.run(&flags).await,
            Command::Policy(command) => command.run(),
            Command::Audit(command) => command.run(&flags).await,
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

    async fn auth(&self) -> anyhow::Result<Auth> {
        Auth::open(&self.managed()?).await
    }

    async fn existing_auth(&self) -> anyhow::Result<Auth> {
        Auth::open(&self.existing()?).await
    }

    async fn store(&self) -> anyhow::Result<Store> {
        setup::store(&self.managed()?).await
    }

    async fn existing_store(&self) -> anyhow::Result<Store> {
        setup::store(&self.existing()?).await
    }
}
