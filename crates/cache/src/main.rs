//! `accord-cache`: answers of declared reads, kept while their contracts allow.

use std::process::ExitCode;

use accord_cache::cli::AccordCache;
use accord_runtime::cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main::<AccordCache>()
}
