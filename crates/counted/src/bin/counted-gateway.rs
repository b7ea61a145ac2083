//! `accord-gateway`, with its allocations counted.

use std::process::ExitCode;

use accord_gateway::cli::AccordGateway;
use accord_runtime::cli;
use alloc_tracker::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

fn main() -> ExitCode {
    accord_counted::answer();
    cli::main::<AccordGateway>()
}
