//! Accord's cache: answers of declared reads, kept while their contracts allow.

use std::path::PathBuf;
use std::process::ExitCode;

use accord_cache::config::{Config, PREFIX};
use accord_cache::serve::serve;
use accord_runtime::config::{self as settings, Overrides};
use accord_runtime::run::{Command, ConfigCommand, run};
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
    /// Configuration file (TOML); `accord-cache config print` shows its keys.
    #[arg(long, global = true, value_name = "FILE", env = "ACCORD_CACHE_CONFIG")]
    config: Option<PathBuf>,
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
}

fn main() -> ExitCode {
    run(|| obey(Cli::parse()))
}

async fn obey(cli: Cli) -> anyhow::Result<()> {
    let overrides = Overrides::default()
        .set_option("listen.address", "--listen", cli.listen)
        .set_option("admin.address", "--admin", cli.admin)
        .set_option("auth.url", "--auth", cli.auth)
        .set_option("auth.client_id", "--client-id", cli.client_id)
        .set_option("auth.client_secret_file", "--client-secret-file", cli.client_secret_file)
        .set_option("records.url", "--store", cli.store);
    let config: Config = settings::load(PREFIX, cli.config.as_deref(), overrides)?;
    match cli.command {
        Command::Serve => serve(config).await?,
        Command::Check => {
            config.check()?;
            println!("the configuration is good");
        }
        Command::Config { what: ConfigCommand::Print } => print!("{}", settings::print(&config)),
    }
    Ok(())
}
