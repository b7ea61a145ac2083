//! Baskets and orders: the sample service that calls others, and a pattern for one's own.

mod basket;
mod baskets;
mod call_context;
mod cli;
mod config;
mod neighbours;
mod products;
mod serve;
mod service;
mod store;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    accord_runtime::cli::main::<cli::AccordOrders>()
}
