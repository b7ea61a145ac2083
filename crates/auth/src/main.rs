//! `accord-auth`: issues and verifies credentials, decides access, streams revocations.

use std::process::ExitCode;

use accord_auth::cli::Cli;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    accord_runtime::run::run(|| cli.run())
}
