//! `accord-gateway`: the one public door of the mesh.

use std::process::ExitCode;

use accord_gateway::cli::AccordGateway;
use accord_runtime::cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main::<AccordGateway>()
}
