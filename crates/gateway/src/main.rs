//! `accord-gateway`: the API gateway of the mesh, its only public listener.

use std::process::ExitCode;

use accord_gateway::cli::AccordGateway;
use accord_runtime::cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main::<AccordGateway>()
}
