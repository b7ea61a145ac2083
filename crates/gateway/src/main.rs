//! `accord-gateway`: the one public door of the mesh.

use accord_gateway::{
    cli::{self, Cli, Command, ConfigCommand},
    serve::serve,
};
use accord_runtime::run::run;
use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let mut found = ExitCode::SUCCESS;
    let ended = run(async || {
        found = obey(command).await?;
        Ok(())
    });
    // Whatever went wrong on the way says more than what was found.
    if ended == ExitCode::SUCCESS { found } else { ended }
}

async fn obey(command: Command) -> anyhow::Result<ExitCode> {
    Ok(match command {
        Command::Serve(flags) => serve(flags.load()?).await.map(|()| ExitCode::SUCCESS)?,
        Command::Check(flags) => cli::check(&flags.load()?).await,
        Command::Explain { method, flags } => cli::explain(&flags.load()?, &method).await,
        Command::Config { command: ConfigCommand::Print(flags) } => cli::print_config(&flags.load()?),
    })
}
