//! A small product catalog: the sample service of the tour and the tests, and a pattern for one's own.

mod cli;
mod config;
mod page;
mod serve;
mod service;
mod store;
mod validate;
mod watch;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    accord_runtime::cli::main::<cli::AccordCatalog>()
}
