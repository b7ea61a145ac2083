//! A small product catalog: the sample service of the tour and the tests, and a pattern for one's own.

mod config;
mod page;
mod passport;
mod serve;
mod service;
mod store;
mod validate;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use accord_runtime::{
    config::{self as settings, ConfigError, Overrides},
    run,
};
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, PREFIX};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A small product catalog behind a gRPC API.
#[derive(Parser)]
#[command(name = "accord-catalog", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until a signal to stop.
    Serve(Flags),
    /// Read the configuration and say whether it is one.
    Check(Flags),
    /// The configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print what holds after file, environment and flags, with secrets as ***.
    Print(Flags),
}

/// Settings that all subcommands take. They win over the environment, which wins over the file.
#[derive(Args)]
struct Flags {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "ACCORD_CATALOG_CONFIG")]
    config: Option<PathBuf>,
    /// Address to serve on. Default: 127.0.0.1:9000.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the internal port: metrics and health. Default: 127.0.0.1:9001.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// SQLite file with the products. Default: catalog.db.
    #[arg(long, value_name = "FILE")]
    store: Option<String>,
    /// Where auth is. Without it, calls need no passport.
    #[arg(long, value_name = "URL")]
    auth: Option<String>,
    /// The name under which the catalog logs in to auth.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// File with the secret that goes with the name.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<String>,
}

impl Flags {
    fn load(self) -> Result<Config, ConfigError> {
        let overrides = Overrides::default()
            .set_option("listen.address", "--listen", self.listen)
            .set_option("admin.address", "--admin", self.admin)
            .set_option("store", "--store", self.store)
            .set_option("auth.url", "--auth", self.auth)
            .set_option("auth.client_id", "--client-id", self.client_id)
            .set_option("auth.client_secret_file", "--client-secret-file", self.client_secret_file);
        settings::load(PREFIX, self.config.as_slice(), overrides)
    }
}

fn main() -> ExitCode {
    run::run(|| obey(Cli::parse().command))
}

async fn obey(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(flags) => serve::serve(flags.load()?).await?,
        Command::Check(flags) => {
            flags.load()?;
            println!("the configuration is good");
        }
        Command::Config { command: ConfigCommand::Print(flags) } => print!("{}", settings::print(&flags.load()?)),
    }
    Ok(())
}
