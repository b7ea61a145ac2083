//! Accord's cache: answers of declared reads, kept while their contracts allow.

use std::path::PathBuf;
use std::process::ExitCode;

use accord_cache::config::{Config, PREFIX};
use accord_cache::serve::serve;
use accord_runtime::config::{self as settings, Overrides};
use accord_runtime::run::{Command, ConfigCommand, run};
use accord_upstream::config as upstream;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Accord's cache: answers of declared reads, kept while their contracts allow; invalidations; idempotency records.
///
/// Settings come from flags, over variables such as `ACCORD_CACHE__LISTEN__ADDRESS`, over the file.
#[derive(Parser)]
#[command(name = "accord-cache", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Configuration file (TOML); `accord-cache config print` shows its keys. Repeatable; a later one is stronger, and lists
    /// such as `[[upstream]]` are joined. Without it, the files of the variable `ACCORD_CACHE_CONFIG`, separated by `:`.
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Address to serve on. Default: 127.0.0.1:8100.
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the internal port: metrics and health. Default: 127.0.0.1:8101.
    #[arg(long, global = true, value_name = "ADDR")]
    admin: Option<String>,
    /// Where auth is. Default: `http://127.0.0.1:8090`.
    #[arg(long, global = true, value_name = "URL")]
    auth: Option<String>,
    /// The name under which the cache logs in to auth.
    #[arg(long, global = true, value_name = "ID")]
    client_id: Option<String>,
    /// File with the secret that goes with the name.
    #[arg(long, global = true, value_name = "FILE")]
    client_secret_file: Option<String>,
    /// Where the records of idempotency keys are: `sqlite:///path` or `postgres://…`. Default: `sqlite://accord-cache.db`.
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
    /// A service to load from, under the gateway's name for it. Repeat it for more services, or with the same name for more
    /// endpoints of one. Takes the place of all configured ones.
    #[arg(long, global = true, value_name = "NAME=URL")]
    upstream: Vec<String>,
}

fn main() -> ExitCode {
    run(|| execute(Cli::parse()))
}

async fn execute(cli: Cli) -> anyhow::Result<()> {
    let command = cli.command;
    let config = load(cli)?;
    match command {
        Command::Serve => serve(config).await?,
        Command::Check => {
            config.check()?;
            println!("the configuration is good");
        }
        Command::Config { what: ConfigCommand::Print } => print!("{}", settings::print(&config)),
    }
    Ok(())
}

fn load(cli: Cli) -> anyhow::Result<Config> {
    let overrides = Overrides::default()
        .set_option("listen.address", "--listen", cli.listen)
        .set_option("admin.address", "--admin", cli.admin)
        .set_option("auth.url", "--auth", cli.auth)
        .set_option("auth.client_id", "--client-id", cli.client_id)
        .set_option("auth.client_secret_file", "--client-secret-file", cli.client_secret_file)
        .set_option("records.url", "--store", cli.store);
    let mut config: Config = settings::load(PREFIX, &settings::files(PREFIX, cli.config), overrides)?;
    if !cli.upstream.is_empty() {
        config.upstream = upstream::from_flags(&cli.upstream)?;
    }
    Ok(config)
}
