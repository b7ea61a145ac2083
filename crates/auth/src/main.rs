//! `accord-auth`: issues and verifies credentials, decides access, streams revocations.

use std::process::ExitCode;

use accord_auth::cli::AccordAuth;
use accord_runtime::cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main::<AccordAuth>()
}
